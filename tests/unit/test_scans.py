from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.domain.periods import midnight
from core.domain.scans import SLOT, slot_of, visitor_hash
from tests.unit.zones import PROFILE, ZONES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "slot"),
    [
        ("1970-01-01T00:00:00+00:00", 0),
        ("1970-01-01T00:14:59.999999+00:00", 0),
        ("1970-01-01T00:15:00+00:00", 1),
        ("1969-12-31T23:59:59.999999+00:00", -1),
        ("1970-01-01T05:45:00+05:45", 0),
        ("2026-05-06T12:00:00+00:00", 1_975_632),
    ],
)
def test_a_slot_is_a_quarter_hour_since_1970(moment: str, slot: int) -> None:
    assert slot_of(datetime.fromisoformat(moment)) == slot


@PROFILE
@given(
    seconds=st.integers(-(10**9), 4 * 10**9),
    microsecond=st.integers(0, 999_999),
    offset=st.integers(-14 * 60, 14 * 60),
)
def test_a_moment_lies_in_its_slot_whatever_its_offset(
    seconds: int, microsecond: int, offset: int
) -> None:
    moment = EPOCH + timedelta(seconds=seconds, microseconds=microsecond)
    slot = slot_of(moment)
    assert EPOCH + slot * SLOT <= moment < EPOCH + (slot + 1) * SLOT
    assert slot_of(moment.astimezone(timezone(timedelta(minutes=offset)))) == slot


@PROFILE
@given(
    zone=st.sampled_from(ZONES),
    day=st.dates(datetime(1990, 1, 1, tzinfo=UTC).date(), datetime(2037, 1, 1, tzinfo=UTC).date()),
)
def test_a_day_begins_with_a_slot_in_every_zone(zone: str, day: datetime) -> None:
    start = midnight(day, ZoneInfo(zone)).astimezone(UTC)
    assert EPOCH + slot_of(start) * SLOT == start


def test_a_visitor_is_known_again_by_address_and_agent_under_one_salt() -> None:
    known = visitor_hash(b"salt", "192.0.2.1", "Safari")
    assert len(known) == 16
    assert visitor_hash(b"salt", "192.0.2.1", "Safari") == known
    others = {
        visitor_hash(b"other", "192.0.2.1", "Safari"),
        visitor_hash(b"salt", "192.0.2.2", "Safari"),
        visitor_hash(b"salt", "192.0.2.1", "Firefox"),
        visitor_hash(b"salt", "192.0.2.1Safari", ""),
        visitor_hash(b"salt", "", "192.0.2.1Safari"),
    }
    assert len(others | {known}) == 6


@PROFILE
@given(salt=st.binary(max_size=100), address=st.text(max_size=50), agent=st.text(max_size=50))
@example(salt=b"", address="\ud800", agent="\udfff")
@example(salt=bytes(65), address="192.0.2.1", agent="Safari")
def test_a_visitor_s_hash_never_fails_and_never_holds_what_it_was_made_of(
    salt: bytes, address: str, agent: str
) -> None:
    digest = visitor_hash(salt, address, agent)
    assert len(digest) == 16
    for text in (address, agent):
        if len(text) > 3:
            assert text.encode("utf-8", "replace") not in digest
