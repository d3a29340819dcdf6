from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api import Period, Window
from plugins.periods.rolling import qz_periods
from tests.unit.zones import PROFILE, ZONES


class ThisMonth:
    """A second implementation: from the first of the month until today."""

    def window(self, now: datetime, timezone: ZoneInfo) -> Window:
        today = now.astimezone(timezone).date()
        return Window(today.replace(day=1), today + timedelta(days=1), timezone)


PERIODS: dict[str, Period] = {**qz_periods(), "month": ThisMonth()}

BERLIN = ZoneInfo("Europe/Berlin")


def noon(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}T12:00:00+00:00")


def test_the_plugin_offers_the_four_rolling_periods() -> None:
    assert list(qz_periods()) == ["7d", "30d", "90d", "1y"]
    assert all(isinstance(period, Period) for period in PERIODS.values())


@pytest.mark.parametrize("name", PERIODS)
@PROFILE
@given(
    now=st.integers(631_152_000, 2_145_830_400).map(lambda s: datetime.fromtimestamp(s, UTC)),
    zone=st.sampled_from(ZONES),
)
def test_a_window_ends_after_the_local_day_of_now(name: str, now: datetime, zone: str) -> None:
    timezone = ZoneInfo(zone)
    window = PERIODS[name].window(now, timezone)
    today = now.astimezone(timezone).date()
    assert window.timezone is timezone
    assert window.first <= today
    assert window.end == today + timedelta(days=1)
    assert window.start_at.astimezone(UTC) <= now < window.end_at.astimezone(UTC)


@pytest.mark.parametrize(("name", "points"), [("7d", 7), ("30d", 30), ("90d", 90)])
def test_a_period_of_days_has_as_many_points_and_ends_today(name: str, points: int) -> None:
    window = PERIODS[name].window(noon("2026-03-31"), BERLIN)
    starts = window.starts()
    assert len(starts) == points
    assert starts[-1].date() == date(2026, 3, 31)
    assert starts[0].date() == date(2026, 3, 31) - timedelta(days=points - 1)


def test_today_is_that_of_the_zone() -> None:
    now = datetime(2026, 5, 6, 22, 30, tzinfo=UTC)
    assert PERIODS["7d"].window(now, ZoneInfo("Asia/Kathmandu")).end == date(2026, 5, 8)
    assert PERIODS["7d"].window(now, BERLIN).end == date(2026, 5, 8)
    assert PERIODS["7d"].window(now, ZoneInfo("UTC")).end == date(2026, 5, 7)
    assert PERIODS["7d"].window(now, ZoneInfo("Pacific/Kiritimati")).end == date(2026, 5, 8)
    assert PERIODS["7d"].window(now, ZoneInfo("Pacific/Pago_Pago")).end == date(2026, 5, 7)


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
    window = PERIODS["1y"].window(noon(today), BERLIN)
    assert window.first == date.fromisoformat(first)
    assert len(window.starts()) == points


def test_from_one_day_to_the_next_a_year_never_begins_earlier() -> None:
    days = [datetime(2023, 1, 1, 12, tzinfo=UTC) + timedelta(days=n) for n in range(1500)]
    firsts = [PERIODS["1y"].window(day, BERLIN).first for day in days]
    assert firsts == sorted(firsts)
