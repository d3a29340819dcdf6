"""Images over HTTP: what is drawn, entity tags, conditional requests and limits."""

from __future__ import annotations

import io
import re

import msgspec
import pytest
import zxingcpp
from falcon.testing import Result
from PIL import Image

from core.app import Application, create_app
from core.domain.accounts import Role
from core.domain.images import ImageOptions
from core.domain.looks import Look
from core.errors import InvalidFields
from core.settings import ImagesSettings
from tests.http.conftest import Api, Tenant


@pytest.fixture
def member(app: Application, acme: Tenant) -> Api:
    return Api(app, {"Cookie": acme.cookies[Role.MEMBER]})


def decoded(answer: Result) -> str:
    assert answer.status_code == 200, answer.text
    found = zxingcpp.read_barcodes(Image.open(io.BytesIO(answer.content)).convert("L"))
    assert len(found) == 1
    return found[0].text


def test_the_image_holds_the_short_link(member: Api, acme: Tenant) -> None:
    answer = member.get(f"{acme.code_url}/image")
    assert answer.headers["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (300, 300)
    assert decoded(answer) == "HTTP://QZ.TEST/R/ACME-MENU"
    assert answer.headers["Cache-Control"] == "private, no-cache"


def test_the_business_code_holds_what_was_set(owner: Api, acme: Tenant) -> None:
    content = "Grüße aus 東京 🙂"
    assert owner.put(f"{acme.url}/qr-business", {"content": content}).status_code == 200
    assert owner.get(f"{acme.url}/qr-business").json == {
        "content": content,
        "encoded": content,
    }
    assert decoded(owner.get(f"{acme.url}/qr-business/image")) == content


WIFI = {"type": "wifi", "ssid": "Harbour; Guests", "password": "salt&pepper"}
WIFI_TEXT = "WIFI:T:WPA;S:Harbour\\; Guests;P:salt&pepper;;"


def test_the_business_code_may_hold_a_typed_content(owner: Api, acme: Tenant) -> None:
    answer = owner.put(f"{acme.url}/qr-business", {"content": WIFI})
    assert answer.status_code == 200, answer.text
    stored = owner.get(f"{acme.url}/qr-business").json
    assert stored == answer.json
    assert stored["content"].items() >= WIFI.items()
    assert stored["encoded"] == WIFI_TEXT
    assert decoded(owner.get(f"{acme.url}/qr-business/image")) == WIFI_TEXT
    # What was read may be sent again.
    again = owner.put(f"{acme.url}/qr-business", {"content": stored["content"]})
    assert again.json == stored


def test_a_payment_has_the_level_that_its_standard_asks_for(owner: Api, acme: Tenant) -> None:
    payment = {"type": "epc", "name": "Harbour", "iban": "DE89370400440532013000"}
    assert owner.put(f"{acme.url}/qr-business", {"content": payment}).status_code == 200
    for level, least in (("L", "M"), ("M", "M"), ("H", "H")):
        body = {"content": payment, "error_correction": level}
        images = [
            owner.post(f"{acme.url}/images", body),
            owner.get(f"{acme.url}/qr-business/image", params={"error_correction": level}),
        ]
        for answer in images:
            (code,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(answer.content)))
            assert "LMQH".index(code.ec_level) >= "LMQH".index(least)


def test_a_payment_has_no_larger_symbol_than_its_standard_allows(owner: Api, acme: Tenant) -> None:
    payment = {
        "type": "epc",
        "name": "é" * 70,
        "iban": "DE89370400440532013000",
        "text": "x" * 120,
    }
    assert owner.put(f"{acme.url}/qr-business", {"content": payment}).status_code == 200
    image = f"{acme.url}/qr-business/image"
    with_q = {"error_correction": "Q"}
    for answer in (
        owner.get(image, params=with_q),
        owner.post(f"{acme.url}/images", {"content": payment, **with_q}),
    ):
        assert "version 13 at most" in refused(answer)["error_correction"]
    logo = {"logo": str(acme.logo_id), "size": "600"}
    assert "logo=none" in refused(owner.get(image, params=logo))["logo"]
    # The same text without its type is bound by nothing.
    text = owner.get(f"{acme.url}/qr-business").json["encoded"]
    assert owner.post(f"{acme.url}/images", {"content": text, **with_q}).status_code == 200
    # As many bytes as are allowed, and with them the mark of another character set: too much.
    full = {"bic": "BFSWDE33BER", "purpose": "CHAR", "amount": "999999999.99", "text": "é" * 58}
    fitting = payment | full | {"information": "x"}
    assert len(epc_text(owner, acme, fitting).encode()) == 330
    longest = fitting | {"information": "xx"}
    found = refused(owner.put(f"{acme.url}/qr-business", {"content": longest}))
    assert "version 13 at most" in found["content"]


def epc_text(owner: Api, acme: Tenant, payment: dict[str, str]) -> str:
    answer = owner.put(f"{acme.url}/qr-business", {"content": payment})
    assert answer.status_code == 200, answer.text
    return str(answer.json["encoded"])


def test_a_wrong_content_is_refused_field_by_field(owner: Api, acme: Tenant) -> None:
    wrong = {"type": "wifi", "ssid": "", "password": "short", "colour": "red"}
    for answer in (
        owner.put(f"{acme.url}/qr-business", {"content": wrong}),
        owner.post(f"{acme.url}/images", {"content": wrong}),
    ):
        assert "content.colour" in refused(answer)
    unknown = owner.put(f"{acme.url}/qr-business", {"content": {"type": "fax"}})
    assert "wifi" in refused(unknown)["content.type"]
    assert owner.get(f"{acme.url}/qr-business").json["content"] == "https://acme.example"


def test_a_typed_content_is_drawn_without_being_stored(member: Api, acme: Tenant) -> None:
    answer = member.post(f"{acme.url}/images", {"content": WIFI, "size": 300})
    assert decoded(answer) == WIFI_TEXT


def test_a_business_code_that_was_never_set_is_404(owner: Api) -> None:
    new = owner.post("/api/organizations", {"name": "New"}).json["id"]
    for path in ("qr-business", "qr-business/image"):
        assert owner.get(f"/api/organizations/{new}/{path}").status_code == 404


def test_svg_is_drawn_on_request(member: Api, acme: Tenant) -> None:
    answer = member.get(f"{acme.code_url}/image", params={"format": "svg", "size": 512})
    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert 'width="512" height="512"' in answer.text


@pytest.mark.parametrize("size", [100, 177, 2000])
def test_the_size_is_exact(member: Api, acme: Tenant, size: int) -> None:
    answer = member.get(f"{acme.code_url}/image", params={"size": size, "margin": 2})
    assert Image.open(io.BytesIO(answer.content)).size == (size, size)
    assert decoded(answer) == "HTTP://QZ.TEST/R/ACME-MENU"


def test_the_same_request_gives_the_same_bytes_and_tag(member: Api, acme: Tenant) -> None:
    first, second = (member.get(f"{acme.code_url}/image") for _ in range(2))
    assert first.content == second.content
    assert first.headers["ETag"] == second.headers["ETag"]
    assert first.headers["ETag"].startswith('"')


def test_every_parameter_that_changes_the_image_changes_the_tag(member: Api, acme: Tenant) -> None:
    queries = ["", "size=301", "margin=5", "error_correction=H", "format=svg"]
    tags = {member.get(f"{acme.code_url}/image", query_string=q).headers["ETag"] for q in queries}
    assert len(tags) == len(queries)
    plain = member.get(f"{acme.code_url}/image").headers["ETag"]
    assert member.get(f"{acme.code_url}/image", query_string="download=1").headers["ETag"] == plain


@pytest.mark.parametrize("form", ["{tag}", "W/{tag}", '"other", {tag}', '"a", W/{tag}, "b"'])
def test_a_known_tag_is_answered_304_without_drawing(
    member: Api, acme: Tenant, form: str, monkeypatch: pytest.MonkeyPatch, app: Application
) -> None:
    tag = member.get(f"{acme.code_url}/image").headers["ETag"]

    def refuse(*_: object) -> None:
        raise AssertionError("drawn in spite of the tag")

    monkeypatch.setattr(type(app.services.images), "picture", refuse)
    answer = member.get(f"{acme.code_url}/image", headers={"If-None-Match": form.format(tag=tag)})
    assert answer.status_code == 304
    assert answer.content == b""
    assert answer.headers["ETag"] == tag


def test_any_tag_is_answered_304_where_there_is_an_image(member: Api, acme: Tenant) -> None:
    image, any_tag = f"{acme.code_url}/image", {"If-None-Match": "*"}
    assert member.get(image, headers=any_tag).status_code == 304
    refused = member.get(image, query_string="color=fff", headers=any_tag)
    assert refused.status_code == 422
    assert refused.json["errors"][0]["field"] == "color"


class TestStricterGuard:
    """`images.min_contrast` as it is after it was raised."""

    @pytest.fixture
    def sections(self) -> dict[str, dict[str, object]]:
        return {"images": {"min_contrast": 12.0}}

    def test_a_look_that_would_be_refused_by_now_is_not_confirmed_by_its_tag(
        self, app: Application, member: Api, acme: Tenant
    ) -> None:
        before = create_app(msgspec.structs.replace(app.settings, images=ImagesSettings()))
        now, then = (
            services.images.plan_code("HTTP://QZ.TEST/R/ACME-MENU", ImageOptions(), look)
            for services in (app.services, before.services)
            for look in [Look(color="#c0392b")]
        )
        assert now.entity_tag != then.entity_tag
        known = {"If-None-Match": then.entity_tag}
        answer = member.get(f"{acme.code_url}/image", params={"color": "c0392b"}, headers=known)
        assert "5.4 to 1" in refused(answer)["color"]
        # Black on white needs no proof, so that its tags outlive all settings of looks.
        plain = before.services.images.plan_code("HTTP://QZ.TEST/R/ACME-MENU", ImageOptions())
        known = {"If-None-Match": plain.entity_tag}
        assert member.get(f"{acme.code_url}/image", headers=known).status_code == 304


def test_the_picture_that_was_read_is_the_one_that_is_served(
    app: Application, member: Api, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise AssertionError("drawn once more")

    monkeypatch.setattr(type(app.services.images), "draw", refuse)
    query = {"shape": "dot", "size": "640", "width_mm": "40"}
    answer = member.get(f"{acme.code_url}/image", params=query)
    assert decoded(answer) == "HTTP://QZ.TEST/R/ACME-MENU"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (640, 640)
        assert image.info["dpi"][0] == pytest.approx(640 / 40 * 25.4, abs=0.1)


def test_the_size_of_no_logo_is_no_look(member: Api, acme: Tenant) -> None:
    plain, sized = (
        member.get(f"{acme.code_url}/image", query_string=query) for query in ("", "logo_size=30")
    )
    assert sized.headers["ETag"] == plain.headers["ETag"]


@pytest.mark.parametrize("header", ['"other"', 'W/"other"', "nonsense", "", '"*"'])
def test_an_unknown_tag_gets_the_image(member: Api, acme: Tenant, header: str) -> None:
    answer = member.get(f"{acme.code_url}/image", headers={"If-None-Match": header})
    assert answer.status_code == 200


def test_head_has_the_headers_of_get_and_no_body(member: Api, acme: Tenant) -> None:
    get, head = (member(method, f"{acme.code_url}/image") for method in ("GET", "HEAD"))
    assert head.status_code == 200
    assert head.content == b""
    for name in ("ETag", "Content-Type", "Cache-Control", "Content-Length"):
        assert head.headers[name] == get.headers[name]


def test_a_download_has_a_file_name(member: Api, acme: Tenant) -> None:
    answer = member.get(f"{acme.code_url}/image", params={"download": "1", "format": "svg"})
    assert 'attachment; filename="acme-menu.svg"' in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    "query",
    ["size=99", "size=2001", "size=-1", "size=1e9", "size=abc", "size=99999999999999999999",
     "margin=21", "margin=-1", "error_correction=X", "error_correction=m", "format=gif",
     "format=../../etc/passwd", "format=", "download=maybe", "colour=red", "size=300&size=400"],
)  # fmt: skip
def test_a_bad_parameter_is_refused_and_named(member: Api, acme: Tenant, query: str) -> None:
    answer = member.get(f"{acme.code_url}/image", query_string=query)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [query.partition("=")[0]]


def test_an_unknown_format_names_those_that_are_enabled(member: Api, acme: Tenant) -> None:
    answer = member.get(f"{acme.code_url}/image", query_string="format=gif")
    assert "png, svg" in answer.json["errors"][0]["message"]


def test_too_small_a_size_names_the_smallest_that_works(owner: Api, acme: Tenant) -> None:
    owner.put(f"{acme.url}/qr-business", {"content": "x" * 1000})
    answer = owner.get(f"{acme.url}/qr-business/image", params={"size": 100})
    assert answer.status_code == 422
    message = answer.json["errors"][0]["message"]
    smallest = int(message.rsplit(" ", 1)[1])
    good = owner.get(f"{acme.url}/qr-business/image", params={"size": smallest})
    assert decoded(good) == "x" * 1000
    short = owner.get(f"{acme.url}/qr-business/image", params={"size": smallest - 1})
    assert short.status_code == 422


def test_content_that_no_symbol_holds_is_refused_when_it_is_set(owner: Api, acme: Tenant) -> None:
    for content in ("ä" * 2000, "", "x" * 8000, "x" * 2954, "x" * 2951 + "ä", 5, None):
        answer = owner.put(f"{acme.url}/qr-business", {"content": content})
        assert answer.status_code == 422
        assert answer.json["errors"][0]["field"] == "content"
    assert owner.get(f"{acme.url}/qr-business").json["content"] == "https://acme.example"


def test_content_too_long_for_a_level_says_how_long_it_may_be(owner: Api, acme: Tenant) -> None:
    owner.put(f"{acme.url}/qr-business", {"content": "x" * 2000})
    query = {"error_correction": "H", "size": 2000}
    answer = owner.get(f"{acme.url}/qr-business/image", params=query)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == "error_correction"
    assert "1273" in answer.json["errors"][0]["message"]


def test_a_drawn_image_is_kept(
    member: Api, acme: Tenant, app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = member.get(f"{acme.code_url}/image")

    def refuse(*_: object) -> bytes:
        raise InvalidFields.of("drawn", "again")

    monkeypatch.setattr(type(app.services.images), "draw", refuse)
    assert member.get(f"{acme.code_url}/image").content == first.content
    assert member.get(f"{acme.code_url}/image", query_string="size=400").status_code == 422


BLUE_DOTS = {"color": "0a3d62", "shape": "dot", "finder_shape": "rounded"}


def refused(answer: Result) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    return {problem["field"]: problem["message"] for problem in answer.json["errors"]}


def test_a_look_is_drawn_as_it_is_asked_for(member: Api, acme: Tenant) -> None:
    answer = member.get(f"{acme.code_url}/image", params={**BLUE_DOTS, "caption": "Scan me"})
    assert decoded(answer) == "HTTP://QZ.TEST/R/ACME-MENU"
    colours = Image.open(io.BytesIO(answer.content)).convert("RGB").getcolors(1 << 24)
    assert (0x0A, 0x3D, 0x62) in {colour for _, colour in colours}
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_a_look_that_cannot_be_scanned_is_refused_every_time(member: Api, acme: Tenant) -> None:
    for _ in range(2):
        problems = refused(member.get(f"{acme.code_url}/image", params={"color": "ffee00"}))
        assert "1.2 to 1" in problems["color"]
    # The verdict is about the look, and holds for the other formats too.
    assert refused(
        member.get(f"{acme.code_url}/image", params={"color": "ffee00", "format": "svg"})
    )


def test_every_wrong_part_of_a_look_is_named(member: Api, acme: Tenant) -> None:
    wrong = {"color": "#12", "background": "sky", "logo": "../x", "shape": "heart"}
    problems = refused(member.get(f"{acme.code_url}/image", params=wrong))
    assert set(problems) == {"shape"}
    del wrong["shape"]
    problems = refused(member.get(f"{acme.code_url}/image", params=wrong))
    assert set(problems) == {"color", "background", "logo"}


def test_a_logo_of_the_organization_is_drawn_and_that_of_another_one_is_not(
    member: Api, acme: Tenant, globex: Tenant
) -> None:
    answer = member.get(f"{acme.code_url}/image", params={"logo": str(acme.logo_id)})
    assert decoded(answer) == "HTTP://QZ.TEST/R/ACME-MENU"
    problems = refused(member.get(f"{acme.code_url}/image", params={"logo": str(globex.logo_id)}))
    assert set(problems) == {"logo"}


def test_a_logo_that_is_too_large_is_told_what_works(member: Api, acme: Tenant) -> None:
    asked = {"logo": str(acme.logo_id), "logo_size": 60}
    message = refused(member.get(f"{acme.code_url}/image", params=asked))["logo_size"]
    works = int(message.split("at most ")[1].split()[0])
    answer = member.get(f"{acme.code_url}/image", params={**asked, "logo_size": works})
    assert decoded(answer) == "HTTP://QZ.TEST/R/ACME-MENU"


def test_the_default_style_is_used_and_can_be_left_out(
    app: Application, member: Api, acme: Tenant
) -> None:
    plain = member.get(f"{acme.code_url}/image").content
    admin = Api(app, {"Cookie": acme.cookies[Role.ADMIN]})
    draft = {"name": "House", "default": True, **BLUE_DOTS}
    style = admin.post(f"{acme.url}/styles", draft)
    assert style.status_code == 201, style.text
    styled = member.get(f"{acme.code_url}/image").content
    assert styled != plain
    by_id = member.get(f"{acme.code_url}/image", params={"style": style.json["id"]})
    assert by_id.content == styled
    assert member.get(f"{acme.code_url}/image", params={"style": "plain"}).content == plain


def test_formats_are_named_where_one_is_unknown(member: Api, acme: Tenant) -> None:
    message = refused(member.get(f"{acme.code_url}/image", params={"format": "bmp"}))["format"]
    assert message == "'bmp' is unknown; enabled are: eps, jpeg, pdf, png, svg, text, webp"


def test_the_density_is_given_once(member: Api, acme: Tenant) -> None:
    both = {"dpi": "300", "width_mm": "20"}
    assert set(refused(member.get(f"{acme.code_url}/image", params=both))) == {"dpi"}
    answer = member.get(f"{acme.code_url}/image", params={"width_mm": "25.4"})
    assert Image.open(io.BytesIO(answer.content)).info["dpi"] == pytest.approx((300, 300), rel=1e-4)


def test_whatever_is_posted_is_drawn_and_not_kept(member: Api, acme: Tenant) -> None:
    body = {"content": "Grüße", "format": "svg", "size": 400, "color": "#333"}
    answer = member.post(f"{acme.url}/images", body)
    assert answer.status_code == 200
    assert 'width="400"' in answer.text
    assert set(refused(member.post(f"{acme.url}/images", {"size": "x", "colour": 1}))) == {
        "size",
        "colour",
        "content",
    }
    assert set(refused(member.post(f"{acme.url}/images", {"content": "a" * 3000}))) == {"content"}


class TestSignedAddresses:
    """`/i/...`: images for everybody, and only those that were given out."""

    @pytest.fixture
    def public(self, app: Application) -> Api:
        return Api(app, {})

    def path(self, member: Api, acme: Tenant, **params: str) -> str:
        answer = member.get(f"{acme.code_url}/image-url", params=params)
        assert answer.status_code == 200, answer.text
        url: str = answer.json["url"]
        assert url.startswith("http://qz.test/i/")
        return url.removeprefix("http://qz.test")

    def test_the_address_shows_the_same_image_to_everybody(
        self, member: Api, acme: Tenant, public: Api
    ) -> None:
        path = self.path(member, acme, size="400", **BLUE_DOTS)
        answer = public.get(path)
        own = member.get(f"{acme.code_url}/image", params={"size": "400", **BLUE_DOTS})
        assert answer.content == own.content
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        tag = answer.headers["ETag"]
        assert public.get(path, headers={"If-None-Match": tag}).status_code == 304

    @pytest.mark.parametrize(
        ("part", "other"),
        [("size=400", "size=500"), (".png", ".svg"), ("/i/", "/i/x"), ("revision=", "revision=1")],
    )
    def test_another_parameter_is_another_image_that_nobody_signed(
        self, member: Api, owner: Api, acme: Tenant, public: Api, part: str, other: str
    ) -> None:
        owner.patch(acme.code_url, {"title": "Another revision"})
        path = self.path(member, acme, size="400")
        assert part in path
        assert public.get(path).status_code == 200
        assert public.get(path.replace(part, other)).status_code == 404

    @pytest.mark.parametrize(
        "other",
        ["size=400&margin=4", "size=400&revision=1", "size=400&format=png", "margin=4&size=400",
         "size=%34%30%30", "size=400&", "&size=400", "size=400&download=false",
         "size=400&symbol=qr", "size=400&format=svg"],
    )  # fmt: skip
    def test_an_image_has_one_address_and_others_lead_to_it(
        self, member: Api, acme: Tenant, public: Api, other: str
    ) -> None:
        path = self.path(member, acme, size="400")
        answer = public.get(path.partition("?")[0], query_string=other)
        assert answer.status_code == 301
        assert answer.headers["Location"] == f"http://qz.test{path}"
        # Nothing of it is kept, so that nobody fills a shared cache with it.
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.content == b""
        forged = path.partition("?")[0].replace("/i/", "/i/x")
        assert public.get(forged, query_string=other).status_code == 404

    def test_a_path_with_percent_signs_leads_to_the_address_without(
        self, member: Api, acme: Tenant, public: Api
    ) -> None:
        path = self.path(member, acme, size="400")
        answer = public.get(path.replace(".png", "%2Epng"))
        assert answer.status_code == 301
        assert answer.headers["Location"] == f"http://qz.test{path}"

    @pytest.mark.parametrize("size", ["4e2", "400.0", "+400", "0400"])
    def test_a_size_is_written_in_digits(
        self, member: Api, acme: Tenant, public: Api, size: str
    ) -> None:
        path = self.path(member, acme, size="400").partition("?")[0]
        assert public.get(path, query_string=f"size={size}").status_code == 422

    def test_an_address_of_many_parameters_is_its_own(
        self, member: Api, acme: Tenant, public: Api
    ) -> None:
        look = {**BLUE_DOTS, "caption": "Scan me & eat, über", "width_mm": "30.5"}
        assert public.get(self.path(member, acme, **look)).status_code == 200
        plain = self.path(member, acme)
        assert "?" not in plain
        assert public.get(plain).status_code == 200
        assert public.get(plain, query_string="margin=4").headers["Location"].endswith(plain)

    @pytest.mark.parametrize("slashes", ["//", "///"])
    def test_slashes_in_front_are_no_address_of_their_own(
        self, member: Api, acme: Tenant, public: Api, slashes: str
    ) -> None:
        path = self.path(member, acme)
        raw = slashes + path.lstrip("/")
        answer = public.get(path, extras={"RAW_URI": raw})
        assert answer.status_code == 301
        assert answer.headers["Location"].endswith(f"//qz.test{path}")
        assert public.get(path, extras={"RAW_URI": path}).status_code == 200

    def test_whoever_has_the_address_may_offer_it_for_download(
        self, member: Api, acme: Tenant, public: Api
    ) -> None:
        path = self.path(member, acme, size="400")
        answer = public.get(f"{path}&download=1")
        assert answer.status_code == 301
        file = public.get(answer.headers["Location"].removeprefix("http://qz.test"))
        assert (file.status_code, file.content) == (200, public.get(path).content)
        assert "attachment" in file.headers["Content-Disposition"]

    def test_no_change_of_code_or_style_changes_what_was_given_out(
        self, app: Application, member: Api, owner: Api, acme: Tenant, public: Api
    ) -> None:
        path = self.path(member, acme)
        before = public.get(path).content
        assert (
            owner.patch(acme.code_url, {"destination": "https://else.example"}).status_code == 200
        )
        admin = Api(app, {"Cookie": acme.cookies[Role.ADMIN]})
        admin.post(f"{acme.url}/styles", {"name": "House", "default": True, **BLUE_DOTS})
        assert public.get(path).content == before
        assert self.path(member, acme) != path
        assert public.get(self.path(member, acme)).content != before

    def test_the_address_of_a_deleted_code_is_gone(
        self, member: Api, owner: Api, acme: Tenant, public: Api
    ) -> None:
        path = self.path(member, acme)
        assert owner.delete(acme.code_url).status_code == 204
        assert public.get(path).status_code == 404

    def test_an_image_that_cannot_be_scanned_gets_no_address(
        self, member: Api, acme: Tenant
    ) -> None:
        assert set(
            refused(member.get(f"{acme.code_url}/image-url", params={"color": "ffee00"}))
        ) == {"color"}


class TestPresetsOnly:
    """`images.ad_hoc_styles = false`."""

    @pytest.fixture
    def sections(self) -> dict[str, dict[str, object]]:
        return {"images": {"ad_hoc_styles": False}}

    def test_every_ad_hoc_part_of_a_look_is_refused(self, member: Api, acme: Tenant) -> None:
        problems = refused(member.get(f"{acme.code_url}/image", params=BLUE_DOTS))
        assert set(problems) == set(BLUE_DOTS)
        style = {"style": str(acme.style_id)}
        assert member.get(f"{acme.code_url}/image", params=style).status_code == 200

    def test_what_is_advised_is_not_refused(
        self, app: Application, member: Api, acme: Tenant
    ) -> None:
        admin = Api(app, {"Cookie": acme.cookies[Role.ADMIN]})
        draft = {"name": "House", "default": True, "background": "transparent", "shape": "dot"}
        assert admin.post(f"{acme.url}/styles", draft).status_code == 201
        image = f"{acme.code_url}/image"
        for image_format in ("text", "jpeg"):
            query = {"format": image_format}
            told = refused(member.get(image, params=query))["format"]
            assert "style=plain" in told
            assert "=ffffff" not in told
            assert member.get(image, params=query | {"style": "plain"}).status_code == 200
        draft |= {"name": "Shop", "logo": str(acme.logo_id)}
        assert admin.post(f"{acme.url}/styles", draft).status_code == 201
        (told,) = refused(member.get(image, params={"symbol": "micro"})).values()
        assert "take symbol=qr, or style=plain" in told
        # The guard names what is wrong of the preset, and who may change it is not the caller.
        with pytest.raises(InvalidFields, match=r"; only presets .* have this one changed, or"):
            app.services.images.picture(
                app.services.images.plan("HELLO", ImageOptions(), Look(color="#ffee00"))
            )


def test_formats_without_looks_advise_only_what_helps(
    app: Application, member: Api, acme: Tenant
) -> None:
    image = f"{acme.code_url}/image"
    given = refused(member.get(image, params={"format": "text", "color": "0a3d62"}))["format"]
    assert "style=plain" not in given
    assert "caption" not in given
    admin = Api(app, {"Cookie": acme.cookies[Role.ADMIN]})
    draft = {"name": "House", "default": True, "color": "0a3d62"}
    assert admin.post(f"{acme.url}/styles", draft).status_code == 201
    assert "style=plain" in refused(member.get(image, params={"format": "text"}))["format"]
    # A page that is too wide is so in any look.
    wide = {"format": "pdf", "width_mm": "9000"}
    assert "style=plain" not in refused(member.get(image, params=wide))["format"]


@pytest.mark.parametrize(
    ("content", "level", "field", "words"),
    [
        ("é", "L", "symbol", "choose symbol=qr"),
        ("x" * 20, "L", "symbol", "at most 15 fit into a Micro QR code; choose symbol=qr, or sh"),
        ("x" * 14, "M", "error_correction", "at most 13 fit .*: L holds 15, or shorten it"),
        ("x" * 14, "H", "error_correction", "no error correction H; choose L or lower, or symb"),
        ("x" * 20, "H", "symbol", "no error correction H; choose symbol=qr"),
    ],
)
def test_a_micro_qr_code_that_cannot_be_names_what_to_change(
    member: Api, acme: Tenant, content: str, level: str, field: str, words: str
) -> None:
    body = {"content": content, "error_correction": level, "symbol": "micro"}
    (told,) = refused(member.post(f"{acme.url}/images", body)).items()
    assert told[0] == field
    assert re.search(words, told[1]), told


def test_a_logo_and_too_long_a_content_are_told_what_helps(owner: Api, acme: Tenant) -> None:
    body = {"content": "x" * 1300, "logo": str(acme.logo_id), "size": 1000}
    told = refused(owner.post(f"{acme.url}/images", body))["logo"]
    assert "at error correction H at most 1273 fit; shorten it, or take logo=none" in told
    assert "lower level" not in told


def test_a_content_that_is_too_long_is_told_how_long_it_may_be_at_its_level(
    member: Api, acme: Tenant
) -> None:
    for level in ("L", "M", "Q", "H"):
        body = {"content": "x" * 2954, "error_correction": level}
        told = refused(member.post(f"{acme.url}/images", body))["content"]
        assert f"at error correction {level} at most" in told
        assert "2953" in told
    body = {"content": "x" * 1700, "error_correction": "Q"}
    told = refused(member.post(f"{acme.url}/images", body))["error_correction"]
    assert "choose a lower level: M holds 2331, or shorten it" in told
    told = refused(member.post(f"{acme.url}/images", {"content": "x" * 8000}))["content"]
    assert "images.max_content" in told
    assert "2953 bytes" in told
    for level, most, length, field in (
        ("L", 2953, 3000, "content"),
        ("M", 2331, 2400, "error_correction"),
        ("Q", 1663, 1700, "error_correction"),
        ("H", 1273, 1300, "error_correction"),
    ):
        body = {"content": "x" * length, "error_correction": level}
        answer = member.post(f"{acme.url}/images", body)
        assert answer.status_code == 422
        (error,) = answer.json["errors"]
        assert error["field"] == field
        assert f"{level} at most {most} fit" in error["message"]


def test_digits_fit_to_the_last_one(member: Api, acme: Tenant) -> None:
    for level, most in (("L", 7089), ("H", 3057)):
        body = {"content": "7" * most, "error_correction": level, "size": 1000}
        assert decoded(member.post(f"{acme.url}/images", body)) == body["content"]
        assert (
            member.post(f"{acme.url}/images", {**body, "content": "7" * (most + 1)}).status_code
            == 422
        )
