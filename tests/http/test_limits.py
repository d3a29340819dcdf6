"""Who does something too often is answered with 429, and nobody else is."""

from __future__ import annotations

from typing import Any

import pytest
from falcon.testing import Result, create_environ

from core.app import Application
from core.domain.accounts import Role
from core.http.client import Clients, subject
from core.http.request import Request
from core.http.resources.base import Access
from core.http.routes import ROUTES
from core.settings import Http, ProxyHeader
from tests.http.conftest import PASSWORD, Api, Clock, Tenant, address

NEW = {"destination": "https://example.org/"}
UNKNOWN = "/r/NOSUCHCODE"


def at_most(requests: int, seconds: int = 60) -> list[dict[str, int]]:
    return [{"requests": requests, "seconds": seconds}]


@pytest.fixture
def sections(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    return {
        "limits": {
            "sign_in_address": at_most(4),
            "sign_in_account": at_most(2),
            "reads": at_most(5),
            "writes": at_most(3),
            "bulk": at_most(1),
            "drawing": at_most(2),
            "unknown_slugs": at_most(3),
        },
        **getattr(request, "param", {}),
    }


def key_of(app: Application, tenant: Tenant, role: Role) -> Api:
    return Api(app, {"Authorization": f"Bearer {tenant.keys[role]}"})


def check_refused(answer: Result, policy: str, wait: range) -> None:
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) in wait
    assert answer.headers["RateLimit-Policy"].startswith(f'"{policy}";q=')
    assert answer.headers["RateLimit"] == f'"{policy}";r=0;t={answer.headers["Retry-After"]}'
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json["type"] == "urn:quietzone:problem:too-many"
    assert f"(setting limits.{policy}); try again in" in answer.json["detail"]


def test_reads_count_down_and_then_one_has_to_wait(owner: Api, acme: Tenant, clock: Clock) -> None:
    for left in (4, 3, 2, 1, 0):
        answer = owner.get(acme.code_url)
        assert answer.status_code == 200
        assert answer.headers["RateLimit-Policy"] == '"reads";q=5;w=60'
        assert answer.headers["RateLimit"].startswith(f'"reads";r={left};t=')
    refused = owner.get(acme.code_url)
    check_refused(refused, "reads", range(55, 67))
    assert refused.headers["RateLimit-Policy"] == '"reads";q=5;w=60'
    assert owner("HEAD", acme.code_url).status_code == 429
    clock.forward(seconds=float(refused.headers["Retry-After"]))
    assert owner.get(acme.code_url).status_code == 200


def test_writes_and_bulk_work_are_counted_apart(owner: Api, acme: Tenant) -> None:
    for _ in range(3):
        assert owner.post(f"{acme.url}/qr-codes", NEW).status_code == 201
    check_refused(owner.post(f"{acme.url}/qr-codes", NEW), "writes", range(55, 67))
    check_refused(owner.delete(acme.code_url), "writes", range(55, 67))
    bulk = f"{acme.url}/qr-codes/bulk"
    assert owner.post(bulk, {"codes": [NEW]}).status_code == 201
    check_refused(owner.post(bulk, {"codes": [NEW]}), "bulk", range(55, 67))
    check_refused(owner.get(f"{acme.url}/qr-codes/images.zip"), "bulk", range(55, 67))
    assert owner.get(acme.code_url).status_code == 200


def test_each_key_and_each_person_has_limits_of_their_own(
    app: Application, owner: Api, editor: Api, acme: Tenant
) -> None:
    for _ in range(6):
        owner.get(acme.code_url)
    assert owner.get(acme.code_url).status_code == 429
    assert editor.get(acme.code_url).status_code == 200
    assert key_of(app, acme, Role.OWNER).get(acme.code_url).status_code == 200
    assert key_of(app, acme, Role.EDITOR).get(acme.code_url).status_code == 200


def test_all_sessions_of_a_person_count_together(app: Application, anonymous: Api) -> None:
    sign_in = {"email": "owner@acme.example", "password": PASSWORD}
    sessions = []
    for _ in range(2):
        cookie = anonymous.post("/api/session", sign_in).cookies["quietzone"].value
        sessions.append(Api(app, {"Cookie": f"quietzone={cookie}"}))
    told = [sessions[number % 2].get("/api/session").status_code for number in range(7)]
    assert told == [200] * 5 + [429] * 2


def test_whoever_is_not_let_in_is_not_counted(
    app: Application, acme: Tenant, anonymous: Api
) -> None:
    for _ in range(10):
        assert anonymous.get(acme.code_url).status_code == 401
    key = key_of(app, acme, Role.MEMBER)
    assert key.get(acme.code_url).status_code == 200


@pytest.mark.parametrize(
    "sections",
    [{"limits": {name: at_most(1) for name in ("reads", "writes", "bulk")}}],
    indirect=True,
)
def test_every_route_behind_a_sign_in_is_limited(owner: Api, acme: Tenant, clock: Clock) -> None:
    for route in ROUTES:
        for method, rule in route.access.items():
            if rule not in (Access.PUBLIC, Access.ANYBODY):
                url = address(route.path, acme)
                # A wrong query is refused, so that nothing is done; but it counts.
                first = owner(method, url, params={"nonsense": "1"})
                assert first.status_code in (403, 422), first.text
                assert owner(method, url).status_code == 429
                clock.forward(minutes=2)


def test_signing_in_is_limited_for_an_account_whoever_tries_and_whether_there_is_one(
    app: Application, clock: Clock
) -> None:
    for email in ("owner@acme.example", "nobody@acme.example"):
        told = []
        for number, spelling in enumerate((email, email.upper(), f" {email} ", email)):
            sign_in = {"email": spelling, "password": "not the password"}
            answer = Api(app, {}).post("/api/session", sign_in, remote_addr=f"192.0.2.{number}")
            told.append(answer.status_code)
        assert told == [401, 401, 429, 429]
    right = {"email": "owner@acme.example", "password": PASSWORD}
    refused = Api(app, {}).post("/api/session", right, remote_addr="192.0.2.9")
    check_refused(refused, "sign_in_account", range(55, 67))
    clock.forward(seconds=float(refused.headers["Retry-After"]))
    assert Api(app, {}).post("/api/session", right, remote_addr="192.0.2.9").status_code == 201


@pytest.mark.parametrize("sections", [{"limits": {"sign_in_account": at_most(2)}}], indirect=True)
@pytest.mark.parametrize("how", ["signed in", "a new password"])
def test_whoever_guesses_does_not_keep_out_a_browser_that_has_been_in(
    app: Application, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    owner = {"email": "owner@acme.example", "password": PASSWORD}
    editor = {"email": "editor@acme.example", "password": PASSWORD}

    def guess(email: str, device: str = "") -> int:
        headers = {"Cookie": f"quietzone-device={device}"} if device else {}
        wrong = {"email": email, "password": "not the password"}
        return Api(app, {}).post("/api/session", wrong, headers=headers).status_code

    if how == "signed in":
        made = Api(app, {}).post("/api/session", owner)
    else:
        link = app.services.password_resets.issue(owner["email"]).partition("=")[2]
        owner["password"] = "another quiet phrase"
        sent = {"token": link, "password": owner["password"]}
        made = Api(app, {}).post("/api/password-resets/redeem", sent)
    device = made.cookies["quietzone-device"]
    assert device.http_only
    assert device.same_site == "Lax"
    assert device.max_age == 400 * 24 * 3600
    known = {"Cookie": f"quietzone-device={device.value}"}

    assert [guess(owner["email"]) for _ in range(4)][-1] == 429
    assert Api(app, {}).post("/api/session", owner).status_code == 429
    again = Api(app, known).post("/api/session", {**owner, "email": " Owner@ACME.example"})
    assert again.status_code == 201
    # It is known already, and lets nobody in by itself.
    assert "quietzone-device" not in again.cookies
    assert Api(app, known).get("/api/session").status_code == 401
    # Nor does it help with another account, or anybody who has made one up.
    assert [guess(editor["email"], device.value) for _ in range(3)] == [401, 401, 429]
    assert Api(app, known).post("/api/session", editor).status_code == 429
    name, _, seal = device.value.partition(".")
    for forged in (f"x{name}.{seal}", f"{name}.x{seal}", name, f"{name}.", ".", seal, "ü.ü"):
        assert guess(owner["email"], forged) == 429, forged
    # What is tried with it has a limit as well.
    assert [guess(owner["email"], device.value) for _ in range(3)][-1] == 429


@pytest.mark.parametrize("sections", [{"limits": {"sign_in_account": at_most(2)}}], indirect=True)
def test_a_new_password_takes_back_what_browsers_were_given(app: Application) -> None:
    right = {"email": "owner@acme.example", "password": PASSWORD}
    device = Api(app, {}).post("/api/session", right).cookies["quietzone-device"].value
    app.services.accounts.change_password(right["email"], "another quiet phrase")
    wrong = {**right, "password": "not the password"}
    headers = {"Cookie": f"quietzone-device={device}"}
    told = [
        Api(app, {}).post("/api/session", wrong, headers=each).status_code
        for each in ({}, headers, headers)
    ]
    assert told == [401, 429, 429]


@pytest.mark.parametrize("sections", [{"limits": {"sign_in_account": at_most(2)}}], indirect=True)
def test_nobody_is_counted_as_another_by_a_name_that_he_sends(
    app: Application, owner: Api, acme: Tenant
) -> None:
    right = {"email": "owner@acme.example", "password": PASSWORD}
    device = Api(app, {}).post("/api/session", right).cookies["quietzone-device"].value
    name = device.partition(".")[0]
    for email in (f"user:{acme.users[Role.OWNER]}", f"device:{name}"):
        wrong = {"email": email, "password": "not the password"}
        told = [Api(app, {}).post("/api/session", wrong).status_code for _ in range(3)]
        assert told == [401, 401, 429]
    known = {"Cookie": f"quietzone-device={device}"}
    assert Api(app, known).post("/api/session", right).status_code == 201
    change = {"current": PASSWORD, "new": "another quiet phrase"}
    assert owner.put("/api/password", change).status_code == 204


def test_whoever_guesses_does_not_keep_one_from_changing_his_password(
    app: Application, owner: Api
) -> None:
    guess = {"email": "owner@acme.example", "password": "not the password"}
    told = [Api(app, {}).post("/api/session", guess).status_code for _ in range(3)]
    assert told[-1] == 429
    change = {"current": PASSWORD, "new": "another quiet phrase"}
    assert owner.put("/api/password", {**change, "current": "wrong"}).status_code == 422
    changed = owner.put("/api/password", change)
    assert changed.status_code == 204
    # With the new one, he is known by this browser.
    known = {"Cookie": f"quietzone-device={changed.cookies['quietzone-device'].value}"}
    right = {"email": "owner@acme.example", "password": change["new"]}
    assert Api(app, known).post("/api/session", right).status_code == 201
    assert owner.put("/api/password", change).status_code == 429


def test_signing_in_is_limited_for_an_address_and_one_of_ipv6_is_a_network(
    app: Application,
) -> None:
    for addresses in (["192.0.2.1"] * 5, [f"2001:db8::{number}" for number in range(5)]):
        told = [
            Api(app, {}).post(
                "/api/session",
                {"email": f"{number}@{address[:3]}.example", "password": "not the password"},
                remote_addr=address,
            )
            for number, address in enumerate(addresses)
        ]
        assert [answer.status_code for answer in told] == [401] * 4 + [429]
        check_refused(told[-1], "sign_in_address", range(55, 67))
    other = {"email": "somebody@else.example", "password": "not the password"}
    answer = Api(app, {}).post("/api/session", other, remote_addr="2001:db8:0:1::1")
    assert answer.status_code == 401


@pytest.mark.parametrize("sections", [{"limits": {"sign_in_address": []}}], indirect=True)
def test_who_goes_on_guessing_has_to_wait_longer_and_longer(app: Application, clock: Clock) -> None:
    waits = []
    guess = {"email": "owner@acme.example", "password": "not the password"}
    for _ in range(50):
        answer = Api(app, {}).post("/api/session", guess)
        if answer.status_code == 429:
            waits.append(int(answer.headers["Retry-After"]))
            clock.forward(seconds=waits[-1])
    assert waits[0] <= 66
    assert any(600 < wait <= 990 for wait in waits)


def test_codes_are_not_found_by_trying_and_those_that_exist_are_always_followed(
    anonymous: Api, acme: Tenant
) -> None:
    for number in range(3):
        assert anonymous.get(f"{UNKNOWN}{number}").status_code == 404
    check_refused(anonymous.get(UNKNOWN), "unknown_slugs", range(55, 67))
    assert anonymous("HEAD", UNKNOWN).status_code == 429
    page = anonymous.get(UNKNOWN, headers={"Accept": "text/html"})
    assert page.status_code == 429
    assert "Too many codes are unknown" in page.text
    assert int(page.headers["Retry-After"]) in range(55, 67)
    for _ in range(20):
        assert anonymous.get(f"/r/{acme.code.slug}").status_code == 302
    assert anonymous.get(UNKNOWN, remote_addr="192.0.2.7").status_code == 404


def test_heads_of_unknown_codes_count_as_well(anonymous: Api) -> None:
    told = [anonymous("HEAD", UNKNOWN).status_code for _ in range(5)]
    assert told == [404] * 3 + [429] * 2


def test_drawing_is_limited_and_what_is_in_the_cache_is_not(
    owner: Api, editor: Api, acme: Tenant
) -> None:
    image = f"{acme.code_url}/image"
    for size in (200, 300):
        assert owner.get(image, params={"size": size}).status_code == 200
    check_refused(owner.get(image, params={"size": 400}), "drawing", range(55, 67))
    assert owner.get(image, params={"size": 300}).status_code == 200
    assert editor.get(image, params={"size": 400}).status_code == 200


def test_drawing_for_signed_addresses_is_limited_by_the_client_s_address(
    anonymous: Api, app: Application, acme: Tenant
) -> None:
    paths = []
    for role in (Role.OWNER, Role.ADMIN):
        key = key_of(app, acme, role)
        for size in (200, 300) if role is Role.OWNER else (400, 500):
            url = key.get(f"{acme.code_url}/image-url", params={"size": size}).json["url"]
            paths.append(url.removeprefix("http://qz.test"))
    app.services.cache.close()
    told = [anonymous.get(path).status_code for path in paths]
    assert told == [200, 200, 429, 429]
    elsewhere = anonymous.get(paths[2], remote_addr="192.0.2.7")
    assert elsewhere.status_code == 200


@pytest.mark.parametrize(
    ("sections", "header"),
    [
        ({"http": {"trusted_proxies": ["127.0.0.0/8"]}}, "X-Forwarded-For"),
        (
            {"http": {"trusted_proxies": ["127.0.0.0/8"], "proxy_header": "Forwarded"}},
            "Forwarded",
        ),
    ],
    indirect=["sections"],
)
def test_behind_a_proxy_clients_are_told_apart_by_the_header_that_it_sets(
    anonymous: Api, header: str
) -> None:
    def ask(address: str, **others: str) -> int:
        sent = f"for={address};proto=https" if header == "Forwarded" else address
        return anonymous.get(UNKNOWN, headers={header: sent, **others}).status_code

    assert [ask("203.0.113.1") for _ in range(4)] == [404] * 3 + [429]
    assert ask("203.0.113.2") == 404
    # The proxy appends to what the client has written, and lets the other header through.
    other = {"Forwarded": "X-Forwarded-For", "X-Forwarded-For": "Forwarded"}[header]
    assert ask("203.0.113.1", **{other: "for=203.0.113.9"}) == 429
    first = "for=203.0.113.9, " if header == "Forwarded" else "203.0.113.9, "
    sent = f"{first}for=203.0.113.1" if header == "Forwarded" else f"{first}203.0.113.1"
    assert anonymous.get(UNKNOWN, headers={header: sent}).status_code == 429


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("no:address", "no:address"),
    ],
)
def test_of_ipv6_the_network_counts(address: str, counted: str) -> None:
    assert subject(address) == counted


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=203.0.113.9;proto=https;by=10.0.0.2", "203.0.113.9"),
        ('for="[2001:db8::1]:443"', "2001:db8::1"),
        ('proto=https;host="x;for=6.6.6.6;y";for=203.0.113.9', "203.0.113.9"),
        ("for=6.6.6.6, for=203.0.113.9", "203.0.113.9"),
        ('for="6.6.6.6, for=6.6.6.6", for=203.0.113.9', "203.0.113.9"),
        ("for=6.6.6.6;for=7.7.7.7", "10.0.0.1"),
        ('host="for=6.6.6.6', "10.0.0.1"),
        ('for=6.6.6.6;x=", for=203.0.113.9', "203.0.113.9"),
        ('for=6.6.6.6;x=", for="[2001:db8::1]";host="\\""', "2001:db8::1"),
        ('for=203.0.113.9;host="\\", for=6.6.6.6;x=\\""', "203.0.113.9"),
        ('for=203.0.113.9;host=",,,,,,,,,,"', "203.0.113.9"),
        ('for=203.0.113.9;host=",,,,,,,,,,,"', "10.0.0.1"),
        ("for=203.0.113.9 for=6.6.6.6", "10.0.0.1"),
        ("for=203.0.113.9, , for=10.0.0.7,\t", "203.0.113.9"),
        ("for=unknown", "10.0.0.1"),
        ("for=_hidden", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
def test_of_forwarded_what_the_proxy_has_written_last_is_believed(header: str, client: str) -> None:
    clients = Clients(Http(trusted_proxies=("10.0.0.0/8",), proxy_header=ProxyHeader.FORWARDED))
    env = create_environ("/", remote_addr="10.0.0.1", headers={"Forwarded": header})
    assert clients.address(Request(env)) == client


@pytest.mark.parametrize(
    "sections",
    [{"limits": {}, "images": {"max_waiting": 1}, "accounts": {"max_waiting": 1}}],
    indirect=True,
)
def test_what_cannot_wait_any_more_is_turned_away_at_once(
    app: Application, owner: Api, acme: Tenant
) -> None:
    def check_turned_away(answer: Result, setting: str) -> None:
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert answer.json["type"] == "urn:quietzone:problem:overloaded"
        assert f"setting {setting}" in answer.json["detail"]

    image = f"{acme.code_url}/image"
    with app.services.images._admission.one():
        check_turned_away(owner.get(image), "images.max_waiting")
    drawn = owner.get(image)
    assert drawn.status_code == 200
    with app.services.images._admission.one():
        # What is there waits for nobody.
        assert owner.get(image).content == drawn.content
        check_turned_away(owner.get(image, params={"size": "301"}), "images.max_waiting")
    with app.services.passwords._admission.one():
        for email in ("owner@acme.example", "nobody@acme.example"):
            sign_in = {"email": email, "password": PASSWORD}
            answer = Api(app, {}).post("/api/session", sign_in)
            check_turned_away(answer, "accounts.max_waiting")
    assert Api(app, {}).post("/api/session", sign_in).status_code == 401
