"""Counts the scans that could not be recorded where every process of the node sees them."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from core.services.journal.folder import make, try_lock

_FILE = "losses"

_LAYOUT = struct.Struct("<dqqd")
"""Since when it is counted, both counts, and the time of the last one (seconds since 1970)."""


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
    """Adds to one small file, shared by all workers.

    Its bytes are there beforehand and are overwritten, which a full disk permits, and outlive the
    worker. What cannot be written now is added the next time. Not for several threads at a time.
    """

    def __init__(self, folder: Path, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self._clock = clock
        self._dropped = 0
        self._unsynced = 0
        self._last = 0.0

    def begin(self) -> None:
        """Count from nothing, as the service does when it starts. Raises OSError."""
        make(self._folder)
        file = self._open(os.O_CREAT)
        try:
            os.pwrite(file, _LAYOUT.pack(self._now(), 0, 0, 0.0), 0)
        finally:
            os.close(file)

    def add(self, *, dropped: int = 0, unsynced: int = 0) -> None:
        """Count so many more; raises nothing."""
        self._dropped += dropped
        self._unsynced += unsynced
        self._last = self._now()
        self.write()

    def write(self) -> None:
        """Add to the file what it has not got yet; raises nothing."""
        if not (self._dropped or self._unsynced):
            return
        try:
            file = self._open(os.O_CREAT)
        except OSError:
            return
        try:
            # Whoever holds the lock needs it for microseconds; nobody waits for him all the same.
            if not try_lock(file):
                return
            since, dropped, unsynced, last = _read(file) or (self._last, 0, 0, 0.0)
            new = since, dropped + self._dropped, unsynced + self._unsynced, max(last, self._last)
            if os.pwrite(file, _LAYOUT.pack(*new), 0) == _LAYOUT.size:
                self._dropped = self._unsynced = 0
        except OSError:
            return
        finally:
            os.close(file)

    def read(self) -> Losses:
        """What all processes have counted, and what this one could not write down yet."""
        found = None
        with suppress(OSError):
            file = self._open(0)
            try:
                found = _read(file)
            finally:
                os.close(file)
        since, dropped, unsynced, last = found or (self._last or self._now(), 0, 0, 0.0)
        last = max(last, self._last)
        return Losses(
            datetime.fromtimestamp(since, UTC),
            dropped + self._dropped,
            unsynced + self._unsynced,
            datetime.fromtimestamp(last, UTC) if last else None,
        )

    def _open(self, flags: int) -> int:
        return os.open(self._folder / _FILE, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)

    def _now(self) -> float:
        return self._clock().timestamp()


def _read(file: int) -> tuple[float, int, int, float] | None:
    data = os.pread(file, _LAYOUT.size, 0)
    return _LAYOUT.unpack(data) if len(data) == _LAYOUT.size else None
