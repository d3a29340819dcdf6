"""The renderer `svg`: every look as one path, pixel for pixel where the PNG has its modules."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from html import escape

from core.api import (
    TRANSPARENT,
    Drawing,
    FinderShape,
    Layout,
    ModuleShape,
    Renderer,
    Symbol,
    hookimpl,
)
from plugins.renderers.artwork import Placed, compose
from plugins.renderers.outlines import Close, Curve, Move, Segment, number

REVISION = 4
"""Grows whenever the code below comes to write other bytes for the same drawing."""

# A light run and the dark one after it, or the mark that begins a row.
_RUN = re.compile(b"\x00*\x01+|[\x02-\xff]")
_ROWS = [bytes([2 + y]) for y in range(177)]

_FINE = 1000
"""The parts into which outlines divide a module: finer than any print, and short to write."""

# What XML 1.0 (2.2) cannot hold in any way.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class SvgRenderer:
    """Writes SVG 1.1 without a prologue, so that it can stand in an HTML page as it is.

    Only `href` without a prefix is of SVG 2; images without a logo do not have it.
    """

    media_type = "image/svg+xml"
    extension = "svg"

    def __init__(self) -> None:
        self.fingerprint = f"svg-{REVISION}"

    def render(self, drawing: Drawing) -> bytes:
        """The image; its coordinates are modules, the symbol's top left corner being their origin.

        Sized in pixels, or in millimetres where the drawing has a width in print. Raises ValueError
        for a caption with letters that the font does not have.
        """
        layout, look, width_mm = drawing.layout, drawing.look, drawing.width_mm
        side = str(layout.size) if width_mm is None else f"{_decimal(width_mm)}mm"
        frame, behind = _frame(layout)
        if look.background == TRANSPARENT:
            behind = ""
        else:
            behind += f'fill="{_short(look.background)}"/>'
        crisp = ""
        if look.shape is ModuleShape.SQUARE and look.finder_shape is FinderShape.SQUARE:
            crisp = ' shape-rendering="crispEdges"'
        # NOTE: one path for all modules: drawn as separate shapes, neighbours would show hairlines
        # between them wherever a program scales or prints the image with smoothed edges.
        color = _short(look.color)
        if look.flat:
            shape, rest = _runs(drawing.symbol), ""
        else:
            artwork = compose(drawing)
            shape = path(artwork.shape)
            rest = f'<path fill="{color}" d="{path(artwork.caption)}"/>' if artwork.caption else ""
            rest += image(artwork.logo) if artwork.logo else ""
        title = escape(_UNWRITABLE.sub("\ufffd", drawing.title), quote=False)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{side}" height="{side}" '
            f'viewBox="{frame}"><title>{title}</title>{behind}'
            f'<path fill="{color}"{crisp} d="{shape}"/>{rest}</svg>'
        ).encode()


class _Rectangles(dict[bytes, str]):
    """Light modules and the dark ones after them as a path, from the end of the run before them.

    The rectangle begins, and so ends, at its top right corner: thus its text says nothing of where
    it stands, and one text serves all runs of the same kind.
    """

    def __missing__(self, modules: bytes) -> str:
        dark = modules.count(1)
        if not dark:
            text = self[modules] = f"M0 {modules[0] - 2}"
            return text
        text = self[modules] = f"m{len(modules)} 0v1h-{dark}v-1z"
        return text


_RECTANGLES = _Rectangles()


def _runs(symbol: Symbol) -> str:
    """Each run of dark modules in a row as a closed rectangle, one module high."""
    # PERF: no Python runs for a single module, run or row: 29 modules a side take 0.03 ms.
    size, modules = symbol.size, symbol.modules
    parts = [b""] * (2 * size)
    parts[::2] = _ROWS[:size]
    parts[1::2] = [modules[at : at + size] for at in range(0, size * size, size)]
    return "".join(map(_RECTANGLES.__getitem__, _RUN.findall(b"".join(parts))))


@lru_cache(maxsize=256)
def _frame(layout: Layout) -> tuple[str, str]:
    """The view box, and the beginning of the rectangle that fills it."""
    scale = layout.scale
    left, top = _decimal(-layout.left / scale), _decimal(-layout.top / scale)
    extent = _decimal(layout.size / scale)
    return (
        f"{left} {top} {extent} {extent}",
        f'<rect x="{left}" y="{top}" width="{extent}" height="{extent}" ',
    )


def image(placed: Placed) -> str:
    """A logo as an element."""
    box = " ".join(
        f'{name}="{_decimal(getattr(placed, name))}"' for name in ("x", "y", "width", "height")
    )
    kind = placed.logo.info.media_type.value
    return f'<image {box} href="data:{kind};base64,{b64encode(placed.logo.data).decode()}"/>'


def path(segments: Iterable[Segment]) -> str:
    """Outlines as the `d` of a path."""
    return "".join(_steps(segments))


def _steps(segments: Iterable[Segment]) -> Iterator[str]:
    """The commands of a path, all but the first of each outline from where the pen is.

    Steps are worked out between rounded points: no error adds up.
    """
    number = _NUMBERS.__getitem__
    x = y = begin_x = begin_y = 0
    for segment in segments:
        if isinstance(segment, Close):
            yield "z"
            x, y = begin_x, begin_y
            continue
        to_x, to_y = round(segment.x * _FINE), round(segment.y * _FINE)
        if isinstance(segment, Curve):
            yield "c"
            yield number(round(segment.x1 * _FINE) - x)
            yield number(round(segment.y1 * _FINE) - y)
            yield number(round(segment.x2 * _FINE) - x)
            yield number(round(segment.y2 * _FINE) - y)
            yield number(to_x - x)
            yield number(to_y - y)
        elif isinstance(segment, Move):
            yield "M"
            yield number(to_x)
            yield number(to_y)
            begin_x, begin_y = to_x, to_y
        elif to_y == y:
            yield "h"
            yield number(to_x - x)
        elif to_x == x:
            yield "v"
            yield number(to_y - y)
        else:
            yield "l"
            yield number(to_x - x)
            yield number(to_y - y)
        x, y = to_x, to_y


class _Numbers(dict[int, str]):
    """Parts of a module as modules, each written so that it may follow another number."""

    def __missing__(self, parts: int) -> str:
        text = _decimal(parts / _FINE)
        text = text.replace("0.", ".", 1) if abs(parts) < _FINE else text
        text = text if parts < 0 else " " + text
        # Only outlines of small steps come again and again.
        if abs(parts) < _FINE:
            self[parts] = text
        return text


_NUMBERS = _Numbers()


def _decimal(value: float) -> str:
    """At most five decimals: a hundred-thousandth of a module is nowhere a pixel."""
    return number(value, 5)


def _short(color: str) -> str:
    """`#aabbcc` as `#abc`."""
    red, green, blue = color[1:3], color[3:5], color[5:7]
    if red[0] == red[1] and green[0] == green[1] and blue[0] == blue[1]:
        return f"#{red[0]}{green[0]}{blue[0]}"
    return color


@hookimpl
def qz_renderers() -> Mapping[str, Renderer]:
    """Offer the format `svg`."""
    return {"svg": SvgRenderer()}
