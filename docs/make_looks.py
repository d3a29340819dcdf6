"""Draws docs/looks.png: a sheet of looks, each of which has passed the scannability guard.

Run it from the top of the checkout: `python -m docs.make_looks`.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from uuid import UUID

import resvg_py
from msgspec import Struct
from PIL import Image

from core.domain.images import Drawing, ErrorCorrection, lay_out
from core.domain.logos import Logo, LogoInfo, LogoType
from core.domain.looks import FinderShape, Look, ModuleShape
from core.services.scannability import Scannability
from plugins.encoders.segno_encoder import SegnoEncoder
from plugins.renderers.artwork import Close, Curve, Line, Move, Segment
from plugins.renderers.lettering import Box, lettering
from plugins.renderers.png import PngRenderer

CONTENT = "HTTPS://QR.EXAMPLE/R/7KQ2VX9B"
SHEET = Path(__file__).with_name("looks.png")

_COLUMNS, _SIZE, _GAP, _LABEL = 5, 240, 16, 14
_PAPER, _INK, _DESK = "#ffffff", "#333333", "#e9edf0"

_ROUNDED, _DOT = ModuleShape.ROUNDED, ModuleShape.DOT
_ROUND_FINDERS, _CIRCLES = FinderShape.ROUNDED, FinderShape.CIRCLE


def _logo(number: int, drawn: str) -> Logo:
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">{drawn}</svg>'
    when = datetime(2026, 1, 1, tzinfo=UTC)
    info = LogoInfo(UUID(int=number), UUID(int=0), "", LogoType.SVG, 64, 64, when)
    return Logo(info, picture.encode())


CUP = _logo(
    1,
    '<circle cx="32" cy="32" r="32" fill="#b03a2e"/>'
    '<path fill="#fff" d="M16 24h28v14a10 10 0 0 1-10 10h-8a10 10 0 0 1-10-10zM44 27h3a6 6 0 0 1 0 '
    '12h-3v-4h2.5a2 2 0 0 0 0-4H44z"/>',
)
LEAF = _logo(2, '<path fill="#1e8449" d="M6 58C2 22 26 4 60 4c2 36-16 54-42 48L40 26 12 58z"/>')
STAR = _logo(
    3,
    '<rect width="64" height="64" rx="12" fill="#154360"/><path fill="#f4d03f" '
    'd="M32 8l7 16 17 2-13 12 4 17-15-9-15 9 4-17L8 26l17-2z"/>',
)
LOGOS = {logo.info.id: logo for logo in (CUP, LEAF, STAR)}


class Entry(Struct, frozen=True):
    """One field of the sheet: what is written below it, and the look."""

    label: str
    look: Look


ENTRIES = (
    Entry("plain", Look()),
    Entry("shape=rounded", Look(shape=_ROUNDED)),
    Entry("shape=dot", Look(shape=_DOT)),
    Entry("finder_shape=rounded", Look(finder_shape=_ROUND_FINDERS)),
    Entry("finder_shape=circle", Look(finder_shape=_CIRCLES)),
    Entry("rounded, rounded", Look(shape=_ROUNDED, finder_shape=_ROUND_FINDERS)),
    Entry("dot, circle", Look(shape=_DOT, finder_shape=_CIRCLES)),
    Entry("color=0a3d62", Look(color="#0a3d62")),
    Entry(
        "color=c0392b, rounded",
        Look(color="#c0392b", shape=_ROUNDED, finder_shape=_ROUND_FINDERS),
    ),
    Entry("color=1e8449, dot", Look(color="#1e8449", shape=_DOT, finder_shape=_CIRCLES)),
    Entry("background=fff3cd", Look(color="#6e2c00", background="#fff3cd")),
    Entry(
        "background=d6eaf8",
        Look(color="#154360", background="#d6eaf8", shape=_DOT, finder_shape=_ROUND_FINDERS),
    ),
    Entry("background=ffd54f", Look(color="#1a1a1a", background="#ffd54f", shape=_ROUNDED)),
    Entry(
        "background=transparent",
        Look(color="#6c3483", background="transparent", shape=_DOT, finder_shape=_CIRCLES),
    ),
    Entry("color=949494, contrast 3 to 1", Look(color="#949494")),
    Entry("logo_size=15", Look(logo=LEAF.info.id, logo_size=15, color="#145a32")),
    Entry(
        "logo_size=20",
        Look(logo=CUP.info.id, logo_size=20, shape=_ROUNDED, finder_shape=_ROUND_FINDERS),
    ),
    Entry(
        "logo_size=25",
        Look(
            logo=STAR.info.id,
            logo_size=25,
            color="#154360",
            shape=_DOT,
            finder_shape=_CIRCLES,
        ),
    ),
    Entry("caption", Look(caption="Scan me", color="#0a3d62", shape=_ROUNDED)),
    Entry(
        "all of it",
        Look(
            color="#6e2c00",
            background="#fdf2e9",
            shape=_DOT,
            finder_shape=_CIRCLES,
            logo=CUP.info.id,
            logo_size=22,
            caption="Today's menu",
        ),
    ),
)


def picture(look: Look) -> Image.Image:
    """The look on white paper; raises InvalidFields where it does not pass the guard."""
    logo = LOGOS[look.logo] if look.logo else None
    level = ErrorCorrection.H if logo else ErrorCorrection.M
    symbol = SegnoEncoder().encode(CONTENT, level)
    layout = lay_out(symbol, _SIZE, 4, caption=bool(look.caption))
    drawing = Drawing(symbol, layout, look, logo)
    raster = PngRenderer()
    Scannability(raster, min_contrast=3.0).check(drawing, CONTENT)
    return _on(_PAPER, raster.render(drawing))


def label(text: str) -> Image.Image:
    """The text in the letters of captions, as wide as a look."""
    outlines = "".join(map(_path, lettering(text, Box(x=0, y=0, width=_SIZE, height=_LABEL))))
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SIZE}" height="{_LABEL}">'
        f'<path fill="{_INK}" d="{outlines}"/></svg>'
    )
    return _on(_DESK, resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True))


def sheet() -> Image.Image:
    """All entries, row by row."""
    wide, high = _SIZE + _GAP, _SIZE + _LABEL + 2 * _GAP
    rows = -(-len(ENTRIES) // _COLUMNS)
    page = Image.new("RGB", (_COLUMNS * wide + _GAP, rows * high + _GAP), _DESK)
    for number, entry in enumerate(ENTRIES):
        row, column = divmod(number, _COLUMNS)
        x, y = _GAP + column * wide, _GAP + row * high
        page.paste(picture(entry.look), (x, y))
        page.paste(label(entry.label), (x, y + _SIZE + _GAP // 2))
    return page


def _on(color: str, png: bytes) -> Image.Image:
    with Image.open(BytesIO(png)) as image:
        seen = image.convert("RGBA")
    page = Image.new("RGBA", seen.size, color)
    page.alpha_composite(seen)
    return page.convert("RGB")


def _path(segment: Segment) -> str:
    match segment:
        case Move(x, y):
            return f"M{x:.2f} {y:.2f}"
        case Line(x, y):
            return f"L{x:.2f} {y:.2f}"
        case Curve(x1, y1, x2, y2, x, y):
            return f"C{x1:.2f} {y1:.2f} {x2:.2f} {y2:.2f} {x:.2f} {y:.2f}"
        case Close():
            return "z"


if __name__ == "__main__":
    sheet().quantize(128, dither=Image.Dither.NONE).save(SHEET, optimize=True)
    sys.stdout.write(f"{SHEET}: {SHEET.stat().st_size} bytes\n")
