"""Images of all formats, sizes, levels, margins, encoders and contents, read by two readers.

All of them take some minutes, so that each run of the tests takes a part, in which all values
and most pairs of them are found. `QUIETZONE_MATRIX=full` takes them all:

    QUIETZONE_MATRIX=full .venv/bin/python -m pytest tests/contract/test_matrix.py
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from core.app import create_app
from core.domain.images import ErrorCorrection, ImageOptions, Symbol, smallest_size
from core.errors import InvalidFields
from core.services.images import ImageService
from core.settings import parse
from tests.contract.reading import read, read_with_zbar
from tests.contract.viewing import view

ENCODERS = ("segno", "zxing")
FORMATS = ("png", "svg", "webp", "jpeg", "eps", "pdf")
SIZES = (100, 177, 300, 1024, 2000)
MARGINS = (0, 2, 4, 10)

LONGEST = dict(zip(ErrorCorrection, (2953, 2331, 1663, 1273), strict=True))
"""Bytes that version 40 holds at each level (ISO/IEC 18004, table 7)."""

# Every 37th: 37 has no divisor in common with the numbers of values, so that none is passed over.
STEP = 1 if os.environ.get("QUIETZONE_MATRIX") == "full" else 37

# Images of one pixel a module are for screens that magnify, and so they are shown to readers, as
# many times as large: ZBar reads only half of them as they are. All others are shown as they are.
MAGNIFIED = 3


def contents(level: ErrorCorrection) -> Mapping[str, str]:
    return {
        "link": "HTTPS://QR.EXAMPLE.COM/R/7KQ2VX9B",
        "utf-8": "Grüße aus Łódź, Ελλάδα, 東京 und தமிழ்நாடு. " * 8,
        "emoji": "🙂👩🏽‍🚀🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "binary": "".join(map(chr, range(1, 256))),
        "longest": ("quiet zone " * 300)[: LONGEST[level]],
    }


KINDS = tuple(contents(ErrorCorrection.L))
EVERY = list(product(SIZES, MARGINS, ErrorCorrection, KINDS, ENCODERS))


@cache
def images(encoder: str) -> ImageService:
    formats = [*FORMATS, "segno", "zxing", "sqlite", "shared_memory", "rolling", "log"]
    tree = {"plugins": {"enabled": formats}, "images": {"encoder": encoder}}
    return create_app(parse(tree, {})).services.images


def readable(picture: Image.Image, symbol: Symbol, scale: int) -> Image.Image:
    """The picture on a white page, for those without a quiet zone."""
    border = 4 * scale
    page = Image.new("L", (picture.width + 2 * border, picture.height + 2 * border), 255)
    page.paste(picture, (border, border))
    times = MAGNIFIED if scale == 1 else 1
    return page.resize((page.width * times, page.height * times), Image.Resampling.NEAREST)


@pytest.mark.parametrize(
    ("size", "margin", "level", "kind", "encoder"),
    EVERY[::STEP],
    ids=str,
)
def test_what_is_accepted_is_read_by_both_readers(
    size: int, margin: int, level: ErrorCorrection, kind: str, encoder: str, tmp_path: Path
) -> None:
    content = contents(level)[kind]
    service = images(encoder)

    def drawn(image_format: str) -> bytes:
        options = ImageOptions(
            format=image_format, size=size, margin=margin, error_correction=level
        )
        return service.draw(service.plan(content, options))

    symbol = service._symbol(content, level, ImageOptions().symbol)
    scale = size // smallest_size(symbol, margin)
    if scale == 0:
        for name in FORMATS:
            with pytest.raises(InvalidFields, match="too few for"):
                drawn(name)
        return

    png = drawn("png")
    with Image.open(io.BytesIO(png)) as image:
        picture = image.convert("L")
    assert picture.size == (size, size)
    page = readable(picture, symbol, scale)
    page.save(tmp_path / "page.pgm")
    # The bytes, since the text spells control characters out.
    assert read(page).bytes.decode("utf-8") == content
    assert read_with_zbar(tmp_path / "page.pgm") == content

    for name in FORMATS[1:]:
        shown = view(name, drawn(name)).convert("L")
        assert shown.size == (size, size)
        if name in ("jpeg", "pdf"):
            # JPEG loses something, and so does the program that draws the PDF, but never so much
            # that dark and light change places.
            shown = shown.point(lambda level: 0 if level < 128 else 255)
        assert shown.tobytes() == picture.tobytes(), name
