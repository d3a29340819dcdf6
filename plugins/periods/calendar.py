"""The periods of clock and calendar: `24h`, `today`, `yesterday`, `mtd`, `qtd`, `ytd` and `all`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from core.api import Interval, Period, Window, hookimpl

_DAY = timedelta(days=1)


class Hours(Struct, frozen=True):
    """The running hour of the local clock and the `count - 1` hours before it."""

    count: int
    intervals: tuple[Interval, ...] = (Interval.HOUR,)

    def window(
        self,
        now: datetime,
        timezone: ZoneInfo,
        first: datetime | None,
        interval: Interval | None = None,
    ) -> Window:
        """The window as seen at `now` from `timezone`."""
        return Window.hours(self.count, now, timezone)

    def previous(self, window: Window) -> Window:
        """As many hours before."""
        # NOTE: `Window.previous` would give a day of 23 or 25 hours for one from midnight on.
        before = window.start_at.astimezone(UTC) - timedelta(microseconds=1)
        return Window.hours(self.count, before, window.timezone)


class Day(Struct, frozen=True):
    """The local day that was `ago` days before today."""

    ago: int
    intervals: tuple[Interval, ...] = (Interval.HOUR, Interval.DAY)

    def window(
        self,
        now: datetime,
        timezone: ZoneInfo,
        first: datetime | None,
        interval: Interval | None = None,
    ) -> Window:
        """The window as seen at `now` from `timezone`."""
        day = now.astimezone(timezone).date() - self.ago * _DAY
        return Window.days(day, day + _DAY, timezone, interval or self.intervals[0])

    def previous(self, window: Window) -> Window:
        """The day before, the whole of it."""
        return window.previous()


class ToDate(Struct, frozen=True):
    """From the beginning of the running month, quarter or year (1, 3, 12 `months`) until today."""

    months: int
    intervals: tuple[Interval, ...]

    def window(
        self,
        now: datetime,
        timezone: ZoneInfo,
        first: datetime | None,
        interval: Interval | None = None,
    ) -> Window:
        """The window as seen at `now` from `timezone`."""
        today = now.astimezone(timezone).date()
        return Window.days(
            self._beginning(today), today + _DAY, timezone, interval or self.intervals[0]
        )

    def previous(self, window: Window) -> Window:
        """As many days from the beginning of the one before, and none beyond its end."""
        beginning = self._beginning(window.first)
        before = self._beginning(beginning - _DAY)
        end = min(before + (window.end - beginning), beginning)
        return Window.days(before, end, window.timezone, window.interval)

    def _beginning(self, day: date) -> date:
        return day.replace(month=day.month - (day.month - 1) % self.months, day=1)


class Everything(Struct, frozen=True):
    """From the day of the first scan until today; today alone where there was none."""

    intervals: tuple[Interval, ...] = (Interval.MONTH, Interval.WEEK, Interval.DAY)

    def window(
        self,
        now: datetime,
        timezone: ZoneInfo,
        first: datetime | None,
        interval: Interval | None = None,
    ) -> Window:
        """The window as seen at `now` from `timezone`."""
        today = now.astimezone(timezone).date()
        begin = today if first is None else first.astimezone(timezone).date()
        # The clock of the node that took the first scan may be ahead of this one's.
        return Window.days(min(begin, today), today + _DAY, timezone, interval or self.intervals[0])

    def previous(self, window: Window) -> None:
        """None: there was nothing before the first scan."""


@hookimpl
def qz_periods() -> Mapping[str, Period]:
    """Offer the periods of clock and calendar."""
    return {
        "24h": Hours(24),
        "today": Day(0),
        "yesterday": Day(1),
        "mtd": ToDate(1, (Interval.DAY, Interval.HOUR, Interval.WEEK)),
        "qtd": ToDate(3, (Interval.DAY, Interval.WEEK, Interval.MONTH)),
        "ytd": ToDate(12, (Interval.DAY, Interval.WEEK, Interval.MONTH)),
        "all": Everything(),
    }
