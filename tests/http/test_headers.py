"""What every answer tells browsers and caches, over the whole route table, errors included."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from itertools import product
from typing import Any

import pytest
from falcon.testing import Result, create_environ

from core.app import Application, create_app
from core.domain.accounts import Role
from core.errors import ConfigurationError, StorageUnavailable
from core.http.resources.base import Access
from core.http.routes import ROUTES, Route
from core.settings import parse
from tests.http.conftest import Api, Tenant, address, settings_in

DOCUMENT = "default-src 'none'; frame-ancestors 'none'"
PICTURE = r"default-src 'none'; style-src 'unsafe-inline'; (img-src data:; )?sandbox"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def assert_sound(answer: Result) -> None:
    """What has to hold of any answer at all."""
    headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == (
        "strict-origin-when-cross-origin" if answer.status_code == 302 else "no-referrer"
    )
    kind = headers.get("Content-Type", "")
    policy = headers["Content-Security-Policy"]
    if kind == "image/svg+xml":
        assert re.fullmatch(PICTURE, policy)
    elif kind in ("", "application/json", "application/problem+json") and answer.status_code != 304:
        assert policy == DOCUMENT
    assert policy.startswith("default-src 'none'; ")
    # Pages have a script of their own, known by its digest.
    scripts = re.findall(r"script-src ([^;]*)", policy)
    assert all(re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", source) for source in scripts)
    assert not scripts or kind.startswith("text/html")
    assert headers["Cache-Control"]
    if answer.status_code >= 400:
        assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers
    assert "Strict-Transport-Security" not in headers


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_answer_of_every_route_has_the_headers(
    app: Application, acme: Tenant, route: Route
) -> None:
    for method, cookie in product(METHODS, ({"Cookie": acme.cookies[Role.OWNER]}, {})):
        answer = Api(app, cookie)(method, address(route.path, acme))
        assert_sound(answer)
        rule = route.access.get("GET" if method == "HEAD" else method)
        if rule not in (None, Access.PUBLIC) and answer.status_code < 400:
            # No shared cache may keep it, and none may show it to somebody else.
            assert answer.headers["Cache-Control"].startswith("private, ")
            vary = set(answer.headers["Vary"].split(", "))
            assert vary >= ({"Cookie"} if rule is Access.ANYBODY else {"Authorization", "Cookie"})


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("GET", "/r/unknown", {}, 404),
        ("PUT", "{org}/qr-codes", {}, 405),
        ("POST", "{org}/qr-codes", {"json": {"title": "x" * 2_000_000}}, 413),
        ("POST", "{org}/qr-codes", {"body": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
        ("POST", "{org}/qr-codes", {"json": {}}, 422),
        ("GET", "{org}/qr-codes/images.zip", {"query_string": "tag=none"}, 422),
        ("GET", "{code}/image", {"query_string": "format=svg&size=1"}, 422),
    ],
)
def test_errors_have_the_headers_too(
    owner: Api, acme: Tenant, method: str, path: str, sent: dict[str, Any], status: int
) -> None:
    answer = owner(method, path.format(org=acme.url, code=acme.code_url), **sent)
    assert answer.status_code == status
    assert_sound(answer)


@pytest.mark.parametrize("path", ["/health/live", "/r/acme-menu", "/nowhere"])
@pytest.mark.parametrize("method", ["WEBSOCKET", "TRACE", "BREW"])
def test_methods_that_nobody_knows_are_answered_like_the_others(
    app: Application, path: str, method: str
) -> None:
    started: list[tuple[str, list[tuple[str, str]]]] = []
    app({**create_environ(path), "REQUEST_METHOD": method}, lambda *told: started.append(told))
    ((status, headers),) = started
    assert status[:3] in ("400", "404", "405")
    assert_sound(Result([], status, headers))


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("a bug"), 500), (StorageUnavailable("away"), 503)]
)
def test_failures_have_the_headers_too(
    app: Application,
    owner: Api,
    acme: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(app.services.images, "picture", fail)
    answer = owner.get(f"{acme.code_url}/image", query_string="format=svg")
    assert answer.status_code == status
    assert_sound(answer)


def test_a_page_may_use_its_own_style_and_nothing_else(anonymous: Api) -> None:
    page = anonymous.get("/r/unknown", headers={"Accept": "text/html"})
    (style,) = re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert page.headers["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    assert not re.search(r"style=|<script|<link|<img|src=| on\w+=", page.text)
    assert page.headers["Vary"] == "Accept"
    assert anonymous.get("/r/unknown").headers["Vary"] == "Accept"


@pytest.mark.parametrize("what", ["image", "timeline"])
def test_a_copy_keeps_the_policy_of_its_picture(owner: Api, acme: Tenant, what: str) -> None:
    url = f"{acme.code_url}/{what}"
    sent: dict[str, Any] = {"headers": {"Accept": "image/svg+xml"}}
    if what == "image":
        sent["query_string"] = "format=svg"
    first = owner.get(url, **sent)
    sent["headers"] = {**sent["headers"], "If-None-Match": first.headers["ETag"]}
    again = owner.get(url, **sent)
    assert again.status_code == 304
    for name in ("Content-Security-Policy", "Cache-Control", "Vary", "Referrer-Policy"):
        assert again.headers[name] == first.headers[name], name


def test_a_signed_image_stays_public_for_ever(owner: Api, anonymous: Api, acme: Tenant) -> None:
    url = owner.get(f"{acme.code_url}/image-url").json["url"].removeprefix("http://qz.test")
    path, _, query = url.partition("?")
    answer = anonymous.get(path, query_string=query)
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert "Vary" not in answer.headers


@pytest.mark.parametrize(
    ("base", "peer", "proto", "expected"),
    [
        ("https://qz.test", "192.0.2.1", None, True),
        ("http://qz.test", "192.0.2.1", None, False),
        ("http://qz.test", "10.0.0.1", "https", True),
        ("http://qz.test", "10.0.0.1", "http, HTTPS", True),
        ("http://qz.test", "192.0.2.1", "https", False),
        ("https://qz.test", "10.0.0.1", "http", False),
        ("https://qz.test", "192.0.2.1", "http", True),
    ],
)
def test_who_came_by_https_comes_back_by_it(
    tmp_path: Any, base: str, peer: str, proto: str | None, expected: bool
) -> None:
    settings = settings_in(
        tmp_path, service={"base_url": base}, http={"trusted_proxies": ["10.0.0.0/8"]}
    )
    api = Api(create_app(settings), {})
    headers = {} if proto is None else {"X-Forwarded-Proto": proto}
    for path in ("/health/live", "/nowhere"):
        told = api.get(path, headers=headers, remote_addr=peer).headers
        assert told.get("Strict-Transport-Security") == ("max-age=31536000" if expected else None)


def test_the_promise_of_https_can_be_turned_off(tmp_path: Any) -> None:
    sections = {"service": {"base_url": "https://qz.test"}, "http": {"hsts_seconds": 0}}
    answer = Api(create_app(settings_in(tmp_path, **sections)), {}).get("/health/live")
    assert "Strict-Transport-Security" not in answer.headers


FRIEND = "https://app.example.com"
CORS = re.compile("access-control-", re.IGNORECASE)


def shared(answer: Result) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if CORS.match(name)}


class TestOtherOrigins:
    """One origin may call the interface, with API keys alone."""

    @pytest.fixture
    def sections(self) -> dict[str, dict[str, Any]]:
        return {"http": {"cors_origins": [FRIEND]}}

    def every(self, acme: Tenant) -> Iterator[str]:
        return (address(route.path, acme) for route in ROUTES)

    def test_its_pages_see_every_answer_and_those_of_others_none(
        self, app: Application, anonymous: Api, acme: Tenant
    ) -> None:
        for path in [*self.every(acme), "/nowhere"]:
            seen = anonymous.get(path, headers={"Origin": FRIEND})
            assert seen.headers["Access-Control-Allow-Origin"] == FRIEND
            assert "ETag" in seen.headers["Access-Control-Expose-Headers"]
            assert "Access-Control-Allow-Credentials" not in seen.headers
            for origin in ("https://evil.example", "null", f"{FRIEND}.evil.example", FRIEND[:-1]):
                other = anonymous.get(path, headers={"Origin": origin})
                assert shared(other) == {}
                assert "Origin" in other.headers["Vary"].split(", ")
            assert "Origin" in anonymous.get(path).headers["Vary"].split(", ")

    def test_a_preflight_is_told_what_may_be_sent(self, anonymous: Api, acme: Tenant) -> None:
        asked = {
            "Origin": FRIEND,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        }
        for route in ROUTES:
            answer = anonymous("OPTIONS", address(route.path, acme), headers=asked)
            assert answer.status_code == 200
            methods = set(answer.headers["Access-Control-Allow-Methods"].split(", "))
            assert set(route.access) <= methods
            allowed = answer.headers["Access-Control-Allow-Headers"]
            assert {"Authorization", "Content-Type", "Idempotency-Key"} <= set(allowed.split(", "))
            assert answer.headers["Access-Control-Max-Age"] == "600"
            other = anonymous(
                "OPTIONS",
                address(route.path, acme),
                headers={**asked, "Origin": "https://evil.example"},
            )
            assert shared(other) == {}

    def test_a_key_opens_what_a_session_does_not(self, app: Application, acme: Tenant) -> None:
        foreign = {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"}
        body = {"destination": "https://a.example/"}
        key = Api(app, {"Authorization": f"Bearer {acme.keys[Role.EDITOR]}"})
        assert key.post(f"{acme.url}/qr-codes", body, headers=foreign).status_code == 201
        person = Api(app, {"Cookie": acme.cookies[Role.EDITOR]})
        refused = person.post(f"{acme.url}/qr-codes", body, headers=foreign)
        assert refused.status_code == 403
        assert refused.headers["Access-Control-Allow-Origin"] == FRIEND


class TestOtherOriginsWithSessions:
    """One origin may call the interface with the session as well."""

    @pytest.fixture
    def sections(self) -> dict[str, dict[str, Any]]:
        return {"http": {"cors_origins": [FRIEND], "cors_credentials": True}}

    def test_a_session_opens_it_to_that_origin_alone(self, owner: Api, acme: Tenant) -> None:
        body = {"destination": "https://a.example/"}
        for origin, status in ((FRIEND, 201), ("https://evil.example", 403)):
            foreign = {"Origin": origin, "Sec-Fetch-Site": "same-site"}
            answer = owner.post(f"{acme.url}/qr-codes", body, headers=foreign)
            assert answer.status_code == status
            assert ("Access-Control-Allow-Credentials" in answer.headers) is (status == 201)


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_no_other_site_is_let_in_unless_it_is_listed(anonymous: Api, method: str) -> None:
    asked = {"Origin": FRIEND, "Access-Control-Request-Method": "GET"}
    answer = anonymous(method, "/api/session", headers=asked)
    assert shared(answer) == {}
    assert "Origin" not in answer.headers.get("Vary", "")


@pytest.mark.parametrize(
    "name",
    ["*", "null", "app.example.com", "https://", "https://App.example.com", f"{FRIEND}/",
     f"{FRIEND}:443", "http://a:80", "ftp://a", "https://a b", "https://u@a", "https://[a",
     "https://a:x"],
)  # fmt: skip
def test_what_is_no_origin_stops_the_start(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"http\.cors_origins: .* write each one as"):
        parse({"http": {"cors_origins": [FRIEND, name]}}, {})


def test_sessions_for_nobody_stop_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"^http\.cors_credentials: .*cors_origins"):
        parse({"http": {"cors_credentials": True}}, {})
