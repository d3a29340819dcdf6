"""The `postgres` plugin: storage and scan store in PostgreSQL, for services on several machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Annotated, Any
from uuid import UUID

import peewee
from msgspec import Meta
from playhouse.pool import PooledPostgresqlDatabase

from core.api import (
    ConfigurationError,
    PluginContext,
    PluginSettings,
    ScanStore,
    Secret,
    Storage,
    hookimpl,
)
from plugins.storage.database import POOL_WAIT, Connection, Connections
from plugins.storage.repositories import DatabaseStorage
from plugins.storage.scan_store import DatabaseScanStore

try:
    import psycopg
except ImportError:  # The extra is not installed; enabling the plugin says so.
    psycopg = None  # type: ignore[assignment]

_MIGRATION_LOCK = 0x51_5A_6D_69_67
"""The number of the advisory lock under which migrations run: "QZmig"."""

_UNDEFINED = ("42P01", "42703")
"""The SQLSTATEs undefined_table and undefined_column."""

_FOREIGN_KEY_VIOLATION = "23503"


class PostgresSettings(PluginSettings, frozen=True, kw_only=True):
    """`[plugin.postgres]`: `dsn` is a URL or key=value text, as libpq takes it."""

    dsn: Secret
    max_connections: Annotated[int, Meta(ge=1, le=1000)] = 20
    statement_timeout_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 15_000
    connect_timeout: Annotated[int, Meta(ge=2, le=600)] = 5


class PostgresConnections(Connections):
    """Connections to a PostgreSQL server, which keeps the order among its writers itself."""

    collation = '"C"'
    snapshot_mode = "REPEATABLE READ"

    def __init__(self, settings: PostgresSettings) -> None:
        if psycopg is None:
            raise ConfigurationError(
                "plugins.enabled: the plugin 'postgres' needs psycopg; install it with "
                "`pip install 'quietzone[postgres]'`, or take the plugin out"
            )
        self.driver_errors = (psycopg.OperationalError, psycopg.InterfaceError)
        parameters = _parse(settings.dsn)
        self._place: dict[str, str] = {
            name: str(parameters[name]) for name in ("host", "port", "dbname") if name in parameters
        }
        options = f"-c statement_timeout={settings.statement_timeout_ms}"
        if parameters.get("options"):
            options = f"{options} {parameters['options']}"
        parameters.setdefault("application_name", "quietzone")
        # A server that is gone without a word is noticed in half a minute, not in two hours.
        parameters.setdefault("keepalives_idle", 10)
        parameters.setdefault("keepalives_interval", 5)
        parameters.setdefault("keepalives_count", 3)
        parameters.setdefault("tcp_user_timeout", 30_000)
        parameters |= {"options": options, "connect_timeout": settings.connect_timeout}
        # peewee wants a name of its own for the database, psycopg takes libpq's: None where libpq
        # is to find it by itself.
        name = parameters.pop("dbname", None)
        database = PooledPostgresqlDatabase(
            name or "postgresql",
            dbname=name,
            **parameters,
            max_connections=settings.max_connections,
            timeout=POOL_WAIT,
            autoconnect=False,
            prefer_psycopg3=True,
        )
        super().__init__(database)

    def prepare(self) -> None:
        """Connect later: a server that is away now may be back soon."""

    def exists(self) -> bool:
        """The server makes no database by being asked."""
        return True

    def describe(self) -> Mapping[str, str]:
        """The driver, the server's version and where it is."""
        with self.connection() as database:
            (version,) = database.execute_sql("SHOW server_version").fetchone()
        return {"driver": f"psycopg {psycopg.__version__}", "server": version, **self._place}

    def write_lock(self) -> AbstractContextManager[None]:
        """No lock: the server's are fair."""
        return nullcontext()

    @contextmanager
    def durable(self, database: Connection) -> Iterator[None]:
        """The server's default may be not to wait: measured, that lost 507 of 150,131 commits."""
        database.execute_sql("SET synchronous_commit = on")
        yield

    def scrub(self) -> None:
        """The server's own housekeeping frees what was deleted; its log is nobody's to read."""

    @contextmanager
    def migration_lock(self) -> Iterator[Connection]:
        """An advisory lock of a session that ends with the block, and its settings with it."""
        with self.connection() as database:
            try:
                # Waiting for another process, and a large migration, may take their time.
                database.execute_sql("SET statement_timeout = 0")
                database.execute_sql("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
                yield database
            finally:
                database.manual_close()

    def key(self, value: UUID) -> Any:
        """Psycopg takes it as it is."""
        return value

    def insert_many(
        self,
        database: Connection,
        table: str,
        columns: Mapping[str, str],
        rows: Iterable[tuple[Any, ...]],
        tail: str = "",
    ) -> None:
        """PostgreSQL copies rows that cannot clash, and takes the columns of others as arrays."""
        names = ", ".join(columns)
        if not tail:
            with database.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            return
        arrays = _arrays(rows)
        if arrays:
            database.execute_sql(
                f"INSERT INTO {table} ({names}) SELECT * FROM {_unnest(columns)} {tail}",  # noqa: S608
                arrays,
            )

    def insert_new(
        self,
        database: Connection,
        table: str,
        columns: Mapping[str, str],
        rows: Sequence[tuple[Any, ...]],
    ) -> list[tuple[Any, ...]]:
        """PostgreSQL takes each column as an array, and tells what it inserted."""
        if not rows:
            return []
        names = ", ".join(columns)
        cursor = database.execute_sql(
            f"INSERT INTO {table} ({names}) SELECT * FROM {_unnest(columns)}"  # noqa: S608
            f" ON CONFLICT DO NOTHING RETURNING {names}",
            _arrays(rows),
        )
        inserted: list[tuple[Any, ...]] = cursor.fetchall()
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
        """PostgreSQL would read the whole table for a long list; OFFSET keeps it from that."""
        if not rows:
            return []
        same = " AND ".join(f"r.{name} = wanted.{name}" for name in key)
        cursor = database.execute_sql(
            f"SELECT found.* FROM {_unnest(key)} AS wanted({', '.join(key)})"  # noqa: S608
            f" CROSS JOIN LATERAL (SELECT {columns} FROM {table} AS r"
            f" WHERE {self.sql(fixed)} AND {same} OFFSET 0) AS found",
            [*_arrays(rows), *parameters],
        )
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found

    def lacks_tables(self, error: Exception) -> bool:
        """PostgreSQL has codes for it."""
        return _sqlstate(error) in _UNDEFINED

    def lacks_parent(self, error: peewee.IntegrityError) -> bool:
        """PostgreSQL has a code for it."""
        return _sqlstate(error) == _FOREIGN_KEY_VIOLATION


def _arrays(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _unnest(columns: Mapping[str, str]) -> str:
    """A table of columns that come as arrays.

    PERF: binary ones (`%b`) take the driver half the time; quoting each text takes most of it.
    """
    return f"unnest({', '.join(f'%b::{kind}[]' for kind in columns.values())})"


def _parse(dsn: Secret) -> dict[str, Any]:
    try:
        return dict(psycopg.conninfo.conninfo_to_dict(dsn.reveal()))
    except psycopg.ProgrammingError:
        # The driver's message would quote the text, password and all.
        raise ConfigurationError(
            "plugin.postgres.dsn: is not understood by libpq; write it as "
            "postgresql://USER:PASSWORD@HOST:PORT/NAME or as host=HOST dbname=NAME user=USER"
        ) from None


def _sqlstate(error: Exception) -> str | None:
    return getattr(getattr(error, "orig", error), "sqlstate", None)


class PostgresPlugin:
    """Offers the storage and the scan store `postgres`, which share their connections."""

    def __init__(self) -> None:
        self._connections: PostgresConnections | None = None

    @hookimpl
    def qz_settings(self) -> type[PluginSettings]:
        """The options of `[plugin.postgres]`."""
        return PostgresSettings

    @hookimpl
    def qz_storages(
        self, settings: PostgresSettings, context: PluginContext
    ) -> Mapping[str, Storage]:
        """The storage, by the name `postgres`."""
        return {"postgres": DatabaseStorage(self._connect(settings))}

    @hookimpl
    def qz_scan_stores(
        self, settings: PostgresSettings, context: PluginContext
    ) -> Mapping[str, ScanStore]:
        """The scan store, by the name `postgres`."""
        return {"postgres": DatabaseScanStore(self._connect(settings))}

    def _connect(self, settings: PostgresSettings) -> PostgresConnections:
        if self._connections is None:
            self._connections = PostgresConnections(settings)
        return self._connections
