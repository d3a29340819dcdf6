"""The scan journal: what is whole in it is kept, whatever is cut, damaged or full."""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.domain.scans import Visit
from core.services.journal import losses, writer
from core.services.journal.folder import LOCK, SUFFIX, File
from core.services.journal.losses import LossCounter, Losses
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
from core.services.journal.writer import Journal
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
    return [record for record, _ in read(data, 1, finished=finished) if record is not None]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def recorded(folder: Path) -> list[Record]:
    found: list[Record] = []
    for path in files(folder):
        data = path.read_bytes()
        assert version_of(data[: len(HEADER)]) == 1
        found += whole(data[len(HEADER) :], finished=True)
    return found


def recorded_by_us(folder: Path) -> list[Record]:
    """What is in the files that begin as ours do."""
    found: list[Record] = []
    for path in files(folder):
        data = path.read_bytes()
        if data.startswith(HEADER):
            found += whole(data[len(HEADER) :], finished=True)
    return found


def full(*_: object) -> int:
    """What a full disk says to whoever writes."""
    raise OSError(28, "No space left on device")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


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


@pytest.mark.parametrize("zeros", [7, 8, 9, 4096, 8 * 1024 * 1024])
@pytest.mark.parametrize("length", [1, 256, MAX_BODY])
def test_zeros_hide_no_record_behind_them_whatever_its_length_begins_with(
    zeros: int, length: int
) -> None:
    body = msgspec.msgpack.encode("x" * length)[:length]
    record = len(body).to_bytes(4, "little") + crc32(body).to_bytes(4, "little") + body
    ends = [end for _, end in read(bytes(zeros) + record, 1, finished=True)]
    assert ends == [zeros + len(record)]


@pytest.mark.parametrize("body", [b"\x93\xa1q\x01\x02", b"\x92\xa1t\xa2\xff\xff", b"\x01"])
@pytest.mark.parametrize("finished", [False, True])
def test_a_whole_record_that_nobody_understands_is_told_and_passed_over(
    body: bytes, finished: bool
) -> None:
    strange = len(body).to_bytes(4, "little") + crc32(body).to_bytes(4, "little") + body
    text = strange + frame(Arrival(visit()))
    assert list(read(text, 1, finished=finished)) == [
        (None, len(strange)),
        (Arrival(visit()), len(text)),
    ]


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
    # The drainer has been there.
    (tmp_path / LOCK).touch()
    wait_until(lambda: not is_locked(path))
    journal.record(visit(1))
    assert len(files(tmp_path)) == 2
    journal.close()


def test_a_file_is_not_finished_for_its_age_while_nothing_is_drained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(writer.time, "monotonic", lambda: now)
    (tmp_path / LOCK).touch()
    journal = make(tmp_path, rotate_after=10)
    journal.record(visit())
    journal.flush()
    now += 3600
    assert not journal._is_ripe()
    os.utime(tmp_path / LOCK, ns=(1, 1))
    assert journal._is_ripe()
    journal.close()


def test_a_file_that_vanishes_while_it_is_measured_costs_no_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / f"{uuid4().hex}{SUFFIX}"
    gone.touch()
    scandir = os.scandir

    class Listed:
        """A listing whose first file is removed before anybody looks at it."""

        def __init__(self, path: Path) -> None:
            self._entries = scandir(path)

        def __enter__(self) -> list[os.DirEntry[str]]:
            entries = list(self._entries)
            gone.unlink(missing_ok=True)
            return entries

        def __exit__(self, *_: object) -> None:
            self._entries.close()

    monkeypatch.setattr(os, "scandir", Listed)
    journal = make(tmp_path)
    journal.record(visit())
    assert not gone.exists()
    assert journal.losses.dropped == 0
    assert recorded(tmp_path) == [Arrival(visit())]


def test_the_room_is_measured_once_a_second_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = 0
    measure = writer.files

    def files_of(folder: Path, suffix: str) -> list[File]:
        nonlocal measured
        measured += 1
        return measure(folder, suffix)

    now = 1000.0
    monkeypatch.setattr(writer.time, "monotonic", lambda: now)
    monkeypatch.setattr(writer, "files", files_of)
    journal = make(tmp_path)
    for n in range(50):
        journal.record(visit(n))
        journal.close()
    assert measured == 1
    assert len(files(tmp_path)) == 50
    now += 2
    journal.record(visit())
    assert measured == 2
    journal.close()


def test_the_name_of_a_file_is_written_out_once_with_its_first_scans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    monkeypatch.setattr(writer, "write_out", written.append)
    journal = make(tmp_path, sync=Sync.ALWAYS)
    for n in range(3):
        journal.record(visit(n))
    assert written == [tmp_path]
    journal.close()
    journal.record(visit())
    assert written == [tmp_path, tmp_path]
    journal.close()


def fill(folder: Path, *, but: int) -> None:
    """A file of somebody else that leaves room for so many scans in a journal of 1 MiB."""
    (folder / f"{uuid4().hex}{SUFFIX}").write_bytes(
        bytes(1_048_576 - but * len(frame(Arrival(visit()))))
    )


def test_a_full_journal_drops_scans_and_counts_them(tmp_path: Path) -> None:
    journal = make(tmp_path, max_journal_bytes=1_048_576)
    fill(tmp_path, but=2)
    for n in range(5):
        journal.record(visit(n))
    assert journal.losses == Losses(NOW, 3, 0, NOW)
    journal.close()
    (path,) = (path for path in files(tmp_path) if path.read_bytes()[:6] == HEADER[:6])
    assert whole(path.read_bytes()[len(HEADER) :], finished=True) == [
        Arrival(visit(0)),
        Arrival(visit(1)),
        Tally(NOW.date(), 0, 3),
    ]


def test_a_full_journal_does_not_grow_by_the_counts_of_what_it_drops(tmp_path: Path) -> None:
    journal = make(tmp_path, max_journal_bytes=1_048_576)
    fill(tmp_path, but=0)
    journal.record(visit())
    journal.flush()
    size = sum(path.stat().st_size for path in files(tmp_path))
    for n in range(20):
        journal.record(visit(n))
        journal.flush()
    assert sum(path.stat().st_size for path in files(tmp_path)) == size
    journal.close()
    assert sum(r.dropped for r in recorded_by_us(tmp_path) if isinstance(r, Tally)) == 21


def test_what_is_dropped_is_logged_with_its_number_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr(writer.time, "monotonic", lambda: now)
    monkeypatch.setattr(writer.os, "write", full)
    journal = make(tmp_path)
    numbers = []
    for count in (1, 30, 7):
        caplog.clear()
        for n in range(count):
            journal.record(visit(n))
        numbers += [re.search(r"recorded: (\d+) since", text)[1] for text in caplog.messages]  # type: ignore[index]
        now += 1.5
    caplog.clear()
    journal.close()
    numbers += [re.search(r"recorded: (\d+) since", text)[1] for text in caplog.messages]  # type: ignore[index]
    # The first at once, and what came after a report is told with the next one.
    assert [int(number) for number in numbers] == [1, 1, 30, 6]
    assert "No space left on device" in caplog.text


def test_every_process_sees_what_all_of_them_have_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals = [make(tmp_path) for _ in range(3)]
    journals[0].begin()
    monkeypatch.setattr(writer.os, "write", full)
    for n, journal in enumerate(journals):
        for _ in range(n + 1):
            journal.record(visit())
    # A process that is killed takes nothing of it along.
    assert [journal.losses.dropped for journal in (*journals, make(tmp_path))] == [6] * 4
    journals[0].begin()
    assert make(tmp_path).losses.dropped == 0


def test_what_cannot_be_counted_in_the_file_now_is_added_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = LossCounter(tmp_path, lambda: NOW)
    counter.begin()
    holder = os.open(tmp_path / "losses", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    counter.add(dropped=2)
    assert counter.read().dropped == 2
    assert LossCounter(tmp_path, lambda: NOW).read().dropped == 0
    os.close(holder)
    counter.write()
    counter.write()
    assert LossCounter(tmp_path, lambda: NOW).read() == Losses(NOW, 2, 0, NOW)
    counter.close()


def test_each_process_counts_in_a_place_of_its_own_and_the_dead_are_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "_PLACES", 3)
    monkeypatch.setattr(losses, "_SIZE", losses._HEAD.size + 3 * losses._PLACE.size)
    LossCounter(tmp_path, lambda: NOW).begin()
    # Four more than there are places: each is taken over with what its owner has counted.
    for n in range(1, 8):
        counter = LossCounter(tmp_path, lambda: NOW)
        counter.open()
        counter.add(dropped=1)
        counter.add(unsynced=2)
        counter.close()
        assert counter.read() == Losses(NOW, n, 2 * n, NOW)
    alive = LossCounter(tmp_path, lambda: NOW)
    alive.open()
    LossCounter(tmp_path, lambda: NOW).begin()
    other = LossCounter(tmp_path, lambda: NOW)
    other.add(dropped=5)
    assert other.read().dropped == 5
    other.close()
    alive.close()


@pytest.mark.parametrize("fails", ["dup", "fdatasync"])
def test_a_disk_that_does_not_confirm_stops_nobody_and_is_told(
    tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: int) -> int:
        raise OSError(5, "Input/output error")

    journal = make(tmp_path, sync=Sync.ALWAYS)
    journal.record(visit(0))
    with monkeypatch.context() as broken:
        broken.setattr(writer.os, fails, refuse)
        for n in range(3):
            journal.record(visit(n + 1))
    assert (journal.losses.dropped, journal.losses.unsynced) == (0, 3)
    assert len(caplog.messages) == 1
    assert "not safe on its disk" in caplog.text
    journal.close()
    assert recorded(tmp_path) == [Arrival(visit(n)) for n in range(4)]


def test_whatever_goes_wrong_with_a_scan_is_no_matter_of_the_visitor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = make(tmp_path)
    # No codec has this character.
    journal.record(replace(visit(), user_agent="\ud800"))
    assert journal.losses.dropped == 1
    assert "UnicodeEncodeError" in caplog.text
    journal.close()


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
    assert journal.losses.dropped == 1
    assert recorded(tmp_path) == [Arrival(visit(0)), Arrival(visit(2))]


def test_a_disk_that_takes_nothing_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = os.write
    monkeypatch.setattr(writer.os, "write", full)
    journal = make(tmp_path)
    for n in range(20):
        journal.record(visit(n))
    assert journal.losses.dropped == 20
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
