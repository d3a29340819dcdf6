"""Counts the scans that could not be recorded where every process of the node sees them."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from core.services.journal.folder import make, try_lock

_FILE = "losses"

_HEAD = struct.Struct("<dq")
"""Since when is counted (seconds since 1970), and the number of the next place."""

_PLACE = struct.Struct("<qqd")
"""Both counts of one process, and the time of the last one."""

_PLACES = 512
"""One that was left by a process that has died is used again after so many others."""

_SIZE = _HEAD.size + _PLACES * _PLACE.size


class Losses(Struct, frozen=True):
    """What went wrong on this machine since the service was started.

    `dropped` scans were not recorded. `unsynced` counts how often the disk did not confirm that it
    has what was recorded: no scan is missing for that, unless the machine ends as well.
    """

    since: datetime
    dropped: int = 0
    unsynced: int = 0
    last_at: datetime | None = None


class LossCounter:
    """Counts in one small file that all workers share, each in a place of its own.

    Its bytes are there beforehand and are overwritten, which a full disk permits, and outlive the
    worker. What cannot be written now is written the next time. Not for several threads at a time.
    """

    def __init__(self, folder: Path, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self._clock = clock
        self._dropped = 0
        self._unsynced = 0
        self._last = 0.0
        self._unwritten = False
        self._file: int | None = None
        self._offset = 0

    def begin(self) -> None:
        """Count from nothing, as the service does when it starts. Raises OSError."""
        make(self._folder)
        file = self._open(os.O_CREAT)
        try:
            # Workers of a service that was killed may still be there: their places stay theirs.
            _, following = _HEAD.unpack(os.pread(file, _HEAD.size, 0).ljust(_HEAD.size, b"\0"))
            os.pwrite(file, _HEAD.pack(self._now(), following).ljust(_SIZE, b"\0"), 0)
        finally:
            os.close(file)
        self.close()
        self._dropped = self._unsynced = 0
        self._unwritten = False

    def open(self) -> None:
        """Take a place, where the service has begun to count; raises nothing."""
        with suppress(OSError):
            self._take_place(0)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def add(self, *, dropped: int = 0, unsynced: int = 0) -> None:
        """Count so many more; raises nothing."""
        self._dropped += dropped
        self._unsynced += unsynced
        self._last = self._now()
        self._unwritten = True
        self.write()

    def write(self) -> None:
        """Write down what is not written yet; raises nothing."""
        if not self._unwritten:
            return
        with suppress(OSError):
            if self._file is None:
                self._take_place(os.O_CREAT)
            if self._file is not None:
                place = _PLACE.pack(self._dropped, self._unsynced, self._last)
                self._unwritten = os.pwrite(self._file, place, self._offset) != len(place)

    def read(self) -> Losses:
        """What all processes have counted, and what this one could not write down yet."""
        data = b""
        with suppress(OSError):
            file = self._open(0)
            try:
                data = os.pread(file, _SIZE, 0)
            finally:
                os.close(file)
        since, last, dropped, unsynced = self._last or self._now(), 0.0, 0, 0
        if len(data) == _SIZE:
            since, _ = _HEAD.unpack_from(data)
            for place in _PLACE.iter_unpack(data[_HEAD.size :]):
                dropped, unsynced = dropped + place[0], unsynced + place[1]
                last = max(last, place[2])
        if self._unwritten:
            dropped, unsynced = dropped + self._dropped, unsynced + self._unsynced
            last = max(last, self._last)
        return Losses(
            datetime.fromtimestamp(since, UTC),
            dropped,
            unsynced,
            datetime.fromtimestamp(last, UTC) if last else None,
        )

    def _take_place(self, flags: int) -> None:
        """Take a place, unless another process is taking one now."""
        file = self._open(flags)
        try:
            if not try_lock(file):
                return
            data = os.pread(file, _SIZE, 0)
            if len(data) < _SIZE:
                data = _HEAD.pack(self._last or self._now(), 0).ljust(_SIZE, b"\0")
                if os.pwrite(file, data, 0) != _SIZE:
                    return
            since, following = _HEAD.unpack_from(data)
            os.pwrite(file, _HEAD.pack(since, following + 1), 0)
            offset = _HEAD.size + following % _PLACES * _PLACE.size
            # What is counted there already is of a process that has died.
            dropped, unsynced, last = _PLACE.unpack_from(data, offset)
            self._dropped += dropped
            self._unsynced += unsynced
            self._last = max(self._last, last)
            # A lock belongs to the opened file: this one must not keep others waiting.
            self._file, self._offset = os.dup(file), offset
            fcntl.flock(file, fcntl.LOCK_UN)
        finally:
            os.close(file)

    def _open(self, flags: int) -> int:
        return os.open(self._folder / _FILE, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)

    def _now(self) -> float:
        return self._clock().timestamp()
