from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.domain.sheets import PRESETS, LabelText, Sheet, SheetOptions, sheet_of
from core.errors import InvalidFields

COUNTS = st.none() | st.integers(1, 100)
LENGTHS = st.none() | st.floats(0, 60)
SIDES = st.none() | st.floats(5, 200)
PAGES = st.sampled_from(["a4", "A5", "letter", "100x150", "62x29", "1000x707.5"])


@st.composite
def accepted(draw: st.DrawFn) -> Sheet:
    """Sheets of all options that are accepted, both presets that are changed and own grids."""
    preset = draw(st.none() | st.sampled_from(sorted(PRESETS)))
    options = SheetOptions(
        preset=preset,
        page=draw(PAGES if preset is None else st.none() | PAGES),
        rows=draw(COUNTS if preset else st.integers(1, 30)),
        columns=draw(COUNTS if preset else st.integers(1, 20)),
        margin_top_mm=draw(LENGTHS),
        margin_left_mm=draw(LENGTHS),
        gap_x_mm=draw(LENGTHS),
        gap_y_mm=draw(LENGTHS),
        label_width_mm=draw(SIDES),
        label_height_mm=draw(SIDES),
        caption=draw(st.sampled_from(LabelText)),
        skip=draw(st.integers(0, 40)),
    )
    try:
        return sheet_of(options)
    except InvalidFields:
        assume(False)
        raise


@settings(max_examples=150, deadline=None, derandomize=True)
@given(sheet=accepted())
def test_labels_neither_overlap_nor_leave_the_page(sheet: Sheet) -> None:
    on_page = sheet.rows * sheet.columns
    places = [sheet.place(number) for number in range(2 * on_page - sheet.skip)]
    assert [page for page, _, _ in places] == [0] * (on_page - sheet.skip) + [1] * on_page
    for _, left, top in places:
        # A tenth of a millimetre is what published dimensions are rounded to.
        assert left >= 0
        assert top >= 0
        assert left + sheet.label_width_mm <= sheet.page_width_mm + 0.1
        assert top + sheet.label_height_mm <= sheet.page_height_mm + 0.1
    for (_, x, y), (_, other_x, other_y) in combinations(places[-on_page:][:200], 2):
        assert (
            abs(x - other_x) >= sheet.label_width_mm - 1e-9
            or abs(y - other_y) >= sheet.label_height_mm - 1e-9
        )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(sheet=accepted())
def test_code_and_text_find_room_on_the_label(sheet: Sheet) -> None:
    width = sheet.label_width_mm - 2 * sheet.padding_mm
    height = sheet.label_height_mm - 2 * sheet.padding_mm
    assert sheet.code_mm > 2
    assert sheet.code_mm <= height + 1e-9
    assert sheet.code_mm <= width + 1e-9
    if sheet.caption is LabelText.NONE:
        assert (sheet.line_mm, sheet.beside) == (0, False)
        assert sheet.code_mm == pytest.approx(min(width, height))
    elif sheet.beside:
        assert sheet.code_mm + sheet.padding_mm + sheet.line_mm < width
    else:
        assert sheet.code_mm + sheet.line_mm <= height + 1e-9


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_its_page_and_lies_in_its_middle(name: str) -> None:
    sheet = sheet_of(SheetOptions(preset=name.lower()))
    assert sheet == PRESETS[name]
    _, left, top = sheet.place(sheet.rows * sheet.columns - 1)
    right = sheet.page_width_mm - left - sheet.label_width_mm
    bottom = sheet.page_height_mm - top - sheet.label_height_mm
    assert right == pytest.approx(sheet.margin_left_mm, abs=0.11)
    assert bottom == pytest.approx(sheet.margin_top_mm, abs=0.11)


@pytest.mark.parametrize(
    ("name", "pitch_x", "pitch_y", "left", "top"),
    [
        # As measured by others: the label templates of LibreOffice and of gLabels.
        ("L7160", 66.04, 38.1, 7.2, 15.15),
        ("L7651", 40.64, 21.17, 4.67, 10.9),
        ("L7654", 48.26, 25.4, 9.75, 21.43),
        ("L7165", 101.64, 67.73, 4.67, 13.04),
        ("5161", 106.36, 25.4, 3.97, 12.7),
        ("5162", 106.36, 33.87, 3.97, 21.17),
        ("5167", 52.39, 12.7, 7.14, 12.7),
        ("22805", 46.04, 43.18, 19.84, 12.7),
    ],
)
def test_presets_are_where_others_have_measured_them(
    name: str, pitch_x: float, pitch_y: float, left: float, top: float
) -> None:
    sheet = PRESETS[name]
    found = (
        sheet.label_width_mm + sheet.gap_x_mm,
        sheet.label_height_mm + sheet.gap_y_mm,
        sheet.margin_left_mm,
        sheet.margin_top_mm,
    )
    assert found == pytest.approx((pitch_x, pitch_y, left, top), abs=0.25)


def test_who_asks_for_nothing_gets_the_default_sheet() -> None:
    assert sheet_of(SheetOptions()) == PRESETS["L7160"]
    sheet = sheet_of(SheetOptions(caption=LabelText.SLUG, skip=3, outline=True))
    assert (sheet.columns, sheet.caption, sheet.skip, sheet.outline) == (3, "slug", 3, True)


def test_labels_are_filled_row_by_row_after_those_that_are_used() -> None:
    sheet = sheet_of(SheetOptions(preset="L7160", skip=2))
    assert sheet.place(0) == (0, pytest.approx(7.2 + 2 * 66), 15.1)
    assert sheet.place(1) == (0, 7.2, pytest.approx(15.1 + 38.1))
    assert sheet.place(18)[0] == 0
    assert sheet.place(19) == (1, 7.2, 15.1)


def test_a_grid_of_ones_own_fills_the_page_and_is_centred() -> None:
    full = sheet_of(SheetOptions(page="100x150", rows=3, columns=2, gap_x_mm=4))
    assert (full.label_width_mm, full.label_height_mm) == (48, 50)
    assert (full.margin_left_mm, full.margin_top_mm) == (0, 0)
    sized = sheet_of(SheetOptions(rows=2, columns=2, label_width_mm=50, label_height_mm=60))
    assert (sized.page_width_mm, sized.page_height_mm) == (210, 297)
    assert (sized.margin_left_mm, sized.margin_top_mm) == (55, 88.5)
    margins = sheet_of(SheetOptions(page="a5", rows=1, columns=1, margin_left_mm=10))
    assert (margins.label_width_mm, margins.label_height_mm) == (128, 210)


def test_a_preset_may_be_changed() -> None:
    sheet = sheet_of(SheetOptions(preset="5160", margin_top_mm=13, page="216x280"))
    assert (sheet.margin_top_mm, sheet.columns, sheet.page_width_mm) == (13, 3, 216)


def test_text_stands_beside_the_code_on_wide_labels_only() -> None:
    def beside(name: str) -> bool:
        return sheet_of(SheetOptions(preset=name, caption=LabelText.TITLE)).beside

    assert beside("5160")
    assert beside("L7160")
    assert not beside("22805")
    assert not beside("L7164")
    assert not PRESETS["5160"].beside


@pytest.mark.parametrize(
    ("options", "field", "parts"),
    [
        ({"preset": "L9999"}, "preset", ["'L9999'", "L7160", "rows and columns"]),
        ({"page": "a4"}, "rows", ["grid of your own", "preset", "L7160"]),
        ({"page": "a4"}, "columns", ["grid of your own"]),
        ({"rows": 3}, "columns", ["is required"]),
        ({"page": "a99"}, "page", ["'a99'", "a4, a5, letter", "100x150"]),
        ({"page": "5x100"}, "page", ["10 to 2000 millimetres", "5x100"]),
        ({"page": "100x3000"}, "page", ["100x3000"]),
        (
            {"rows": 1, "columns": 3, "label_width_mm": 80},
            "columns",
            ["3 labels in a row", "80 mm wide", "need 240 mm", "210 mm", "fewer columns"],
        ),
        (
            {"preset": "L7160", "rows": 8},
            "rows",
            ["8 labels in a column", "297 mm high", "fewer rows"],
        ),
        ({"preset": "L7160", "page": "a5"}, "page", ["need 202.7 mm", "148 mm", "a larger page"]),
        ({"preset": "L7160", "margin_left_mm": 100}, "margin_left_mm", ["a margin of 100 mm"]),
        ({"rows": 100, "columns": 1, "page": "a5"}, "rows", ["leave 2.1 mm", "at least 5 mm"]),
        ({"rows": 1, "columns": 2, "margin_left_mm": 150}, "columns", ["leave 0 mm for each"]),
        ({"preset": "L7160", "skip": 21}, "skip", ["21 labels", "has 21", "leave skip out"]),
    ],
)
def test_what_does_not_fit_is_named_with_a_way_out(
    options: dict[str, Any], field: str, parts: list[str]
) -> None:
    with pytest.raises(InvalidFields) as caught:
        sheet_of(SheetOptions(**options))
    messages = [problem.message for problem in caught.value.problems if problem.field == field]
    assert messages
    for part in parts:
        assert part in messages[0]


def test_everything_that_does_not_fit_is_named_at_once() -> None:
    with pytest.raises(InvalidFields) as caught:
        sheet_of(SheetOptions(preset="5160", rows=11, columns=4, skip=44))
    assert [problem.field for problem in caught.value.problems] == ["columns", "rows", "skip"]
    with pytest.raises(InvalidFields) as caught:
        sheet_of(SheetOptions(page="b4"))
    assert [problem.field for problem in caught.value.problems] == ["page", "rows", "columns"]
