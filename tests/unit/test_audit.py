"""Entries of the audit log: their ids, what differs, and what is kept of addresses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from core.domain.accounts import Role
from core.domain.audit import Change, differences, entry_id, first_id, network_of
from core.domain.validation import Secret

NOW = datetime(2026, 3, 29, 1, 2, 3, 456789, tzinfo=UTC)


def test_an_id_is_a_uuid_that_tells_its_time() -> None:
    made = entry_id(NOW, 5, b"\xff" * 6)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    milliseconds = made.int >> 80
    assert datetime.fromtimestamp(milliseconds / 1000, UTC) == NOW.replace(microsecond=456000)
    assert (made.int >> 64) & 0xFFF == 789


def test_ids_follow_each_other_in_time_and_then_by_number() -> None:
    moments = [NOW + timedelta(microseconds=n) for n in (-(10**9), -1, 0, 1, 211, 10**9)]
    ids = [
        entry_id(moment, number, chance)
        for moment in moments
        for number, chance in ((1, b"\xff" * 6), (2, b"\x00" * 6), (65535, b"abcdef"))
    ]
    assert ids == sorted(ids)
    assert [str(made) for made in ids] == sorted(str(made) for made in ids)
    assert len(set(ids)) == len(ids)


def test_numbers_begin_anew_within_the_length_of_an_id() -> None:
    assert entry_id(NOW, 65536 + 3, b"chance") == entry_id(NOW, 3, b"chance")


def test_the_first_id_of_a_moment_is_before_all_of_it_and_after_all_before_it() -> None:
    first = first_id(NOW)
    assert first <= entry_id(NOW, 0, b"\x00" * 6)
    assert first > entry_id(NOW - timedelta(microseconds=1), 65535, b"\xff" * 6)
    assert first == first_id(NOW.astimezone(timezone(timedelta(hours=5, minutes=45))))


def test_times_that_no_entry_has_are_bounds_all_the_same() -> None:
    assert first_id(datetime.min.replace(tzinfo=UTC)) <= entry_id(NOW, 0, b"\x00" * 6)
    assert first_id(datetime.max.replace(tzinfo=UTC)) > entry_id(NOW, 0, b"\x00" * 6)


def test_what_differs_is_told_as_json_has_it() -> None:
    before = {"role": Role.EDITOR, "at": NOW, "style": UUID(int=1), "title": "", "tags": ("a",)}
    after = {"role": Role.OWNER, "at": NOW, "style": None, "title": "", "tags": ("a", "b")}
    assert differences(before, after) == {
        "role": Change("editor", "owner"),
        "style": Change("00000000-0000-0000-0000-000000000001", None),
        "tags": Change(("a",), ("a", "b")),
    }
    assert differences(None, {"title": "", "style": None}) == {"title": Change(None, "")}
    assert differences({"title": ""}, None) == {"title": Change("", None)}
    assert differences(before, before) == {}


def test_a_secret_cannot_get_into_the_log() -> None:
    with pytest.raises(TypeError, match="Secret"):
        differences(None, {"password": Secret("correct horse")})


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("", ""),
        ("unix:", ""),
        ("203.0.113", ""),
    ],
)
def test_of_an_address_its_network_is_kept(address: str, network: str) -> None:
    assert network_of(address) == network
