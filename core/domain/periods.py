"""Windows of time and their buckets, exact in every IANA zone, on days of 23 and 25 hours too.

NOTE: two times of one zone are compared and subtracted as its clocks show them, which is wrong on
the day of a change. Whatever is reckoned with here is in UTC; only results carry the zone.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import force_setattr

from core.domain.scans import SLOT, quarter_of
from core.errors import FieldProblem, InvalidFields

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_WEEK = timedelta(weeks=1)
_TICK = timedelta(microseconds=1)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"(?P<until_second>[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2})?)"
    r"(?P<fraction>\.[0-9]{1,6})?(?P<excess>(?<=\.[0-9]{6})[0-9]*)?"
    r"(?P<offset>[Zz]|[ +-][0-9]{2}:?[0-9]{2})?"
)


class Interval(enum.StrEnum):
    """How long a bucket of a timeline is, from the shortest; a week begins on Monday (ISO 8601)."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Window(Struct, frozen=True):
    """A half-open span of instants, [start_at, end_at), as seen from one zone, in buckets.

    The instants may be given with any offset, and are kept with the zone's.

    Counts are kept by quarter hours of UTC. Since 1 October 1979, 10:40 UTC, when Kiritimati left
    the offset -10:40, the offset of every IANA zone is a whole number of them, and every local day
    and full hour begins with one. Where a window or a bucket of an earlier time begins or ends
    within a quarter hour, starts and ends are rounded down: the quarter hour belongs to what begins
    in it.
    """

    start_at: datetime
    end_at: datetime
    timezone: ZoneInfo
    interval: Interval

    def __post_init__(self) -> None:
        for name in ("start_at", "end_at"):
            moment: datetime = getattr(self, name)
            if moment.tzinfo is None:
                raise ValueError(f"{name} needs an offset, {moment.isoformat()} has none")
            force_setattr(self, name, moment.astimezone(self.timezone))

    @classmethod
    def days(
        cls, first: date, end: date, timezone: ZoneInfo, interval: Interval = Interval.DAY
    ) -> Window:
        """The whole local days from `first` up to but not including `end`."""
        return cls(midnight(first, timezone), midnight(end, timezone), timezone, interval)

    @classmethod
    def hours(cls, count: int, moment: datetime, timezone: ZoneInfo) -> Window:
        """The hour of the local clock in which `moment` lies, and the `count - 1` before it."""
        end = _next_hour(moment.astimezone(UTC), timezone)
        # No bucket is longer than an hour, so there are enough of them to choose from.
        bounds = [end - (count + 1) * _HOUR]
        while bounds[-1] < end:
            bounds.append(_next_hour(bounds[-1], timezone))
        return cls(bounds[-1 - count], end, timezone, Interval.HOUR)

    @property
    def first(self) -> date:
        """The local date on which it begins."""
        return self.start_at.date()

    @property
    def end(self) -> date:
        """The local date after that of its last instant."""
        return (self.end_at.astimezone(UTC) - _TICK).astimezone(self.timezone).date() + _DAY

    def starts(self) -> list[datetime]:
        """The beginning of every bucket, in order, each with the zone's offset of that moment.

        The first bucket begins at `start_at` and the last one ends at `end_at`, so that both may be
        shorter than the others. Days, weeks and months begin at `midnight`; a day that the zone
        left out when it crossed the date line (Apia, 30 December 2011) has no bucket: it would be
        empty by necessity and begin together with the day after it.

        Hours begin where the local clock shows a full hour, one real hour apart: a day has as many
        as it has hours, 23 and 25 included. A change of the clocks by whole hours begins none of
        its own, not even within an hour (Chatham goes from 02:45 to 03:45, and the hour that began
        at 02:00 ends at 04:00). One by part of an hour does: Lord Howe, which goes from 02:00 back
        to 01:30, then has half an hour before the next full one. No bucket is longer than an hour.
        """
        return [moment.astimezone(self.timezone) for moment in self._bounds()]

    def points_at_most(self) -> int:
        """How many buckets there are at most, without making them.

        For hours that is up to two for each week too many, and six; else it is exact unless the
        zone left out a day.
        """
        start, end = self.start_at.astimezone(UTC), self.end_at.astimezone(UTC)
        if start >= end:
            return 0
        if self.interval is Interval.HOUR:
            # A change of the clocks may cost two. No zone has ever changed its clocks more than
            # once a week, but for the two changes within four days at Freetown in 1939.
            span = end - start
            return span // _HOUR + 2 + 2 * (span // _WEEK + 2)
        last = _unit(self.end_at.date(), self.interval)
        if self._begins(last + 1) < end:
            last += 1
        elif self._begins(last) >= end:
            last -= 1
        return last - _unit(self.first, self.interval) + 1

    def exceeds(self, points: int) -> bool:
        """Whether there are more buckets than `points`; never makes more than those, and one."""
        if self.points_at_most() <= points:
            return False
        return next(islice(self._bounds(), points, None), None) is not None

    def previous(self) -> Window:
        """The span just before, with the same buckets.

        Whole local days are preceded by as many local dates, anything else by as long a time.
        """
        start, end = self.start_at.astimezone(UTC), self.end_at.astimezone(UTC)
        whole = start < end and (
            midnight(self.first, self.timezone).astimezone(UTC) == start
            and midnight(self.end, self.timezone).astimezone(UTC) == end
        )
        before = start - (end - start)
        if whole:
            before = midnight(self.first - (self.end - self.first), self.timezone)
        return Window(before, start, self.timezone, self.interval)

    def _bounds(self) -> Iterator[datetime]:
        """The beginnings of the buckets in UTC."""
        moment, end = self.start_at.astimezone(UTC), self.end_at.astimezone(UTC)
        unit = _unit(self.first, self.interval)
        while moment < end:
            yield moment
            if self.interval is Interval.HOUR:
                moment = _next_hour(moment, self.timezone)
                continue
            following = moment
            while following <= moment:
                unit += 1
                following = self._begins(unit)
            moment = following

    def _begins(self, unit: int) -> datetime:
        return midnight(_first_day(unit, self.interval), self.timezone).astimezone(UTC)


def parse_end(text: str) -> date:
    """One end of a span from its text, as `parse_point` reads it.

    Raises ValueError for what `between` refuses in one end by itself, too.
    """
    value = parse_point(text)
    problem = _problem(value)
    if problem is not None:
        raise ValueError(problem)
    return value


def parse_point(text: str) -> date:
    """A date, or a point in time with an offset or without one, from its text (RFC 3339).

    A blank before the offset is a plus sign: that is what one becomes in the query of an address
    unless it is written as %2B. Raises ValueError, with the way out, for everything else.
    """
    try:
        value = date.fromisoformat(text) if _DATE.fullmatch(text) else _time(text)
    except ValueError:
        value = None
    if value is None:
        raise ValueError(
            f"{text!r} is neither a date nor a time; write a date such as 2026-03-29, or a time "
            "such as 2026-03-29T14:00:00+02:00"
        )
    return value


def between(
    start: date,
    end: date,
    timezone: ZoneInfo,
    interval: Interval | None,
    max_points: int,
    max_years: int = 10,
) -> Window:
    """The window from `start` up to but not including `end`, each a date or an aware datetime.

    A date means the beginning of that local day. Without `interval` the window has hours up to two
    days, days up to a hundred, weeks up to two years and months beyond, and coarser buckets where
    those would be too many.

    Raises InvalidFields, for the fields `start`, `end` and `interval`, where a time is not on a
    quarter hour (counts are kept by them), where nothing lies between the two, where it is more
    than `max_years`, and where there would be more than `max_points` buckets.
    """
    problems = [
        FieldProblem(field, problem)
        for field, value in (("start", start), ("end", end))
        if (problem := _problem(value)) is not None
    ]
    if problems:
        raise InvalidFields(problems)
    start_at, end_at = _instant(start, timezone), _instant(end, timezone)
    if end_at <= start_at:
        raise InvalidFields.of(
            "end",
            f"nothing lies between {start.isoformat()} and {end.isoformat()} in {timezone.key}; "
            "write an end after the start: the end itself is not part of the span",
        )
    limit = _later(start_at, timezone, years=max_years)
    if end_at > limit:
        latest = limit.astimezone(timezone)
        raise InvalidFields.of(
            "end",
            f"{end.isoformat()} is more than {max_years} years after {start.isoformat()}; "
            f"write {latest.isoformat() if isinstance(end, datetime) else latest.date()} or before",
        )
    windows = {kind: Window(start_at, end_at, timezone, kind) for kind in Interval}
    possible = [kind for kind, window in windows.items() if not window.exceeds(max_points)]
    if interval is None:
        usual = _usual_interval(start_at, end_at, timezone)
        kinds = list(Interval)
        interval = next((k for k in possible if kinds.index(k) >= kinds.index(usual)), usual)
    if interval not in possible:
        way_out = f"write {' or '.join(possible)}" if possible else "make the span shorter"
        raise InvalidFields.of(
            "interval",
            f"{interval.value!r} would give more than {max_points} points from "
            f"{start.isoformat()} to {end.isoformat()}; {way_out}",
        )
    return windows[interval]


# PERF: whoever looks at a year asks for the same midnights again, and each takes 10 µs to find.
@lru_cache(maxsize=8192)
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


def _next_hour(moment: datetime, timezone: ZoneInfo) -> datetime:
    """The first instant after `moment` at which an hour begins, as `Window.starts` has it."""
    phase = _phase(moment, timezone)
    after = moment + _HOUR - (moment - _EPOCH + phase) % _HOUR
    if _phase(after, timezone) == phase:
        return after
    # Offsets change on whole seconds.
    before = moment.replace(microsecond=0)
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if _phase(middle, timezone) == phase:
            before = middle
        else:
            after = middle
    return after


def _phase(moment: datetime, timezone: ZoneInfo) -> timedelta:
    """The part of the zone's offset that is not whole hours."""
    offset = moment.astimezone(timezone).utcoffset()
    return (offset or timedelta()) % _HOUR


def _unit(day: date, interval: Interval) -> int:
    """The number of the day, week or month in which `day` lies, counted from the year 1."""
    if interval is Interval.MONTH:
        return day.year * 12 + day.month - 1
    # The first of January of the year 1 was a Monday.
    return (day.toordinal() - 1) // 7 if interval is Interval.WEEK else day.toordinal()


def _first_day(unit: int, interval: Interval) -> date:
    """The date on which the unit of that number begins."""
    if interval is Interval.MONTH:
        return date(unit // 12, unit % 12 + 1, 1)
    return date.fromordinal(unit * 7 + 1 if interval is Interval.WEEK else unit)


def _time(text: str) -> datetime | None:
    """The point in time; None, or ValueError, where the text is none that is kept exactly."""
    match = _TIME.fullmatch(text)
    # Some programs always write seven digits or nine; what is beyond a microsecond must be zero.
    if match is None or (match["excess"] or "").strip("0"):
        return None
    offset = (match["offset"] or "").replace(" ", "+")
    return datetime.fromisoformat(
        f"{match['until_second']}{match['fraction'] or ''}{offset}".upper()
    )


def _problem(value: date) -> str | None:
    """What is wrong with one end of a span, or None."""
    text = value.isoformat()
    if not 1970 <= value.year < 3000:
        return f"{text} is too far away; write a year from 1970 to 2999"
    if not isinstance(value, datetime):
        return None
    if value.tzinfo is None:
        return f"{text} has no offset; write {text}Z for UTC, or a date for a whole day"
    past = value.astimezone(UTC) - quarter_of(value)
    if past:
        return (
            f"{text} is not on a quarter hour, by which scans are counted; "
            f"write {(value - past).isoformat()} or {(value - past + SLOT).isoformat()}"
        )
    return None


def _instant(value: date, timezone: ZoneInfo) -> datetime:
    moment = value if isinstance(value, datetime) else midnight(value, timezone)
    return moment.astimezone(UTC)


def _usual_interval(start: datetime, end: datetime, timezone: ZoneInfo) -> Interval:
    if end <= _later(start, timezone, days=2):
        return Interval.HOUR
    if end <= _later(start, timezone, days=100):
        return Interval.DAY
    return Interval.WEEK if end <= _later(start, timezone, years=2) else Interval.MONTH


def _later(moment: datetime, timezone: ZoneInfo, days: int = 0, years: int = 0) -> datetime:
    """When the local clock shows the same time so many days or years later."""
    local = moment.astimezone(timezone).replace(tzinfo=None, fold=0) + days * _DAY
    if (local.month, local.day) == (2, 29) and years:
        # The next year has no such day: the year is over when the 1st of March begins.
        local += _DAY
    return local.replace(year=local.year + years, tzinfo=timezone).astimezone(UTC)
