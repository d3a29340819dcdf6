from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.periods import Interval, Window, between, midnight, parse_end
from core.domain.scans import SLOT, quarter_of
from core.errors import InvalidFields
from tests.unit.zones import PROFILE, ZONES

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def first_instant(day: date, zone: ZoneInfo, step: timedelta = MINUTE) -> datetime:
    """The first step in UTC whose local date is `day` or later, found by looking at each."""
    moment = datetime.combine(day, time(), UTC) - timedelta(hours=15)
    for _ in range(timedelta(hours=80) // step):
        if moment.astimezone(zone).date() >= day:
            return moment
        moment += step
    raise AssertionError(f"{day} never begins in {zone}")


@cache
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
        # All clocks of these years are set at some quarter of an hour.
        first = first_instant(day, ZoneInfo(zone), SLOT)
        assert midnight(day, ZoneInfo(zone)).astimezone(UTC) == first


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
    window = Window.days(first, first + timedelta(days=days), timezone)
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
    window = Window.days(first, first + timedelta(days=1), ZoneInfo(zone))
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
    window = Window.days(date(2026, 3, 28), date(2026, 3, 31), ZoneInfo("Europe/Berlin"))
    assert [start.isoformat() for start in window.starts()] == [
        "2026-03-28T00:00:00+01:00",
        "2026-03-29T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
    ]


def test_a_day_that_a_zone_left_out_has_no_bucket() -> None:
    window = Window.days(date(2011, 12, 29), date(2012, 1, 1), ZoneInfo("Pacific/Apia"))
    assert [start.date().isoformat() for start in window.starts()] == ["2011-12-29", "2011-12-31"]
    assert hours("Pacific/Apia", "2011-12-30") == 0


def test_an_empty_window_has_no_buckets() -> None:
    day = date(2026, 5, 6)
    window = Window.days(day, day, ZoneInfo("UTC"))
    assert window.starts() == []
    assert window.start_at == window.end_at
    assert window.points_at_most() == 0
    assert not window.exceeds(0)


# Buckets, compared with what is found by looking at the clock again and again.


def labels(window: Window, step: timedelta) -> list[datetime]:
    """Where the buckets begin, found by walking in steps and noting where their name changes."""
    found, name, latest = [], None, date.min
    moment, end = window.start_at.astimezone(UTC), window.end_at.astimezone(UTC)
    while moment < end:
        local = moment.astimezone(window.timezone)
        # A day has begun once its first instant is over, whatever the clocks do after that.
        latest = max(latest, local.date())
        # What the minute hand shows repeats each hour, and jumps with part of an hour's change.
        phase = local.utcoffset() % HOUR
        new = {
            Interval.HOUR: (phase, (moment - EPOCH + phase) // HOUR),
            Interval.DAY: latest,
            Interval.WEEK: latest.isocalendar()[:2],
            Interval.MONTH: (latest.year, latest.month),
        }[window.interval]
        if new != name:
            found.append(moment)
            name = new
        moment += step
    return found


def instants(window: Window) -> list[datetime]:
    return [start.astimezone(UTC) for start in window.starts()]


def check(window: Window, step: timedelta) -> None:
    starts = instants(window)
    assert starts == labels(window, step)
    assert all(
        start.utcoffset() == start.astimezone(UTC).astimezone(window.timezone).utcoffset()
        for start in window.starts()
    )
    # They tile the window: the first begins with it, each begins after the one before.
    assert starts[0] == window.start_at.astimezone(UTC)
    assert all(a < b for a, b in pairwise([*starts, window.end_at.astimezone(UTC)]))
    assert len(starts) <= window.points_at_most()
    assert not window.exceeds(len(starts))
    assert window.exceeds(len(starts) - 1)


# When the last zone, Kiritimati, had come to an offset of whole quarter hours.
QUARTERS = st.integers(
    int(datetime(1979, 10, 2, tzinfo=UTC).timestamp()) // 900,
    int(datetime(2037, 1, 1, tzinfo=UTC).timestamp()) // 900,
).map(lambda n: datetime.fromtimestamp(n * 900, UTC))


@PROFILE
@given(
    start=QUARTERS,
    quarters=st.integers(1, 40 * 96),
    zone=st.sampled_from(ZONES),
    interval=st.sampled_from(Interval),
)
def test_buckets_are_those_that_the_clock_shows(
    start: datetime, quarters: int, zone: str, interval: Interval
) -> None:
    window = Window(start, start + quarters * SLOT, ZoneInfo(zone), interval)
    check(window, SLOT)
    assert all(quarter_of(moment) == moment for moment in instants(window))


@PROFILE
@given(
    minute=st.integers(
        int(datetime(1973, 1, 1, tzinfo=UTC).timestamp()) // 60,
        int(datetime(2037, 1, 1, tzinfo=UTC).timestamp()) // 60,
    ),
    minutes=st.integers(1, 3 * 1440),
    zone=st.sampled_from(ZONES),
    interval=st.sampled_from(Interval),
)
def test_buckets_are_those_that_the_clock_shows_where_it_was_set_at_odd_times(
    minute: int, minutes: int, zone: str, interval: Interval
) -> None:
    start = datetime.fromtimestamp(minute * 60, UTC)
    check(Window(start, start + minutes * MINUTE, ZoneInfo(zone), interval), MINUTE)


@pytest.mark.parametrize("zone", ZONES)
def test_the_hours_of_a_day_are_right_whenever_the_clocks_change(zone: str) -> None:
    timezone = ZoneInfo(zone)
    for day in days_of_change(zone, date(2025, 6, 1), date(2026, 6, 1)):
        window = Window.days(day, day + timedelta(days=1), timezone, Interval.HOUR)
        check(window, SLOT)
        starts = instants(window)
        length = (window.end_at.astimezone(UTC) - starts[0]) / timedelta(hours=1)
        # Only a change by part of an hour makes a bucket that is shorter.
        assert len(starts) == -(-length // 1)
        assert all(start.minute == 0 for start in window.starts()) or length % 1


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("Europe/Berlin", "2026-03-29", "00+01 01+01 03+02 04+02"),
        ("Europe/Berlin", "2026-10-25", "00+02 01+02 02+02 02+01 03+01"),
        ("America/Havana", "2026-03-08", "01-04 02-04"),
        ("America/Havana", "2026-11-01", "00-04 00-05 01-05"),
        ("Asia/Kathmandu", "2026-05-06", "00+05:45 01+05:45"),
        ("Australia/Lord_Howe", "2026-04-05", "00+11 01+11 01:30+10:30 02+10:30 03+10:30"),
        ("Australia/Lord_Howe", "2026-10-04", "00+10:30 01+10:30 02:30+11 03+11"),
        ("America/Caracas", "2016-05-01", "00-04:30 01-04:30 02-04:30 03-04 04-04"),
        ("America/Caracas", "2007-12-09", "00-04 01-04 02-04 02:30-04:30 03-04:30"),
        ("Antarctica/Troll", "2026-03-29", "00+00 03+02 04+02"),
        ("Pacific/Chatham", "2026-09-27", "00+12:45 01+12:45 02+12:45 04+13:45"),
        ("Pacific/Chatham", "2026-04-05", "00+13:45 01+13:45 02+13:45 03+13:45 03+12:45 04+12:45"),
        ("America/St_Johns", "2010-03-14", "00-03:30 02-02:30 03-02:30"),
        ("Antarctica/Casey", "2022-10-02", "00+08 04+11 05+11"),
    ],
)
def test_hours_where_clocks_do_strange_things(zone: str, day: str, expected: str) -> None:
    first = date.fromisoformat(day)
    window = Window.days(first, first + timedelta(days=1), ZoneInfo(zone), Interval.HOUR)
    shown = []
    for start in window.starts():
        clock, sign, offset = re.split("([+-])", start.isoformat()[11:])
        shown.append(clock[:5].removesuffix(":00") + sign + offset.removesuffix(":00"))
    assert shown[: len(expected.split())] == expected.split()


@pytest.mark.parametrize(
    ("zone", "day", "points"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Europe/Berlin", "2026-05-06", 24),
        ("Antarctica/Troll", "2026-03-29", 22),
        ("Antarctica/Troll", "2026-10-25", 26),
        ("Pacific/Chatham", "2026-09-27", 23),
        ("Pacific/Chatham", "2026-04-05", 25),
        ("Australia/Lord_Howe", "2026-04-05", 25),
        ("Australia/Lord_Howe", "2026-10-04", 24),
    ],
)
def test_a_day_has_as_many_hours_as_it_had(zone: str, day: str, points: int) -> None:
    first = date.fromisoformat(day)
    window = Window.days(first, first + timedelta(days=1), ZoneInfo(zone), Interval.HOUR)
    assert len(window.starts()) == points


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (Interval.WEEK, ["2026-01-30", "2026-02-02", "2026-02-09", "2026-02-16", "2026-02-23",
                         "2026-03-02"]),
        (Interval.MONTH, ["2026-01-30", "2026-02-01", "2026-03-01"]),
    ],
)  # fmt: skip
def test_the_ends_of_a_window_cut_weeks_and_months_off(
    interval: Interval, expected: list[str]
) -> None:
    window = Window.days(date(2026, 1, 30), date(2026, 3, 5), ZoneInfo("Asia/Tokyo"), interval)
    assert [start.date().isoformat() for start in window.starts()] == expected
    assert window.points_at_most() == len(expected)


def test_a_window_keeps_the_offsets_of_its_zone_whatever_it_was_given() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 3, 28, 23, tzinfo=UTC)
    window = Window(start, start + timedelta(hours=23), berlin, Interval.HOUR)
    assert window == Window.days(date(2026, 3, 29), date(2026, 3, 30), berlin, Interval.HOUR)
    assert window.start_at.isoformat() == "2026-03-29T00:00:00+01:00"
    assert window.end_at.isoformat() == "2026-03-30T00:00:00+02:00"
    assert (window.first, window.end) == (date(2026, 3, 29), date(2026, 3, 30))
    with pytest.raises(ValueError, match="start_at needs an offset"):
        Window(datetime(2026, 3, 29), start, berlin, Interval.HOUR)  # noqa: DTZ001


@PROFILE
@given(
    first=st.dates(date(1973, 1, 1), date(2036, 12, 31)),
    days=st.integers(1, 40),
    zone=st.sampled_from(ZONES),
)
def test_whole_days_are_preceded_by_as_many_dates(first: date, days: int, zone: str) -> None:
    timezone = ZoneInfo(zone)
    window = Window.days(first, first + timedelta(days=days), timezone)
    before = window.previous()
    assert before.end_at == window.start_at
    dates = (window.end - window.first).days
    assert before.start_at == midnight(window.first - timedelta(days=dates), timezone)
    assert (before.timezone, before.interval) == (timezone, window.interval)


def test_parts_of_a_day_are_preceded_by_as_long_a_time() -> None:
    start = datetime(2026, 3, 29, 1, 15, tzinfo=UTC)
    window = Window(start, start + timedelta(hours=5), ZoneInfo("Europe/Berlin"), Interval.HOUR)
    before = window.previous()
    assert before.start_at.astimezone(UTC) == start - timedelta(hours=5)
    assert before.end_at.astimezone(UTC) == start
    assert len(before.starts()) == 6


def test_what_is_whole_days_in_one_zone_is_not_in_another() -> None:
    day = date(2026, 3, 30)
    window = Window.days(day, day + timedelta(days=1), ZoneInfo("Europe/Berlin"))
    assert hours_of(window.previous()) == 23
    utc = Window(window.start_at, window.end_at, ZoneInfo("UTC"), window.interval)
    assert hours_of(utc.previous()) == 24


def hours_of(window: Window) -> float:
    return (window.end_at.astimezone(UTC) - window.start_at.astimezone(UTC)) / timedelta(hours=1)


@PROFILE
@given(now=QUARTERS, count=st.integers(1, 200), zone=st.sampled_from(ZONES),
       microseconds=st.integers(0, 899_999_999))  # fmt: skip
def test_so_many_hours_are_so_many_buckets(
    now: datetime, count: int, zone: str, microseconds: int
) -> None:
    now += timedelta(microseconds=microseconds)
    window = Window.hours(count, now, ZoneInfo(zone))
    assert window.interval is Interval.HOUR
    starts = instants(window)
    assert len(starts) == count
    assert starts[-1] <= now < window.end_at.astimezone(UTC)
    assert all(start.minute == 0 for start in window.starts()) or hours_of(window) != count
    check(window, SLOT)


def test_a_huge_window_is_refused_without_making_its_buckets() -> None:
    window = Window.days(date(1, 1, 2), date(9999, 12, 30), ZoneInfo("UTC"), Interval.HOUR)
    assert window.points_at_most() > 87_000_000
    assert window.exceeds(100)


# Free spans.

BERLIN = ZoneInfo("Europe/Berlin")


def refused(start: date, end: date, **options: Any) -> dict[str, str]:
    """What is said of each field of a span that is refused."""
    options = {"timezone": BERLIN, "interval": None, "max_points": 1000} | options
    with pytest.raises(InvalidFields) as caught:
        between(start, end, **options)
    return {problem.field: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("start", "end", "interval"),
    [
        ("2026-03-29", "2026-03-30", "hour"),
        ("2026-10-24", "2026-10-26", "hour"),
        ("2026-10-24", "2026-10-27", "day"),
        ("2026-10-24T12:00:00+02:00", "2026-10-26T12:00:00+01:00", "hour"),
        ("2026-10-24T12:00:00+02:00", "2026-10-26T12:15:00+01:00", "day"),
        ("2026-01-01", "2026-04-11", "day"),
        ("2026-01-01", "2026-04-12", "week"),
        ("2024-01-01", "2026-01-01", "week"),
        ("2024-02-29", "2026-03-01", "week"),
        ("2024-02-29", "2026-03-02", "month"),
        ("2016-01-01", "2026-01-01", "month"),
    ],
)
def test_a_longer_span_has_longer_buckets(start: str, end: str, interval: str) -> None:
    kind = datetime if "T" in start else date
    window = between(kind.fromisoformat(start), kind.fromisoformat(end), BERLIN, None, 1000)
    assert window.interval == interval


@pytest.mark.parametrize("zone", ["Asia/Beirut", "Africa/Cairo", "America/Havana", "Asia/Amman"])
def test_two_days_are_two_days_whatever_the_clocks_do(zone: str) -> None:
    timezone = ZoneInfo(zone)
    for n in range(366):
        first = date(2024, 1, 1) + timedelta(days=n)
        window = between(first, first + timedelta(days=2), timezone, None, 1000)
        assert window.interval is Interval.HOUR
        longer = between(first, first + timedelta(days=3), timezone, None, 1000)
        assert longer.interval is Interval.DAY


def test_dates_are_whole_local_days_and_times_are_instants() -> None:
    day = date(2026, 3, 29)
    window = between(day, day + timedelta(days=1), BERLIN, Interval.DAY, 1)
    assert window == Window.days(day, day + timedelta(days=1), BERLIN)
    moment = datetime(2026, 3, 29, 0, 45, tzinfo=UTC)
    mixed = between(moment, date(2026, 3, 30), BERLIN, None, 100)
    assert mixed.start_at.isoformat() == "2026-03-29T01:45:00+01:00"
    assert mixed.end_at.isoformat() == "2026-03-30T00:00:00+02:00"
    assert len(mixed.starts()) == 22


def test_a_time_off_the_quarter_hour_is_refused_naming_its_neighbours() -> None:
    start = datetime.fromisoformat("2026-05-06T10:20:00+02:00")
    assert refused(start, date(2026, 5, 7)) == {
        "start": "2026-05-06T10:20:00+02:00 is not on a quarter hour, by which scans are counted; "
        "write 2026-05-06T10:15:00+02:00 or 2026-05-06T10:30:00+02:00"
    }


def test_everything_that_is_wrong_with_both_ends_is_said() -> None:
    problems = refused(datetime(2026, 5, 6, 10), date(3000, 1, 1))  # noqa: DTZ001
    assert problems == {
        "start": "2026-05-06T10:00:00 has no offset; write 2026-05-06T10:00:00Z for UTC, "
        "or a date for a whole day",
        "end": "3000-01-01 is too far away; write a year from 1970 to 2999",
    }


@pytest.mark.parametrize(
    ("start", "end", "zone"),
    [
        ("2026-05-06", "2026-05-06", "UTC"),
        ("2026-05-07", "2026-05-06", "UTC"),
        ("2011-12-30", "2011-12-31", "Pacific/Apia"),
    ],
)
def test_a_span_without_anything_in_it_is_refused(start: str, end: str, zone: str) -> None:
    days = date.fromisoformat(start), date.fromisoformat(end)
    assert refused(*days, timezone=ZoneInfo(zone)) == {
        "end": f"nothing lies between {start} and {end} in {zone}; "
        "write an end after the start: the end itself is not part of the span"
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-03-29", "2026-03-29"),
        ("2026-03-29T14:00:00Z", "2026-03-29T14:00:00+00:00"),
        ("2026-03-29t14:00z", "2026-03-29T14:00:00+00:00"),
        ("2026-03-29 14:00-03:30", "2026-03-29T14:00:00-03:30"),
        ("2026-03-29T14:00:00+02:00", "2026-03-29T14:00:00+02:00"),
        ("2026-03-29T14:00:00 0200", "2026-03-29T14:00:00+02:00"),
        ("2026-03-29T14:00:00.0000000Z", "2026-03-29T14:00:00+00:00"),
    ],
)
def test_an_end_is_a_date_or_a_time_with_an_offset(text: str, value: str) -> None:
    assert parse_end(text).isoformat() == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "neither a date nor a time"),
        ("2026-02-30", "neither a date nor a time"),
        ("2026-W13", "neither a date nor a time"),
        ("2026-W13-1T14:00:00Z", "neither a date nor a time"),
        ("20260329", "neither a date nor a time"),
        ("2026-088", "neither a date nor a time"),
        ("20260329T140000Z", "neither a date nor a time"),
        ("2026-03-29T24:00:00Z", "neither a date nor a time"),
        ("2026-03-29T14:00:00+99:00", "neither a date nor a time"),
        ("2026-03-29T14Z", "neither a date nor a time"),
        ("２０２６-03-29", "neither a date nor a time"),
        ("2026-03-29T14:00:00.0000001Z", "neither a date nor a time"),
        ("2026-03-29T14:00:00.Z", "neither a date nor a time"),
        ("2026-03-29T14:00:00,0Z", "neither a date nor a time"),
        ("2026-03-29T14:00:00.000001Z", "not on a quarter hour"),
        ("2026-03-29T14:00:00", "has no offset; write 2026-03-29T14:00:00Z for UTC"),
        ("2026-03-29 14:00", "has no offset"),
        ("1969-12-31", "too far away"),
    ],
)
def test_an_end_that_is_none_is_refused_and_never_cut(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_end(text)


def test_the_later_of_two_times_of_one_name_is_later() -> None:
    first = datetime(2026, 10, 25, 2, tzinfo=BERLIN)
    assert len(between(first, first.replace(fold=1), BERLIN, None, 10).starts()) == 1
    assert "end" in refused(first.replace(fold=1), first)


def test_a_span_that_is_too_long_is_refused_naming_the_longest() -> None:
    first = date(2016, 2, 29)
    assert refused(first, date(2026, 3, 2)) == {
        "end": "2026-03-02 is more than 10 years after 2016-02-29; write 2026-03-01 or before"
    }
    assert between(first, date(2026, 3, 1), BERLIN, None, 1000).interval is Interval.MONTH
    moment = datetime(2025, 1, 1, 1, tzinfo=UTC)
    assert refused(moment, moment + timedelta(days=366), max_years=1) == {
        "end": "2026-01-02T01:00:00+00:00 is more than 1 years after 2025-01-01T01:00:00+00:00; "
        "write 2026-01-01T02:00:00+01:00 or before"
    }


def test_too_many_points_are_refused_naming_what_is_possible() -> None:
    days = date(2026, 1, 1), date(2026, 4, 1)
    options = {"interval": Interval.HOUR, "max_points": 90}
    assert refused(*days, **options) == {
        "interval": "'hour' would give more than 90 points from 2026-01-01 to 2026-04-01; "
        "write day or week or month"
    }
    assert refused(*days, interval=None, max_points=2)["interval"].endswith(
        "; make the span shorter"
    )


@pytest.mark.parametrize(("max_points", "interval"), [(90, "day"), (89, "week"), (13, "month")])
def test_buckets_become_longer_where_the_usual_ones_are_too_many(
    max_points: int, interval: str
) -> None:
    window = between(date(2026, 1, 1), date(2026, 4, 1), BERLIN, None, max_points)
    assert window.interval == interval


@PROFILE
@given(
    start=st.dates(date(1970, 1, 2), date(2985, 1, 1)),
    days=st.integers(1, 3652),
    zone=st.sampled_from(ZONES),
    interval=st.none() | st.sampled_from(Interval),
    max_points=st.integers(121, 500),
)
def test_a_span_has_no_more_points_than_allowed_or_is_refused(
    start: date, days: int, zone: str, interval: Interval | None, max_points: int
) -> None:
    end = start + timedelta(days=days)
    try:
        window = between(start, end, ZoneInfo(zone), interval, max_points)
    except InvalidFields as error:
        (problem,) = error.problems
        assert problem.field == "interval" or midnight(start, ZoneInfo(zone)) == midnight(
            end, ZoneInfo(zone)
        )
        assert "write" in problem.message
    else:
        assert 0 < len(window.starts()) <= max_points
        assert window.interval is (interval or window.interval)
