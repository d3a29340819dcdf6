"""The encoder `segno`: symbols by the library of that name, in pure Python."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version

import segno
from msgspec import Struct

from core.api import Encoder, ErrorCorrection, Symbol, SymbolKind, hookimpl
from plugins.encoders.mask import with_best_mask

REVISION = 2
"""Grows whenever the code below comes to make other symbols of the same content."""

_ALPHANUMERIC = re.compile(r"[0-9A-Z $%*+\-./:]*")


class Mode(Struct, frozen=True):
    """How content is written into a symbol, and how much of it version 40 holds at each level.

    The numbers are those of ISO/IEC 18004, table 7.
    """

    name: str
    unit: str
    capacity: Mapping[ErrorCorrection, int]
    encoding: str | None = None


def _levels(low: int, medium: int, quartile: int, high: int) -> Mapping[ErrorCorrection, int]:
    return dict(zip(ErrorCorrection, (low, medium, quartile, high), strict=True))


NUMERIC = Mode("numeric", "digits", _levels(7089, 5596, 3993, 3057))
ALPHANUMERIC = Mode("alphanumeric", "capitals and digits", _levels(4296, 3391, 2420, 1852))
ASCII = Mode("byte", "bytes", _levels(2953, 2331, 1663, 1273))
# The designator that names UTF-8 takes 12 bits, and so one byte of what fits otherwise.
UTF_8 = Mode("byte", "bytes in UTF-8", _levels(2952, 2330, 1662, 1272), encoding="utf-8")


class SegnoEncoder:
    """Makes QR codes (never Micro QR, which phones do not read) with segno."""

    kinds = frozenset({SymbolKind.QR})

    def __init__(self) -> None:
        self.fingerprint = f"segno-{version('segno')}-{REVISION}"

    def encode(
        self,
        content: str,
        error_correction: ErrorCorrection,
        kind: SymbolKind = SymbolKind.QR,
        *,
        boost: bool = True,
    ) -> Symbol:
        """The smallest symbol for `content`; its level is raised where that costs no version.

        Raises ValueError for empty content, for a lone surrogate, and for content that is too long,
        saying how much fits at that level.
        """
        if not content:
            raise ValueError("the content is empty; a symbol needs at least one character")
        mode = _mode(content)
        length = _length(content)
        capacity = mode.capacity[error_correction]
        # NOTE: this comes before the drawing, so that the price of long content is bounded.
        if length > capacity:
            raise ValueError(
                f"the content is too long: {length} {mode.unit}, and at error correction "
                f"{error_correction} at most {capacity} fit; shorten it"
                + ("" if error_correction is ErrorCorrection.L else " or choose a lower level")
            )
        # NOTE: the mode is named because segno takes UTF-8 for Shift JIS (mode Kanji) where the
        # bytes happen to be valid in both. The designator (ECI 26) is there because without it
        # the bytes mean Latin-1 by the standard, and readers differ in what they guess.
        code = segno.make(
            content,
            error=error_correction.value,
            mode=mode.name,
            encoding=mode.encoding,
            eci=mode.encoding is not None,
            micro=False,
            boost_error=boost,
            # PERF: naming a mask spares segno the choice of one, which takes four fifths of its
            # time; `with_best_mask` makes the same choice.
            mask=0,
        )
        return Symbol(
            version=int(code.version),
            error_correction=ErrorCorrection(code.error),
            size=len(code.matrix),
            modules=with_best_mask(b"".join(code.matrix), int(code.version)),
        )


def _mode(content: str) -> Mode:
    """The mode that takes the fewest bits among those that can hold all of `content`."""
    if not content.isascii():
        return UTF_8
    if content.isdigit():
        return NUMERIC
    return ALPHANUMERIC if _ALPHANUMERIC.fullmatch(content) else ASCII


def _length(content: str) -> int:
    try:
        return len(content.encode("utf-8"))
    except UnicodeEncodeError:
        raise ValueError(
            "the content holds a lone surrogate, which is no character; send valid Unicode"
        ) from None


@hookimpl
def qz_encoders() -> Mapping[str, Encoder]:
    """Offer the encoder `segno`."""
    return {"segno": SegnoEncoder()}
