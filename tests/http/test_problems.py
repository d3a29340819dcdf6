"""Everything that goes wrong comes as a problem document, tells enough, and leaks nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from core.app import Application
from core.errors import StorageUnavailable
from tests.http.conftest import Api, Tenant

JSON = {"Content-Type": "application/json"}


def assert_problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json
    assert {"type", "title", "status", "detail", "request_id"} <= set(problem)
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    return problem


@pytest.mark.parametrize(
    "path",
    ["/", "/nowhere", "/api", "/api/organizations/not-a-uuid", "/api/organizations/1/qr-codes",
     "/../etc/passwd", "/api/organizations/%00", "/favicon.ico"],
)  # fmt: skip
def test_an_unknown_address_is_404(owner: Api, path: str) -> None:
    assert_problem(owner.get(path), 404)


def test_a_code_id_that_is_no_uuid_is_404(owner: Api, acme: Tenant) -> None:
    assert_problem(owner.get(f"{acme.url}/qr-codes/1 OR 1=1"), 404)


def test_an_unknown_method_is_405_and_names_the_allowed_ones(owner: Api, acme: Tenant) -> None:
    answer = owner("PUT", f"{acme.url}/qr-codes")
    assert_problem(answer, 405)
    assert {"GET", "POST", "HEAD"} <= set(answer.headers["Allow"].split(", "))


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""]
)
def test_another_media_type_is_415(editor: Api, acme: Tenant, content_type: str) -> None:
    answer = editor(
        "POST", f"{acme.url}/qr-codes", body=b"{}", headers={"Content-Type": content_type}
    )
    assert_problem(answer, 415)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b'{"destination": "https://a.example"} trailing',
        b"\xff\xfe",
        b'{"destination": "\xff"}',
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"NaN",
    ],
    ids=range(9),
)
def test_a_body_that_is_no_json_is_400(editor: Api, acme: Tenant, body: bytes) -> None:
    assert_problem(editor("POST", f"{acme.url}/qr-codes", body=body, headers=JSON), 400)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (rb"http://x/\ud800", "A lone surrogate"),
        (rb"http://x/\uDFFF", "A lone surrogate"),
        (rb"http://x/\ud83d\u0041", "A lone surrogate"),
        (rb"http://x/\ud83d\ude00\ud8", "The body is not JSON"),
    ],
)
def test_a_lone_surrogate_is_called_so(editor: Api, acme: Tenant, text: bytes, reason: str) -> None:
    body = b'{"destination": "' + text + b'"}'
    answer = editor("POST", f"{acme.url}/qr-codes", body=body, headers=JSON)
    assert_problem(answer, 400)
    assert answer.json["detail"].startswith(reason)


@pytest.mark.parametrize("body", [b"null", b"1", b'"text"', b"[]", b"true"])
def test_json_that_is_no_object_is_422(editor: Api, acme: Tenant, body: bytes) -> None:
    assert_problem(editor("POST", f"{acme.url}/qr-codes", body=body, headers=JSON), 422)


@pytest.mark.parametrize(
    "value",
    [
        "\\ud800",
        "a\\u0000b",
        "\\u001b[31m",
        "line\\r\\nbreak",
    ],
)
def test_text_that_cannot_be_kept_is_refused(editor: Api, acme: Tenant, value: str) -> None:
    body = f'{{"destination": "https://a.example", "title": "{value}"}}'.encode()
    answer = editor("POST", f"{acme.url}/qr-codes", body=body, headers=JSON)
    assert answer.status_code in (400, 422)
    assert editor.get(f"{acme.url}/qr-codes").json["total"] == 1


@pytest.mark.parametrize(
    "number", ["9223372036854775808", "-1", "1e400", "1.5", "123456789012345678901234567890"]
)
def test_numbers_that_do_not_fit_are_refused(editor: Api, acme: Tenant, number: str) -> None:
    body = f'{{"destination": "https://a.example", "max_scans": {number}}}'.encode()
    answer = editor("POST", f"{acme.url}/qr-codes", body=body, headers=JSON)
    assert answer.status_code in (400, 422), answer.text
    assert editor.get(f"{acme.url}/qr-codes").json["total"] == 1


SQL = "'; DROP TABLE codes; --"


def test_sql_in_every_text_is_only_text(editor: Api, owner: Api, acme: Tenant) -> None:
    body = {"destination": "https://a.example/?q='--", "title": SQL, "tags": [SQL]}
    code = editor.post(f"{acme.url}/qr-codes", body).json
    assert (code["title"], code["tags"]) == (SQL, [SQL])
    found = editor.get(f"{acme.url}/qr-codes", params={"search": SQL, "tag": SQL}).json
    assert [item["id"] for item in found["items"]] == [code["id"]]
    assert editor.get(f"{acme.url}/qr-codes", params={"sort": SQL}).status_code == 422
    owner.patch(acme.url, {"name": SQL})
    assert owner.get(acme.url).json["name"] == SQL
    assert owner.put(f"{acme.url}/qr-business", {"content": SQL}).status_code == 200
    assert owner.post("/api/session", {"email": SQL, "password": SQL}).status_code == 401
    answer = editor.post(f"{acme.url}/qr-codes/bulk", {"codes": [body]},
                         headers={"Idempotency-Key": SQL})  # fmt: skip
    assert answer.status_code == 201
    assert editor.get(f"{acme.url}/qr-codes").json["total"] == 3


@pytest.mark.parametrize("request_id", ["short", "x" * 65, "has space in it", "a\tb-----"])
def test_a_request_id_that_is_not_sound_is_replaced(anonymous: Api, request_id: str) -> None:
    answer = anonymous.get("/health/live", headers={"X-Request-ID": request_id})
    assert answer.headers["X-Request-ID"] != request_id


def test_a_sound_request_id_is_taken_over(anonymous: Api) -> None:
    answer = anonymous.get("/nowhere", headers={"X-Request-ID": "abc-123.DEF_9"})
    assert answer.json["request_id"] == "abc-123.DEF_9"


@pytest.fixture
def broken(app: Application, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(*_: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(app.services.codes, "get", fail)
    return


def test_an_uncaught_error_is_logged_with_its_request_and_tells_nothing(
    broken: None, owner: Api, acme: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = owner.get(acme.code_url)
    problem = assert_problem(answer, 500)
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text
    record = next(r for r in caplog.records if r.name == "quietzone.errors")
    assert problem["request_id"] in record.getMessage()
    assert record.exc_info is not None
    assert "hunter2" in str(record.exc_info[1])


def test_a_database_that_is_away_is_503_and_worth_another_try(
    app: Application, owner: Api, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailable("connection to 10.1.2.3 refused")

    monkeypatch.setattr(app.services.codes, "get", away)
    answer = owner.get(acme.code_url)
    assert_problem(answer, 503)
    assert answer.headers["Retry-After"] == "5"
    assert "10.1.2.3" not in answer.text


def test_a_body_over_the_limit_is_413(editor: Api, acme: Tenant) -> None:
    body = b'{"destination": "https://a.example", "title": "' + b"x" * 1_100_000 + b'"}'
    assert_problem(editor("POST", f"{acme.url}/qr-codes", body=body, headers=JSON), 413)


def test_the_health_of_a_sound_service(anonymous: Api) -> None:
    assert anonymous.get("/health/live").json["status"] == "ok"
    ready = anonymous.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json == {
        "status": "ok",
        "checks": {"storage": "ok", "migrations": "ok", "scans": "ok"},
    }


def test_a_database_that_is_away_or_behind_is_not_ready(
    app: Application, anonymous: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = app.services.storage
    monkeypatch.setattr(storage, "pending_migrations", lambda: ["0009_later"])
    behind = anonymous.get("/health/ready")
    assert behind.status_code == 503
    assert "0009_later" in behind.json["checks"]["migrations"]

    def away() -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(storage, "ping", away)
    assert anonymous.get("/health/ready").status_code == 503
    assert anonymous.get("/health/live").status_code == 200


def test_answers_behind_a_sign_in_are_private(owner: Api, acme: Tenant) -> None:
    for path in ("/api/session", acme.url, f"{acme.url}/qr-codes", f"{acme.code_url}/image"):
        assert owner.get(path).headers["Cache-Control"] == "private, no-cache"


def test_options_tells_the_methods_and_nothing_else(anonymous: Api, acme: Tenant) -> None:
    answer = anonymous("OPTIONS", acme.url)
    assert answer.status_code == 200
    assert "PATCH" in answer.headers["Allow"]


def test_a_compressed_body_is_415(editor: Api, acme: Tenant) -> None:
    headers = {**JSON, "Content-Encoding": "gzip"}
    assert_problem(editor("POST", f"{acme.url}/qr-codes", body=b"{}", headers=headers), 415)


def test_an_error_carries_no_header_of_the_answer_that_failed(owner: Api, acme: Tenant) -> None:
    owner.put(f"{acme.url}/qr-business", {"content": "x" * 1000})
    answer = owner.get(f"{acme.url}/qr-business/image", params={"size": 100, "download": "1"})
    assert_problem(answer, 422)
    assert "ETag" not in answer.headers
    assert "Content-Disposition" not in answer.headers


@pytest.mark.parametrize("depth", [400, 960, 968, 970, 972, 975, 990, 2000])
def test_deeply_nested_json_is_refused_at_any_depth(anonymous: Api, depth: int) -> None:
    for opened, closed in (('{"a":', "}"), ("[", "]")):
        nested = opened * depth + "1" + closed * depth
        body = f'{{"password": "x", "email": {nested}}}'.encode()
        answer = anonymous("POST", "/api/session", body=body, headers=JSON)
        assert answer.status_code in (400, 422), answer.text


def test_an_answer_to_bad_codes_stays_in_proportion(editor: Api, acme: Tenant) -> None:
    item = {f"unknown{n}": 1 for n in range(100)}
    answer = editor.post(f"{acme.url}/qr-codes/bulk", {"codes": [item] * 500})
    assert answer.status_code == 422
    assert 1000 < len(answer.json["errors"]) < 1300
    assert answer.json["errors"][-1]["field"] == "codes"
