"""Security events: who watches the log learns of them, and of nothing secret."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from core.app import Application, create_app
from core.domain.accounts import Role
from core.http.resources import invitations, organizations, password, second_factor, session
from core.http.routes import ROUTES
from tests.http.conftest import PASSWORD, Api, Clock, Tenant, address, settings_in

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
WATCHED = (session, second_factor, password, invitations, organizations)
NAMES = [name for route in ROUTES for name in route.resource.events.values()]


class Watched:
    """What was told since the last look."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "quietzone.security")
        self._caplog = caplog

    def told(self) -> list[dict[str, Any]]:
        found = [
            json.loads(record.getMessage())
            for record in self._caplog.records
            if record.name == "quietzone.security"
        ]
        assert all("\n" not in record.getMessage() for record in self._caplog.records)
        self._caplog.clear()
        return found


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Watched:
    return Watched(caplog)


def test_whatever_changes_who_may_do_what_has_a_name_of_its_own() -> None:
    for route in ROUTES:
        changing = {method for method in route.access if method != "GET"}
        watched = route.resource.__module__ in {module.__name__ for module in WATCHED}
        assert set(route.resource.events) == (changing if watched else set()), route.path
    assert len(NAMES) == len(set(NAMES)) >= 18


def test_the_page_lists_every_event() -> None:
    page = PAGE.read_text(encoding="utf-8")
    missing = [name for name in [*NAMES, "request"] if f"`{name}`" not in page]
    assert not missing


def test_signing_in_and_out_is_told_with_who_and_from_where(
    app: Application, anonymous: Api, acme: Tenant, log: Watched, clock: Clock
) -> None:
    sign_in = {"email": "owner@acme.example", "password": PASSWORD}
    answer = anonymous.post("/api/session", sign_in, remote_addr="192.0.2.7")
    (told,) = log.told()
    assert told == {
        "time": clock().isoformat(timespec="milliseconds"),
        "event": "session.begin",
        "outcome": "done",
        "status": 201,
        "method": "POST",
        "path": "/api/session",
        "address": "192.0.2.7",
        "who": f"user {acme.users[Role.OWNER]}",
        "request_id": answer.headers["X-Request-ID"],
    }
    cookie = answer.cookies["quietzone"].value
    Api(app, {"Cookie": f"quietzone={cookie}"}).delete("/api/session")
    (told,) = log.told()
    assert (told["event"], told["outcome"]) == ("session.end", "done")


def test_a_wrong_password_is_told_once_a_second_with_the_number_of_tries(
    anonymous: Api, log: Watched, clock: Clock
) -> None:
    guess = {"email": "owner@acme.example", "password": "not the password"}
    for _ in range(4):
        anonymous.post("/api/session", guess)
    (told,) = log.told()
    assert (told["event"], told["outcome"], told["who"]) == ("session.begin", "refused", None)
    assert "repeated" not in told
    clock.forward(seconds=1)
    anonymous.post("/api/session", guess)
    (told,) = log.told()
    assert told["repeated"] == 3


def test_whoever_is_turned_away_is_told_of_unless_he_has_shown_nothing(
    app: Application, acme: Tenant, globex: Tenant, anonymous: Api, log: Watched
) -> None:
    anonymous.get(acme.url)
    # A browser that somebody has signed out of has shown nothing either.
    Api(app, {"Cookie": "quietzone-device=something"}).get(acme.url)
    assert log.told() == []
    Api(app, {"Cookie": "quietzone=forged"}).get(acme.url)
    assert [told["status"] for told in log.told()] == [401]
    app.services.clock.forward(seconds=2)  # type: ignore[attr-defined]
    Api(app, {"Authorization": "Bearer qz_forged"}).get(acme.url)
    (told,) = log.told()
    assert (told["event"], told["status"], told["who"]) == ("request", 401, None)
    member = Api(app, {"Authorization": f"Bearer {acme.keys[Role.MEMBER]}"})
    member.get(f"{acme.url}/members")
    (told,) = log.told()
    assert (told["event"], told["status"]) == ("request", 403)
    assert told["who"].startswith("key ")
    member.get(acme.code_url)
    member.get(globex.code_url)
    anonymous.get(f"/r/{acme.code.slug}")
    anonymous.get("/r/UNKNOWN")
    assert log.told() == []


def test_the_limit_that_is_reached_is_named(anonymous: Api, log: Watched) -> None:
    for number in range(62):
        anonymous.get(f"/r/NOSUCHCODE{number}")
    (told,) = log.told()
    assert (told["event"], told["status"], told["limit"]) == ("request", 429, "unknown_slugs")


def test_a_change_of_role_and_a_key_are_told_and_no_secret_is(
    owner: Api, acme: Tenant, log: Watched
) -> None:
    member = address("/api/organizations/{org_id}/members/{user_id}", acme)
    owner.patch(member, {"role": "analyst"})
    made = owner.post(f"{acme.url}/api-keys", {"name": "till", "role": "member"})
    owner.put("/api/password", {"current": PASSWORD, "new": "another fine long one"})
    told = log.told()
    assert [one["event"] for one in told] == ["member.change", "api_key.create", "password.change"]
    text = json.dumps(told)
    for secret in (PASSWORD, "another fine long one", made.json["token"], acme.cookies[Role.OWNER]):
        assert secret not in text


def test_no_request_can_forge_a_line(anonymous: Api, log: Watched) -> None:
    evil = '\n{"event": "session.begin"}'
    anonymous("POST", "/api/session", headers={"User-Agent": evil, "Cookie": "quietzone=x"})
    anonymous("GET", "/api/organizations/%0A%22", headers={"Cookie": "quietzone=x"})
    for told in log.told():
        assert told["status"] >= 400


def test_it_can_be_turned_off(tmp_path: Path, log: Watched, app: Application) -> None:
    quiet = create_app(settings_in(tmp_path / "data", log={"security": False}))
    quiet.services.open()
    Api(quiet, {"Authorization": "Bearer qz_forged"}).get("/api/organizations")
    quiet.services.close()
    assert log.told() == []
