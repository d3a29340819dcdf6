"""Artwork: a drawing as plain geometry, which every renderer of looks prints in its own language.

Coordinates are in modules. The origin is the top left corner of the symbol, x grows to the right
and y downwards; the image reaches from (-`left`, -`top`) to (`extent` - `left`, `extent` - `top`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from core.api import (
    TRANSPARENT,
    Drawing,
    FinderShape,
    Layout,
    Logo,
    ModuleShape,
    Symbol,
    logo_hole,
)
from plugins.renderers.lettering import Box, lettering
from plugins.renderers.outlines import Close, Curve, Line, Move, Segment

__all__ = [
    "Artwork",
    "Close",
    "Curve",
    "Line",
    "Move",
    "Placed",
    "Segment",
    "caption",
    "compose",
    "finders",
    "hole_of",
    "modules",
    "modules_of",
    "placed",
]

_Point = tuple[int, int]
_Outline = Iterator[Segment]

_RUN = re.compile(b"\x01+")

_ARC = 0.5522847498
"""How far the control points of a quarter of a circle lie from its ends, in radii."""

_GAP = 0.05
"""The air around a dot, in modules: dots of nine tenths are seen as dots, and still read well."""


class _Corner(NamedTuple):
    """Where an outline turns, from one heading to another; headings are steps of one module."""

    x: int
    y: int
    before: _Point
    after: _Point


class Placed(Struct, frozen=True):
    """A logo, and the box in which it is drawn; the box has the logo's own proportions."""

    logo: Logo
    x: float
    y: float
    width: float
    height: float


class Artwork(Struct, frozen=True):
    """What is to be painted, in this order: the background, the shape, the caption, the logo.

    `shape` is everything dark of the symbol, `caption` the outlines of the caption's letters; both
    are filled with `color` by the nonzero rule. `background` is None where it is transparent.
    `left` and `top` tell how far the image reaches beyond the symbol's top left corner; `extent` is
    the image's width and height.
    """

    extent: float
    left: float
    top: float
    color: str
    background: str | None
    shape: tuple[Segment, ...]
    caption: tuple[Segment, ...] = ()
    logo: Placed | None = None


def compose(drawing: Drawing) -> Artwork:
    """The artwork of a drawing; raises ValueError for a caption that cannot be lettered."""
    symbol, layout, look = drawing.symbol, drawing.layout, drawing.look
    scale = layout.scale
    hole = hole_of(drawing)
    return Artwork(
        extent=layout.size / scale,
        left=layout.left / scale,
        top=layout.top / scale,
        color=look.color,
        background=None if look.background == TRANSPARENT else look.background,
        shape=(
            *finders(symbol.finders, look.finder_shape),
            *modules(modules_of(symbol, hole), look.shape),
        ),
        caption=caption(look.caption, layout),
        logo=placed(drawing.logo, hole) if drawing.logo else None,
    )


def caption(text: str, layout: Layout) -> tuple[Segment, ...]:
    """The outlines of a caption; raises ValueError for one that cannot be lettered."""
    if not text:
        return ()
    scale = layout.scale
    edge = max(layout.margin / 2, 1)
    return lettering(
        text,
        Box(
            x=edge - layout.left / scale,
            y=(layout.caption_top - layout.top) / scale,
            width=layout.size / scale - 2 * edge,
            height=layout.caption_height / scale,
        ),
    )


def hole_of(drawing: Drawing) -> range:
    """The rows, and the columns, without modules; none where there is no logo."""
    return logo_hole(drawing.symbol.size, drawing.look.logo_size) if drawing.logo else range(0)


def placed(logo: Logo, hole: range) -> Placed:
    """The logo as large as fits into the hole with half a module of air, in its middle."""
    room = max(len(hole) - 1, len(hole) / 2)
    shrink = room / max(logo.info.width, logo.info.height)
    width, height = logo.info.width * shrink, logo.info.height * shrink
    middle = hole.start + len(hole) / 2
    return Placed(logo, middle - width / 2, middle - height / 2, width, height)


def finders(corners: Iterable[_Point], shape: FinderShape) -> Iterator[Segment]:
    """The finder patterns: a ring of 7 by 7 modules, one module wide, and 3 by 3 in its middle."""
    # The radii of outer edge, inner edge and middle. Whole circles would have 3.5 and 2.5; these
    # are flat for 0.4 modules, which nobody sees: of whole ones ZBar lost up to 7 in 10 in images
    # of 900 pixels and more, of these it lost none.
    outer, inner, middle = {
        FinderShape.SQUARE: (0.0, 0.0, 0.0),
        FinderShape.ROUNDED: (2.0, 1.2, 0.9),
        FinderShape.CIRCLE: (3.3, 2.3, 1.5),
    }[shape]
    for x, y in corners:
        yield from _square(x, y, 7, outer)
        yield from _square(x + 1, y + 1, 5, inner, hole=True)
        yield from _square(x + 2, y + 2, 3, middle)


def modules_of(symbol: Symbol, hole: range) -> list[bytearray]:
    """All modules, row by row, but for those of the finder patterns and those in the hole."""
    rows = [bytearray(symbol.row(y)) for y in range(symbol.size)]
    for x, y in symbol.finders:
        for row in rows[y : y + 7]:
            row[x : x + 7] = bytes(7)
    for y in hole:
        rows[y][hole.start : hole.stop] = bytes(len(hole))
    return rows


def modules(rows: Sequence[bytearray], shape: ModuleShape) -> Iterator[Segment]:
    """All dark modules of these rows."""
    if shape is ModuleShape.ROUNDED:
        yield from _outlines(rows)
        return
    for y, row in enumerate(rows):
        if shape is ModuleShape.DOT:
            for x in range(len(row)):
                if row[x]:
                    yield from _square(x + _GAP, y + _GAP, 1 - 2 * _GAP, 0.5 - _GAP)
        else:
            for run in _RUN.finditer(row):
                start, end = run.span()
                yield from (Move(start, y), Line(end, y), Line(end, y + 1), Line(start, y + 1))
                yield Close()


def _outlines(rows: Sequence[bytearray]) -> Iterator[Segment]:
    """The outlines of all modules that share edges, their outer corners rounded.

    One outline around neighbours, not one each: between two shapes that touch, hairlines show
    wherever a program smooths edges.
    """
    edges = _edges(rows)
    while edges:
        begin = next(iter(edges))
        first = heading = edges[begin][0]
        (x, y), outline = begin, []
        while True:
            ways = edges[x, y]
            ways.remove(heading)
            if not ways:
                del edges[x, y]
            x, y = x + heading[0], y + heading[1]
            # Where two modules touch with their corners only, turning right leaves each its own.
            onward = edges.get((x, y), [])
            right = (-heading[1], heading[0])
            ended = (x, y) == begin and right not in onward
            way = first if ended else right if right in onward else onward[0]
            if way != heading:
                outline.append(_Corner(x, y, heading, way))
            if ended:
                break
            heading = way
        yield from _rounded(outline)


def _edges(rows: Sequence[bytearray]) -> dict[_Point, list[_Point]]:
    """Where each edge between dark and light begins, and where it heads, the dark on its right."""
    edges: dict[_Point, list[_Point]] = {}
    size = len(rows)
    light = bytes(size)
    for y, row in enumerate(rows):
        above = rows[y - 1] if y else light
        below = rows[y + 1] if y + 1 < size else light
        for x, dark in enumerate(row):
            if not dark:
                continue
            if not above[x]:
                edges.setdefault((x, y), []).append((1, 0))
            if x + 1 == size or not row[x + 1]:
                edges.setdefault((x + 1, y), []).append((0, 1))
            if not below[x]:
                edges.setdefault((x + 1, y + 1), []).append((-1, 0))
            if not x or not row[x - 1]:
                edges.setdefault((x, y + 1), []).append((0, -1))
    return edges


def _rounded(outline: Sequence[_Corner]) -> Iterator[Segment]:
    """An outline whose right turns, which are its outer corners, are quarters of circles."""
    bend = (1 - _ARC) / 2
    start: type[Move] | type[Line] = Move
    for x, y, (in_x, in_y), (out_x, out_y) in outline:
        if in_x * out_y - in_y * out_x < 0:
            yield start(x, y)
        else:
            yield start(x - in_x / 2, y - in_y / 2)
            yield Curve(
                x - in_x * bend,
                y - in_y * bend,
                x + out_x * bend,
                y + out_y * bend,
                x + out_x / 2,
                y + out_y / 2,
            )
        start = Line
    yield Close()


def _square(x: float, y: float, side: float, radius: float, *, hole: bool = False) -> _Outline:
    """A square with round corners; half its side as the radius makes it a circle.

    A hole runs anticlockwise: by the nonzero rule it is cut out of what surrounds it.
    """
    far_x, far_y, bend = x + side, y + side, radius * (1 - _ARC)
    corners = [
        (Line(far_x - radius, y), Curve(far_x - bend, y, far_x, y + bend, far_x, y + radius)),
        (
            Line(far_x, far_y - radius),
            Curve(far_x, far_y - bend, far_x - bend, far_y, far_x - radius, far_y),
        ),
        (Line(x + radius, far_y), Curve(x + bend, far_y, x, far_y - bend, x, far_y - radius)),
        (Line(x, y + radius), Curve(x, y + bend, x + bend, y, x + radius, y)),
    ]
    if hole:
        corners = [
            (Line(curve.x, curve.y), Curve(curve.x2, curve.y2, curve.x1, curve.y1, line.x, line.y))
            for line, curve in reversed(corners)
        ]
    # What follows the last corner, the straight line to the first one, is left to `Close`.
    begin = corners[-1][1] if radius else corners[-1][0]
    yield Move(begin.x, begin.y)
    for line, curve in corners:
        if 2 * radius < side:
            yield line
        if radius:
            yield curve
    yield Close()
