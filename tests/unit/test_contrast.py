from __future__ import annotations

import colorsys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.contrast import (
    Remedy,
    darker,
    is_inverted,
    lighter,
    luminance,
    paper,
    ratio,
    remedy,
    suffices,
)
from core.domain.looks import BLACK, TRANSPARENT, WHITE
from tests.unit.zones import PROFILE

COLORS = st.integers(0, 0xFFFFFF).map(lambda value: f"#{value:06x}")


# The ratios are those that the contrast checkers of the web tell, rounded down.
@pytest.mark.parametrize(
    ("color", "background", "expected"),
    [
        ("#000000", "#ffffff", 21.0),
        ("#777777", "#ffffff", 4.47),
        ("#767676", "#ffffff", 4.54),
        ("#ff0000", "#ffffff", 3.99),
        ("#ffff00", "#ffffff", 1.07),
        ("#0000ff", "#ffffff", 8.59),
        ("#ff0000", "#008000", 1.28),
        ("#123456", "#123456", 1.0),
    ],
)
def test_the_ratio_is_that_of_wcag(color: str, background: str, expected: float) -> None:
    assert ratio(color, background) == pytest.approx(expected, abs=0.01)
    assert ratio(background, color) == ratio(color, background)


def test_the_luminance_goes_from_black_to_white() -> None:
    assert luminance(BLACK) == 0
    assert luminance(WHITE) == pytest.approx(1)
    assert luminance("#0000ff") < luminance("#ff0000") < luminance("#00ff00")


def test_what_is_transparent_lies_on_white_paper() -> None:
    assert paper(TRANSPARENT) == WHITE
    assert paper("#0a3d62") == "#0a3d62"
    assert suffices("#0a3d62", TRANSPARENT, 3)
    assert not suffices("#ffee00", TRANSPARENT, 3)


def test_light_on_dark_is_inverted_and_never_suffices() -> None:
    assert is_inverted(WHITE, BLACK)
    assert not is_inverted(BLACK, WHITE)
    assert not is_inverted(BLACK, BLACK)
    assert not suffices(WHITE, BLACK, 1)


def test_black_on_white_suffices_for_the_utmost_that_can_be_asked() -> None:
    assert suffices(BLACK, WHITE, 21)
    assert remedy("#0a3d62", "#eeeeee", 21) == Remedy(color=BLACK, background=WHITE)


def test_too_light_a_color_is_darkened() -> None:
    assert remedy("#cccccc", WHITE, 3) == Remedy(color="#949494")


def test_too_dark_a_background_is_lightened() -> None:
    assert remedy(BLACK, "#222222", 3) == Remedy(background="#5a5a5a")


def test_both_are_changed_where_one_is_not_enough() -> None:
    assert remedy("#888888", "#777777", 7) == Remedy(color="#595959", background=WHITE)


def test_there_is_no_shade_darker_than_black() -> None:
    assert darker("#ff0000", "#111111", 3) is None
    assert lighter("#888888", BLACK, 7) is None


@PROFILE
@given(color=COLORS, background=COLORS, needed=st.floats(1, 21))
def test_a_remedy_suffices(color: str, background: str, needed: float) -> None:
    better = remedy(color, background, needed)
    assert suffices(better.color or color, better.background or background, needed)


@PROFILE
@given(color=COLORS)
def test_a_darker_shade_keeps_the_hue_and_is_the_first_that_suffices(color: str) -> None:
    shade = darker(color, WHITE, 4.5)
    assert shade is not None
    if suffices(color, WHITE, 4.5):
        assert shade == color
        return
    assert ratio(shade, WHITE) < 4.6
    channels = [[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in (color, shade)]
    before, after = (colorsys.rgb_to_hsv(*rgb) for rgb in channels)
    if before[1] > 0.1:
        # A channel is a whole number: in dark shades that is a few degrees of hue.
        turned = abs(before[0] - after[0])
        assert min(turned, 1 - turned) < 0.03
