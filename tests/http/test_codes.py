"""Codes over HTTP: create, bulk, list, read, change, delete."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from core.app import Application
from tests.http.conftest import Api, Clock, Tenant


@pytest.fixture
def make(editor: Api, acme: Tenant) -> Callable[..., dict[str, object]]:
    def make(**fields: object) -> dict[str, object]:
        answer = editor.post(f"{acme.url}/qr-codes", {"destination": "https://a.example", **fields})
        assert answer.status_code == 201, answer.text
        return answer.json

    return make


def test_a_new_code_has_every_field_of_the_interface(editor: Api, acme: Tenant) -> None:
    answer = editor.post(f"{acme.url}/qr-codes", {"destination": "https://example.org/a?b=c#d"})
    assert answer.status_code == 201
    code = answer.json
    assert answer.headers["Location"] == f"http://qz.test{acme.url}/qr-codes/{code['id']}"
    assert set(code) == {
        "id", "slug", "short_url", "destination", "destination_host", "title", "tags", "active",
        "valid_from", "valid_until", "max_scans", "forward_query", "style", "revision",
        "created_at", "updated_at", "scans_total",
    }  # fmt: skip
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{8}", code["slug"])
    assert code["short_url"] == f"HTTP://QZ.TEST/R/{code['slug']}"
    assert code["destination"] == "https://example.org/a?b=c#d"
    assert (code["revision"], code["scans_total"], code["active"]) == (1, 0, True)
    assert editor.get(f"{acme.url}/qr-codes/{code['id']}").json == code


def test_an_own_slug_is_kept_and_unique_without_regard_to_case(
    make: Callable[..., dict[str, object]], editor: Api, acme: Tenant
) -> None:
    assert make(slug="Summer_24")["slug"] == "Summer_24"
    answer = editor.post(
        f"{acme.url}/qr-codes", {"destination": "https://a.example", "slug": "sUMMER_24"}
    )
    assert answer.status_code == 409
    assert answer.json["errors"][0]["field"] == "slug"
    taken_elsewhere = {"destination": "https://a.example", "slug": "GLOBEX-menu"}
    assert editor.post(f"{acme.url}/qr-codes", taken_elsewhere).status_code == 409


def test_a_change_changes_what_is_sent_and_leaves_the_rest(
    make: Callable[..., dict[str, object]], editor: Api, acme: Tenant, clock: Clock
) -> None:
    code = make(title="Poster", tags=["a", "b"], max_scans=5, valid_until="2027-01-01T00:00:00Z")
    clock.forward(minutes=1)
    url = f"{acme.url}/qr-codes/{code['id']}"
    changed = editor.patch(url, {"destination": "https://b.example", "max_scans": None}).json
    assert changed == {
        **code,
        "destination": "https://b.example",
        "destination_host": {"ascii": "b.example", "unicode": "b.example"},
        "max_scans": None,
        "revision": 2,
        "updated_at": "2026-05-06T12:01:00Z",
    }
    assert editor.get(url).json == changed
    assert editor.patch(url, {}).json == changed
    assert editor.patch(url, {"tags": ["b", "c"]}).json["tags"] == ["b", "c"]


@pytest.mark.parametrize("field", ["slug", "id", "revision", "created_at", "scans_total"])
def test_what_must_not_change_cannot_be_sent(editor: Api, acme: Tenant, field: str) -> None:
    answer = editor.patch(acme.code_url, {field: "x", "title": "y"})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert editor.get(acme.code_url).json["title"] == ""


def test_a_deleted_code_is_gone_with_its_slug_free_again(
    make: Callable[..., dict[str, object]], editor: Api, acme: Tenant, anonymous: Api
) -> None:
    code = make(slug="once")
    anonymous.get("/r/once")
    url = f"{acme.url}/qr-codes/{code['id']}"
    assert editor.delete(url).status_code == 204
    assert editor.get(url).status_code == 404
    assert editor.delete(url).status_code == 404
    assert anonymous.get("/r/once").status_code == 404
    assert make(slug="ONCE")["scans_total"] == 0


def test_every_bad_field_is_listed_at_once(editor: Api, acme: Tenant) -> None:
    body = {
        "destination": "ftp://files.example",
        "slug": "a/b",
        "title": 5,
        "tags": ["x", "X"],
        "active": "yes",
        "max_scans": 0,
        "valid_from": "2026-02-02T00:00:00Z",
        "valid_until": "2026-02-01T00:00:00Z",
        "colour": "red",
    }
    answer = editor.post(f"{acme.url}/qr-codes", body)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert {error["field"] for error in answer.json["errors"]} == set(body) - {"valid_from"}
    assert answer.json["type"] == "urn:quietzone:problem:invalid-fields"
    assert editor.get(f"{acme.url}/qr-codes").json["total"] == 1


@pytest.mark.parametrize(
    "destination",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//example.com",
        "/relative",
        "example.com",
        "https://",
        "https://exa mple.com",
        "https://example.com/\r\nSet-Cookie: a=b",
        "https://example.com/\nx",
        "https://example.com:99999/",
        "http://qz.test/r/acme-menu",
        "HTTP://QZ.TEST/R/ACME-MENU",
        "http://qz.test:80/r/x",
        "http://qz.test./r/x",
        "https://[::1",
        "https://user@example.com/",
        "https://example.com\\@evil.example/",
        "http://127.0.0.1/",
        "http://localhost:8000/",
        "\thttps://example.com",
        "",
        "https://example.com/" + "x" * 2100,
    ],
)
def test_a_destination_that_leads_nowhere_good_is_refused(
    editor: Api, acme: Tenant, destination: str
) -> None:
    for answer in (
        editor.post(f"{acme.url}/qr-codes", {"destination": destination}),
        editor.patch(acme.code_url, {"destination": destination}),
    ):
        assert answer.status_code == 422, destination
        assert [error["field"] for error in answer.json["errors"]] == ["destination"]


@pytest.mark.parametrize(
    "destination",
    [
        "https://example.com",
        "http://example.com:8080/a/b?c=d&e=%20#f",
        "https://müller.example/straße?q=größe",
        "http://qz.test/reports",
        "http://[2001:db8::1]/x",
    ],
)
def test_sound_destinations_are_kept_as_they_are(
    editor: Api, acme: Tenant, destination: str
) -> None:
    answer = editor.post(f"{acme.url}/qr-codes", {"destination": destination})
    assert answer.status_code == 201, answer.text
    assert answer.json["destination"] == destination


def test_a_window_that_ends_before_it_begins_is_refused_also_when_half_of_it_is_changed(
    make: Callable[..., dict[str, object]], editor: Api, acme: Tenant
) -> None:
    code = make(valid_from="2026-06-01T00:00:00+02:00")
    assert code["valid_from"] == "2026-05-31T22:00:00Z"
    url = f"{acme.url}/qr-codes/{code['id']}"
    answer = editor.patch(url, {"valid_until": "2026-05-01T00:00:00Z"})
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == "valid_until"
    assert editor.patch(url, {"valid_until": "2026-06-01T00:00:00"}).status_code == 422


def test_a_title_of_several_lines_from_former_times_is_still_read(
    app: Application, editor: Api, acme: Tenant
) -> None:
    old = replace(acme.code, title="\nMenu\tspring", revision=2)
    assert app.services.storage.codes.update(old, expected_revision=1)
    assert editor.get(acme.code_url).json["title"] == "\nMenu\tspring"
    assert editor.patch(acme.code_url, {"active": False}).json["title"] == "\nMenu\tspring"
    refused = editor.patch(acme.code_url, {"title": "\nMenu", "tags": ["a\tb"]}).json["errors"]
    assert [problem["field"] for problem in refused] == ["title", "tags"]
    assert refused[0]["message"] == (
        r"must be one line; the character '\n' breaks it: write a blank instead"
    )


def test_bulk_creates_all_in_order(editor: Api, acme: Tenant) -> None:
    codes = [{"destination": f"https://a.example/{n}", "title": str(n)} for n in range(1000)]
    answer = editor.post(f"{acme.url}/qr-codes/bulk", {"codes": codes})
    assert answer.status_code == 201
    assert [code["title"] for code in answer.json["items"]] == [str(n) for n in range(1000)]
    assert len({code["slug"] for code in answer.json["items"]}) == 1000
    assert editor.get(f"{acme.url}/qr-codes").json["total"] == 1001


def test_bulk_creates_none_where_one_is_wrong_and_names_each(editor: Api, acme: Tenant) -> None:
    good = {"destination": "https://a.example"}
    wrong = [good, {**good, "title": 1}, {"slug": "x"}, {**good, "slug": "same"},
             {**good, "slug": "SAME"}]  # fmt: skip
    answer = editor.post(f"{acme.url}/qr-codes/bulk", {"codes": wrong})
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json["errors"]} == {
        "codes[1].title", "codes[2].destination", "codes[2].slug", "codes[4].slug",
    }  # fmt: skip
    taken = [good, {**good, "slug": "acme-MENU"}]
    answer = editor.post(f"{acme.url}/qr-codes/bulk", {"codes": taken})
    assert answer.status_code == 409
    assert answer.json["errors"][0]["field"] == "codes[1].slug"
    assert editor.get(f"{acme.url}/qr-codes").json["total"] == 1


@pytest.mark.parametrize("body", [{}, {"codes": []}, {"codes": {}}, [], {"codes": [1]}])
def test_bulk_refuses_what_is_no_list_of_codes(editor: Api, acme: Tenant, body: object) -> None:
    answer = editor.post(f"{acme.url}/qr-codes/bulk", body)
    assert answer.status_code in (400, 422)


def test_bulk_has_a_limit(editor: Api, acme: Tenant) -> None:
    body = {"codes": [{"destination": "https://a.example"}] * 1001}
    answer = editor.post(f"{acme.url}/qr-codes/bulk", body)
    assert answer.status_code == 422
    assert "at most 1000" in answer.json["errors"][0]["message"]


def test_the_same_idempotency_key_gives_the_same_codes_for_a_day(
    editor: Api, acme: Tenant, clock: Clock
) -> None:
    url, body = f"{acme.url}/qr-codes/bulk", {"codes": [{"destination": "https://a.example"}] * 3}
    key = {"Idempotency-Key": '"order-17"'}
    first = editor.post(url, body, headers=key)
    again = editor.post(url, body, headers={"Idempotency-Key": "order-17"})
    assert first.status_code == again.status_code == 201
    assert first.json == again.json
    assert editor.get(f"{acme.url}/qr-codes").json["total"] == 4
    other = editor.post(url, {"codes": [{"destination": "https://b.example"}]}, headers=key)
    assert other.status_code == 422
    assert other.json["type"] == "urn:quietzone:problem:idempotency-key-reused"
    clock.forward(days=1, seconds=1)
    later = editor.post(url, body, headers=key)
    assert later.status_code == 201
    assert later.json != first.json


def test_a_repetition_with_own_slugs_is_a_repetition_not_a_clash(editor: Api, acme: Tenant) -> None:
    url, key = f"{acme.url}/qr-codes/bulk", {"Idempotency-Key": "k"}
    body = {"codes": [{"destination": "https://a.example", "slug": "mine"}]}
    first = editor.post(url, body, headers=key)
    assert editor.post(url, body, headers=key).json == first.json
    assert editor.post(url, body).status_code == 409


def test_an_idempotency_key_belongs_to_its_organization(
    app: object, editor: Api, acme: Tenant, globex: Tenant
) -> None:
    from core.domain.accounts import Role

    other = Api(app, {"Cookie": globex.cookies[Role.EDITOR]})  # type: ignore[arg-type]
    body, key = {"codes": [{"destination": "https://a.example"}]}, {"Idempotency-Key": "k"}
    mine = editor.post(f"{acme.url}/qr-codes/bulk", body, headers=key).json
    theirs = other.post(f"{globex.url}/qr-codes/bulk", body, headers=key).json
    assert mine["items"][0]["id"] != theirs["items"][0]["id"]


def test_listing_pages_searches_filters_and_sorts(
    make: Callable[..., dict[str, object]], editor: Api, acme: Tenant, clock: Clock
) -> None:
    for n, title in enumerate(["ÄPFEL", "Birnen 100%", "Citrus"]):
        clock.forward(seconds=1)
        make(title=title, tags=["fruit", f"t{n}"], active=n != 1, slug=f"code-{n}")

    def titles(**query: object) -> list[str]:
        answer = editor.get(f"{acme.url}/qr-codes", params=query)
        assert answer.status_code == 200, answer.text
        return [code["title"] for code in answer.json["items"]]

    assert titles() == ["Citrus", "Birnen 100%", "ÄPFEL", ""]
    assert titles(sort="created_at", per_page=2, page=2) == ["Birnen 100%", "Citrus"]
    assert titles(search="äpf") == ["ÄPFEL"]
    assert titles(search="100%") == ["Birnen 100%"]
    assert titles(search="%") == ["Birnen 100%"]
    assert titles(search="_") == []
    assert titles(search="CODE-2") == ["Citrus"]
    assert titles(search="acme.example/menu") == [""]
    assert titles(tag="fruit", sort="title") == ["Birnen 100%", "Citrus", "ÄPFEL"]
    assert titles(tag="t2") == ["Citrus"]
    assert titles(active="false") == ["Birnen 100%"]
    page = editor.get(f"{acme.url}/qr-codes", params={"per_page": 3, "page": 9}).json
    assert page == {"items": [], "page": 9, "per_page": 3, "total": 4, "pages": 2}


@pytest.mark.parametrize(
    "query",
    ["page=0", "page=-1", "page=x", "page=99999999999999999999", "per_page=0", "per_page=101",
     "sort=evil", "active=maybe", "tag=", "typo=1", "page=1&page=2", "search=%00",
     "page=1.5", "page=", "page=1e0", "per_page=10.0"],
)  # fmt: skip
def test_a_bad_query_is_refused_and_named(editor: Api, acme: Tenant, query: str) -> None:
    answer = editor.get(f"{acme.url}/qr-codes", query_string=query)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [query.partition("=")[0]]
