"""Moves scans from a node's journal files into the scan store, each exactly once."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.domain.scans import Drained, Scan, Visit, visitor_hash
from core.errors import Conflict, StorageUnavailable
from core.ports import ScanStore
from core.services.enrichment import Enrichment
from core.services.journal.complaints import Complaints
from core.services.journal.folder import (
    LOCK,
    NEW,
    SUFFIX,
    File,
    files,
    make,
    try_lock,
    write_out,
)
from core.services.journal.records import (
    HEADER,
    MAX_BODY,
    Arrival,
    Record,
    Tally,
    read,
    version_of,
)
from core.settings import ScansSettings

_STATUS = "drainer.json"

_STATUS_SIZE = 4096
"""The status has always this length: a full disk permits that it is overwritten, but not more."""

_TEXT_SIZE = 300
"""So much of an error is told; the status has room for it, whatever characters it has."""

# How often the status is written, in seconds: where it has changed, and where it has not.
_TELL_AFTER = 1.0
_TELL_AGAIN = 10.0

# How soon a store that is away is asked again, in seconds: a batch is read and prepared for it.
_RETRY = 1.0

# How long a drainer whose service has ended goes on with what that has left, in seconds.
_LAST_ROUND = 5.0

# Of how many files it is looked how old the scans in them are.
_LOOKED_AT = 100

# How many files are removed before their positions are forgotten, all in one transaction.
_FORGET_BATCH = 100

# Removed rows at a time, so that nobody waits long for them, and how often that is looked for.
_TIDY_BATCH = 2000
_TIDY_EVERY = timedelta(seconds=30)

# After which time a file that is still being made has been left by a process that was killed.
_ABANDONED = timedelta(minutes=5)

_log = logging.getLogger(__name__)


class DrainStatus(Struct, frozen=True):
    """How far the draining of a node is, as its drainer wrote it down last.

    `drained` counts the scans that this drainer has stored. `backlog` counts bytes of the journal
    that are not in the store; `oldest_at` is the time of the oldest scan among them. `error` is why
    nothing is drained now, and `stuck` which files cannot be; both are empty otherwise.
    """

    at: datetime
    drained: int = 0
    backlog: int = 0
    oldest_at: datetime | None = None
    error: str = ""
    stuck: str = ""


class Drainer:
    """Reads the files of all workers of this node, those that have died included.

    How far a file was read is stored in the transaction that stores its scans: whatever dies at
    whatever moment, the next drainer goes on exactly there.
    """

    def __init__(
        self,
        folder: Path,
        store: ScanStore,
        enrichment: Enrichment,
        settings: ScansSettings,
        clock: Callable[[], datetime],
        token_bytes: Callable[[int], bytes],
        prune: Callable[[int], int] = lambda _: 0,
    ) -> None:
        """`prune` removes up to so many rows of others that are too old; how many it were."""
        self._folder = folder
        self._store = store
        self._enrichment = enrichment
        self._settings = settings
        self._clock = clock
        self._token_bytes = token_bytes
        self._prune = prune
        self._positions: dict[str, int] = {}
        self._salts: dict[date, bytes] = {}
        self._files: dict[str, File] = {}
        self._removed: list[str] = []
        self._stuck: dict[str, str] = {}
        self._complaints = Complaints()
        self._drained = 0
        self._error = ""
        self._tidy_at = datetime.min.replace(tzinfo=UTC)
        self._sweep_at = datetime.min.replace(tzinfo=UTC)
        self._told: DrainStatus | None = None
        self._told_at = 0.0

    @contextmanager
    def elected(self) -> Iterator[bool]:
        """Whether this process is the node's one drainer, for the time of the block."""
        make(self._folder)
        file = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield try_lock(file)
        finally:
            os.close(file)

    def run(self, stop: threading.Event, alive: Callable[[], bool]) -> None:
        """Drain until `stop` is set or `alive` says no; a store that is away is asked again."""
        make(self._folder)

        def going() -> bool:
            return not stop.is_set() and alive()

        while going():
            pause = self._settings.drain_interval
            try:
                self.drain(going)
            except (StorageUnavailable, OSError) as error:
                self._fail(str(error))
                pause = max(pause, _RETRY)
            stop.wait(pause)
        # What the process that ends with this one has written last.
        until = time.monotonic() + _LAST_ROUND
        try:
            self.drain(lambda: not stop.is_set() and time.monotonic() < until)
        except (StorageUnavailable, OSError) as error:
            self._fail(str(error))
        self.tell()

    def drain(self, going: Callable[[], bool] = lambda: True) -> int:
        """Move everything that the journal files hold now; how many scans that were.

        A file that cannot be moved is passed over, told, and tried again the next time. `going` is
        asked before each batch whether to go on. Raises StorageUnavailable, and then nothing that
        was not stored is forgotten; OSError where the folder cannot be read or written out.
        """
        before = self._drained
        with _without_collection():
            self._enrichment.open()
            self._files = {file.path.stem: file for file in files(self._folder, SUFFIX)}
            self._stuck = {name: why for name, why in self._stuck.items() if name in self._files}
            known = self._files.keys() | self._removed
            self._positions = {name: at for name, at in self._positions.items() if name in known}
            try:
                for source in self._files:
                    self._position(source)
            finally:
                self._tell()
            whole = self._drain_files(going)
            self._forget_removed()
            if whole:
                self._succeed()
                self._sign_round()
            self._sweep()
            self._tidy()
            self._tell()
        return self._drained - before

    def _drain_files(self, going: Callable[[], bool]) -> bool:
        """Whether it came to the end of all files, however many of them could not be moved."""
        for source, file in list(self._files.items()):
            if not going():
                return False
            try:
                if not self._drain_file(source, file.path, going):
                    return False
            except StorageUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - no file may stop the others.
                self._pass_over(source, _reason(error))
            if len(self._removed) >= _FORGET_BATCH:
                self._forget_removed()
        return True

    def _drain_file(self, source: str, path: Path, going: Callable[[], bool]) -> bool:
        """Whether all that the file held was moved."""
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            # Asked before anything is read: what its worker wrote until then is read below.
            finished = try_lock(file)
            header = os.pread(file, len(HEADER), 0)
            version = version_of(header)
            if version is None:
                if finished and len(header) < len(HEADER):
                    _log.warning("%s was cut off before its first scan; it is removed", path)
                    self._remove(source, path)
                elif finished:
                    self._pass_over(source, "no journal file of this or an older version; it stays")
                return True
            if finished and header[:1] != HEADER[:1]:
                _log.warning("the beginning of %s is lost; what is whole behind it is kept", path)
            if not self._drain_records(file, source, version, going, finished=finished):
                return False
            if finished:
                # NOTE: the scans have to be safe on the store's disk by now.
                self._remove(source, path)
            self._stuck.pop(source, None)
            return True
        finally:
            os.close(file)

    def _drain_records(
        self,
        file: int,
        source: str,
        version: int,
        going: Callable[[], bool],
        *,
        finished: bool,
    ) -> bool:
        """Whether it came to the last whole record."""
        begin = self._position(source)
        data = os.pread(file, max(0, os.fstat(file).st_size - begin), begin)
        records = read(data, version, finished=finished)
        start = begin
        while batch := list(islice(records, self._settings.drain_batch)):
            if not going():
                return False
            end = begin + batch[-1][1]
            self._store_batch([record for record, _ in batch], source, start, end)
            start = end
            self._tell()
        return True

    def _store_batch(self, records: list[Record | None], source: str, start: int, end: int) -> None:
        scans = [self._scan(record.visit) for record in records if isinstance(record, Arrival)]
        misses: Counter[date] = Counter()
        dropped: Counter[date] = Counter()
        for record in records:
            if isinstance(record, Tally):
                misses[record.day] += record.misses
                dropped[record.day] += record.dropped
        if unread := records.count(None):
            dropped[self._clock().astimezone(UTC).date()] += unread
        try:
            self._store.append(scans, Drained(source, start, end, misses, dropped))
        except Conflict:
            # Another drainer was faster, or an answer got lost on its way: the store knows.
            self._positions.pop(source, None)
            raise StorageUnavailable("The journal is drained by another process.") from None
        self._positions[source] = end
        self._drained += len(scans)
        self._succeed()
        if unread:
            _log.error(
                "%d records of %s say nothing that this version understands; they count as scans "
                "that were not recorded",
                unread,
                f"{source}{SUFFIX}",
            )

    def _scan(self, visit: Visit) -> Scan:
        traits = self._enrichment.traits(visit)
        # A bot is no visitor. A browser that prefetches a link must not use up the uniqueness of
        # the person who then follows it.
        visitor = None
        if not (traits.bot or visit.do_not_track):
            visitor = visitor_hash(self._salt(visit.at), visit.address, visit.user_agent)
        return Scan(
            visit.code_id,
            visit.organization_id,
            visit.at,
            visitor,
            traits.bot,
            traits.country,
            traits.device,
            traits.os,
            traits.browser,
            traits.language,
            traits.referrer,
        )

    def _salt(self, moment: datetime) -> bytes:
        day = moment.astimezone(UTC).date()
        if day not in self._salts:
            self._salts = {day: self._store.salt(day, self._token_bytes(32))}
        return self._salts[day]

    def _position(self, source: str) -> int:
        if source not in self._positions:
            self._positions[source] = self._store.position(source) or len(HEADER)
        return self._positions[source]

    def _remove(self, source: str, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._files.pop(source, None)
        self._removed.append(source)

    def _forget_removed(self) -> None:
        """Let the store forget the files that this drainer has removed.

        No others, whatever is not there now: a folder that was away for a moment, or belongs to the
        copy of a machine, would have its scans counted again.
        """
        if not self._removed:
            return
        # NOTE: a file that came back after a power cut would be counted again by then.
        write_out(self._folder)
        self._store.forget(self._removed)
        for source in self._removed:
            self._positions.pop(source, None)
        self._removed.clear()

    def _pass_over(self, source: str, why: str) -> None:
        self._stuck[source] = why
        if self._complaints.are_due(source, why):
            _log.error("%s is passed over: %s", self._folder / f"{source}{SUFFIX}", why)

    def _fail(self, error: str) -> None:
        if error != self._error:
            self._error = error
            _log.warning("scans stay in the journal for now: %s", error)
            self.tell()

    def _succeed(self) -> None:
        if self._error:
            self._error = ""
            _log.warning("the scan store is back")

    def _sign_round(self) -> None:
        """Tell those who write files that all files were gone through."""
        if self._files:
            with self._complaining("the drainer's lock cannot be signed"):
                (self._folder / LOCK).touch(mode=0o600)

    def _sweep(self) -> None:
        """Remove what processes that were killed had not finished making."""
        now = self._clock()
        if now < self._sweep_at:
            return
        self._sweep_at = now + _ABANDONED
        before = (now - _ABANDONED).timestamp() * 1e9
        with self._complaining("what was left unfinished cannot be removed"):
            for path in [file.path for file in files(self._folder, NEW) if file.changed < before]:
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if try_lock(file):
                        path.unlink(missing_ok=True)
                finally:
                    os.close(file)

    def _tidy(self) -> None:
        """Let the store remove what it must not keep, a little at a time."""
        now = self._clock()
        if now < self._tidy_at:
            return
        days = self._settings.keep_events_days
        before = now - timedelta(days=days) if days else None
        try:
            removed = self._store.tidy(now.astimezone(UTC).date(), before, _TIDY_BATCH)
            removed = max(removed, self._prune(_TIDY_BATCH))
        except StorageUnavailable as error:
            # Scans are stored all the same.
            _log.warning("what is to be removed for its age stays for now: %s", error)
            removed = 0
        if removed < _TIDY_BATCH:
            self._tidy_at = now + _TIDY_EVERY

    def tell(self) -> None:
        """Write down how far it is."""
        self._write(self._status())

    def _tell(self) -> None:
        """Write down how far it is, unless that was done a moment ago."""
        if self._told is None:
            self.tell()
            return
        passed = time.monotonic() - self._told_at
        if passed < _TELL_AFTER:
            return
        status = self._status()
        if passed >= _TELL_AGAIN or replace(status, at=self._told.at) != self._told:
            self._write(status)

    def _write(self, status: DrainStatus) -> None:
        self._told, self._told_at = status, time.monotonic()
        with self._complaining("the drainer's status cannot be written"):
            text = msgspec.json.encode(status).ljust(_STATUS_SIZE)
            file = os.open(self._folder / _STATUS, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(file, text, 0)
            finally:
                os.close(file)

    def _status(self) -> DrainStatus:
        waiting = [
            (file, position)
            for source, file in self._files.items()
            if source not in self._stuck
            and file.size > (position := self._positions.get(source, len(HEADER)))
        ]
        firsts = [_first_scan(file.path, position) for file, position in waiting[:_LOOKED_AT]]
        stuck = ""
        if self._stuck:
            source, why = next(iter(self._stuck.items()))
            stuck = f"{len(self._stuck)} cannot be stored, such as {source}{SUFFIX}: {why}"
        return DrainStatus(
            self._clock(),
            self._drained,
            sum(file.size - position for file, position in waiting),
            min((first for first in firsts if first is not None), default=None),
            self._error[:_TEXT_SIZE],
            stuck[:_TEXT_SIZE],
        )

    @contextmanager
    def _complaining(self, what: str) -> Iterator[None]:
        """Log an OSError of the block, once until it ends or changes."""
        try:
            yield
        except OSError as error:
            if self._complaints.are_due(what, str(error)):
                _log.warning("%s: %s", what, error)
        else:
            self._complaints.end(what)


def status(folder: Path) -> DrainStatus | None:
    """What the node's drainer has said last, or None where it never has."""
    try:
        return msgspec.json.decode((folder / _STATUS).read_bytes(), type=DrainStatus)
    except (OSError, msgspec.DecodeError):
        return None


@contextmanager
def _without_collection() -> Iterator[None]:
    # PERF: a batch makes tens of thousands of objects, none of them in a cycle. Looking for cycles
    # among them takes a quarter to a third of the time.
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _first_scan(path: Path, position: int) -> datetime | None:
    """The time of the first scan after `position` of a file."""
    with suppress(OSError), path.open("rb") as file:
        version = version_of(file.read(len(HEADER)))
        file.seek(position)
        data = file.read(2 * MAX_BODY)
        if version is not None:
            for record, _ in read(data, version, finished=False):
                if isinstance(record, Arrival):
                    return record.visit.at
    return None


def _reason(error: Exception) -> str:
    """Why a file was passed over."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # NOTE: the message may quote what a visitor has sent: the type and the place have to be enough.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
