"""The periods `7d`, `30d`, `90d` and `1y`: so many days back from today, today included."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from core.api import Interval, Period, Window, hookimpl


class Days(Struct, frozen=True):
    """Today and the `count - 1` days before it."""

    count: int
    intervals: tuple[Interval, ...]

    def window(
        self,
        now: datetime,
        timezone: ZoneInfo,
        first: datetime | None,
        interval: Interval | None = None,
    ) -> Window:
        """The window as seen at `now` from `timezone`."""
        tomorrow = now.astimezone(timezone).date() + timedelta(days=1)
        begin = tomorrow - timedelta(days=self.count)
        return Window.days(begin, tomorrow, timezone, interval or self.intervals[0])

    def previous(self, window: Window) -> Window:
        """As many days before."""
        return window.previous()


class Year(Struct, frozen=True):
    """The year that ends today: it begins a day after the same date one year ago.

    That is 365 days, or 366 where a 29th of February is among them. On a 29th of February, whose
    date the year before did not have, it begins on the 1st of March.
    """

    intervals: tuple[Interval, ...] = (Interval.DAY, Interval.WEEK, Interval.MONTH)

    def window(
        self,
        now: datetime,
        timezone: ZoneInfo,
        first: datetime | None,
        interval: Interval | None = None,
    ) -> Window:
        """The window as seen at `now` from `timezone`."""
        today = now.astimezone(timezone).date()
        begin = _one_year_before(today) + timedelta(days=1)
        end = today + timedelta(days=1)
        return Window.days(begin, end, timezone, interval or self.intervals[0])

    def previous(self, window: Window) -> Window:
        """As many days before, so that the two compare."""
        return window.previous()


def _one_year_before(day: date) -> date:
    if (day.month, day.day) == (2, 29):
        return date(day.year - 1, 2, 28)
    return day.replace(year=day.year - 1)


@hookimpl
def qz_periods() -> Mapping[str, Period]:
    """Offer the rolling periods."""
    return {
        "7d": Days(7, (Interval.DAY, Interval.HOUR)),
        "30d": Days(30, (Interval.DAY, Interval.HOUR, Interval.WEEK)),
        "90d": Days(90, (Interval.DAY, Interval.WEEK, Interval.MONTH)),
        "1y": Year(),
    }
