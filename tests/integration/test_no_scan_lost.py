"""Scans that were answered are counted, each once, whatever is killed, full or away meanwhile.

`QUIETZONE_KILLS` sets how many processes are killed, 20 unless set.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.service import ROOT, Service

KILLS = int(os.environ.get("QUIETZONE_KILLS", "20"))
CLIENTS = 6
CODES = 5
PHONE = "Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/130.0 Mobile Safari/537.36"


@pytest.fixture(params=["sqlite", "postgres"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    environ = {"QUIETZONE_CONFIG": str(quiet(tmp_path))}
    if request.param == "postgres":
        environ = {
            "QUIETZONE_CONFIG": str(ROOT / "config" / "production.toml"),
            "QUIETZONE_DATABASE": request.getfixturevalue("postgres_dsn"),
            "QUIETZONE_WORKERS": "2",
        }
    with Service(tmp_path, **environ) as service:
        yield service


def quiet(folder: Path, *sections: str) -> Path:
    """Settings without a line in the log for each of thousands of scans."""
    config = folder / "quiet.toml"
    config.write_text("\n".join(("[log]", "requests = false", *sections)))
    return config


class Load:
    """Clients that scan without a pause; each scan is that of a visitor of its own.

    `answered` counts the 302 of each code. A scan whose answer never came may have been recorded:
    `unknown` counts those.
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

    def wait_until_drained(self) -> list[tuple[int, int]]:
        """What is counted once nothing is left in the journal that is not."""

        # A file is removed once it is finished and stored.
        self._service.wait_until(lambda: not list(self._service.journal.glob("*.scans")))
        return self.stats()

    def check(self) -> None:
        """Every answered scan is counted once; an unanswered one once or not at all."""
        for n, (scans, unique) in enumerate(self.wait_until_drained()):
            assert self.answered[n] <= scans <= self.answered[n] + self.unknown[n]
            # Each scan had a visitor of its own: one that was counted twice would not be unique.
            assert unique == scans

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


def test_killed_processes_lose_no_scan(service: Service) -> None:
    chance = random.Random(7)
    with Load(service) as load:
        for _ in range(KILLS):
            load.wait_for(chance.randrange(20, 200))
            victims = [*service.workers(), *service.drainers()]
            if victims:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(victims), signal.SIGKILL)
        # The whole service at once, its master first.
        victims = [service.process.pid, *service.workers(), *service.drainers()]
        for victim in victims:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        service.process.wait()
        service.start()
        load.wait_for(100)
    assert load.refused == 0
    assert load.total > 20 * KILLS
    load.check()


def test_a_locked_database_costs_no_redirect(tmp_path: Path) -> None:
    config = quiet(tmp_path)
    with Service(tmp_path, QUIETZONE_CONFIG=str(config)) as service, Load(service) as load:
        load.wait_for(100)
        # Whoever holds the write lock keeps the drainer out for as long as he likes.
        with sqlite3.connect(service.data / "quietzone.db", isolation_level=None) as database:
            database.execute("BEGIN IMMEDIATE")
            load.wait_for(2000)
            behind = sum(scans for scans, _ in load.stats())
            assert behind < load.total - 1500
            database.execute("ROLLBACK")
        database.close()
        load.__exit__()
        assert load.refused == 0
        assert sum(load.unknown) == 0
        load.check()


def test_a_full_journal_is_told_and_counted(tmp_path: Path) -> None:
    config = quiet(tmp_path, "[scans]", "max_journal_bytes = 1048576")
    with Service(tmp_path, QUIETZONE_CONFIG=str(config)) as service, Load(service) as load:
        with sqlite3.connect(service.data / "quietzone.db", isolation_level=None) as database:
            database.execute("BEGIN IMMEDIATE")
            service.wait_until(lambda: "scans are not recorded" in service.log)
            load.wait_for(200)
            database.execute("ROLLBACK")
        database.close()
        load.__exit__()
        counted = sum(scans for scans, _ in load.wait_until_drained())
        assert load.refused == 0

        def dropped() -> int:
            words = service.command("scans", "status").split()
            return int(words[words.index("not") - 1]) if "not" in words else 0

        service.wait_until(lambda: counted + dropped() == load.total)
