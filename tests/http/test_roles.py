"""Every endpoint for every role, by session and by key, at home and in a foreign organisation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import falcon
import msgspec
import pytest

from core.app import Application
from core.domain.accounts import Role
from core.domain.audit import OPERATOR
from core.http.request import Request
from core.http.resources.base import Access, Resource
from core.http.routes import ROUTES
from core.services.tokens import token_hash
from tests.http.conftest import LOGO, PASSWORD, Api, Seed, Tenant


class Call(msgspec.Struct, frozen=True):
    """A request that succeeds with `status` for everybody who has `role` or more.

    By one that `leaves` a person ends his own membership; a key has none, and the last owner stays.
    """

    method: str
    path: str
    role: Role
    status: int
    body: Any = None
    picture: bytes | None = None
    leaves: bool = False

    def expected(self, role: Role, credential: str) -> int:
        """How somebody of that role is answered."""
        if not role.includes(self.role):
            return 403
        if self.leaves and credential == "key":
            return 403
        return 409 if self.leaves and role is Role.OWNER else self.status

    @property
    def changes(self) -> bool:
        """Whether there may be a difference afterwards."""
        return self.method not in ("GET", "HEAD")

    @property
    def content(self) -> dict[str, Any]:
        """What is sent, as a client takes it."""
        if self.picture is None:
            return {"json": self.body}
        kind = {"Content-Type": "image/svg+xml"}
        return {"body": self.picture, "headers": kind, "params": {"name": "New"}}

    def url(self, tenant: Tenant, organization: Tenant | None = None) -> str:
        return self.path.format(
            org_id=(organization or tenant).id,
            qr_id=tenant.code.id,
            user_id=tenant.users[Role.MEMBER],
            key_id=tenant.key_id,
            invitation_id=tenant.invitation_id,
            style_id=tenant.style_id,
            logo_id=tenant.logo_id,
            sheet_format="pdf",
        )

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


ORG = "/api/organizations/{org_id}"
CODE = ORG + "/qr-codes/{qr_id}"
NEW_MEMBER = {"email": "outsider@example.com", "role": "member"}
LINK = {"destination": "https://example.org/"}

CALLS = [
    Call("GET", ORG, Role.MEMBER, 200),
    Call("PATCH", ORG, Role.ADMIN, 200, {"name": "Renamed"}),
    Call("DELETE", ORG, Role.OWNER, 204),
    Call("GET", ORG + "/members", Role.ADMIN, 200),
    Call("GET", ORG + "/invitations", Role.ADMIN, 200),
    Call("POST", ORG + "/invitations", Role.ADMIN, 201, NEW_MEMBER),
    Call("DELETE", ORG + "/invitations/{invitation_id}", Role.ADMIN, 204),
    Call("PATCH", ORG + "/members/{user_id}", Role.ADMIN, 200, {"role": "analyst"}),
    Call("DELETE", ORG + "/members/{user_id}", Role.ADMIN, 204),
    Call("DELETE", ORG + "/membership", Role.MEMBER, 204, leaves=True),
    Call("GET", ORG + "/api-keys", Role.ADMIN, 200),
    Call("POST", ORG + "/api-keys", Role.ADMIN, 201, {"name": "till", "role": "member"}),
    Call("DELETE", ORG + "/api-keys/{key_id}", Role.ADMIN, 204),
    Call("GET", ORG + "/qr-codes", Role.MEMBER, 200),
    Call("POST", ORG + "/qr-codes", Role.EDITOR, 201, LINK),
    Call("POST", ORG + "/qr-codes/bulk", Role.EDITOR, 201, {"codes": [LINK]}),
    Call("GET", ORG + "/qr-codes/images.zip", Role.MEMBER, 200),
    Call("GET", ORG + "/qr-codes/sheet.{sheet_format}", Role.MEMBER, 200),
    Call("GET", CODE, Role.MEMBER, 200),
    Call("PATCH", CODE, Role.EDITOR, 200, {"title": "New"}),
    Call("DELETE", CODE, Role.EDITOR, 204),
    Call("GET", CODE + "/image", Role.MEMBER, 200),
    Call("GET", CODE + "/image-url", Role.MEMBER, 200),
    Call("POST", ORG + "/images", Role.MEMBER, 200, {"content": "text"}),
    Call("GET", ORG + "/qr-business", Role.MEMBER, 200),
    Call("PUT", ORG + "/qr-business", Role.ADMIN, 200, {"content": "https://example.org"}),
    Call("GET", ORG + "/qr-business/image", Role.MEMBER, 200),
    Call("GET", ORG + "/styles", Role.MEMBER, 200),
    Call("POST", ORG + "/styles", Role.ADMIN, 201, {"name": "New", "color": "#123"}),
    Call("GET", ORG + "/styles/{style_id}", Role.MEMBER, 200),
    Call("PATCH", ORG + "/styles/{style_id}", Role.ADMIN, 200, {"name": "New"}),
    Call("DELETE", ORG + "/styles/{style_id}", Role.ADMIN, 204),
    Call("GET", ORG + "/logos", Role.MEMBER, 200),
    Call("POST", ORG + "/logos", Role.ADMIN, 201, picture=LOGO),
    Call("GET", ORG + "/logos/{logo_id}", Role.MEMBER, 200),
    Call("DELETE", ORG + "/logos/{logo_id}", Role.ADMIN, 204),
    Call("GET", CODE + "/timeline", Role.ANALYST, 200),
    Call("GET", CODE + "/stats", Role.ANALYST, 200),
    Call("GET", CODE + "/scans", Role.ANALYST, 200),
    Call("GET", ORG + "/timeline", Role.ANALYST, 200),
    Call("GET", ORG + "/stats", Role.ANALYST, 200),
    Call("GET", ORG + "/audit", Role.ADMIN, 200),
]
CALLS += [Call("HEAD", call.path, call.role, call.status) for call in CALLS if call.method == "GET"]

everybody = pytest.mark.parametrize("role", list(Role))
everything = pytest.mark.parametrize("call", CALLS, ids=str)
by_cookie_and_key = pytest.mark.parametrize("credential", ["cookie", "key"])


def caller(app: Application, tenant: Tenant, role: Role, credential: str) -> Api:
    if credential == "cookie":
        return Api(app, {"Cookie": tenant.cookies[role]})
    return Api(app, {"Authorization": f"Bearer {tenant.keys[role]}"})


def test_the_calls_cover_every_route_of_an_organization() -> None:
    declared = {
        (method, route.path.replace(":uuid", ""))
        for route in ROUTES
        for method, rule in route.access.items()
        if isinstance(rule, Role)
    }
    assert declared == {(c.method, c.path) for c in CALLS if c.method != "HEAD"}


def test_every_route_declares_a_rule_for_every_responder() -> None:
    for route in ROUTES:
        responders = {
            name.removeprefix("on_").upper()
            for name in dir(route.resource)
            if name.startswith("on_") and name != "on_head"
        }
        assert set(route.access) == responders, route.path
        if "{org_id" not in route.path:
            assert all(isinstance(rule, Access) for rule in route.access.values()), route.path
        else:
            assert all(isinstance(rule, Role) for rule in route.access.values()), route.path


def check_role(app: Application, seed: Seed, call: Call, role: Role, credential: str) -> None:
    """What the role may do is done, at home and nowhere else."""
    api = caller(app, seed.acme, role, credential)

    foreign = api(call.method, call.url(seed.globex), **call.content)
    assert foreign.status_code == 404

    if call.path.count("_id}") > 1:
        mixed = api(call.method, call.url(seed.globex, seed.acme), **call.content)
        assert mixed.status_code == (404 if role.includes(call.role) else 403)

    own = api(call.method, call.url(seed.acme), **call.content)
    assert own.status_code == call.expected(role, credential), own.text
    if own.status_code == 403 and call.method != "HEAD" and not call.leaves:
        assert call.role.value in own.json["detail"]


def tries() -> Iterator[Any]:
    """Each call that changes something, by all who may not at once, and by each who may alone."""
    for call in (call for call in CALLS if call.changes):
        callers = list(product(Role, ("cookie", "key")))
        refused = [each for each in callers if call.expected(*each) == 403]
        if refused:
            yield pytest.param(call, refused, id=f"{call} by whoever may not")
        for role, credential in callers:
            if (role, credential) not in refused:
                yield pytest.param(call, [(role, credential)], id=f"{call} by {role} {credential}")


@pytest.mark.parametrize(("call", "callers"), list(tries()))
def test_a_role_may_do_what_the_table_says_and_nothing_elsewhere(
    app: Application, seed: Seed, call: Call, callers: list[tuple[Role, str]]
) -> None:
    for role, credential in callers:
        check_role(app, seed, call, role, credential)

    # Whatever was tried there, the other organisation is as it was.
    other = caller(app, seed.globex, Role.OWNER, "cookie")
    assert other.get(seed.globex.url).json["name"] == "Globex"
    assert other.get(seed.globex.code_url).json["revision"] == 1
    assert len(other.get(f"{seed.globex.url}/members").json["items"]) == len(Role)
    assert len(other.get(f"{seed.globex.url}/api-keys").json["items"]) == len(Role)
    for things in ("styles", "logos"):
        (thing,) = other.get(f"{seed.globex.url}/{things}").json["items"]
        assert thing["name"] == "Seeded"


@pytest.mark.parametrize("call", [call for call in CALLS if not call.changes], ids=str)
def test_a_role_may_see_what_the_table_says_and_nothing_elsewhere(
    app: Application, seed: Seed, call: Call
) -> None:
    for role, credential in product(Role, ("cookie", "key")):
        check_role(app, seed, call, role, credential)


@everything
def test_nobody_may_do_anything_without_signing_in(
    app: Application, seed: Seed, call: Call
) -> None:
    for headers in (
        {},
        {"Cookie": "quietzone=forged"},
        {"Authorization": "Bearer qz_forged"},
        {"Authorization": "Basic b3duZXI6cGFzc3dvcmQ="},
        {"Authorization": "Bearer"},
    ):
        answer = Api(app, headers)(call.method, call.url(seed.acme), **call.content)
        assert answer.status_code == 401
        assert "Bearer" in answer.headers["WWW-Authenticate"]


def test_an_organization_that_never_was_and_a_foreign_one_look_the_same(
    owner: Api, seed: Seed
) -> None:
    foreign = owner.get(seed.globex.url)
    nowhere = owner.get("/api/organizations/00000000-0000-4000-8000-000000000000")
    assert foreign.status_code == nowhere.status_code == 404
    assert {**foreign.json, "request_id": ""} == {**nowhere.json, "request_id": ""}


class Boilers(Resource):
    """What only operators may see, and do."""

    def on_get(self, req: Request, resp: falcon.Response) -> None:
        resp.text = "warm"

    def on_delete(self, req: Request, resp: falcon.Response) -> None:
        resp.status = 204


OPERATIONS = [
    (method, route.path)
    for route in ROUTES
    for method, rule in route.access.items()
    if rule is Access.OPERATOR
] + [("GET", "/api/boilers"), ("HEAD", "/api/boilers"), ("DELETE", "/api/boilers")]

every_operation = pytest.mark.parametrize(("method", "path"), OPERATIONS)


@pytest.fixture
def plant(app: Application) -> Application:
    """The application with a route of operators, whether it has one of its own or not."""
    boilers = Boilers(app.services, app.settings)
    boilers.access = {"GET": Access.OPERATOR, "DELETE": Access.OPERATOR}
    app.add_route("/api/boilers", boilers)
    return app


def make_operator(app: Application, tenant: Tenant, role: Role, credential: str) -> str:
    """Make the member, or the key, of that role an operator; how the command calls it.

    The member's sessions end by that; the one that tests use begins again.
    """
    who = f"{role}@{tenant.slug}.example"
    token = token_hash(tenant.cookies[role].partition("=")[2])
    found = app.services.storage.sessions.get(token)
    if credential == "key":
        keys = app.services.organizations.keys(tenant.id)
        who = next(str(key.id) for key in keys if key.role is role)
    app.services.accounts.set_operator(who, True, by=OPERATOR)
    if credential == "cookie" and found is not None:
        app.services.storage.sessions.add(found[0])
    return who


@every_operation
@everybody
@by_cookie_and_key
def test_no_role_makes_one_an_operator(
    plant: Application, acme: Tenant, method: str, path: str, role: Role, credential: str
) -> None:
    # Of others who are operators it gains nothing.
    make_operator(plant, acme, Role.MEMBER if role is Role.OWNER else Role.OWNER, credential)
    make_operator(plant, acme, role, "key" if credential == "cookie" else "cookie")
    answer = caller(plant, acme, role, credential)(method, path)
    assert answer.status_code == 403
    if method != "HEAD":
        assert answer.json["detail"] == (
            "This is for operators of the installation; one can be made with "
            "'quietzone operator add'."
        )


@every_operation
@by_cookie_and_key
def test_an_operator_needs_no_role_and_gains_none(
    plant: Application, seed: Seed, method: str, path: str, credential: str
) -> None:
    who = make_operator(plant, seed.acme, Role.MEMBER, credential)
    api = caller(plant, seed.acme, Role.MEMBER, credential)
    answer = api(method, path)
    assert answer.status_code not in (401, 403, 404, 405), answer.text
    assert answer.headers["Cache-Control"].startswith("private")
    assert api.get(seed.globex.url).status_code == 404
    assert api.get(f"{seed.acme.url}/members").status_code == 403

    plant.services.accounts.set_operator(who, False, by=OPERATOR)
    assert api(method, path).status_code == (401 if credential == "cookie" else 403)


@every_operation
def test_nobody_is_an_operator_without_signing_in(
    plant: Application, method: str, path: str
) -> None:
    for headers in ({}, {"Cookie": "quietzone=forged"}, {"Authorization": "Bearer qz_forged"}):
        assert Api(plant, headers)(method, path).status_code == 401


def test_another_site_cannot_use_an_operators_cookie(plant: Application, acme: Tenant) -> None:
    make_operator(plant, acme, Role.OWNER, "cookie")
    api = caller(plant, acme, Role.OWNER, "cookie")
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert api.delete("/api/boilers", headers=foreign).status_code == 403
    assert api.delete("/api/boilers").status_code == 204


def test_what_one_may_as_an_operator_is_told(app: Application, acme: Tenant) -> None:
    def shown(credential: str) -> bool:
        me = caller(app, acme, Role.ADMIN, credential).get("/api/session").json
        operator = me["user" if credential == "cookie" else "api_key"]["operator"]
        assert isinstance(operator, bool)
        return operator

    for credential in ("cookie", "key"):
        assert shown(credential) is False
        make_operator(app, acme, Role.ADMIN, credential)
        assert shown(credential) is True
    listed = caller(app, acme, Role.ADMIN, "cookie").get(f"{acme.url}/api-keys").json["items"]
    assert [key["name"] for key in listed if key["operator"]] == ["admin"]


def test_nobody_becomes_an_operator_over_http(app: Application, owner: Api, acme: Tenant) -> None:
    flag = {"operator": True}
    for call in CALLS:
        if isinstance(call.body, dict) and call.method in ("POST", "PUT", "PATCH"):
            answer = owner(call.method, call.url(acme), json={**call.body, **flag})
            assert answer.status_code == 422, call
            # A list of codes is refused as a whole.
            fields = {error["field"] for error in answer.json["errors"]}
            assert fields == ({"codes"} if call.path.endswith("bulk") else {"operator"}), call
    credentials = {"email": "owner@acme.example", "password": PASSWORD}
    assert owner.post("/api/session", {**credentials, **flag}).status_code == 422
    assert owner.post("/api/organizations", {"name": "New", **flag}).status_code == 422

    made = owner.post(f"{acme.url}/api-keys", {"name": "till", "role": "owner"})
    assert made.json["key"]["operator"] is False
    assert app.services.accounts.operators() == ([], [])


def test_lists_show_only_ones_own(owner: Api, acme: Tenant) -> None:
    assert [o["slug"] for o in owner.get("/api/organizations").json["items"]] == ["acme"]
    codes = owner.get(f"{acme.url}/qr-codes").json["items"]
    assert [code["slug"] for code in codes] == ["acme-menu"]
    members = owner.get(f"{acme.url}/members").json["items"]
    assert all(member["email"].endswith("@acme.example") for member in members)


def test_a_key_cannot_found_an_organization_or_sign_out(app: Application, acme: Tenant) -> None:
    key = Api(app, {"Authorization": f"Bearer {acme.keys[Role.OWNER]}"})
    assert key.post("/api/organizations", {"name": "Mine"}).status_code == 403
    assert key.delete("/api/session").status_code == 403
    assert key.get("/api/session").json["api_key"]["role"] == "owner"
    assert [o["slug"] for o in key.get("/api/organizations").json["items"]] == ["acme"]
