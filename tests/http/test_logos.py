"""Logos over HTTP: uploading, looking at them, and the limits."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from falcon.testing import Result
from PIL import Image

from core.app import Application
from core.domain.accounts import Role
from core.domain.audit import OPERATOR
from tests.http.conftest import Api, Tenant

SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="48" height="24" class="x">'
    b'<title>Anchor</title><path d="M0 0h9v9z" data-x="1"/></svg>'
)
CLEAN = (
    b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    b' viewBox="0 0 48 24" width="48" height="24"><path d="M0 0h9v9z"/></svg>'
)


def png(width: int = 32, height: int = 32) -> bytes:
    file = BytesIO()
    Image.effect_noise((width, height), 50).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def admin(app: Application, acme: Tenant) -> Api:
    return Api(app, {"Cookie": acme.cookies[Role.ADMIN]})


@pytest.fixture
def url(app: Application, acme: Tenant) -> str:
    app.services.logos.delete(acme.id, acme.logo_id, by=OPERATOR)
    return f"{acme.url}/logos"


def upload(api: Api, url: str, data: bytes, kind: str = "image/svg+xml", **query: str) -> Result:
    params = {"name": "Anchor"} | query
    return api("POST", url, body=data, params=params, headers={"Content-Type": kind})


def test_a_logo_is_taken_in_listed_shown_and_deleted(admin: Api, url: str) -> None:
    made = upload(admin, url, SVG)
    assert made.status_code == 201
    logo = made.json
    assert logo == {
        "id": logo["id"],
        "name": "Anchor",
        "media_type": "image/svg+xml",
        "width": 48.0,
        "height": 24.0,
        "created_at": "2026-05-06T12:00:00Z",
    }
    own = f"{url}/{logo['id']}"
    assert made.headers["Location"] == f"http://qz.test{own}"
    assert admin.get(url).json == {"items": [logo]}
    assert admin.get(own).content == CLEAN

    assert admin.delete(own).status_code == 204
    assert admin.get(own).status_code == admin.delete(own).status_code == 404
    assert admin.get(url).json == {"items": []}


def test_a_png_comes_back_as_a_png(admin: Api, url: str) -> None:
    made = upload(admin, url, png(40, 20), "image/png; charset=x", name="Ménü 🍵")
    assert (made.json["width"], made.json["height"]) == (40, 20)
    assert made.json["name"] == "Ménü 🍵"
    shown = admin.get(f"{url}/{made.json['id']}")
    assert shown.headers["Content-Type"] == "image/png"
    assert Image.open(BytesIO(shown.content)).size == (40, 20)


def test_a_picture_is_sent_as_one_that_never_changes_and_does_nothing(
    admin: Api, url: str, app: Application, acme: Tenant
) -> None:
    own = f"{url}/{upload(admin, url, SVG).json['id']}"
    member = Api(app, {"Cookie": acme.cookies[Role.MEMBER]})
    shown = member.get(own)
    assert shown.headers["Content-Type"] == "image/svg+xml"
    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    assert shown.headers["Content-Security-Policy"] == policy
    assert shown.headers["Cache-Control"] == "private, max-age=31536000, immutable"

    again = member.get(own, headers={"If-None-Match": shown.headers["ETag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["ETag"] == shown.headers["ETag"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (SVG.replace(b"<title>", b"<script>").replace(b"</title>", b"</script>"), "image/svg+xml"),
        (SVG, "image/png"),
        (png(), "image/svg+xml"),
        (png()[:-5], "image/png"),
        (b"", "image/png"),
        (b"", "image/svg+xml"),
    ],
)
def test_what_is_not_safe_is_refused_with_the_reason(
    admin: Api, url: str, data: bytes, kind: str
) -> None:
    refused = upload(admin, url, data, kind)
    assert refused.status_code == 422, refused.text
    (error,) = refused.json["errors"]
    assert error["field"] == "body"
    assert len(error["message"]) > 10
    assert admin.get(url).json["items"] == []


@pytest.mark.parametrize("kind", ["image/jpeg", "text/html", "application/json", ""])
def test_other_types_are_not_taken(admin: Api, url: str, kind: str) -> None:
    refused = upload(admin, url, SVG, kind)
    assert refused.status_code == 415
    assert refused.headers["Accept"] == "image/png, image/svg+xml"


def test_a_name_is_needed(admin: Api, url: str) -> None:
    kind = {"Content-Type": "image/svg+xml"}
    for params in ({}, {"name": "x" * 101}, {"name": " x"}):
        refused = admin("POST", url, body=SVG, params=params, headers=kind)
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json["errors"]] == ["name"]


class TestLimited:
    @pytest.fixture
    def sections(self) -> dict[str, dict[str, Any]]:
        return {"images": {"max_logos": 1, "max_logo_bytes": 5000, "max_logo_pixels": 1024}}

    def test_there_are_only_so_many(self, admin: Api, url: str) -> None:
        assert upload(admin, url, SVG).status_code == 201
        refused = upload(admin, url, SVG)
        assert refused.status_code == 409
        assert "images.max_logos" in refused.json["detail"]

    def test_a_body_has_only_so_many_bytes(self, admin: Api, url: str) -> None:
        refused = upload(admin, url, SVG + b" " * 5000)
        assert refused.status_code == 413
        assert "images.max_logo_bytes" in refused.json["detail"]

    def test_a_picture_has_only_so_many_pixels(self, admin: Api, url: str) -> None:
        assert upload(admin, url, png(32, 33), "image/png").status_code == 422
        assert upload(admin, url, png(32, 32), "image/png").status_code == 201


def test_a_compressed_body_is_not_taken(admin: Api, url: str) -> None:
    headers = {"Content-Type": "image/svg+xml", "Content-Encoding": "gzip"}
    refused = admin("POST", url, body=SVG, params={"name": "x"}, headers=headers)
    assert refused.status_code == 415
