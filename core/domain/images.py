"""Symbols and their geometry: where each module of a QR code comes to lie in an image.

The terms are those of ISO/IEC 18004: a symbol is made of modules and is surrounded by a quiet zone.
"""

from __future__ import annotations

import enum
from typing import Annotated

from msgspec import Meta, Struct

QUIET_ZONE = 4
"""The quiet zone that ISO/IEC 18004 (5.3.8) asks for, in modules."""


class ErrorCorrection(enum.StrEnum):
    """Error correction levels: how much of a symbol may be lost (7, 15, 25 and 30 percent)."""

    L = "L"
    M = "M"
    Q = "Q"
    H = "H"


class Symbol(Struct, frozen=True):
    """A QR code as its modules, without quiet zone.

    `modules` holds one byte a module, row by row from the top left: 1 is dark, 0 is light; its
    length is `size * size`. `error_correction` is the level the symbol has, which may be higher
    than the one asked for.
    """

    version: int
    error_correction: ErrorCorrection
    size: int
    modules: bytes

    def row(self, y: int) -> bytes:
        """The modules of row `y`, one byte each."""
        return self.modules[y * self.size : (y + 1) * self.size]


class ImageOptions(Struct, frozen=True):
    """What a caller may ask of an image; `size` is its exact width and height in pixels."""

    format: Annotated[str, Meta(min_length=1, max_length=40)] = "png"
    size: int = 300
    error_correction: ErrorCorrection = ErrorCorrection.M
    margin: Annotated[int, Meta(ge=0, le=20)] = QUIET_ZONE
    download: bool = False


class Layout(Struct, frozen=True):
    """Where a symbol lies in a square image of `size` pixels.

    Every module is `scale` whole pixels wide and high; the symbol's first module begins `offset`
    pixels from the left and from the top. What is left over belongs to the quiet zone.
    """

    size: int
    scale: int
    offset: int


class Picture(Struct, frozen=True):
    """A rendered image: its bytes and its media type."""

    data: bytes
    media_type: str


def smallest_size(symbol: Symbol, margin: int) -> int:
    """The smallest width in pixels at which every module is at least one pixel."""
    return symbol.size + 2 * margin


def lay_out(symbol: Symbol, size: int, margin: int) -> Layout:
    """Fit `symbol` with a quiet zone of at least `margin` modules into `size` pixels, centred.

    Raises ValueError, naming the smallest size that works, where a module would be under a pixel.
    """
    smallest = smallest_size(symbol, margin)
    scale = size // smallest
    if scale < 1:
        raise ValueError(
            f"{size} pixels are too few for {symbol.size} modules and a margin of {margin}; "
            f"the smallest size that works is {smallest}"
        )
    return Layout(size=size, scale=scale, offset=(size - scale * symbol.size) // 2)
