"""The `sqlite` plugin: storage and scan store in one SQLite file, for a service on one machine."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import peewee
from msgspec import Meta
from peewee import sqlite3  # type: ignore[attr-defined]
from playhouse.pool import PooledSqliteDatabase

from core.api import (
    ConfigurationError,
    PluginContext,
    PluginSettings,
    ScanStore,
    Storage,
    StorageUnavailable,
    hookimpl,
)
from plugins.storage.database import POOL_WAIT, Connection, Connections, batches, placeholders
from plugins.storage.repositories import DatabaseStorage
from plugins.storage.scan_store import DatabaseScanStore

Version = tuple[int, int, int]

T = TypeVar("T")

_POLL = 0.0005
"""How often, in seconds, a waiting writer looks whether another process still writes."""


_BUSY_TIMEOUT_MS = 50
"""How long SQLite itself waits for a lock: in C, where no other greenlet of the process runs."""


_ROWS = 1000
"""So many rows are values of one statement: SQLite takes 32,766 parameters."""


class SqliteSettings(PluginSettings, frozen=True, kw_only=True):
    """`[plugin.sqlite]`: `path` is `quietzone.db` in the data folder unless set."""

    path: Annotated[str, Meta(min_length=1)] | None = None
    journal_mode: Literal["wal", "delete"] = "wal"
    busy_timeout_ms: Annotated[int, Meta(ge=0, le=600_000)] = 5000
    max_connections: Annotated[int, Meta(ge=1, le=1000)] = 20


def has_wal_reset_bug(version: Version) -> bool:
    """Whether this SQLite may lose committed data silently in WAL mode.

    It concerns databases with two or more writing connections, from 3.7.0 to 3.51.2, apart from
    the corrected 3.44.6 and 3.50.7 and what follows them in their series.
    """
    if version[:2] in ((3, 44), (3, 50)):
        return version < {44: (3, 44, 6), 50: (3, 50, 7)}[version[1]]
    return (3, 7, 0) <= version <= (3, 51, 2)


class _File(peewee.SqliteDatabase):
    """A database whose file nobody else may read.

    PERF: it lies below the pool, since to look for the file takes as long as a query (4 µs), and a
    connection is taken from the pool for each.
    """

    def _connect(self) -> Any:
        # Made here, so that nobody else may read what it will hold, in whatever folder it is.
        # NOTE: only where it is missing. Closing a file lets go of all locks that the process has
        # on it (POSIX), those of SQLite's other connections too; whoever closed his connection then
        # would take himself for the last one, and remove the WAL that we go on writing to.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            os.close(os.open(self.database, flags, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise peewee.OperationalError(str(error)) from error
        return super()._connect()  # type: ignore[misc]


class _Database(PooledSqliteDatabase, _File):  # type: ignore[misc]
    """A pool whose transactions wait for a foreign writer without stopping the whole process."""

    def __init__(self, path: str, patience: float, **options: Any) -> None:
        self._patience = patience
        super().__init__(path, **options)

    def _connect(self) -> Any:
        # The first connections of all change the file to WAL mode, one after the other.
        return self._patiently(super()._connect)

    def begin(self, lock_type: str | None = None) -> None:
        """Begin a transaction."""
        self._patiently(super().begin, lock_type)

    def _patiently(self, work: Callable[..., T], *arguments: object) -> T:
        """Do it, again and again for `patience` seconds while the file is locked."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return work(*arguments)
            except (peewee.OperationalError, sqlite3.OperationalError) as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL)


class SqliteConnections(Connections):
    """Connections to a SQLite file, whose writers queue up before they begin."""

    collation = "BINARY"
    snapshot_mode = "DEFERRED"
    driver_errors = (sqlite3.DatabaseError, sqlite3.InterfaceError)

    def __init__(self, path: Path, settings: SqliteSettings) -> None:
        """Opens nothing; raises ConfigurationError for an SQLite that loses data."""
        if settings.journal_mode == "wal" and has_wal_reset_bug(sqlite3.sqlite_version_info):
            raise ConfigurationError(
                f"plugin.sqlite.journal_mode: SQLite {sqlite3.sqlite_version} may lose data in "
                "WAL mode (its WAL-reset bug); install a newer one with `pip install pysqlite3`, "
                'or set journal_mode = "delete"'
            )
        self._path = path
        self._lock_path = path.with_name(f"{path.name}.lock")
        self._journal_mode = settings.journal_mode
        self._patience = settings.busy_timeout_ms / 1000
        self._writer = threading.Lock()
        database = _Database(
            str(path),
            patience=self._patience,
            max_connections=settings.max_connections,
            timeout=POOL_WAIT,
            check_same_thread=False,
            autoconnect=False,
            # NOTE: a deferred BEGIN that reads and then writes fails at once where another
            # connection has written in between, whatever the timeout is.
            lock_type="IMMEDIATE",
            pragmas=(
                ("busy_timeout", _BUSY_TIMEOUT_MS),
                ("journal_mode", settings.journal_mode),
                ("synchronous", "NORMAL" if settings.journal_mode == "wal" else "FULL"),
                ("foreign_keys", 1),
                # What is deleted - salts, visitors - is to be gone from the file as well.
                ("secure_delete", 1),
                ("cache_size", -16_000),
            ),
        )
        super().__init__(database)

    def prepare(self) -> None:
        """Make the folder and the lock file."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(self._open_lock())
        except OSError as error:
            raise ConfigurationError(
                f"plugin.sqlite.path: {self._path} cannot be used ({error.strerror}); name a file "
                "in a folder that the service may write to, there or with service.data"
            ) from error

    def exists(self) -> bool:
        """Whether the file is there: connecting would make it."""
        return self._path.exists()

    def describe(self) -> Mapping[str, str]:
        """The driver, the library's version and how it is set."""
        return {
            "driver": sqlite3.__name__.partition(".")[0],
            "sqlite": sqlite3.sqlite_version,
            "path": str(self._path),
            "journal_mode": self._journal_mode,
        }

    @contextmanager
    def write_lock(self) -> Iterator[None]:
        """Let one thread of one process write at a time.

        SQLite's own waiting is unfair: of four busy processes one got 4 writes where another
        got 30,000, and gave up after its timeout. Here each process sends one thread, which asks
        so often that none is left behind.
        """
        deadline = time.monotonic() + self._patience
        if not self._writer.acquire(timeout=self._patience):
            raise StorageUnavailable("Another thread has been writing for too long.")
        try:
            with self._locked_file(deadline):
                yield
        finally:
            self._writer.release()

    @contextmanager
    def durable(self, database: Connection) -> Iterator[None]:
        """In WAL mode a commit is not synced by itself; `journal_mode = "delete"` always syncs."""
        if self._journal_mode != "wal":
            yield
            return
        database.execute_sql("PRAGMA synchronous = FULL")
        try:
            yield
        finally:
            database.execute_sql("PRAGMA synchronous = NORMAL")

    def scrub(self) -> None:
        """The write-ahead log has the pages from before; somebody who reads it may keep it."""
        if self._journal_mode == "wal":
            with self.write_lock(), self.connection() as database:
                database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextmanager
    def migration_lock(self) -> Iterator[Connection]:
        """Migrations are writes as others are, in transactions of their own."""
        with self.write_lock(), self.connection() as database:
            yield database

    def key(self, value: UUID) -> Any:
        """SQLite keeps UUIDs as 32 hexadecimal digits."""
        return value.hex

    def insert_many(
        self,
        database: Connection,
        table: str,
        columns: Mapping[str, str],
        rows: Iterable[tuple[Any, ...]],
        tail: str = "",
    ) -> None:
        """SQLite takes one row after the other, from one prepared statement."""
        marks = ", ".join("?" * len(columns))
        names = ", ".join(columns)
        database.cursor().executemany(
            f"INSERT INTO {table} ({names}) VALUES ({marks}) {tail}",  # noqa: S608
            rows,
        )

    def insert_new(
        self,
        database: Connection,
        table: str,
        columns: Mapping[str, str],
        rows: Sequence[tuple[Any, ...]],
    ) -> list[tuple[Any, ...]]:
        """SQLite tells what it inserted, statement by statement."""
        names = ", ".join(columns)
        inserted: list[tuple[Any, ...]] = []
        for batch in batches(rows, _ROWS):
            marks = placeholders(len(batch), len(columns))
            cursor = database.execute_sql(
                f"INSERT INTO {table} ({names}) VALUES {marks}"  # noqa: S608
                f" ON CONFLICT DO NOTHING RETURNING {names}",
                [value for row in batch for value in row],
            )
            inserted += cursor.fetchall()
        return inserted

    def pick(
        self,
        database: Connection,
        table: str,
        columns: str,
        key: Mapping[str, str],
        rows: Sequence[tuple[Any, ...]],
        fixed: str = "TRUE",
        parameters: Sequence[Any] = (),
    ) -> list[tuple[Any, ...]]:
        """SQLite would choose the order of the tables by guessing; CROSS fixes it."""
        found: list[tuple[Any, ...]] = []
        same = " AND ".join(f"r.{name} = wanted.{name}" for name in key)
        for batch in batches(rows, _ROWS):
            marks = placeholders(len(batch), len(key))
            cursor = database.execute_sql(
                f"WITH wanted({', '.join(key)}) AS (VALUES {marks}) SELECT {columns}"  # noqa: S608
                f" FROM wanted CROSS JOIN {table} AS r ON {fixed} AND {same}",
                [*(value for row in batch for value in row), *parameters],
            )
            found += cursor.fetchall()
        return found

    def lacks_tables(self, error: Exception) -> bool:
        """SQLite has a message for it, but no code of its own."""
        return str(error).startswith(("no such table", "no such column"))

    def lacks_parent(self, error: peewee.IntegrityError) -> bool:
        """SQLite says no more than this."""
        return "FOREIGN KEY" in str(error)

    @contextmanager
    def _locked_file(self, deadline: float) -> Iterator[None]:
        # The file is opened each time, because a lock belongs to the opened file, which a forked
        # process would share. The system takes the lock from a process that dies.
        try:
            file = self._open_lock()
        except OSError as error:
            raise StorageUnavailable("The database's lock file cannot be opened.") from error
        try:
            # PERF: asking again, instead of waiting in the system, lets other greenlets run.
            while not _try_lock(file):
                if time.monotonic() > deadline:
                    raise StorageUnavailable("Another process has been writing for too long.")
                time.sleep(_POLL)
            yield
        finally:
            os.close(file)

    def _open_lock(self) -> int:
        return os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class SqlitePlugin:
    """Offers the storage and the scan store `sqlite`, which share their connections."""

    def __init__(self) -> None:
        self._connections: SqliteConnections | None = None

    @hookimpl
    def qz_settings(self) -> type[PluginSettings]:
        """The options of `[plugin.sqlite]`."""
        return SqliteSettings

    @hookimpl
    def qz_storages(
        self, settings: SqliteSettings, context: PluginContext
    ) -> Mapping[str, Storage]:
        """The storage, by the name `sqlite`."""
        return {"sqlite": DatabaseStorage(self._connect(settings, context))}

    @hookimpl
    def qz_scan_stores(
        self, settings: SqliteSettings, context: PluginContext
    ) -> Mapping[str, ScanStore]:
        """The scan store, by the name `sqlite`."""
        return {"sqlite": DatabaseScanStore(self._connect(settings, context))}

    def _connect(self, settings: SqliteSettings, context: PluginContext) -> SqliteConnections:
        if self._connections is None:
            path = Path(settings.path) if settings.path else context.data / "quietzone.db"
            self._connections = SqliteConnections(path.absolute(), settings)
        return self._connections
