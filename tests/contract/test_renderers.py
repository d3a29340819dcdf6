from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from xml.etree import ElementTree

import pytest
import resvg_py
from PIL import Image

from core.api import Drawing, ErrorCorrection, Layout, Renderer, Symbol, lay_out
from plugins.encoders.segno_encoder import SegnoEncoder
from plugins.renderers import png, svg
from tests.contract.reading import grey, read, read_with_zbar

LINK = "HTTPS://QR.EXAMPLE/R/7KQ2VX9B"
SYMBOL = SegnoEncoder().encode(LINK, ErrorCorrection.M)
LARGEST = SegnoEncoder().encode("quiet zone " * 211, ErrorCorrection.M)

SIZES = (100, 177, 300, 1024, 2000)
MARGINS = (0, 2, 4, 10)

RENDERERS: dict[str, Renderer] = {**png.qz_renderers(), **svg.qz_renderers()}


def rasterize(name: str, data: bytes) -> Image.Image:
    """What a viewer shows of an image, in grey."""
    if name == "svg":
        return grey(resvg_py.svg_to_bytes(svg_string=data.decode(), skip_system_fonts=True))
    return grey(data)


def draw(symbol: Symbol, layout: Layout) -> bytes:
    """The grey pixels that the layout asks for, worked out one by one."""
    pixels = bytearray()
    for y in range(layout.size):
        for x in range(layout.size):
            column, row = (x - layout.left) // layout.scale, (y - layout.top) // layout.scale
            inside = 0 <= column < symbol.size and 0 <= row < symbol.size
            pixels.append(0 if inside and symbol.modules[row * symbol.size + column] else 255)
    return bytes(pixels)


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG file; fails for a wrong signature, checksum or length."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        assert zlib.crc32(kind + body) == checksum, f"the checksum of {kind!r} is wrong"
        chunks.append((kind, body))
        at += 12 + length
    assert at == len(data)
    return chunks


@pytest.fixture(params=RENDERERS.items(), ids=RENDERERS.keys())
def named(request: pytest.FixtureRequest) -> tuple[str, Renderer]:
    return request.param


def test_the_plugins_offer_renderers_under_the_names_of_their_formats() -> None:
    assert {name: r.media_type for name, r in RENDERERS.items()} == {
        "png": "image/png",
        "svg": "image/svg+xml",
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
    assert rasterize(name, renderer.render(Drawing(SYMBOL, layout))).tobytes() == draw(SYMBOL, layout)


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
    assert pictures["svg"] == pictures["png"]


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


@pytest.mark.parametrize("content", ["Käse & Brötchen", "あい", "🎉 ok", "Ã¼"])
def test_other_readers_agree_on_text_beyond_ascii(content: str, tmp_path: Path) -> None:
    symbol = SegnoEncoder().encode(content, ErrorCorrection.M)
    path = tmp_path / "image.png"
    path.write_bytes(RENDERERS["png"].render(Drawing(symbol, lay_out(symbol, 300, 4))))
    assert read_with_zbar(path) == content


@pytest.mark.parametrize("size", SIZES)
def test_a_png_is_well_formed_from_end_to_end(size: int) -> None:
    chunks = png_chunks(RENDERERS["png"].render(Drawing(SYMBOL, lay_out(SYMBOL, size, 4))))
    assert [kind for kind, _ in chunks] == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    parts = dict(chunks)
    # One bit a pixel, indexed colour, and the only compression, filtering and order there are.
    assert parts[b"IHDR"] == struct.pack(">IIBBBBB", size, size, 1, 3, 0, 0, 0)
    assert parts[b"PLTE"] == b"\xff\xff\xff\x00\x00\x00"
    assert parts[b"IEND"] == b""
    rows = zlib.decompress(parts[b"IDAT"])
    row = 1 + (size + 7) // 8
    assert len(rows) == row * size
    assert {rows[at] for at in range(0, len(rows), row)} <= {0, 2}


def test_a_png_of_the_usual_size_takes_few_bytes() -> None:
    assert len(RENDERERS["png"].render(Drawing(SYMBOL, lay_out(SYMBOL, 300, 4)))) < 480


def test_the_fingerprint_of_png_tells_the_version_of_zlib() -> None:
    assert RENDERERS["png"].fingerprint.endswith(f"zlib-{zlib.ZLIB_RUNTIME_VERSION}")


def test_an_svg_is_a_white_square_and_one_path_and_nothing_else() -> None:
    data = RENDERERS["svg"].render(Drawing(SYMBOL, lay_out(SYMBOL, 300, 4)))
    assert data.startswith(b'<svg xmlns="http://www.w3.org/2000/svg" ')
    root = ElementTree.fromstring(data)
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    assert (root.get("width"), root.get("height")) == ("300", "300")
    assert root.get("viewBox") == "0 0 300 300"
    assert root.get("shape-rendering") == "crispEdges"
    rect, path = root
    assert (rect.tag, path.tag) == (f"{space}rect", f"{space}path")
    assert (rect.get("width"), rect.get("height"), rect.get("fill")) == ("300", "300", "#fff")
    assert re.fullmatch(r"(M\d+ \d+h\d+v1H\d+z)+", path.get("d", ""))
