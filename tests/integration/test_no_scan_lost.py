"""Scans that were answered are counted, each once, whatever is killed, full or away meanwhile.

`QUIETZONE_KILLS` sets how many times something is killed (20 unless set), `QUIETZONE_SCANS` how
many scans are answered meanwhile at least (2,000), `QUIETZONE_HOLD` how many seconds a lock of the
database is held at least (0: until the service gives up waiting once). `docs/scans.md` has the
figures of long runs; pytest's `-s` shows those of one.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.scanning import Load, kill_at_random, make
from tests.integration.service import Service
from tests.servers import Backend, Postgres

KILLS = int(os.environ.get("QUIETZONE_KILLS", "20"))
SCANS = int(os.environ.get("QUIETZONE_SCANS", "2000"))
HOLD = float(os.environ.get("QUIETZONE_HOLD", "0"))

GIVES_UP = {"sqlite": "busy_timeout_ms = 500", "postgres": "statement_timeout_ms = 500"}
"""After half a second a writer stops waiting for whoever holds the lock."""


@pytest.fixture(params=["sqlite", "postgres"])
def dsn(request: pytest.FixtureRequest) -> str:
    """Where the database is; empty for SQLite, whose file lies in the data folder."""
    return request.getfixturevalue("postgres_dsn") if request.param == "postgres" else ""


def test_killed_processes_lose_no_scan(tmp_path: Path, dsn: str) -> None:
    began = time.monotonic()
    with make(tmp_path, dsn) as service, Load(service) as load:
        kill_at_random(service, load, KILLS, SCANS)
        load.__exit__()
        assert load.refused == 0
        load.check()
    print(f"{KILLS} kills, {(time.monotonic() - began) / 60:.1f} minutes")  # noqa: T201


def test_a_postgresql_that_is_away_costs_no_redirect_and_no_scan(tmp_path: Path) -> None:
    server = Postgres()
    try:
        # The server of tests keeps what it has committed in its memory for a while.
        dsn = f"{server.dsn(server.create_database())} options='-c synchronous_commit=on'"
        storage = Backend.at("postgres", dsn).storage
        storage.open()
        storage.migrate()
        storage.close()
        with make(tmp_path, dsn) as service, Load(service) as load:
            for _ in range(2):
                load.wait_for(200)
                server.crash()
                # Every worker knows all of the codes by now: they lead on, and are counted later.
                load.wait_for(500)
                server.start()
            load.wait_for(200)
            load.__exit__()
            assert load.refused == 0
            load.check()
    finally:
        server.stop()


@contextmanager
def locked(service: Service, dsn: str) -> Iterator[None]:
    """Let nobody else store a scan during the block; whoever reads may."""
    if dsn:
        with psycopg.connect(dsn) as holder:
            holder.execute("LOCK TABLE scans IN ACCESS EXCLUSIVE MODE")
            yield
            holder.rollback()
        return
    database = sqlite3.connect(service.data / "quietzone.db", isolation_level=None)
    with closing(database):
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


def test_a_lock_on_the_scans_costs_no_redirect_and_no_scan(tmp_path: Path, dsn: str) -> None:
    plugin = GIVES_UP["postgres" if dsn else "sqlite"]
    with make(tmp_path, dsn, plugin=plugin) as service, Load(service) as load:

        def told() -> str:
            health = service.request("GET", "/health/ready")
            # Redirects go on, so that a proxy must not take the service for dead.
            assert health.status == 200
            return str(health.json()["checks"]["scans"])

        load.wait_for(100)
        with locked(service, dsn):
            until = time.monotonic() + HOLD
            behind = load.total
            service.wait_until(lambda: "bytes wait in the journal" in told())
            service.wait_until(lambda: time.monotonic() >= until)
            load.wait_for(500)
            # One batch may have been on its way.
            assert sum(scans for scans, _ in load.stats()) < behind + 500
        load.__exit__()
        service.wait_until(lambda: told() == "ok")
        assert load.refused == 0
        assert sum(load.unknown) == 0
        load.check()


def small_disk(folder: Path) -> tuple[str, ...]:
    """What to run a command with, so that it sees a disk of 256 KiB there, until it ends."""
    folder.mkdir(parents=True)
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    script = 'mount -t tmpfs -o size=256k tmpfs "$0" && exec "$@"'
    words = (*unshare, "sh", "-c", script, str(folder))
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("a full disk needs a mount, and there is no `unshare` here")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"a full disk needs a mount, which is not allowed here: {error.stderr.strip()}")
    return words


@pytest.mark.parametrize("full", ["journal", "disk"])
def test_a_full_journal_or_disk_is_told_and_counted(tmp_path: Path, full: str) -> None:
    options: dict[str, Any] = {"scans": "max_journal_bytes = 1048576"}
    if full == "disk":
        options = {"within": small_disk(tmp_path / "data" / "journal")}
    with make(tmp_path, **options) as service, Load(service) as load:

        def lost() -> int:
            """How many scans whichever worker answers says are not recorded."""
            told = service.request("GET", "/health/ready").json()["checks"]["scans"]
            found = re.search(r"(\d+) not recorded since ", told)
            return int(found[1]) if found else 0

        with locked(service, ""):
            service.wait_until(lambda: "scans are not recorded" in service.log)
            load.wait_for(200)
            known = lost()
            assert known > 0
            # What is not recorded is known although the worker that could not do so is gone.
            service.kill_one_worker()
            assert lost() >= known
            load.wait_for(100)
        load.__exit__()
        counted = sum(scans for scans, _ in load.wait_until_drained())
        assert load.refused == 0
        # Of a scan without an answer nobody knows.
        assert 0 <= counted + lost() - load.total <= sum(load.unknown)

        def stored() -> int:
            days = re.findall(
                r"^\d+-\d+-\d+: .* (\d+) not", service.command("scans", "status"), re.MULTILINE
            )
            return sum(map(int, days))

        # A worker that is killed takes along what it has not told the store yet.
        service.wait_until(lambda: 0 < stored() <= lost())
