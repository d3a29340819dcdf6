from __future__ import annotations

import io
import random
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.api import (
    TRANSPARENT,
    Drawing,
    ErrorCorrection,
    FinderShape,
    Layout,
    Look,
    ModuleShape,
    Renderer,
    Symbol,
    lay_out,
)
from plugins.encoders.segno_encoder import SegnoEncoder
from plugins.renderers import png
from tests.contract.reading import grey, read, read_with_zbar

LINK = "HTTPS://QR.EXAMPLE/R/7KQ2VX9B"
SYMBOL = SegnoEncoder().encode(LINK, ErrorCorrection.M)
VERSION_3 = SegnoEncoder().encode(LINK.lower(), ErrorCorrection.Q)
VERSION_10 = SegnoEncoder().encode("quiet zone " * 19, ErrorCorrection.M)
LARGEST = SegnoEncoder().encode("quiet zone " * 211, ErrorCorrection.M)
SYMBOLS = (SYMBOL, VERSION_3, VERSION_10, LARGEST)

PNG: Renderer = png.qz_renderers()["png"]

BLUE_ON_CREAM = Look(color="#0a3d62", background="#fff8e7")
ON_NOTHING = Look(color="#0a3d62", background=TRANSPARENT)
ROUNDED = Look(shape=ModuleShape.ROUNDED, finder_shape=FinderShape.CIRCLE, color="#0a3d62")
FLOATING = Look(shape=ModuleShape.DOT, color="#0a3d62", background=TRANSPARENT)

LIGHT_AND_DARK = bytes.maketrans(b"\x00\x01", b"\xff\x00")


def expected(symbol: Symbol, layout: Layout) -> bytes:
    """The grey pixels that the layout asks for."""
    modules = Image.frombytes(
        "L", (symbol.size, symbol.size), symbol.modules.translate(LIGHT_AND_DARK)
    )
    side = layout.scale * symbol.size
    image = Image.new("L", (layout.size, layout.size), 255)
    image.paste(modules.resize((side, side), Image.Resampling.NEAREST), (layout.left, layout.top))
    return image.tobytes()


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGBA")


def draw(size: int = 300, look: Look | None = None, width_mm: float | None = None) -> bytes:
    layout = lay_out(SYMBOL, size, 4)
    return PNG.render(Drawing(SYMBOL, layout, look=look or Look(), width_mm=width_mm))


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG file; fails for a wrong signature, checksum or length."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        assert zlib.crc32(kind + body) == checksum, f"the checksum of {kind!r} is wrong"
        found.append((kind, body))
        at += 12 + length
    assert at == len(data)
    return found


def kinds(data: bytes) -> list[bytes]:
    return [kind for kind, _ in chunks(data)]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    symbol=st.sampled_from(SYMBOLS),
    size=st.integers(min_value=21, max_value=2400),
    margin=st.integers(min_value=0, max_value=20),
)
def test_every_pixel_is_where_the_layout_puts_it(symbol: Symbol, size: int, margin: int) -> None:
    layout = lay_out(symbol, max(size, symbol.size + 2 * margin), margin)
    assert grey(PNG.render(Drawing(symbol, layout))).tobytes() == expected(symbol, layout)


@pytest.mark.parametrize("symbol", SYMBOLS, ids=lambda symbol: f"version {symbol.version}")
def test_no_pixel_moves_where_the_way_of_compressing_changes(symbol: Symbol) -> None:
    banded = png._BANDED * (symbol.size + 2)
    for size in (png._SMALL, png._SMALL + 1, banded - 1, banded):
        layout = lay_out(symbol, size, 1)
        assert grey(PNG.render(Drawing(symbol, layout))).tobytes() == expected(symbol, layout)


@pytest.mark.parametrize("scale", range(1, 34))
@pytest.mark.parametrize("left_over", range(8))
def test_each_width_of_a_module_and_each_place_in_a_byte_is_right(
    scale: int, left_over: int
) -> None:
    layout = Layout(
        size=SYMBOL.size * scale + 2 * left_over,
        scale=scale,
        left=left_over,
        top=left_over,
        margin=0,
    )
    assert grey(PNG.render(Drawing(SYMBOL, layout))).tobytes() == expected(SYMBOL, layout)


def test_a_symbol_need_not_lie_in_the_middle() -> None:
    for layout in (
        Layout(size=900, scale=30, left=0, top=150, margin=0),
        Layout(size=900, scale=30, left=150, top=0, margin=0),
        Layout(size=300, scale=9, left=13, top=75, margin=1),
    ):
        assert grey(PNG.render(Drawing(SYMBOL, layout))).tobytes() == expected(SYMBOL, layout)


@pytest.mark.parametrize("look", [Look(), BLUE_ON_CREAM, ON_NOTHING, ROUNDED, FLOATING])
@pytest.mark.parametrize("size", [177, 300, 1024])
def test_readers_read_every_look(look: Look, size: int, tmp_path: Path) -> None:
    image = opened(draw(size, look))
    assert image.size == (size, size)
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image)
    assert read(page.convert("L")).text == LINK
    path = tmp_path / "page.png"
    page.convert("L").save(path)
    assert read_with_zbar(path) == LINK


@pytest.mark.parametrize("content", ["Käse & Brötchen", "あい", "🎉 ok", "Ã¼"])
def test_other_readers_agree_on_text_beyond_ascii(content: str, tmp_path: Path) -> None:
    symbol = SegnoEncoder().encode(content, ErrorCorrection.M)
    path = tmp_path / "image.png"
    path.write_bytes(PNG.render(Drawing(symbol, lay_out(symbol, 300, 4))))
    assert read_with_zbar(path) == content


def test_colours_are_exactly_those_of_the_look() -> None:
    image = opened(draw(300, BLUE_ON_CREAM))
    layout = lay_out(SYMBOL, 300, 4)
    assert image.getpixel((layout.left, layout.top)) == (0x0A, 0x3D, 0x62, 255)
    assert image.getpixel((0, 0)) == (0xFF, 0xF8, 0xE7, 255)
    assert len(image.getcolors() or ()) == 2


@pytest.mark.parametrize("look", [ON_NOTHING, FLOATING])
def test_a_transparent_background_is_wholly_transparent_and_modules_are_not(look: Look) -> None:
    image, layout = opened(draw(300, look)), lay_out(SYMBOL, 300, 4)
    assert [image.getpixel(at)[3] for at in ((0, 0), (299, 0), (0, 299), (299, 299))] == [0] * 4
    # The middle of the dark centre of a finder pattern.
    middle = layout.left + 7 * layout.scale // 2
    assert image.getpixel((middle, middle)) == (0x0A, 0x3D, 0x62, 255)


@pytest.mark.parametrize(
    ("look", "width_mm", "order"),
    [
        (Look(), None, "IHDR PLTE IDAT IEND"),
        (Look(), 25.4, "IHDR PLTE pHYs IDAT IEND"),
        (ON_NOTHING, None, "IHDR PLTE tRNS IDAT IEND"),
        (ON_NOTHING, 25.4, "IHDR PLTE tRNS pHYs IDAT IEND"),
    ],
)
@pytest.mark.parametrize("size", [100, 177, 300, 1024, 2000])
def test_a_flat_image_is_well_formed_from_end_to_end(
    size: int, look: Look, width_mm: float | None, order: str
) -> None:
    data = draw(size, look, width_mm)
    assert b" ".join(kinds(data)).decode() == order
    parts = dict(chunks(data))
    # One bit a pixel, indexed colour, and the only compression, filtering and order there are.
    assert parts[b"IHDR"] == struct.pack(">IIBBBBB", size, size, 1, 3, 0, 0, 0)
    assert parts[b"IEND"] == b""
    stream = zlib.decompressobj()
    rows = stream.decompress(parts[b"IDAT"])
    assert stream.eof
    assert not stream.unused_data
    row = 1 + (size + 7) // 8
    assert len(rows) == row * size
    assert {rows[at] for at in range(0, len(rows), row)} <= {0, 2}


def test_the_palette_is_the_background_and_the_colour() -> None:
    assert dict(chunks(draw(look=Look())))[b"PLTE"] == b"\xff\xff\xff\x00\x00\x00"
    assert dict(chunks(draw(look=BLUE_ON_CREAM)))[b"PLTE"] == b"\xff\xf8\xe7\x0a\x3d\x62"
    transparent = dict(chunks(draw(look=ON_NOTHING)))
    assert (transparent[b"PLTE"], transparent[b"tRNS"]) == (b"\xff\xff\xff\x0a\x3d\x62", b"\x00")


@pytest.mark.parametrize("look", [Look(), ROUNDED])
@pytest.mark.parametrize(
    ("size", "width_mm", "per_metre"),
    [(300, 25.4, 11811), (100, 10_000.0, 10), (2000, 1.0, 2_000_000), (600, 50.8, 11811)],
)
def test_the_width_in_print_becomes_pixels_a_metre(
    look: Look, size: int, width_mm: float, per_metre: int
) -> None:
    found = chunks(draw(size, look, width_mm))
    assert [body for kind, body in found if kind == b"pHYs"] == [
        struct.pack(">IIB", per_metre, per_metre, 1)
    ]
    order = [kind for kind, _ in found]
    assert order[0] == b"IHDR"
    assert order.index(b"pHYs") < order.index(b"IDAT")


@pytest.mark.parametrize("look", [Look(), ROUNDED])
def test_nothing_is_said_of_print_where_nobody_said_it(look: Look) -> None:
    assert b"pHYs" not in kinds(draw(look=look))


def test_round_shapes_have_smooth_edges() -> None:
    assert len(opened(draw(300, ROUNDED)).getcolors(4096) or ()) > 2


@pytest.mark.parametrize("look", [Look(), ON_NOTHING, ROUNDED])
def test_the_same_drawing_gives_the_same_bytes(look: Look) -> None:
    first = draw(1024, look, 80.0)
    for cached in (png._octets, png._repetition, png._palette, png._header):
        cached.cache_clear()
    assert draw(1024, look, 80.0) == first


@pytest.mark.parametrize("look", [Look(), ON_NOTHING, ROUNDED, FLOATING])
@pytest.mark.parametrize("size", [100, 300, 1024, 2000])
def test_pngcheck_finds_no_fault(size: int, look: Look, tmp_path: Path) -> None:
    program = shutil.which("pngcheck")
    if program is None:
        pytest.fail("pngcheck is not installed; `make test` installs it (Debian: pngcheck)")
    path = tmp_path / "image.png"
    path.write_bytes(draw(size, look, 40.0))
    result = subprocess.run([program, "-v", path], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout
    assert "No errors detected" in result.stdout


@pytest.mark.parametrize("symbol", [SYMBOL, VERSION_3], ids=["version 2", "version 3"])
def test_an_image_of_the_usual_size_takes_few_bytes(symbol: Symbol) -> None:
    assert len(PNG.render(Drawing(symbol, lay_out(symbol, 300, 4)))) < 490


@pytest.mark.parametrize("size", [1024, 2000])
def test_a_large_image_takes_few_bytes_too(size: int) -> None:
    assert len(draw(size)) < 4_000


def test_the_fingerprint_tells_what_the_bytes_depend_on() -> None:
    assert f"zlib-{zlib.ZLIB_RUNTIME_VERSION}" in PNG.fingerprint
    assert "tiles-" in PNG.fingerprint
    assert "pillow-" in PNG.fingerprint
    assert "resvg-" in PNG.fingerprint


@pytest.mark.parametrize("count", [1, 2, 3, 23, 24, 54, 83, 690])
def test_a_repetition_holds_for_every_row_of_its_length(count: int) -> None:
    generator = random.Random(count)
    for length in [*range(64, 300), 1251, 2501]:
        blocks = png._repetition(length, count)
        assert blocks is not None, length
        row = generator.randbytes(length)
        again = zlib.decompressobj(-zlib.MAX_WBITS, zdict=row).decompress(blocks)
        assert again == row * count, length


def test_a_zlib_that_copies_in_another_way_costs_speed_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(png, "_repetition", lambda length, count: None)
    layout = lay_out(SYMBOL, 1024, 4)
    assert layout.scale >= png._BANDED
    assert grey(PNG.render(Drawing(SYMBOL, layout))).tobytes() == expected(SYMBOL, layout)


def test_a_repetition_that_holds_for_its_own_noise_alone_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Forgetful:
        """A zlib that copies nothing: what it is given stands in its blocks."""

        def __getattr__(self, name: str) -> object:
            return getattr(zlib, name)

        def compressobj(self, level: int, method: int, wbits: int, zdict: bytes) -> object:
            return zlib.compressobj(0, method, wbits)

    monkeypatch.setattr(png, "zlib", Forgetful())
    assert png._repetition.__wrapped__(100, 9) is None
