"""Codewords: where a symbol of level H keeps them, and how much a hole in its middle destroys.

A QR code is repaired block by block (ISO/IEC 18004, 7.5 and 7.6): each block of codewords has its
own check codewords, and stands as many destroyed codewords as half of these. What counts is thus
the block that suffers most, not the share of the area that is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import product

# ISO/IEC 18004, table 9, for level H: blocks, and check codewords in each, of versions 1 to 40.
_BLOCKS = (
    *(1, 1, 2, 4, 4, 4, 5, 6, 8, 8, 11, 11, 16, 16, 18, 16, 19, 21, 25, 25),
    *(25, 34, 30, 32, 35, 37, 40, 42, 45, 48, 51, 54, 57, 60, 63, 66, 70, 74, 77, 81),
)
_CHECKS = (
    *(17, 28, 22, 16, 22, 28, 26, 26, 24, 28, 24, 28, 22, 24, 24, 30, 28, 28, 26, 28),
    *(30, 24, *[30] * 18),
)


def repair_used(version: int, first: int, last: int) -> float:
    """How much of what level H can repair is used up if a square in the middle is lost.

    The square has the modules `first` to `last`, the last one included, in either direction. 1.0
    is the utmost that can be repaired, every codeword that the square touches being lost.
    """
    blocks = _blocks(version)
    places = _places(version)
    lost = {
        places[x, y]
        for x in range(first, last + 1)
        for y in range(first, last + 1)
        if (x, y) in places
    }
    worst = max(Counter(blocks[codeword] for codeword in lost).values(), default=0)
    return worst / (_CHECKS[version - 1] // 2)


@lru_cache(maxsize=8)
def _places(version: int) -> dict[tuple[int, int], int]:
    """The codeword to which each module (x, y) belongs; function patterns are not in it."""
    functions = _functions(version)
    free = (place for place in _zigzag(17 + 4 * version) if place not in functions)
    # The few modules that are left over after the last codeword hold nothing.
    return {place: bit // 8 for bit, place in zip(range(8 * capacity(version)), free, strict=False)}


@lru_cache(maxsize=8)
def _blocks(version: int) -> tuple[int, ...]:
    """The block to which each codeword belongs, in the order in which they are placed."""
    blocks, checks = _BLOCKS[version - 1], _CHECKS[version - 1]
    rounds, rest = divmod(capacity(version) - blocks * checks, blocks)
    # The last ones of the blocks hold one codeword more, if the codewords do not come out even.
    return (
        *tuple(range(blocks)) * rounds,
        *range(blocks - rest, blocks),
        *tuple(range(blocks)) * checks,
    )


def capacity(version: int) -> int:
    """How many codewords a symbol holds, those for error correction included."""
    return ((17 + 4 * version) ** 2 - len(_functions(version))) // 8


def _zigzag(size: int) -> Iterator[tuple[int, int]]:
    """All modules in the order of placement (7.7.3): two columns at a time, from the right."""
    upwards = True
    # Column 6 is left out: it is a timing pattern from end to end.
    for right in (*range(size - 1, 7, -2), *range(5, 0, -2)):
        for y in range(size - 1, -1, -1) if upwards else range(size):
            yield right, y
            yield right - 1, y
        upwards = not upwards


@lru_cache(maxsize=8)
def _functions(version: int) -> frozenset[tuple[int, int]]:
    """The modules of the function patterns, and of format and version information."""
    size = 17 + 4 * version
    places = set(product(range(9), range(9)))
    places.update(product(range(9), range(size - 8, size)))
    places.update(product(range(size - 8, size), range(9)))
    places.update(product(range(size), [6]))
    places.update(product([6], range(size)))
    if version >= 7:
        places.update(product(range(6), range(size - 11, size - 8)))
        places.update(product(range(size - 11, size - 8), range(6)))
    for x, y in product(alignment(version), repeat=2):
        if (x, y) not in ((6, 6), (6, size - 7), (size - 7, 6)):
            places.update(product(range(x - 2, x + 3), range(y - 2, y + 3)))
    return frozenset(places)


def alignment(version: int) -> tuple[int, ...]:
    """The middles of the alignment patterns, as columns and as rows (ISO/IEC 18004, annex E)."""
    if version == 1:
        return ()
    gaps = version // 7 + 1
    last = 10 + 4 * version
    # They are evenly spaced, an even number of modules apart, but for the first gap.
    step = (8 * version + 3 * (gaps + 1) + 5) // (4 * gaps) * 2
    return (6, *(last - step * back for back in reversed(range(gaps))))
