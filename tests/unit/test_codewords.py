from __future__ import annotations

import pytest
from msgspec.structs import replace
from segno import consts

from core.domain.codewords import alignment, capacity, repair_used
from core.domain.images import ErrorCorrection, Symbol
from core.domain.looks import logo_hole
from plugins.encoders.segno_encoder import SegnoEncoder
from tests.contract.reading import raster, read

VERSIONS = range(1, 41)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_symbol_holds_as_many_codewords_as_another_library_says(version: int) -> None:
    blocks = consts.ECC[version][consts.ERROR_LEVEL_H]
    assert capacity(version) == sum(block.num_blocks * block.num_total for block in blocks)


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_the_alignment_patterns_are_where_another_library_has_them(version: int) -> None:
    assert alignment(version) == tuple(consts.ALIGNMENT_POS[version - 2])


def test_version_1_has_no_alignment_pattern() -> None:
    assert alignment(1) == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_larger_the_hole_the_more_is_lost(version: int) -> None:
    size = 17 + 4 * version
    used = [
        repair_used(version, hole.start, hole.stop - 1)
        for hole in (logo_hole(size, percent) for percent in range(5, 101, 5))
    ]
    assert used == sorted(used)
    assert used[0] <= 0.3
    # Of a symbol that is gone all blocks are gone, and each is repaired by less than its half.
    assert used[-1] > 2


@pytest.mark.parametrize(("version", "length"), [(2, 14), (3, 24), (4, 34), (7, 60), (12, 150)])
def test_what_is_said_to_be_repaired_is_read(version: int, length: int) -> None:
    """The worst hole: every module in it is the opposite of what it should be."""
    symbol = SegnoEncoder().encode("x" * length, ErrorCorrection.H, boost=False)
    assert symbol.version == version
    holes = [logo_hole(symbol.size, percent) for percent in range(5, 60)]
    repaired = [h for h in holes if repair_used(version, h.start, h.stop - 1) <= 1]
    destroyed = [h for h in holes if repair_used(version, h.start, h.stop - 1) > 1.3]
    assert read(raster(_with_hole(symbol, repaired[-1]))).text == "x" * length
    with pytest.raises(AssertionError, match="0 codes were found"):
        read(raster(_with_hole(symbol, destroyed[0])))


def _with_hole(symbol: Symbol, hole: range) -> Symbol:
    modules = bytearray(symbol.modules)
    for y in hole:
        for x in hole:
            modules[y * symbol.size + x] ^= 1
    return replace(symbol, modules=bytes(modules))
