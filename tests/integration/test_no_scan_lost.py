"""Scans that were answered are counted, each once, whatever is killed, full or away meanwhile.

`QUIETZONE_KILLS` sets how many times something is killed (20 unless set), `QUIETZONE_SCANS` how
many scans are answered meanwhile at least (2,000), `QUIETZONE_HOLD` how many seconds a lock of the
database is held at least (0: until the service gives up waiting once). `docs/scans.md` has the
figures of long runs; pytest's `-s` shows those of one.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.service import Service
from tests.servers import Backend, Postgres

KILLS = int(os.environ.get("QUIETZONE_KILLS", "20"))
SCANS = int(os.environ.get("QUIETZONE_SCANS", "2000"))
HOLD = float(os.environ.get("QUIETZONE_HOLD", "0"))
CLIENTS = 6
CODES = 5
PHONE = "Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/130.0 Mobile Safari/537.36"

SETTINGS = """
[plugins]
enabled = ["segno", "png", "svg", "{kind}", "shared_memory", "rolling", "user_agent", "log"]

[storage]
backend = "{kind}"

[scans]
store = "{kind}"
# Files that are short-lived are finished, taken over and removed more often.
rotate_after = 1.0
{scans}

[cache]
# What is counted shows at once.
answer_lag = 0.0

[log]
# Not a line for each of thousands of scans.
requests = false

[plugin.{kind}]
{plugin}
"""

GIVES_UP = {"sqlite": "busy_timeout_ms = 500", "postgres": "statement_timeout_ms = 500"}
"""After half a second a writer stops waiting for whoever holds the lock."""


def make(
    folder: Path, dsn: str = "", *, scans: str = "", plugin: str = "", within: tuple[str, ...] = ()
) -> Service:
    """The service on PostgreSQL where there is a `dsn`, and on SQLite otherwise; not started."""
    kind = "postgres" if dsn else "sqlite"
    if dsn:
        plugin += '\ndsn = { env = "QUIETZONE_DATABASE" }'
    config = folder / "settings.toml"
    config.write_text(SETTINGS.format(kind=kind, scans=scans, plugin=plugin))
    environ = {"QUIETZONE_CONFIG": str(config), "QUIETZONE_DATABASE": dsn}
    return Service(folder, within=within, **environ)


@pytest.fixture(params=["sqlite", "postgres"])
def dsn(request: pytest.FixtureRequest) -> str:
    """Where the database is; empty for SQLite, whose file lies in the data folder."""
    return request.getfixturevalue("postgres_dsn") if request.param == "postgres" else ""


class Load:
    """Clients that scan without a pause; each scan is that of a visitor of its own.

    `answered` counts the 302 of each code, `refused` whatever else came. A scan whose answer never
    came may have been recorded: `unknown` counts those.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._me = service.sign_in()
        self._org = self._me("GET", "/api/session").json()["organizations"][0]["id"]
        self.codes = [
            self._me(
                "POST",
                f"/api/organizations/{self._org}/qr-codes",
                {"destination": "https://example.com", "slug": f"code-{n}"},
            ).json()["id"]
            for n in range(CODES)
        ]
        self.answered = [0] * CODES
        self.unknown = [0] * CODES
        self.refused = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._scan, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def total(self) -> int:
        return sum(self.answered)

    def wait_for(self, more: int) -> None:
        """Wait until so many more scans were answered."""
        goal = self.total + more
        self._service.wait_until(lambda: self.total >= goal)

    def stats(self) -> list[tuple[int, int]]:
        """Scans and uniques of each code, as the service counts them."""
        found = []
        for code in self.codes:
            stats = self._me("GET", f"/api/organizations/{self._org}/qr-codes/{code}/stats").json()
            found.append((stats["scans"], stats["unique"]))
        return found

    def elsewhere(self, code: int) -> list[int]:
        """The scans of a code as its timeline, its weekdays and the scans themselves tell them."""
        url = f"/api/organizations/{self._org}/qr-codes/{self.codes[code]}"
        weekdays = self._me("GET", f"{url}/stats").json()["window"]["weekdays"]
        exported = self._me("GET", f"{url}/scans", accept="text/csv").body
        return [
            self._me("GET", f"{url}/timeline").json()["total"],
            sum(map(sum, weekdays)),
            exported.count(b"\n") - 1,
        ]

    def wait_until_drained(self) -> list[tuple[int, int]]:
        """What is counted once nothing is left in the journal that is not."""
        # A file is removed once it is finished and stored.
        self._service.wait_until(lambda: not list(self._service.journal.glob("*.scans")))
        return self.stats()

    def check(self) -> None:
        """Every answered scan is counted once; an unanswered one once or not at all."""
        counted = self.wait_until_drained()
        doubled = sum(scans - unique for scans, unique in counted)
        lost = [max(0, self.answered[n] - scans) for n, (scans, _) in enumerate(counted)]
        print(  # noqa: T201 - the figures of a long run.
            f"{self.total} scans answered, {self.refused} refused, {sum(self.unknown)} unknown,"
            f" {sum(scans for scans, _ in counted)} counted, {sum(lost)} lost, {doubled} doubled"
        )
        for n, (scans, unique) in enumerate(counted):
            assert self.answered[n] <= scans <= self.answered[n] + self.unknown[n]
            # Each scan had a visitor of its own: one that was counted twice would not be unique.
            assert unique == scans
            assert self.elsewhere(n) == [scans] * 3

    def _scan(self, client: int) -> None:
        connection: http.client.HTTPConnection | None = None
        number = 0
        while not self._stop.is_set():
            number += 1
            code = (client + number) % CODES
            sent = False
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(*self._service.address, timeout=60)
                    # Until it is connected, nothing can have been recorded.
                    connection.connect()
                agent = f"{PHONE} visitor/{client}-{number}"
                sent = True
                connection.request("GET", f"/r/code-{code}", headers={"User-Agent": agent})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                if connection is not None:
                    connection.close()
                connection = None
                if sent:
                    with self._lock:
                        self.unknown[code] += 1
                else:
                    self._stop.wait(0.01)
                continue
            with self._lock:
                if answer.status == 302:
                    self.answered[code] += 1
                else:
                    self.refused += 1
        if connection is not None:
            connection.close()


def test_killed_processes_lose_no_scan(tmp_path: Path, dsn: str) -> None:
    chance = random.Random(7)
    began = time.monotonic()
    with make(tmp_path, dsn) as service, Load(service) as load:
        for n in range(1, KILLS + 1):
            load.wait_for(chance.randrange(2 * SCANS // KILLS))
            if n % 10 == 0:
                # Workers whose master is gone end by themselves, unless they are killed as well.
                service.kill(alone=n % 20 == 0)
                service.start()
            elif victims := [*service.workers(), *service.drainers()]:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(victims), signal.SIGKILL)
        load.wait_for(100)
        while load.total < SCANS:
            load.wait_for(100)
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
