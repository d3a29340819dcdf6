"""Sheets: labels in rows and columns on pages, for codes that are printed and stuck onto things."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct, structs

from core.domain.images import MM_PER_INCH, Drawing
from core.errors import FieldProblem, InvalidFields

MIN_MODULE_MM = 0.2
"""The smallest module on a label: office printers give it five dots, and phones still see it."""

_TOLERANCE_MM = 0.1
"""What a grid may reach over the page: published dimensions are rounded."""

_PAGES = {"a4": (210.0, 297.0), "a5": (148.0, 210.0), "letter": (215.9, 279.4)}
_PAGE = re.compile(r"([0-9]{1,4}(?:\.[0-9]+)?)x([0-9]{1,4}(?:\.[0-9]+)?)")
_SMALLEST_PAGE, _LARGEST_PAGE = 10, 2000

LABEL_SIDE_MM = 5
"""The smallest width and height of a label."""


class LabelText(enum.StrEnum):
    """What stands in letters beside or below a code on its label."""

    NONE = "none"
    TITLE = "title"
    SLUG = "slug"
    SHORT_URL = "short_url"


class Sheet(Struct, frozen=True):
    """Pages of labels: `rows` by `columns` of one size on each; all lengths are millimetres.

    Margins are those above and to the left of the first label, gaps those between neighbours. The
    first `skip` labels of the first page are left free: somebody has used them. With `outline` a
    line to cut along is drawn around each label.
    """

    page_width_mm: float
    page_height_mm: float
    rows: int
    columns: int
    margin_top_mm: float
    margin_left_mm: float
    label_width_mm: float
    label_height_mm: float
    gap_x_mm: float = 0.0
    gap_y_mm: float = 0.0
    caption: LabelText = LabelText.NONE
    skip: int = 0
    outline: bool = False

    @property
    def padding_mm(self) -> float:
        """What stays free along a label's edges: no printer meets a sheet exactly."""
        return min(1.5, 0.06 * min(self.label_width_mm, self.label_height_mm))

    @property
    def beside(self) -> bool:
        """Whether the text stands to the right of the code: on wide labels that leaves it larger.

        Elsewhere the text stands below the code.
        """
        return self.caption is not LabelText.NONE and (
            self.label_width_mm >= 1.6 * self.label_height_mm
        )

    @property
    def line_mm(self) -> float:
        """The height of a line of text; 0 where there is no text."""
        if self.caption is LabelText.NONE:
            return 0.0
        return min(max(0.12 * self.label_height_mm, 2.1), 4.2)

    @property
    def code_mm(self) -> float:
        """The side of the square that the image of a code fills, its quiet zone included."""
        below = 0.0 if self.beside else self.line_mm
        height = self.label_height_mm - 2 * self.padding_mm - below
        return min(self.label_width_mm - 2 * self.padding_mm, height)

    def place(self, number: int) -> tuple[int, float, float]:
        """Where label `number` lies: its page, and its left and top edge; all count from 0."""
        page, on_page = divmod(self.skip + number, self.rows * self.columns)
        row, column = divmod(on_page, self.columns)
        return (
            page,
            self.margin_left_mm + column * (self.label_width_mm + self.gap_x_mm),
            self.margin_top_mm + row * (self.label_height_mm + self.gap_y_mm),
        )


class Label(Struct, frozen=True):
    """What one label shows: the drawing of a code, and a text, which may be empty."""

    drawing: Drawing
    text: str = ""


Rows = Annotated[int, Meta(ge=1, le=100)]
Millimetres = Annotated[float, Meta(ge=0, le=_LARGEST_PAGE)]
LabelSide = Annotated[float, Meta(ge=LABEL_SIDE_MM, le=_LARGEST_PAGE)]


class SheetOptions(Struct, frozen=True):
    """What a caller may ask of a sheet: a preset, and what differs from it; or a grid of his own.

    In a grid of one's own, labels fill the page unless their size is given, and the grid is centred
    where the page is larger. `page` is a4, a5, letter, or width and height such as 100x150.
    """

    preset: Annotated[str, Meta(min_length=1, max_length=20)] | None = None
    page: Annotated[str, Meta(min_length=1, max_length=20)] | None = None
    rows: Rows | None = None
    columns: Rows | None = None
    margin_top_mm: Millimetres | None = None
    margin_left_mm: Millimetres | None = None
    gap_x_mm: Millimetres | None = None
    gap_y_mm: Millimetres | None = None
    label_width_mm: LabelSide | None = None
    label_height_mm: LabelSide | None = None
    caption: LabelText = LabelText.NONE
    skip: Annotated[int, Meta(ge=0, le=10_000)] = 0
    outline: bool = False


_GRID = tuple(
    field
    for field in SheetOptions.__struct_fields__
    if field not in ("preset", "page", "caption", "skip", "outline")
)


def _a4(
    columns: int, rows: int, width: float, height: float, left: float, top: float, gap_x: float
) -> Sheet:
    return Sheet(*_PAGES["a4"], rows, columns, top, left, width, height, gap_x)


def _letter(
    columns: int,
    rows: int,
    width: float,
    height: float,
    left: float,
    top: float,
    gaps: tuple[float, float],
) -> Sheet:
    """A sheet of US letter size, whose lengths are published in inches."""
    top, left, width, height, gap_x, gap_y = (
        round(inches * MM_PER_INCH, 4) for inches in (top, left, width, height, *gaps)
    )
    return Sheet(*_PAGES["letter"], rows, columns, top, left, width, height, gap_x, gap_y)


PRESETS: Mapping[str, Sheet] = {
    "L7159": _a4(3, 8, 63.5, 33.9, 7.2, 12.9, 2.5),
    "L7160": _a4(3, 7, 63.5, 38.1, 7.2, 15.1, 2.5),
    "L7161": _a4(3, 6, 63.5, 46.6, 7.2, 8.7, 2.5),
    "L7162": _a4(2, 8, 99.1, 33.9, 4.65, 12.9, 2.5),
    "L7163": _a4(2, 7, 99.1, 38.1, 4.65, 15.1, 2.5),
    "L7164": _a4(3, 4, 63.5, 72.0, 7.2, 4.5, 2.5),
    "L7165": _a4(2, 4, 99.1, 67.7, 4.65, 13.1, 2.5),
    "L7651": _a4(5, 13, 38.1, 21.2, 4.75, 10.7, 2.5),
    "L7654": _a4(4, 10, 45.7, 25.4, 9.75, 21.5, 2.55),
    "5160": _letter(3, 10, 2.625, 1, 0.1875, 0.5, (0.125, 0)),
    "5161": _letter(2, 10, 4, 1, 0.15625, 0.5, (0.1875, 0)),
    "5162": _letter(2, 7, 4, 4 / 3, 0.15625, 5 / 6, (0.1875, 0)),
    "5163": _letter(2, 5, 4, 2, 0.15625, 0.5, (0.1875, 0)),
    "5164": _letter(2, 3, 4, 10 / 3, 0.15625, 0.5, (0.1875, 0)),
    "5167": _letter(4, 20, 1.75, 0.5, 0.28125, 0.5, (0.3125, 0)),
    "22805": _letter(4, 6, 1.5, 1.5, 0.78125, 0.5, (0.3125, 0.2)),
}
"""Common label sheets by the numbers under which they are sold; many makers use the same."""

DEFAULT_PRESET = "L7160"
"""The sheet of those who ask for none, and give no grid of their own."""


def sheet_of(options: SheetOptions) -> Sheet:
    """The sheet that is asked for; raises InvalidFields with everything that does not fit."""
    given = {field: value for field in _GRID if (value := getattr(options, field)) is not None}
    problems: list[FieldProblem] = []
    page = None
    if options.page is not None:
        try:
            page = _page(options.page)
        except ValueError as error:
            problems.append(FieldProblem("page", str(error)))
    own = options.preset is None and (given or options.page is not None)
    preset = None if own else PRESETS.get((options.preset or DEFAULT_PRESET).upper())
    if own:
        problems += [
            FieldProblem(field, f"is required in a grid of your own; or name a preset: {_known()}")
            for field in ("rows", "columns")
            if field not in given
        ]
    elif preset is None:
        message = f"{options.preset!r} is unknown; known are: {_known()}; or give rows and columns"
        problems.append(FieldProblem("preset", message))
    if problems:
        raise InvalidFields(problems)
    if preset is None:
        width, height = page or _PAGES["a4"]
        values = {"page_width_mm": width, "page_height_mm": height} | _centred(given, width, height)
    else:
        values = structs.asdict(preset) | given
        if page is not None:
            values |= {"page_width_mm": page[0], "page_height_mm": page[1]}
    values |= {name: getattr(options, name) for name in ("caption", "skip", "outline")}
    sheet = Sheet(**values)
    problems = _misfits(sheet, given)
    if problems:
        raise InvalidFields(problems)
    return sheet


def _known() -> str:
    return ", ".join(PRESETS)


def _page(text: str) -> tuple[float, float]:
    """The width and the height of a page; raises ValueError for what is none."""
    named = _PAGES.get(text.lower())
    if named is not None:
        return named
    match = _PAGE.fullmatch(text.lower())
    if match is None:
        raise ValueError(
            f"{text!r} is no page; write {', '.join(_PAGES)}, or width and height in millimetres, "
            "such as 100x150"
        )
    width, height = float(match[1]), float(match[2])
    if not all(_SMALLEST_PAGE <= side <= _LARGEST_PAGE for side in (width, height)):
        raise ValueError(
            f"the sides of a page have {_SMALLEST_PAGE} to {_LARGEST_PAGE} millimetres; got {text}"
        )
    return width, height


def _centred(given: Mapping[str, Any], width: float, height: float) -> dict[str, Any]:
    """A grid of somebody's own: labels fill what is left, and what they leave is divided."""
    values: dict[str, Any] = {"gap_x_mm": 0.0, "gap_y_mm": 0.0} | dict(given)
    for count, gap, side, margin, length in (
        ("columns", "gap_x_mm", "label_width_mm", "margin_left_mm", width),
        ("rows", "gap_y_mm", "label_height_mm", "margin_top_mm", height),
    ):
        gaps = (values[count] - 1) * values[gap]
        if side not in values:
            room = length - 2 * values.get(margin, 0.0) - gaps
            values[side] = round(room / values[count], 4)
        room = length - values[count] * values[side] - gaps
        values.setdefault(margin, round(max(room / 2, 0.0), 4))
    return values


def _misfits(sheet: Sheet, given: Mapping[str, Any]) -> list[FieldProblem]:
    """Where the grid reaches over the page, and what else does not go together."""
    problems = []
    for counted, count, side, gap, margin, names, length, words in (
        (
            "labels in a row",
            sheet.columns,
            sheet.label_width_mm,
            sheet.gap_x_mm,
            sheet.margin_left_mm,
            ("columns", "label_width_mm", "gap_x_mm", "margin_left_mm"),
            sheet.page_width_mm,
            ("wide", "columns", "narrower"),
        ),
        (
            "labels in a column",
            sheet.rows,
            sheet.label_height_mm,
            sheet.gap_y_mm,
            sheet.margin_top_mm,
            ("rows", "label_height_mm", "gap_y_mm", "margin_top_mm"),
            sheet.page_height_mm,
            ("high", "rows", "lower"),
        ),
    ):
        # What the caller gave is what he can change.
        field = next((name for name in names if name in given), "page")
        large, fewer, smaller = words
        needed = margin + count * side + (count - 1) * gap
        if needed > length + _TOLERANCE_MM:
            message = (
                f"{count} {counted}, {side:g} mm {large} and {gap:g} mm apart, after a margin of "
                f"{margin:g} mm, need {needed:g} mm, but the page is {length:g} mm {large}; take "
                f"fewer {fewer}, {smaller} labels, a smaller gap or margin, or a larger page"
            )
            problems.append(FieldProblem(field, message))
        elif side < LABEL_SIDE_MM:
            message = (
                f"{count} {counted} leave {max(side, 0):g} mm for each, but a label is at least "
                f"{LABEL_SIDE_MM} mm {large}; take fewer {fewer}, a smaller gap or margin, or a "
                "larger page"
            )
            problems.append(FieldProblem(field, message))
    on_page = sheet.rows * sheet.columns
    if sheet.skip >= on_page:
        message = f"{sheet.skip} labels cannot be used already: a sheet has {on_page}"
        problems.append(FieldProblem("skip", f"{message}; take a new sheet, and leave skip out"))
    return problems
