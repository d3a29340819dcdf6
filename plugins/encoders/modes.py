"""Says how content is written into a symbol, and how much of it fits: the same for all encoders.

What is refused here, and in which words, does not depend on the library that draws.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from msgspec import Struct

from core.api import ErrorCorrection, SymbolKind

_ALPHANUMERIC = re.compile(r"[0-9A-Z $%*+\-./:]*")

Fits = Mapping[ErrorCorrection, tuple[int, ...]]
"""How much fits at each level, in the unit of a mode: one number a version, smallest first."""

_L, _M, _Q, _H = ErrorCorrection

# ISO/IEC 18004, table 7: the data codewords of versions 1-40.
_CODEWORDS: Fits = {
    _L: (
        19, 34, 55, 80, 108, 136, 156, 194, 232, 274, 324, 370, 428, 461, 523, 589, 647, 721, 795,
        861, 932, 1006, 1094, 1174, 1276, 1370, 1468, 1531, 1631, 1735, 1843, 1955, 2071, 2191,
        2306, 2434, 2566, 2702, 2812, 2956,
    ),
    _M: (
        16, 28, 44, 64, 86, 108, 124, 154, 182, 216, 254, 290, 334, 365, 415, 453, 507, 563, 627,
        669, 714, 782, 860, 914, 1000, 1062, 1128, 1193, 1267, 1373, 1455, 1541, 1631, 1725, 1812,
        1914, 1992, 2102, 2216, 2334,
    ),
    _Q: (
        13, 22, 34, 48, 62, 76, 88, 110, 132, 154, 180, 206, 244, 261, 295, 325, 367, 397, 445,
        485, 512, 568, 614, 664, 718, 754, 808, 871, 911, 985, 1033, 1115, 1171, 1231, 1286, 1354,
        1426, 1502, 1582, 1666,
    ),
    _H: (
        9, 16, 26, 36, 46, 60, 66, 86, 100, 122, 140, 158, 180, 197, 223, 253, 283, 313, 341, 385,
        406, 442, 464, 514, 538, 596, 628, 661, 701, 745, 793, 845, 901, 961, 986, 1054, 1096,
        1142, 1222, 1276,
    ),
}  # fmt: skip

# The same of Micro QR in bits, versions M1-M4. M1 only detects errors, so that it is no answer to
# any level; Q takes M4, and H is not to be had.
_MICRO_BITS: Fits = {_L: (0, 40, 84, 128), _M: (0, 32, 68, 112), _Q: (0, 0, 0, 80)}


class Mode(Struct, frozen=True):
    """How content is written into a symbol, and how much of it fits; `encoding` is announced."""

    name: str
    unit: str
    qr: Fits
    micro: Fits
    encoding: str | None = None

    def fits(self, kind: SymbolKind) -> Fits:
        """How much fits into symbols of `kind`; levels that it lacks are left out."""
        return self.micro if kind is SymbolKind.MICRO else self.qr


def _mode(
    name: str,
    unit: str,
    units: Callable[[int], int],
    counts: tuple[int, int, int],
    micro_headers: tuple[int | None, ...] = (),
    encoding: str | None = None,
) -> Mode:
    """A mode of which `units` says how many go into so many bits.

    `counts` are the bits of the character count indicator in versions 1-9, 10-26 and 27-40
    (ISO/IEC 18004, table 3), `micro_headers` those of it and of the mode indicator in M1-M4.
    """
    # The mode indicator, and the designator that names UTF-8 (ECI 26).
    header = 4 if encoding is None else 4 + 12
    headers = [header + counts[(version > 9) + (version > 26)] for version in range(1, 41)]

    def units_in(bits: int, header: int | None) -> int:
        return 0 if header is None else units(max(0, bits - header))

    return Mode(
        name=name,
        unit=unit,
        qr={
            level: tuple(
                units_in(8 * codewords, header)
                for codewords, header in zip(sizes, headers, strict=True)
            )
            for level, sizes in _CODEWORDS.items()
        },
        micro={
            level: tuple(
                units_in(bits, header) for bits, header in zip(sizes, micro_headers, strict=True)
            )
            for level, sizes in _MICRO_BITS.items()
            if micro_headers
        },
        encoding=encoding,
    )


def _digits(bits: int) -> int:
    """Three digits take 10 bits, two take 7, one takes 4."""
    return bits // 10 * 3 + (bits % 10 >= 4) + (bits % 10 >= 7)


def _pairs(bits: int) -> int:
    """Two characters take 11 bits, one takes 6."""
    return bits // 11 * 2 + (bits % 11 >= 6)


def _bytes(bits: int) -> int:
    return bits // 8


NUMERIC = _mode("numeric", "digits", _digits, (10, 12, 14), (3, 5, 7, 9))
ALPHANUMERIC = _mode("alphanumeric", "capitals and digits", _pairs, (9, 11, 13), (None, 4, 6, 8))
ASCII = _mode("byte", "bytes", _bytes, (8, 16, 16), (None, None, 6, 8))
# NOTE: no Micro QR: it has no designator for UTF-8, without which the bytes mean Latin-1 by the
# standard, and readers differ in what they guess.
UTF_8 = _mode("byte", "bytes in UTF-8", _bytes, (8, 16, 16), encoding="utf-8")


def mode_of(
    content: str, error_correction: ErrorCorrection, kind: SymbolKind = SymbolKind.QR
) -> tuple[Mode, int]:
    """The mode that takes the fewest bits among those for all of `content`, and its length there.

    Raises ValueError where no symbol of `kind` holds it, saying how much fits at that level, and,
    behind a semicolon, the ways out.
    """
    if not content:
        raise ValueError("the content is empty; a symbol needs at least one character")
    mode, length = _measured(content)
    levels = mode.fits(kind)
    if not levels:
        raise ValueError(
            "the content is not all ASCII, and a Micro QR code cannot tell readers its character "
            "set; choose symbol=qr"
        )
    if error_correction not in levels:
        holding = [level for level, sizes in levels.items() if sizes[-1] >= length]
        lower = f"{holding[-1]} or lower, or " if holding else ""
        raise ValueError(
            f"a Micro QR code has no error correction {error_correction}; choose {lower}symbol=qr"
        )
    # NOTE: this comes before the drawing, so that the price of long content is bounded.
    if length > levels[error_correction][-1]:
        raise ValueError(_too_long(mode, length, error_correction, kind))
    return mode, length


def _too_long(mode: Mode, length: int, level: ErrorCorrection, kind: SymbolKind) -> str:
    """How long the content may be, and which level holds it as it is, if any does."""
    most = {lower: sizes[-1] for lower, sizes in mode.fits(kind).items()}
    micro = kind is SymbolKind.MICRO
    reason = (
        f"the content is too long: {length} {mode.unit}, and at error correction {level} at most "
        f"{most[level]} fit{' into a Micro QR code' if micro else ''}"
    )
    ways = ["choose symbol=qr"] if micro else []
    # The highest of the levels that hold it comes last.
    lower = [other for other, size in most.items() if size >= length]
    if lower:
        ways.append(f"choose a lower level: {lower[-1]} holds {most[lower[-1]]}")
    elif level is not _L:
        reason += f", and {most[_L]} at level {_L}, which holds the most"
    return f"{reason}; {', or '.join([*ways, 'shorten it'])}"


def _measured(content: str) -> tuple[Mode, int]:
    if not content.isascii():
        try:
            return UTF_8, len(content.encode("utf-8"))
        except UnicodeEncodeError:
            raise ValueError(
                "the content holds a lone surrogate, which is no character; send valid Unicode"
            ) from None
    if content.isdigit():
        return NUMERIC, len(content)
    return ALPHANUMERIC if _ALPHANUMERIC.fullmatch(content) else ASCII, len(content)
