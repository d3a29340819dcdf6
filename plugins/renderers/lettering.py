"""Lettering: a line of text as outlines, so that a caption looks the same wherever it is shown.

The font is Inter Semi Bold, reduced to Latin, Greek and Cyrillic letters, punctuation, currencies,
arrows and a few signs; its licence lies beside it. `pyftsubset --desubroutinize --no-hinting` made
it, without any layout features.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Any

from fontTools.pens.basePen import BasePen
from fontTools.ttLib import TTFont
from msgspec import Struct

from plugins.renderers.outlines import Close, Curve, Line, Move, Segment

FONT = Path(__file__).with_name("fonts") / "Inter-SemiBold.otf"

_USUAL = "Üg"
"""What sets the height of a line: without this, captions with and without accents would differ."""

_FILL = 0.9
"""How much of its box's height a line takes, from the lowest descender to the highest accent."""


class Box(Struct, frozen=True):
    """Where text may be."""

    x: float
    y: float
    width: float
    height: float


class _Glyph(Struct, frozen=True):
    """A character as the font draws it, in the font's units: y grows upwards from the baseline."""

    advance: float
    segments: tuple[Segment, ...]


class _Extent(Struct, frozen=True):
    """How far ink reaches."""

    left: float
    right: float
    lowest: float
    highest: float


class _Recorder(BasePen):  # type: ignore[misc]
    """Takes down what a glyph draws."""

    def __init__(self, glyphs: Any) -> None:
        super().__init__(glyphs)
        self.segments: list[Segment] = []

    def _moveTo(self, pt: tuple[float, float]) -> None:  # noqa: N802
        self.segments.append(Move(*pt))

    def _lineTo(self, pt: tuple[float, float]) -> None:  # noqa: N802
        self.segments.append(Line(*pt))

    def _curveToOne(self, pt1: Any, pt2: Any, pt3: Any) -> None:  # noqa: N802
        self.segments.append(Curve(*pt1, *pt2, *pt3))

    def _closePath(self) -> None:  # noqa: N802
        self.segments.append(Close())


class _Face:
    """The font: read when it is first needed, and each glyph once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._glyphs: Any = None
        self._names: dict[int, str] = {}
        self._known: dict[str, _Glyph] = {}

    def glyph(self, character: str) -> _Glyph:
        """What the font draws for a character; raises ValueError where it has nothing for it."""
        known = self._known.get(character)
        if known is not None:
            return known
        # NOTE: glyphs are unpacked as they are drawn, which two threads must not do at a time.
        with self._lock:
            if self._glyphs is None:
                font = TTFont(self._path, lazy=False)
                self._names = font.getBestCmap()
                self._glyphs = font.getGlyphSet()
            name = self._names.get(ord(character))
            if name is None:
                raise ValueError(
                    f"captions cannot be lettered with {_called(character)}; leave it out: "
                    "the font has Latin, Greek and Cyrillic letters, punctuation and arrows"
                )
            recorder = _Recorder(self._glyphs)
            self._glyphs[name].draw(recorder)
            glyph = _Glyph(self._glyphs[name].width, tuple(recorder.segments))
            self._known[character] = glyph
            return glyph


FACE = _Face(FONT)


def lettering(text: str, box: Box) -> tuple[Segment, ...]:
    """`text` on one line in the middle of `box`, as large as it fits; no ink leaves the box.

    Raises ValueError for a character that the font does not have, naming it.
    """
    line: list[Segment] = []
    x = 0.0
    # What a keyboard sends as letter and accent is one character to the font.
    for character in unicodedata.normalize("NFC", text):
        glyph = FACE.glyph(character)
        line.extend(_moved(glyph.segments, 1, 1, x, 0))
        x += glyph.advance
    if not line:
        return ()
    usual = _extent(segment for character in _USUAL for segment in FACE.glyph(character).segments)
    ink = _extent(line)
    highest, lowest = max(usual.highest, ink.highest), min(usual.lowest, ink.lowest)
    width, height = ink.right - ink.left, highest - lowest
    scale = min(_FILL * box.height / height, box.width / width)
    return tuple(
        _moved(
            line,
            scale,
            -scale,
            box.x + (box.width - width * scale) / 2 - ink.left * scale,
            box.y + (box.height - height * scale) / 2 + highest * scale,
        )
    )


def _moved(
    segments: Iterable[Segment], stretch_x: float, stretch_y: float, x: float, y: float
) -> Iterable[Segment]:
    """The segments stretched, and then moved by (x, y)."""
    for segment in segments:
        match segment:
            case Curve():
                yield Curve(
                    segment.x1 * stretch_x + x,
                    segment.y1 * stretch_y + y,
                    segment.x2 * stretch_x + x,
                    segment.y2 * stretch_y + y,
                    segment.x * stretch_x + x,
                    segment.y * stretch_y + y,
                )
            case Close():
                yield segment
            case _:
                yield type(segment)(segment.x * stretch_x + x, segment.y * stretch_y + y)


def _extent(segments: Iterable[Segment]) -> _Extent:
    """The box around all points; a curve never leaves the box around its control points."""
    points = [
        point
        for segment in segments
        if not isinstance(segment, Close)
        for point in (
            ((segment.x1, segment.y1), (segment.x2, segment.y2), (segment.x, segment.y))
            if isinstance(segment, Curve)
            else ((segment.x, segment.y),)
        )
    ]
    columns, rows = [x for x, _ in points], [y for _, y in points]
    return _Extent(min(columns), max(columns), min(rows), max(rows))


def _called(character: str) -> str:
    """A character as a reader can find it, whether it can be seen or not."""
    shown = f"{character!r} " if character.isprintable() else ""
    return f"{shown}(U+{ord(character):04X} {unicodedata.name(character, 'without a name')})"
