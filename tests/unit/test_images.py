from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.images import ErrorCorrection, Layout, Symbol, lay_out, smallest_size
from tests.unit.zones import PROFILE


def symbol_of(version: int) -> Symbol:
    size = 17 + 4 * version
    return Symbol(version, ErrorCorrection.M, size, bytes(size * size))


def test_a_row_holds_the_modules_from_left_to_right() -> None:
    modules = bytes([1, 0, 0, 0, 1, 0, 1, 1, 1])
    symbol = Symbol(version=1, error_correction=ErrorCorrection.L, size=3, modules=modules)
    assert [symbol.row(y) for y in range(3)] == [b"\x01\x00\x00", b"\x00\x01\x00", b"\x01\x01\x01"]


def test_what_is_left_over_goes_to_the_quiet_zone_on_all_sides() -> None:
    # 25 modules and 2 x 4 of margin at 9 pixels are 297; the symbol itself has 225 of the 300.
    assert lay_out(symbol_of(2), 300, 4) == Layout(size=300, scale=9, left=37, top=37, margin=4)


def test_an_odd_pixel_goes_to_the_right_and_the_bottom() -> None:
    layout = lay_out(symbol_of(1), 100, 0)
    assert (layout.scale, layout.left) == (4, 8)
    layout = lay_out(symbol_of(1), 101, 0)
    assert 101 - layout.left - 84 == layout.left + 1


@PROFILE
@given(version=st.integers(1, 40), size=st.integers(1, 4000), margin=st.integers(0, 20))
def test_a_layout_is_exact_centred_and_as_large_as_can_be(
    version: int, size: int, margin: int
) -> None:
    symbol = symbol_of(version)
    smallest = symbol.size + 2 * margin
    assert smallest_size(symbol, margin) == smallest
    if size < smallest:
        with pytest.raises(ValueError, match=f"{size} pixels are too few.*works is {smallest}$"):
            lay_out(symbol, size, margin)
        return
    layout = lay_out(symbol, size, margin)
    drawn = layout.scale * symbol.size
    before, after = layout.left, size - layout.left - drawn
    assert layout.size == size
    assert layout.scale >= 1
    assert after - before in (0, 1)
    assert before >= margin * layout.scale
    assert (layout.scale + 1) * smallest > size


@pytest.mark.parametrize("version", [1, 7, 40])
@pytest.mark.parametrize("margin", [0, 4, 20])
def test_the_smallest_size_that_is_named_works(version: int, margin: int) -> None:
    symbol = symbol_of(version)
    smallest = smallest_size(symbol, margin)
    assert lay_out(symbol, smallest, margin) == Layout(smallest, 1, margin, margin, margin)
    with pytest.raises(ValueError):
        lay_out(symbol, smallest - 1, margin)
