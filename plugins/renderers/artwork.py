"""Artwork: a drawing as plain geometry, which every renderer of looks prints in its own language.

Coordinates are in modules. The origin is the top left corner of the symbol, x grows to the right
and y downwards; the image reaches from (-`left`, -`top`) to (`extent` - `left`, `extent` - `top`).
"""

from __future__ import annotations

from msgspec import Struct

from core.api import Drawing, Logo


class Move(Struct, frozen=True):
    """Begins an outline at (x, y)."""

    x: float
    y: float


class Line(Struct, frozen=True):
    """A straight line to (x, y)."""

    x: float
    y: float


class Curve(Struct, frozen=True):
    """A cubic Bézier curve to (x, y) with the control points (x1, y1) and (x2, y2)."""

    x1: float
    y1: float
    x2: float
    y2: float
    x: float
    y: float


class Close(Struct, frozen=True):
    """A straight line back to where the outline began."""


Segment = Move | Line | Curve | Close


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
    """The artwork of a drawing."""
    raise NotImplementedError
