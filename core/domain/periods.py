"""Windows of time and their buckets, exact in every IANA zone, on days of 23 and 25 hours too."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct


class Interval(enum.StrEnum):
    """How long a bucket of a timeline is."""

    DAY = "day"


class Window(Struct, frozen=True):
    """A half-open span of local days, [first, end), in one zone."""

    first: date
    end: date
    timezone: ZoneInfo
    interval: Interval = Interval.DAY

    @property
    def start_at(self) -> datetime:
        """The instant at which the window begins, with the zone's offset."""
        return midnight(self.first, self.timezone)

    @property
    def end_at(self) -> datetime:
        """The first instant after the window, with the zone's offset."""
        return midnight(self.end, self.timezone)

    def starts(self) -> list[datetime]:
        """The beginning of every bucket, in order, each with the zone's offset of that moment.

        A day that the zone left out when it crossed the date line (Apia, 30 December 2011) has no
        bucket: it would be empty by necessity and begin together with the day after it.
        """
        days = (self.end - self.first).days
        starts = [midnight(self.first + timedelta(days=n), self.timezone) for n in range(days)]
        return [s for n, s in enumerate(starts) if s.date() == self.first + timedelta(days=n)]


def midnight(day: date, timezone: ZoneInfo) -> datetime:
    """The first instant of `day` in `timezone`, or of the next day that the zone has.

    Where the clocks skip midnight (Beirut, Santiago), it is the first instant after the gap;
    where midnight comes twice (Havana), it is the first of the two.
    """
    naive = datetime.combine(day, time())
    instant = naive.replace(tzinfo=timezone).astimezone(UTC)
    if instant.astimezone(timezone).replace(tzinfo=None) != naive:
        instant = _end_of_gap(naive, timezone)
    return instant.astimezone(timezone)


def _end_of_gap(naive: datetime, timezone: ZoneInfo) -> datetime:
    """The instant at which the clocks of `timezone` jump over `naive`, found by bisection.

    A gap need not begin at midnight: Toronto's of 1919 went from 23:30 to 00:30.
    """
    # By PEP 495, fold 1 reads a missing time with the offset after the gap, which gives an instant
    # before it, and fold 0 with the offset before it. Offsets change on whole seconds.
    before = naive.replace(tzinfo=timezone, fold=1).astimezone(UTC)
    after = naive.replace(tzinfo=timezone, fold=0).astimezone(UTC)
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(timezone).replace(tzinfo=None) < naive:
            before = middle
        else:
            after = middle
    return after
