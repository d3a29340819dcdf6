from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from core.api import Drawing, ErrorCorrection, Layout, Renderer, Symbol, lay_out
from plugins.encoders.segno_encoder import SegnoEncoder
from plugins.renderers import eps, png, svg, webp
from tests.contract.reading import read, read_with_zbar
from tests.contract.viewing import view

LINK = "HTTPS://QR.EXAMPLE/R/7KQ2VX9B"
SYMBOL = SegnoEncoder().encode(LINK, ErrorCorrection.M)
LARGEST = SegnoEncoder().encode("quiet zone " * 211, ErrorCorrection.M)

SIZES = (100, 177, 300, 1024, 2000)
MARGINS = (0, 2, 4, 10)

RENDERERS: dict[str, Renderer] = {
    **eps.qz_renderers(),
    **png.qz_renderers(),
    **svg.qz_renderers(),
    **webp.qz_renderers(),
}


def rasterize(name: str, data: bytes) -> Image.Image:
    """What a viewer shows of an image, in grey."""
    return view(name, data).convert("L")


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
    name, renderer = named
    image = rasterize(name, renderer.render(Drawing(SYMBOL, lay_out(SYMBOL, size, margin))))
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
    name, renderer = named
    layout = lay_out(SYMBOL, size, margin)
    image = rasterize(name, renderer.render(Drawing(SYMBOL, layout)))
    assert image.tobytes() == draw(SYMBOL, layout)


@pytest.mark.parametrize("symbol", [SYMBOL, LARGEST], ids=["version 2", "version 40"])
@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("size", SIZES)
def test_all_formats_show_the_same_picture(symbol: Symbol, size: int, margin: int) -> None:
    if size < symbol.size + 2 * margin:
        with pytest.raises(ValueError, match=str(symbol.size + 2 * margin)):
            lay_out(symbol, size, margin)
        return
    layout = lay_out(symbol, size, margin)
    pictures = {
        name: rasterize(name, renderer.render(Drawing(symbol, layout))).tobytes()
        for name, renderer in RENDERERS.items()
    }
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
    name, renderer = named
    path = tmp_path / "image.png"
    rasterize(name, renderer.render(Drawing(SYMBOL, lay_out(SYMBOL, size, margin)))).save(path)
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
