"""Outlines: the segments of which all shapes are made, y growing downwards."""

from __future__ import annotations

from msgspec import Struct


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


def number(value: float, decimals: int = 4) -> str:
    """A number as vector formats write it: without an exponent, and without zeros at its end."""
    text = f"{value:.{decimals}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
