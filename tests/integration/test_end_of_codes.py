"""Codes end for all workers alike: after so many scans, at a time, and when they are edited."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.scanning import PHONE, make
from tests.integration.service import Service

CLIENTS = 6
MAX_SCANS = 50


class Scan(NamedTuple):
    """When a scan began, and its status."""

    began: float
    status: int


class Crowd:
    """Clients that scan one code without a pause, each on a connection of its own."""

    def __init__(self, service: Service, slug: str) -> None:
        self.scans: list[Scan] = []
        self._service = service
        self._slug = slug
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._scan, args=(n,)) for n in range(CLIENTS)]

    def wait_for(self, status: int, since: float, count: int = 100) -> None:
        """Wait until so many scans that began later have that status."""

        def found() -> int:
            later = [scan for scan in self.scans if scan.began > since]
            return sum(scan.status == status for scan in later)

        self._service.wait_until(lambda: found() >= count)

    def led_on(self, since: float = 0.0) -> int:
        """How many of the scans that began later were led on."""
        return sum(scan.status == 302 for scan in self.scans if scan.began > since)

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _scan(self, client: int) -> None:
        connection = http.client.HTTPConnection(*self._service.address, timeout=60)
        number = 0
        while not self._stop.is_set():
            number += 1
            headers = {"User-Agent": f"{PHONE} visitor/{client}-{number}"}
            began = time.monotonic()
            connection.request("GET", f"/r/{self._slug}", headers=headers)
            answer = connection.getresponse()
            answer.read()
            self.scans.append(Scan(began, answer.status))
        connection.close()


class Owner:
    """Makes, changes and reads one code."""

    def __init__(self, service: Service, **values: object) -> None:
        self._me = service.sign_in()
        (organization,) = self._me("GET", "/api/session").json()["organizations"]
        codes = f"/api/organizations/{organization['id']}/qr-codes"
        draft = {"destination": "https://example.com", "slug": "menu", **values}
        self._url = f"{codes}/{self._me('POST', codes, draft).json()['id']}"

    def counted(self) -> int:
        return int(self._me("GET", f"{self._url}/stats").json()["scans"])

    def change(self, **values: object) -> None:
        assert self._me("PATCH", self._url, values).status == 200


@pytest.fixture
def dsn(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("postgres_dsn") if request.param == "postgres" else ""


@contextmanager
def scanned(service: Service, **values: object) -> Iterator[tuple[Owner, Crowd]]:
    with service:
        owner = Owner(service, **values)
        with Crowd(service, "menu") as crowd:
            yield owner, crowd


@pytest.mark.parametrize("dsn", ["sqlite", "postgres"], indirect=True)
def test_no_scan_leads_on_that_begins_once_the_last_allowed_one_is_counted(
    tmp_path: Path, dsn: str
) -> None:
    service = make(tmp_path, dsn)
    with scanned(service, max_scans=MAX_SCANS) as (owner, crowd):
        service.wait_until(lambda: owner.counted() >= MAX_SCANS)
        counted = time.monotonic()
        crowd.wait_for(410, since=counted)
        assert crowd.led_on(since=counted) == 0
        # Those that came before it was counted are counted as well.
        assert crowd.led_on() >= MAX_SCANS
        service.wait_until(lambda: owner.counted() == crowd.led_on())
        owner.change(max_scans=10_000_000)
        changed = time.monotonic()
        crowd.wait_for(302, since=changed)


def test_no_scan_leads_on_that_begins_after_the_end_of_the_validity(tmp_path: Path) -> None:
    service = make(tmp_path)
    with scanned(service) as (owner, crowd):
        crowd.wait_for(302, since=0.0)
        end = datetime.now(UTC) + timedelta(seconds=2)
        owner.change(valid_until=end.isoformat())
        service.wait_until(lambda: datetime.now(UTC) >= end)
        over = time.monotonic()
        crowd.wait_for(410, since=over)
        assert crowd.led_on(since=over) == 0


def test_an_edit_is_in_force_in_every_worker_within_a_second(tmp_path: Path) -> None:
    service = make(tmp_path)
    with scanned(service) as (owner, crowd):
        assert len(service.workers()) > 1
        for active, status in ((False, 410), (True, 302)):
            crowd.wait_for(302 if status == 410 else 410, since=0.0)
            owner.change(active=active)
            in_force = time.monotonic() + 1.0
            crowd.wait_for(status, since=in_force)
            later = {scan.status for scan in crowd.scans if scan.began > in_force}
            assert later == {status}
