"""Sheets of labels, through the interface."""

from __future__ import annotations

from typing import Any

import pypdfium2
import pytest
import zxingcpp
from falcon.testing import Result
from PIL import Image

from core.app import Application
from core.domain.audit import OPERATOR
from core.domain.codes import CodeDraft
from core.domain.sheets import MM_PER_INCH, PRESETS
from tests.http.conftest import Api, Tenant

DPI = 300


@pytest.fixture
def sections() -> dict[str, dict[str, Any]]:
    return {"codes": {"max_labels": 60}}


@pytest.fixture
def url(acme: Tenant) -> str:
    return f"{acme.url}/qr-codes/sheet.pdf"


def add(app: Application, tenant: Tenant, *slugs: str, tags: tuple[str, ...] = ()) -> None:
    drafts = [CodeDraft("https://example.com/", slug=slug, tags=tags) for slug in slugs]
    app.services.codes.create_many(tenant.id, drafts, None, by=OPERATOR)


def pages(answer: Result) -> list[Image.Image]:
    assert answer.status_code == 200, answer.text
    document = pypdfium2.PdfDocument(answer.content)
    try:
        return [page.render(scale=DPI / 72).to_pil().convert("L") for page in document]
    finally:
        document.close()


def contents(page: Image.Image) -> list[str]:
    return sorted(code.text for code in zxingcpp.read_barcodes(page))


def problems(answer: Result) -> dict[str, str]:
    assert answer.status_code == 422
    return {error["field"]: error["message"] for error in answer.json["errors"]}


def test_a_sheet_has_a_label_for_each_code(
    app: Application, owner: Api, acme: Tenant, url: str
) -> None:
    add(app, acme, *(f"seat-{n:02}" for n in range(24)))
    answer = owner.get(url)
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"] == 'attachment; filename="qr-codes.pdf"'
    first, second = pages(answer)
    found = contents(first) + contents(second)
    assert len(contents(first)) == 21
    links = [f"HTTP://QZ.TEST/R/SEAT-{n:02}" for n in range(24)]
    assert sorted(found) == ["HTTP://QZ.TEST/R/ACME-MENU", *links]


@pytest.mark.parametrize("name", ["L7160", "5160"])
def test_a_preset_has_its_page(owner: Api, url: str, name: str) -> None:
    (page,) = pages(owner.get(url, params={"preset": name.lower()}))
    preset = PRESETS[name]
    width, height = (side / DPI * MM_PER_INCH for side in page.size)
    assert width == pytest.approx(preset.page_width_mm, abs=0.1)
    assert height == pytest.approx(preset.page_height_mm, abs=0.1)


def test_one_code_is_printed_many_times(
    app: Application, owner: Api, acme: Tenant, url: str
) -> None:
    add(app, acme, "other")
    query = {"code": str(acme.code.id), "copies": "21", "caption": "slug"}
    (page,) = pages(owner.get(url, params=query))
    assert contents(page) == ["HTTP://QZ.TEST/R/ACME-MENU"] * 21


def test_a_caption_is_lettered_or_refused(
    app: Application, owner: Api, acme: Tenant, url: str
) -> None:
    titles = {"blank": "   ", "east": "Tokyo 東京"}
    drafts = [
        CodeDraft("https://example.com/", slug=slug, title=title, tags=(slug,))
        for slug, title in titles.items()
    ]
    app.services.codes.create_many(acme.id, drafts, None, by=OPERATOR)
    query = {"caption": "title"}
    found = problems(owner.get(url, params=query | {"tag": "east"}))
    assert "東" in found["caption"]
    assert "caption=slug" in found["caption"]
    assert owner.get(url, params=query | {"tag": "east", "caption": "slug"}).status_code == 200
    # A title that nobody can see is none.
    titled, named = (
        owner.get(url, params=query | {"tag": "blank", "caption": caption}).content
        for caption in ("title", "slug")
    )
    assert titled == named


def test_each_code_that_cannot_be_printed_is_named(
    app: Application, owner: Api, acme: Tenant, url: str
) -> None:
    drafts = [
        CodeDraft("https://example.com/", slug="east", title="Tokyo 東京"),
        CodeDraft("https://example.com/", slug="good", title="Größe"),
        CodeDraft("https://example.com/", slug="pizza", title="Menu \N{SLICE OF PIZZA}"),
        CodeDraft("https://example.com/", slug="long-" * 10 + "one"),
    ]
    app.services.codes.create_many(acme.id, drafts, None, by=OPERATOR)
    query = {"caption": "title", "rows": "50", "columns": "12"}
    answer = owner.get(url, params=query)
    assert answer.status_code == 422
    told = [(error["field"], error["message"]) for error in answer.json["errors"]]
    named = {(field, message.partition(":")[0]) for field, message in told}
    assert {("caption", "east"), ("caption", "pizza")} <= named
    assert ("preset", "long-" * 10 + "one") in named
    assert not any(message.startswith("good: cap") for _, message in told)


def test_a_tag_and_a_grid_of_ones_own(app: Application, owner: Api, acme: Tenant, url: str) -> None:
    add(app, acme, "one", "two", tags=("Door",))
    query = {"tag": "door", "page": "100x150", "rows": "2", "columns": "1", "outline": "true"}
    (page,) = pages(owner.get(url, params=query))
    assert contents(page) == ["HTTP://QZ.TEST/R/ONE", "HTTP://QZ.TEST/R/TWO"]
    width, height = (side / DPI * MM_PER_INCH for side in page.size)
    assert (width, height) == (pytest.approx(100, abs=0.1), pytest.approx(150, abs=0.1))


def test_labels_have_the_style_of_their_code(owner: Api, acme: Tenant, url: str) -> None:
    plain = owner.get(url).content
    style = owner.post(f"{acme.url}/styles", {"name": "Sea", "color": "#004466"}).json["id"]
    asked = owner.get(url, params={"style": style}).content
    assert asked != plain
    assert owner.patch(acme.code_url, {"style": style}).status_code == 200
    assert owner.get(url).content == asked
    assert owner.get(url, params={"style": "plain"}).content == plain


def test_the_same_request_gives_the_same_bytes(owner: Api, url: str) -> None:
    assert owner.get(url).content == owner.get(url).content


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"preset": "L9999"}, "preset"),
        ({"page": "a4", "columns": "2"}, "rows"),
        ({"rows": "0", "columns": "1"}, "rows"),
        ({"rows": "2", "columns": "2", "label_width_mm": "150"}, "columns"),
        ({"preset": "L7160", "skip": "21"}, "skip"),
        ({"caption": "poem"}, "caption"),
        ({"code": "menu"}, "code"),
        ({"copies": "0"}, "copies"),
        ({"style": "none-such"}, "style"),
        ({"size": "300"}, "size"),
    ],
)
def test_what_cannot_be_is_refused(owner: Api, url: str, query: dict[str, str], field: str) -> None:
    assert field in problems(owner.get(url, params=query))


def test_too_many_labels_are_refused(app: Application, owner: Api, acme: Tenant, url: str) -> None:
    add(app, acme, *(f"n-{n}" for n in range(60)), tags=("all",))
    found = problems(owner.get(url))
    assert "codes.max_labels" in found["tag"]
    found = problems(owner.get(url, params={"tag": "all", "copies": "2"}))
    assert "2 copies of 60 codes" in found["copies"]
    assert "no code has the tag 'al'" in problems(owner.get(url, params={"tag": "al"}))["tag"]
    code = {"code": str(acme.code.id)}
    assert "copies" in problems(owner.get(url, params=code | {"copies": "61"}))
    assert owner.get(url, params=code | {"copies": "60"}).status_code == 200


def test_labels_too_small_to_be_scanned_are_refused(owner: Api, url: str) -> None:
    found = problems(owner.get(url, params={"rows": "50", "columns": "35"}))
    assert "acme-menu" in found["preset"]
    assert "0.2 mm" in found["preset"]


def test_a_code_and_a_tag_are_not_taken_together(owner: Api, acme: Tenant, url: str) -> None:
    query = {"code": str(acme.code.id), "tag": "door"}
    assert "beside a code" in problems(owner.get(url, params=query))["tag"]


def test_a_code_of_others_is_not_there(owner: Api, globex: Tenant, url: str) -> None:
    assert owner.get(url, params={"code": str(globex.code.id)}).status_code == 404


def test_a_format_that_nothing_prints_is_not_there(owner: Api, acme: Tenant) -> None:
    answer = owner.get(f"{acme.url}/qr-codes/sheet.docx")
    assert answer.status_code == 404
    assert "pdf" in answer.json["detail"]


def test_a_sheet_fits_whatever_the_page(owner: Api, url: str) -> None:
    query = {"page": "letter", "rows": "3", "columns": "2", "caption": "short_url"}
    (page,) = pages(owner.get(url, params=query))
    assert contents(page) == ["HTTP://QZ.TEST/R/ACME-MENU"]
