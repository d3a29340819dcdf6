"""Style presets over HTTP: what is kept, what is refused, and what codes have to do with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from core.app import Application
from core.domain.accounts import Role
from core.domain.audit import OPERATOR
from core.domain.images import ImageOptions
from core.domain.logos import Logo, LogoInfo, LogoType
from core.domain.looks import PLAIN, FinderShape, Look, LookOptions, ModuleShape
from core.errors import InvalidFields, NotFound
from core.services.meters import Meters, Namespace
from core.services.recent import Recall
from core.services.styles import Styles
from tests.http.conftest import START, Api, Clock, Tenant

ANCHOR = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" height="24">'
    b'<path d="M4 4h16v16z"/></svg>'
)
PLAIN_STYLE = {
    "default": False,
    "color": "#000000",
    "background": "#ffffff",
    "shape": "square",
    "finder_shape": "square",
    "logo": None,
    "logo_size": 20,
    "caption": "",
}


@pytest.fixture
def admin(app: Application, acme: Tenant) -> Api:
    return Api(app, {"Cookie": acme.cookies[Role.ADMIN]})


@pytest.fixture
def url(app: Application, acme: Tenant) -> str:
    app.services.styles.delete(acme.id, acme.style_id, by=OPERATOR)
    return f"{acme.url}/styles"


def add_logo(app: Application, tenant: Tenant) -> Logo:
    info = LogoInfo(uuid4(), tenant.id, "Anchor", LogoType.SVG, 24, 24, START)
    logo = Logo(info, ANCHOR)
    app.services.storage.logos.add(logo)
    return logo


def fields(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [error["field"] for error in answer.json["errors"]]


def test_a_style_is_made_listed_told_changed_and_deleted(
    admin: Api, url: str, clock: Clock
) -> None:
    made = admin.post(url, {"name": "Dark", "color": "0A3D62", "caption": "Menu"})
    assert made.status_code == 201
    style = made.json
    assert style == {
        **PLAIN_STYLE,
        "id": style["id"],
        "name": "Dark",
        "color": "#0a3d62",
        "caption": "Menu",
        "created_at": "2026-05-06T12:00:00Z",
        "updated_at": "2026-05-06T12:00:00Z",
    }
    own = f"{url}/{style['id']}"
    assert made.headers["Location"] == f"http://qz.test{own}"
    assert admin.get(own).json == style
    assert admin.get(url).json == {"items": [style]}

    clock.forward(minutes=1)
    sent = {"shape": "dot", "background": "Transparent", "default": True, "caption": ""}
    changed = {**style, **sent, "background": "transparent", "updated_at": "2026-05-06T12:01:00Z"}
    assert admin.patch(own, sent).json == changed
    clock.forward(minutes=1)
    assert admin.patch(own, {}).json == changed
    back = {name: changed[name] for name in (*PLAIN_STYLE, "name")}
    assert admin.patch(own, back).json == changed
    assert admin.get(own).json == changed

    assert admin.delete(own).status_code == 204
    assert admin.get(own).status_code == admin.delete(own).status_code == 404
    assert admin.patch(own, {"caption": "x"}).status_code == 404


def test_every_bad_field_is_named(admin: Api, url: str) -> None:
    answer = admin.post(
        url,
        {
            "name": " padded",
            "color": "blue",
            "background": "#12",
            "shape": "star",
            "logo": "x",
            "logo_size": 101,
            "caption": "x" * 41,
            "font": "serif",
        },
    )
    assert sorted(fields(answer)) == [
        "background", "caption", "color", "font", "logo", "logo_size", "name", "shape",
    ]  # fmt: skip
    assert fields(admin.post(url, {})) == ["name"]
    assert admin.get(url).json["items"] == []


def test_a_name_is_taken_once(admin: Api, url: str) -> None:
    first = admin.post(url, {"name": "Dark"}).json
    other = admin.post(url, {"name": "Light"}).json
    taken = admin.post(url, {"name": "DARK"})
    assert taken.status_code == 409
    assert "'DARK'" in taken.json["detail"]
    assert admin.patch(f"{url}/{other['id']}", {"name": "dark"}).status_code == 409
    assert admin.patch(f"{url}/{first['id']}", {"name": "dark"}).json["name"] == "dark"


def test_a_new_default_takes_the_place_of_the_old_one(admin: Api, url: str) -> None:
    first = admin.post(url, {"name": "a", "default": True}).json
    second = admin.post(url, {"name": "b"}).json
    assert admin.patch(f"{url}/{second['id']}", {"default": True}).json["default"] is True
    assert [s["default"] for s in admin.get(url).json["items"]] == [False, True]
    admin.patch(f"{url}/{second['id']}", {"default": False})
    assert [s["default"] for s in admin.get(url).json["items"]] == [False, False]
    assert admin.get(f"{url}/{first['id']}").json["default"] is False


def test_a_logo_has_to_be_there(app: Application, admin: Api, url: str, globex: Tenant) -> None:
    foreign = add_logo(app, globex)
    for logo in (str(uuid4()), str(foreign.info.id)):
        assert fields(admin.post(url, {"name": "x", "logo": logo})) == ["logo"]


def test_a_logo_comes_and_goes(app: Application, admin: Api, url: str, acme: Tenant) -> None:
    logo = add_logo(app, acme)
    style = admin.post(url, {"name": "x", "logo": str(logo.info.id), "logo_size": 25}).json
    assert style["logo"] == str(logo.info.id)
    own = f"{url}/{style['id']}"
    refused = admin.delete(f"{acme.url}/logos/{logo.info.id}")
    assert refused.status_code == 409
    assert "'x'" in refused.json["detail"]
    for none in ("none", None):
        assert admin.patch(own, {"logo": none}).json["logo"] is None
    assert admin.delete(f"{acme.url}/logos/{logo.info.id}").status_code == 204


class TestLimited:
    @pytest.fixture
    def sections(self) -> dict[str, dict[str, Any]]:
        return {"images": {"max_styles": 1}}

    def test_there_are_only_so_many(self, admin: Api, url: str) -> None:
        assert admin.post(url, {"name": "a"}).status_code == 201
        refused = admin.post(url, {"name": "b"})
        assert refused.status_code == 409
        assert "images.max_styles" in refused.json["detail"]


def test_a_code_takes_a_style_and_gives_it_back(
    admin: Api, editor: Api, url: str, acme: Tenant, globex: Tenant
) -> None:
    style = admin.post(url, {"name": "Dark"}).json["id"]
    codes = f"{acme.url}/qr-codes"
    made = editor.post(codes, {"destination": "https://example.org", "style": style})
    assert made.status_code == 201
    assert made.json["style"] == style
    assert editor.patch(acme.code_url, {"style": style}).json["style"] == style
    assert editor.get(acme.code_url).json["style"] == style

    refused = admin.delete(f"{url}/{style}")
    assert refused.status_code == 409
    assert "2 codes" in refused.json["detail"]

    assert editor.patch(acme.code_url, {"style": None}).json["style"] is None
    editor.delete(f"{codes}/{made.json['id']}")
    assert admin.delete(f"{url}/{style}").status_code == 204


def test_a_code_cannot_take_a_style_that_is_not_there(
    admin: Api, editor: Api, url: str, app: Application, acme: Tenant, globex: Tenant
) -> None:
    other = Api(app, {"Cookie": globex.cookies[Role.OWNER]})
    foreign = other.post(f"{globex.url}/styles", {"name": "x"}).json["id"]
    known = admin.post(url, {"name": "x"}).json["id"]
    codes = f"{acme.url}/qr-codes"
    link = {"destination": "https://example.org"}
    for style in (str(uuid4()), foreign, "x"):
        assert fields(editor.post(codes, {**link, "style": style})) == ["style"]
        assert fields(editor.patch(acme.code_url, {"style": style})) == ["style"]
    many = [{**link, "style": style} for style in (known, foreign, None, str(uuid4()))]
    bad = fields(editor.post(f"{codes}/bulk", {"codes": many}))
    assert bad == ["codes[1].style", "codes[3].style"]
    made = editor.post(f"{codes}/bulk", {"codes": [many[0], many[2]]})
    assert [code["style"] for code in made.json["items"]] == [known, None]


# What look an image has


class Proof:
    """Notes what is to be proven, and finds fault with captions."""

    def __init__(self) -> None:
        self.looks: list[tuple[Look, Logo | None]] = []

    def __call__(self, organization_id: Any, look: Look, logo: Logo | None) -> None:
        self.looks.append((look, logo))
        if look.caption == "unreadable":
            raise InvalidFields.of("caption", "cannot be scanned")


@pytest.fixture
def proof() -> Proof:
    return Proof()


def plans() -> Recall[Any, Any]:
    return Recall(0.8, 100, Meters(Path("/nowhere"))[Namespace.CODE])


@pytest.fixture
def styles(app: Application, clock: Clock, proof: Proof) -> Styles:
    return Styles(
        app.services.storage, app.services.audit, app.settings.images, clock, proof, plans()
    )


def test_a_look_is_proven_before_it_is_kept(
    app: Application, styles: Styles, proof: Proof, acme: Tenant
) -> None:
    logo = add_logo(app, acme)
    style = styles.create(
        acme.id, styles.draft({"name": "a", "logo": str(logo.info.id)}), by=OPERATOR
    )
    assert proof.looks == [(Look(logo=logo.info.id), logo)]
    with pytest.raises(InvalidFields):
        styles.create(acme.id, styles.draft({"name": "b", "caption": "unreadable"}), by=OPERATOR)
    with pytest.raises(InvalidFields):
        styles.change(acme.id, style.id, styles.changes({"caption": "unreadable"}), by=OPERATOR)
    assert style in styles.list(acme.id)
    assert len(styles.list(acme.id)) == 2  # This one and the seeded one.

    before = len(proof.looks)
    styles.change(acme.id, style.id, styles.changes({"name": "c"}), by=OPERATOR)
    assert len(proof.looks) == before


def test_the_most_particular_style_decides(styles: Styles, acme: Tenant) -> None:
    def resolved(style: str | None, code_style: Any, **options: Any) -> Look:
        look, logo = styles.resolve(acme.id, ImageOptions(**options), style, code_style)
        assert logo is None
        return look

    assert resolved(None, None) == PLAIN
    named = styles.create(acme.id, styles.draft({"name": "named", "color": "111"}), by=OPERATOR)
    codes = styles.create(acme.id, styles.draft({"name": "code's", "color": "222"}), by=OPERATOR)
    assert resolved(None, None) == PLAIN
    default = styles.create(
        acme.id, styles.draft({"name": "default", "color": "333", "default": True}), by=OPERATOR
    )
    assert resolved(None, None) == default.look
    assert resolved(None, codes.id) == codes.look
    assert resolved(str(named.id), codes.id) == named.look
    assert resolved("plain", codes.id) == PLAIN
    assert resolved(None, codes.id, shape=ModuleShape.DOT, background="fff") == Look(
        color="#222222", shape=ModuleShape.DOT
    )


def test_what_is_unknown_is_named_with_every_other_mistake(
    styles: Styles, acme: Tenant, globex: Tenant
) -> None:
    foreign = styles.create(globex.id, styles.draft({"name": "x"}), by=OPERATOR)
    for style in (str(uuid4()), "dark", str(foreign.id)):
        options = LookOptions(color="blue", logo="x")
        with pytest.raises(InvalidFields) as error:
            styles.resolve(acme.id, options, style, None)
        assert [p.field for p in error.value.problems] == ["style", "color", "logo"]
    with pytest.raises(InvalidFields) as error:
        styles.resolve(acme.id, LookOptions(logo=str(uuid4())), None, None)
    assert [p.field for p in error.value.problems] == ["logo"]


def test_a_logo_is_read_only_where_the_look_has_one(
    app: Application, styles: Styles, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    logo = add_logo(app, acme)
    style = styles.create(
        acme.id, styles.draft({"name": "x", "logo": str(logo.info.id)}), by=OPERATOR
    )
    own = LookOptions(logo=str(logo.info.id))
    assert styles.resolve(acme.id, LookOptions(), None, style.id) == (style.look, logo)
    assert styles.resolve(acme.id, own, None, None) == (Look(logo=logo.info.id), logo)
    assert styles.signed(acme.id, own) == (Look(logo=logo.info.id), logo)

    monkeypatch.setattr(app.services.storage.logos, "get", lambda *_: pytest.fail("read"))
    assert styles.resolve(acme.id, LookOptions(logo="none"), None, style.id) == (PLAIN, None)


def test_a_signed_look_needs_its_logo_and_no_permission(
    app: Application, acme: Tenant, clock: Clock, proof: Proof
) -> None:
    strict = type(app.settings.images)(ad_hoc_styles=False)
    styles = Styles(app.services.storage, app.services.audit, strict, clock, proof, plans())
    options = LookOptions(color="#123456", finder_shape=FinderShape.CIRCLE)
    look = Look(color="#123456", finder_shape=FinderShape.CIRCLE)
    assert styles.signed(acme.id, options) == (look, None)
    with pytest.raises(NotFound):
        styles.signed(acme.id, LookOptions(logo=str(uuid4())))


def test_where_only_presets_are_allowed_single_fields_are_not(
    app: Application, acme: Tenant, clock: Clock, proof: Proof
) -> None:
    strict = type(app.settings.images)(ad_hoc_styles=False)
    styles = Styles(app.services.storage, app.services.audit, strict, clock, proof, plans())
    style = styles.create(acme.id, styles.draft({"name": "x", "color": "123"}), by=OPERATOR)
    assert styles.resolve(acme.id, ImageOptions(), str(style.id), None) == (style.look, None)
    options = LookOptions(color="000000", logo="none", caption="")
    with pytest.raises(InvalidFields) as error:
        styles.resolve(acme.id, options, str(style.id), None)
    assert [p.field for p in error.value.problems] == ["color", "logo", "caption"]
    assert all("style=" in p.message for p in error.value.problems)
