from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.api import Drawing, ErrorCorrection, FinderShape, Look, ModuleShape, Symbol, lay_out
from plugins.encoders.segno_encoder import SegnoEncoder
from plugins.renderers.text import TextRenderer, TextSettings, qz_renderers, qz_settings
from tests.contract.reading import read, read_with_zbar

LINK = "HTTPS://QR.EXAMPLE/R/7KQ2VX9B"
SYMBOL = SegnoEncoder().encode(LINK, ErrorCorrection.M)
LARGEST = SegnoEncoder().encode("quiet zone " * 211, ErrorCorrection.M)

FOR_TERMINALS = qz_renderers(TextSettings())["text"]
FOR_PAPER = qz_renderers(TextSettings(invert=True))["text"]

# Whether the upper and the lower half of a character are filled.
HALVES = {" ": (False, False), "▀": (True, False), "▄": (False, True), "█": (True, True)}


def written(
    symbol: Symbol = SYMBOL, *, size: int = 300, margin: int = 4, invert: bool = False
) -> list[str]:
    drawing = Drawing(symbol, lay_out(symbol, size, margin))
    text = (FOR_PAPER if invert else FOR_TERMINALS).render(drawing).decode("utf-8")
    assert text.endswith("\n")
    return text.removesuffix("\n").split("\n")


def shown(lines: list[str], *, dark_ground: bool) -> list[list[bool]]:
    """Rows of half characters as they are seen, True where it is light."""
    return [
        [HALVES[character][half] is dark_ground for character in line]
        for line in lines
        for half in (0, 1)
    ]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    symbol=st.sampled_from([SYMBOL, LARGEST]),
    margin=st.integers(min_value=0, max_value=20),
    invert=st.booleans(),
)
def test_every_module_is_half_a_character(symbol: Symbol, margin: int, invert: bool) -> None:
    width = symbol.size + 2 * margin
    lines = written(symbol, size=1000, margin=margin, invert=invert)
    assert len(lines) == (width + 1) // 2
    assert {len(line) for line in lines} == {width}
    rows = shown(lines, dark_ground=not invert)
    for y in range(width):
        for x in range(width):
            column, row = x - margin, y - margin
            inside = 0 <= column < symbol.size and 0 <= row < symbol.size
            dark = inside and symbol.modules[row * symbol.size + column] == 1
            assert rows[y][x] is not dark


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("margin", [0, 2, 4])
def test_half_a_line_too_many_looks_like_the_page_around_it(invert: bool, margin: int) -> None:
    last = written(margin=margin, invert=invert)[-1]
    assert not any(HALVES[character][1] for character in last)


@pytest.mark.parametrize("invert", [False, True])
def test_the_text_is_read_from_the_ground_that_it_is_meant_for(
    invert: bool, tmp_path: Path
) -> None:
    rows = shown(written(invert=invert), dark_ground=not invert)
    image = Image.new("L", (len(rows[0]), len(rows)))
    image.putdata([255 if light else 0 for row in rows for light in row])
    # A terminal goes on around the text.
    page = Image.new("L", (image.width + 20, image.height + 20), 255 if invert else 0)
    page.paste(image, (10, 10))
    page = page.resize((page.width * 6, page.height * 6), Image.Resampling.NEAREST)
    assert read(page).text == LINK
    # zbar reads no negatives: what it reads is dark on light.
    page.save(tmp_path / "page.png")
    assert read_with_zbar(tmp_path / "page.png") == LINK


def test_the_size_has_no_effect() -> None:
    assert written(size=100) == written(size=2000)


def test_the_smallest_version_shows_how_it_looks() -> None:
    symbol = Symbol(
        version=1, error_correction=ErrorCorrection.L, size=3, modules=b"\1\0\1\0\0\1\1\1\0"
    )
    drawing = Drawing(symbol, lay_out(symbol, 100, 1))
    # The rows of modules: light; 1 0 1; 0 0 1; 1 1 0; light; each between two light ones.
    assert FOR_TERMINALS.render(drawing).decode() == "█▀█▀█\n█▀▀▄█\n▀▀▀▀▀\n"
    assert FOR_PAPER.render(drawing).decode() == " ▄ ▄ \n ▄▄▀ \n     \n"


@pytest.mark.parametrize(
    "look",
    [
        Look(color="#0a3d62"),
        Look(background="transparent"),
        Look(shape=ModuleShape.DOT),
        Look(finder_shape=FinderShape.CIRCLE),
        Look(caption="Menu"),
    ],
)
def test_any_look_but_the_plain_one_is_refused_with_a_way_out(look: Look) -> None:
    with pytest.raises(ValueError, match=r"no other look; take none, or png or svg"):
        FOR_TERMINALS.render(Drawing(SYMBOL, lay_out(SYMBOL, 300, 4), look=look))


def test_the_media_type_says_how_the_characters_are_written() -> None:
    assert FOR_TERMINALS.media_type == "text/plain; charset=utf-8"
    assert FOR_TERMINALS.extension == "txt"


def test_the_option_is_seen_in_the_fingerprint() -> None:
    assert qz_settings() is TextSettings
    assert FOR_TERMINALS.fingerprint != FOR_PAPER.fingerprint
    assert FOR_TERMINALS.fingerprint == TextRenderer().fingerprint
