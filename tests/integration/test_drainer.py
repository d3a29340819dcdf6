"""The drainer over real files and databases: every whole record is counted, once."""

from __future__ import annotations

import random
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from core.domain.scans import Drained, Scan, Visit
from core.errors import StorageUnavailable
from core.services.enrichment import Enrichment
from core.services.journal.drainer import Drainer, status
from core.services.journal.records import HEADER, Arrival, frame
from core.services.journal.writer import SUFFIX, Journal
from core.settings import ScansSettings
from tests.contract.test_scan_stores import add_code, add_organization
from tests.servers import Backend

NOW = datetime(2026, 5, 6, 12, tzinfo=UTC)
PHONE = "Mozilla/5.0 (iPhone)"


class Node:
    """A machine with a journal folder; `code` is scanned."""

    def __init__(self, folder: Path, backend: Backend) -> None:
        self.folder = folder
        self.backend = backend
        code = add_code(backend, add_organization(backend).id)
        self.code, self.organization = code.id, code.organization_id
        self.written = 0

    def journal(self) -> Journal:
        return Journal(self.folder, ScansSettings(), lambda: NOW)

    def drainer(self, batch: int = 7) -> Drainer:
        return Drainer(
            self.folder,
            self.backend.scans,
            Enrichment({}),
            ScansSettings(drain_batch=batch),
            lambda: NOW,
            random.Random(1).randbytes,
        )

    def visit(self) -> Visit:
        """Somebody who was never there before."""
        self.written += 1
        at = NOW + timedelta(microseconds=self.written)
        return Visit(self.code, self.organization, at, f"visitor {self.written}", PHONE)

    def counted(self) -> tuple[int, int]:
        found = self.backend.scans.totals(self.organization, self.code)
        return found.scans, found.unique

    def files(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{SUFFIX}"))


@pytest.fixture
def node(tmp_path: Path, backend: Backend) -> Node:
    return Node(tmp_path / "journal", backend)


def test_files_are_drained_while_they_grow_and_removed_once_finished(node: Node) -> None:
    journal, drainer = node.journal(), node.drainer()
    for _ in range(3):
        for _ in range(10):
            journal.record(node.visit())
        assert drainer.drain() == 10
    assert drainer.drain() == 0
    assert len(node.files()) == 1
    journal.close()
    assert drainer.drain() == 0
    assert node.files() == []
    assert node.counted() == (30, 30)
    drainer.drain()
    assert node.backend.scans.sources("") == []


def test_another_drainer_goes_on_exactly_where_the_last_one_was(node: Node) -> None:
    journal = node.journal()
    for count in (5, 11, 3):
        for _ in range(count):
            journal.record(node.visit())
        assert node.drainer().drain() == count
    assert node.counted() == (19, 19)
    journal.close()


def test_a_file_that_comes_back_after_a_crash_is_not_counted_again(node: Node) -> None:
    journal = node.journal()
    for _ in range(20):
        journal.record(node.visit())
    journal.close()
    (path,) = node.files()
    shutil.copy(path, path.with_suffix(".copy"))
    assert node.drainer().drain() == 20
    # As if the machine had died after the transaction and before the file was removed.
    path.with_suffix(".copy").rename(path)
    assert node.drainer().drain() == 0
    assert node.files() == []
    assert node.counted() == (20, 20)


def test_two_drainers_at_once_count_nothing_twice(node: Node) -> None:
    journal = node.journal()
    for _ in range(20):
        journal.record(node.visit())
    first, second = node.drainer(), node.drainer()
    for _ in range(10):
        journal.record(node.visit())
        for drainer in (first, second, second, first):
            try:
                drainer.drain()
            except StorageUnavailable:
                drainer.drain()
    assert node.counted() == (30, 30)
    journal.close()


def test_a_store_that_fails_at_any_moment_loses_and_repeats_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(5)
    append = node.backend.scans.append

    def fail_at_times(scans: list[Scan], drained: Drained | None = None) -> None:
        moment = chance.random()
        if moment < 0.3:
            raise StorageUnavailable("away before")
        append(scans, drained)
        if moment > 0.7:
            raise StorageUnavailable("stored, but the answer was lost")

    monkeypatch.setattr(node.backend.scans, "append", fail_at_times)
    journal, drainer = node.journal(), node.drainer(3)
    for _ in range(40):
        for _ in range(chance.randrange(6)):
            journal.record(node.visit())
        try:
            drainer.drain()
        except StorageUnavailable:
            if chance.random() < 0.3:
                drainer = node.drainer(3)
    journal.close()
    monkeypatch.setattr(node.backend.scans, "append", append)
    node.drainer().drain()
    assert node.counted() == (node.written, node.written)
    assert node.files() == []


def test_files_that_end_anywhere_give_their_whole_records(node: Node) -> None:
    chance = random.Random(9)
    whole = 0
    node.folder.mkdir()
    for _ in range(60):
        frames = [frame(Arrival(node.visit())) for _ in range(3)]
        data = HEADER + b"".join(frames)
        cut = chance.randrange(len(data) + 1)
        ends = [len(HEADER) + sum(map(len, frames[: n + 1])) for n in range(3)]
        whole += sum(end <= cut for end in ends)
        (node.folder / f"{uuid4().hex}{SUFFIX}").write_bytes(data[:cut])
    assert node.drainer().drain() == whole
    assert node.counted() == (whole, whole)
    assert node.files() == []


def test_a_file_that_is_none_of_ours_stays_and_is_told(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.folder.mkdir()
    later = node.folder / f"{uuid4().hex}{SUFFIX}"
    later.write_bytes(b"QZSCAN\x63\nfrom the future")
    node.journal().record(node.visit())
    node.drainer().drain()
    assert later.exists()
    assert later.name in caplog.text


def test_scans_of_codes_that_are_gone_are_passed_over(node: Node) -> None:
    journal = node.journal()
    journal.record(Visit(UUID(int=5), node.organization, NOW, "x", PHONE))
    journal.record(node.visit())
    journal.close()
    node.drainer().drain()
    assert node.counted() == (1, 1)
    assert node.files() == []


def test_one_process_is_elected(node: Node) -> None:
    with node.drainer().elected() as first, node.drainer().elected() as second:
        assert (first, second) == (True, False)
    with node.drainer().elected() as again:
        assert again


def test_the_status_tells_what_is_behind(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:

    def away(*_: object) -> None:
        raise StorageUnavailable("The database cannot be reached.")

    assert status(node.folder) is None
    journal = node.journal()
    journal.record(node.visit())
    monkeypatch.setattr(node.backend.scans, "append", away)
    turns = iter([True, False])
    node.drainer().run(threading.Event(), lambda: next(turns))
    (path,) = node.files()
    found = status(node.folder)
    assert found is not None
    assert found.error == "The database cannot be reached."
    assert found.backlog == path.stat().st_size - len(HEADER)
    assert found.oldest_at == NOW + timedelta(microseconds=1)
    journal.close()
