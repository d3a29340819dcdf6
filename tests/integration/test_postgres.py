"""PostgreSQL as the service uses it: how it is reached, lost and found again."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from msgspec.structs import replace

from core.api import (
    Code,
    ConfigurationError,
    Membership,
    PluginContext,
    Role,
    Scan,
    Secret,
    Storage,
    StorageUnavailable,
    User,
)
from core.extension.host import PluginHost
from plugins.storage import postgres as plugin
from plugins.storage.postgres import PostgresSettings
from tests import servers
from tests.contract.test_scan_stores import NOON, add_code, add_organization
from tests.servers import Backend, Postgres

CONTEXT = PluginContext(data=Path("unused"), base_url="http://localhost")


def storage_of(dsn: str, **options: Any) -> Storage:
    return Backend.of("postgres", PostgresSettings(dsn=Secret(dsn), **options), CONTEXT).storage


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.stop()


def test_the_service_finds_a_server_that_was_restarted(own_server: Postgres) -> None:
    storage = storage_of(own_server.dsn())
    storage.open()
    storage.migrate()
    assert storage.organizations.all() == []

    own_server.halt()
    with pytest.raises(StorageUnavailable):
        storage.ping()
    with pytest.raises(StorageUnavailable):
        storage.organizations.all()
    own_server.start()

    storage.ping()
    assert storage.organizations.all() == []
    storage.close()


def test_a_transaction_that_loses_its_server_is_an_outage_and_the_next_one_works(
    own_server: Postgres,
) -> None:
    storage = storage_of(own_server.dsn())
    storage.open()
    storage.migrate()

    with pytest.raises(StorageUnavailable), storage.transaction():  # noqa: PT012
        assert storage.organizations.all() == []
        own_server.halt()
        own_server.start()
        storage.organizations.all()

    with storage.transaction():
        assert storage.organizations.all() == []
    storage.close()


def test_a_connection_that_was_cut_is_replaced(postgres_dsn: str) -> None:
    storage: Any = storage_of(postgres_dsn)
    storage.open()
    storage.ping()
    with psycopg.connect(postgres_dsn, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    assert storage.organizations.all() == []
    assert len(storage._connections.database._connections) == 1
    storage.close()


def test_a_server_that_is_away_does_not_keep_the_service_from_starting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    storage = storage_of(f"postgresql://quietzone:sesame@127.0.0.1:{port}/none")

    storage.open()
    with pytest.raises(StorageUnavailable) as caught:
        storage.ping()
    storage.close()

    assert "sesame" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


def test_a_server_that_never_answers_is_an_outage() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        storage = storage_of(f"host=127.0.0.1 port={port} dbname=none", connect_timeout=2)
        storage.open()
        with pytest.raises(StorageUnavailable):
            storage.ping()
        storage.close()


def test_a_url_and_pairs_lead_to_the_same_database(
    postgres_server: Postgres, postgres_dsn: str
) -> None:
    pairs = dict(pair.split("=") for pair in postgres_dsn.split())
    url = f"postgresql:///{pairs['dbname']}?host={pairs['host']}&user={pairs['user']}"
    storages = [storage_of(dsn) for dsn in (postgres_dsn, url)]
    for storage in storages:
        storage.open()
        assert list(storage.pending_migrations()) == []
        assert storage.describe()["dbname"] == pairs["dbname"]
        storage.close()


def test_a_slow_statement_is_an_outage(postgres_dsn: str) -> None:
    storage: Any = storage_of(
        f"{postgres_dsn} options='-c lock_timeout=7000'", statement_timeout_ms=50
    )
    storage.open()
    with pytest.raises(StorageUnavailable), storage._connections.connection() as database:
        database.execute_sql("SELECT pg_sleep(60)")
    with storage._connections.connection() as database:
        assert database.execute_sql("SHOW statement_timeout").fetchone() == ("50ms",)
        assert database.execute_sql("SHOW lock_timeout").fetchone() == ("7s",)
    storage.close()


def test_migrating_leaves_no_session_without_a_timeout(postgres_dsn: str) -> None:
    storage: Any = storage_of(postgres_dsn, statement_timeout_ms=1234)
    storage.open()
    storage.migrate()

    with storage._connections.connection() as database:
        assert database.execute_sql("SHOW statement_timeout").fetchone() == ("1234ms",)
        # The server notices in its own time that the other session has ended.
        deadline = time.monotonic() + 30
        while database.execute_sql(
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone():
            assert time.monotonic() < deadline
    storage.close()


@contextmanager
def blocked_behind(
    dsn: str, statement: str, parameters: list[Any], call: Callable[[], Any]
) -> Iterator[psycopg.Connection[Any]]:
    """Run `call` against the locks of `statement`; the block is entered once it waits for them.

    The block is given a further connection, whose attempts to lock do not wait.
    """
    with (
        psycopg.connect(dsn) as holder,
        psycopg.connect(dsn, autocommit=True) as watcher,
        ThreadPoolExecutor(1) as pool,
    ):
        holder.execute(statement, parameters)
        waiting = pool.submit(call)
        deadline = time.monotonic() + 30
        while not watcher.execute(
            "SELECT 1 FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone():
            assert not waiting.done()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        try:
            watcher.execute("SET lock_timeout = 1")
            yield watcher
        finally:
            holder.rollback()
            waiting.result(30)


@pytest.fixture
def postgres(postgres_dsn: str) -> Iterator[Backend]:
    backend = Backend.of("postgres", PostgresSettings(dsn=Secret(postgres_dsn)), CONTEXT)
    backend.storage.open()
    yield backend
    backend.storage.close()


# Whoever locks several rows locks them in one order, lest two wait for each other: while one waits
# for the first row of that order, the others must be free. They are stored in the opposite order,
# in which PostgreSQL comes upon them by itself.


def codes_stored_backwards(backend: Backend) -> list[Code]:
    organization = add_organization(backend)
    codes = [
        replace(add_code(backend, organization.id), id=UUID(int=9 - n), slug=f"code-{n}")
        for n in range(3)
    ]
    backend.storage.codes.add(codes)
    return sorted(codes, key=lambda code: code.id)


LOCK_CODE = "SELECT 1 FROM codes WHERE id = %s FOR UPDATE"


def test_an_append_locks_its_codes_in_order(postgres: Backend) -> None:
    first, *others = codes_stored_backwards(postgres)
    scans = [Scan(code.id, code.organization_id, NOON, None, False) for code in (*others, first)]

    with blocked_behind(
        postgres.place, LOCK_CODE, [first.id], lambda: postgres.scans.append(scans)
    ) as session:
        for code in others:
            assert session.execute(LOCK_CODE, [code.id]).fetchone() == (1,)

    assert postgres.scans.totals(first.organization_id, None).scans == 3


def test_deleting_an_organization_locks_its_codes_in_order(postgres: Backend) -> None:
    first, *others = codes_stored_backwards(postgres)
    organization_id = first.organization_id

    with blocked_behind(
        postgres.place,
        LOCK_CODE,
        [first.id],
        lambda: postgres.storage.organizations.delete(organization_id),
    ) as session:
        for code in others:
            assert session.execute(LOCK_CODE, [code.id]).fetchone() == (1,)

    assert postgres.storage.organizations.get(organization_id) is None


def test_codes_are_added_in_the_order_of_their_slugs(postgres: Backend) -> None:
    code = add_code(postgres, add_organization(postgres).id)
    wanted = [replace(code, id=uuid4(), slug=slug) for slug in ("zzz", "mmm", "aaa")]
    insert = (
        "INSERT INTO codes SELECT gen_random_uuid(), organization_id, slug, destination, title,"
        " tags, active, valid_from, valid_until, max_scans, forward_query, style, revision,"
        " created_at, updated_at, %s, title_key, search_text FROM codes LIMIT 1"
    )

    with blocked_behind(
        postgres.place, insert, ["AAA"], lambda: postgres.storage.codes.add(wanted)
    ) as session:
        for slug in ("MMM", "ZZZ"):
            with session.transaction(force_rollback=True):
                assert session.execute(insert, [slug]).rowcount == 1

    assert postgres.storage.codes.taken(["aaa", "mmm", "zzz"]) == {"aaa", "mmm", "zzz"}


def test_counting_owners_locks_them(postgres: Backend) -> None:
    organization = add_organization(postgres)
    user = User(id=uuid4(), email="a@example.com", name="", password_hash="", created_at=NOON)
    postgres.storage.users.add(user)
    postgres.storage.memberships.add(Membership(organization.id, user.id, Role.OWNER, NOON))

    def count() -> int:
        with postgres.storage.transaction():
            return postgres.storage.memberships.owners(organization.id)

    demotion = "UPDATE memberships SET role = 'admin' WHERE user_id = %s"
    with blocked_behind(postgres.place, demotion, [user.id], count):
        pass


def test_a_dsn_that_is_none_is_refused_without_being_quoted() -> None:
    with pytest.raises(ConfigurationError, match=r"plugin\.postgres\.dsn") as caught:
        storage_of("host=example.com password='sesame")

    assert "sesame" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_description_holds_no_password(postgres_dsn: str) -> None:
    storage = storage_of(f"{postgres_dsn} password=sesame")
    storage.open()
    description = storage.describe()
    storage.close()

    assert "sesame" not in str(description)
    assert description["driver"].startswith("psycopg 3")
    assert description["server"][0].isdigit()


def test_without_psycopg_enabling_the_plugin_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugin, "psycopg", None)

    PluginHost(["sqlite"], {}, CONTEXT)
    with pytest.raises(ConfigurationError, match=r"quietzone\[postgres\]"):
        PluginHost(["postgres"], {"postgres": {"dsn": "dbname=quietzone"}}, CONTEXT)


def test_the_plugin_offers_a_storage_and_a_scan_store_that_share_their_connections() -> None:
    host = PluginHost(["postgres"], {"postgres": {"dsn": "dbname=quietzone"}}, CONTEXT)

    storage: Any = host.storages.get("postgres")
    scans: Any = host.scan_stores.get("postgres")
    assert storage._connections is scans._connections


def test_a_machine_without_a_server_is_told_what_to_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(servers, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(FileNotFoundError, match="make test"):
        Postgres()
