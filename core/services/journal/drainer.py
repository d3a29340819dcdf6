"""Moves scans from a node's journal files into the scan store, each exactly once."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path

import msgspec
from msgspec import Struct

from core.domain.scans import Drained, Scan, Visit, visitor_hash
from core.errors import Conflict, StorageUnavailable
from core.ports import ScanStore
from core.services.enrichment import Enrichment
from core.services.journal.records import (
    HEADER,
    MAX_BODY,
    Arrival,
    Record,
    Tally,
    read,
    version_of,
)
from core.services.journal.writer import SUFFIX, node
from core.settings import ScansSettings

LOCK = "drainer.lock"
"""Whose lock (`flock`) makes a process the node's drainer."""

_STATUS = "drainer.json"

# Removed rows at a time, so that nobody waits long for them, and how often that is looked for.
_TIDY_BATCH = 2000
_TIDY_EVERY = timedelta(minutes=5)

_log = logging.getLogger(__name__)


class DrainStatus(Struct, frozen=True):
    """How far the draining of a node is, as its drainer wrote it down last.

    `backlog` counts bytes of the journal that are not in the store; `oldest_at` is the time of the
    oldest scan among them. `error` is why nothing is drained now, and empty otherwise.
    """

    at: datetime
    drained: int = 0
    backlog: int = 0
    oldest_at: datetime | None = None
    error: str = ""


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
    ) -> None:
        self._folder = folder
        self._store = store
        self._enrichment = enrichment
        self._settings = settings
        self._clock = clock
        self._token_bytes = token_bytes
        self._positions: dict[str, int] = {}
        self._salts: dict[date, bytes] = {}
        self._node = ""
        self._tidy_at = datetime.min.replace(tzinfo=UTC)
        self._drained = 0
        self._backlog = 0
        self._oldest: datetime | None = None

    @contextmanager
    def elected(self) -> Iterator[bool]:
        """Whether this process is the node's one drainer, for the time of the block."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield _try_lock(file)
        finally:
            os.close(file)

    def run(self, stop: threading.Event, alive: Callable[[], bool]) -> None:
        """Drain until `stop` is set or `alive` says no; a store that is away is asked again."""
        error = ""
        while not stop.is_set() and alive():
            try:
                self.drain()
                if error:
                    _log.warning("the scan store is back")
                error = ""
            except StorageUnavailable as unavailable:
                if not error:
                    _log.warning("scans stay in the journal for now: %s", unavailable)
                error = str(unavailable)
            self._write_status(error)
            stop.wait(self._settings.drain_interval)
        # What the process that ends with this one has written last.
        with suppress(StorageUnavailable):
            self.drain()

    def drain(self) -> int:
        """Move everything that the journal files hold now; how many scans that were.

        Raises StorageUnavailable, and then nothing that was not stored is forgotten.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = self._drained
        self._backlog, self._oldest = 0, None
        paths = sorted(self._folder.glob(f"*{SUFFIX}"), key=_age)
        self._node_id()
        self._enrichment.open()
        try:
            self._forget_removed()
            self._tidy()
            for path in paths:
                self._drain_file(path)
        except StorageUnavailable:
            self._measure(paths)
            raise
        return self._drained - before

    def _drain_file(self, path: Path) -> None:
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            # Asked before anything is read: what its worker wrote until then is read below.
            finished = _try_lock(file)
            header = os.pread(file, len(HEADER), 0)
            version = version_of(header)
            if version is None:
                if finished and HEADER.startswith(header):
                    # Cut off before its first record.
                    path.unlink()
                elif finished:
                    _log.error("%s is no journal file of this or an older version; it stays", path)
                return
            source = f"{self._node_id()}/{path.stem}"
            self._drain_records(file, source, version, finished=finished)
            if finished:
                # The store forgets the position only once the file is gone.
                path.unlink()
        finally:
            os.close(file)

    def _drain_records(self, file: int, source: str, version: int, *, finished: bool) -> None:
        begin = self._position(source)
        data = os.pread(file, max(0, os.fstat(file).st_size - begin), begin)
        records = read(data, version, finished=finished)
        start = begin
        while batch := list(islice(records, self._settings.drain_batch)):
            end = begin + batch[-1][1]
            self._store_batch([record for record, _ in batch], source, start, end)
            start = end

    def _store_batch(self, records: list[Record], source: str, start: int, end: int) -> None:
        scans = [self._scan(record.visit) for record in records if isinstance(record, Arrival)]
        misses: Counter[date] = Counter()
        dropped: Counter[date] = Counter()
        for record in records:
            if isinstance(record, Tally):
                misses[record.day] += record.misses
                dropped[record.day] += record.dropped
        try:
            self._store.append(scans, Drained(source, start, end, misses, dropped))
        except Conflict:
            # Another drainer was faster, or an answer got lost on its way: the store knows.
            self._positions.pop(source, None)
            raise StorageUnavailable("The journal is drained by another process.") from None
        self._positions[source] = end
        self._drained += len(scans)

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

    def _node_id(self) -> str:
        if not self._node:
            self._node = node(self._folder)
        return self._node

    def _forget_removed(self) -> None:
        """Let the store forget the files that are no more, of this node alone."""
        gone = [
            source
            for source in self._store.sources(f"{self._node_id()}/")
            if not (self._folder / f"{source.partition('/')[2]}{SUFFIX}").exists()
        ]
        if gone:
            self._store.forget(gone)
            for source in gone:
                self._positions.pop(source, None)

    def _tidy(self) -> None:
        """Let the store remove what it must not keep, a little at a time."""
        now = self._clock()
        if now < self._tidy_at:
            return
        days = self._settings.keep_events_days
        before = now - timedelta(days=days) if days else None
        removed = self._store.tidy(now.astimezone(UTC).date(), before, _TIDY_BATCH)
        if removed < _TIDY_BATCH:
            self._tidy_at = now + _TIDY_EVERY

    def _measure(self, paths: list[Path]) -> None:
        """What lies in the files that the store has not got."""
        for path in paths:
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                continue
            position = self._positions.get(f"{self._node}/{path.stem}", len(HEADER))
            self._backlog += max(0, size - position)
            if self._oldest is None and size > position:
                self._oldest = _first_scan(path, position)

    def _write_status(self, error: str) -> None:
        status = DrainStatus(self._clock(), self._drained, self._backlog, self._oldest, error)
        new = self._folder / f"{_STATUS}.new"
        try:
            new.write_bytes(msgspec.json.encode(status))
            new.rename(self._folder / _STATUS)
        except OSError as failure:
            _log.warning("the drainer's status cannot be written: %s", failure)


def status(folder: Path) -> DrainStatus | None:
    """What the node's drainer has said last, or None where it never has."""
    try:
        return msgspec.json.decode((folder / _STATUS).read_bytes(), type=DrainStatus)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _first_scan(path: Path, position: int) -> datetime | None:
    """The time of the first scan after `position` of a file."""
    with path.open("rb") as file:
        version = version_of(file.read(len(HEADER)))
        file.seek(position)
        data = file.read(2 * MAX_BODY)
    if version is not None:
        for record, _ in read(data, version, finished=False):
            if isinstance(record, Arrival):
                return record.visit.at
    return None


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
