"""The archive of all images, through the interface."""

from __future__ import annotations

import csv
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from core.app import Application
from core.domain.audit import OPERATOR
from core.domain.codes import CodeDraft
from core.services.archives import CATALOGUE
from tests.contract.reading import grey, read
from tests.http.conftest import Api, Tenant


@pytest.fixture
def sections() -> dict[str, dict[str, Any]]:
    return {"codes": {"max_archive": 40}, "images": {"min_size": 50}}


@pytest.fixture
def url(acme: Tenant) -> str:
    return f"{acme.url}/qr-codes/images.zip"


def opened(data: bytes) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    return archive


def catalogue(archive: zipfile.ZipFile) -> list[dict[str, str]]:
    text = archive.read(CATALOGUE).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def add(app: Application, tenant: Tenant, *drafts: CodeDraft) -> None:
    app.services.codes.create_many(tenant.id, drafts, None, by=OPERATOR)


def draft(slug: str, **values: Any) -> CodeDraft:
    return CodeDraft(destination="https://example.com/", slug=slug, **values)


def test_an_archive_holds_an_image_of_each_code_and_a_catalogue(
    app: Application, owner: Api, acme: Tenant, url: str
) -> None:
    add(app, acme, *(draft(f"table-{n}", title=f"Tisch {n} – Fenster") for n in range(35)))
    answer = owner.get(url, params={"size": "200"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="qr-codes.zip"'
    archive = opened(answer.content)
    rows = catalogue(archive)
    assert archive.namelist() == [row["file"] for row in rows] + [CATALOGUE]
    assert {row["slug"] for row in rows} == {"acme-menu", *(f"table-{n}" for n in range(35))}
    for row in rows:
        image = grey(archive.read(row["file"]))
        assert image.size == (200, 200)
        assert read(image).text == row["short_url"]
        assert row["problem"] == ""
    titles = {row["slug"]: row["title"] for row in rows}
    assert titles == {"acme-menu": "", **{f"table-{n}": f"Tisch {n} – Fenster" for n in range(35)}}


def test_files_are_named_by_slug_and_format(owner: Api, url: str) -> None:
    for image_format, name in (("svg", "acme-menu.svg"), ("text", "acme-menu.txt")):
        archive = opened(owner.get(url, params={"format": image_format}).content)
        assert archive.namelist() == [name, CATALOGUE]
        assert archive.getinfo(name).compress_type == zipfile.ZIP_DEFLATED


def test_an_image_of_the_archive_is_the_image_of_the_code(
    owner: Api, acme: Tenant, url: str
) -> None:
    look = {"size": "240", "color": "#123456", "shape": "rounded", "margin": "3"}
    archive = opened(owner.get(url, params=look).content)
    alone = owner.get(f"{acme.code_url}/image", params=look).content
    assert archive.read("acme-menu.png") == alone


def test_each_code_has_its_own_style(app: Application, owner: Api, acme: Tenant, url: str) -> None:
    style = owner.post(f"{acme.url}/styles", {"name": "Sea", "color": "#004466"}).json["id"]
    plain = opened(owner.get(url).content).read("acme-menu.png")
    assert owner.patch(acme.code_url, {"style": style}).status_code == 200
    add(app, acme, draft("plain-one"))
    archive = opened(owner.get(url).content)
    assert archive.read("acme-menu.png") != plain
    assert archive.read("acme-menu.png") == owner.get(f"{acme.code_url}/image").content
    assert grey(archive.read("plain-one.png")).getextrema() == (0, 255)


def test_a_tag_chooses_codes(app: Application, owner: Api, acme: Tenant, url: str) -> None:
    add(app, acme, draft("inside", tags=("Room",)), draft("outside", tags=("Garden", "Sun")))
    (row,) = catalogue(opened(owner.get(url, params={"tag": "garden"}).content))
    assert (row["slug"], row["tags"]) == ("outside", "Garden, Sun")
    (error,) = owner.get(url, params={"tag": "cellar"}).json["errors"]
    assert (error["field"], "'cellar'" in error["message"]) == ("tag", True)


def test_a_code_that_cannot_be_drawn_has_the_reason_in_the_catalogue(
    app: Application, owner: Api, acme: Tenant, url: str
) -> None:
    add(app, acme, draft("x" * 64))
    # With a margin of 20 the short slug's symbol still fits, the long one's does not.
    archive = opened(owner.get(url, params={"size": "70", "margin": "20"}).content)
    drawn, refused = sorted(catalogue(archive), key=lambda row: row["slug"])
    assert drawn["file"] == "acme-menu.png"
    assert (refused["slug"], refused["file"]) == ("x" * 64, "")
    assert "smallest size that works" in refused["problem"]
    assert archive.namelist() == ["acme-menu.png", CATALOGUE]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"format": "gif"}, "format"),
        ({"size": "49"}, "size"),
        ({"style": "none-such"}, "style"),
        ({"color": "#eeeeee"}, "color"),
        ({"symbol": "micro"}, None),
        ({"tag": ""}, "tag"),
        ({"page": "2"}, "page"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    owner: Api, url: str, query: dict[str, str], field: str | None
) -> None:
    answer = owner.get(url, params=query)
    assert answer.status_code == 422
    if field is not None:
        assert [error["field"] for error in answer.json["errors"]] == [field]


def test_too_many_codes_are_refused_and_a_tag_is_the_way_out(
    app: Application, owner: Api, acme: Tenant, url: str
) -> None:
    add(app, acme, *(draft(f"n{n:03}", tags=("some",) if n < 3 else ()) for n in range(40)))
    answer = owner.get(url)
    assert answer.status_code == 422
    (error,) = answer.json["errors"]
    assert error["field"] == "tag"
    assert "41 codes" in error["message"]
    assert "codes.max_archive" in error["message"]
    assert owner.get(url, params={"tag": "some"}).status_code == 200


def test_no_cell_is_a_formula_and_no_file_is_a_device(
    app: Application, owner: Api, acme: Tenant, url: str
) -> None:
    add(app, acme, draft("con", title='=HYPERLINK("https://evil.example")', tags=("-1", "b")))
    archive = opened(owner.get(url).content)
    row = next(row for row in catalogue(archive) if row["slug"] == "con")
    assert row["file"] == "con~.png"
    add(app, acme, draft("-rf"))
    archive = opened(owner.get(url).content)
    # Named as it is in the archive, and no option of any command.
    assert "~-rf.png" in {row["file"] for row in catalogue(archive)} & set(archive.namelist())
    assert row["title"].startswith("'=")
    assert row["tags"] == "'-1, b"


def test_archives_take_turns_at_drawing(
    app: Application, owner: Api, acme: Tenant, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(app, acme, *(CodeDraft(destination="https://a.example") for _ in range(35)))
    pictures, drawing, most = app.services.images.pictures, 0, 0

    def counted(*arguments: Any) -> Any:
        nonlocal drawing, most
        drawing += 1
        most = max(most, drawing)
        try:
            return pictures(*arguments)
        finally:
            drawing -= 1

    monkeypatch.setattr(app.services.images, "pictures", counted)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: owner.get(url, params={"shape": "dot"}), range(4)))
    assert [len(opened(answer.content).namelist()) for answer in answers] == [37] * 4
    assert most == 1


def test_nothing_of_an_archive_stays_in_the_cache(
    app: Application, owner: Api, acme: Tenant, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    monkeypatch.setattr(app.services.cache, "set", lambda key, *_: kept.append(key))
    assert owner.get(url).status_code == 200
    assert owner.get(url, params={"color": "0a3d62", "shape": "dot"}).status_code == 200
    assert owner.get(url, params={"color": "0a3d62", "format": "svg"}).status_code == 200
    assert owner.get(url.replace("images.zip", "sheet.pdf"), params={"color": "0a3d62"})
    assert kept == []
    assert owner.get(f"{acme.code_url}/image").status_code == 200
    assert len(kept) == 1
