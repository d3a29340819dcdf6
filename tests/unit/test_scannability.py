from __future__ import annotations

import io
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from PIL import Image

from core.domain.images import Drawing, ErrorCorrection, SymbolKind, lay_out
from core.domain.logos import Logo, LogoInfo, LogoType
from core.domain.looks import PLAIN, FinderShape, Look, ModuleShape
from core.errors import FieldProblem, InvalidFields
from core.services.scannability import Alike, Scannability
from plugins.encoders.segno_encoder import SegnoEncoder
from plugins.renderers.png import PngRenderer
from tests.contract.reading import read_with_zbar
from tests.samples import NOON

LINK = "HTTPS://QR.EXAMPLE/R/7KQ2VX9B"
PAGE = "https://example.com/menu/summer?a=1"
LONG = "https://example.com/" + "abcdefgh/" * 12
LONGER = "x" * 350

RASTER = PngRenderer()
GUARD = Scannability(RASTER, min_contrast=3.0)


def make_logo(number: int, data: bytes, media_type: LogoType = LogoType.PNG) -> Logo:
    info = LogoInfo(UUID(int=number), UUID(int=0), "a logo", media_type, 64, 64, NOON)
    return Logo(info, data)


def png_of(size: int, grey: Callable[[], int]) -> bytes:
    file = io.BytesIO()
    image = Image.frombytes("L", (size, size), bytes(grey() for _ in range(size * size)))
    image.resize((64, 64), Image.Resampling.NEAREST).save(file, "png")
    return file.getvalue()


BADGE = make_logo(
    1,
    b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64" viewBox="0 0 64 64">'
    b'<circle cx="32" cy="32" r="32" fill="#c0392b"/>'
    b'<path d="M32 12l20 40H12z" fill="#fff"/></svg>',
    LogoType.SVG,
)
CHANCE = random.Random(1)
NOISE = make_logo(2, png_of(16, lambda: CHANCE.choice((0, 255))))
SLAB = make_logo(3, png_of(1, lambda: 0))
LOGOS = {logo.info.id: logo for logo in (BADGE, NOISE, SLAB)}

DOTS = {"shape": ModuleShape.DOT, "finder_shape": FinderShape.CIRCLE}
ROUND = {"shape": ModuleShape.ROUNDED, "finder_shape": FinderShape.ROUNDED}


def with_logo(logo: Logo, percent: int, **look: Any) -> Look:
    return Look(logo=logo.info.id, logo_size=percent, **look)


def draw(look: Look, content: str = LINK, size: int = 300, margin: int = 4) -> Drawing:
    level = ErrorCorrection.H if look.logo else ErrorCorrection.M
    symbol = SegnoEncoder().encode(content, level)
    layout = lay_out(symbol, size, margin, caption=bool(look.caption))
    return Drawing(symbol, layout, look, LOGOS[look.logo] if look.logo else None)


def problem(
    look: Look, content: str = LINK, size: int = 300, margin: int = 4, guard: Scannability = GUARD
) -> FieldProblem:
    with pytest.raises(InvalidFields) as caught:
        guard.check(draw(look, content, size, margin), content)
    (only,) = caught.value.problems
    return only


SOUND: dict[str, Look] = {
    **{
        f"brand {color}": Look(color=color, **shapes)
        for color, shapes in {
            "#0a3d62": DOTS,
            "#c0392b": ROUND,
            "#1e8449": {},
            "#6c3483": DOTS,
            "#d35400": ROUND,
            "#0000ff": DOTS,
            "#ff0000": DOTS,
            "#949494": DOTS,
        }.items()
    },
    **{
        f"pastel {background}": Look(color="#0a3d62", background=background, **shapes)
        for background, shapes in {
            "#fff3cd": DOTS,
            "#d6eaf8": ROUND,
            "#fadbd8": DOTS,
            "#ffd54f": ROUND,
            "#a8e6cf": {},
            "transparent": DOTS,
        }.items()
    },
    "dots, rounded finders": Look(shape=ModuleShape.DOT, finder_shape=FinderShape.ROUNDED),
    "rounded, circles": Look(shape=ModuleShape.ROUNDED, finder_shape=FinderShape.CIRCLE),
    **{
        f"{name} {percent} percent": with_logo(logo, percent, color="#1b4f72", **shapes)
        for name, logo in {"badge": BADGE, "noise": NOISE, "slab": SLAB}.items()
        for percent, shapes in {15: ROUND, 20: DOTS, 25: {}}.items()
    },
    "caption": Look(caption="Scan me", color="#1b4f72", **DOTS),
    "long caption": Look(caption="Speisekarte: jetzt öffnen und bestellen!", **ROUND),
    "logo and caption": with_logo(BADGE, 20, caption="Menu", background="#fdf6e3", **DOTS),
}


@pytest.mark.parametrize("look", SOUND.values(), ids=SOUND)
@pytest.mark.parametrize("content", [LINK, LONG], ids=["short", "long"])
def test_a_sound_look_passes(look: Look, content: str) -> None:
    GUARD.check(draw(look, content), content)


@pytest.mark.parametrize("length", range(40, 200, 16))
def test_a_sound_look_passes_whatever_the_code_says(length: int) -> None:
    choice = random.Random(length).choice
    content = "https://example.com/" + "".join(choice("abcdefgh/-0123") for _ in range(length))
    GUARD.check(draw(Look(color="#0a3d62", background="#fadbd8", **DOTS), content), content)


@pytest.mark.parametrize("look", SOUND.values(), ids=SOUND)
def test_another_reader_reads_what_passes(look: Look, tmp_path: Path) -> None:
    path = tmp_path / "look.png"
    with Image.open(io.BytesIO(RASTER.render(draw(look)))) as image:
        seen = image.convert("RGBA")
    page = Image.new("RGBA", seen.size, "#ffffff")
    page.alpha_composite(seen)
    page.convert("RGB").save(path)
    assert read_with_zbar(path) == LINK


@pytest.mark.parametrize(
    ("look", "content", "size", "margin"),
    [
        (Look(**DOTS), LINK, 100, 4),
        (Look(**DOTS), LINK, 120, 4),
        (Look(**DOTS), LINK, 2000, 4),
        (Look(**DOTS), LINK, 300, 0),
        (Look(**ROUND), LINK, 300, 1),
        (Look(background="transparent", **ROUND), LINK, 300, 0),
        (Look(background="#d6eaf8", **ROUND), LINK, 300, 2),
        # Modules of 8 pixels, as wide as the blocks by which zxing-cpp tells dark from light.
        (Look(background="#d6eaf8"), "https://example.com/cedff", 240, 2),
        (Look(**ROUND), LINK, 300, 20),
        (Look(**DOTS), LONGER, 300, 4),
        (with_logo(BADGE, 25, **ROUND), LONGER, 300, 4),
        (with_logo(BADGE, 20), PAGE, 120, 4),
        (Look(**DOTS), "straße, 東京, 🍕", 300, 4),
        (Look(color="#0a3d62"), "two\nlines\tand a tab ", 300, 4),
    ],
)
def test_a_sound_look_passes_at_any_size(look: Look, content: str, size: int, margin: int) -> None:
    GUARD.check(draw(look, content, size, margin), content)


@pytest.mark.parametrize(("version", "length"), [(2, 14), (3, 24), (4, 34)])
def test_a_logo_of_a_quarter_passes_and_one_of_two_fifths_does_not(
    version: int, length: int
) -> None:
    content = "x" * length
    drawing = draw(with_logo(BADGE, 25), content)
    assert drawing.symbol.version == version
    GUARD.check(drawing, content)
    assert problem(with_logo(BADGE, 40), content).field == "logo_size"


def test_a_micro_qr_code_is_read_as_one() -> None:
    symbol = SegnoEncoder().encode("QUIET ZONE", ErrorCorrection.L, SymbolKind.MICRO)
    look = Look(color="#0a3d62", shape=ModuleShape.ROUNDED)
    drawing = Drawing(symbol, lay_out(symbol, 300, 4), look)
    GUARD.check(drawing, "QUIET ZONE")
    # Its only finder pattern is all there is to find it by, and readers know it as squares.
    circle = replace(look, finder_shape=FinderShape.CIRCLE)
    with pytest.raises(InvalidFields, match=r"finder_shape: .* finder_shape square works"):
        GUARD.check(replace(drawing, look=circle), "QUIET ZONE")


# What is refused, which field is at fault, and what is said of it.
BAD_COLORS = [
    ("#ffee00", "#ffffff", "color", r"contrast of #ffee00 .* 1\.2 to 1, .* 3 to 1 .* color #\w+"),
    ("#cccccc", "#ffffff", "color", r"1\.6 to 1, .* color #949494"),
    ("#959595", "#ffffff", "color", r"2\.9 to 1, .* color #949494"),
    ("#888888", "#777777", "color", r"1\.2 to 1, .* color #2e2e2e"),
    ("#ff0000", "#008000", "color", r"1\.2 to 1, .* color #520000"),
    ("#ff0000", "#00a000", "color", r"1\.1 to 1"),
    ("#ffcc00", "transparent", "color", r"white paper .* 1\.5 to 1"),
    ("#ffffff", "transparent", "color", r"white paper .* 1\.0 to 1, .* color #949494"),
    ("#d6eaf8", "#d6eaf8", "color", r"1\.0 to 1"),
    ("#123456", "#123456", "background", r"1\.0 to 1, .* background #\w+"),
    ("#123456", "#143658", "background", r"1\.0 to 1, .* background #\w+"),
    ("#000000", "#222222", "background", r"1\.3 to 1, .* background #5a5a5a"),
    ("#555555", "#000000", "background", r"2\.8 to 1, .* background #a5a5a5"),
    ("#ffffff", "#0a3d62", "color", r"inverted.* swap them: color #0a3d62, background #ffffff"),
    ("#ffd54f", "#000000", "color", r"inverted.* swap them: color #000000, background #ffd54f"),
]


@pytest.mark.parametrize(("color", "background", "field", "words"), BAD_COLORS)
def test_bad_colors_are_refused_and_those_that_are_named_instead_pass(
    color: str, background: str, field: str, words: str
) -> None:
    look = Look(color=color, background=background, **DOTS)
    found = problem(look)
    assert found.field == field
    assert re.search(words, found.message), found.message
    better = dict(re.findall(r"(color|background) (#\w{6})", found.message.split("; ")[-1]))
    GUARD.check(draw(replace(look, **better)), LINK)


@pytest.mark.parametrize("content", [LINK, PAGE, LONG], ids=len)
@pytest.mark.parametrize("percent", [41, 100])
@pytest.mark.parametrize("logo", LOGOS.values(), ids=["badge", "noise", "slab"])
def test_too_large_a_logo_is_refused_and_the_largest_that_passes_is_named(
    logo: Logo, percent: int, content: str
) -> None:
    found = problem(with_logo(logo, percent), content)
    assert found.field == "logo_size"
    match = re.fullmatch(
        rf"{percent} percent is too large; at most (\d+) works here", found.message
    )
    assert match, found.message
    largest = int(match[1])
    assert largest >= 27
    GUARD.check(draw(with_logo(logo, largest), content), content)
    assert problem(with_logo(logo, largest + 1), content).field == "logo_size"


@pytest.mark.parametrize("shapes", [DOTS, ROUND], ids=["dots", "rounded"])
@pytest.mark.parametrize("length", [220, 440])
def test_too_small_an_image_is_refused_and_a_size_that_passes_is_named(
    shapes: dict[str, Any], length: int
) -> None:
    look, content = Look(**shapes), "quiet zone " * (length // 11)
    found = problem(look, content, size=100)
    assert found.field == "size"
    match = re.search(r"100 is too small .* only 1 pixel there; (\d+) works", found.message)
    assert match, found.message
    GUARD.check(draw(look, content, size=int(match[1])), content)


@pytest.mark.parametrize("margin", [0, 1])
def test_a_coloured_background_needs_a_margin(margin: int) -> None:
    look = Look(color="#0a3d62", background="#d6eaf8", **ROUND)
    found = problem(look, margin=margin)
    assert found.field == "margin"
    assert re.search(f"^{margin} is too narrow .*#d6eaf8.* use 2 or more", found.message)
    GUARD.check(draw(look, margin=2), LINK)


def test_all_that_the_rules_find_is_told_at_once() -> None:
    look = Look(color="#fff3cd", background="#0a3d62")
    with pytest.raises(InvalidFields) as caught:
        GUARD.check(draw(look, margin=0), LINK)
    assert [found.field for found in caught.value.problems] == ["color", "margin"]


def test_a_background_that_readers_take_for_dark_is_refused_with_a_lighter_one() -> None:
    look = Look(background="#686868")
    found = problem(look, PAGE, size=120)
    assert found.field == "background"
    match = re.search(
        "cannot be read in #000000 on #686868; background (#.{6}) works", found.message
    )
    assert match, found.message
    GUARD.check(draw(replace(look, background=match[1]), PAGE, size=120), PAGE)


def test_a_caption_that_cannot_be_lettered_is_the_captions_fault() -> None:
    assert problem(Look(caption="Speisekarte \U0001f355")).field == "caption"


def test_the_contrast_needed_is_a_setting() -> None:
    look = Look(color="#c0392b")
    GUARD.check(draw(look), LINK)
    strict = Scannability(RASTER, min_contrast=7.0)
    assert "5.4 to 1, and at least 7 to 1" in problem(look, guard=strict).message


def test_without_the_renderer_png_no_look_passes() -> None:
    found = problem(Look(color="#0a3d62"), guard=Scannability(None, min_contrast=3.0))
    assert found.field == "style"
    assert "png" in found.message
    assert "plugins.enabled" in found.message


def test_a_logo_needs_the_highest_level() -> None:
    symbol = SegnoEncoder().encode(LINK, ErrorCorrection.L, boost=False)
    drawing = Drawing(symbol, lay_out(symbol, 300, 4), with_logo(BADGE, 10), BADGE)
    with pytest.raises(InvalidFields, match="error_correction: a logo needs error correction H"):
        GUARD.check(drawing, LINK)


class Spoiler:
    """Draws as `png` does what is fine, and something else wherever `spoils` says so."""

    fingerprint, media_type, extension = "spoiler", "image/png", "png"

    def __init__(self, spoils: Callable[[Drawing], bool]) -> None:
        self._spoils = spoils
        self.drawn = 0

    def render(self, drawing: Drawing) -> bytes:
        self.drawn += 1
        if self._spoils(drawing):
            symbol = replace(drawing.symbol, modules=bytes(len(drawing.symbol.modules)))
            drawing = replace(drawing, symbol=symbol)
        return RASTER.render(replace(drawing, look=PLAIN, logo=None))


FAULTS: dict[str, tuple[Callable[[Drawing], bool], str, str]] = {
    "dots": (lambda d: d.look.shape is ModuleShape.DOT, "shape", "dot .* shape rounded works"),
    "all but squares": (
        lambda d: d.look.shape is not ModuleShape.SQUARE,
        "shape",
        "dot .* shape square works",
    ),
    "finders": (
        lambda d: d.look.finder_shape is FinderShape.CIRCLE,
        "finder_shape",
        "circle .* finder_shape square works",
    ),
    "caption": (lambda d: bool(d.look.caption), "caption", "with a caption; leave it out"),
    "any logo": (lambda d: d.logo is not None, "logo", "with this logo; .* logo none"),
    "some logos": (
        lambda d: d.logo is not None and d.look.logo_size > 20,
        "logo_size",
        "25 percent; 20 works",
    ),
    "narrow margin": (lambda d: d.layout.margin < 4, "margin", "of 3; 4 works"),
    "color": (lambda d: d.look.color == "#c0392b", "color", "in #c0392b .* color #.{6} works"),
    "everything": (lambda d: True, "shape", "changing one thing alone does not help"),
}


@pytest.mark.parametrize(("spoils", "field", "words"), FAULTS.values(), ids=FAULTS)
def test_the_part_without_which_it_can_be_read_is_named(
    spoils: Callable[[Drawing], bool], field: str, words: str
) -> None:
    look = with_logo(BADGE, 25, caption="Menu", color="#c0392b", **DOTS)
    spoiler = Spoiler(spoils)
    found = problem(look, margin=3, guard=Scannability(spoiler, min_contrast=3.0))
    assert found.field == field
    assert re.search(words, found.message), found.message
    # Each picture is read at most twice, sharp and blurred; the search has an end.
    assert spoiler.drawn <= 16


def test_a_look_that_reads_as_something_else_does_not_pass() -> None:
    drawing = draw(Look(color="#0a3d62"))
    with pytest.raises(InvalidFields):
        GUARD.check(drawing, LINK + "/")


def test_of_many_that_are_alike_one_is_read_from_all_views_and_every_other_as_it_is() -> None:
    spoiler = Spoiler(lambda drawing: drawing.layout.size != 300)
    guard = Scannability(spoiler, min_contrast=3.0)
    contents = [f"HTTPS://QR.EXAMPLE/R/{number:08}" for number in range(6)]
    drawings = [draw(Look(**DOTS), content) for content in contents]
    # The small view cannot be read, so that nothing is known of any of them.
    alike: Alike = set()
    for drawing, content in zip(drawings, contents, strict=True):
        with pytest.raises(InvalidFields):
            guard.check(drawing, content, alike)
    assert not alike
    for drawing, content in zip(drawings, contents, strict=True):
        assert GUARD.check(drawing, content, alike) == RASTER.render(drawing)
    assert len(alike) == 1
    # One picture each is drawn, and read: what it holds is looked at.
    spoiler.drawn = 0
    for drawing, content in zip(drawings, contents, strict=True):
        guard.check(drawing, content, alike)
    assert spoiler.drawn == len(drawings)
    with pytest.raises(InvalidFields):
        guard.check(drawings[0], contents[1], alike)
    # Nor is a look known that differs in anything.
    with pytest.raises(InvalidFields):
        guard.check(draw(Look(color="#0a3d62", **DOTS), LINK), LINK, alike)


@pytest.mark.parametrize("look", [SOUND[name] for name in ("noise 20 percent", "caption")])
def test_what_was_read_of_one_code_holds_for_others_of_its_size(look: Look) -> None:
    chance = random.Random(look.color)
    for _ in range(25):
        slug = "".join(chance.choices("0123456789ABCDEFGHJKMNPQRSTVWXYZ", k=8))
        content = LINK[:-8] + slug
        GUARD.check(draw(look, content), content)
