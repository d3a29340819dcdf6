"""The encoder `segno`: symbols by the library of that name, in pure Python."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

import segno

from core.api import Encoder, ErrorCorrection, Symbol, SymbolKind, hookimpl
from plugins.encoders.mask import with_best_mask
from plugins.encoders.modes import mode_of

REVISION = 2
"""Grows whenever the code below comes to make other symbols of the same content."""


class SegnoEncoder:
    """Makes QR codes, and Micro QR where it is asked for, with segno."""

    kinds = frozenset({SymbolKind.QR, SymbolKind.MICRO})

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
        saying how much fits at that level. Micro QR holds ASCII at the levels L, M and Q.
        """
        mode, _ = mode_of(content, error_correction, kind)
        micro = kind is SymbolKind.MICRO
        # NOTE: the mode is named because segno takes UTF-8 for Shift JIS (mode Kanji) where the
        # bytes happen to be valid in both. The designator (ECI 26) is there because without it
        # the bytes mean Latin-1 by the standard, and readers differ in what they guess.
        code = segno.make(
            content,
            error=error_correction.value,
            mode=mode.name,
            encoding=mode.encoding,
            eci=mode.encoding is not None,
            micro=micro,
            boost_error=boost,
            # PERF: naming a mask spares segno the choice of one, which takes four fifths of its
            # time; `with_best_mask` makes the same choice. Micro QR has four masks and rules of
            # its own, and is small: segno chooses there.
            mask=None if micro else 0,
        )
        modules = b"".join(code.matrix)
        number = int(str(code.version).removeprefix("M"))
        return Symbol(
            version=number,
            error_correction=ErrorCorrection(code.error),
            size=len(code.matrix),
            modules=modules if micro else with_best_mask(modules, number),
            kind=kind,
        )


@hookimpl
def qz_encoders() -> Mapping[str, Encoder]:
    """Offer the encoder `segno`."""
    return {"segno": SegnoEncoder()}
