"""Signing in and out, cookies, expiry, keys, and requests that other sites make a browser send."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from falcon.testing import TestClient

from core.app import Application, create_app
from core.domain.accounts import Role
from core.domain.audit import OPERATOR
from core.domain.hosts import origin
from core.errors import Conflict
from core.services.tokens import token_hash
from tests.contract.test_storage import at_the_same_time
from tests.http.conftest import PASSWORD, Api, Clock, Tenant, settings_in

SIGN_IN = {"email": "owner@acme.example", "password": PASSWORD}


def signed_in(app: Application, anonymous: Api) -> Api:
    answer = anonymous.post("/api/session", SIGN_IN)
    assert answer.status_code == 201
    return Api(app, {"Cookie": f"quietzone={answer.cookies['quietzone'].value}"})


def test_signing_in_sets_a_cookie_and_tells_who_one_is(anonymous: Api) -> None:
    answer = anonymous.post("/api/session", {**SIGN_IN, "email": " Owner@ACME.example "})
    assert answer.status_code == 201
    assert answer.json["user"]["email"] == "owner@acme.example"
    assert [(o["slug"], o["role"]) for o in answer.json["organizations"]] == [("acme", "owner")]
    cookie = answer.cookies["quietzone"]
    assert cookie.http_only
    assert cookie.same_site == "Lax"
    assert cookie.path == "/"
    assert not cookie.secure
    assert "password" not in answer.text


def test_under_https_the_cookie_is_secure_and_bound_to_the_host(
    app: Application, tmp_path: Any
) -> None:
    settings = settings_in(tmp_path / "data", service={"base_url": "https://qr.example"})
    secure = create_app(settings)
    secure.services.open()
    cookies = Api(secure, {}).post("/api/session", SIGN_IN).cookies
    secure.services.close()
    assert set(cookies) == {"__Host-quietzone", "__Host-quietzone-device"}
    for cookie in cookies.values():
        assert cookie.secure
        assert cookie.http_only
        assert (cookie.path, cookie.domain) == ("/", None)


@pytest.mark.parametrize(
    "credentials",
    [
        {**SIGN_IN, "password": "wrong"},
        {**SIGN_IN, "password": PASSWORD + " "},
        {**SIGN_IN, "password": "x" * 5000},
        {**SIGN_IN, "email": "nobody@acme.example"},
        {**SIGN_IN, "email": "no address"},
    ],
)
def test_wrong_credentials_are_401_and_tell_nothing(
    anonymous: Api, credentials: dict[str, str]
) -> None:
    answer = anonymous.post("/api/session", credentials)
    assert answer.status_code == 401
    assert answer.json["detail"] == "The e-mail address or the password is wrong."
    assert "Set-Cookie" not in answer.headers


def test_signing_out_ends_the_session_at_once(app: Application, anonymous: Api) -> None:
    me = signed_in(app, anonymous)
    assert me.get("/api/session").status_code == 200
    assert me.delete("/api/session").status_code == 204
    assert me.get("/api/session").status_code == 401


def test_a_session_lives_while_it_is_used_but_not_for_ever(
    app: Application, anonymous: Api, clock: Clock
) -> None:
    me = signed_in(app, anonymous)
    for _ in range(6):
        clock.forward(days=13, hours=23)
        assert me.get("/api/session").status_code == 200
    clock.forward(days=13, hours=23)
    assert me.get("/api/session").status_code == 401


def test_an_idle_session_expires(app: Application, anonymous: Api, clock: Clock) -> None:
    me = signed_in(app, anonymous)
    clock.forward(days=14)
    assert me.get("/api/session").status_code == 401


def test_tokens_are_not_stored_as_they_are(
    app: Application, anonymous: Api, owner: Api, acme: Tenant
) -> None:
    cookie = anonymous.post("/api/session", SIGN_IN).cookies["quietzone"].value
    key = owner.post(f"{acme.url}/api-keys", {"name": "till", "role": "member"}).json["token"]
    stored = b"".join(path.read_bytes() for path in app.settings.data.iterdir() if path.is_file())
    assert b"owner@acme.example" in stored
    for secret in (cookie, key, PASSWORD):
        assert secret.encode() not in stored


def test_a_key_is_shown_once_and_notes_its_last_use(
    app: Application, owner: Api, acme: Tenant, clock: Clock
) -> None:
    answer = owner.post(f"{acme.url}/api-keys", {"name": "till", "role": "member"})
    token = answer.json["token"]
    assert answer.status_code == 201
    assert token.startswith("qz_")
    assert answer.headers["Cache-Control"] == "no-store"
    listed = owner.get(f"{acme.url}/api-keys")
    assert token not in listed.text
    mine = next(key for key in listed.json["items"] if key["name"] == "till")
    assert mine["last_used_at"] is None
    clock.forward(minutes=5)
    assert Api(app, {"Authorization": f"Bearer {token}"}).get(acme.url).status_code == 200
    mine = next(
        key for key in owner.get(f"{acme.url}/api-keys").json["items"] if key["name"] == "till"
    )
    assert mine["last_used_at"] == clock.now.isoformat().replace("+00:00", "Z")


def test_a_key_stops_at_its_expiry_and_when_it_is_deleted(
    app: Application, owner: Api, acme: Tenant, clock: Clock
) -> None:
    def make(**more: str) -> tuple[str, Api]:
        body = {"name": "till", "role": "member", **more}
        answer = owner.post(f"{acme.url}/api-keys", body)
        assert answer.status_code == 201, answer.text
        return answer.json["key"]["id"], Api(
            app, {"Authorization": f"Bearer {answer.json['token']}"}
        )

    _, short = make(expires_at="2026-05-06T13:00:00Z")
    key_id, endless = make()
    assert short.get(acme.url).status_code == endless.get(acme.url).status_code == 200
    clock.forward(hours=1)
    assert short.get(acme.url).status_code == 401
    assert owner.delete(f"{acme.url}/api-keys/{key_id}").status_code == 204
    assert endless.get(acme.url).status_code == 401


def test_a_key_that_has_expired_already_is_refused(owner: Api, acme: Tenant) -> None:
    body = {"name": "late", "role": "member", "expires_at": "2020-01-01T00:00:00Z"}
    answer = owner.post(f"{acme.url}/api-keys", body)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == "expires_at"


@pytest.mark.parametrize("role", [Role.OWNER])
def test_an_admin_cannot_make_more_of_himself_than_he_is(
    app: Application, acme: Tenant, role: Role
) -> None:
    admin = Api(app, {"Cookie": acme.cookies[Role.ADMIN]})
    owner_id = acme.users[Role.OWNER]
    for answer in (
        admin.post(f"{acme.url}/api-keys", {"name": "up", "role": role}),
        admin.post(f"{acme.url}/invitations", {"email": "outsider@example.com", "role": role}),
        admin.patch(f"{acme.url}/members/{acme.users[Role.ADMIN]}", {"role": role}),
        admin.patch(f"{acme.url}/members/{owner_id}", {"role": "member"}),
        admin.delete(f"{acme.url}/members/{owner_id}"),
    ):
        assert answer.status_code == 403


def test_the_last_owner_stays(owner: Api, acme: Tenant) -> None:
    me = f"{acme.url}/members/{acme.users[Role.OWNER]}"
    assert owner.delete(me).status_code == 409
    assert owner.patch(me, {"role": "admin"}).status_code == 409
    second = f"{acme.url}/members/{acme.users[Role.ADMIN]}"
    assert owner.patch(second, {"role": "owner"}).status_code == 200
    assert owner.patch(me, {"role": "admin"}).status_code == 200
    assert owner.get("/api/session").json["organizations"][0]["role"] == "admin"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://qz.test"},
    ],
)
def test_another_site_cannot_use_the_cookie(
    app: Application, owner: Api, anonymous: Api, acme: Tenant, headers: dict[str, str]
) -> None:
    body = {"destination": "https://evil.example"}
    assert owner.post(f"{acme.url}/qr-codes", body, headers=headers).status_code == 403
    assert owner.delete("/api/session", headers=headers).status_code == 403
    assert anonymous.post("/api/session", SIGN_IN, headers=headers).status_code == 403
    assert owner.get(f"{acme.url}/qr-codes", headers=headers).json["total"] == 1
    key = Api(app, {"Authorization": f"Bearer {acme.keys[Role.EDITOR]}"})
    assert key.post(f"{acme.url}/qr-codes", body, headers=headers).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://qz.test"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://qz.test"},
        {},
    ],
)
def test_the_own_site_and_programs_can(owner: Api, acme: Tenant, headers: dict[str, str]) -> None:
    body = {"destination": "https://example.org"}
    assert owner.post(f"{acme.url}/qr-codes", body, headers=headers).status_code == 201


def test_founding_an_organization_makes_one_its_owner(anonymous: Api, owner: Api) -> None:
    answer = owner.post("/api/organizations", {"name": "Café Léon"})
    assert answer.status_code == 201
    assert (answer.json["slug"], answer.json["role"]) == ("cafe-leon", "owner")
    assert answer.headers["Location"].endswith(f"/api/organizations/{answer.json['id']}")
    again = owner.post("/api/organizations", {"name": "Café Léon"})
    assert again.json["slug"] == "cafe-leon-2"
    assert owner.post("/api/organizations", {"name": "X", "slug": "acme"}).status_code == 409


def test_two_apps_in_one_process_do_not_share_sessions(
    app: Application, owner: Api, acme: Tenant, tmp_path: Any
) -> None:
    other = create_app(settings_in(tmp_path / "other"))
    other.services.open()
    other.services.storage.migrate()
    client = TestClient(other, headers={"Cookie": acme.cookies[Role.OWNER]})
    assert client.simulate_get("/api/session").status_code == 401
    other.services.close()
    assert owner.get("/api/session").status_code == 200


def test_an_admin_cannot_delete_the_key_of_an_owner(app: Application, acme: Tenant) -> None:
    admin = Api(app, {"Cookie": acme.cookies[Role.ADMIN]})
    keys = {key["role"]: key["id"] for key in admin.get(f"{acme.url}/api-keys").json["items"]}
    assert admin.delete(f"{acme.url}/api-keys/{keys['owner']}").status_code == 403
    assert admin.delete(f"{acme.url}/api-keys/{keys['admin']}").status_code == 204


def test_the_default_port_makes_no_other_origin() -> None:
    assert origin("https://QR.example:443/path") == "https://qr.example"
    assert origin("http://qr.example:443") == "http://qr.example:443"
    assert origin("http://[::1]:8000") == "http://[::1]:8000"


def test_signing_in_never_takes_over_a_token_that_was_presented(
    app: Application, anonymous: Api
) -> None:
    for cookie in ("quietzone=chosen-by-somebody-else", None):
        before = signed_in(app, anonymous)
        presented = {"Cookie": cookie or before._headers["Cookie"]}
        answer = anonymous.post("/api/session", SIGN_IN, headers=presented)
        token = answer.cookies["quietzone"].value
        assert token not in presented["Cookie"]
        assert Api(app, {"Cookie": f"quietzone={token}"}).get("/api/session").status_code == 200
        assert Api(app, presented).get("/api/session").status_code == 401


def test_ones_sessions_are_listed_newest_first_without_their_tokens(
    app: Application, anonymous: Api, acme: Tenant, clock: Clock
) -> None:
    clock.forward(minutes=5)
    me = signed_in(app, anonymous)
    answer = me.get("/api/sessions")
    young, old = answer.json["items"]
    assert (young["current"], old["current"]) == (True, False)
    assert young["created_at"] == "2026-05-06T12:05:00Z"
    assert old["last_seen_at"] == "2026-05-06T12:00:00Z"
    assert set(young) == {"id", "created_at", "last_seen_at", "expires_at", "current"}
    for cookie in (me._headers["Cookie"], acme.cookies[Role.OWNER]):
        token = cookie.partition("=")[2]
        digest = token_hash(token)
        for secret in (token, digest.hex(), digest.hex()[:32]):
            assert secret not in answer.text.replace("-", "")
    clock.forward(days=13, hours=23, minutes=56)
    assert [item["current"] for item in me.get("/api/sessions").json["items"]] == [True]


def test_a_session_of_ones_own_is_ended_and_no_other(
    app: Application, anonymous: Api, owner: Api, editor: Api
) -> None:
    me = signed_in(app, anonymous)
    (other,) = [s for s in me.get("/api/sessions").json["items"] if not s["current"]]
    (foreign,) = editor.get("/api/sessions").json["items"]
    assert me.delete(f"/api/sessions/{foreign['id']}").status_code == 404
    assert me.delete(f"/api/sessions/{other['id']}").status_code == 204
    assert me.delete(f"/api/sessions/{other['id']}").status_code == 404
    assert [api.get("/api/session").status_code for api in (me, owner, editor)] == [200, 401, 200]
    (current,) = me.get("/api/sessions").json["items"]
    assert me.delete(f"/api/sessions/{current['id']}").status_code == 204
    assert me.get("/api/session").status_code == 401


def test_all_other_sessions_are_ended_at_once(
    app: Application, anonymous: Api, owner: Api, editor: Api
) -> None:
    me, another = signed_in(app, anonymous), signed_in(app, anonymous)
    assert me.delete("/api/sessions").status_code == 204
    found = [api.get("/api/session").status_code for api in (me, another, owner, editor)]
    assert found == [200, 401, 401, 200]


def test_with_another_role_one_signs_in_again(
    app: Application, owner: Api, editor: Api, acme: Tenant
) -> None:
    member = f"{acme.url}/members/{acme.users[Role.EDITOR]}"
    assert owner.patch(member, {"role": "editor"}).status_code == 200
    assert editor.get("/api/session").status_code == 200
    assert owner.patch(member, {"role": "admin"}).status_code == 200
    assert editor.get("/api/session").status_code == 401
    # Whoever changes his own role has just been there himself.
    admin = Api(app, {"Cookie": acme.cookies[Role.ADMIN]})
    own = f"{acme.url}/members/{acme.users[Role.ADMIN]}"
    assert admin.patch(own, {"role": "member"}).status_code == 200
    assert admin.get("/api/session").json["organizations"][0]["role"] == "member"


def test_who_becomes_an_operator_or_none_signs_in_again(
    app: Application, anonymous: Api, editor: Api
) -> None:
    for operator in (True, False):
        me = signed_in(app, anonymous)
        app.services.accounts.set_operator("owner@acme.example", operator, by=OPERATOR)
        assert me.get("/api/session").status_code == 401
        me = signed_in(app, anonymous)
        assert me.get("/api/session").json["user"]["operator"] is operator
    # Who is one already loses nothing by it, nor do others.
    app.services.accounts.set_operator("owner@acme.example", True, by=OPERATOR)
    me = signed_in(app, anonymous)
    app.services.accounts.set_operator("owner@acme.example", True, by=OPERATOR)
    assert me.get("/api/session").status_code == 200
    assert editor.get("/api/session").status_code == 200


@pytest.mark.parametrize("sections", [{"accounts": {"max_organizations": 2}}])
def test_there_is_an_end_to_organizations_that_one_owns(
    app: Application, owner: Api, editor: Api
) -> None:
    assert owner.post("/api/organizations", {"name": "Second"}).status_code == 201
    refused = owner.post("/api/organizations", {"name": "Third"})
    assert refused.status_code == 403
    assert "accounts.max_organizations" in refused.json["detail"]
    # Nor is it to be had in another way.
    others = editor.post("/api/organizations", {"name": "Another"}).json["id"]
    me = app.services.accounts.get("owner@acme.example")
    app.services.organizations.add_membership(UUID(others), me, Role.ADMIN, by=OPERATOR)
    gift = editor.patch(f"/api/organizations/{others}/members/{me.id}", {"role": "owner"})
    assert gift.status_code == 403
    assert "accounts.max_organizations" in gift.json["detail"]
    # What others own, and where one is no owner, does not count.
    made = [editor.post("/api/organizations", {"name": "Mine"}).status_code for _ in range(2)]
    assert made == [201, 403]
    app.services.accounts.set_operator("owner@acme.example", True, by=OPERATOR)
    me = signed_in(app, Api(app, {}))
    assert me.post("/api/organizations", {"name": "Third"}).status_code == 201


def test_owners_who_demote_each_other_at_a_time_leave_one(app: Application, acme: Tenant) -> None:
    organizations, users = app.services.organizations, acme.users
    both = (users[Role.OWNER], users[Role.ADMIN])
    organizations.change_role(acme.id, both[1], Role.OWNER, by=OPERATOR)

    def demote(who: UUID) -> bool:
        try:
            organizations.change_role(acme.id, who, Role.MEMBER, by=OPERATOR)
        except Conflict:
            return False
        return True

    outcomes = at_the_same_time(*(lambda who=who: demote(who) for who in both))
    assert sorted(outcomes) == [False, True]
    assert app.services.storage.memberships.owners(acme.id) == 1
