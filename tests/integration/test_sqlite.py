"""SQLite as the service uses it: its file, its locks and the versions that it must not be."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from peewee import sqlite3

from core.api import ConfigurationError, PluginContext, Scan, StorageUnavailable
from plugins.storage import sqlite as plugin
from plugins.storage.sqlite import SqlitePlugin, SqliteSettings, has_wal_reset_bug
from tests.contract.test_scan_stores import NOON, add_code, add_organization
from tests.servers import Backend, Children


def open_backend(folder: Path, **options: Any) -> Backend:
    context = PluginContext(data=folder / "data", base_url="http://localhost")
    backend = Backend.of("sqlite", SqliteSettings(**options), context)
    backend.storage.open()
    return backend


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Backend]:
    backend = open_backend(tmp_path, busy_timeout_ms=200)
    backend.storage.migrate()
    yield backend
    backend.storage.close()


def pragma(backend: Backend, name: str) -> Any:
    with backend.storage._connections.connection() as database:  # type: ignore[attr-defined]
        return database.pragma(name)


@pytest.mark.parametrize(
    ("version", "bad"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 44, 9), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 53, 4), False),
        ((4, 0, 0), False),
    ],
)
def test_versions_with_the_wal_reset_bug_are_known(
    version: tuple[int, int, int], bad: bool
) -> None:
    assert has_wal_reset_bug(version) is bad


def test_a_version_that_loses_data_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "has_wal_reset_bug", lambda version: True)

    with pytest.raises(ConfigurationError) as caught:
        open_backend(tmp_path)

    for part in ("plugin.sqlite.journal_mode", "pysqlite3", 'journal_mode = "delete"'):
        assert part in str(caught.value)
    assert not (tmp_path / "data").exists()
    open_backend(tmp_path, journal_mode="delete").storage.close()


def test_constructing_opens_nothing(tmp_path: Path) -> None:
    context = PluginContext(data=tmp_path / "data", base_url="http://localhost")
    made = SqlitePlugin()
    made.qz_storages(settings=SqliteSettings(), context=context)
    made.qz_scan_stores(settings=SqliteSettings(), context=context)

    assert list(tmp_path.iterdir()) == []


def test_the_data_folder_is_made_for_the_service_alone(tmp_path: Path) -> None:
    backend = open_backend(tmp_path)
    backend.storage.migrate()
    backend.storage.close()

    folder = tmp_path / "data"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "quietzone.db").is_file()


def test_asking_for_pending_migrations_makes_no_file(tmp_path: Path) -> None:
    backend = open_backend(tmp_path)
    assert list(backend.storage.pending_migrations()) == [
        "0001_initial",
        "0002_looks",
        "0003_scans",
        "0004_quarters",
        "0005_days",
        "0006_removal",
        "0007_generations",
        "0008_operators",
        "0009_generation_times",
        "0010_links",
        "0011_second_factors",
        "0012_audit",
        "0013_key_makers",
        "0014_deleted_codes",
    ]
    backend.storage.close()

    assert [path.name for path in (tmp_path / "data").iterdir()] == ["quietzone.db.lock"]


def test_a_folder_that_cannot_be_made_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")

    with pytest.raises(ConfigurationError, match=r"plugin\.sqlite\.path: .*quietzone\.db"):
        open_backend(tmp_path)


def test_another_path_may_be_set(tmp_path: Path) -> None:
    backend = open_backend(tmp_path, path=str(tmp_path / "elsewhere" / "my.db"))
    backend.storage.migrate()
    backend.storage.close()

    assert (tmp_path / "elsewhere" / "my.db").is_file()
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("mode", "synchronous"), [("wal", 1), ("delete", 2)])
def test_connections_are_set_as_asked(tmp_path: Path, mode: str, synchronous: int) -> None:
    backend = open_backend(tmp_path, journal_mode=mode, busy_timeout_ms=1234)

    assert pragma(backend, "journal_mode") == mode
    assert pragma(backend, "synchronous") == synchronous
    # What waits longer waits where other greenlets can run meanwhile.
    assert pragma(backend, "busy_timeout") == 50
    assert pragma(backend, "foreign_keys") == 1
    assert backend.storage.describe()["journal_mode"] == mode
    backend.storage.close()


def test_foreign_keys_hold_after_a_migration(sqlite: Backend) -> None:
    assert pragma(sqlite, "foreign_keys") == 1


def test_the_description_names_the_library_that_runs(sqlite: Backend) -> None:
    description = sqlite.storage.describe()

    assert description["sqlite"] == sqlite3.sqlite_version
    assert description["driver"] == sqlite3.__name__.split(".")[0]


def test_a_file_that_is_no_database_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "quietzone.db").write_bytes(b"no database at all, but long enough" * 99)
    backend = open_backend(tmp_path)

    with pytest.raises(StorageUnavailable):
        backend.storage.ping()
    backend.storage.close()


def test_a_foreign_writer_is_an_outage_after_the_timeout(sqlite: Backend) -> None:
    # The same library as the storage's: two of them in one process do not see each other's locks.
    stranger = sqlite3.connect(sqlite.place, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")

    with pytest.raises(StorageUnavailable), sqlite.storage.transaction():
        pass
    assert sqlite.storage.organizations.all() == []

    stranger.execute("ROLLBACK")
    with sqlite.storage.transaction():
        pass
    stranger.close()


HOLD = """
from tests.servers import Backend
storage = Backend.at("sqlite", sys.argv[1]).storage
storage.open()
with storage.transaction():
    start()
    start()
"""


def test_a_process_that_writes_for_too_long_is_an_outage_and_its_death_the_end_of_it(
    sqlite: Backend,
) -> None:
    with Children(HOLD, [[sqlite.place]]) as children:
        with (
            pytest.raises(StorageUnavailable, match="Another process"),
            sqlite.storage.transaction(),
        ):
            pass
        assert sqlite.storage.organizations.all() == []

        children.first.kill()
        children.first.wait()
        with sqlite.storage.transaction():
            pass


APPEND = """
from datetime import UTC, datetime
from uuid import UUID
from core.api import Scan
from tests.servers import Backend
scans = Backend.at("sqlite", sys.argv[1]).scans
scans.open()
code, organization = UUID(sys.argv[2]), UUID(sys.argv[3])
start()
for n in range(300):
    scans.append([Scan(code, organization, datetime.now(UTC), str(n).encode(), False)])
scans.close()
"""


def test_busy_processes_all_get_to_write(sqlite: Backend) -> None:
    organization = add_organization(sqlite)
    code = add_code(sqlite, organization.id)
    arguments = [sqlite.place, str(code.id), str(organization.id)]

    with Children(APPEND, [arguments] * 4) as children:
        children.go()
        children.lines()

    totals = sqlite.scans.totals(organization.id, code.id)
    assert (totals.scans, totals.unique) == (1200, 300)


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import gevent
from datetime import UTC, datetime
from uuid import UUID
from core.api import Scan
from tests.servers import Backend
backend = Backend.at(sys.argv[1], sys.argv[2])
backend.scans.open()
code, organization = UUID(sys.argv[3]), UUID(sys.argv[4])
def append(n):
    with backend.storage.transaction():
        backend.scans.append([Scan(code, organization, datetime.now(UTC), b"v", False)])
        gevent.sleep(0.001)
        return backend.storage.codes.get(organization, code).scans_total
start()
greenlets = [gevent.spawn(append, n) for n in range(30)]
gevent.joinall(greenlets, raise_error=True)
assert sorted(greenlet.value for greenlet in greenlets) == list(range(1, 31))
backend.scans.close()
"""


def test_greenlets_have_a_connection_each(backend: Backend) -> None:
    organization = add_organization(backend)
    code = add_code(backend, organization.id)

    with Children(
        GREENLETS, [[backend.name, backend.place, str(code.id), str(organization.id)]]
    ) as children:
        children.go()
        children.lines()

    totals = backend.scans.totals(organization.id, code.id)
    assert (totals.scans, totals.unique) == (30, 1)


PATCHED_TOO_LATE = """
from tests.servers import Backend
from gevent import monkey
monkey.patch_all()
from core.api import ConfigurationError
start()
try:
    Backend.at("sqlite", sys.argv[1]).storage.open()
except ConfigurationError as error:
    print(error)
"""


def test_a_peewee_that_would_mix_up_greenlets_is_refused(tmp_path: Path) -> None:
    with Children(PATCHED_TOO_LATE, [[str(tmp_path / "quietzone.db")]]) as children:
        children.go()
        (line,) = children.lines()

    assert "patch_all() first of all" in line


def test_two_databases_live_in_one_process(sqlite: Backend, tmp_path: Path) -> None:
    other = open_backend(tmp_path / "other")
    other.storage.migrate()
    organization = add_organization(sqlite)
    code = add_code(sqlite, organization.id)
    other.scans.append([Scan(code.id, organization.id, NOON, None, False)])

    assert other.storage.organizations.all() == []
    assert sqlite.storage.organizations.all() == [organization]
    assert other.scans.totals(organization.id, None).scans == 0
    other.storage.close()


def test_the_timeline_of_a_code_reads_ranges_of_a_key_alone(
    sqlite: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: Any = sqlite.storage._connections  # type: ignore[attr-defined]
    asked: list[tuple[str, Any]] = []
    execute = connections.database.execute_sql

    def noted(text: str, parameters: Any = None) -> Any:
        asked.append((text, parameters))
        return execute(text, parameters)

    monkeypatch.setattr(connections.database, "execute_sql", noted)
    code = add_code(sqlite, add_organization(sqlite).id)
    for code_id in (code.id, None):
        asked.clear()
        sqlite.scans.counts(code.organization_id, code_id, [(3, 500), (500, 501)])
        counting = [one for one in asked if "_days" in one[0]]
        assert counting
        for text, parameters in counting:
            with connections.connection() as database:
                explained = database.execute_sql(f"EXPLAIN QUERY PLAN {text}", parameters)
                plan = [row[3] for row in explained]
            key = "USING PRIMARY KEY (subject_id=? AND day>? AND day<?)"
            assert any(key in step for step in plan), plan


def test_nothing_remains_of_salts_and_visitors(sqlite: Backend) -> None:
    code = add_code(sqlite, add_organization(sqlite).id)
    salt, visitor = b"salt of a day long gone" * 2, b"hash of a person"
    sqlite.scans.salt(NOON.date(), salt)
    sqlite.scans.append([Scan(code.id, code.organization_id, NOON, visitor, False)])
    path = sqlite.context.data / "quietzone.db"

    def held() -> bool:
        files = [path, path.with_name(f"{path.name}-wal")]
        data = b"".join(file.read_bytes() for file in files)
        return salt in data or visitor in data

    assert held()
    sqlite.scans.tidy((NOON + timedelta(days=3)).date(), None, 100)
    assert not held()


def test_nobody_else_may_read_the_database(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    backend = open_backend(tmp_path)
    backend.storage.migrate()
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "data").iterdir()}
    backend.storage.close()

    assert modes == {0o600}


def test_a_writer_outwaits_a_foreign_lock_while_other_threads_go_on(tmp_path: Path) -> None:
    backend = open_backend(tmp_path, busy_timeout_ms=30_000)
    backend.storage.migrate()
    foreign = sqlite3.connect(tmp_path / "data" / "quietzone.db", isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    done = threading.Event()

    def write() -> None:
        with backend.storage.transaction():
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    backend.storage.ping()
    assert not done.is_set()
    foreign.execute("ROLLBACK")
    foreign.close()
    writer.join(30)

    assert done.is_set()
    backend.storage.close()


def test_a_foreign_process_never_takes_itself_for_the_last_one(sqlite: Backend) -> None:
    connections: Any = sqlite.storage._connections  # type: ignore[attr-defined]
    path = sqlite.context.data / "quietzone.db"
    log = path.with_name(f"{path.name}-wal")
    code = add_code(sqlite, add_organization(sqlite).id)
    with connections.connection() as held:
        held.execute_sql("SELECT 1")
        # Opening another connection must not cost the first one its locks.
        thread = threading.Thread(
            target=lambda: sqlite.storage.codes.get(code.organization_id, code.id)
        )
        thread.start()
        thread.join()
        before = log.stat().st_ino
        script = (
            "import sys; from peewee import sqlite3\n"
            "database = sqlite3.connect(sys.argv[1])\n"
            "database.execute('SELECT COUNT(*) FROM codes').fetchone()\n"
            "database.close()"
        )
        subprocess.run([sys.executable, "-c", script, str(path)], check=True)
        assert log.exists()
        assert log.stat().st_ino == before
