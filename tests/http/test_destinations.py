"""Where codes may lead, by every way in which a link comes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from core.app import Application
from tests.http.conftest import Api, Tenant

BAD = "https://shop.evil.example/a"


@pytest.fixture
def denied(tmp_path: Path) -> Path:
    path = tmp_path / "denied.txt"
    path.write_text("evil.example\n", encoding="utf-8")
    return path


@pytest.fixture
def sections(denied: Path) -> dict[str, dict[str, Any]]:
    enabled = [
        "segno", "png", "svg", "sqlite", "memory", "rolling", "user_agent", "log",
        "domain_list",
    ]  # fmt: skip
    return {
        "plugins": {"enabled": enabled},
        "plugin": {"domain_list": {"path": str(denied)}},
        "codes": {"denied_domains": ["böse.example"]},
    }


@pytest.mark.parametrize("link", [BAD, "https://www.böse.example/", "http://127.0.0.1:8000/"])
def test_every_way_in_is_guarded_and_names_the_field(owner: Api, acme: Tenant, link: str) -> None:
    good = {"destination": "https://a.example/"}
    content = {"content": {"type": "link", "url": link}}
    answers = {
        "destination": [
            owner.post(f"{acme.url}/qr-codes", {"destination": link}),
            owner.patch(acme.code_url, {"destination": link}),
        ],
        "codes[1].destination": [
            owner.post(f"{acme.url}/qr-codes/bulk", {"codes": [good, {"destination": link}]})
        ],
        "content.url": [
            owner.put(f"{acme.url}/qr-business", content),
            owner.post(f"{acme.url}/images", content),
        ],
        "content": [owner.put(f"{acme.url}/qr-business", {"content": link})],
    }
    for field, given in answers.items():
        for answer in given:
            assert answer.status_code == 422
            assert [error["field"] for error in answer.json["errors"]] == [field]
            assert "ask the operator of this service" in answer.json["errors"][0]["message"]
    assert owner.get(f"{acme.url}/qr-codes").json["total"] == 1
    assert owner.get(f"{acme.url}/qr-business").json["encoded"] == "https://acme.example"


def test_what_leads_there_already_goes_on_to_and_can_be_changed_otherwise(
    owner: Api, acme: Tenant, denied: Path
) -> None:
    denied.write_text("evil.example\nacme.example\n", encoding="utf-8")
    assert owner.get(f"/r/{acme.code.slug}").headers["Location"] == acme.code.destination
    assert owner.patch(acme.code_url, {"title": "Menu"}).status_code == 200
    again = owner.patch(acme.code_url, {"destination": acme.code.destination})
    assert again.status_code == 422


def test_a_check_that_fails_refuses_the_link_and_stores_nothing(
    app: Application, owner: Api, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    (check,) = app.services.destinations._checks.values()
    monkeypatch.setattr(type(check), "check", lambda *_: 1 // 0)
    answer = owner.post(f"{acme.url}/qr-codes", {"destination": "https://a.example/"})
    assert answer.status_code == 422
    (problem,) = answer.json["errors"]
    assert problem["field"] == "destination"
    assert "the check 'domain_list' of this service could not decide" in problem["message"]
    assert owner.get(f"{acme.url}/qr-codes").json["total"] == 1


@pytest.mark.parametrize("written", ["https://аpple.com/", "https://xn--pple-43d.com/"])
def test_the_host_is_shown_in_both_spellings(owner: Api, acme: Tenant, written: str) -> None:
    made = owner.post(f"{acme.url}/qr-codes", {"destination": written}).json
    assert made["destination"] == written
    assert made["destination_host"] == {"ascii": "xn--pple-43d.com", "unicode": "аpple.com"}
    listed = owner.get(f"{acme.url}/qr-codes").json["items"]
    assert made in listed


def test_line_breaks_that_got_past_every_check_reach_no_header(
    app: Application, anonymous: Api, acme: Tenant
) -> None:
    code = replace(acme.code, destination="https://a.example/\r\nSet-Cookie: a=b", revision=2)
    assert app.services.storage.codes.update(code, expected_revision=1)
    answer = anonymous.get(f"/r/{acme.code.slug}")
    assert answer.status_code == 410
    assert "Location" not in answer.headers
    assert "Set-Cookie" not in answer.headers
