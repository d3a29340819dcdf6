from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api import SLOT, Interval, Period, Window, slot_of
from plugins.periods import calendar, rolling
from tests.unit.zones import PROFILE, ZONES

DAY = timedelta(days=1)

PERIODS: dict[str, Period] = {**rolling.qz_periods(), **calendar.qz_periods()}

# Whole hours, half and quarter hours; clocks that skip midnight, repeat it, or move by half an
# hour or by two; both sides of the date line, and a zone that crossed it.
STRANGE = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "America/Havana",
    "America/St_Johns",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
]

BERLIN = ZoneInfo("Europe/Berlin")

MOMENTS = st.integers(
    int(datetime(2023, 1, 1, tzinfo=UTC).timestamp()),
    int(datetime(2037, 12, 1, tzinfo=UTC).timestamp()),
).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def noon(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}T12:00:00+00:00")


def starts(window: Window) -> list[datetime]:
    return [start.astimezone(UTC) for start in window.starts()]


def check(name: str, now: datetime, zone: str, age: timedelta | None) -> None:
    """What holds for the windows of every period, and for what they are compared with."""
    period, timezone = PERIODS[name], ZoneInfo(zone)
    first = None if age is None else now - age
    assert len(set(period.intervals)) == len(period.intervals) > 0
    usual = period.window(now, timezone, first)
    assert usual.interval is period.intervals[0]
    for interval in period.intervals:
        window = period.window(now, timezone, first, interval)
        assert (window.start_at, window.end_at) == (usual.start_at, usual.end_at)
        assert window.interval is interval
        previous = period.previous(window)
        assert previous is None or previous.end_at.astimezone(UTC) <= window.start_at
        for each in (window, previous):
            if each is None:
                continue
            assert (each.timezone, each.interval) == (timezone, interval)
            bounds = [*starts(each), each.end_at.astimezone(UTC)]
            assert bounds[0] == each.start_at.astimezone(UTC)
            assert all(earlier < later for earlier, later in pairwise(bounds))
            assert len(bounds) - 1 <= each.points_at_most()
            assert all((bound.timestamp() / SLOT.total_seconds()).is_integer() for bound in bounds)
            assert slot_of(bounds[0]) < slot_of(bounds[-1])
    bounds = [usual.start_at.astimezone(UTC), usual.end_at.astimezone(UTC)]
    if name == "yesterday":
        assert bounds[1] <= now < bounds[1] + timedelta(hours=27)
    else:
        assert bounds[0] <= now < bounds[1]


@pytest.mark.parametrize("zone", STRANGE)
@pytest.mark.parametrize("name", PERIODS)
def test_a_period_keeps_its_promises_whenever_the_clocks_change(name: str, zone: str) -> None:
    for day in ("2024-02-29", "2026-01-01", "2026-12-31", "2026-03-29", "2026-10-25", "2026-04-05"):
        for hour in (0, 11, 23):
            check(name, noon(day) + timedelta(hours=hour - 12), zone, 40 * DAY)


@pytest.mark.parametrize("name", PERIODS)
@PROFILE
@given(
    now=MOMENTS,
    zone=st.sampled_from(ZONES),
    age=st.none() | st.timedeltas(timedelta(), 400 * DAY),
)
def test_a_period_keeps_its_promises_in_every_zone(
    name: str, now: datetime, zone: str, age: timedelta | None
) -> None:
    check(name, now, zone, age)


@pytest.mark.parametrize("name", PERIODS)
def test_a_period_is_one(name: str) -> None:
    assert isinstance(PERIODS[name], Period)


def test_the_plugins_offer_what_they_are_named_for() -> None:
    offered = {name: " ".join(period.intervals) for name, period in PERIODS.items()}
    assert offered == {
        "7d": "day hour",
        "30d": "day hour week",
        "90d": "day week month",
        "1y": "day week month",
        "24h": "hour",
        "today": "hour day",
        "yesterday": "hour day",
        "mtd": "day hour week",
        "qtd": "day week month",
        "ytd": "day week month",
        "all": "month week day",
    }


@pytest.mark.parametrize(("name", "points"), [("7d", 7), ("30d", 30), ("90d", 90)])
def test_a_period_of_days_has_as_many_points_and_ends_today(name: str, points: int) -> None:
    window = PERIODS[name].window(noon("2026-03-31"), BERLIN, None)
    days = [start.date() for start in window.starts()]
    assert days == [date(2026, 3, 31) - n * DAY for n in reversed(range(points))]
    assert window.end == date(2026, 4, 1)


@pytest.mark.parametrize(
    ("zone", "end"),
    [
        ("Asia/Kathmandu", date(2026, 5, 8)),
        ("Europe/Berlin", date(2026, 5, 8)),
        ("UTC", date(2026, 5, 7)),
        ("Pacific/Kiritimati", date(2026, 5, 8)),
        ("Pacific/Pago_Pago", date(2026, 5, 7)),
    ],
)
@pytest.mark.parametrize("name", [name for name in PERIODS if name not in ("24h", "yesterday")])
def test_today_is_that_of_the_zone(name: str, zone: str, end: date) -> None:
    now = datetime(2026, 5, 6, 22, 30, tzinfo=UTC)
    assert PERIODS[name].window(now, ZoneInfo(zone), None).end == end


@pytest.mark.parametrize(
    ("today", "first", "points"),
    [
        ("2026-05-06", "2025-05-07", 365),
        ("2026-01-01", "2025-01-02", 365),
        ("2026-12-31", "2026-01-01", 365),
        ("2024-02-28", "2023-03-01", 365),
        ("2024-02-29", "2023-03-01", 366),
        ("2024-03-01", "2023-03-02", 366),
        ("2024-12-31", "2024-01-01", 366),
        ("2025-02-27", "2024-02-28", 366),
        ("2025-02-28", "2024-02-29", 366),
        ("2025-03-01", "2024-03-02", 365),
        ("2100-03-01", "2099-03-02", 365),
    ],
)
def test_a_year_begins_the_day_after_the_same_date_one_year_ago(
    today: str, first: str, points: int
) -> None:
    window = PERIODS["1y"].window(noon(today), BERLIN, None)
    assert window.first == date.fromisoformat(first)
    assert len(window.starts()) == points


def test_from_one_day_to_the_next_a_year_never_begins_earlier() -> None:
    days = [datetime(2023, 1, 1, 12, tzinfo=UTC) + n * DAY for n in range(1500)]
    firsts = [PERIODS["1y"].window(day, BERLIN, None).first for day in days]
    assert firsts == sorted(firsts)


@PROFILE
@given(now=MOMENTS, zone=st.sampled_from(ZONES))
def test_24_hours_are_24_points_and_so_are_those_before(now: datetime, zone: str) -> None:
    window = PERIODS["24h"].window(now, ZoneInfo(zone), None)
    previous = PERIODS["24h"].previous(window)
    assert previous is not None
    assert len(window.starts()) == len(previous.starts()) == 24
    assert starts(window)[-1] <= now
    assert previous.end_at == window.start_at


def test_24_hours_include_the_running_one() -> None:
    now = datetime.fromisoformat("2026-03-29T12:34:56+02:00")
    window = PERIODS["24h"].window(now, BERLIN, None)
    assert window.start_at.isoformat() == "2026-03-28T12:00:00+01:00"
    assert window.end_at.isoformat() == "2026-03-29T13:00:00+02:00"
    kathmandu = PERIODS["24h"].window(now, ZoneInfo("Asia/Kathmandu"), None)
    assert kathmandu.end_at.isoformat() == "2026-03-29T17:00:00+05:45"


@pytest.mark.parametrize(
    ("today", "points", "yesterday"),
    [("2026-03-29", 23, 24), ("2026-03-30", 24, 23), ("2026-10-25", 25, 24)],
)
def test_today_and_yesterday_are_whole_days_in_hours(
    today: str, points: int, yesterday: int
) -> None:
    now, period = noon(today), PERIODS["today"]
    window = period.window(now, BERLIN, None)
    assert len(window.starts()) == points
    assert (window.first, window.end) == (now.date(), now.date() + DAY)
    previous = period.previous(window)
    assert previous == PERIODS["yesterday"].window(now, BERLIN, None)
    assert len(previous.starts()) == yesterday
    assert len(period.window(now, BERLIN, None, Interval.DAY).starts()) == 1


@pytest.mark.parametrize(
    ("name", "today", "first", "previous"),
    [
        ("mtd", "2026-05-06", "2026-05-01", ("2026-04-01", "2026-04-07")),
        ("mtd", "2026-05-31", "2026-05-01", ("2026-04-01", "2026-05-01")),
        ("mtd", "2026-03-28", "2026-03-01", ("2026-02-01", "2026-03-01")),
        ("mtd", "2026-03-30", "2026-03-01", ("2026-02-01", "2026-03-01")),
        ("mtd", "2024-03-30", "2024-03-01", ("2024-02-01", "2024-03-01")),
        ("mtd", "2026-01-01", "2026-01-01", ("2025-12-01", "2025-12-02")),
        ("qtd", "2026-05-06", "2026-04-01", ("2026-01-01", "2026-02-06")),
        ("qtd", "2026-06-30", "2026-04-01", ("2026-01-01", "2026-04-01")),
        ("qtd", "2026-02-14", "2026-01-01", ("2025-10-01", "2025-11-15")),
        ("qtd", "2026-12-31", "2026-10-01", ("2026-07-01", "2026-10-01")),
        ("ytd", "2026-05-06", "2026-01-01", ("2025-01-01", "2025-05-07")),
        ("ytd", "2024-12-31", "2024-01-01", ("2023-01-01", "2024-01-01")),
        ("ytd", "2025-12-31", "2025-01-01", ("2024-01-01", "2024-12-31")),
    ],
)
def test_a_period_to_date_compares_with_as_many_days_of_the_one_before(
    name: str, today: str, first: str, previous: tuple[str, str]
) -> None:
    for interval in PERIODS[name].intervals:
        window = PERIODS[name].window(noon(today), BERLIN, None, interval)
        assert window.first.isoformat() == first
        assert window.end == date.fromisoformat(today) + DAY
        before = PERIODS[name].previous(window)
        assert before is not None
        assert (before.first.isoformat(), before.end.isoformat()) == previous
        assert before.interval is interval


def test_everything_begins_on_the_local_day_of_the_first_scan() -> None:
    now, first = noon("2026-05-06"), datetime(2025, 12, 31, 23, 30, tzinfo=UTC)
    assert PERIODS["all"].window(now, ZoneInfo("UTC"), first).first == date(2025, 12, 31)
    window = PERIODS["all"].window(now, BERLIN, first)
    assert (window.first, window.end) == (date(2026, 1, 1), date(2026, 5, 7))
    assert [start.month for start in window.starts()] == [1, 2, 3, 4, 5]
    assert PERIODS["all"].previous(window) is None


@pytest.mark.parametrize("first", [None, noon("2026-05-08")])
def test_everything_is_today_where_there_was_no_scan_or_a_clock_is_ahead(
    first: datetime | None,
) -> None:
    window = PERIODS["all"].window(noon("2026-05-06"), BERLIN, first, Interval.DAY)
    assert [start.date() for start in window.starts()] == [date(2026, 5, 6)]
