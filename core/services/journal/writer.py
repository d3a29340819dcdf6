"""Records scans: one append to the worker's own file, and the scan survives the worker."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import uuid4

from core.domain.scans import Visit
from core.services.journal.complaints import Complaints
from core.services.journal.folder import NEW, SUFFIX, files, make, rounds, write_out
from core.services.journal.losses import LossCounter, Losses
from core.services.journal.records import HEADER, Arrival, Tally, frame
from core.services.offload import Offload, call_inline
from core.settings import ScansSettings, Sync

_MAX_FILE = 8 * 1024 * 1024
"""A file is finished at this size, so that the drainer may read it as a whole."""

_LOOK_AFTER = 1.0
"""How often, in seconds, it is looked how much room the files of all workers leave."""

_TALLY_AFTER = 60.0
"""How often, in seconds, a journal that is full takes what was only counted, which is little."""

_log = logging.getLogger(__name__)


class Journal:
    """The one door through which scans are recorded; a file of its own for each process.

    A file is locked (`flock`) by the process that writes it. Whoever gets the lock knows that the
    file is finished, because its process has begun another one, or has died.
    """

    def __init__(
        self, folder: Path, settings: ScansSettings, clock: Callable[[], datetime]
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._disk: Offload = call_inline
        self._file: int | None = None
        self._size = 0
        self._synced = 0
        self._begun = 0.0
        self._rounds = 0
        self._room = settings.max_journal_bytes
        self._looked: float | None = None
        self._misses: Counter[date] = Counter()
        self._dropped: Counter[date] = Counter()
        self._tallied = 0.0
        self._losses = LossCounter(folder, clock)
        self._unreported = 0
        self._reported: float | None = None
        self._reason = ""
        self._complaints = Complaints()
        self._stop = threading.Event()
        self._keeper: threading.Thread | None = None

    def begin(self) -> None:
        """Count losses from nothing: to be called once, when the service starts."""
        try:
            self._losses.begin()
        except OSError as error:
            self._complain("the losses", f"what is lost in {self._folder} is not counted: {error}")

    def open(self, disk: Offload) -> None:
        """Get ready; `disk` waits for the disk from now on. The first scan makes the file."""
        self._disk = disk
        self._stop.clear()
        self._losses.open()

    def keep(self) -> None:
        """Write out in the background what `record` leaves to it, until `close`."""
        self._keeper = threading.Thread(target=self._keep, name="journal", daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """Write out everything and let go of the file, which is then finished."""
        self._stop.set()
        if self._keeper is not None:
            self._keeper.join()
            self._keeper = None
        self._flush(spare=True)
        self._report(at_once=True)
        with self._lock:
            self._finish()
            self._losses.close()

    def record(self, visit: Visit) -> None:
        """Make the scan safe from the end of this process; where that is impossible, count it.

        With `sync = "always"` it is safe from the end of the machine as well. Never raises: the
        visitor must get where he wants to, whatever happens to our disk.
        """
        try:
            recorded = self._append(frame(Arrival(visit)))
        except Exception as error:  # noqa: BLE001
            recorded, self._reason = False, repr(error)
        if not recorded:
            self._drop(visit)
        elif self._settings.sync is Sync.ALWAYS:
            self._sync()

    def miss(self) -> None:
        """Count a scan of a slug that nobody has."""
        with self._lock:
            self._misses[self._clock().astimezone(UTC).date()] += 1

    @property
    def losses(self) -> Losses:
        """What all workers of this machine could not record since the service was started."""
        with self._lock:
            return self._losses.read()

    def flush(self) -> None:
        """Append what was only counted so far, and write the file out to the disk."""
        # A full journal must not grow for ever by the counts of what it has no room for.
        self._flush(spare=time.monotonic() - self._tallied > _TALLY_AFTER)

    def _flush(self, *, spare: bool) -> None:
        with self._lock:
            misses, self._misses = self._misses, Counter()
            dropped, self._dropped = self._dropped, Counter()
        for day in sorted(misses.keys() | dropped.keys()):
            if self._append(frame(Tally(day, misses[day], dropped[day])), spare=spare):
                self._tallied = time.monotonic()
            else:
                with self._lock:
                    self._misses[day] += misses[day]
                    self._dropped[day] += dropped[day]
        if self._settings.sync is not Sync.NEVER:
            self._sync()

    def _keep(self) -> None:
        """What the background does: sync, begin a new file in time, look how much room there is."""
        while not self._stop.wait(self._settings.sync_interval):
            try:
                self.flush()
                self._report()
                with self._lock:
                    self._losses.write()
                    if self._is_ripe():
                        self._finish()
                if self._is_look_due(_LOOK_AFTER):
                    self._look()
            except Exception as error:  # noqa: BLE001 - without it nothing would be synced.
                self._complain("the file", f"{self._folder} cannot be written out: {error!r}")

    def _is_ripe(self) -> bool:
        """Whether the file is to be finished: drained files must not keep addresses for long."""
        if self._file is None or self._size <= len(HEADER):
            return False
        # Nobody must wait for a file to be synced that is closed already.
        if self._synced < self._size and self._settings.sync is not Sync.NEVER:
            return False
        if self._size > _MAX_FILE:
            return True
        old = time.monotonic() - self._begun > self._settings.rotate_after
        # While nothing is drained nothing is removed either, and hours of it would leave thousands
        # of files.
        return old and rounds(self._folder) != self._rounds

    def _append(self, data: bytes, *, spare: bool = False) -> bool:
        """Whether all of `data` is in the file; `spare`: beyond the limit of its size as well."""
        with self._lock:
            try:
                file = self._begin() if self._file is None else self._file
                if len(data) > self._room and not spare:
                    limit = self._settings.max_journal_bytes
                    self._reason = f"it has reached scans.max_journal_bytes ({limit})"
                    return False
                written = os.write(file, data)
                if written != len(data):
                    # A full disk takes what it can; half a record must not stay before whole ones.
                    self._reason = "its disk is full"
                    self._cut(file)
                    return False
            except OSError as error:
                self._reason = str(error)
                return False
            self._size += written
            self._room -= written
            return True

    def _begin(self) -> int:
        make(self._folder)
        # The background does so in time, where there is one.
        if self._is_look_due(2 * _LOOK_AFTER):
            self._room, self._looked = self._measure_room(), time.monotonic()
        seen = rounds(self._folder)
        path = self._folder / f"{uuid4().hex}{SUFFIX}"
        # NOTE: under its final name the file is locked from its first moment on, lest the drainer
        # takes it for that of a dead worker and removes it.
        new = path.with_suffix(NEW)
        file = os.open(
            new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.write(file, HEADER) != len(HEADER):
                raise OSError("the disk is full")
            os.rename(new, path)
        except OSError:
            os.close(file)
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        self._file, self._size, self._synced = file, len(HEADER), 0
        self._begun, self._rounds = time.monotonic(), seen
        return file

    def _cut(self, file: int) -> None:
        try:
            os.ftruncate(file, self._size)
        except OSError:
            # The drainer skips what is damaged in a finished file.
            self._finish()
            raise

    def _finish(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def _is_look_due(self, after: float) -> bool:
        return self._looked is None or time.monotonic() - self._looked >= after

    def _look(self) -> None:
        """See how much room there is, while others go on recording."""
        before, looked = self._room, self._looked
        room = self._disk(self._measure_room)
        with self._lock:
            if looked == self._looked:
                # What came meanwhile may be among what was measured: a second later it is exact.
                self._room = room - (before - self._room)
                self._looked = time.monotonic()

    def _measure_room(self) -> int:
        used = sum(file.size for file in files(self._folder, SUFFIX))
        return self._settings.max_journal_bytes - used

    def _sync(self) -> None:
        """Wait until all that is in the file now is on the disk; one wait serves all who wait.

        Raises nothing: where the disk refuses, that is counted and logged.
        """
        wanted, begun = self._size, self._begun
        try:
            with self._syncing:
                self._sync_until(wanted, begun)
        except Exception as error:  # noqa: BLE001
            with self._lock:
                self._losses.add(unsynced=1)
            self._complain("the disk", f"{self._folder} is not safe on its disk: {error!r}")

    def _sync_until(self, wanted: int, begun: float) -> None:
        with self._lock:
            size, synced = self._size, self._synced
            if self._file is None or begun != self._begun or synced >= wanted:
                return
            # A file that is finished meanwhile must not be closed under the disk's hands.
            copy = os.dup(self._file)
        try:
            # The first time, the file's name has to be on the disk as well.
            self._disk(_write_out, copy, None if synced else self._folder)
        finally:
            os.close(copy)
        with self._lock:
            if begun == self._begun:
                self._synced = max(self._synced, size)

    def _drop(self, visit: Visit) -> None:
        with self._lock:
            self._dropped[visit.at.astimezone(UTC).date()] += 1
            self._losses.add(dropped=1)
            self._unreported += 1
        self._report()

    def _report(self, *, at_once: bool = False) -> None:
        """Log how many scans were not recorded, once a second at most."""
        if not self._unreported:
            return
        # Thousands of visitors a second would fill the log's disk as well.
        now = time.monotonic()
        with self._lock:
            if self._reported is not None and now - self._reported < 1 and not at_once:
                return
            self._reported = now
            count, self._unreported = self._unreported, 0
        if count:
            _log.error(
                "scans are not recorded: %d since the last report, because the journal in %s "
                "cannot be written: %s",
                count,
                self._folder,
                self._reason,
            )

    def _complain(self, about: str, what: str) -> None:
        if self._complaints.are_due(about, what):
            _log.error("the journal: %s", what)


def _write_out(file: int, folder: Path | None) -> None:
    os.fdatasync(file)
    if folder is not None:
        write_out(folder)
