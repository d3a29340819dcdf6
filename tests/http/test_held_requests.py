"""Whoever draws a request or an answer out is held against what he is at its end."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from falcon.testing import create_environ

from core.app import Application
from core.domain.accounts import Role
from core.domain.audit import OPERATOR
from core.http.resources import base
from tests.http.conftest import LOGO, Api, Tenant
from tests.http.test_roles import CALLS, Call, caller

HELD = [call for call in CALLS if call.body is not None or call.picture is not None]


class Held(io.BytesIO):
    """A body whose first byte comes only after something else has happened."""

    def __init__(self, data: bytes, before: Callable[[], object]) -> None:
        super().__init__(data)
        self._before: Callable[[], object] | None = before

    def read(self, size: int | None = -1) -> bytes:
        if self._before is not None:
            before, self._before = self._before, None
            before()
        return super().read(size)


def ask(app: Application, call: Call, url: str, api: Api, before: Callable[[], object]) -> int:
    """The status of a request whose body is held back until `before` was done."""
    data = call.picture or json.dumps(call.body).encode()
    kind = "image/svg+xml" if call.picture else "application/json"
    headers = {**api._headers, "Content-Type": kind}
    query = "name=New" if call.picture else ""
    environ = create_environ(url, query, headers=headers, method=call.method, body=data)
    environ["wsgi.input"] = Held(data, before)
    statuses: list[str] = []

    def start(status: str, *_: Any) -> None:
        statuses.append(status)

    list(app(environ, start))
    return int(statuses[0].split()[0])


@pytest.fixture(autouse=True)
def every_body_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_HELD", -1.0)


def contents(owner: Api, acme: Tenant) -> list[Any]:
    """What there is, and what was done."""
    lists = ("members", "invitations", "api-keys", "qr-codes", "styles", "logos", "qr-business")
    found = [owner.get(f"{acme.url}/{name}").json for name in lists]
    return [owner.get(acme.url).json, *found]


@pytest.mark.parametrize("call", HELD, ids=str)
@pytest.mark.parametrize("credential", ["cookie", "key"])
def test_nothing_is_done_for_whom_nobody_would_let_in_any_more(
    app: Application, owner: Api, acme: Tenant, call: Call, credential: str
) -> None:
    organizations = app.services.organizations
    after: list[Any] = []

    def end() -> None:
        if credential == "cookie":
            organizations.remove_member(acme.id, acme.users[Role.ADMIN], by=OPERATOR)
        else:
            key = next(k for k in organizations.keys(acme.id) if k.role is Role.ADMIN)
            organizations.delete_key(acme.id, key.id, by=OPERATOR)
        after.extend(contents(owner, acme))

    api = caller(app, acme, Role.ADMIN, credential)
    status = ask(app, call, call.url(acme), api, end)
    assert status == (404 if credential == "cookie" else 401)
    assert contents(owner, acme) == after


def test_nothing_is_done_for_a_session_that_has_ended_meanwhile(
    app: Application, owner: Api
) -> None:
    call = Call("POST", "/api/organizations", Role.MEMBER, 201, {"name": "New"})

    def end() -> None:
        assert owner.delete("/api/session").status_code == 204

    assert ask(app, call, call.path, owner, end) == 401


def test_whoever_is_still_let_in_is_served(app: Application, owner: Api, acme: Tenant) -> None:
    logo = Call("POST", f"{acme.url}/logos", Role.ADMIN, 201, picture=LOGO)
    assert ask(app, logo, logo.path, owner, lambda: None) == 201


@pytest.mark.parametrize("path", ["qr-codes/images.zip", "scans", "audit"])
def test_a_long_answer_ends_with_the_right_to_it(
    app: Application, acme: Tenant, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(base, "_RENEWED_EVERY", -1.0)
    keys = app.services.organizations.keys(acme.id)
    key = next(key for key in keys if key.role is Role.OWNER)
    url = f"{acme.code_url}/scans" if path == "scans" else f"{acme.url}/{path}"
    headers = {"Authorization": f"Bearer {acme.keys[Role.OWNER]}", "Accept": "text/csv, */*;q=0.1"}
    environ = create_environ(url, headers=headers)
    pieces = iter(app(environ, lambda *_: None))  # type: ignore[arg-type, return-value]
    app.services.organizations.delete_key(acme.id, key.id, by=OPERATOR)
    with pytest.raises(BrokenPipeError):
        list(pieces)


def test_a_body_that_comes_at_once_asks_nobody_again(
    app: Application, owner: Api, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_HELD", 0.25)
    asked: list[float] = []
    roles = app.services.storage.memberships.role

    def role(*ids: Any) -> Role | None:
        asked.append(time.monotonic())
        return roles(*ids)

    monkeypatch.setattr(app.services.storage.memberships, "role", role)
    draft = {"destination": "https://example.org/"}
    assert owner.post(f"{acme.url}/qr-codes", draft).status_code == 201
    assert len(asked) == 1
