"""What an attacker would try, one test each; SECURITY.md names the others.

Most of it is made from the route table and the OpenAPI document, so that a new route is attacked
as well.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import pkgutil
import re
import sqlite3
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import argon2
import peewee
import pytest
from falcon.testing import Result

import core
import plugins
from core.app import Application
from core.domain.accounts import Role
from core.http import openapi
from core.http.resources.base import Access, Body
from core.http.routes import ROUTES
from core.services.limits import Policy
from core.services.tokens import token_hash
from tests.http.bodies import (
    ATTEMPTS,
    Attempt,
    Scene,
    all_texts,
    places,
    replaced,
    spelled,
    texts,
)
from tests.http.conftest import LOGO, PASSWORD, Api, Clock, Seed, Tenant, address

SQL = (
    "' OR '1'='1",
    "1; DROP TABLE code; --",
    '" UNION SELECT password_hash FROM user --',
    "%' OR 1=1 /*",
    "\\'; SELECT pg_sleep(10); --",
)
"""Ends a string in one of the ways that there are, and goes on as a statement."""

TRAVERSALS = (
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "..%252f..%252fetc%252fpasswd",
    "....//....//etc/passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..\\..\\etc\\passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "passwd%00.png",
)

NEW = {"destination": "https://example.org/"}


@pytest.fixture
def sections() -> dict[str, dict[str, Any]]:
    """Whoever attacks here is not to be stopped for being too fast."""
    return {"limits": {policy.value: [] for policy in Policy}}


@pytest.fixture
def document(app: Application) -> dict[str, Any]:
    return openapi.document(ROUTES, app.services, app.settings)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of everything that there is, but for what ends the attack."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if (method, path) != ("delete", "/api/session"):
                yield method.upper(), path, operation


def check_sound(answer: Result) -> None:
    """Nothing broke, and nothing is told that belongs to the inside."""
    assert answer.status_code < 500, answer.text
    for inside in (b"Traceback", b"sqlite", b"psycopg", b"syntax error", b"peewee", b"root:x:"):
        assert inside not in answer.content, inside


def deref(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def bodies(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and the schema of each operation that takes an object as JSON."""
    for method, path, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            yield method, path, deref(document, content["application/json"].get("schema", {}))


def unchanged(owner: Api, tenant: Tenant) -> tuple[int, int, int]:
    """How many codes, members and keys there are."""
    codes = owner.get(f"{tenant.url}/qr-codes").json["total"]
    members = owner.get(f"{tenant.url}/members").json["items"]
    return codes, len(members), len(owner.get(f"{tenant.url}/api-keys").json["items"])


NARROW = {
    "background", "bic", "birthday", "color", "eap", "end", "format", "iban", "logo", "number",
    "phase2", "phones", "purpose", "reference", "slug", "start", "style",
}  # fmt: skip
"""Fields of texts that are of a form, which no attack has."""

LOOKED_UP = {
    ("POST", "/api/session"): {"email", "code"},
    ("POST", "/api/second-factor/disable"): {"code"},
    ("POST", "/api/password-resets/redeem"): {"token"},
    ("POST", "/api/invitations/accept"): {"token", "code"},
}
"""Fields by which the storage is asked for what there is not."""

COMPARED = {
    ("POST", "/api/session"): {"password"},
    ("POST", "/api/second-factor"): {"password"},
    ("POST", "/api/second-factor/confirm"): {"code"},
    ("POST", "/api/second-factor/disable"): {"password"},
    ("PUT", "/api/password"): {"current"},
}
"""Fields that are held against what is known, and never told to the storage."""

UNSTORED = {("POST", "/api/organizations/{org_id}/images")}
"""What takes texts and keeps none."""


def fitting(payload: str, value: Any) -> str:
    """The attack as a text of the kind that `value` is: an address, a link, or any."""
    if isinstance(value, str) and "@" in value:
        return payload.lower().replace(" ", "/**/") + "@example.org"
    if isinstance(value, str) and value.startswith("https:"):
        told = payload.replace(" ", "/**/").replace('"', "%22").replace("\\", "%5C")
        return f"https://example.org/?q={told}"
    return payload


def last(name: str) -> str:
    """The name of the field itself, of one that lies within others or in a list."""
    return re.findall(r"\w+", name)[-1]


class Statements:
    """What is told to the database: the texts of statements, and the values beside them."""

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self._values: list[Any] = []

    def add(self, text: str, values: Any) -> None:
        self.texts.add(text)
        self._values.extend(values or ())

    def forget(self) -> None:
        """Let go of the values so far."""
        self._values.clear()

    def tell(self, text: str) -> bool:
        """Whether one of the values since then has the text in it."""
        ways = (text, json.dumps(text)[1:-1])
        return any(way in value for value in self._values if isinstance(value, str) for way in ways)

    def tell_hash_of(self, secret: str) -> bool:
        """Whether one of them is a hash of it, as a token or as a code."""
        code = "".join(secret.split()).replace("-", "").lower()
        hashes = (token_hash(secret), token_hash(code))
        return any(
            value in hashes for value in self._values if isinstance(value, bytes | bytearray)
        )


class Witness:
    """Counts the rows of each table that are inserted, updated and deleted, whoever does it."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.execute("CREATE TABLE witness (seen TEXT)")
        for table in self.tables():
            for event in ("INSERT", "UPDATE", "DELETE") if table != "witness" else ():
                self._database.execute(
                    f"CREATE TRIGGER witness_{table}_{event} AFTER {event} ON {table} "
                    f"BEGIN INSERT INTO witness VALUES ('{event} {table}'); END"
                )
        self._last = 0

    def tables(self) -> list[str]:
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        return [name for (name,) in self._database.execute(names).fetchall()]

    def look(self) -> Counter[str]:
        """What has changed since the last look."""
        asked = "SELECT rowid, seen FROM witness WHERE rowid > ? ORDER BY rowid"
        rows = self._database.execute(asked, (self._last,)).fetchall()
        self._last = rows[-1][0] if rows else self._last
        return Counter(seen for _, seen in rows)

    def close(self) -> None:
        self._database.close()


class Attack:
    """Sends attacks in one field after the other of what succeeds without them.

    `accepted` are the fields with which it still has, `asked` those that the storage was told of,
    and `count` says how many requests succeeded so far.
    """

    def __init__(self, scene: Scene, statements: Statements, witness: Witness) -> None:
        self._scene = scene
        self._statements = statements
        self._witness = witness
        self.accepted: set[str] = set()
        self.asked: set[str] = set()
        self.count = 0

    def __call__(self, operation: tuple[str, str], held: Mapping[str, bool]) -> None:
        """Try all fields; `held` are those that can hold a text, and whether it is a secret."""
        self.accepted, self.asked = set(), set()
        for make in ATTEMPTS[operation]:
            whole = make(self._scene)
            answer, usual = self._send(whole, whole.body)
            assert answer.status_code < 300, (operation, answer.text)
            for place, value in places(whole.body):
                name = spelled(whole.body, place)
                # A number or a choice is refused for its type, whatever the text is; and what is
                # not stored never meets a statement.
                is_kept = name in held and operation not in UNSTORED
                for payload in SQL if is_kept else SQL[:1]:
                    attempt, text = make(self._scene), fitting(payload, value)
                    answer, changed = self._send(attempt, replaced(attempt.body, place, text))
                    about = (*operation, name, text, answer.status_code)
                    check_sound(answer)
                    if self._statements.tell(text):
                        assert not held[name], about
                        self.asked.add(name)
                    if self._statements.tell_hash_of(text):
                        self.asked.add(name)
                    if answer.status_code >= 300:
                        assert answer.status_code in (401, 404, 422), about
                        assert changed == {}, about
                        continue
                    # Whoever asks for a link is told the same where there is no account.
                    assert changed == ({} if answer.status_code == 202 else usual), about
                    self.accepted.add(name)
                    self.count += 1
                    if attempt.kept_at is not None and not held[name]:
                        assert text in all_texts(attempt.kept_at(answer).json), about

    def _send(self, attempt: Attempt, body: dict[str, Any]) -> tuple[Result, Counter[str]]:
        """The answer, and what has changed in the database."""
        self._witness.look()
        self._statements.forget()
        answer = attempt.send(body)
        assert self._scene.app.services.outbox.flush()
        return answer, self._witness.look()


class TestSqlInjection:
    @pytest.fixture(autouse=True)
    def statements(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Statements]:
        """What is told to any database; no attack may be a part of a statement itself."""
        heard, execute = Statements(), peewee.Database.execute_sql

        def listen(database: Any, text: str, values: Any = None) -> Any:
            heard.add(text, values)
            return execute(database, text, values)

        monkeypatch.setattr(peewee.Database, "execute_sql", listen)
        yield heard
        assert heard.texts
        for text in heard.texts:
            for payload in SQL:
                assert payload[2:].lower() not in text.lower().replace("/**/", " ")

    @pytest.fixture
    def witness(self, app: Application, tmp_path: Path) -> Iterator[Witness]:
        """What changes in the database; the tables stay the same."""
        seen = Witness(tmp_path / "data" / "quietzone.db")
        tables = seen.tables()
        yield seen
        assert seen.tables() == tables
        seen.close()

    def test_in_every_query_parameter(
        self, owner: Api, acme: Tenant, document: dict[str, Any]
    ) -> None:
        before, tried = unchanged(owner, acme), 0
        for method, path, operation in operations(document):
            for parameter in operation["parameters"]:
                if method == "GET" and parameter["in"] == "query":
                    for payload in SQL:
                        query = {parameter["name"]: payload}
                        check_sound(owner.get(address(path, acme), params=query))
                        tried += 1
        assert tried > 300
        assert unchanged(owner, acme) == before

    def test_in_every_part_of_an_address(
        self, owner: Api, acme: Tenant, document: dict[str, Any]
    ) -> None:
        before = unchanged(owner, acme)
        for method, path, _ in operations(document):
            for name in re.findall(r"{(\w+)}", path):
                for payload in SQL:
                    part = payload.replace("/", "%2F")
                    url = address(path.replace("{" + name + "}", "\0"), acme).replace("\0", part)
                    answer = owner(method, url)
                    check_sound(answer)
                    assert answer.status_code in (404, 422), (method, url)
        assert unchanged(owner, acme) == before

    def test_in_every_field_of_a_body(
        self,
        app: Application,
        acme: Tenant,
        clock: Clock,
        statements: Statements,
        witness: Witness,
    ) -> None:
        kinds = {
            (method, re.sub(r":\w+}", "}", route.path)): kind
            for route in ROUTES
            for method, kind in route.resource.bodies.items()
            if not isinstance(kind, Body)
        }
        assert kinds.keys() == ATTEMPTS.keys()
        attack = Attack(Scene(app, acme, clock), statements, witness)
        for operation, kind in kinds.items():
            held = texts(kind)
            attack(operation, held)
            compared, looked_up = (of.get(operation, set()) for of in (COMPARED, LOOKED_UP))
            free = {name for name in held if last(name) not in NARROW} - compared - looked_up
            assert attack.accepted == free, operation
            stored = set() if operation in UNSTORED else {n for n in free if not held[n]}
            assert attack.asked == stored | looked_up, operation
        assert attack.count > 400

    def test_in_the_name_of_a_logo(self, owner: Api, acme: Tenant, statements: Statements) -> None:
        logos, kind = f"{acme.url}/logos", {"Content-Type": "image/svg+xml"}
        for payload in SQL:
            made = owner.post(logos, body=LOGO, params={"name": payload}, headers=kind)
            assert made.status_code == 201
            assert statements.tell(payload)
            assert payload in all_texts(owner.get(logos).json)

    def test_in_the_key_of_a_repetition(
        self, owner: Api, acme: Tenant, statements: Statements
    ) -> None:
        made = []
        for payload in (*SQL, *SQL):
            key = {"Idempotency-Key": payload}
            answer = owner.post(f"{acme.url}/qr-codes/bulk", {"codes": [NEW]}, headers=key)
            assert answer.status_code == 201
            assert statements.tell(payload.strip('"'))
            made.append(answer.json["items"][0]["id"])
        assert made[: len(SQL)] == made[len(SQL) :]
        assert len(set(made)) == len(SQL)

    def test_in_what_is_searched_for(self, owner: Api, acme: Tenant) -> None:
        for payload in SQL:
            made = owner.post(f"{acme.url}/qr-codes", {**NEW, "title": payload})
            assert made.json["title"] == payload
        for payload in SQL:
            found = owner.get(f"{acme.url}/qr-codes", params={"search": payload})
            assert [code["title"] for code in found.json["items"]] == [payload]

    def test_in_headers_and_cookies(self, app: Application, acme: Tenant) -> None:
        for payload in SQL:
            for headers in (
                {"Cookie": f"quietzone={payload}"},
                {"Authorization": f"Bearer qz_{payload}"},
                {"Authorization": f"Bearer {payload}"},
            ):
                assert Api(app, headers).get(acme.url).status_code == 401
            scanned = {"User-Agent": payload, "Referer": payload, "Accept-Language": payload}
            answer = Api(app, scanned).get(f"/r/{acme.code.slug}")
            assert answer.status_code == 302


class TestPathTraversal:
    def test_in_every_part_of_an_address(
        self, owner: Api, acme: Tenant, document: dict[str, Any]
    ) -> None:
        for method, path, _ in operations(document):
            for name in re.findall(r"{(\w+)}", path):
                for payload in TRAVERSALS:
                    url = address(path.replace("{" + name + "}", "\1"), acme).replace("\1", payload)
                    answer = owner(method, url)
                    check_sound(answer)
                    assert answer.status_code in (404, 405, 422), (method, url)

    def test_in_names_and_options_of_files(self, owner: Api, acme: Tenant) -> None:
        image = f"{acme.code_url}/image"
        for payload in TRAVERSALS:
            for option in ("format", "style", "logo"):
                answer = owner.get(image, params={option: payload})
                check_sound(answer)
                assert answer.status_code == 422, (option, payload)
            named = owner.post(
                f"{acme.url}/logos",
                body=LOGO,
                params={"name": payload},
                headers={"Content-Type": "image/svg+xml"},
            )
            check_sound(named)
            made = owner.post(f"{acme.url}/qr-codes", {**NEW, "slug": payload})
            assert made.status_code == 422

    def test_a_download_has_a_name_of_a_plain_file(self, owner: Api, acme: Tenant) -> None:
        answer = owner.get(f"{acme.code_url}/image", params={"download": "1"})
        assert answer.headers["Content-Disposition"] == 'attachment; filename="acme-menu.png"'


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (method, route.path)
        for route in ROUTES
        for method in route.access
        if method not in ("GET", "HEAD")
    ],
)
def test_cross_site_request_forgery(owner: Api, acme: Tenant, method: str, path: str) -> None:
    before = unchanged(owner, acme)
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://qz.test.evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://qz.test"},
    ):
        answer = owner(method, address(path, acme), json={}, headers=headers)
        assert answer.status_code == 403, headers
        assert "another site" in answer.json["detail"]
    assert unchanged(owner, acme) == before


class TestOpenRedirect:
    @pytest.mark.parametrize("prefix", ["/r", "/R"])
    @pytest.mark.parametrize(
        "rest",
        [
            "//evil.example",
            "/https://evil.example",
            "/%2F%2Fevil.example",
            "/\\evil.example",
            "/acme-menu/../../evil.example",
            "/acme-menu//evil.example",
            "/acme-menu@evil.example",
        ],
    )
    def test_no_address_leads_anywhere_that_no_owner_has_chosen(
        self, anonymous: Api, prefix: str, rest: str
    ) -> None:
        answer = anonymous.get(prefix + rest)
        assert answer.status_code == 404
        assert "Location" not in answer.headers

    def test_no_parameter_decides_where_a_code_leads(self, anonymous: Api, acme: Tenant) -> None:
        plain = anonymous.get(f"/r/{acme.code.slug}").headers["Location"]
        for name in ("url", "next", "to", "destination", "redirect_uri", "return"):
            query = {name: "https://evil.example/"}
            answer = anonymous.get(f"/r/{acme.code.slug}", params=query)
            assert answer.headers["Location"] == plain

    def test_a_forwarded_query_stays_a_query(
        self, owner: Api, anonymous: Api, acme: Tenant
    ) -> None:
        draft = {"destination": "https://example.org", "forward_query": True, "slug": "forward"}
        assert owner.post(f"{acme.url}/qr-codes", draft).status_code == 201
        for query in ("@evil.example/", ".evil.example/", "x=1#@evil.example", "\\evil.example"):
            told = anonymous("GET", "/r/forward", query_string=query).headers["Location"]
            assert re.match(r"https://example\.org/?\?", told), told


class TestCachePoisoning:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Host": "evil.example"},
            {"X-Forwarded-Host": "evil.example"},
            {"X-Forwarded-Proto": "https"},
            {"X-Forwarded-Port": "1337"},
            {"X-Forwarded-Prefix": "/evil"},
            {"Forwarded": "host=evil.example;proto=https"},
            {"X-Original-URL": "/evil"},
            {"X-Rewrite-URL": "/evil"},
            {"X-HTTP-Method-Override": "DELETE"},
        ],
        ids=str,
    )
    def test_no_forged_header_reaches_an_answer(
        self, owner: Api, anonymous: Api, acme: Tenant, headers: dict[str, str]
    ) -> None:
        told = owner.get(f"{acme.code_url}/image-url", params={"size": 200}).json["url"]
        public = told.removeprefix("http://qz.test")
        asked = [
            (owner, acme.code_url),
            (owner, f"{acme.code_url}/image"),
            (owner, f"{acme.code_url}/image-url"),
            (anonymous, f"/r/{acme.code.slug}"),
            (anonymous, public),
            (anonymous, public.replace("?", "?size=1&") if "?" in public else public + "?size=1"),
            (anonymous, "/api/openapi.json"),
        ]
        for api, path in asked:
            forged, plain = api.get(path, headers=headers), api.get(path)
            assert forged.status_code == plain.status_code
            assert b"evil" not in forged.content
            assert "evil" not in str(dict(forged.headers))
            assert "1337" not in forged.headers.get("Location", "")
            if forged.status_code == 200 and path != acme.code_url:
                assert forged.content == plain.content

    def test_organizations_that_draw_the_same_share_nothing(
        self, app: Application, seed: Seed
    ) -> None:
        draft = {"content": "the same for all", "size": 200}
        for tenant in (seed.acme, seed.globex):
            api = Api(app, {"Authorization": f"Bearer {tenant.keys[Role.OWNER]}"})
            assert api.post(f"{tenant.url}/images", draft).status_code == 200
        # Were there one key for both, the time of an answer would tell what others have drawn.
        hits = app.services.meters.read().namespaces["image"].since_start
        assert (hits.hits, hits.misses) == (0, 2)

    def test_what_is_behind_a_sign_in_is_never_public(
        self, owner: Api, acme: Tenant, document: dict[str, Any]
    ) -> None:
        secured = [
            route.path
            for route in ROUTES
            for method, rule in route.access.items()
            if method == "GET" and rule not in (Access.PUBLIC, Access.OPERATOR)
        ]
        for path in secured:
            answer = owner.get(address(path, acme))
            assert answer.status_code == 200, path
            told = answer.headers["Cache-Control"]
            assert "public" not in told
            assert "private" in told or "no-store" in told
            assert {"Authorization", "Cookie"} <= {
                name.strip() for name in answer.headers["Vary"].split(",")
            }


def test_mass_assignment(owner: Api, acme: Tenant, document: dict[str, Any]) -> None:
    internal = {
        "id": str(acme.code.id),
        "organization_id": str(acme.id),
        "org_id": str(acme.id),
        "revision": 99,
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2020-01-01T00:00:00Z",
        "scans_total": 1_000_000,
        "operator": True,
        "is_admin": True,
        "password_hash": "x",
        "token_hash": "x",
        "owner_id": str(acme.users[Role.MEMBER]),
        "user_id": str(acme.users[Role.MEMBER]),
        "__class__": "x",
        "__proto__": {"admin": True},
    }
    tried = 0
    for method, path, schema in bodies(document):
        for field, value in internal.items():
            if field in schema.get("properties", {}):
                continue
            answer = owner(method, address(path, acme), json={field: value})
            assert answer.status_code == 422, (method, path, field)
            told = [error["field"] for error in answer.json["errors"]]
            # A list of codes is refused as a whole.
            assert field in told or told == ["codes"], (method, path, field, told)
            tried += 1
    assert tried > 150


class TestOversizedInput:
    def test_every_text_has_a_length_that_is_told(
        self, owner: Api, acme: Tenant, document: dict[str, Any]
    ) -> None:
        tried = 0
        for method, path, schema in bodies(document):
            for field, described in schema.get("properties", {}).items():
                if "string" not in str(described.get("type", described.get("anyOf", ""))):
                    continue
                answer = owner(method, address(path, acme), json={field: "x" * 500_000})
                check_sound(answer)
                assert answer.status_code in (401, 404, 409, 413, 422), (method, path, field)
                assert len(answer.content) < 20_000
                tried += 1
        assert tried > 30

    def test_lists_objects_numbers_and_depth(self, owner: Api, acme: Tenant) -> None:
        codes = f"{acme.url}/qr-codes"
        for draft in (
            {**NEW, "tags": ["x"] * 10_000},
            {**NEW, **{f"field{number}": 1 for number in range(10_000)}},
            {**NEW, "max_scans": 10**400},
            {**NEW, "max_scans": -(10**30)},
            {**NEW, "title": {"a": [[[[[[[]]]]]]]}},
        ):
            answer = owner.post(codes, draft)
            assert answer.status_code in (400, 422)
            assert len(answer.content) < 50_000
        deep = b"[" * 100_000
        kind = {"Content-Type": "application/json"}
        assert owner("POST", codes, body=deep, headers=kind).status_code == 400
        assert owner.post(f"{codes}/bulk", {"codes": [NEW] * 5000}).status_code == 422

    def test_queries(self, owner: Api, acme: Tenant) -> None:
        codes = f"{acme.url}/qr-codes"
        many = "&".join(f"p{number}=1" for number in range(5000))
        for query in ("search=" + "x" * 100_000, many, "page=" + "9" * 5000):
            answer = owner("GET", codes, query_string=query)
            assert answer.status_code == 422, query[:20]
            assert len(answer.content) < 50_000
        sizes = {"size": 10**12, "margin": 10**12, "dpi": 10**12, "width_mm": 10**12}
        for name, value in sizes.items():
            answer = owner.get(f"{acme.code_url}/image", params={name: value})
            assert answer.status_code == 422, name

    def test_bodies(self, owner: Api, acme: Tenant, document: dict[str, Any]) -> None:
        kind = {"Content-Type": "application/json"}
        for method, path, _ in bodies(document):
            body = b'{"x": "' + b"x" * 1_100_000 + b'"}'
            answer = owner(method, address(path, acme), body=body, headers=kind)
            assert answer.status_code == 413, (method, path)


def test_sign_in_does_the_same_work_for_known_and_unknown_accounts(
    app: Application, anonymous: Api
) -> None:
    verified: list[str] = []

    def verify(self: argon2.PasswordHasher, hash_: str, password: str) -> bool:
        verified.append(hash_)
        raise argon2.exceptions.VerifyMismatchError

    told = []
    with patch.object(argon2.PasswordHasher, "verify", verify):
        for email in ("owner@acme.example", "nobody@acme.example", "no address"):
            answer = anonymous.post("/api/session", {"email": email, "password": "wrong guess"})
            told.append((answer.status_code, {**answer.json, "request_id": ""}))
    assert told[0] == told[1] == told[2]
    assert told[0][0] == 401
    # One check each, of hashes that cost the same.
    first, *others = [argon2.extract_parameters(hash_) for hash_ in verified]
    assert others == [first, first]


def _patterns() -> list[re.Pattern[Any]]:
    """Every regular expression of ours."""
    found: dict[tuple[Any, int], re.Pattern[Any]] = {}
    for package in (core, plugins):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if info.name.endswith("postgres"):
                continue
            for value in vars(importlib.import_module(info.name)).values():
                if isinstance(value, re.Pattern):
                    found[value.pattern, value.flags] = value
    return list(found.values())


def _hostile(pattern: re.Pattern[Any]) -> Iterator[Any]:
    """Long texts that nearly match: repetitions of what the expression is about, badly ended."""
    is_bytes = isinstance(pattern.pattern, bytes)
    text = pattern.pattern.decode("latin-1") if is_bytes else pattern.pattern
    own = re.sub(r"[\\^$*+?{}|()\[\]]", "", text)
    letters = dict.fromkeys("aA0 .-_@:/\\%=\"'<,;[(&#?+x" + own)
    for letter in letters:
        for unit in (letter, letter + "a", letter + "0", "a" + letter, letter * 2 + " "):
            for end in ("", "!", "\n", "\0"):
                evil = unit * (20_000 // len(unit)) + end
                yield evil.encode("utf-8", "replace") if is_bytes else evil


def _told(document: Any) -> Iterator[str]:
    """The expressions that bodies, queries and answers are described with."""
    if isinstance(document, dict):
        if isinstance(document.get("pattern"), str):
            yield document["pattern"]
        document = list(document.values())
    if isinstance(document, list):
        for part in document:
            yield from _told(part)


def _try_all(told: Iterable[str]) -> int:
    tried = 0
    for pattern in map(re.compile, told):
        for text in _hostile(pattern):
            # As msgspec does, and whoever checks what he sends by the description.
            pattern.search(text)
            tried += 1
    for pattern in _patterns():
        for text in _hostile(pattern):
            pattern.match(text)
            pattern.fullmatch(text)
            tried += 1
    return tried


def test_regular_expressions_take_no_time_that_grows_out_of_proportion(
    document: dict[str, Any],
) -> None:
    told = set(_told(document))
    assert {r"\S", "^[A-Za-z0-9_-]{3,64}$"} <= told
    # A text that takes an expression back again and again takes longer than anybody waits.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(_try_all, [told]).get(timeout=120) > 40_000


SCRIPTS = (
    "<script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "' onload='alert(1)",
    '" onload="alert(1)',
    "]]><script>alert(1)</script>",
    "&lt;script&gt;",
    "<![CDATA[<script>]]>",
    "javascript:alert(1)",
)


def check_harmless(svg: bytes) -> None:
    """Nothing in the picture runs, or loads anything."""
    for element in ET.fromstring(svg).iter():
        name = str(element.tag).rpartition("}")[2].lower()
        assert name not in ("script", "foreignobject", "iframe", "a", "animate", "set", "handler")
        for attribute, value in element.attrib.items():
            bare = attribute.rpartition("}")[2].lower()
            assert not bare.startswith("on"), attribute
            if bare == "href":
                assert value.startswith(("#", "data:image/")), value
                assert not value.startswith("data:image/svg")


class TestScriptsInSvg:
    @pytest.mark.parametrize("script", SCRIPTS)
    def test_texts_are_only_texts(self, owner: Api, acme: Tenant, script: str) -> None:
        for answer in (
            owner.post(f"{acme.url}/images", {"content": script, "format": "svg", "size": 600}),
            owner.post(
                f"{acme.url}/images",
                {"content": "x", "format": "svg", "caption": script[:40], "size": 600},
            ),
        ):
            assert answer.status_code in (200, 422), answer.text
            if answer.status_code == 200:
                check_harmless(answer.content)
                assert "sandbox" in answer.headers["Content-Security-Policy"]

    def test_a_timeline_drawn_as_svg_is_harmless(self, owner: Api, acme: Tenant) -> None:
        for script in SCRIPTS:
            assert owner.patch(acme.code_url, {"title": script}).status_code == 200
            told = owner.get(f"{acme.code_url}/timeline", headers={"Accept": "image/svg+xml"})
            assert told.status_code == 200
            check_harmless(told.content)

    @pytest.mark.parametrize(
        "inside",
        [
            "<script>1</script>",
            '<g onload="alert(1)"/>',
            '<image href="http://evil.example/x.png" width="9" height="9"/>',
            "<text>&x;</text>",
            "<style>@import url(http://evil.example)</style>",
            '<a href="javascript:alert(1)"><rect width="9" height="9"/></a>',
            "<foreignObject><body onload='alert(1)'/></foreignObject>",
        ],
    )
    def test_a_logo_brings_nothing_along(self, owner: Api, acme: Tenant, inside: str) -> None:
        entity = (
            '<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>' if "&x" in inside else ""
        )
        size = 'xmlns="http://www.w3.org/2000/svg" width="9" height="9"'
        logo = f"{entity}<svg {size}>{inside}</svg>".encode()
        kind = {"Content-Type": "image/svg+xml"}
        sent = owner.post(f"{acme.url}/logos", body=logo, params={"name": "Evil"}, headers=kind)
        assert sent.status_code in (201, 422), sent.text
        if sent.status_code == 201:
            kept = owner.get(f"{acme.url}/logos/{sent.json['id']}")
            assert b"evil" not in kept.content
            check_harmless(kept.content)


def test_errors_tell_nothing_of_the_inside(
    app: Application, acme: Tenant, document: dict[str, Any]
) -> None:
    secret = "SELECT * FROM user WHERE password='hunter2' -- /srv/quietzone/secret.key"

    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError(secret)

    api = Api(app, {"Authorization": f"Bearer {acme.keys[Role.OWNER]}"})
    failed = 0
    services = app.services
    for part, name in (
        (services.codes, "get"),
        (services.codes, "list"),
        (services.organizations, "members"),
        (services.answers, "fetch"),
        (services.images, "picture"),
    ):
        with patch.object(part, name, fail):
            for method, path, _ in operations(document):
                if method == "GET":
                    answer = api.get(address(path, acme))
                    for word in (b"hunter2", b"SELECT", b"RuntimeError", b"/srv/", b"Traceback"):
                        assert word not in answer.content, (path, word)
                    failed += answer.status_code == 500
    assert failed >= 8


def test_a_password_in_a_refused_request_is_not_repeated(anonymous: Api) -> None:
    for body in (
        {"email": 5, "password": PASSWORD},
        {"email": "a@b.example", "password": [PASSWORD]},
        {"email": "a@b.example", "password": {"is": PASSWORD}},
        {"email": "a@b.example", "password": PASSWORD, PASSWORD: 1},
    ):
        answer = anonymous.post("/api/session", body)
        assert answer.status_code == 422
        if PASSWORD not in body:
            assert PASSWORD not in answer.text
