"""Clients that scan without a pause, and what must be counted of it, whatever is killed meanwhile.

Each scan is that of a visitor of its own, so that one that was counted twice would be seen: it
would not be unique. Tests use it in short, `loadtests.failures` for as long as it takes.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.integration.service import PATIENCE, Service

CLIENTS = 6
CODES = 5
PHONE = "Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/130.0 Mobile Safari/537.36"
MASTER_EVERY = 10
"""Of so many kills one is the master's; the others are those of a worker or of the drainer."""

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


class Figures(NamedTuple):
    """What became of scans: of `unknown` ones the answer never came, so that they may be counted.

    `lost` were answered and not counted, `doubled` were counted once more than they should be.
    """

    answered: int
    refused: int
    unknown: int
    counted: int
    lost: int
    doubled: int


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

    def wait_until_drained(self, patience: float = PATIENCE) -> list[tuple[int, int]]:
        """What is counted once nothing is left in the journal that is not."""
        # A file is removed once it is finished and stored.
        self._service.wait_until(lambda: not list(self._service.journal.glob("*.scans")), patience)
        return self.stats()

    def figures(self, counted: list[tuple[int, int]]) -> Figures:
        """What became of all scans, where so many scans and uniques of each code were counted."""
        return Figures(
            answered=self.total,
            refused=self.refused,
            unknown=sum(self.unknown),
            counted=sum(scans for scans, _ in counted),
            lost=sum(max(0, self.answered[n] - scans) for n, (scans, _) in enumerate(counted)),
            doubled=sum(scans - unique for scans, unique in counted),
        )

    def check(self) -> None:
        """Every answered scan is counted once; an unanswered one once or not at all."""
        counted = self.wait_until_drained()
        figures = self.figures(counted)
        told = (f"{number} {name}" for name, number in figures._asdict().items())
        print(f"scans: {', '.join(told)}")  # noqa: T201 - the figures of a long run.
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


def kill_at_random(service: Service, load: Load, kills: int, scans: int) -> int:
    """`kill -9` processes of the service, until so many scans are answered; how many it hit.

    A worker and the drainer are replaced by the service itself, the master is started again.
    """
    chance = random.Random(7)
    hit = 0
    for n in range(1, kills + 1):
        load.wait_for(chance.randrange(2 * scans // kills))
        if n % MASTER_EVERY == 0:
            # Workers whose master is gone end by themselves, unless they are killed as well.
            service.kill(alone=n % (2 * MASTER_EVERY) == 0)
            service.start()
            hit += 1
        elif victims := [*service.workers(), *service.drainers()]:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(victims), signal.SIGKILL)
                hit += 1
    load.wait_for(100)
    while load.total < scans:
        load.wait_for(100)
    return hit
