"""The renderer `pdf`, every look as one page of vectors in true size, and sheets of labels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache

from msgspec import Struct

from core.api import Drawing, Label, Renderer, Sheet, SheetPrinter, hookimpl
from plugins.renderers.lettering import FACE
from plugins.renderers.outlines import number
from plugins.renderers.pages import (
    FINGERPRINT,
    LARGEST_POINTS,
    POINTS_PER_INCH,
    POINTS_PER_MM,
    Paper,
    outline,
)

REVISION = 2
"""Grows whenever the code below comes to write other bytes for the same drawing."""

_USUAL_DPI = 300
"""How many pixels an inch has where nobody says how large the print is to be; as in the EPS."""

_UNITS, _ASCENT, _DESCENT = 2816, 2728, 680
"""The font's own units in its size, and what it has above and below the baseline."""

_LINE = (_ASCENT + _DESCENT) / _UNITS
"""The height of a line, in sizes of the font."""

_MOST_BELOW, _MOST_BESIDE = 3, 4
"""How many lines a text may have."""

_SHRINKS = (1.0, 0.85, 0.7, 0.6, 0.5)
_SMALLEST_LINE_MM = 2.1
"""Letters of five points: below these, nobody reads them."""

_LONGEST = 300
"""So many characters of a text are looked at; no label has room for more."""

_WORDS = re.compile(r"\s*(?:[^\s/-]*[/-]+|[^\s/-]+)")
"""What stays on one line: words, and what links have between their slashes."""

_MORE = "…"

_OUTLINE = "q 0.25 w 0.5 G {} {} {} {} re S Q"


class PdfRenderer:
    """Writes PDF 1.6 in vectors; only logos are pixels, at the resolution of good print."""

    media_type = "application/pdf"
    extension = "pdf"

    def __init__(self) -> None:
        self.fingerprint = f"pdf-{REVISION}-{FINGERPRINT}"

    def render(self, drawing: Drawing) -> bytes:
        """The image on a page of its size, which is as asked for, or its pixels at 300 dpi.

        Raises ValueError for a caption with letters that the font does not have, and for a width
        that no page may have.
        """
        points = (
            drawing.layout.size / _USUAL_DPI * POINTS_PER_INCH
            if drawing.width_mm is None
            else drawing.width_mm * POINTS_PER_MM
        )
        if round(points, 6) > LARGEST_POINTS:
            raise ValueError(
                f"a PDF page is at most {LARGEST_POINTS / POINTS_PER_MM:g} mm wide; got "
                f"{points / POINTS_PER_MM:g} mm; take a smaller width_mm, or svg or eps"
            )
        paper = Paper(drawing.title, points, points)
        paper.draw(drawing, 0, 0, points)
        data: bytes = paper.getpdfdata()
        return data


class PdfSheets:
    """Prints labels as PDF; their texts are outlines, as captions are."""

    media_type = "application/pdf"
    extension = "pdf"

    def check(self, text: str) -> None:
        """Raise ValueError for a text with a letter that the font has in no way."""
        _legible(text)

    def print(self, sheet: Sheet, labels: Iterable[Label]) -> bytes:
        """The document; a sheet without labels is an empty page.

        What a text has no room for is cut off. Raises ValueError for a text, or the caption of a
        look, with letters that the font does not have.
        """
        width, height = sheet.page_width_mm * POINTS_PER_MM, sheet.page_height_mm * POINTS_PER_MM
        paper = Paper("QR codes", width, height)
        places = _Places(sheet)
        page = 0
        for count, label in enumerate(labels):
            on, left, top = sheet.place(count)
            while page < on:
                paper.showPage()
                page += 1
            x, y = left * POINTS_PER_MM, height - top * POINTS_PER_MM
            side = places.side
            paper.draw(label.drawing, x + places.x, y - places.y - side, side)
            letters = _lettered(label.text, places.text) if places.text else ""
            if letters:
                paper.write(f"q 1 0 0 1 {number(x)} {number(y)} cm\n{letters}Q")
            if sheet.outline:
                paper.write(_OUTLINE.format(*map(number, (x, y, places.width, -places.height))))
        paper.showPage()
        data: bytes = paper.getpdfdata()
        return data


class _Room(Struct, frozen=True):
    """Where a label has its text, in points from its top left corner; y grows downwards.

    `line` is the height of a line of the largest letters, `most` the number of lines. Beside a code
    text begins at the left, and stands at half the height; below it is centred, and begins at the
    top.
    """

    x: float
    y: float
    width: float
    height: float
    line: float
    most: int
    beside: bool


class _Places:
    """Where code and text stand on every label of a sheet, in points from its top left corner."""

    def __init__(self, sheet: Sheet) -> None:
        self.width = sheet.label_width_mm * POINTS_PER_MM
        self.height = sheet.label_height_mm * POINTS_PER_MM
        self.side = side = sheet.code_mm * POINTS_PER_MM
        padding, line = sheet.padding_mm * POINTS_PER_MM, sheet.line_mm * POINTS_PER_MM
        self.x, self.y = (self.width - side) / 2, (self.height - side) / 2
        self.text: _Room | None = None
        if sheet.beside:
            self.x = padding
            x = 2 * padding + side
            width, height = self.width - x - padding, self.height - 2 * padding
            self.text = _Room(x, padding, width, height, line, _MOST_BESIDE, beside=True)
        elif line:
            # All codes stand at the same height, however many lines their texts have.
            free = self.height - side - 2 * padding
            height = _lines(free, line, _MOST_BELOW) * line
            self.y = padding + max(free - height, 0) / 2
            width = self.width - 2 * padding
            below = self.y + side
            self.text = _Room(padding, below, width, height, line, _MOST_BELOW, beside=False)


def _lines(room: float, line: float, most: int) -> int:
    """How many lines find room, at least one and at most `most`."""
    return min(max(int(room / line + 1e-6), 1), most)


@lru_cache(maxsize=256)
def _lettered(text: str, room: _Room) -> str:
    """The operators that letter a text into its room, seen from the label's top left corner."""
    size, lines = _typeset(_legible(text), room)
    scale, height = number(size / _UNITS, 9), size * _LINE
    top = room.y + (room.height - len(lines) * height) / 2 if room.beside else room.y
    parts = []
    for row, words in enumerate(lines):
        x = room.x if room.beside else room.x + (room.width - _width(words) * size) / 2
        baseline = top + row * height + size * _ASCENT / _UNITS
        parts.append(f"q {scale} 0 0 {scale} {number(x)} {number(-baseline)} cm\n")
        parts += map(_letter, words)
        parts.append("Q\n")
    return "".join(parts)


def _typeset(text: str, room: _Room) -> tuple[float, list[str]]:
    """The size of the font, and the lines: as large as they fit, better small than broken."""
    if not text:
        return room.line / _LINE, []
    smallest = min(room.line, _SMALLEST_LINE_MM * POINTS_PER_MM) - 1e-6
    attempts = []
    for height in (room.line * shrink for shrink in _SHRINKS):
        if height >= smallest:
            size, most = height / _LINE, _lines(room.height, height, room.most)
            attempts.append((size, most, *_wrapped(text, room.width / size)))
    for allowed in (False, True):
        for size, most, lines, broken in attempts:
            if len(lines) <= most and broken <= allowed:
                return size, lines
    size, most, lines, _ = attempts[-1]
    rest = " ".join(lines[most - 1 :])
    keep = _fitting(rest, room.width / size - _width(_MORE))
    return size, [*lines[: most - 1], rest[:keep].rstrip() + _MORE]


def _wrapped(text: str, width: float) -> tuple[list[str], bool]:
    """The text in lines of `width` sizes of the font, and whether words had to be broken."""
    lines: list[str] = []
    line, broken = "", False
    for found in _WORDS.findall(text):
        word = found
        if line and _width(line + word) > width:
            lines.append(line)
            line = ""
        if not line:
            word = word.lstrip()
        while not line and _width(word) > width:
            keep = max(_fitting(word, width), 1)
            if keep >= len(word):
                break
            lines.append(word[:keep])
            word, broken = word[keep:], True
        line += word
    return [*lines, line], broken


def _fitting(text: str, width: float) -> int:
    """How many of the characters fit into `width` sizes of the font."""
    for count, letter in enumerate(text):
        width -= _width(letter)
        if width < 0:
            return count
    return len(text)


def _width(text: str) -> float:
    return sum(FACE.glyph(letter).advance for letter in text) / _UNITS


@lru_cache(maxsize=2048)
def _letter(letter: str) -> str:
    """The operators that draw a letter, in the font's units, and then move on by its width."""
    glyph = FACE.glyph(letter)
    ink = outline(glyph.segments)
    # NOTE: the empty outline at the end shows nothing, but without it `l`, a mere rectangle, would
    # be moved to whole pixels by pdfium, and would look bolder than the letters beside it.
    ink += "0 0 m\nh\nf\n" if ink else ""
    return f"{ink}1 0 0 1 {number(glyph.advance)} 0 cm\n"


def _legible(text: str) -> str:
    """The text in characters that the font has, on one line."""
    line = " ".join(text[:_LONGEST].split())
    return "".join(map(_shown, unicodedata.normalize("NFC", line))).strip()


@lru_cache(maxsize=2048)
def _shown(letter: str) -> str:
    """A character as the font can show it, as it is or as simpler ones; raises ValueError."""
    if _known(letter):
        return letter
    simpler = "".join(filter(_known, unicodedata.normalize("NFKD", letter)))
    if simpler:
        return simpler
    # Marks and controls mean nothing without the letters that they belong to.
    if unicodedata.category(letter)[0] not in "MC":
        FACE.glyph(letter)
    return ""


def _known(letter: str) -> bool:
    try:
        FACE.glyph(letter)
    except ValueError:
        return False
    return True


@hookimpl
def qz_renderers() -> Mapping[str, Renderer]:
    """Offer the format `pdf`."""
    return {"pdf": PdfRenderer()}


@hookimpl
def qz_sheets() -> Mapping[str, SheetPrinter]:
    """Offer sheets of labels in the format `pdf`."""
    return {"pdf": PdfSheets()}
