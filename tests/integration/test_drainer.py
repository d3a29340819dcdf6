"""The drainer over real files and databases: every whole record is counted, once."""

from __future__ import annotations

import fcntl
import gc
import os
import random
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4
from zlib import crc32

import pytest

from core.domain.scans import Drained, Scan, Visit
from core.domain.traits import Traits
from core.errors import ConfigurationError, StorageUnavailable
from core.services.enrichment import Enrichment
from core.services.journal import drainer as drainer_module
from core.services.journal import folder as folder_module
from core.services.journal import supervisor as supervisor_module
from core.services.journal.drainer import Drainer, status
from core.services.journal.folder import SUFFIX, File
from core.services.journal.records import HEADER, Arrival, frame
from core.services.journal.supervisor import Supervisor
from core.services.journal.writer import Journal
from core.settings import ScansSettings, parse
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

    def drainer(self, batch: int = 7, enrichment: Enrichment | None = None) -> Drainer:
        return Drainer(
            self.folder,
            self.backend.scans,
            enrichment or Enrichment({}),
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

    def positions(self) -> list[str]:
        """The journal files of which the store knows how far they were read."""
        connections: Any = self.backend.scans._connections  # type: ignore[attr-defined]
        with connections.connection() as database:
            rows = database.execute_sql("SELECT source FROM journal_positions").fetchall()
        return [source for (source,) in rows]

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
    assert node.positions() == []


def test_another_drainer_goes_on_exactly_where_the_last_one_was(node: Node) -> None:
    journal = node.journal()
    for count in (5, 11, 3):
        for _ in range(count):
            journal.record(node.visit())
        assert node.drainer().drain() == count
    assert node.counted() == (19, 19)
    journal.close()


def test_a_file_that_outlives_a_crash_is_not_counted_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise SystemExit

    journal = node.journal()
    for _ in range(20):
        journal.record(node.visit())
    journal.close()
    # The transaction is done, and the file is still there.
    with monkeypatch.context() as killed:
        killed.setattr(Path, "unlink", die)
        with pytest.raises(SystemExit):
            node.drainer().drain()
    assert len(node.files()) == 1
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


def test_a_file_that_is_none_of_ours_stays_and_is_told_once(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.folder.mkdir()
    later = node.folder / f"{uuid4().hex}{SUFFIX}"
    later.write_bytes(b"QZSCAN\x63\nfrom the future")
    node.journal().record(node.visit())
    drainer = node.drainer()
    assert [drainer.drain() for _ in range(3)] == [1, 0, 0]
    assert later.exists()
    assert [later.name in message for message in caplog.messages] == [True]


def as_a_folder(path: Path) -> None:
    path.mkdir()


def as_a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def as_a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("make", [as_a_folder, as_a_loop, as_a_socket])
def test_what_cannot_be_read_stops_nothing_else_and_is_told(
    node: Node, make: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    node.folder.mkdir()
    make(node.folder / f"a{SUFFIX}")
    journal, drainer = node.journal(), node.drainer()
    for _ in range(3):
        journal.record(node.visit())
        turns = iter([True])
        drainer.run(threading.Event(), lambda turns=turns: next(turns, False))  # type: ignore[misc]
    assert node.counted() == (3, 3)
    found = status(node.folder)
    assert found is not None
    assert (found.error, found.backlog) == ("", 0)
    assert found.stuck.startswith(f"1 cannot be stored, such as a{SUFFIX}: ")
    assert (
        len([message for message in caplog.messages if f"a{SUFFIX} is passed over" in message]) == 1
    )
    journal.close()


def test_a_file_that_makes_the_store_stumble_keeps_no_other_waiting(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    append = node.backend.scans.append

    def stumble(scans: list[Scan], drained: Drained | None = None) -> None:
        if drained is not None and drained.source == first.stem:
            raise RuntimeError("192.0.2.77 must not be told")
        append(scans, drained)

    for _ in range(2):
        journal = node.journal()
        journal.record(node.visit())
        journal.close()
    first, _ = sorted(node.files(), key=lambda path: path.stat().st_mtime_ns)
    drainer = node.drainer()
    with monkeypatch.context() as broken:
        broken.setattr(node.backend.scans, "append", stumble)
        assert [drainer.drain() for _ in range(3)] == [1, 0, 0]
    assert node.files() == [first]
    (message,) = caplog.messages
    assert "RuntimeError at " in message
    assert "192.0.2.77" not in caplog.text
    assert drainer.drain() == 1
    assert node.files() == []


def test_a_record_that_nobody_understands_counts_as_not_recorded(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    body = b"\x93\xa1q\x01\x02"
    strange = len(body).to_bytes(4, "little") + crc32(body).to_bytes(4, "little") + body
    node.folder.mkdir()
    (node.folder / f"{uuid4().hex}{SUFFIX}").write_bytes(
        HEADER + frame(Arrival(node.visit())) + strange + frame(Arrival(node.visit()))
    )
    assert node.drainer().drain() == 2
    assert node.backend.scans.tallies(NOW.date()) == {NOW.date(): (0, 1)}
    assert node.files() == []
    assert "1 records of " in caplog.text


@pytest.mark.parametrize("cut", [b"QZSCAN", b"QZSCAN\x63", bytes(5)])
def test_a_file_that_was_cut_off_in_its_head_is_removed_with_a_word(
    node: Node, cut: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    node.folder.mkdir()
    (node.folder / f"{uuid4().hex}{SUFFIX}").write_bytes(cut)
    assert node.drainer().drain() == 0
    assert node.files() == []
    assert len(caplog.messages) == 1


def test_what_is_whole_behind_a_head_of_zeros_is_kept(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.folder.mkdir()
    (node.folder / f"{uuid4().hex}{SUFFIX}").write_bytes(
        bytes(300) + frame(Arrival(node.visit())) + bytes(5000)
    )
    assert node.drainer().drain() == 1
    assert node.files() == []
    assert len(caplog.messages) == 1


def test_what_was_left_unfinished_is_removed_once_it_is_clearly_nobodys(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    old, young, held = (tmp_path / f"{name}.new" for name in ("old", "young", "held"))
    for path in (old, young, held):
        path.write_bytes(HEADER)
    for path in (old, held):
        os.utime(path, (now.timestamp() - 600, now.timestamp() - 600))
    with held.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        store = SimpleNamespace(tidy=lambda *_: 0)
        Drainer(tmp_path, store, Enrichment({}), ScansSettings(), lambda: now, os.urandom).drain()  # type: ignore[arg-type]
        assert (old.exists(), young.exists(), held.exists()) == (False, True, True)


def test_a_position_is_forgotten_only_once_the_file_is_durably_gone(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    scans = node.backend.scans
    append, forget = scans.append, scans.forget

    def note(name: str, then: Callable[..., None], *given: Any) -> None:
        done.append(f"{name}, {len(node.files())} there")
        then(*given)

    monkeypatch.setattr(scans, "append", lambda *given: note("append", append, *given))
    monkeypatch.setattr(scans, "forget", lambda *given: note("forget", forget, *given))
    monkeypatch.setattr(drainer_module, "write_out", lambda folder: note("write out", lambda: None))
    journal = node.journal()
    journal.record(node.visit())
    journal.close()
    node.drainer().drain()
    assert done == ["append, 1 there", "write out, 0 there", "forget, 0 there"]
    assert node.positions() == []


def test_a_removal_that_the_disk_does_not_confirm_keeps_the_position(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise OSError(5, "Input/output error")

    for _ in range(2):
        journal = node.journal()
        journal.record(node.visit())
        journal.close()
    drainer, turns = node.drainer(), iter([True])
    with monkeypatch.context() as broken:
        broken.setattr(drainer_module, "write_out", refuse)
        drainer.run(threading.Event(), lambda: next(turns, False))
    found = status(node.folder)
    assert found is not None
    assert "Input/output error" in found.error
    assert len(node.positions()) > 0
    drainer.drain()
    assert node.positions() == []
    assert node.counted() == (2, 2)


def test_a_folder_that_is_away_for_a_moment_has_nothing_counted_again(node: Node) -> None:
    journal, drainer = node.journal(), node.drainer()
    for _ in range(10):
        journal.record(node.visit())
    assert drainer.drain() == 10
    away = node.folder.with_name("away")
    node.folder.rename(away)
    assert drainer.drain() == 0
    away.rename(node.folder)
    assert drainer.drain() == 0
    assert node.drainer().drain() == 0
    assert node.counted() == (10, 10)
    journal.close()


def test_a_drainer_that_catches_up_tells_how_far_it_is_and_stops_between_batches(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, stop, seen = node.backend.scans.append, threading.Event(), []
    monkeypatch.setattr(drainer_module, "_TELL_AFTER", 0)

    def away(*_: object) -> None:
        raise StorageUnavailable("The database is away.")

    def slow(scans: list[Scan], drained: Drained | None = None) -> None:
        seen.append(status(node.folder))
        append(scans, drained)
        if len(seen) == 4:
            stop.set()

    journal, drainer = node.journal(), node.drainer(10)
    for _ in range(100):
        journal.record(node.visit())
    journal.close()
    (path,) = node.files()
    size = path.stat().st_size - len(HEADER)
    monkeypatch.setattr(node.backend.scans, "append", away)
    turns = iter([True])
    drainer.run(threading.Event(), lambda: next(turns, False))
    monkeypatch.setattr(node.backend.scans, "append", slow)
    drainer.run(stop, lambda: True)
    # Nothing is removed of what is not stored.
    assert node.files() == [path]
    assert node.counted() == (40, 40)
    assert [one and one.error for one in seen] == ["The database is away.", "", "", ""]
    backlogs = [one.backlog for one in seen if one is not None]
    assert backlogs[0] == size
    assert backlogs == sorted(backlogs, reverse=True)
    oldest = [one.oldest_at for one in seen if one is not None]
    assert oldest == [NOW + timedelta(microseconds=1 + 10 * n) for n in range(4)]
    monkeypatch.setattr(node.backend.scans, "append", append)
    assert node.drainer().drain() == 60
    assert node.counted() == (100, 100)


def test_the_status_is_overwritten_where_a_full_disk_permits_nothing_new(node: Node) -> None:
    node.folder.mkdir()
    drainer = node.drainer()
    drainer.run(threading.Event(), lambda: False)
    (path,) = node.folder.glob("*.json")
    size, inode = path.stat().st_size, path.stat().st_ino
    drainer._fail('"\x00' * 5000)
    assert (path.stat().st_size, path.stat().st_ino) == (size, inode)
    assert status(node.folder) is not None


def test_an_enricher_that_cannot_be_opened_delays_no_scan(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    class Gone:
        def open(self) -> None:
            raise ConfigurationError("its file is gone")

        def close(self) -> None:
            raise AssertionError

        def enrich(self, visit: Visit, traits: Traits) -> Traits:
            raise AssertionError

    journal, drainer = node.journal(), node.drainer(enrichment=Enrichment({"gone": Gone()}))
    for _ in range(3):
        journal.record(node.visit())
        assert drainer.drain() == 1
    assert [message for message in caplog.messages if "its file is gone" in message] == (
        caplog.messages
    )
    assert len(caplog.messages) == 1
    journal.close()


def test_files_that_are_removed_while_they_are_listed_are_no_error(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = node.journal()
    journal.record(node.visit())
    gone = File(node.folder / f"{uuid4().hex}{SUFFIX}", 100, 0)
    monkeypatch.setattr(
        drainer_module, "files", lambda *given: [gone, *folder_module.files(*given)]
    )
    assert node.drainer().drain() == 1
    journal.close()


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_collected_again_after_a_drain(
    node: Node, collects: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    during = []

    def away(*_: object) -> None:
        during.append(gc.isenabled())
        raise StorageUnavailable("The database is away.")

    journal = node.journal()
    journal.record(node.visit())
    monkeypatch.setattr(node.backend.scans, "append", away)
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        with pytest.raises(StorageUnavailable):
            node.drainer().drain()
        assert (during, gc.isenabled()) == ([False], collects)
    finally:
        (gc.enable if before else gc.disable)()
    journal.close()


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
    turns = iter([True])
    node.drainer().run(threading.Event(), lambda: next(turns, False))
    (path,) = node.files()
    found = status(node.folder)
    assert found is not None
    assert found.error == "The database cannot be reached."
    assert found.backlog == path.stat().st_size - len(HEADER)
    assert found.oldest_at == NOW + timedelta(microseconds=1)
    journal.close()


def test_a_supervisor_complains_of_what_lasts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = threading.Semaphore(0)

    def refuse() -> None:
        tries.release()
        raise PermissionError(13, "Permission denied")

    supervisor = Supervisor(parse({"service": {"data": str(tmp_path)}}, {}))
    monkeypatch.setattr(supervisor_module, "_POLL", 0.001)
    monkeypatch.setattr(supervisor, "_start", refuse)
    supervisor.open()
    for _ in range(20):
        assert tries.acquire(timeout=60)
    supervisor.close()
    assert caplog.messages == ["the drainer cannot be started: [Errno 13] Permission denied"]
