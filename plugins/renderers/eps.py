"""The renderer `eps`: every look as Encapsulated PostScript, for print shops and older programs."""

from __future__ import annotations

import base64
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from PIL import Image

from core.api import Drawing, Logo, Renderer, Symbol, hookimpl
from plugins.renderers.artwork import Placed, compose
from plugins.renderers.outlines import Close, Curve, Line, Move, Segment, number
from plugins.renderers.raster import FINGERPRINT, logo_picture

REVISION = 2
"""Grows whenever the code below comes to write other bytes for the same drawing."""

_POINTS_PER_INCH, _MM_PER_INCH = 72, 25.4

_USUAL_DPI = 300
"""How many pixels an inch has where nobody says how large the print is to be."""

_LOGO_SIDE = 600
"""The longer side of a logo's picture in pixels, for SVG as drawn, for PNG at most."""

_LINE = 240
"""Lines have at most 255 characters (Document Structuring Conventions 3.0, section 3.1)."""

_MAX_TITLE = 100

_RUN = re.compile(b"\x01+")

# `r` is a rectangle of one module's height: its width, its left end and its top stand before it.
_PROCEDURES = """\
/m{moveto}bind def
/l{lineto}bind def
/c{curveto}bind def
/h{closepath}bind def
/r{moveto dup 0 rlineto 0 1 rlineto neg 0 rlineto closepath}bind def
"""


class _Pixels(Struct, frozen=True):
    """A logo as pixels, three bytes each, row by row from the top left."""

    width: int
    height: int
    data: bytes


class EpsRenderer:
    """Writes EPSF 3.0 in PostScript level 3, in seven bits; transparency is for backgrounds alone.

    Logos stand on the background, or on white where that is transparent.
    """

    media_type = "application/postscript"
    extension = "eps"

    def __init__(self) -> None:
        self.fingerprint = f"eps-{REVISION}-{FINGERPRINT}-zlib-{zlib.ZLIB_RUNTIME_VERSION}"

    def render(self, drawing: Drawing) -> bytes:
        """The image, as wide as asked for, or else its pixels at 300 dpi.

        Raises ValueError for a caption with letters that the font does not have.
        """
        artwork, layout = compose(drawing), drawing.layout
        inches = (
            layout.size / _USUAL_DPI
            if drawing.width_mm is None
            else drawing.width_mm / _MM_PER_INCH
        )
        points = inches * _POINTS_PER_INCH
        module = number(points / artwork.extent, 9)
        parts = [_header(drawing.title, points), _PROCEDURES]
        if artwork.background:
            side = number(points)
            parts.append(f"{_fill(artwork.background)}\n0 0 {side} {side} rectfill\n")
        # From here on the unit is a module, and y grows downwards.
        left, bottom = number(artwork.left, 9), number(artwork.extent - artwork.top, 9)
        parts.append(f"{module} dup scale\n{left} {bottom} translate\n1 -1 scale\n")
        parts.append(f"{_fill(artwork.color)}\n")
        shape = _runs(drawing.symbol) if drawing.look.flat else _steps(artwork.shape)
        parts.append(_lines(shape) + "fill\n")
        if artwork.caption:
            parts.append(_lines(_steps(artwork.caption)) + "fill\n")
        if artwork.logo:
            parts.append(_image(artwork.logo, artwork.background or "#ffffff"))
        parts.append("end\ngrestore\nshowpage\n%%EOF\n")
        return "".join(parts).encode("ascii")


def _header(title: str, points: float) -> str:
    whole, exact = math.ceil(round(points, 6)), number(points)
    return (
        "%!PS-Adobe-3.0 EPSF-3.0\n"
        "%%Creator: Quietzone\n"
        f"%%Title: ({_comment(title)})\n"
        f"%%BoundingBox: 0 0 {whole} {whole}\n"
        f"%%HiResBoundingBox: 0 0 {exact} {exact}\n"
        "%%LanguageLevel: 3\n"
        "%%DocumentData: Clean7Bit\n"
        "%%Pages: 1\n"
        "%%EndComments\n"
        "%%Page: 1 1\n"
        "gsave\n"
        "8 dict begin\n"
    )


def _comment(title: str) -> str:
    """A title that ends neither its line nor its parentheses; what is not ASCII is `?`."""
    text = "".join(letter if " " <= letter <= "~" else "?" for letter in title[:_MAX_TITLE])
    return re.sub(r"([()\\])", r"\\\1", text)


def _fill(color: str) -> str:
    red, green, blue = (number(part / 255, 6) for part in bytes.fromhex(color[1:]))
    return f"{red} {green} {blue} setrgbcolor"


def _runs(symbol: Symbol) -> Iterator[str]:
    """Each run of dark modules in a row as a rectangle."""
    for y in range(symbol.size):
        for run in _RUN.finditer(symbol.row(y)):
            start, end = run.span()
            yield f"{end - start} {start} {y} r"


def _steps(segments: Iterable[Segment]) -> Iterator[str]:
    for segment in segments:
        match segment:
            case Move():
                yield f"{number(segment.x)} {number(segment.y)} m"
            case Line():
                yield f"{number(segment.x)} {number(segment.y)} l"
            case Curve():
                yield (
                    f"{number(segment.x1)} {number(segment.y1)} {number(segment.x2)} "
                    f"{number(segment.y2)} {number(segment.x)} {number(segment.y)} c"
                )
            case Close():
                yield "h"


def _lines(steps: Iterable[str]) -> str:
    """The steps in lines that are not too long."""
    lines: list[str] = []
    line: list[str] = []
    length = 0
    for step in steps:
        if length + len(step) >= _LINE:
            lines.append(" ".join(line))
            line, length = [], 0
        line.append(step)
        length += len(step) + 1
    return "\n".join([*lines, " ".join(line), ""])


def _image(placed: Placed, behind: str) -> str:
    pixels = _pixels(placed.logo, behind)
    data = base64.a85encode(zlib.compress(pixels.data, 9), wrapcol=_LINE // 2).decode("ascii")
    # A line that began with %% would be taken for a comment by programs that read only these.
    data = f"\n{data}".replace("\n%", "\n %")[1:]
    return (
        f"gsave\n{number(placed.x)} {number(placed.y)} translate\n"
        f"{number(placed.width)} {number(placed.height)} scale\n"
        "/DeviceRGB setcolorspace\n"
        f"<</ImageType 1/Width {pixels.width}/Height {pixels.height}/BitsPerComponent 8\n"
        f"/Decode[0 1 0 1 0 1]/ImageMatrix[{pixels.width} 0 0 {pixels.height} 0 0]\n"
        "/Interpolate true\n"
        "/DataSource currentfile/ASCII85Decode filter/FlateDecode filter>>image\n"
        f"{data}~>\ngrestore\n"
    )


def _pixels(logo: Logo, behind: str) -> _Pixels:
    """The logo on an opaque ground, because EPS knows no transparency."""
    picture = logo_picture(logo, _LOGO_SIDE)
    ground = Image.new("RGBA", picture.size, behind)
    ground.alpha_composite(picture)
    return _Pixels(*picture.size, ground.convert("RGB").tobytes())


@hookimpl
def qz_renderers() -> Mapping[str, Renderer]:
    """Offer the format `eps`."""
    return {"eps": EpsRenderer()}
