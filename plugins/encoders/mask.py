"""Chooses the data mask of a QR code, for encoders whose own choice is slow.

ISO/IEC 18004 (7.8.3) has a symbol's eight maskings compared by penalty points. Counted module by
module that takes longer than all else that an encoder does; here a symbol is one long integer, and
each rule is a few shifts of the whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from itertools import product

from msgspec import Struct

MASKS = 8

# ISO/IEC 18004, table 10: where each mask inverts the module in row i and column j.
_CONDITIONS: tuple[Callable[[int, int], bool], ...] = (
    lambda i, j: (i + j) % 2 == 0,
    lambda i, j: i % 2 == 0,
    lambda i, j: j % 3 == 0,
    lambda i, j: (i + j) % 3 == 0,
    lambda i, j: (i // 2 + j // 3) % 2 == 0,
    lambda i, j: i * j % 2 + i * j % 3 == 0,
    lambda i, j: (i * j % 2 + i * j % 3) % 2 == 0,
    lambda i, j: ((i + j) % 2 + i * j % 3) % 2 == 0,
)
# Every one of them repeats after so many rows and so many columns.
_PERIOD = 12

# Light modules after each row: a finder-like pattern wants four of them beside it, and those
# outside the symbol count as light. They also keep one row's patterns from running into the next.
_GUARD = 4

_DIGITS = bytes.maketrans(b"\x00\x01", b"01")


class _Geometry(Struct, frozen=True):
    """What is the same in all symbols of one version.

    A lane is a symbol's rows, followed by its columns, one bit a module, first module highest, each
    row and column followed by its guard. `kept` is the lane of what takes part in the choice;
    `flips` are the lanes of what each mask inverts that mask 0 does not, or the other way round;
    `inner` is that of the modules that have a neighbour before them, and `corners`, in rows only,
    of those that have one above them too. `changes` are the same flips for one byte a module, with
    the format information that goes with the mask.
    """

    size: int
    kept: int
    flips: tuple[int, ...]
    inner: int
    corners: int
    changes: tuple[int, ...]


def best_mask(modules: bytes, version: int) -> int:
    """The mask with the fewest penalty points, the first of those that tie.

    `modules` are the whole symbol's under mask 0, one byte a module. The points are those of
    ISO/IEC 18004, table 11, taken before format and version information are in, as segno takes
    them.
    """
    return min(range(MASKS), key=penalties(modules, version).__getitem__)


def with_best_mask(modules: bytes, version: int) -> bytes:
    """The symbol under its best mask; `modules` are the same symbol's under mask 0."""
    mask = best_mask(modules, version)
    if mask == 0:
        return modules
    changed = int.from_bytes(modules) ^ _geometry(version).changes[mask]
    return changed.to_bytes(len(modules))


def penalties(modules: bytes, version: int) -> list[int]:
    """The penalty points of all eight masks; `modules` are the symbol's under mask 0."""
    geometry = _geometry(version)
    lane = _lane(modules, geometry.size) & geometry.kept
    return [_penalty(lane ^ flip, geometry) for flip in geometry.flips]


def _penalty(dark: int, geometry: _Geometry) -> int:
    """The penalty points of one lane, whose set bits are the dark modules."""
    # N1, runs of five or more: `same` are the modules that equal the one before them, `runs` those
    # that end five equal ones. A run of n has n - 4 of these, all but the first next to another,
    # and costs n - 2.
    inner = geometry.inner
    same = ((dark ^ dark >> 1) & inner) ^ inner
    runs = same & same >> 1
    runs &= runs >> 2
    points = 3 * runs.bit_count() - 2 * (runs & runs >> 1).bit_count()

    # N2, blocks of two by two: equal to the one before, in this row and in the row above, and
    # equal to the one above. Rows alone are looked at, since columns have the same blocks.
    stride = geometry.size + _GUARD
    blocks = same & same >> stride & geometry.corners
    blocks ^= blocks & (dark ^ dark >> stride)
    points += 3 * blocks.bit_count()

    # N3, what looks like a finder pattern: dark, light, three dark, light, dark, with four light
    # ones before or after it. Of two that share modules only the first counts.
    apart = dark & dark >> 2
    alike = apart & apart >> 4 & dark >> 3
    light = dark >> 1
    alike ^= alike & (light | light >> 4)
    shadow = dark | light
    shadow |= shadow >> 2
    after_light = alike ^ (alike & shadow >> 7)
    before_light = alike ^ (alike & shadow << 4)
    shared = before_light & (after_light >> 4 | after_light >> 6)
    points += 40 * ((after_light | before_light).bit_count() - shared.bit_count())

    # N4, ten points for each whole five percent by which the dark modules are off one half. Rows
    # and columns together have each module twice.
    modules = 2 * geometry.size**2
    return points + 10 * (abs(20 * dark.bit_count() - 10 * modules) // modules)


def _lane(modules: bytes, size: int) -> int:
    """The lane of a symbol of one byte a module."""
    digits = modules.translate(_DIGITS)
    # PERF: one call cuts all rows, where slices in a loop take four times as long.
    rows = _rows(size).unpack(digits)
    return _packed([*rows, *[digits[column::size] for column in range(size)]])


@cache
def _rows(size: int) -> struct.Struct:
    return struct.Struct(f"{size}s" * size)


def _packed(lines: list[bytes]) -> int:
    """The lane of a symbol's rows and columns, given as digits."""
    guard = b"0" * _GUARD
    return int(guard.join(lines) + guard, 2)


@cache
def _geometry(version: int) -> _Geometry:
    size = 17 + 4 * version

    # The information about format and version, and the module that is always dark, come later.
    kept = bytearray(b"\x01" * size * size)
    for row, column in (*_format_modules(size), (size - 8, 8), *_version_modules(version)):
        kept[row * size + column] = 0

    region = int.from_bytes(_data_region(version))
    base = int.from_bytes(_pattern(0, size))
    flips = [(int.from_bytes(_pattern(mask, size)) ^ base) & region for mask in range(MASKS)]

    none, line = b"0" * size, b"0" + b"1" * (size - 1)
    return _Geometry(
        size=size,
        kept=_lane(bytes(kept), size),
        flips=tuple(_lane(flip.to_bytes(size * size), size) for flip in flips),
        inner=_packed([line] * (2 * size)),
        corners=_packed([none, *[line] * (size - 1), *[none] * size]),
        changes=tuple(
            flip ^ int.from_bytes(_format_change(mask, size)) for mask, flip in enumerate(flips)
        ),
    )


def _pattern(mask: int, size: int) -> bytes:
    """What a mask inverts, if all modules were data."""
    condition = _CONDITIONS[mask]
    rows = []
    for i in range(_PERIOD):
        tile = bytes(condition(i, j) for j in range(_PERIOD))
        rows.append((tile * (size // _PERIOD + 1))[:size])
    return b"".join(rows[i % _PERIOD] for i in range(size))


def _data_region(version: int) -> bytes:
    """The modules of data and error correction, by ISO/IEC 18004, 6.3: 1 where a mask applies."""
    size = 17 + 4 * version
    region = [bytearray(b"\x01" * size) for _ in range(size)]

    def take(top: int, left: int, height: int, width: int) -> None:
        for row in region[top : top + height]:
            row[left : left + width] = bytes(width)

    # Finder patterns with their separators and the format information beside them.
    take(0, 0, 9, 9)
    take(0, size - 8, 9, 8)
    take(size - 8, 0, 8, 9)
    # Timing patterns.
    take(6, 0, 1, size)
    take(0, 6, size, 1)
    centres = _alignment_centres(version)
    if centres:
        last = centres[-1]
        for row, column in product(centres, repeat=2):
            if (row, column) not in ((6, 6), (6, last), (last, 6)):
                take(row - 2, column - 2, 5, 5)
    for row, column in _version_modules(version):
        region[row][column] = 0
    return b"".join(region)


def _alignment_centres(version: int) -> list[int]:
    """Rows, and columns, of the centres of alignment patterns (ISO/IEC 18004, table E.1)."""
    if version == 1:
        return []
    gaps = version // 7 + 1
    last = 10 + 4 * version
    # The gaps are even and equal but for the first, which takes what is left. Version 32 is the
    # one that the table does not round up.
    step = 26 if version == 32 else -(-(last - 6) // (2 * gaps)) * 2
    return [6, *(last - step * n for n in reversed(range(gaps)))]


def _version_modules(version: int) -> list[tuple[int, int]]:
    """Row and column of all modules of the version information, which small symbols lack."""
    if version < 7:
        return []
    edge = 6 + 4 * version
    near = list(product(range(6), range(edge, edge + 3)))
    return near + [(column, row) for row, column in near]


def _format_modules(size: int) -> list[tuple[int, int]]:
    """Row and column of the format information's bits, lowest first, and of its copy."""
    upright = [(row, 8) for row in (0, 1, 2, 3, 4, 5, 7, 8)]
    left = [(8, column) for column in (7, 5, 4, 3, 2, 1, 0)]
    right = [(8, size - 1 - n) for n in range(8)]
    lower = [(size - 7 + n, 8) for n in range(7)]
    return upright + left + right + lower


def _format_change(mask: int, size: int) -> bytes:
    """The bits of the format information that differ between mask 0 and `mask`.

    The code is linear (ISO/IEC 18004, annex C), so that they do not depend on the level.
    """
    rest = mask << 10
    for bit in (12, 11, 10):
        if rest >> bit & 1:
            rest ^= 0b10100110111 << (bit - 10)
    bits = mask << 10 | rest
    change = bytearray(size * size)
    for number, (row, column) in enumerate(_format_modules(size)):
        change[row * size + column] = bits >> number % 15 & 1
    return bytes(change)
