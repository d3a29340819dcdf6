"""The pages that links in letters lead to: they run what they bring along, and nothing else."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

import pytest

from core.app import Application
from core.http.routes import ROUTES
from core.services import invitations, password_resets
from tests.http.conftest import Api

PAGES = [f"/{invitations.PAGE}", f"/{password_resets.PAGE}"]


def policy(headers: dict[str, str]) -> dict[str, str]:
    parts = headers["Content-Security-Policy"].split("; ")
    return dict(part.split(" ", 1) for part in parts)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_allows_its_own_script_and_style_and_nothing_else(anonymous: Api, path: str) -> None:
    answer = anonymous.get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    rules = policy(answer.headers)
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert rules.pop(rule) == f"'sha256-{digest}'"
    assert rules.pop("connect-src") == "'self'"
    assert set(rules) == {"default-src", "base-uri", "form-action", "frame-ancestors"}
    assert set(rules.values()) == {"'none'"}
    assert re.search(r"\s(on\w+|src|href|style)=", answer.text) is None
    assert "innerHTML" not in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_no_page_is_kept_or_tells_where_one_came_from(anonymous: Api, path: str) -> None:
    answer = anonymous.get(path)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_sends_what_the_interface_takes(app: Application, anonymous: Api, path: str) -> None:
    text = anonymous.get(path).text
    (to,) = re.findall(r'data-to="([^"]+)"', text)
    (body,) = [r.resource.bodies["POST"] for r in ROUTES if r.path == f"/{to}"]
    fields = {"token", *re.findall(r'<input name="(\w+)"', text)}
    assert fields <= set(body.__struct_fields__)
    answer = anonymous.post(f"/{to}", dict.fromkeys(fields, "x" * 20))
    assert answer.status_code == 404
    assert answer.json["detail"].startswith("This link is wrong")
