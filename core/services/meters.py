"""Counts how often what is cached was found, in a file that all workers of the machine map."""

from __future__ import annotations

import enum
import fcntl
import logging
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock

from msgspec import Struct

from core.domain.accounts import Instant
from core.ports import SpaceFigures

_log = logging.getLogger(__name__)


class Namespace(enum.StrEnum):
    """What is remembered; the keys of what is in the cache begin with it.

    The order is that of the file: a new one comes last.
    """

    IMAGE = "image"
    PROOF = "proof"
    STATS = "stats"
    TIMELINE = "timeline"
    CODE = "code"
    SESSION = "session"


# What is counted of a namespace, each in one word. The last two are a state: they go up and down.
_HITS, _MISSES, _ERRORS, _EVICTIONS, _TOO_LARGE, _REFUSED = range(6)
_BYTES_READ, _BYTES_WRITTEN, _NANOSECONDS, _ENTRIES, _SIZE = range(6, 11)
_COUNTS = 11


class _Ring(Struct, frozen=True):
    """Rows of a place that are copies of its counts, one for every `every` ns of `span` ns.

    A copy is made before the first count of its time, and none where nothing is counted.
    """

    first: int
    every: int
    span: int

    @property
    def length(self) -> int:
        """How many rows there are."""
        return self.span // self.every + 1


_S = 1_000_000_000
_FIRST = {name: 1 + number * _COUNTS for number, name in enumerate(Namespace)}
_ROW = 1 + len(Namespace) * _COUNTS
"""Words of 64 bits in a row: when it was copied (ns), then the counts. Row 0 are the counts
themselves, behind the id of their process."""

_MINUTE = _Ring(1, 5 * _S, 60 * _S)
_HOUR = _Ring(1 + _MINUTE.length, 60 * _S, 3600 * _S)
_PAGE = 4096
_PLACE = -(-(_HOUR.first + _HOUR.length) * _ROW * 8 // _PAGE) * _PAGE
"""The bytes of one worker in the file, behind a page for its head."""

_HEAD = struct.Struct("<8sd")
"""What the file is, and since when is counted (seconds since 1970)."""

_MAGIC = b"qzmeter1"
_MAX_PLACES = 1024
_MAX_PID = 2**22


class Looks(Struct, frozen=True):
    """How often something was looked for in a span of time, and what came of it.

    `hit_ratio` is None where nothing was looked for. So many values were `too_large` to be kept,
    or `refused` because their organisation has added too many; so many bytes were found and kept.
    `mean_us` is how long a look takes on the average, in microseconds.
    """

    hits: int
    misses: int
    hit_ratio: float | None
    errors: int
    evictions: int
    too_large: int
    refused: int
    bytes_read: int
    bytes_written: int
    mean_us: float | None


class Readings(Struct, frozen=True):
    """What the workers have counted of one namespace.

    The minute is told to within 5 seconds, the hour to within a minute. `entries` and `size`
    (bytes) are what they hold in their own memory now.
    """

    last_minute: Looks
    last_hour: Looks
    since_start: Looks
    entries: int
    size: int


class Report(Struct, frozen=True):
    """The readings of all namespaces, since when is counted, and how many workers count now."""

    since: Instant
    workers: int
    namespaces: Mapping[str, Readings]


class Meters:
    """The counts of this process, in a place of their own in the file.

    The place of a worker that has died, with its counts, goes to the next one. Where there is no
    file, or no room for it, a process counts for itself. `clock` counts nanoseconds, never goes
    back, and is the same for all processes of the machine.
    """

    def __init__(self, file: Path, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._file = file
        self._clock = clock
        self._lock = Lock()
        self._since = time.time()
        self._map: mmap.mmap | None = None
        self._words = _words(bytearray(_PLACE))
        self._turn_at = 0
        self._meters = {name: Meter(self, name) for name in Namespace}

    def __getitem__(self, namespace: Namespace) -> Meter:
        return self._meters[namespace]

    def begin(self) -> None:
        """Count from nothing, as the service does when it starts; raises nothing."""
        # NOTE: a new file: workers of a service that was killed may still map the old one.
        draft = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(_HEAD.pack(_MAGIC, time.time()).ljust(_PAGE, b"\0"))
            draft.replace(self._file)
        except OSError as error:
            # What was counted before the start must not be counted on.
            for file in (draft, self._file):
                with suppress(OSError):
                    file.unlink()
            _log.warning("what the cache does is counted by each worker for itself: %s", error)

    def open(self) -> None:
        """Take a place, where the service has begun to count; raises nothing."""
        try:
            with self._file.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                try:
                    self._take_place(file.fileno())
                finally:
                    # NOTE: the map keeps the file open, and would keep its lock.
                    fcntl.flock(file, fcntl.LOCK_UN)
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning("what the cache does is counted by this worker for itself: %s", error)

    def close(self) -> None:
        """Leave the place, with what was counted, to another worker."""
        with self._lock:
            if self._map is not None:
                words, self._words = self._words, _words(bytearray(_PLACE))
                _vacate(words)
                words.release()
                self._map.close()
                self._map = None

    def read(self) -> Report:
        """What was counted on this machine."""
        now, since = self._clock(), self._since
        places: list[memoryview[int]] = []
        with suppress(OSError):
            data = self._file.read_bytes()
            if len(data) >= _PAGE and data.startswith(_MAGIC):
                _, told = _HEAD.unpack_from(data)
                since = told if 0 <= told <= time.time() else since
                starts = range(_PAGE, len(data) - _PLACE + 1, _PLACE)
                places = [_words(data[start : start + _PLACE]) for start in starts]
        if self._map is None:
            places.append(self._words)
        return Report(
            datetime.fromtimestamp(since, UTC),
            sum(_is_alive(place[0]) for place in places),
            {name: _readings(places, first, now) for name, first in _FIRST.items()},
        )

    def note(self, *counts: tuple[int, int]) -> None:
        """Count on, each word by so much."""
        words = self._words_of_now(self._clock())
        try:
            for word, by in counts:
                words[word] += by
        except ValueError:
            self._give_up(words)

    def look(self, first: int, outcome: int, began: int, size: int = 0) -> None:
        """Count a look at the namespace whose words begin there."""
        # PERF: each request looks several times, so this is `note` for what is always the same.
        # Nothing is locked, which would take longer than the rest, and is not needed: CPython lets
        # other threads run where something is called, and not within one of these additions.
        now = self._clock()
        words = self._words if now < self._turn_at else self._words_of_now(now)
        try:
            words[first + outcome] += 1
            words[first + _NANOSECONDS] += now - began
            if size:
                words[first + _BYTES_READ] += size
        except ValueError:
            self._give_up(words)

    def _words_of_now(self, now: int) -> memoryview[int]:
        """The words to count in; where it is time for it, they are copied into the rings before."""
        if now >= self._turn_at:
            with self._lock:
                words = self._words
                try:
                    if now >= self._turn_at:
                        self._turn(now)
                    return words
                except ValueError:
                    pass
            self._give_up(words)
        return self._words

    def _give_up(self, words: memoryview[int]) -> None:
        """Count anew, for this process alone: somebody has written into the file."""
        with self._lock:
            # Another thread may have seen it before, or the place may have been left.
            if words is not self._words:
                return
            _log.warning(
                "%s is damaged; this worker counts what its caches do for itself", self._file
            )
            self._words, self._map, self._turn_at = _words(bytearray(_PLACE)), None, 0

    def _turn(self, now: int) -> None:
        """Copy the counts into the rings whose time for it has come."""
        words = self._words
        words[0] = os.getpid()
        for ring in (_MINUTE, _HOUR):
            turn = now // ring.every
            row = _ROW * (ring.first + turn % ring.length)
            if words[row] // ring.every != turn:
                words[row] = 0
                words[row + 1 : row + _ROW] = words[1:_ROW]
                words[row] = now
        self._turn_at = (now // _MINUTE.every + 1) * _MINUTE.every

    def _take_place(self, file: int) -> None:
        """Map the first place that no living process has, or a new one; raises OSError."""
        if os.pread(file, len(_MAGIC), 0) != _MAGIC:
            _log.warning("%s is no file of ours; this worker counts for itself", self._file)
            return
        number = (os.fstat(file).st_size - _PAGE) // _PLACE
        for taken in range(number):
            pid = int.from_bytes(os.pread(file, 8, _PAGE + taken * _PLACE), sys.byteorder)
            if not _is_alive(pid):
                number = taken
                break
        else:
            if number >= _MAX_PLACES:
                return
            # NOTE: a page that the disk has no room for would kill whoever writes into it.
            os.posix_fallocate(file, _PAGE + number * _PLACE, _PLACE)
        with self._lock:
            self._map = mmap.mmap(file, _PLACE, offset=_PAGE + number * _PLACE)
            self._words = _words(self._map)
            _vacate(self._words)
            self._words[0] = os.getpid()
            self._turn_at = 0


class Meter:
    """Counts what becomes of one namespace."""

    def __init__(self, meters: Meters, namespace: Namespace) -> None:
        self._note = meters.note
        self._first = _FIRST[namespace]
        self._known = SpaceFigures(0, 0, 0)
        # PERF: each request looks several times, and a function around another one takes longer
        # than what it does here.
        self.hit = partial(meters.look, self._first, _HITS)
        """Count a look that found so many bytes; it began then (`time.monotonic_ns`)."""
        self.miss = partial(meters.look, self._first, _MISSES)
        """Count a look that found nothing of use; it began then."""

    def error(self) -> None:
        """Count something that was not what had been kept."""
        self._note((self._first + _ERRORS, 1))

    def refused(self) -> None:
        """Count a value that was not to be kept."""
        self._note((self._first + _REFUSED, 1))

    def written(self, size: int) -> None:
        """Count so many bytes that were kept."""
        self._note((self._first + _BYTES_WRITTEN, size))

    def held(self, entries: int, evictions: int = 0) -> None:
        """Count so many entries more, or fewer, in the memory of this process."""
        self._note((self._first + _ENTRIES, entries), (self._first + _EVICTIONS, evictions))

    def told(self, figures: SpaceFigures) -> None:
        """Count what has changed since the cache has told its figures before."""
        first, known, self._known = self._first, self._known, figures
        self._note(
            (first + _ENTRIES, (figures.entries or 0) - (known.entries or 0)),
            (first + _SIZE, (figures.size or 0) - (known.size or 0)),
            (first + _EVICTIONS, (figures.evictions or 0) - (known.evictions or 0)),
            (first + _ERRORS, figures.errors - known.errors),
            (first + _TOO_LARGE, figures.too_large - known.too_large),
        )


def _words(data: bytes | bytearray | mmap.mmap) -> memoryview[int]:
    return memoryview(data).cast("q")


def _is_alive(pid: int) -> bool:
    if not 0 < pid <= _MAX_PID:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # It is of somebody else.
        return True
    return True


def _vacate(words: memoryview[int]) -> None:
    """Of who had the place, leave what was counted, and not what was held."""
    words[0] = 0
    for first in _FIRST.values():
        words[first + _ENTRIES] = words[first + _SIZE] = 0


def _readings(places: Sequence[memoryview[int]], first: int, now: int) -> Readings:
    current = [place[first : first + _COUNTS].tolist() for place in places]
    held = [counts for counts, place in zip(current, places, strict=True) if _is_alive(place[0])]
    whole = _sum(current)

    def since(ring: _Ring) -> Looks:
        before = [
            _copy(place, ring, now, first) or counts
            for place, counts in zip(places, current, strict=True)
        ]
        return _looks([a - b for a, b in zip(whole, _sum(before), strict=True)])

    return Readings(
        since(_MINUTE),
        since(_HOUR),
        _looks(whole),
        sum(counts[_ENTRIES] for counts in held),
        sum(counts[_SIZE] for counts in held),
    )


def _copy(place: memoryview[int], ring: _Ring, now: int, first: int) -> list[int] | None:
    """The counts at the beginning of the ring's span; None where nothing was counted in it."""
    rows = range(ring.first * _ROW, (ring.first + ring.length) * _ROW, _ROW)
    oldest = (now - ring.span) // ring.every * ring.every
    within = [row for row in rows if oldest <= place[row] <= now]
    if not within:
        return None
    row = min(within, key=lambda row: place[row])
    return place[row + first : row + first + _COUNTS].tolist()


def _sum(counts: Sequence[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip(*counts, strict=True)] or [0] * _COUNTS


def _looks(counts: Sequence[int]) -> Looks:
    hits, misses, errors, evictions, too_large, refused, read, written, nanoseconds, *_ = counts
    looks = hits + misses
    return Looks(
        hits,
        misses,
        hits / looks if looks else None,
        errors,
        evictions,
        too_large,
        refused,
        read,
        written,
        nanoseconds / looks / 1000 if looks else None,
    )
