"""The audit log: what is recorded of every change, who may read it, and that it never lies."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from core.app import Application
from core.domain.accounts import Role
from core.domain.audit import (
    OPERATOR,
    Action,
    Actor,
    ActorKind,
    AuditEntry,
    AuditFilter,
    Subject,
    SubjectKind,
    differences,
    entry_id,
)
from core.domain.codes import CodeDraft
from core.errors import StorageUnavailable
from core.http.routes import ROUTES
from core.services import exports
from tests.http.conftest import LOGO, PASSWORD, Api, Clock, Seed, Tenant
from tests.http.test_roles import CALLS, ORG, Call, caller
from tests.letters import sent as sent_letters
from tests.letters import token

CSV = {"Accept": "text/csv"}
CHANGING = ("POST", "PUT", "PATCH", "DELETE")

STORES_NOTHING = {("POST", f"{ORG}/images")}
"""What draws an image of what was sent, and changes nothing."""

BY_ROUTE = {(call.method, call.path): call for call in CALLS}
CHANGES = [
    BY_ROUTE[method, path]
    for route in ROUTES
    if (path := route.path.replace(":uuid", "")).startswith(ORG)
    for method in route.access
    if method in CHANGING
    and (method, path) not in STORES_NOTHING
    # The owner and his key, whom these tests have, cannot leave.
    and not BY_ROUTE[method, path].leaves
]
every_change = pytest.mark.parametrize("call", CHANGES, ids=str)


@pytest.fixture(autouse=True)
def later(clock: Clock) -> None:
    """What a test does comes after the seed, which another process has made."""
    clock.forward(seconds=1)


@pytest.fixture
def admin(app: Application, acme: Tenant) -> Api:
    return Api(app, {"Cookie": acme.cookies[Role.ADMIN]})


@pytest.fixture
def url(acme: Tenant) -> str:
    return f"{acme.url}/audit"


def entries(app: Application, tenant: Tenant, **wanted: Any) -> list[AuditEntry]:
    """What was recorded after the seed, the newest first."""
    found = app.services.audit.entries(tenant.id, AuditFilter(**wanted), 1000)
    return [entry for entry in found if entry.actor != OPERATOR.actor]


def told(api: Api, url: str, **params: Any) -> list[dict[str, Any]]:
    answer = api.get(url, params=params)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json["items"]
    return items


def newest(app: Application, tenant: Tenant) -> tuple[str, Any, str, dict[str, Any]]:
    """The newest entry's action, subject's id and label, and changes as [before, after]."""
    entry = entries(app, tenant)[0]
    changes = {name: [change.before, change.after] for name, change in entry.changes.items()}
    assert entry.subject.kind == entry.action.partition(".")[0]
    return entry.action.value, entry.subject.id, entry.subject.label, changes


def contents(app: Application) -> dict[str, list[Any]]:
    """All rows of all tables."""
    connections = app.services.storage._connections  # type: ignore[attr-defined]
    with connections.connection() as database:
        return {
            name: sorted(map(repr, database.execute_sql(f'SELECT * FROM "{name}"')))
            for name in database.get_tables()
        }


@every_change
@pytest.mark.parametrize("credential", ["cookie", "key"])
def test_every_route_that_changes_something_records_who_did_it(
    app: Application, seed: Seed, clock: Clock, call: Call, credential: str
) -> None:
    api = caller(app, seed.acme, Role.OWNER, credential)
    content = call.content
    content["headers"] = {**content.get("headers", {}), "X-Request-ID": "request-of-this-test"}
    answer = api(call.method, call.url(seed.acme), **content)
    assert answer.status_code == call.status, answer.text

    (entry,) = entries(app, seed.acme)
    assert entry.organization_id == seed.acme.id
    assert entry.at == clock.now
    if credential == "cookie":
        assert (entry.actor.kind, entry.actor.name) == ("user", "owner@acme.example")
        assert entry.actor.id == seed.acme.users[Role.OWNER]
    else:
        assert (entry.actor.kind, entry.actor.name) == ("api_key", "owner")
        assert entry.actor.id is not None
    assert (entry.address, entry.request_id) == ("127.0.0.0/24", "request-of-this-test")
    assert entry.changes
    assert entries(app, seed.globex) == []


@every_change
def test_a_change_that_cannot_be_recorded_is_not_made(
    app: Application, owner: Api, acme: Tenant, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.get(acme.url)
    before = contents(app)

    def fail(entry: AuditEntry) -> None:
        raise StorageUnavailable("The log is full.")

    monkeypatch.setattr(app.services.storage.audit, "append", fail)
    assert owner(call.method, call.url(acme), **call.content).status_code == 503
    assert contents(app) == before


@every_change
def test_what_is_refused_leaves_no_entry(
    app: Application, seed: Seed, owner: Api, call: Call
) -> None:
    low = caller(app, seed.acme, Role.MEMBER, "cookie")
    assert low(call.method, call.url(seed.acme), **call.content).status_code == 403
    assert owner(call.method, call.url(seed.globex), **call.content).status_code == 404
    assert entries(app, seed.acme) == entries(app, seed.globex) == []


def test_the_table_of_routes_has_changes_of_every_kind() -> None:
    assert len(CHANGES) > 15
    assert {call.method for call in CHANGES} == set(CHANGING)


def test_changes_that_fail_leave_no_entry(app: Application, owner: Api, acme: Tenant) -> None:
    user = acme.users[Role.OWNER]
    for method, path, body, status in (
        ("POST", "/qr-codes", {"destination": "https://a.example", "slug": "ACME-menu"}, 409),
        ("POST", "/qr-codes", {"destination": "https://a.example", "style": str(uuid4())}, 422),
        (
            "POST",
            "/qr-codes/bulk",
            {"codes": [{"destination": "https://a.example", "slug": "globex-menu"}]},
            409,
        ),
        ("PATCH", f"/qr-codes/{acme.code.id}", {"valid_until": "x"}, 422),
        ("PATCH", "", {"slug": "globex"}, 409),
        ("POST", "/invitations", {"email": "owner@acme.example", "role": "member"}, 409),
        ("DELETE", f"/invitations/{uuid4()}", None, 404),
        ("PATCH", f"/members/{user}", {"role": "member"}, 409),
        ("DELETE", f"/members/{user}", None, 409),
        ("POST", "/styles", {"name": "seeded"}, 409),
        ("DELETE", f"/api-keys/{uuid4()}", None, 404),
    ):
        answer = owner(method, acme.url + path, json=body)
        assert answer.status_code == status, (method, path, answer.text)
    owner.patch(acme.code_url, {"style": str(acme.style_id)})
    assert owner.delete(f"{acme.url}/styles/{acme.style_id}").status_code == 409
    assert [entry.action for entry in entries(app, acme)] == ["code.change"]


def test_what_changes_nothing_leaves_no_entry(app: Application, owner: Api, acme: Tenant) -> None:
    member = f"{acme.url}/members/{acme.users[Role.MEMBER]}"
    for method, path, body in (
        ("PATCH", acme.code_url, {"title": "", "active": True}),
        ("PATCH", acme.url, {"name": "Acme"}),
        ("PATCH", member, {"role": "member"}),
        ("PATCH", f"{acme.url}/styles/{acme.style_id}", {"name": "Seeded"}),
        ("PUT", f"{acme.url}/qr-business", {"content": "https://acme.example"}),
    ):
        assert owner(method, path, json=body).status_code == 200, path
    assert entries(app, acme) == []


def test_the_life_of_a_code(app: Application, owner: Api, acme: Tenant) -> None:
    draft = {"destination": "https://a.example/", "slug": "lunch", "tags": ["x", "y"]}
    made = owner.post(f"{acme.url}/qr-codes", draft).json
    code, url = UUID(made["id"]), f"{acme.url}/qr-codes/{made['id']}"
    first = {
        "destination": "https://a.example/",
        "slug": "lunch",
        "title": "",
        "tags": ["x", "y"],
        "active": True,
        "forward_query": False,
    }
    created = {name: [None, value] for name, value in first.items()}
    assert newest(app, acme) == ("code.create", code, "lunch", created)

    owner.patch(url, {"title": "Lunch", "active": True, "max_scans": 5, "tags": ["y"]})
    changed = {"title": ["", "Lunch"], "max_scans": [None, 5], "tags": [["x", "y"], ["y"]]}
    assert newest(app, acme) == ("code.change", code, "lunch", changed)

    owner.patch(url, {"max_scans": None, "valid_until": "2027-01-01T00:00:00+01:00"})
    changed = {"max_scans": [5, None], "valid_until": [None, "2026-12-31T23:00:00Z"]}
    assert newest(app, acme) == ("code.change", code, "lunch", changed)

    owner.delete(url)
    action, subject, label, changes = newest(app, acme)
    assert (action, subject, label) == ("code.delete", code, "lunch")
    assert changes["destination"] == ["https://a.example/", None]
    assert changes["title"] == ["Lunch", None]


@pytest.mark.parametrize("number", [1, 99, 250])
def test_many_codes_are_one_entry_of_bounded_length(
    app: Application, owner: Api, acme: Tenant, number: int
) -> None:
    drafts = [{"destination": "https://a.example/"}] * number
    answer = owner.post(f"{acme.url}/qr-codes/bulk", {"codes": drafts})
    ids = [code["id"] for code in answer.json["items"]]
    (entry,) = entries(app, acme)
    label = "1 code" if number == 1 else f"{number} codes"
    changes = {"count": [None, number], "ids": [None, ids[:100]]}
    assert newest(app, acme) == ("code.create_many", None, label, changes)
    assert len(msgspec.json.encode(entry)) < 5000


def test_codes_that_are_created_once_are_recorded_once(
    app: Application, owner: Api, acme: Tenant
) -> None:
    body, key = {"codes": [{"destination": "https://a.example/"}]}, {"Idempotency-Key": "once"}
    for _ in range(3):
        answer = owner.post(f"{acme.url}/qr-codes/bulk", body, headers=key)
        assert answer.status_code == 201
    assert len(entries(app, acme)) == 1


def test_organizations_and_members(
    app: Application, owner: Api, acme: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    answer = owner.post("/api/organizations", {"name": "Harbour"})
    harbour = msgspec.structs.replace(acme, id=UUID(answer.json["id"]))
    added, made = entries(app, harbour)
    assert made.action is Action.ORGANIZATION_CREATE
    assert made.changes == differences(None, {"name": "Harbour", "slug": "harbour"})
    assert (added.action, added.subject.label) == (Action.MEMBER_ADD, "owner@acme.example")
    assert added.changes == differences(None, {"role": "owner"})

    owner.patch(acme.url, {"slug": "acme-inc"})
    assert newest(app, acme) == (
        "organization.change",
        acme.id,
        "acme",
        {"slug": ["acme", "acme-inc"]},
    )
    outsider = app.services.accounts.find("outsider@example.com")
    assert outsider is not None
    who = (outsider.id, "outsider@example.com")
    sent = {"email": "Outsider@example.com", "role": "member"}
    invited = owner.post(f"{acme.url}/invitations", sent).json
    ends = {"role": [None, "member"], "expires_at": [None, invited["expires_at"]]}
    of = (UUID(invited["id"]), "outsider@example.com")
    assert newest(app, acme) == ("invitation.create", *of, ends)
    owner.delete(f"{acme.url}/invitations/{invited['id']}")
    gone = {"role": ["member", None], "expires_at": [invited["expires_at"], None]}
    assert newest(app, acme) == ("invitation.withdraw", *of, gone)

    owner.post(f"{acme.url}/invitations", sent)
    joined = {"token": token(sent_letters(app, caplog)[-1]), "password": PASSWORD}
    assert Api(app, {}).post("/api/invitations/accept", joined).status_code == 201
    assert newest(app, acme) == ("member.add", *who, {"role": [None, "member"]})
    assert entries(app, acme)[0].actor == Actor(ActorKind.USER, *who)
    owner.patch(f"{acme.url}/members/{outsider.id}", {"role": "admin"})
    assert newest(app, acme) == ("member.change", *who, {"role": ["member", "admin"]})
    owner.delete(f"{acme.url}/members/{outsider.id}")
    assert newest(app, acme) == ("member.remove", *who, {"role": ["admin", None]})


def test_the_log_of_a_deleted_organization_stays_for_operators(
    app: Application, owner: Api, acme: Tenant, url: str
) -> None:
    owner.patch(acme.code_url, {"title": "Menu"})
    assert owner.delete(acme.url).status_code == 204
    gone = {"name": ["Acme", None], "slug": ["acme", None]}
    assert newest(app, acme) == ("organization.delete", acme.id, "acme", gone)
    assert [entry.action for entry in entries(app, acme)][1:] == ["code.change"]
    assert owner.get(url).status_code == 404


def test_api_keys_are_told_without_anything_of_their_tokens(
    app: Application, owner: Api, acme: Tenant
) -> None:
    draft = {"name": "till", "role": "editor", "expires_at": "2027-01-01T00:00:00Z"}
    key = owner.post(f"{acme.url}/api-keys", draft).json["key"]
    made = {name: [None, value] for name, value in draft.items()}
    assert newest(app, acme) == ("api_key.create", UUID(key["id"]), "till", made)
    app.services.accounts.set_operator(key["id"], True, by=OPERATOR)
    granted = app.services.audit.entries(acme.id, AuditFilter(subject=UUID(key["id"])), 1)[0]
    assert (granted.actor.kind, granted.action) == ("operator", "api_key.change")
    assert granted.changes == differences({"operator": False}, {"operator": True})
    owner.delete(f"{acme.url}/api-keys/{key['id']}")
    ended = {name: [value, None] for name, value in draft.items()}
    assert newest(app, acme) == ("api_key.delete", UUID(key["id"]), "till", ended)


def test_styles_and_logos(app: Application, owner: Api, acme: Tenant) -> None:
    logo = owner.post(
        f"{acme.url}/logos", None, body=LOGO, params={"name": "Anchor"},
        headers={"Content-Type": "image/svg+xml"},
    ).json  # fmt: skip
    made = {"name": "Anchor", "media_type": "image/svg+xml", "width": 9.0, "height": 9.0}
    created = {name: [None, value] for name, value in made.items()}
    assert newest(app, acme) == ("logo.create", UUID(logo["id"]), "Anchor", created)

    style = owner.post(f"{acme.url}/styles", {"name": "Dark", "color": "#123"}).json
    action, subject, label, changes = newest(app, acme)
    assert (action, subject, label) == ("style.create", UUID(style["id"]), "Dark")
    assert changes["color"] == [None, "#112233"]
    assert changes["default"] == [None, False]
    url = f"{acme.url}/styles/{style['id']}"
    owner.patch(url, {"name": "Darker", "logo": logo["id"], "default": True})
    assert newest(app, acme) == (
        "style.change",
        UUID(style["id"]),
        "Dark",
        {"name": ["Dark", "Darker"], "logo": [None, logo["id"]], "default": [False, True]},
    )
    owner.delete(url)
    action, subject, label, changes = newest(app, acme)
    assert (action, label, changes["color"]) == ("style.delete", "Darker", ["#112233", None])
    owner.delete(f"{acme.url}/logos/{logo['id']}")
    deleted = {name: [value, None] for name, value in made.items()}
    assert newest(app, acme) == ("logo.delete", UUID(logo["id"]), "Anchor", deleted)


def test_the_business_code_is_told_without_passwords(
    app: Application, owner: Api, acme: Tenant
) -> None:
    url = f"{acme.url}/qr-business"
    owner.put(url, {"content": "https://acme.example/new"})
    changes = {"content": ["https://acme.example", "https://acme.example/new"]}
    assert newest(app, acme) == ("business_code.set", None, "", changes)

    wifi = {"type": "wifi", "ssid": "Guests", "password": "salt&pepper"}
    assert owner.put(url, {"content": wifi}).status_code == 200
    hidden = {**wifi, "password": "(hidden)"}
    assert newest(app, acme)[3]["content"][1] == hidden
    owner.put(url, {"content": {**wifi, "password": "salt&vinegar"}})
    assert newest(app, acme)[3] == {"content": [hidden, hidden]}
    owner.put(url, {"content": "WIFI:T:WPA;S:Guests;P:salt&bread;;"})
    assert newest(app, acme)[3] == {"content": [hidden, "WIFI:(hidden)"]}
    owner.put(url, {"content": {"type": "text", "text": "wifi:S:Guests;P:salt&corn;;"}})
    assert newest(app, acme)[3]["content"][1] == {"type": "text", "text": "WIFI:(hidden)"}
    assert "salt&" not in msgspec.json.encode(entries(app, acme)).decode()


def test_no_secret_is_anywhere_in_the_log(
    app: Application, owner: Api, admin: Api, acme: Tenant, url: str
) -> None:
    made = owner.post(f"{acme.url}/api-keys", {"name": "till", "role": "owner"}).json
    till = Api(app, {"Authorization": f"Bearer {made['token']}"})
    for call in CHANGES:
        # The other style is called so by now, and the organisation is still needed.
        renamed = {"json": {"name": "Newer"}} if call.path.endswith("{style_id}") else {}
        if call.path != ORG:
            answer = till(call.method, call.url(acme), **{**call.content, **renamed})
            assert answer.status_code == call.status, answer.text
    key = app.services.storage.api_keys.get(UUID(made["key"]["id"]))
    assert key is not None
    owner.delete(f"{acme.url}/api-keys/{key.id}")
    user = app.services.storage.users.by_email("owner@acme.example")
    assert user is not None

    secrets = [PASSWORD, made["token"], made["key"]["prefix"], key.token_hash.hex()]
    secrets += [user.password_hash, *acme.keys.values()]
    secrets += [cookie.partition("=")[2] for cookie in acme.cookies.values()]
    whole = contents(app)["audit_entries"]
    assert len(whole) > len(CHANGES)
    text = "".join(whole) + admin.get(url, params={"per_page": 1000}).text
    text += admin.get(url, headers=CSV).text
    assert "till" in text
    assert [secret for secret in secrets if secret in text] == []
    assert "$argon2" not in text


def test_pages_follow_each_other_to_the_end(
    app: Application, editor: Api, admin: Api, acme: Tenant, url: str
) -> None:
    # All at one moment of a clock that stands.
    for number in range(7):
        editor.patch(acme.code_url, {"title": str(number)})
    who = {"actor": str(acme.users[Role.EDITOR]), "per_page": 3}
    seen, cursor = [], {}
    for expected in (3, 3, 1):
        page = admin.get(url, params={**who, **cursor}).json
        assert len(page["items"]) == expected
        seen += [item["changes"]["title"]["after"] for item in page["items"]]
        cursor = {"cursor": page["next"]}
    assert page["next"] is None
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


def test_an_entry_as_it_is_sent(app: Application, editor: Api, admin: Api, acme: Tenant) -> None:
    editor.patch(acme.code_url, {"title": "Menu"}, headers={"X-Request-ID": "abcdefgh"})
    entry = told(admin, f"{acme.url}/audit")[0]
    assert UUID(entry.pop("id")).version == 7
    assert entry == {
        "at": "2026-05-06T12:00:01Z",
        "actor": {
            "kind": "user",
            "id": str(acme.users[Role.EDITOR]),
            "name": "editor@acme.example",
        },
        "action": "code.change",
        "subject": {"kind": "code", "id": str(acme.code.id), "label": "acme-menu"},
        "changes": {"title": {"before": "", "after": "Menu"}},
        "address": "127.0.0.0/24",
        "request_id": "abcdefgh",
    }


def test_filters(
    app: Application, editor: Api, admin: Api, acme: Tenant, url: str, clock: Clock
) -> None:
    key = Api(app, {"Authorization": f"Bearer {acme.keys[Role.EDITOR]}"})
    start = clock.now
    for hour, api in enumerate((editor, key, editor)):
        clock.now = start.replace(hour=13 + hour)
        api.patch(acme.code_url, {"title": f"at {13 + hour}"})
    admin.post(f"{acme.url}/styles", {"name": "Dark"})

    def titles(**params: Any) -> list[str]:
        found = told(admin, url, action="code.change", **params)
        return [entry["changes"]["title"]["after"] for entry in found]

    assert titles() == ["at 15", "at 14", "at 13"]
    assert titles(actor=str(acme.users[Role.EDITOR])) == ["at 15", "at 13"]
    assert titles(actor_kind="api_key") == ["at 14"]
    assert titles(subject=str(acme.code.id)) == ["at 15", "at 14", "at 13"]
    assert titles(subject=str(acme.style_id)) == []
    assert titles(start="2026-05-06T14:00:00Z") == ["at 15", "at 14"]
    assert titles(end="2026-05-06T14:00:00Z") == ["at 13"]
    assert titles(start="2026-05-06T15:45:00+01:00", end="2026-05-06T15:00:02Z") == ["at 15"]
    assert titles(start="2026-05-06") == ["at 15", "at 14", "at 13"]
    assert titles(end="2026-05-06") == []
    assert titles(start="0001-01-01", end="9999-12-31") == ["at 15", "at 14", "at 13"]
    assert [e["action"] for e in told(admin, url, actor=str(acme.users[Role.ADMIN]))] == [
        "style.create"
    ]
    assert {e["actor"]["kind"] for e in told(admin, url, actor_kind="operator")} == {"operator"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("start=yesterday", "start"),
        ("end=2026-05-06T12:00:00", "end"),
        ("action=code.explode", "action"),
        ("actor=ada", "actor"),
        ("cursor=1", "cursor"),
        ("per_page=1001", "per_page"),
        ("page=2", "page"),
    ],
)
def test_what_cannot_be_asked_for_is_named(admin: Api, url: str, query: str, field: str) -> None:
    answer = admin.get(f"{url}?{query}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_whole_log_as_csv(
    editor: Api, admin: Api, acme: Tenant, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", 3)
    for number in range(8):
        editor.patch(acme.code_url, {"title": f'{number}, "quoted"'})
    answer = admin.get(url, headers=CSV)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="acme-audit.csv"'
    listed = told(admin, url, per_page=1000)
    whole = rows(answer.text)
    assert [row["id"] for row in whole] == [entry["id"] for entry in listed]
    assert [msgspec.json.decode(row["changes"]) for row in whole] == [e["changes"] for e in listed]
    assert whole[0]["actor_name"] == "editor@acme.example"
    assert whole[0]["at"] == "2026-05-06T12:00:01.000000+00:00"

    rest = admin.get(url, params={"cursor": listed[4]["id"]}, headers=CSV)
    assert rows(rest.text) == whole[5:]
    some = admin.get(url, params={"action": "code.create"}, headers=CSV)
    assert [row["subject_label"] for row in rows(some.text)] == ["acme-menu"]
    refused = admin.get(url, params={"per_page": 5}, headers=CSV)
    assert refused.status_code == 422


def test_no_cell_of_an_export_is_a_formula(owner: Api, acme: Tenant, url: str) -> None:
    made = owner.post(f"{acme.url}/api-keys", {"name": '=HYPERLINK("x")', "role": "member"})
    assert made.status_code == 201
    answer = owner.get(url, params={"action": "api_key.create"}, headers=CSV)
    (row,) = rows(answer.text)
    assert row["subject_label"] == '\'=HYPERLINK("x")'
    assert not any(re.match("[=+@-]", cell) for cell in row.values())


def test_nobody_sees_the_log_of_others(
    app: Application, seed: Seed, owner: Api, acme: Tenant
) -> None:
    other = caller(app, seed.globex, Role.OWNER, "cookie")
    other.patch(seed.globex.code_url, {"title": "secret of Globex"})
    assert owner.get(f"{seed.globex.url}/audit").status_code == 404
    assert owner.get(f"{seed.globex.url}/audit", headers=CSV).status_code == 404
    for headers in ({}, CSV):
        text = owner.get(f"{acme.url}/audit", params={}, headers=headers).text
        assert "Globex" not in text
        assert "globex" not in text
    subject = {"subject": str(seed.globex.code.id)}
    assert told(owner, f"{acme.url}/audit", **subject) == []


def test_the_log_takes_nothing(owner: Api, url: str) -> None:
    for method in CHANGING:
        assert owner(method, url, json={}).status_code == 405


PROXY = {"http": {"trusted_proxies": ["127.0.0.1"]}}


@pytest.mark.parametrize(
    ("sections", "v4", "v6"),
    [
        (PROXY, "203.0.113.0/24", "2001:db8:1::/48"),
        (PROXY | {"audit": {"addresses": "full"}}, "203.0.113.77", "2001:db8:1:2::3"),
        (PROXY | {"audit": {"addresses": "none"}}, "", ""),
    ],
)
def test_what_is_kept_of_an_address_is_set(
    app: Application, editor: Api, admin: Api, acme: Tenant, v4: str, v6: str
) -> None:
    for number, address in enumerate(("203.0.113.77", "2001:db8:1:2::3")):
        forwarded = {"X-Forwarded-For": f"192.0.2.1, {address}"}
        editor.patch(acme.code_url, {"title": str(number)}, headers=forwarded)
    found = told(admin, f"{acme.url}/audit", action="code.change")
    assert [entry["address"] for entry in found] == [v6, v4]


def test_an_address_that_nobody_vouches_for_is_not_believed(
    editor: Api, admin: Api, acme: Tenant, url: str
) -> None:
    editor.patch(acme.code_url, {"title": "x"}, headers={"X-Forwarded-For": "203.0.113.77"})
    assert told(admin, url)[0]["address"] == "127.0.0.0/24"


def old_entry(tenant: Tenant) -> AuditEntry:
    at = datetime(2001, 2, 3, tzinfo=UTC)
    subject = Subject(SubjectKind.CODE, None, "old")
    changes = differences(None, {"title": "old"})
    identity = entry_id(at, 0, b"chance")
    action = Action.CODE_CREATE
    return AuditEntry(
        identity, tenant.id, at, OPERATOR.actor, action, subject, changes, "", "old-request"
    )


def left(app: Application, tenant: Tenant) -> set[str]:
    found = app.services.audit.entries(tenant.id, AuditFilter(), 1000)
    return {entry.subject.label for entry in found} & {"old", "acme-menu"}


@pytest.mark.parametrize(
    ("sections", "kept"),
    [
        ({}, {"acme-menu"}),
        ({"audit": {"keep_days": 0}}, {"acme-menu", "old"}),
        ({"audit": {"keep_days": 36500}}, {"acme-menu", "old"}),
    ],
)
def test_entries_are_removed_for_their_age_where_scans_are_drained(
    app: Application, acme: Tenant, kept: set[str]
) -> None:
    app.services.storage.audit.append(old_entry(acme))
    assert left(app, acme) == {"acme-menu", "old"}
    app.services.drainer.drain()
    assert left(app, acme) == kept


def test_a_log_that_cannot_be_pruned_stops_no_scans(
    app: Application, acme: Tenant, anonymous: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> int:
        raise StorageUnavailable("The database does not remove entries.")

    monkeypatch.setattr(app.services.storage.audit, "prune", fail)
    assert anonymous.get("/r/acme-menu").status_code == 302
    code = app.services.storage.codes.get(acme.id, acme.code.id)
    assert code is not None
    assert code.scans_total == 1


def test_what_is_changed_at_the_same_time_is_told_as_it_followed(
    app: Application, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = app.services.codes
    update: Callable[..., bool] = app.services.storage.codes.update
    rivals = ["second"]

    def beaten(code: Any, expected_revision: int) -> bool:
        # Somebody else is faster, once.
        if rivals:
            title = rivals.pop()
            codes.change(acme.id, code.id, codes.changes({"title": title}), by=OPERATOR)
        return update(code, expected_revision)

    monkeypatch.setattr(app.services.storage.codes, "update", beaten)
    codes.change(acme.id, acme.code.id, codes.changes({"title": "third"}), by=OPERATOR)
    found = app.services.audit.entries(acme.id, AuditFilter(action=Action.CODE_CHANGE), 10)
    pairs = [(e.changes["title"].before, e.changes["title"].after) for e in found]
    assert pairs == [("second", "third"), ("", "second")]


def test_a_draft_and_a_code_have_the_same_fields_in_the_log(app: Application, acme: Tenant) -> None:
    style = str(acme.style_id)
    values = {
        "destination": "https://a.example/", "slug": "whole", "title": "t", "tags": ["a"],
        "active": False, "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2027-01-01T00:00:00Z", "max_scans": 5, "forward_query": True,
        "style": style,
    }  # fmt: skip
    assert set(values) == set(CodeDraft.__struct_fields__)
    codes = app.services.codes
    codes.create(acme.id, codes.draft(values), by=OPERATOR)
    (entry, *_) = app.services.audit.entries(acme.id, AuditFilter(), 1)
    assert {name: change.after for name, change in entry.changes.items()} == values
