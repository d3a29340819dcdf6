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
from core.services.journal.records import HEADER, Arrival, Tally, frame
from core.services.offload import Offload, call_inline
from core.settings import ScansSettings, Sync

SUFFIX = ".scans"
"""What the names of journal files end with."""

_MAX_FILE = 8 * 1024 * 1024
"""A file is finished at this size, so that the drainer may read it as a whole."""

_NODE = "node"

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
        self._offload: Offload = call_inline
        self._file: int | None = None
        self._size = 0
        self._synced = 0
        self._begun = 0.0
        self._room = 0
        self._misses: Counter[date] = Counter()
        self._dropped: Counter[date] = Counter()
        self._complained = 0.0
        self._stop = threading.Event()
        self._keeper: threading.Thread | None = None

    def open(self, offload: Offload) -> None:
        """Get ready; `offload` waits for the disk from now on. The first scan makes the file."""
        self._offload = offload
        self._stop.clear()

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
        self.flush()
        with self._lock:
            self._finish()

    def record(self, visit: Visit) -> None:
        """Make the scan safe from the end of this process; where that is impossible, count it.

        With `sync = "always"` it is safe from the end of the machine as well. Never raises: the
        visitor must get where he wants to, whatever happens to our disk.
        """
        if not self._append(frame(Arrival(visit))):
            with self._lock:
                self._dropped[visit.at.astimezone(UTC).date()] += 1
            self._complain()
        elif self._settings.sync is Sync.ALWAYS:
            self._sync()

    def miss(self) -> None:
        """Count a scan of a slug that nobody has."""
        with self._lock:
            self._misses[self._clock().astimezone(UTC).date()] += 1

    @property
    def dropped(self) -> int:
        """The scans that were not recorded and are not yet told to the journal either."""
        return self._dropped.total()

    def flush(self) -> None:
        """Append what was only counted so far, and write the file out to the disk."""
        with self._lock:
            misses, self._misses = self._misses, Counter()
            dropped, self._dropped = self._dropped, Counter()
        for day in sorted(misses.keys() | dropped.keys()):
            if not self._append(frame(Tally(day, misses[day], dropped[day])), spare=True):
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
                with self._lock:
                    self._room = self._measure_room()
                    if self._is_ripe():
                        self._finish()
            except OSError:
                _log.exception("the journal in %s cannot be written out", self._folder)

    def _is_ripe(self) -> bool:
        """Whether the file is to be finished: drained files must not keep addresses for long."""
        old = time.monotonic() - self._begun > self._settings.rotate_after
        # Nobody must wait for a file to be synced that is closed already.
        synced = self._synced >= self._size or self._settings.sync is Sync.NEVER
        return synced and self._size > len(HEADER) and (old or self._size > _MAX_FILE)

    def _append(self, data: bytes, *, spare: bool = False) -> bool:
        """Whether all of `data` is in the file; `spare`: beyond the limit of its size as well."""
        with self._lock:
            try:
                file = self._begin() if self._file is None else self._file
                if len(data) > self._room and not spare:
                    return False
                written = os.write(file, data)
                if written != len(data):
                    # A full disk takes what it can; half a record must not stay before whole ones.
                    self._cut(file)
                    return False
            except OSError as error:
                self._note(error)
                return False
            self._size += written
            self._room -= written
            return True

    def _begin(self) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The drainer could not make it on a disk that our files have filled, nor empty them then.
        node(self._folder)
        self._room = self._measure_room()
        path = self._folder / f"{uuid4().hex}{SUFFIX}"
        # NOTE: under its final name the file is locked from its first moment on, lest the drainer
        # takes it for that of a dead worker and removes it.
        new = path.with_suffix(".new")
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
            new.unlink(missing_ok=True)
            raise
        self._file, self._size, self._synced = file, len(HEADER), 0
        self._begun = time.monotonic()
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
            os.close(self._file)
            self._file = None

    def _measure_room(self) -> int:
        used = sum(entry.stat().st_size for entry in _entries(self._folder))
        return self._settings.max_journal_bytes - used

    def _sync(self) -> None:
        """Wait until all that is in the file now is on the disk; one wait serves all who wait."""
        wanted, begun = self._size, self._begun
        with self._syncing:
            file = self._file
            if file is None or begun != self._begun or self._synced >= wanted:
                return
            size = self._size
            # A file that is finished meanwhile must not be closed under the disk's hands.
            copy = os.dup(file)
            try:
                self._offload(os.fdatasync, copy)
            except OSError as error:
                self._note(error)
                return
            finally:
                os.close(copy)
            self._synced = max(self._synced, size) if begun == self._begun else self._synced

    def _note(self, error: OSError) -> None:
        if self._may_complain():
            _log.error("the journal in %s cannot be written: %s", self._folder, error)

    def _complain(self) -> None:
        if self._may_complain():
            _log.error(
                "scans are not recorded: %s in %s (setting scans.max_journal_bytes is %d)",
                f"{self.dropped} since the last report",
                self._folder,
                self._settings.max_journal_bytes,
            )

    def _may_complain(self) -> bool:
        # Thousands of visitors a second would fill the log's disk as well.
        now = time.monotonic()
        if now - self._complained < 1:
            return False
        self._complained = now
        return True


def node(folder: Path) -> str:
    """What tells this node's files from those of others: made once, kept in the folder."""
    path = folder / _NODE
    while True:
        try:
            return path.read_text()
        except FileNotFoundError:
            new = path.with_name(f"{uuid4().hex}.new")
            try:
                new.write_text(uuid4().hex)
                # NOTE: nothing may replace the name that another process has given already: with
                # another one, what is stored would be stored again.
                with suppress(FileExistsError):
                    path.hardlink_to(new)
            finally:
                new.unlink(missing_ok=True)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The journal files of a folder, as they are now."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.name.endswith(SUFFIX)]
    except FileNotFoundError:
        return []
