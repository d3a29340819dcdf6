from __future__ import annotations

import io
import re
import zlib
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pypdfium2
import pytest
from msgspec.structs import replace
from PIL import Image

from core.api import (
    TRANSPARENT,
    Drawing,
    ErrorCorrection,
    FinderShape,
    Layout,
    LogoType,
    Look,
    ModuleShape,
    Renderer,
    Symbol,
    lay_out,
    logo_hole,
)
from plugins.encoders.segno_encoder import SegnoEncoder
from plugins.renderers import eps, pdf, png, svg, webp
from tests.contract.reading import read, read_with_zbar
from tests.contract.test_looks import SHAPES, make_drawing, make_logo, middles
from tests.contract.viewing import view

LINK = "HTTPS://QR.EXAMPLE/R/7KQ2VX9B"
SYMBOL = SegnoEncoder().encode(LINK, ErrorCorrection.M)
LARGEST = SegnoEncoder().encode("quiet zone " * 211, ErrorCorrection.M)

SIZES = (100, 177, 300, 1024, 2000)
MARGINS = (0, 2, 4, 10)

RENDERERS: dict[str, Renderer] = {
    **eps.qz_renderers(),
    **pdf.qz_renderers(),
    **png.qz_renderers(),
    **svg.qz_renderers(),
    **webp.qz_renderers(),
}


def rasterize(name: str, data: bytes) -> Image.Image:
    """What a viewer shows of an image, in grey."""
    image = view(name, data).convert("L")
    # pdfium divides pixels into 256 parts, and does not round: edges may be a part, corners two,
    # beside their place.
    return image.point(lambda value: 255 if value >= 253 else value) if name == "pdf" else image


@cache
def shown(name: str, symbol: Symbol, size: int, margin: int) -> Image.Image:
    """What a viewer shows of a symbol; several tests look at the same picture."""
    return rasterize(name, RENDERERS[name].render(Drawing(symbol, lay_out(symbol, size, margin))))


def draw(symbol: Symbol, layout: Layout) -> bytes:
    """The grey pixels that the layout asks for, worked out one by one."""
    pixels = bytearray()
    for y in range(layout.size):
        for x in range(layout.size):
            column, row = (x - layout.left) // layout.scale, (y - layout.top) // layout.scale
            inside = 0 <= column < symbol.size and 0 <= row < symbol.size
            pixels.append(0 if inside and symbol.modules[row * symbol.size + column] else 255)
    return bytes(pixels)


@pytest.fixture(params=RENDERERS.items(), ids=RENDERERS.keys())
def named(request: pytest.FixtureRequest) -> tuple[str, Renderer]:
    return request.param


def test_the_plugins_offer_renderers_under_the_names_of_their_formats() -> None:
    assert {name: r.media_type for name, r in RENDERERS.items()} == {
        "eps": "application/postscript",
        "pdf": "application/pdf",
        "png": "image/png",
        "svg": "image/svg+xml",
        "webp": "image/webp",
    }
    assert all(isinstance(renderer, Renderer) for renderer in RENDERERS.values())
    assert len({renderer.fingerprint for renderer in RENDERERS.values()}) == len(RENDERERS)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("size", SIZES)
def test_the_image_has_the_exact_size_and_is_read(
    named: tuple[str, Renderer], size: int, margin: int
) -> None:
    image = shown(named[0], SYMBOL, size, margin)
    assert image.size == (size, size)
    if margin == 0:
        # Readers need light around the symbol; without a quiet zone the page has to give it.
        page = Image.new("L", (size + 40, size + 40), 255)
        page.paste(image, (20, 20))
        image = page
    assert read(image).text == LINK


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("size", [100, 177, 300])
def test_every_pixel_is_where_the_layout_puts_it(
    named: tuple[str, Renderer], size: int, margin: int
) -> None:
    image = shown(named[0], SYMBOL, size, margin)
    assert image.tobytes() == draw(SYMBOL, lay_out(SYMBOL, size, margin))


@pytest.mark.parametrize("symbol", [SYMBOL, LARGEST], ids=["version 2", "version 40"])
@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("size", SIZES)
def test_all_formats_show_the_same_picture(symbol: Symbol, size: int, margin: int) -> None:
    if size < symbol.size + 2 * margin:
        with pytest.raises(ValueError, match=str(symbol.size + 2 * margin)):
            lay_out(symbol, size, margin)
        return
    pictures = {name: shown(name, symbol, size, margin).tobytes() for name in RENDERERS}
    assert set(pictures.values()) == {pictures["png"]}


def test_a_symbol_of_version_40_is_read_from_the_largest_image(
    named: tuple[str, Renderer],
) -> None:
    name, renderer = named
    image = rasterize(name, renderer.render(Drawing(LARGEST, lay_out(LARGEST, 2000, 4))))
    assert read(image).text == "quiet zone " * 211


def test_the_same_input_gives_the_same_bytes(named: tuple[str, Renderer]) -> None:
    _, renderer = named
    layout = lay_out(SYMBOL, 300, 4)
    assert renderer.render(Drawing(SYMBOL, layout)) == renderer.render(Drawing(SYMBOL, layout))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("margin", [4, 10])
def test_another_reader_reads_it_too(
    named: tuple[str, Renderer], size: int, margin: int, tmp_path: Path
) -> None:
    path = tmp_path / "image.png"
    shown(named[0], SYMBOL, size, margin).save(path)
    assert read_with_zbar(path) == LINK


def test_an_svg_is_a_title_a_white_square_and_one_path() -> None:
    drawing = Drawing(SYMBOL, lay_out(SYMBOL, 300, 4), title="<Tom & Jerry>")
    data = RENDERERS["svg"].render(drawing)
    assert data.startswith(b'<svg xmlns="http://www.w3.org/2000/svg" ')
    root = ElementTree.fromstring(data)
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    assert (root.get("width"), root.get("height")) == ("300", "300")
    # 37 pixels to the left of the symbol, at 9 pixels a module.
    assert root.get("viewBox") == "-4.11111 -4.11111 33.33333 33.33333"
    title, rect, path = root
    assert (title.tag, title.text) == (f"{space}title", "<Tom & Jerry>")
    assert (rect.tag, path.tag) == (f"{space}rect", f"{space}path")
    assert (rect.get("x"), rect.get("width"), rect.get("fill")) == ("-4.11111", "33.33333", "#fff")
    assert path.get("shape-rendering") == "crispEdges"
    assert re.fullmatch(r"(M0 \d+(m\d+ 0v1h-\d+v-1z)*)+", path.get("d", ""))


def test_an_svg_for_print_is_sized_in_millimetres() -> None:
    drawing = Drawing(SYMBOL, lay_out(SYMBOL, 300, 4), width_mm=25.4)
    root = ElementTree.fromstring(RENDERERS["svg"].render(drawing))
    assert (root.get("width"), root.get("height")) == ("25.4mm", "25.4mm")


PLAIN = Drawing(SYMBOL, lay_out(SYMBOL, 300, 4))
PATH, IMAGE = pypdfium2.raw.FPDF_PAGEOBJ_PATH, pypdfium2.raw.FPDF_PAGEOBJ_IMAGE


def side_mm(data: bytes) -> tuple[float, float]:
    with pypdfium2.PdfDocument(data) as document:
        (page,) = document
        width, height = page.get_size()
    return width / 72 * 25.4, height / 72 * 25.4


def objects(data: bytes) -> list[int]:
    """The kinds of what a PDF file paints."""
    with pypdfium2.PdfDocument(data) as document:
        (page,) = document
        return [thing.type for thing in page.get_objects()]


def operators(data: bytes) -> bytes:
    """What a PDF file writes on its pages, without its pictures."""
    streams = re.findall(rb"stream\n(.*?)endstream", data, re.DOTALL)
    return b"\n".join(zlib.decompress(stream) for stream in streams)


@pytest.mark.parametrize("width_mm", [1, 12.345, 25.4, 210, 5080])
def test_a_pdf_has_its_true_size(width_mm: float) -> None:
    width, height = side_mm(RENDERERS["pdf"].render(replace(PLAIN, width_mm=width_mm)))
    assert (width, height) == (pytest.approx(width_mm, abs=0.01),) * 2


@pytest.mark.parametrize("size", [100, 177, 300, 2000])
def test_a_pdf_without_a_width_in_print_has_300_dots_an_inch(size: int) -> None:
    drawing = Drawing(SYMBOL, lay_out(SYMBOL, size, 4))
    width, height = side_mm(RENDERERS["pdf"].render(drawing))
    assert (width, height) == (pytest.approx(size / 300 * 25.4, abs=0.01),) * 2


def test_a_pdf_that_no_program_need_show_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at most 5080 mm wide; got 6000 mm; .* or svg or eps"):
        RENDERERS["pdf"].render(replace(PLAIN, width_mm=6000))


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Table 1", "Table 1"),
        ("Größe: 菜单 🎉", "Größe: 菜单 🎉"),
        ("a) (b \\", "a) (b \\"),
        ("þÿ", "þÿ"),
        ("\ud800 \x00\n", "\ufffd \ufffd\ufffd"),
        ("", ""),
    ],
)
def test_a_pdf_has_its_title_and_no_dates(title: str, shown: str) -> None:
    data = RENDERERS["pdf"].render(replace(PLAIN, title=title))
    with pypdfium2.PdfDocument(data) as document:
        found = document.get_metadata_dict()
    assert found["Title"] == shown
    assert found["Producer"] == "Quietzone"
    assert found["CreationDate"] == found["ModDate"] == ""


def test_a_plain_pdf_is_a_background_and_one_path_in_black_ink() -> None:
    data = RENDERERS["pdf"].render(PLAIN)
    assert objects(data) == [PATH, PATH]
    assert b"Helvetica" not in data
    assert b"/PrintScaling /None" in data
    assert operators(data).count(b" g") == 2
    assert b"rg" not in operators(data)
    assert b"rg" in operators(RENDERERS["pdf"].render(replace(PLAIN, look=Look("#0a3d62"))))


def test_the_transparent_background_of_a_pdf_is_none() -> None:
    assert objects(RENDERERS["pdf"].render(make_drawing(Look(background=TRANSPARENT)))) == [PATH]


@pytest.mark.parametrize(("shape", "finder_shape"), SHAPES)
def test_a_pdf_shows_every_look_as_the_svg_does(
    shape: ModuleShape, finder_shape: FinderShape, tmp_path: Path
) -> None:
    look = Look("#0a3d62", "#fff3d0", shape, finder_shape, caption="Scan me")
    drawing = make_drawing(look, make_logo(LogoType.SVG), size=600)
    ours, theirs = (view(name, RENDERERS[name].render(drawing)) for name in ("pdf", "svg"))
    # The edges of the logo run through the middle of modules.
    size, hole = drawing.symbol.size, logo_hole(drawing.symbol.size, look.logo_size)
    for at, (one, other) in enumerate(
        zip(middles(ours, drawing), middles(theirs, drawing), strict=True)
    ):
        assert one == other or (at % size in hole and at // size in hole)
    assert ours.size == (600, 600)
    assert ours.getpixel((0, 0)) == (255, 243, 208)
    assert ours.getpixel((300, drawing.layout.top + drawing.layout.scale * 14)) == (227, 54, 44)
    assert read(ours.convert("L")).text == LINK
    ours.save(tmp_path / "image.png")
    assert read_with_zbar(tmp_path / "image.png") == LINK
    # Two captions of the same outlines differ in how their edges are smoothed, and nowhere else.
    band = (0, drawing.layout.caption_top, 600, 600)
    dark = [
        sum(picture.convert("L").crop(band).point(lambda value: value < 128).tobytes())
        for picture in (ours, theirs)
    ]
    assert dark[0] == pytest.approx(dark[1], rel=0.05)


def test_a_logo_in_a_pdf_has_soft_edges() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (200, 200), (227, 54, 44, 128)).save(file, "PNG")
    logo = replace(make_logo(LogoType.PNG, 200, 200), data=file.getvalue())
    data = RENDERERS["pdf"].render(make_drawing(Look(background="#fff3d0"), logo))
    assert objects(data) == [PATH, PATH, IMAGE]
    assert b"/SMask" in data
    red, green, blue = view("pdf", data).getpixel((150, 150))
    assert (red, green, blue) == tuple(
        pytest.approx((above + below) / 2, abs=2)
        for above, below in zip((227, 54, 44), (255, 243, 208), strict=True)
    )
    assert b"/SMask" not in RENDERERS["pdf"].render(make_drawing(logo=make_logo(LogoType.PNG)))


@pytest.mark.parametrize(("width_mm", "pixels"), [(20, 600), (800, 2016), (3000, 2400)])
def test_an_svg_logo_in_a_pdf_is_as_fine_as_its_print_needs(width_mm: float, pixels: int) -> None:
    drawing = replace(make_drawing(Look(logo_size=30), make_logo(LogoType.SVG)), width_mm=width_mm)
    data = RENDERERS["pdf"].render(drawing)
    widths = [int(width) for width in re.findall(rb"/Width (\d+)", data)]
    assert widths
    assert all(abs(width - pixels) <= 1 for width in widths)


def test_the_same_look_gives_the_same_pdf() -> None:
    look = Look(shape=ModuleShape.DOT, caption="Scan me")
    first, second = (
        pdf.PdfRenderer().render(make_drawing(look, make_logo(LogoType.SVG))) for _ in range(2)
    )
    assert first == second
