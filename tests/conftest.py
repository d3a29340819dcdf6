"""Fixtures that several kinds of tests need: databases, always of both kinds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.api import PluginContext, Secret
from plugins.storage.postgres import PostgresSettings
from plugins.storage.sqlite import SqliteSettings
from tests.servers import Backend, Memcached, Postgres

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


@pytest.fixture
def postgres_dsn(postgres_server: Postgres, migrated_template: str) -> Iterator[str]:
    """What leads to a fresh PostgreSQL database that has all tables."""
    name = postgres_server.create_database(migrated_template)
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


@pytest.fixture(params=BOTH)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """A fresh, migrated and opened database of each kind."""
    if request.param == "sqlite":
        made = Backend.of("sqlite", SqliteSettings(), _context(tmp_path))
    else:
        dsn = Secret(request.getfixturevalue("postgres_dsn"))
        made = Backend.of("postgres", PostgresSettings(dsn=dsn), _context(tmp_path))
    made.storage.open()
    made.scans.open()
    made.storage.migrate()
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
