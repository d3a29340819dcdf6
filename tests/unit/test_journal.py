"""The scan journal: what is whole in it is kept, whatever is cut, damaged or full."""

from __future__ import annotations

import fcntl
import os
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.scans import Visit
from core.services.journal import writer
from core.services.journal.records import (
    HEADER,
    MAX_BODY,
    Arrival,
    Record,
    Tally,
    frame,
    read,
    version_of,
)
from core.services.journal.writer import SUFFIX, Journal
from core.settings import ScansSettings, Sync

NOW = datetime(2026, 5, 6, 12, tzinfo=UTC)
CODE, ORGANIZATION = UUID(int=1), UUID(int=2)

visits = st.builds(
    Visit,
    code_id=st.uuids(),
    organization_id=st.uuids(),
    at=st.datetimes(
        timezones=st.just(UTC),
        min_value=datetime(1980, 1, 1),  # noqa: DTZ001
    ),
    address=st.text(max_size=40),
    user_agent=st.text(max_size=60),
    prefetch=st.booleans(),
    referrer=st.text(max_size=20),
)
records = st.one_of(
    st.builds(Arrival, visits),
    st.builds(Tally, st.dates(), st.integers(0, 2**40), st.integers(0, 2**40)),
)


def visit(n: int = 0) -> Visit:
    return Visit(CODE, ORGANIZATION, NOW + timedelta(seconds=n), "192.0.2.1", f"agent {n}")


def whole(data: bytes, *, finished: bool) -> list[Record]:
    return [record for record, _ in read(data, 1, finished=finished)]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def recorded(folder: Path) -> list[Record]:
    found: list[Record] = []
    for path in files(folder):
        data = path.read_bytes()
        assert version_of(data[: len(HEADER)]) == 1
        found += whole(data[len(HEADER) :], finished=True)
    return found


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def make(folder: Path, **settings: Any) -> Journal:
    return Journal(folder, ScansSettings(**settings), lambda: NOW)


@given(st.lists(records, max_size=5))
def test_records_come_back_as_they_were_written(written: list[Record]) -> None:
    data = b"".join(map(frame, written))
    assert whole(data, finished=True) == whole(data, finished=False) == written


@given(st.lists(records, min_size=1, max_size=4), st.data())
def test_every_length_of_a_file_holds_exactly_its_whole_records(
    written: list[Record], data: st.DataObject
) -> None:
    frames = [frame(record) for record in written]
    text = b"".join(frames)
    cut = data.draw(st.integers(0, len(text)))
    ends = [sum(map(len, frames[: n + 1])) for n in range(len(frames))]
    expected = [record for record, end in zip(written, ends, strict=True) if end <= cut]
    for finished in (False, True):
        assert whole(text[:cut], finished=finished) == expected


def test_every_prefix_of_a_file_is_read_exactly() -> None:
    frames = [frame(Arrival(visit(n))) for n in range(3)]
    text = b"".join(frames)
    for cut in range(len(text) + 1):
        expected = sum(sum(map(len, frames[: n + 1])) <= cut for n in range(3))
        assert len(whole(text[:cut], finished=True)) == expected


@given(st.binary(min_size=1, max_size=300), st.lists(records, min_size=1, max_size=3))
def test_damage_in_a_finished_file_costs_nothing_that_follows_it(
    damage: bytes, written: list[Record]
) -> None:
    first = frame(Arrival(visit()))
    text = first + damage + b"".join(map(frame, written))
    assert whole(text, finished=True)[-len(written) :] == written


def test_zeros_that_a_crash_leaves_are_no_records() -> None:
    text = frame(Arrival(visit(1))) + bytes(4096) + frame(Arrival(visit(2)))
    assert whole(text, finished=True) == [Arrival(visit(1)), Arrival(visit(2))]


def test_what_is_being_written_is_waited_for() -> None:
    text = frame(Arrival(visit(1))) + frame(Arrival(visit(2)))[:-1]
    assert whole(text, finished=False) == [Arrival(visit(1))]


def test_a_length_beyond_all_bounds_is_a_damage() -> None:
    huge = (MAX_BODY + 1).to_bytes(4, "little") + bytes(4)
    assert whole(huge + frame(Arrival(visit())), finished=True) == [Arrival(visit())]


@pytest.mark.parametrize(
    "header", [b"", HEADER[:-1], b"QZSCAN\xff\n", b"QZSCAN\x01\r", b"SQLite f", HEADER + b"x"]
)
def test_a_file_of_another_kind_or_a_later_version_has_no_version(header: bytes) -> None:
    assert version_of(header) is None


def test_files_of_version_1_are_read_for_ever() -> None:
    sample = bytes.fromhex(SAMPLE_1)
    assert version_of(sample[: len(HEADER)]) == 1
    assert whole(sample[len(HEADER) :], finished=True) == [
        Arrival(visit(7)),
        Tally(date(2026, 5, 6), 3, 1),
    ]


def test_a_scan_is_in_the_file_once_it_is_recorded(tmp_path: Path) -> None:
    journal = make(tmp_path / "deep" / "folder")
    for n in range(3):
        journal.record(visit(n))
    assert recorded(tmp_path / "deep" / "folder") == [Arrival(visit(n)) for n in range(3)]


def test_a_file_is_locked_until_it_is_finished(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.record(visit())
    (path,) = files(tmp_path)
    assert is_locked(path)
    assert path.stat().st_mode & 0o777 == 0o600
    journal.close()
    assert not is_locked(path)
    journal.record(visit())
    assert len(files(tmp_path)) == 2


def test_nothing_is_made_where_nothing_is_recorded(tmp_path: Path) -> None:
    journal = make(tmp_path / "journal")
    journal.close()
    assert not (tmp_path / "journal").exists()


def test_many_threads_record_into_one_file(tmp_path: Path) -> None:
    journal = make(tmp_path, sync=Sync.ALWAYS)
    threads = [
        threading.Thread(target=lambda n=n: [journal.record(visit(n * 50 + i)) for i in range(50)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    agents = {
        record.visit.user_agent for record in recorded(tmp_path) if isinstance(record, Arrival)
    }
    assert agents == {f"agent {n}" for n in range(400)}


def test_always_waits_for_the_disk_and_never_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda file: sizes.append(os.fstat(file).st_size))
    for sync in Sync:
        sizes.clear()
        journal = make(tmp_path / sync, sync=sync)
        journal.record(visit())
        (path,) = files(tmp_path / sync)
        assert sizes == ([path.stat().st_size] if sync is Sync.ALWAYS else [])
        journal.flush()
        journal.close()
        assert sizes == ([] if sync is Sync.NEVER else [path.stat().st_size])


def test_the_background_syncs_and_finishes_files(tmp_path: Path) -> None:
    journal = make(tmp_path, sync_interval=0.001, rotate_after=0.1)
    journal.keep()
    journal.record(visit())
    (path,) = files(tmp_path)
    finished = threading.Event()
    while is_locked(path):
        assert not finished.wait(0.005)
    journal.record(visit(1))
    assert len(files(tmp_path)) == 2
    journal.close()


def test_a_full_journal_drops_scans_and_counts_them(tmp_path: Path) -> None:
    journal = make(tmp_path, max_journal_bytes=1_048_576)
    (tmp_path / f"{uuid4().hex}{SUFFIX}").write_bytes(
        bytes(1_048_576 - 2 * len(frame(Arrival(visit()))))
    )
    for n in range(5):
        journal.record(visit(n))
    assert journal.dropped == 3
    journal.close()
    (path,) = (path for path in files(tmp_path) if path.read_bytes()[:6] == HEADER[:6])
    assert whole(path.read_bytes()[len(HEADER) :], finished=True) == [
        Arrival(visit(0)),
        Arrival(visit(1)),
        Tally(NOW.date(), 0, 3),
    ]


def test_half_a_record_on_a_full_disk_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = make(tmp_path)
    journal.record(visit(0))
    write = os.write
    monkeypatch.setattr(writer.os, "write", lambda file, data: write(file, data[:20]))
    journal.record(visit(1))
    monkeypatch.setattr(writer.os, "write", write)
    journal.record(visit(2))
    assert journal.dropped == 1
    assert recorded(tmp_path) == [Arrival(visit(0)), Arrival(visit(2))]


def test_a_disk_that_takes_nothing_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    write = os.write
    monkeypatch.setattr(writer.os, "write", refuse)
    journal = make(tmp_path)
    for n in range(20):
        journal.record(visit(n))
    assert journal.dropped == 20
    assert "No space left" in caplog.text
    assert len(caplog.records) < 5
    monkeypatch.setattr(writer.os, "write", write)
    journal.record(visit(20))
    journal.close()
    assert recorded(tmp_path) == [Arrival(visit(20)), Tally(NOW.date(), 0, 20)]
    assert not list(tmp_path.glob("*.new"))


def test_unknown_slugs_are_counted_by_day(tmp_path: Path) -> None:
    journal = make(tmp_path)
    for _ in range(3):
        journal.miss()
    journal.flush()
    journal.flush()
    assert recorded(tmp_path) == [Tally(NOW.date(), 3, 0)]


SAMPLE_1 = (
    "515a5343414e010aa3000000dcd70a6692a1768aa7636f64655f6964c4100000000000000000000000000000"
    "0001af6f7267616e697a6174696f6e5f6964c41000000000000000000000000000000002a26174d6ff69fb2d"
    "47a761646472657373a93139322e302e322e31aa757365725f6167656e74a76167656e742037a87072656665"
    "746368c2ac646f5f6e6f745f747261636bc2a86c616e6775616765a0a87265666572726572a0a7636f756e74"
    "7279a0100000009d5025ed94a174aa323032362d30352d30360301"
)
