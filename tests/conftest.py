"""Fixtures that several kinds of tests need: databases, always of both kinds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.api import PluginContext, Secret
from plugins.storage.postgres import PostgresSettings
from plugins.storage.sqlite import SqliteSettings
from tests.servers import Backend, Copies, Memcached, Postgres

BOTH = ["sqlite", "postgres"]

# PERF: containers often set this. Each of the several hundred processes that are started here would
# then compile all modules again, which is a quarter of a second each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A running PostgreSQL server, shared by all tests; where none is installed, they fail."""
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[Memcached]:
    """A running memcached server, shared by all tests; where none is installed, they fail."""
    server = Memcached()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def migrated_template(postgres_server: Postgres) -> str:
    """The name of a PostgreSQL database with all tables, of which copies are made."""
    name = postgres_server.create_database()
    settings = PostgresSettings(dsn=Secret(postgres_server.dsn(name)))
    storage = Backend.of("postgres", settings, _context(Path("unused"))).storage
    storage.open()
    storage.migrate()
    storage.close()
    return name


@pytest.fixture(scope="session")
def migrated_copies(postgres_server: Postgres, migrated_template: str) -> Copies:
    """PostgreSQL databases with all tables, for one test after the other."""
    return Copies(postgres_server, migrated_template)


@pytest.fixture
def postgres_dsn(postgres_server: Postgres, migrated_copies: Copies) -> Iterator[str]:
    """What leads to a PostgreSQL database that has all tables, and nothing in them."""
    name = migrated_copies.take()
    yield postgres_server.dsn(name)
    migrated_copies.give_back(name)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an SQLite database with all tables, of which copies are made."""
    made = Backend.of("sqlite", SqliteSettings(), _context(tmp_path_factory.mktemp("migrated")))
    made.storage.open()
    made.storage.migrate()
    made.storage.close()
    return made.context.data


@pytest.fixture(params=BOTH)
def backend(
    request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path
) -> Iterator[Backend]:
    """A migrated and opened database of each kind, with nothing in it."""
    if request.param == "sqlite":
        shutil.copytree(migrated_file, tmp_path / "data")
        made = Backend.of("sqlite", SqliteSettings(), _context(tmp_path))
    else:
        dsn = Secret(request.getfixturevalue("postgres_dsn"))
        made = Backend.of("postgres", PostgresSettings(dsn=dsn), _context(tmp_path))
    made.storage.open()
    made.scans.open()
    yield made
    made.scans.close()
    made.storage.close()


@pytest.fixture(params=BOTH)
def empty_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """A database of each kind without any table, not opened."""
    if request.param == "sqlite":
        yield Backend.of("sqlite", SqliteSettings(), _context(tmp_path))
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    name = server.create_database()
    settings = PostgresSettings(dsn=Secret(server.dsn(name)))
    yield Backend.of("postgres", settings, _context(tmp_path))
    server.drop_database(name)


def _context(folder: Path) -> PluginContext:
    return PluginContext(data=folder / "data", base_url="http://localhost")
