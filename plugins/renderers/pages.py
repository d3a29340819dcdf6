"""Pages: what all PDF files of ours have in common, written in the operators of the language.

The source is ISO 32000-1: the unit is a point, 1/72 inch, and y grows upwards from the bottom.
"""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

import reportlab
from PIL import Image
from reportlab.pdfbase.pdfdoc import PDFDictionary, PDFInfo, PDFName, PDFStream, PDFString
from reportlab.pdfgen.canvas import Canvas

from core.api import TRANSPARENT, Drawing, Symbol
from plugins.renderers.artwork import Placed, compose
from plugins.renderers.outlines import Close, Curve, Line, Move, Segment, number
from plugins.renderers.raster import FINGERPRINT as RASTER
from plugins.renderers.raster import logo_picture

FINGERPRINT = f"reportlab-{reportlab.Version}-{RASTER}-zlib-{zlib.ZLIB_RUNTIME_VERSION}"
"""What the bytes depend on, besides the code here."""

POINTS_PER_INCH = 72
POINTS_PER_MM = POINTS_PER_INCH / 25.4

LARGEST_POINTS = 14_400
"""The widest page that programs need to show (ISO 32000-1, annex C.2): 5,080 mm."""

_VERSION = (1, 6)
"""Since then a file can say that it is not to be scaled in print."""

_FINE = 1000
"""The parts into which outlines divide a module, as in the SVG."""

_LOGO_DPI = 300
_SMALLEST_LOGO, _LARGEST_LOGO = 600, 2400
"""How many pixels the longer side of a logo has: what its print needs, but within these."""

_RUN = re.compile(b"\x01+")

# Neither control characters nor halves of characters are of any use in a title.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class _Information(PDFInfo):  # type: ignore[misc]
    """What a file says of itself: no dates, because the same input is to give the same bytes."""

    def format(self, document: Any) -> Any:
        # NOTE: left alone, reportlab would write `þÿ` as the two bytes that announce UTF-16.
        encoding = "auto" if self.title.isascii() else "utf-16-be"
        entries = {"Title": PDFString(self.title, enc=encoding)}
        entries |= {name: PDFString("Quietzone") for name in ("Creator", "Producer")}
        return PDFDictionary(entries).format(document)


class Paper(Canvas):  # type: ignore[misc]
    """A file that is written page by page; `showPage` ends one, and `getpdfdata` the file.

    Lengths are points. Programs are asked to print it in its true size, and to show its title.
    """

    def __init__(self, title: str, width: float, height: float) -> None:
        super().__init__(io.BytesIO(), pagesize=(width, height), invariant=1, pdfVersion=_VERSION)
        self._doc.info = _Information()
        self.setTitle(_UNWRITABLE.sub("\ufffd", title))
        self.setViewerPreference("DisplayDocTitle", "true")
        self.setViewerPreference("PrintScaling", "None")
        self._logos: dict[tuple[UUID, int], str] = {}
        self._last: tuple[Drawing, float] | None = None
        self._form = ""
        self._forms = 0

    def write(self, operators: str) -> None:
        """Add operators to the page; they leave the state of the page as it was."""
        self._code.append(operators)

    def draw(self, drawing: Drawing, x: float, y: float, side: float) -> None:
        """Draw into the square of `side` whose bottom left corner is (x, y).

        A drawing that comes several times in a row is kept once. Raises ValueError for a caption
        with letters that the font does not have.
        """
        self.write(f"q 1 0 0 1 {number(x)} {number(y)} cm")
        if self._last == (drawing, side):
            if not self._form:
                self._forms += 1
                self._form = f"drawing{self._forms}"
                self.beginForm(self._form, 0, 0, side, side)
                self._paint(drawing, side)
                self.endForm()
            self.doForm(self._form)
        else:
            self._paint(drawing, side)
            self._last, self._form = (drawing, side), ""
        self.write("Q")

    def _paint(self, drawing: Drawing, side: float) -> None:
        layout, look = drawing.layout, drawing.look
        if look.background != TRANSPARENT:
            self.write(f"{fill(look.background)} 0 0 {number(side)} {number(side)} re f")
        # From here on the unit is a module, or a part of one, and y grows downwards.
        pixel = side / layout.size
        module = layout.scale * pixel / (1 if look.flat else _FINE)
        left, top = number(layout.left * pixel, 9), number(side - layout.top * pixel, 9)
        self.write(f"{number(module, 9)} 0 0 {number(-module, 9)} {left} {top} cm")
        self.write(fill(look.color))
        # NOTE: one path for all modules: filled one by one, neighbours would show hairlines.
        if look.flat:
            self.write(_runs(drawing.symbol) + "f")
            return
        artwork = compose(drawing)
        self.write(outline(artwork.shape, _FINE) + "f")
        if artwork.caption:
            self.write(outline(artwork.caption, _FINE) + "f")
        if artwork.logo:
            self._place(artwork.logo, module * _FINE)

    def _place(self, placed: Placed, module: float) -> None:
        longest = max(placed.width, placed.height) * module
        pixels = math.ceil(longest / POINTS_PER_INCH * _LOGO_DPI)
        pixels = min(max(pixels, _SMALLEST_LOGO), _LARGEST_LOGO)
        key = (placed.logo.info.id, pixels)
        name = self._logos.get(key)
        if name is None:
            name = self._logos[key] = f"logo{len(self._logos) + 1}"
            self._add_picture(name, logo_picture(placed.logo, pixels))
        width, height, x, bottom = (
            number(length * _FINE)
            for length in (placed.width, -placed.height, placed.x, placed.y + placed.height)
        )
        self.write(f"{width} 0 0 {height} {x} {bottom} cm")
        self.doForm(name)

    def _add_picture(self, name: str, picture: Image.Image) -> None:
        alpha = picture.getchannel("A")
        image = _image(picture.convert("RGB"), "DeviceRGB")
        if alpha.getextrema() != (255, 255):
            image.dictionary["SMask"] = self._doc.Reference(_image(alpha, "DeviceGray"))
        self._doc.addForm(name, image)

    def _make_preamble(self) -> None:
        # NOTE: reportlab would name Helvetica on every page, and print shops refuse files with
        # fonts that are not embedded.
        self._preamble = ""

    def _setXObjects(self, thing: Any) -> None:  # noqa: N802
        """Compress a page, or a form, as soon as it is complete; reportlab calls this for each."""
        super()._setXObjects(thing)
        # Left alone, reportlab would keep all pages as text until the end, and would then write
        # them in ASCII85, which is a quarter larger.
        data = thing.stream
        data = data.encode("ascii") if isinstance(data, str) else data
        self._doc.updateSignature(data)
        thing.stream, thing.Contents = None, _deflated(data)


def fill(color: str) -> str:
    """The operator that chooses a colour; greys are chosen as such, to be printed in black ink."""
    red, green, blue = bytes.fromhex(color[1:])
    if red == green == blue:
        return f"{number(red / 255)} g"
    return f"{number(red / 255)} {number(green / 255)} {number(blue / 255)} rg"


def outline(segments: Iterable[Segment], scale: float = 1) -> str:
    """The operators of outlines, in whole numbers after they have been scaled."""
    return "".join(_steps(segments, scale))


def _steps(segments: Iterable[Segment], scale: float) -> Iterator[str]:
    for segment in segments:
        match segment:
            case Move():
                yield f"{round(segment.x * scale)} {round(segment.y * scale)} m\n"
            case Line():
                yield f"{round(segment.x * scale)} {round(segment.y * scale)} l\n"
            case Curve():
                yield (
                    f"{round(segment.x1 * scale)} {round(segment.y1 * scale)} "
                    f"{round(segment.x2 * scale)} {round(segment.y2 * scale)} "
                    f"{round(segment.x * scale)} {round(segment.y * scale)} c\n"
                )
            case Close():
                yield "h\n"


def _runs(symbol: Symbol) -> str:
    """Each run of dark modules in a row as a rectangle."""
    return "".join(
        f"{run.start()} {y} {run.end() - run.start()} 1 re\n"
        for y in range(symbol.size)
        for run in _RUN.finditer(symbol.row(y))
    )


def _image(picture: Image.Image, space: str) -> Any:
    image = _deflated(picture.tobytes())
    image.dictionary.dict |= {
        "Type": PDFName("XObject"),
        "Subtype": PDFName("Image"),
        "Width": picture.width,
        "Height": picture.height,
        "BitsPerComponent": 8,
        "ColorSpace": PDFName(space),
    }
    return image


def _deflated(data: bytes) -> Any:
    return PDFStream(PDFDictionary({"Filter": PDFName("FlateDecode")}), zlib.compress(data))
