"""Symbols and their geometry: where each module of a QR code comes to lie in an image.

The terms are those of ISO/IEC 18004: a symbol is made of modules and is surrounded by a quiet zone.
"""

from __future__ import annotations

import enum
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from core.domain.logos import Logo
from core.domain.looks import PLAIN, Look, LookOptions

QUIET_ZONE = 4
"""The quiet zone that ISO/IEC 18004 (5.3.8) asks for, in modules; Micro QR needs 2."""

MM_PER_INCH = 25.4

Margin = Annotated[int, Meta(ge=0, le=20)]
StyleChoice = Annotated[str, Meta(min_length=1, max_length=60)]


class ErrorCorrection(enum.StrEnum):
    """Error correction levels: how much of a symbol may be lost (7, 15, 25 and 30 percent)."""

    L = "L"
    M = "M"
    Q = "Q"
    H = "H"


class SymbolKind(enum.StrEnum):
    """The kinds of symbols: QR, and Micro QR, which is smaller, and which phones do not read."""

    QR = "qr"
    MICRO = "micro"


class Symbol(Struct, frozen=True):
    """A QR code as its modules, without quiet zone.

    `modules` holds one byte a module, row by row from the top left: 1 is dark, 0 is light; its
    length is `size * size`. `version` is 1-40, or 1-4 for Micro QR. `error_correction` is the level
    the symbol has, which may be higher than the one asked for; None stands for the error detection
    of version M1.
    """

    version: int
    error_correction: ErrorCorrection | None
    size: int
    modules: bytes
    kind: SymbolKind = SymbolKind.QR

    def row(self, y: int) -> bytes:
        """The modules of row `y`, one byte each."""
        return self.modules[y * self.size : (y + 1) * self.size]

    @property
    def finders(self) -> tuple[tuple[int, int], ...]:
        """The top left module (x, y) of each finder pattern, which is 7 modules wide and high."""
        if self.kind is SymbolKind.MICRO:
            return ((0, 0),)
        return ((0, 0), (self.size - 7, 0), (0, self.size - 7))


class ImageOptions(LookOptions, frozen=True):
    """What a caller may ask of an image; `size` is its exact width and height in pixels.

    `dpi` and `width_mm` both say how large that is in print: at most one of them is given. `style`
    is the id of a preset, or "plain" for none; left out, the code or its organisation decides.
    """

    format: Annotated[str, Meta(min_length=1, max_length=40)] = "png"
    size: int = 300
    error_correction: ErrorCorrection = ErrorCorrection.M
    margin: Margin = QUIET_ZONE
    symbol: SymbolKind = SymbolKind.QR
    dpi: Annotated[float, Meta(ge=1, le=10_000)] | None = None
    width_mm: Annotated[float, Meta(ge=1, le=10_000)] | None = None
    style: StyleChoice | None = None
    download: bool = False

    @property
    def printed_mm(self) -> float | None:
        """The width in print in millimetres, or None where the caller does not say."""
        if self.width_mm is None and self.dpi is not None:
            return self.size / self.dpi * MM_PER_INCH
        return self.width_mm


class Limits(Struct, frozen=True):
    """What a content's own standard asks of its symbol."""

    lowest: ErrorCorrection = ErrorCorrection.L
    max_version: int = 40

    def of(self, options: ImageOptions) -> ImageOptions:
        """The same options with an error correction level that is not below `lowest`."""
        # PERF: most contents ask for nothing, and iterating over an enumeration takes 2 us.
        if self.lowest is ErrorCorrection.L:
            return options
        levels = list(ErrorCorrection)
        if levels.index(options.error_correction) >= levels.index(self.lowest):
            return options
        return replace(options, error_correction=self.lowest)


ANY = Limits()
"""The limits of contents that no standard binds."""


class SignedOptions(ImageOptions, frozen=True):
    """What a signed address asks for: a whole look, which no change of a preset can reach.

    `revision` is that of the code when the address was made.
    """

    revision: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 1


class Layout(Struct, frozen=True):
    """Where a symbol lies in a square image of `size` pixels, and a caption below it.

    Every module is `scale` whole pixels wide and high; the symbol's first module begins `left`
    pixels from the left and `top` pixels from the top. `margin` is the quiet zone that was asked
    for, in modules; what is left over belongs to it. The caption has the rows of pixels from
    `caption_top` on, `caption_height` of them; 0 where there is no caption.
    """

    size: int
    scale: int
    left: int
    top: int
    margin: int
    caption_top: int = 0
    caption_height: int = 0


class Drawing(Struct, frozen=True):
    """All that a renderer needs to know to draw an image.

    `logo` is the one that `look.logo` names. `width_mm` is the width in print, None where nobody
    said; `title` is what the image is called for those who cannot see it.
    """

    symbol: Symbol
    layout: Layout
    look: Look = PLAIN
    logo: Logo | None = None
    width_mm: float | None = None
    title: str = "QR code"


class Picture(Struct, frozen=True):
    """A rendered image: its bytes and its media type."""

    data: bytes
    media_type: str


def smallest_size(symbol: Symbol, margin: int, *, caption: bool = False) -> int:
    """The smallest width in pixels at which every module is at least one pixel."""
    return symbol.size + 2 * margin + (_caption_modules(symbol, margin) if caption else 0)


def lay_out(symbol: Symbol, size: int, margin: int, *, caption: bool = False) -> Layout:
    """Fit `symbol` with a quiet zone of at least `margin` modules into `size` pixels, centred.

    With a caption, symbol and caption together are centred from top to bottom. Raises ValueError,
    naming the smallest size that works, where a module would be under a pixel.
    """
    smallest = smallest_size(symbol, margin, caption=caption)
    scale = size // smallest
    if scale < 1:
        raise ValueError(
            f"{size} pixels are too few for {symbol.size} modules and a margin of {margin}"
            + (" with a caption" if caption else "")
            + f"; the smallest size that works is {smallest}"
        )
    left = (size - scale * symbol.size) // 2
    if not caption:
        return Layout(size=size, scale=scale, left=left, top=left, margin=margin)
    top = (size - scale * smallest) // 2 + scale * margin
    return Layout(
        size=size,
        scale=scale,
        left=left,
        top=top,
        margin=margin,
        caption_top=top + scale * (symbol.size + margin),
        caption_height=scale * _text_modules(symbol),
    )


def _text_modules(symbol: Symbol) -> int:
    """The height of a caption in modules: it grows with the symbol, so that both look the same."""
    return max(4, symbol.size // 6)


def _caption_modules(symbol: Symbol, margin: int) -> int:
    """What a caption adds below the quiet zone: itself, and half a margin to the image's edge."""
    return _text_modules(symbol) + margin // 2
