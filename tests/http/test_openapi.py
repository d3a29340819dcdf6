"""The OpenAPI document: valid, complete, and true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import falcon
import msgspec
import pytest
from falcon.testing import Result
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from core.app import Application
from core.domain.accounts import Role
from core.domain.images import ImageOptions
from core.http import openapi, routes
from core.http.request import Request
from core.http.resources.base import Access, Answer, Body, Resource
from core.http.routes import ROUTES, Route
from core.http.schemas import ImageDraft
from tests.http.conftest import LOGO, PASSWORD, Api, Tenant


@pytest.fixture
def document(anonymous: Api) -> dict[str, Any]:
    return anonymous.get("/api/openapi.json").json


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def test_the_document_is_valid_by_the_schema_of_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_it_covers_the_route_table_and_nothing_else(document: dict[str, Any]) -> None:
    declared = {
        (method, re.sub(r":\w+}", "}", route.path)) for route in ROUTES for method in route.access
    }
    assert {(method, path) for method, path, _ in operations(document)} == declared


def test_every_operation_is_explained(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    tags = {tag["name"] for tag in document["tags"]}
    for method, path, operation in operations(document):
        assert operation["summary"], (method, path)
        assert set(operation["tags"]) <= tags
        for parameter in operation["parameters"]:
            told = parameter.get("description") or parameter["in"] == "query"
            assert told, (path, parameter["name"])


def test_every_component_is_used(document: dict[str, Any]) -> None:
    text = msgspec.json.encode(document).decode()
    for kind in ("schemas", "headers"):
        for name in document["components"][kind]:
            assert f'"#/components/{kind}/{name}"' in text, name


def test_who_may_call_is_what_the_table_says(document: dict[str, Any]) -> None:
    for route in ROUTES:
        path = re.sub(r":\w+}", "}", route.path)
        for method, rule in route.access.items():
            operation = document["paths"][path.partition("?")[0]][method.lower()]
            ways = {name: roles for way in operation["security"] for name, roles in way.items()}
            if rule is Access.PUBLIC:
                assert ways == {}
                assert "401" not in operation["responses"] or path == "/api/session"
                continue
            if rule is Access.ANYBODY:
                assert operation["security"] == [{}, {"session": []}]
                continue
            assert set(ways) == {"session"} | ({"apiKey"} if rule is not Access.PERSON else set())
            assert {"401", "503"} <= operation["responses"].keys()
            if isinstance(rule, Role):
                assert list(ways.values()) == [[rule], [rule]]
                assert f"role {rule} " in operation["description"]


def test_the_cookie_has_the_name_that_is_set(
    app: Application, anonymous: Api, document: dict[str, Any]
) -> None:
    credentials = {"email": "owner@acme.example", "password": PASSWORD}
    answer = anonymous.post("/api/session", credentials)
    name = document["components"]["securitySchemes"]["session"]["name"]
    assert name in answer.cookies
    https = msgspec.structs.replace(
        app.settings,
        service=msgspec.structs.replace(app.settings.service, base_url="https://q.test"),
    )
    told = openapi.document(ROUTES, app.services, https)
    assert told["components"]["securitySchemes"]["session"]["name"] == "__Host-quietzone"
    assert told["servers"] == [{"url": "https://q.test"}]


def test_settings_and_plugins_decide_what_is_told(document: dict[str, Any]) -> None:
    images = document["paths"]["/api/organizations/{org_id}/qr-codes/{qr_id}/image"]["get"]
    told = {parameter["name"]: parameter["schema"] for parameter in images["parameters"]}
    assert {"png", "svg", "pdf"} <= set(told["format"]["enum"])
    assert (told["size"]["minimum"], told["size"]["maximum"]) == (100, 2000)
    assert {"image/png", "image/svg+xml"} <= set(images["responses"]["200"]["content"])
    schemas = document["components"]["schemas"]
    assert schemas["CodesDraft"]["properties"]["codes"]["maxItems"] == 1000


def test_bodies_refuse_unknown_fields_and_answers_do_not(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("CodeDraft", "CodeChanges", "ImageDraft", "Wifi", "ContactPhone", "Credentials"):
        assert schemas[name]["additionalProperties"] is False
    for name in ("CodeView", "Problem", "Timeline"):
        assert "additionalProperties" not in schemas[name]
    assert schemas["Credentials"]["properties"]["password"]["writeOnly"] is True


def test_an_image_takes_what_its_description_says() -> None:
    named = set(ImageDraft.__struct_fields__) - set(ImageOptions.__struct_fields__)
    assert named == {"content"}


def test_the_document_is_kept_by_its_entity_tag(anonymous: Api) -> None:
    answer = anonymous.get("/api/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-cache"
    known = {"If-None-Match": answer.headers["ETag"]}
    again = anonymous.get("/api/openapi.json", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == answer.headers["ETag"]
    assert anonymous("HEAD", "/api/openapi.json").headers["ETag"] == answer.headers["ETag"]


def check(document: dict[str, Any], answer: Result, method: str, path: str) -> None:
    """Hold an answer against what is documented of its status, media type, headers and schema."""
    operation = document["paths"][path.partition("?")[0]][method.lower()]
    told = operation["responses"][str(answer.status_code)]
    if "$ref" in told:
        told = document["components"]["responses"][told["$ref"].rpartition("/")[2]]
    for name in told["headers"]:
        if document["components"]["headers"][name].get("required"):
            assert name in answer.headers, name
    content = told.get("content", {})
    assert bool(content) == bool(answer.content)
    if content:
        kind = answer.headers["Content-Type"]
        kinds = {name.partition(";")[0]: media for name, media in content.items()}
        schema = kinds[kind.partition(";")[0]].get("schema")
        if schema is not None:
            Draft202012Validator({**schema, "components": document["components"]}).validate(
                answer.json
            )


def test_what_is_documented_of_a_few_flows_is_true(
    document: dict[str, Any], owner: Api, anonymous: Api, acme: Tenant, globex: Tenant
) -> None:
    base = "/api/organizations/{org_id}"
    code = base + "/qr-codes/{qr_id}"
    link = {"destination": "https://example.org/", "slug": "flow"}
    tried: set[int] = set()

    def call(
        method: str, template: str, api: Api = owner, to: Tenant = acme, **sent: Any
    ) -> Result:
        path = template.format(org_id=to.id, qr_id=to.code.id, logo_id=to.logo_id, slug="flow")
        answer = api(method, path, **sent)
        check(document, answer, method, template)
        tried.add(answer.status_code)
        return answer

    call("GET", base)
    call("GET", base, anonymous)
    call("GET", base, to=globex)
    made = call("POST", base + "/qr-codes", json=link)
    call("POST", base + "/qr-codes", json=link)
    call("POST", base + "/qr-codes", json={"destination": "no link"})
    call("POST", base + "/qr-codes", body=b"{", headers={"Content-Type": "application/json"})
    call("POST", base + "/qr-codes", body=b"{}", headers={"Content-Type": "text/plain"})
    call("POST", base + "/qr-codes", json={"title": "x" * 2_000_000})
    call("POST", base + "/qr-codes", json=link, headers={"Sec-Fetch-Site": "cross-site"})
    call("GET", "/r/{slug}", anonymous)
    image = call("GET", code + "/image?format=svg&download=1")
    call("GET", code + "/image?format=svg", headers={"If-None-Match": image.headers["ETag"]})
    for media_type in ("text/csv", "image/svg+xml", "application/json"):
        call("GET", code + "/timeline", headers={"Accept": media_type})
    call("GET", code + "/stats")
    call("GET", code + "/scans")
    call("GET", base + "/qr-codes/images.zip")
    call("GET", base + "/logos/{logo_id}")
    call("POST", base + "/logos?name=New", body=LOGO, headers={"Content-Type": "image/svg+xml"})
    call(
        "PUT",
        base + "/qr-business",
        json={"content": {"type": "wifi", "ssid": "Q", "security": "nopass"}},
    )
    call("GET", base + "/qr-business")
    owner.patch(f"{acme.url}/qr-codes/{made.json['id']}", {"active": False})
    call("GET", "/r/{slug}", anonymous)
    call("GET", "/r/{slug}", anonymous, headers={"Accept": "text/html"})
    call("DELETE", code)
    call("GET", code)
    call("DELETE", "/api/session")
    assert tried == {200, 201, 204, 302, 304, 400, 401, 403, 404, 409, 410, 413, 415, 422}


def test_the_example_of_the_page_is_what_the_resource_says() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "interface.md").read_text(encoding="utf-8")
    source = (root / "core" / "http" / "resources" / "styles.py").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for line in example.splitlines():
        assert line in source


class Undeclared(Resource):
    """A resource that does not say what it takes and answers."""

    def on_get(self, req: Request, resp: falcon.Response) -> None:
        """Answer."""

    def on_post(self, req: Request, resp: falcon.Response) -> None:
        """Take."""


class Declared(Undeclared):
    """A resource that does, and says more than is known of it."""

    bodies = {"POST": Body(("text/plain",))}
    answers = {"GET": (Answer(status=204),), "POST": (Answer(status=204), 418)}


def test_a_responder_that_declares_nothing_is_refused(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = {"GET": Access.PUBLIC, "POST": Access.PUBLIC}
    for resource, refused in ((Undeclared, True), (Declared, False)):
        monkeypatch.setattr(routes, "ROUTES", (Route("/new", resource, access),))
        new = falcon.App(request_type=Request)
        if refused:
            with pytest.raises(AssertionError) as error:
                routes.install(new, app.services, app.settings)
            assert str(error.value) == (
                "/new: not declared are the answers of GET, the answers of POST, the body of POST"
            )
        else:
            routes.install(new, app.services, app.settings)
