"""Reads symbols and images as phones and viewers do, with programs that know nothing of ours."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest
import zxingcpp
from PIL import Image

from core.api import Symbol


def raster(symbol: Symbol, scale: int = 3, margin: int = 4) -> memoryview:
    """The symbol as a square of grey pixels, one byte each, dark on light."""
    side = (symbol.size + 2 * margin) * scale
    light_rows = [bytes(symbol.size)] * margin
    rows = [*light_rows, *(symbol.row(y) for y in range(symbol.size)), *light_rows]
    pixels = bytearray()
    for row in rows:
        line = bytes(margin) + row + bytes(margin)
        wide = b"".join((b"\x00" if module else b"\xff") * scale for module in line)
        pixels += wide * scale
    return memoryview(bytes(pixels)).cast("B", (side, side))


def read(
    image: object, form: zxingcpp.BarcodeFormat = zxingcpp.BarcodeFormat.QRCode
) -> zxingcpp.Barcode:
    """The one QR code of an image, or the one code of another form, by zxing-cpp."""
    # Plain text, because the default writes control characters out: <NUL>.
    found = zxingcpp.read_barcodes(image, formats=form, text_mode=zxingcpp.TextMode.Plain)
    assert len(found) == 1, f"{len(found)} codes were found, not one"
    return found[0]


def read_with_zbar(path: Path) -> str:
    """The text of the one QR code of an image file, by zbar."""
    program = shutil.which("zbarimg")
    if program is None:
        pytest.fail("zbarimg is not installed; `make test` installs it (Debian: zbar-tools)")
    command = [program, "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", str(path)]
    result = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return result.stdout.decode("utf-8").removesuffix("\n")


def grey(png: bytes) -> Image.Image:
    """A PNG file as grey pixels, by Pillow."""
    with Image.open(io.BytesIO(png)) as image:
        return image.convert("L")
