"""The encoder `zxing`: symbols by zxing-cpp, in C++, for those who draw many."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from importlib.metadata import version

from zxingcpp import Barcode, BarcodeFormat, Image, create_barcode

from core.api import Encoder, ErrorCorrection, Symbol, SymbolKind, hookimpl
from plugins.encoders.mask import with_best_mask
from plugins.encoders.modes import ALPHANUMERIC, NUMERIC, Mode, mode_of

REVISION = 1
"""Grows whenever the code below comes to make other symbols of the same content."""

# Runs that may take fewer bits in a mode of their own, headers included. zxing-cpp splits content
# where that pays, and then it may fit a smaller symbol than the one that the tables promise.
_RUN_IN_ALPHANUMERIC = re.compile(r"[0-9]{6}")
_RUN_IN_BYTES = re.compile(r"[0-9]{3}|[0-9A-Z $%*+\-./:]{5}")

_HIGHEST_FIRST = tuple(reversed(ErrorCorrection))

_MODULES = bytes.maketrans(b"\x00\xff", b"\x01\x00")


class ZxingEncoder:
    """Makes QR codes with zxing-cpp; the smallest ones, since it may split content into modes."""

    kinds = frozenset({SymbolKind.QR})

    def __init__(self) -> None:
        self.fingerprint = f"zxing-{version('zxing-cpp')}-{REVISION}"

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
        saying how much fits at that level; also for all but QR.
        """
        if kind not in self.kinds:
            raise ValueError(
                f"the encoder zxing makes no symbols of the kind {kind}; choose symbol=qr"
            )
        mode, length = mode_of(content, error_correction)
        if not boost:
            code = _barcode(content, mode, error_correction)
        elif _splits(content, mode):
            # Which version that comes down to only zxing-cpp knows. Asked for that version and for
            # no level it takes the highest that fits.
            small = _barcode(content, mode, error_correction)
            code = _barcode(content, mode, None, _version(_image(small)))
        else:
            # PERF: as it is all in one mode, the tables spare the first of those two drawings.
            code = _barcode(content, mode, _highest(mode, length, error_correction))
        image = _image(code)
        number = _version(image)
        # The stubs of zxing-cpp do not say that an image is a buffer, of 0 and 255.
        pixels = memoryview(image).tobytes()  # type: ignore[arg-type]
        return Symbol(
            version=number,
            error_correction=ErrorCorrection(code.ec_level),
            size=17 + 4 * number,
            modules=with_best_mask(pixels.translate(_MODULES), number),
        )


def _barcode(
    content: str, mode: Mode, level: ErrorCorrection | None, number: int | None = None
) -> Barcode:
    """The smallest symbol under mask 0, or that of version `number`; no level is the highest."""
    options: dict[str, object] = {}
    if level is not None:
        options["ec_level"] = level.value
    if number is not None:
        options["version"] = number
    data: str | bytes = content
    if mode.encoding is not None:
        # NOTE: without a designator zxing-cpp writes Latin-1 or Shift JIS where they suffice, and
        # readers differ in what they guess. Bytes, because of text it drops a byte order mark.
        options["eci"] = mode.encoding
        data = content.encode(mode.encoding)
    # PERF: naming a mask spares zxing-cpp the choice of one, which takes five sixths of its time;
    # `with_best_mask` is faster at it, and makes segno's choice.
    return create_barcode(data, BarcodeFormat.QRCode, data_mask=0, **options)


def _image(code: Barcode) -> Image:
    """The symbol alone, one byte a module."""
    return code.to_image(scale=1, add_quiet_zones=False)


def _version(image: Image) -> int:
    return (int(image.shape[0]) - 17) // 4


def _splits(content: str, mode: Mode) -> bool:
    """Whether zxing-cpp might write some of `content` in another mode than the rest."""
    if mode is NUMERIC:
        return False
    run = _RUN_IN_ALPHANUMERIC if mode is ALPHANUMERIC else _RUN_IN_BYTES
    return run.search(content) is not None


def _highest(mode: Mode, length: int, level: ErrorCorrection) -> ErrorCorrection:
    """The highest level that needs no larger a symbol than `level` does."""
    index = bisect_left(mode.qr[level], length)
    return next(higher for higher in _HIGHEST_FIRST if mode.qr[higher][index] >= length)


@hookimpl
def qz_encoders() -> Mapping[str, Encoder]:
    """Offer the encoder `zxing`."""
    return {"zxing": ZxingEncoder()}
