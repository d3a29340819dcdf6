"""Limits hold over the workers of a service, as exactly as docs/limits.md says of each cache."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.service import Service

SETTINGS = """
[service]
data = { env = "QUIETZONE_DATA" }
bind = { env = "QUIETZONE_BIND" }
base_url = { env = "QUIETZONE_BASE_URL" }
workers = 2

[cache]
backend = "{cache}"

[limits]
unknown_slugs = [{ requests = 100, seconds = 600 }]
sign_in_account = [{ requests = 10, seconds = 600 }]
"""

WORKERS = 2


def serve(folder: Path, cache: str) -> Iterator[Service]:
    config = folder / "settings.toml"
    config.write_text(SETTINGS.replace("{cache}", cache))
    with Service(folder, QUIETZONE_CONFIG=str(config)) as service:
        yield service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    yield from serve(tmp_path_factory.mktemp("limits"), "shared_memory")


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose workers know nothing of each other."""
    yield from serve(tmp_path_factory.mktemp("limits"), "memory")


def at_once(service: Service, times: int, path: str, body: object = None) -> list[int]:
    """The statuses of so many requests, eight at a time, each over a connection of its own."""
    method = "GET" if body is None else "POST"
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(service.request, method, path, body) for _ in range(times)]
        return [one.result().status for one in asked]


def test_guessing_codes_is_limited_over_all_workers_and_over_a_restart(service: Service) -> None:
    told = at_once(service, 200, "/r/NOSUCHCODE")
    assert set(told) == {404, 429}
    assert 90 <= told.count(404) <= 100
    service.__exit__()
    service.start()
    # What the workers had taken and not given out is lost.
    assert at_once(service, 20, "/r/NOSUCHCODE").count(404) <= 100 - told.count(404)


def test_guessing_a_password_is_limited_over_all_workers(service: Service) -> None:
    guess = {"email": service.email, "password": "not the password"}
    told = at_once(service, 30, "/api/session", guess)
    assert told.count(401) == 10
    assert told.count(429) == 20


def test_workers_that_share_no_cache_grant_each_limit_once_each(apart: Service) -> None:
    guess = {"email": apart.email, "password": "not the password"}
    for path, body, most, refused in (
        ("/r/NOSUCHCODE", None, 100, 404),
        ("/api/session", guess, 10, 401),
    ):
        told = at_once(apart, WORKERS * most + most, path, body)
        assert set(told) == {refused, 429}
        assert most <= told.count(refused) <= WORKERS * most
