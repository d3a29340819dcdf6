from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.periods import Window, midnight
from tests.unit.zones import PROFILE, ZONES

MINUTE = timedelta(minutes=1)


def first_instant(day: date, zone: ZoneInfo) -> datetime:
    """The first minute in UTC whose local date is `day` or later, found by looking at each."""
    moment = datetime.combine(day, time(), UTC) - timedelta(hours=15)
    for _ in range(80 * 60):
        if moment.astimezone(zone).date() >= day:
            return moment
        moment += MINUTE
    raise AssertionError(f"{day} never begins in {zone}")


def days_of_change(name: str, first: date, last: date) -> list[date]:
    """The local days around each change of the zone's offset."""
    zone, days = ZoneInfo(name), set()
    moment = datetime.combine(first, time(), UTC)
    while moment.date() < last:
        later = moment + timedelta(hours=6)
        if moment.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset():
            near = moment.astimezone(zone).date()
            days |= {near + timedelta(days=n) for n in (-1, 0, 1, 2)}
        moment = later
    return sorted(days)


@pytest.mark.parametrize("zone", ZONES)
def test_midnight_is_the_first_instant_of_the_day_whenever_the_clocks_change(zone: str) -> None:
    for day in days_of_change(zone, date(2025, 6, 1), date(2026, 6, 1)):
        assert midnight(day, ZoneInfo(zone)).astimezone(UTC) == first_instant(day, ZoneInfo(zone))


@PROFILE
@given(
    day=st.dates(date(1973, 1, 1), date(2037, 12, 31)),
    zone=st.sampled_from(ZONES),
)
def test_midnight_is_the_first_instant_of_any_day(day: date, zone: str) -> None:
    assert midnight(day, ZoneInfo(zone)).astimezone(UTC) == first_instant(day, ZoneInfo(zone))


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        # The clocks go from 00:00 to 01:00: there is no midnight.
        ("America/Santiago", "2024-09-08", "2024-09-08T01:00:00-03:00"),
        ("Asia/Beirut", "2024-03-31", "2024-03-31T01:00:00+03:00"),
        ("Africa/Cairo", "2024-04-26", "2024-04-26T01:00:00+03:00"),
        ("America/Havana", "2024-03-10", "2024-03-10T01:00:00-04:00"),
        # They go from 01:00 back to 00:00: midnight comes twice, the first one counts.
        ("America/Havana", "2024-11-03", "2024-11-03T00:00:00-04:00"),
        # They go from 00:00 back to 23:00: midnight comes once, an hour later.
        ("America/Santiago", "2024-04-07", "2024-04-07T00:00:00-04:00"),
        # They go from 00:01 back to 23:01: the day begins for a minute, and again an hour later.
        ("America/St_Johns", "2010-11-07", "2010-11-07T00:00:00-02:30"),
        # They go from 23:30 to 00:30: the gap begins the day before.
        ("America/Toronto", "1919-03-31", "1919-03-31T00:30:00-04:00"),
        ("Asia/Kathmandu", "2026-05-06", "2026-05-06T00:00:00+05:45"),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-05T00:00:00+11:00"),
        # Days that the zone left out begin together with the day after them.
        ("Pacific/Apia", "2011-12-30", "2011-12-31T00:00:00+14:00"),
        ("Pacific/Kwajalein", "1993-08-21", "1993-08-22T00:00:00+12:00"),
    ],
)
def test_midnight_where_clocks_do_strange_things(zone: str, day: str, expected: str) -> None:
    assert midnight(date.fromisoformat(day), ZoneInfo(zone)).isoformat() == expected


@PROFILE
@given(
    first=st.dates(date(1973, 1, 1), date(2036, 12, 31)),
    days=st.integers(1, 370),
    zone=st.sampled_from(ZONES),
)
def test_buckets_are_in_order_and_cover_the_window(first: date, days: int, zone: str) -> None:
    timezone = ZoneInfo(zone)
    window = Window(first, first + timedelta(days=days), timezone)
    starts = [start.astimezone(UTC) for start in window.starts()]
    bounds = [*starts, window.end_at.astimezone(UTC)]
    assert window.start_at.astimezone(UTC) == bounds[0]
    lengths = [later - earlier for earlier, later in pairwise(bounds)]
    assert all(timedelta(hours=20) <= length <= timedelta(hours=28) for length in lengths)
    # Each bucket is one local day, and only days that the zone has never had are missing.
    dates = [start.date() for start in window.starts()]
    assert dates == sorted(set(dates))
    everyday = {first + timedelta(days=n) for n in range(days)}
    assert set(dates) <= everyday
    for missing in everyday - set(dates):
        noon = datetime.combine(missing, time(12), timezone)
        assert noon.astimezone(UTC).astimezone(timezone).date() != missing


def hours(zone: str, day: str) -> float:
    first = date.fromisoformat(day)
    window = Window(first, first + timedelta(days=1), ZoneInfo(zone))
    # NOTE: two times of one zone are subtracted as clocks show them; only UTC tells what passed.
    return (window.end_at.astimezone(UTC) - window.start_at.astimezone(UTC)) / timedelta(hours=1)


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Europe/Berlin", "2026-05-06", 24),
        ("America/Santiago", "2024-09-08", 23),
        ("America/Santiago", "2024-04-06", 25),
        ("Africa/Cairo", "2024-04-26", 23),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Asia/Kathmandu", "2026-05-06", 24),
    ],
)
def test_a_day_is_as_long_as_it_was(zone: str, day: str, expected: float) -> None:
    assert hours(zone, day) == expected


def test_every_start_carries_the_offset_of_its_moment() -> None:
    window = Window(date(2026, 3, 28), date(2026, 3, 31), ZoneInfo("Europe/Berlin"))
    assert [start.isoformat() for start in window.starts()] == [
        "2026-03-28T00:00:00+01:00",
        "2026-03-29T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
    ]


def test_a_day_that_a_zone_left_out_has_no_bucket() -> None:
    window = Window(date(2011, 12, 29), date(2012, 1, 1), ZoneInfo("Pacific/Apia"))
    assert [start.date().isoformat() for start in window.starts()] == ["2011-12-29", "2011-12-31"]
    assert hours("Pacific/Apia", "2011-12-30") == 0


def test_an_empty_window_has_no_buckets() -> None:
    day = date(2026, 5, 6)
    window = Window(day, day, ZoneInfo("UTC"))
    assert window.starts() == []
    assert window.start_at == window.end_at
