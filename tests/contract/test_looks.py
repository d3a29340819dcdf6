from __future__ import annotations

import base64
import io
import random
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from threading import Barrier
from uuid import UUID
from xml.etree import ElementTree

import pytest
import segno
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import Image, ImageChops

from core.api import (
    PLAIN,
    TRANSPARENT,
    Drawing,
    ErrorCorrection,
    FinderShape,
    Logo,
    LogoInfo,
    LogoType,
    Look,
    ModuleShape,
    Symbol,
    SymbolKind,
    lay_out,
    logo_hole,
)
from plugins.encoders.segno_encoder import SegnoEncoder
from plugins.renderers import tiles
from plugins.renderers.artwork import Close, Curve, Move, Segment, compose
from plugins.renderers.eps import EpsRenderer
from plugins.renderers.lettering import FONT, Box, _Face, lettering
from plugins.renderers.pdf import PdfRenderer
from plugins.renderers.png import PngRenderer
from plugins.renderers.svg import SvgRenderer
from tests.contract.reading import read, read_with_zbar
from tests.contract.viewing import view
from tests.samples import NOON

LINK = "HTTPS://QR.EXAMPLE/R/7KQ2VX9B"
SYMBOL = SegnoEncoder().encode(LINK, ErrorCorrection.H)
_MICRO = segno.make_micro("QUIET")
MICRO = Symbol(
    version=2,
    error_correction=ErrorCorrection.M,
    size=len(_MICRO.matrix),
    modules=bytes(module for row in _MICRO.matrix for module in row),
    kind=SymbolKind.MICRO,
)

PNG, SVG, EPS = PngRenderer(), SvgRenderer(), EpsRenderer()
VECTORS = {"svg": SVG, "eps": EPS, "pdf": PdfRenderer()}
NAMESPACE = "{http://www.w3.org/2000/svg}"

BLUE, CREAM, RED = "#0a3d62", "#fff3d0", (227, 54, 44)
SHAPES = list(product(ModuleShape, FinderShape))

HEART = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="200" height="100" viewBox="0 0 200 100">'
    b'<rect width="200" height="100" rx="20" fill="#e3362c"/></svg>'
)


def make_logo(media_type: LogoType, width: int = 200, height: int = 100) -> Logo:
    data = HEART
    if media_type is LogoType.PNG:
        file = io.BytesIO()
        Image.new("RGB", (width, height), RED).save(file, "PNG")
        data = file.getvalue()
    info = LogoInfo(UUID(int=1), UUID(int=2), "badge", media_type, width, height, NOON)
    return Logo(info, data)


def make_drawing(
    look: Look = PLAIN,
    logo: Logo | None = None,
    *,
    size: int = 300,
    margin: int = 4,
    symbol: Symbol = SYMBOL,
) -> Drawing:
    if logo is not None:
        look = replace(look, logo=logo.info.id)
    layout = lay_out(symbol, size, margin, caption=bool(look.caption))
    return Drawing(symbol, layout, look, logo)


def points(segments: tuple[Segment, ...]) -> list[tuple[float, float]]:
    """Where the outlines reach at most: all their points, control points included."""
    found = []
    for segment in segments:
        if isinstance(segment, Curve):
            found += [(segment.x1, segment.y1), (segment.x2, segment.y2)]
        if not isinstance(segment, Close):
            found.append((segment.x, segment.y))
    return found


def middles(image: Image.Image, drawing: Drawing) -> bytes:
    """Which modules are dark in their middle, as the symbol has them."""
    layout, grey = drawing.layout, image.convert("L")
    return bytes(
        grey.getpixel(
            (
                layout.left + x * layout.scale + layout.scale // 2,
                layout.top + y * layout.scale + layout.scale // 2,
            )
        )
        < 128
        for y in range(drawing.symbol.size)
        for x in range(drawing.symbol.size)
    )


@pytest.mark.parametrize("size", [300, 1024])
@pytest.mark.parametrize("furnished", [False, True], ids=["bare", "logo and caption"])
@pytest.mark.parametrize(("shape", "finder_shape"), SHAPES)
def test_every_look_is_read_by_both_readers(
    shape: ModuleShape, finder_shape: FinderShape, furnished: bool, size: int, tmp_path: Path
) -> None:
    look = Look(color=BLUE, shape=shape, finder_shape=finder_shape)
    logo = None
    if furnished:
        look, logo = replace(look, caption="Scan me"), make_logo(LogoType.SVG)
    image = view("svg", SVG.render(make_drawing(look, logo, size=size)))
    assert image.size == (size, size)
    assert read(image.convert("L")).text == LINK
    image.save(tmp_path / "image.png")
    assert read_with_zbar(tmp_path / "image.png") == LINK


@pytest.mark.parametrize("finder_shape", [FinderShape.ROUNDED, FinderShape.CIRCLE])
@pytest.mark.parametrize("size", [900, 1024, 1400, 2000])
def test_large_finder_patterns_are_found_whatever_the_code_says(
    finder_shape: FinderShape, size: int, tmp_path: Path
) -> None:
    chance = random.Random(size)
    for length in (0, 49):
        page = "https://example.com/" + "".join(chance.choices("abcdefgh/", k=length))
        link = page if length else f"{LINK[:-8]}{size:08}"
        symbol = SegnoEncoder().encode(link, ErrorCorrection.M)
        look = Look(color="#949494", shape=ModuleShape.ROUNDED, finder_shape=finder_shape)
        path = tmp_path / "image.png"
        path.write_bytes(PNG.render(make_drawing(look, symbol=symbol, size=size)))
        assert read_with_zbar(path) == link


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=st.sampled_from(ModuleShape),
    finder_shape=st.sampled_from(FinderShape),
    background=st.sampled_from([CREAM, TRANSPARENT]),
    furnished=st.booleans(),
    size=st.integers(min_value=100, max_value=900),
    margin=st.integers(min_value=0, max_value=20),
    symbol=st.sampled_from([SYMBOL, MICRO]),
)
def test_a_png_shows_what_the_svg_shows(
    shape: ModuleShape,
    finder_shape: FinderShape,
    background: str,
    furnished: bool,
    size: int,
    margin: int,
    symbol: Symbol,
) -> None:
    look = Look(BLUE, background, shape, finder_shape, caption="Größe" if furnished else "")
    logo = make_logo(LogoType.SVG) if furnished else None
    drawing = make_drawing(look, logo, size=size, margin=margin, symbol=symbol)
    with Image.open(io.BytesIO(PNG.render(drawing))) as image:
        seen = image.convert("RGBA")
    ours = Image.new("RGBA", seen.size, "white")
    ours.alpha_composite(seen)
    theirs = view("svg", SVG.render(drawing))
    difference = ImageChops.difference(ours.convert("L"), theirs.convert("L"))
    # Pieces are smoothed at their edges as the whole is, but for the rounding of coordinates.
    assert difference.getextrema()[1] <= 40
    assert sum(difference.histogram()[4:]) <= size * size / 200


def test_large_tiles_are_drawn_as_small_ones_are() -> None:
    drawing = make_drawing(Look(shape=ModuleShape.DOT), symbol=MICRO, size=2000, margin=2)
    assert drawing.layout.scale > tiles._LARGEST_KEPT
    with Image.open(io.BytesIO(PNG.render(drawing))) as image:
        picture = image.convert("L").reduce(8)
    assert read(picture, zxingcpp.BarcodeFormat.MicroQRCode).text == "QUIET"


@pytest.mark.parametrize(("shape", "finder_shape"), SHAPES)
def test_an_eps_file_shows_the_same_picture_as_the_svg(
    shape: ModuleShape, finder_shape: FinderShape
) -> None:
    look = Look(BLUE, CREAM, shape, finder_shape, caption="Scan me")
    drawing = make_drawing(look, make_logo(LogoType.SVG), size=600)
    pictures = [view(name, vector.render(drawing)) for name, vector in VECTORS.items()]
    assert read(pictures[1].convert("L")).text == LINK
    # The edges of this logo run through the middle of modules, and so do those of circles.
    hole = logo_hole(SYMBOL.size, look.logo_size)
    edges = {(y, x) for y in hole for x in hole}
    if finder_shape is FinderShape.CIRCLE:
        edges |= {
            (top + y, left + x)
            for left, top in SYMBOL.finders
            for y, x in product((0, 1, 5, 6), repeat=2)
        }
    beside = [
        number for number in range(SYMBOL.size**2) if divmod(number, SYMBOL.size) not in edges
    ]
    ours, theirs, _ = (middles(picture, drawing) for picture in pictures)
    assert [ours[number] for number in beside] == [theirs[number] for number in beside]
    for picture in pictures:
        assert picture.size == (600, 600)
        assert picture.getpixel((0, 0)) == (255, 243, 208)
        assert picture.getpixel((300, drawing.layout.top + drawing.layout.scale * 14)) == RED


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("symbol", [SYMBOL, MICRO], ids=["QR", "Micro QR"])
@pytest.mark.parametrize(("shape", "finder_shape"), SHAPES)
def test_the_middle_of_every_module_is_as_the_symbol_has_it(
    name: str, symbol: Symbol, shape: ModuleShape, finder_shape: FinderShape
) -> None:
    drawing = make_drawing(Look(shape=shape, finder_shape=finder_shape), symbol=symbol, size=500)
    seen = bytearray(middles(view(name, VECTORS[name].render(drawing)), drawing))
    if finder_shape is not FinderShape.SQUARE:
        # Round corners lose modules; across the middle, where readers look, none is lost.
        for (left, top), x, y in product(symbol.finders, range(7), range(7)):
            if 3 not in (x, y):
                at = (top + y) * symbol.size + left + x
                seen[at] = symbol.modules[at]
    assert bytes(seen) == symbol.modules


@settings(max_examples=60, deadline=None, derandomize=True)
@given(modules=st.binary(min_size=121, max_size=121).map(lambda data: bytes(b & 1 for b in data)))
def test_rounded_outlines_hold_all_dark_modules_and_no_light_one(modules: bytes) -> None:
    symbol = Symbol(1, None, 11, modules, SymbolKind.MICRO)
    drawing = make_drawing(Look(shape=ModuleShape.ROUNDED), symbol=symbol, size=210, margin=2)
    seen = middles(view("svg", SVG.render(drawing)), drawing)
    for y in range(11):
        for x in range(11):
            if x >= 7 or y >= 7:
                assert seen[y * 11 + x] == modules[y * 11 + x], (x, y)


def test_rounded_modules_have_one_outline_around_all_neighbours() -> None:
    modules = bytearray(121)
    for x, y in ((8, 0), (9, 0), (8, 1), (9, 1), (10, 2)):
        modules[y * 11 + x] = 1
    symbol = Symbol(1, None, 11, bytes(modules), SymbolKind.MICRO)
    look = Look(shape=ModuleShape.ROUNDED)
    shape = compose(make_drawing(look, symbol=symbol, size=210, margin=2)).shape
    # Three outlines are the finder pattern's; the four modules have one, and the last its own.
    assert sum(isinstance(segment, Move) for segment in shape) == 3 + 2
    assert sum(isinstance(segment, Curve) for segment in shape) == 4 + 4


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("media_type", LogoType)
def test_a_logo_keeps_its_proportions_within_a_hole_of_its_own(
    name: str, media_type: LogoType
) -> None:
    drawing = make_drawing(Look(logo_size=30), make_logo(media_type), size=740, margin=4)
    scale, left = drawing.layout.scale, drawing.layout.left
    hole = logo_hole(SYMBOL.size, 30)
    image = view(name, VECTORS[name].render(drawing))
    inner = image.crop(
        (
            left + hole.start * scale,
            left + hole.start * scale,
            left + hole.stop * scale,
            left + hole.stop * scale,
        )
    )
    assert {color for _, color in inner.getcolors(1 << 16) or ()} >= {RED, (255, 255, 255)}
    assert not any(max(color) < 128 for _, color in inner.getcolors(1 << 16) or ())
    # Red alone is dark in blue.
    box = inner.getchannel("B").point(lambda value: 255 if value < 128 else 0).getbbox()
    assert box is not None
    width, height = box[2] - box[0], box[3] - box[1]
    assert abs(width - (len(hole) - 1) * scale) <= 2
    assert abs(width - 2 * height) <= 2
    assert abs(box[0] + box[2] - inner.width) <= 2
    assert abs(box[1] + box[3] - inner.height) <= 2


def test_a_logo_is_embedded_as_it_is() -> None:
    for media_type in LogoType:
        logo = make_logo(media_type)
        image = ElementTree.fromstring(SVG.render(make_drawing(logo=logo))).find(
            f"{NAMESPACE}image"
        )
        assert image is not None
        start, _, data = image.get("href", "").partition(",")
        assert start == f"data:{media_type.value};base64"
        assert base64.b64decode(data, validate=True) == logo.data


@pytest.mark.parametrize("name", VECTORS)
def test_a_transparent_logo_shows_the_background(name: str) -> None:
    clear = replace(make_logo(LogoType.PNG), data=_clear_png())
    drawing = make_drawing(Look(background=CREAM), clear)
    image = view(name, VECTORS[name].render(drawing))
    assert image.getpixel((150, 150)) == (255, 243, 208)


def _clear_png() -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (200, 100), (0, 0, 0, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("margin", [0, 4, 10])
@pytest.mark.parametrize(
    "caption", ["Scan me", "ÄÖÜ gjpqy Ắ → ½", "Забронировать столик · Κράτηση τραπεζιού!"]
)
def test_a_caption_stands_within_its_band_and_in_its_middle(
    name: str, caption: str, margin: int
) -> None:
    drawing = make_drawing(Look(caption=caption), size=500, margin=margin)
    layout = drawing.layout
    image = view(name, VECTORS[name].render(drawing)).convert("L")
    below = layout.top + layout.scale * SYMBOL.size
    dark = image.point(lambda value: 255 if value < 128 else 0)
    box = dark.crop((0, below, 500, 500)).getbbox()
    assert box is not None
    left, top, right, bottom = box
    assert layout.caption_top <= below + top
    assert below + bottom <= layout.caption_top + layout.caption_height
    assert left > 0
    assert right < 500
    assert abs((left + right) - 500) <= 4
    # Either the height or the width is used.
    assert bottom - top > layout.caption_height / 3 or right - left > 400


def test_a_character_that_the_font_lacks_is_named() -> None:
    for caption, named in (
        ("Menü 菜单", r"'菜' \(U\+83DC"),
        ("line\nbreak", r"with \(U\+000A"),
        ("party 🎉", "PARTY POPPER"),
    ):
        for vector in VECTORS.values():
            with pytest.raises(ValueError, match=named):
                vector.render(make_drawing(Look(caption=caption)))


def test_letters_with_separate_accents_are_drawn_like_those_with_their_own() -> None:
    box = Box(0, 0, 100, 10)
    assert lettering("Cafe\N{COMBINING ACUTE ACCENT}", box) == lettering("Café", box)


def test_a_caption_of_blanks_draws_nothing() -> None:
    assert lettering("  ", Box(0, 0, 100, 10)) == ()


def test_many_threads_may_letter_at_once() -> None:
    face, start = _Face(FONT), Barrier(8)

    def draw() -> list[object]:
        start.wait()
        return [face.glyph(letter) for letter in "Scan me: Größe"]

    with ThreadPoolExecutor(8) as pool:
        drawn = [job.result() for job in [pool.submit(draw) for _ in range(8)]]
    assert all(one == drawn[0] for one in drawn)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=st.sampled_from(ModuleShape),
    finder_shape=st.sampled_from(FinderShape),
    size=st.integers(min_value=100, max_value=2000),
    margin=st.integers(min_value=0, max_value=20),
    caption=st.text("aÅgjyЖΩ→ ", max_size=40),
)
def test_nothing_is_drawn_outside_the_image(
    shape: ModuleShape, finder_shape: FinderShape, size: int, margin: int, caption: str
) -> None:
    look = Look(shape=shape, finder_shape=finder_shape, caption=caption)
    artwork = compose(make_drawing(look, make_logo(LogoType.SVG), size=size, margin=margin))
    far_x, far_y = artwork.extent - artwork.left, artwork.extent - artwork.top
    assert all(
        -artwork.left - 1e-9 <= x <= far_x + 1e-9 and -artwork.top - 1e-9 <= y <= far_y + 1e-9
        for x, y in points(artwork.shape + artwork.caption)
    )
    assert all(0 <= x <= SYMBOL.size and 0 <= y <= SYMBOL.size for x, y in points(artwork.shape))
    assert artwork.logo is not None
    hole = logo_hole(SYMBOL.size, look.logo_size)
    assert hole.start < artwork.logo.x < artwork.logo.x + artwork.logo.width < hole.stop


def test_only_whole_modules_go_without_smooth_edges() -> None:
    for shape, finder_shape in SHAPES:
        data = SVG.render(make_drawing(Look(shape=shape, finder_shape=finder_shape)))
        square = (shape, finder_shape) == (ModuleShape.SQUARE, FinderShape.SQUARE)
        assert (b"crispEdges" in data) is square


def test_a_transparent_background_is_none() -> None:
    drawing = make_drawing(Look(background=TRANSPARENT))
    assert b"<rect" not in SVG.render(drawing)
    assert b"rectfill" not in EPS.render(drawing)


@pytest.mark.parametrize(
    ("width_mm", "written"), [(25.4, "25.4mm"), (30, "30mm"), (12.345, "12.345mm")]
)
def test_a_width_in_print_is_written_exactly(width_mm: float, written: str) -> None:
    drawing = replace(make_drawing(), width_mm=width_mm)
    root = ElementTree.fromstring(SVG.render(drawing))
    assert (root.get("width"), root.get("height")) == (written, written)
    bounds = re.search(rb"%%HiResBoundingBox: 0 0 (\S+) (\S+)\n", EPS.render(drawing))
    assert bounds is not None
    assert float(bounds[1]) == float(bounds[2]) == pytest.approx(width_mm / 25.4 * 72, abs=1e-4)


def test_an_eps_file_without_a_width_in_print_has_300_dots_an_inch() -> None:
    data = EPS.render(make_drawing(size=310))
    assert b"%%BoundingBox: 0 0 75 75\n%%HiResBoundingBox: 0 0 74.4 74.4\n" in data


@pytest.mark.parametrize(
    "title", ["</title><script>alert(1)</script>", "a & b ]]> \x00\x1b", "Größe: 菜单 🎉", "\ud800"]
)
def test_a_title_stays_text_in_an_svg(title: str) -> None:
    root = ElementTree.fromstring(SVG.render(replace(make_drawing(), title=title)))
    assert [child.tag for child in root] == [
        f"{NAMESPACE}{tag}" for tag in ("title", "rect", "path")
    ]
    assert root[0].text == re.sub("[\x00\x1b\ud800]", "\ufffd", title)


@pytest.mark.parametrize(
    "title", [")\nshowpage quit\n%%EOF", "\\", "(" * 500, "é\r%%BoundingBox: 0 0 9 9"]
)
def test_a_title_stays_a_comment_in_an_eps_file(title: str) -> None:
    plain = EPS.render(make_drawing())
    data = EPS.render(replace(make_drawing(), title=title))
    data.decode("ascii")
    lines, usual = data.split(b"\n"), plain.split(b"\n")
    assert len(lines) == len(usual)
    assert [line for line in lines if line not in usual] == [lines[2]]
    assert lines[2].startswith(b"%%Title: (")
    assert lines[2].endswith(b")")
    assert all(len(line) <= 255 for line in lines)
    assert b"\r" not in data


def test_the_lines_of_an_eps_file_are_short_and_none_is_a_false_comment() -> None:
    file = io.BytesIO()
    Image.effect_noise((400, 400), 90).save(file, "PNG")
    logo = replace(make_logo(LogoType.PNG, 400, 400), data=file.getvalue())
    look = Look(shape=ModuleShape.ROUNDED, caption="Scan me")
    lines = EPS.render(make_drawing(look, logo)).split(b"\n")
    assert max(map(len, lines)) <= 255
    start = lines.index(b"gsave", lines.index(b"%%Page: 1 1") + 2)
    assert not any(line.startswith(b"%") for line in lines[start:-2])


@pytest.mark.parametrize("name", VECTORS)
def test_the_same_look_gives_the_same_bytes(name: str) -> None:
    look = Look(BLUE, CREAM, ModuleShape.DOT, FinderShape.CIRCLE, caption="Scan me")
    drawings = [make_drawing(look, make_logo(LogoType.SVG)) for _ in range(2)]
    assert VECTORS[name].render(drawings[0]) == type(VECTORS[name])().render(drawings[1])
