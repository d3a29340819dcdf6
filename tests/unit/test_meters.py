"""What is counted is counted once, of all workers, and told by spans of time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.ports import SpaceFigures
from core.services.meters import Looks, Meters, Namespace, Readings

SECOND = 1_000_000_000
IMAGE = Namespace.IMAGE


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_003 * SECOND

    def __call__(self) -> int:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meters(tmp_path: Path, clock: Clock) -> Iterator[Meters]:
    counting = Meters(tmp_path / "data" / "meters", clock)
    counting.begin()
    counting.open()
    yield counting
    counting.close()


def read(meters: Meters, namespace: Namespace = IMAGE) -> Readings:
    return meters.read().namespaces[namespace]


def test_nothing_was_looked_for_at_first(meters: Meters) -> None:
    nothing = Looks(0, 0, None, 0, 0, 0, 0, 0, 0, None)
    assert meters.read().workers == 1
    assert set(meters.read().namespaces) == set(Namespace)
    assert read(meters) == Readings(nothing, nothing, nothing, 0, 0)


def test_looks_are_counted_with_their_bytes_and_their_time(meters: Meters, clock: Clock) -> None:
    began = clock.now
    clock.forward(0.000_010)
    meters[IMAGE].hit(began, 700)
    meters[IMAGE].hit(began, 300)
    clock.forward(0.000_010)
    meters[IMAGE].miss(began)
    meters[IMAGE].written(500)
    meters[IMAGE].error()
    looks = read(meters).since_start
    assert (looks.hits, looks.misses, looks.errors) == (2, 1, 1)
    assert looks.hit_ratio == pytest.approx(2 / 3)
    assert (looks.bytes_read, looks.bytes_written) == (1000, 500)
    assert looks.mean_us == pytest.approx(40 / 3)
    assert read(meters, Namespace.CODE).since_start.hits == 0


def test_a_span_forgets_what_was_before_it(meters: Meters, clock: Clock) -> None:
    meters[IMAGE].hit(clock.now)
    clock.forward(30)
    meters[IMAGE].hit(clock.now)
    readings = read(meters)
    assert (readings.last_minute.hits, readings.last_hour.hits) == (2, 2)
    clock.forward(45)
    assert read(meters).last_minute.hits == 1
    clock.forward(45)
    readings = read(meters)
    assert (readings.last_minute.hits, readings.last_hour.hits) == (0, 2)
    clock.forward(3600)
    readings = read(meters)
    assert (readings.last_hour.hits, readings.since_start.hits) == (0, 2)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.one_of(st.floats(0.1, 20), st.floats(20, 4000)), max_size=60), st.floats(0, 90))
def test_a_span_holds_all_of_its_time_and_little_more(
    tmp_path: Path, pauses: list[float], rest: float
) -> None:
    clock = Clock()
    meters = Meters(tmp_path / "none", clock)
    times = []
    for pause in pauses:
        clock.forward(pause)
        meters[IMAGE].hit(clock.now)
        times.append(clock.now)
    clock.forward(rest)
    readings = read(meters)
    for looks, span, grain in ((readings.last_minute, 60, 5), (readings.last_hour, 3600, 60)):
        ages = [(clock.now - time) / SECOND for time in times]
        least, most = (sum(age <= limit for age in ages) for limit in (span, span + grain))
        assert least <= looks.hits <= most
    assert readings.since_start.hits == len(times)


def test_all_workers_are_summed_up_and_a_dead_ones_counts_stay(
    meters: Meters, tmp_path: Path, clock: Clock
) -> None:
    meters[IMAGE].hit(clock.now)
    file = tmp_path / "data" / "meters"
    program = f"""
        import os, signal
        from pathlib import Path
        from core.services.meters import Meters, Namespace
        meters = Meters(Path({str(file)!r}), lambda: {clock.now})
        meters.open()
        meters[Namespace.IMAGE].hit({clock.now})
        meters[Namespace.IMAGE].held(5)
        print(meters.read().workers, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    sizes = []
    for dead in range(3):
        command = [sys.executable, "-c", textwrap.dedent(program)]
        other = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        assert other.stdout == "2\n"
        report = meters.read()
        assert report.workers == 1
        readings = report.namespaces[IMAGE]
        assert (readings.since_start.hits, readings.last_minute.hits) == (2 + dead, 2 + dead)
        assert readings.entries == 0
        sizes.append(file.stat().st_size)
    # Each of them took the place of the one before it.
    assert len(set(sizes)) == 1


def test_what_is_held_is_of_the_living_alone(meters: Meters, tmp_path: Path) -> None:
    other = Meters(tmp_path / "data" / "meters")
    other.open()
    other[IMAGE].held(3)
    other[IMAGE].held(-1, evictions=1)
    meters[IMAGE].told(SpaceFigures(10, 4000, 1, errors=2))
    meters[IMAGE].told(SpaceFigures(9, 3500, 4, errors=2))
    readings = read(meters)
    assert (readings.entries, readings.size) == (11, 3500)
    assert (readings.since_start.evictions, readings.since_start.errors) == (5, 2)
    other.close()
    readings = read(meters)
    assert (readings.entries, readings.since_start.evictions) == (9, 5)


def test_the_service_counts_from_nothing_when_it_starts(
    meters: Meters, tmp_path: Path, clock: Clock
) -> None:
    meters[IMAGE].hit(clock.now)
    fresh = Meters(tmp_path / "data" / "meters", clock)
    fresh.begin()
    assert fresh.read().namespaces[IMAGE].since_start.hits == 0
    # Who maps the old file goes on with it, and harms nobody.
    meters[IMAGE].hit(clock.now)
    assert fresh.read().namespaces[IMAGE].since_start.hits == 0


def test_without_a_file_a_process_counts_for_itself(tmp_path: Path, clock: Clock) -> None:
    meters = Meters(tmp_path / "none", clock)
    meters.open()
    meters[IMAGE].hit(clock.now)
    report = meters.read()
    assert (report.workers, report.namespaces[IMAGE].since_start.hits) == (1, 1)
    assert not (tmp_path / "none").exists()
    meters.close()


def test_a_full_disk_makes_a_worker_count_for_itself(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    meters = Meters(tmp_path / "meters", clock)
    meters.begin()
    monkeypatch.setattr(os, "posix_fallocate", no_room)
    meters.open()
    meters[IMAGE].hit(clock.now)
    assert read(meters).since_start.hits == 1
    assert "No space left on device" in caplog.text
    meters.close()


@pytest.mark.parametrize("content", [b"", b"junk" * 5000, b"qzmeter1"])
def test_a_file_that_is_none_is_left_alone(tmp_path: Path, clock: Clock, content: bytes) -> None:
    file = tmp_path / "meters"
    file.write_bytes(content)
    meters = Meters(file, clock)
    meters.open()
    meters[IMAGE].hit(clock.now)
    assert read(meters).since_start.hits == 1
    meters.close()
    assert file.read_bytes() == content


def test_no_count_is_lost_between_threads(meters: Meters, clock: Clock) -> None:
    def look() -> None:
        for _ in range(2000):
            meters[IMAGE].hit(clock.now, 3)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    looks = read(meters).since_start
    assert (looks.hits, looks.bytes_read) == (8000, 24_000)


def test_a_file_that_somebody_has_written_into_harms_no_request(
    meters: Meters, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "data" / "meters"
    meters[IMAGE].hit(clock.now)
    with file.open("r+b") as damaged:
        damaged.seek(8)
        damaged.write(b"\xff" * (file.stat().st_size - 8))
        damaged.seek(4096)
        damaged.write(b"\xff\xff\xff\xff\xff\xff\xff\x7f" * 60)
    meters.read()
    for _ in range(3):
        meters[IMAGE].hit(clock.now, 5)
        meters[IMAGE].written(5)
    assert read(meters).since_start.hits >= 2
    assert "is damaged" in caplog.text
