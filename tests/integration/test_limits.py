"""Limits hold over the workers of a service, with the cache that it has without any setting."""

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

[limits]
unknown_slugs = [{ requests = 100, seconds = 600 }]
sign_in_account = [{ requests = 10, seconds = 600 }]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("limits")
    config = folder / "settings.toml"
    config.write_text(SETTINGS)
    with Service(folder, QUIETZONE_CONFIG=str(config)) as service:
        yield service


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
