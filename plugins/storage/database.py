"""Connections to one database: the one place where they are taken, given back and watched.

A storage and a scan store of the same plugin share one `Connections`. What differs between
databases - locks, pragmas, drivers - is in the subclasses in `sqlite` and `postgres`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import peewee
from playhouse.migrations import Runner
from playhouse.pool import MaxConnectionsExceeded

from core.api import ConfigurationError, StorageUnavailable

MIGRATIONS = Path(__file__).parent / "migrations"

POOL_WAIT = 5
"""How long, in seconds, a thread waits for a connection when all of them are in use."""

T = TypeVar("T")

Connection: TypeAlias = Any
"""A peewee Database, as the thread that has a connection sees it; the stubs lack most of it."""

# What a caller has sent, or a mistake in a statement: never a sign of a database that is away.
_NO_OUTAGE = (
    peewee.IntegrityError,
    peewee.DataError,
    peewee.ProgrammingError,
    peewee.NotSupportedError,
)


class Connections(ABC):
    """A pool of connections, and the only ways to use one: `connection()` and `transaction()`.

    Both give the running thread's (or greenlet's) own connection; within a block it stays the
    same one, so that all that is called inside takes part in the same transaction.
    """

    collation: str
    """The collation that sorts text by code points, as SQL writes it."""

    snapshot_mode: str
    """What a transaction is begun with that only reads, and reads as of one moment."""

    driver_errors: tuple[type[Exception], ...]
    """The driver's own errors that mean an outage; they come up where rows are fetched."""

    def __init__(self, database: Connection) -> None:
        self.database = database
        self._opening = threading.Lock()
        self._opened = 0

    def open(self) -> None:
        """Get ready; may be called by several owners, each of which then calls `close`."""
        with self._opening:
            if not self._opened:
                # NOTE: gevent's patches replace threading.local. A peewee that was imported before
                # would hand one connection to all greenlets at a time.
                if not isinstance(self.database._state, threading.local):
                    raise ConfigurationError(
                        "gevent has patched threading after peewee was imported; call "
                        "gevent.monkey.patch_all() first of all, as gunicorn.conf.py does"
                    )
                self.prepare()
            self._opened += 1

    def close(self) -> None:
        """Let go of every connection, once all owners have closed."""
        with self._opening:
            if self._opened:
                self._opened -= 1
                if not self._opened:
                    self.database.close_all()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """The thread's connection, taken from the pool unless an outer block holds one already.

        Raises StorageUnavailable for whatever tells that the database cannot be worked with.
        """
        with self._outages():
            if not self.database.is_closed():
                yield self.database
                return
            self.database.connect()
            try:
                yield self.database
            finally:
                self.database.close()

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[Connection]:
        """A connection in a transaction; within another one it is a part of that.

        A part that fails is undone alone (by a savepoint): the outer block may go on, on
        PostgreSQL too, where any error would spoil the transaction otherwise. One that is `durable`
        is on the disk once the block has ended, unless it is a part.
        """
        if self.database.in_transaction():
            with self.connection() as database, database.atomic():
                yield database
            return
        with (
            self.write_lock(),
            self.connection() as database,
            self.durable(database) if durable else nullcontext(),
            database.atomic(),
        ):
            yield database

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Whatever is read in the block is read as of one moment; nothing may be written."""
        with self.connection() as database:
            if database.in_transaction():
                yield
                return
            with database.transaction(self.snapshot_mode):
                yield

    def sql(self, text: str) -> str:
        """A statement that is written with `?`, as this driver takes it."""
        return text.replace("?", self.database.param)

    def pending_migrations(self) -> list[str]:
        """The names of the migrations to be applied; nothing is created in the database."""
        if not self.exists():
            return sorted(path.stem for path in MIGRATIONS.glob("[0-9]*.py"))
        with self.connection() as database:
            status = Runner(database, str(MIGRATIONS)).status()
        return [step.name for step in status if step.path is not None and not step.applied]

    def migrate(self) -> list[str]:
        """Apply the pending migrations; of several processes one does, the others wait."""
        with self.migration_lock() as database:
            return list(Runner(database, str(MIGRATIONS)).up())

    @contextmanager
    def _outages(self) -> Iterator[None]:
        kinds = (peewee.PeeweeException, MaxConnectionsExceeded, *self.driver_errors)
        try:
            yield
        except kinds as error:
            message = self._outage(error)
            if message is None:
                raise
            cause: BaseException = error
            # Where a transaction cannot even be undone, what went wrong before is what matters.
            while isinstance(cause.__context__, kinds):
                cause = cause.__context__
            # The driver's words may name hosts and users: they stay in the log.
            raise StorageUnavailable(message) from cause

    def _outage(self, error: Exception) -> str | None:
        if isinstance(error, MaxConnectionsExceeded):
            return f"All connections to the database have been in use for {POOL_WAIT} seconds."
        if self.lacks_tables(error):
            return "The database lacks tables; run `quietzone migrate`."
        if isinstance(error, _NO_OUTAGE):
            return None
        return "The database cannot be reached, or does not answer in time."

    @abstractmethod
    def insert_many(
        self,
        database: Connection,
        table: str,
        columns: Mapping[str, str],
        rows: Iterable[tuple[Any, ...]],
        tail: str = "",
    ) -> None:
        """Insert rows by the thousand; `columns` have PostgreSQL types, `tail` comes last."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what must be there before the first connection; raises ConfigurationError."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is a database to ask, as far as can be told without making one."""

    @abstractmethod
    def describe(self) -> Mapping[str, str]:
        """What runs here: versions and settings, never a secret."""

    @abstractmethod
    def write_lock(self) -> AbstractContextManager[None]:
        """What a transaction takes before its connection."""

    @abstractmethod
    def durable(self, database: Connection) -> AbstractContextManager[None]:
        """Let the transactions in the block wait for the disk, whatever others do."""

    @abstractmethod
    def scrub(self) -> None:
        """Let nothing remain of what was deleted, where the database would keep it for a while."""

    @abstractmethod
    def migration_lock(self) -> AbstractContextManager[Connection]:
        """A connection, with all other processes kept from migrating."""

    @abstractmethod
    def key(self, value: UUID) -> Any:
        """A UUID as a parameter of a hand-written statement."""

    @abstractmethod
    def insert_new(
        self,
        database: Connection,
        table: str,
        columns: Mapping[str, str],
        rows: Sequence[tuple[Any, ...]],
    ) -> list[tuple[Any, ...]]:
        """Insert those rows that are not there yet, and return them as the database has them."""

    @abstractmethod
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
        """Those rows of a table, `r`, that have one of the keys, each looked up by an index.

        `key` has the columns' PostgreSQL types; all rows found satisfy `fixed` as well.
        """

    @abstractmethod
    def lacks_tables(self, error: Exception) -> bool:
        """Whether the error says that a table or column is not there."""

    @abstractmethod
    def lacks_parent(self, error: peewee.IntegrityError) -> bool:
        """Whether the error says that a row that is referred to is not there."""


def batches(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The rows in slices that stay below the databases' limits on parameters (32,766)."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def placeholders(rows: int, columns: int) -> str:
    """The text `(?, ?), (?, ?)` for so many rows of a VALUES list."""
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * rows)
