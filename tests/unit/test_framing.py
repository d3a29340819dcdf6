"""What is read back from a server is what was kept under its key, or known to be something else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.caches.framing import OVERHEAD, Keys, is_counter, pack, unpack

TEXTS = st.text(st.characters(codec=None), max_size=300)
NAME = Keys("quietzone", "https://qr.example.com")("image:1")


@given(TEXTS)
def test_a_key_is_short_ascii_without_blanks_whatever_it_is_made_of(text: str) -> None:
    assert re.fullmatch(r"quietzone:91:[A-Za-z0-9_-]{24}", Keys("quietzone", text)("key"))
    assert re.fullmatch(r"quietzone:91:[A-Za-z0-9_-]{24}", Keys("quietzone", "")(text))


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_keys_of_other_texts_or_of_other_services_are_others(
    scope: str, key: str, other_scope: str, other_key: str
) -> None:
    one, other = Keys("quietzone", scope)(key), Keys("quietzone", other_scope)(other_key)
    assert (one == other) is ((scope, key) == (other_scope, other_key))


@given(st.binary(), st.floats(min_value=0, max_value=1e12))
def test_what_was_packed_is_unpacked(value: bytes, expires_at: float) -> None:
    data = pack(NAME, value, expires_at)
    assert unpack(NAME, data) == (value, expires_at)
    assert len(data) == len(value) + OVERHEAD
    assert not is_counter(data)


@given(st.binary(max_size=100))
def test_anything_else_is_not(data: bytes) -> None:
    assert unpack(NAME, data) is None


@given(st.binary(), st.data())
def test_a_single_changed_bit_is_noticed(value: bytes, data: st.DataObject) -> None:
    packed = bytearray(pack(NAME, value, 1e9))
    at = data.draw(st.integers(0, len(packed) * 8 - 1))
    packed[at // 8] ^= 1 << at % 8
    assert unpack(NAME, bytes(packed)) is None


@given(st.binary(), st.data())
def test_what_was_cut_or_lengthened_is_noticed(value: bytes, data: st.DataObject) -> None:
    packed = pack(NAME, value, 1e9)
    length = data.draw(st.integers(0, len(packed) - 1))
    assert unpack(NAME, packed[:length]) is None
    assert unpack(NAME, packed + b"\0") is None


def test_a_value_of_another_key_is_noticed() -> None:
    keys = Keys("quietzone", "https://qr.example.com")
    data = pack(keys("code:1"), b"value", 1e9)
    assert unpack(keys("code:1"), data) is not None
    assert unpack(keys("code:2"), data) is None
    assert unpack(Keys("quietzone", "https://other.example.com")("code:1"), data) is None


def test_the_format_is_what_other_versions_know_it_to_be() -> None:
    # Nodes of two versions share a server during an upgrade: another format needs another version.
    assert NAME == "quietzone:91:oUpCSlM3xCcwQ5joIS_uON7w"
    assert pack(NAME, b"value", 1.5).hex() == "915aecba7f989f305a3ff800000000000076616c7565"


@pytest.mark.parametrize("data", [b"0", b"42", b"18446744073709551615"])
def test_a_counter_is_digits(data: bytes) -> None:
    assert is_counter(data)


@pytest.mark.parametrize("data", [b"", b"-1", b"1 ", b"a", b"1" * 21, "٣".encode()])
def test_nothing_else_is_a_counter(data: bytes) -> None:
    assert not is_counter(data)
