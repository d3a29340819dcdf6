"""The mask that is chosen is the one that segno would have chosen, in every version."""

from __future__ import annotations

import random

import pytest
import segno
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from segno import consts

from core.domain.images import ErrorCorrection
from plugins.encoders.mask import MASKS, best_mask, penalties, with_best_mask

LEVELS = [level.value for level in ErrorCorrection]


def matrix(code: segno.QRCode) -> bytes:
    return b"".join(code.matrix)


def assert_same_choice(content: str, level: str, version: int | None) -> None:
    asked = {"error": level, "micro": False, "version": version, "boost_error": False}
    own = segno.make(content, **asked)
    bare = matrix(segno.make(content, mask=0, **asked))
    assert best_mask(bare, own.version) == own.mask
    assert with_best_mask(bare, own.version) == matrix(own)


def room(version: int, level: str) -> int:
    """How many bytes a symbol holds: the mode and the length come first (ISO/IEC 18004, 7.4.1)."""
    bits = consts.SYMBOL_CAPACITY[version][consts.ERROR_MAPPING[level]]
    return int((bits - 4 - (8 if version < 10 else 16)) // 8)


@pytest.mark.parametrize("version", range(1, 41))
def test_the_choice_is_segnos_in_every_version_and_level(version: int) -> None:
    chance = random.Random(version)
    # Fewer of the large ones, for which segno takes a tenth of a second: 288 of all versions. The
    # largest are tried at two levels, those next to them at the other two.
    first = 2 * version
    for number in range(first, first + max(2, 120 // (version + 3))):
        level = LEVELS[number % len(LEVELS)]
        length = chance.randint(1, room(version, level))
        letters = chance.choice(("abcdef./:%?=", "0123456789ABCDEF", "0123456789", "\x00U", "é"))
        # The letter é takes one byte in Latin-1, which is what segno writes it in.
        assert_same_choice("".join(chance.choices(letters, k=length)), level, version)


@pytest.mark.parametrize("version", range(1, 41))
def test_the_choice_is_segnos_for_full_symbols(version: int) -> None:
    chance = random.Random(version)
    for level in chance.sample(LEVELS, 2):
        full = room(version, level)
        assert_same_choice("".join(chance.choices("abcdef./:%?=", k=full)), level, version)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.text(min_size=1, max_size=60), level=st.sampled_from(LEVELS))
def test_the_choice_is_segnos_for_any_text(content: str, level: str) -> None:
    assert_same_choice(content, level, None)


def test_every_mask_is_chosen_for_some_content() -> None:
    chosen = set()
    for number in range(400):
        code = segno.make(f"content {number} " * (1 + number % 4), mask=0, micro=False)
        chosen.add(best_mask(matrix(code), code.version))
        assert len(penalties(matrix(code), code.version)) == MASKS
    assert chosen == set(range(MASKS))
