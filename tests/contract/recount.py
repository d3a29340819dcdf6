"""A recount: what timelines and statistics must say, from looking at each scan and each clock.

Written to be believed rather than to be fast. It knows nothing of rollups, nor of arithmetic with
time zones: it walks from one quarter hour to the next, asks what the clocks show, and puts one scan
after the other where it belongs. It holds since 1980, from when on every offset of every zone is a
whole number of quarter hours; it takes nothing from the code that it judges, and gives plain lists.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
QUARTER = timedelta(minutes=15)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

INTERVALS = ("hour", "day", "week", "month")
PERIODS = {
    "7d": ("day", "hour"),
    "30d": ("day", "hour", "week"),
    "90d": ("day", "week", "month"),
    "1y": ("day", "week", "month"),
    "24h": ("hour",),
    "today": ("hour", "day"),
    "yesterday": ("hour", "day"),
    "mtd": ("day", "hour", "week"),
    "qtd": ("day", "week", "month"),
    "ytd": ("day", "week", "month"),
    "all": ("month", "week", "day"),
}
"""The intervals of each period, the usual one first."""

TO_DATE = {"mtd": range(1, 13), "qtd": (1, 4, 7, 10), "ytd": (1,)}
"""With which months the periods to date begin."""

DIMENSIONS = ("country", "device", "os", "browser", "language", "referrer")
MAX_VALUES_OF_CODE, MAX_VALUES = 100, 1000
OTHER = "(other)"


class RefusedError(Exception):
    """A window that must not be answered; the argument is the field to blame."""


@dataclass
class Seen:
    """One scan, and how it counts."""

    organization: UUID
    code: UUID
    at: datetime
    bot: bool
    unique: bool
    values: dict[str, str]

    def __post_init__(self) -> None:
        self.quarter = quarter_of(self.at)


@dataclass
class Stretch:
    """A window in quarter hours, [first, past), and how it is cut."""

    zone: str
    first: int
    past: int
    interval: str

    def starts(self) -> list[int]:
        return bucket_starts(self.zone, self.first, self.past, self.interval)

    def instants(self) -> dict[str, str]:
        return {"start": written(self.zone, self.first), "end": written(self.zone, self.past)}


def quarter_of(moment: datetime) -> int:
    return (moment - EPOCH) // QUARTER


@lru_cache(maxsize=5000)
def _clock_on(zone: str, day: int) -> list[datetime]:
    timezone, first = ZoneInfo(zone), EPOCH + day * DAY
    return [(first + n * QUARTER).astimezone(timezone) for n in range(96)]


def clock(zone: str, quarter: int) -> datetime:
    """What the clocks of the zone show when the quarter hour begins."""
    return _clock_on(zone, quarter // 96)[quarter % 96]


def clocks(zone: str, first: int, past: int) -> Iterator[datetime]:
    """What they show when each of the quarter hours begins."""
    for day in range(first // 96, (past - 1) // 96 + 1):
        yield from _clock_on(zone, day)[max(0, first - day * 96) : past - day * 96]


def written(zone: str, quarter: int) -> str:
    return clock(zone, quarter).isoformat()


def begins(zone: str, day: date) -> int:
    """The first quarter hour of a local day, or of the next one where the zone left it out."""
    quarter = (day - EPOCH.date()).days * 96 - 16 * 4
    while clock(zone, quarter).date() < day:
        quarter += 1
    return quarter


@lru_cache(maxsize=64)
def bucket_starts(zone: str, first: int, past: int, interval: str) -> list[int]:
    """Where buckets begin: at the first quarter hour, and wherever another one is due."""
    starts: list[int] = []
    # A day that has begun goes on where the clocks are put back across midnight; some hours before
    # the first quarter hour are looked at to know. No zone put them back by more than three.
    day, minute = date.min, 0
    for quarter, shown in enumerate(clocks(zone, first - 16, past), first - 16):
        day_before, day = day, max(day, shown.date())
        minute_due, minute = (minute + 15) % 60, shown.minute
        if quarter < first:
            continue
        if interval == "hour":
            due = minute == 0 or minute != minute_due
        elif interval == "day" or day == day_before:
            due = day != day_before
        elif interval == "week":
            due = day - day.weekday() * DAY != day_before - day_before.weekday() * DAY
        else:
            due = (day.year, day.month) != (day_before.year, day_before.month)
        if due or quarter == first:
            starts.append(quarter)
    return starts


def hours_until(zone: str, quarter: int, count: int) -> tuple[int, int]:
    """The hour in which the quarter hour lies, and those before it, `count` in all."""
    starts = bucket_starts(zone, quarter - (count + 6) * 4, quarter + 9, "hour")[1:]
    following = bisect_right(starts, quarter)
    return starts[following - count], starts[following]


def days_of(zone: str, first: int, past: int) -> tuple[date, date]:
    """The local days of the first and of the last quarter hour."""
    return clock(zone, first).date(), clock(zone, past - 1).date()


def as_many_days_before(zone: str, first: int, past: int) -> tuple[int, int]:
    earliest, latest = days_of(zone, first, past)
    before = earliest
    while latest >= earliest:
        before, latest = before - DAY, latest - DAY
    return begins(zone, before), first


class Recount:
    """All scans that there were, as they came."""

    def __init__(self, max_points: int) -> None:
        self.max_points = max_points
        self.scans: list[Seen] = []
        self._gone: set[UUID] = set()
        self._visitors: set[tuple[UUID, date, bytes]] = set()
        self._told: dict[tuple[UUID, date, str], set[str]] = {}

    def append(self, batch: Iterable[Any]) -> None:
        """Take scans in the order of their times; those of codes that are gone do not count."""
        for scan in sorted(batch, key=lambda scan: scan.at):
            if scan.code_id in self._gone:
                continue
            day, unique = scan.at.astimezone(UTC).date(), False
            if scan.visitor is not None and not scan.bot:
                visitor = (scan.code_id, day, scan.visitor)
                unique = visitor not in self._visitors
                self._visitors.add(visitor)
            values = {}
            for dimension in DIMENSIONS:
                value = getattr(scan, dimension)
                told = self._told.setdefault((scan.organization_id, day, dimension), set())
                of_code = self._told.setdefault((scan.code_id, day, dimension), set())
                full = value not in told and len(told) == MAX_VALUES
                if value not in of_code and (full or len(of_code) == MAX_VALUES_OF_CODE):
                    value = OTHER
                else:
                    told.add(value)
                    of_code.add(value)
                values[dimension] = value
            self.scans.append(
                Seen(scan.organization_id, scan.code_id, scan.at, scan.bot, unique, values)
            )

    def delete(self, code: UUID) -> None:
        self._gone.add(code)
        self.scans = [scan for scan in self.scans if scan.code != code]

    def timeline(
        self, organization: UUID, code: UUID | None, asked: Any, now: datetime, compare: bool
    ) -> dict[str, Any]:
        """The timeline; `change` is two numbers, the growth from the first to the second."""
        scans = self._of(organization, code)
        window, before = self._windows(scans, asked, now)
        answer = self._points(scans, window, asked.bots)
        previous = None
        if compare and before is not None:
            previous = self._points(scans, before, asked.bots)
            previous["change"] = (previous["total"], answer["total"])
        named = asked.start is None and asked.end is None
        return {
            "code": code,
            "period": (asked.period or "7d") if named else None,
            "interval": window.interval,
            "timezone": asked.timezone,
            **answer,
            "previous": previous,
        }

    def stats(
        self, organization: UUID, code: UUID | None, asked: Any, now: datetime
    ) -> dict[str, Any]:
        """The statistics, with `change` as in a timeline."""
        scans = self._of(organization, code)
        window, _ = self._windows(scans, asked, now)
        people = [scan for scan in scans if not scan.bot]
        today = now.astimezone(ZoneInfo(asked.timezone)).date()
        recent = {}
        for name, days in (("today", 1), ("7d", 7), ("30d", 30)):
            span = (
                begins(asked.timezone, today - (days - 1) * DAY),
                begins(asked.timezone, today + DAY),
            )
            lately = _within(scans, *span, asked.bots)
            earlier = _within(scans, *as_many_days_before(asked.timezone, *span), asked.bots)
            recent[name] = {
                "scans": len(lately),
                "unique": _unique(lately),
                "change": (len(earlier), len(lately)),
            }
        inside = _within(scans, window.first, window.past, asked.bots)
        grid = [[0] * 24 for _ in range(7)]
        for scan in inside:
            shown = clock(asked.timezone, scan.quarter)
            grid[shown.weekday()][shown.hour] += 1
        return {
            "code": code,
            "scans": len(people),
            "unique": _unique(people),
            "bots": len(scans) - len(people),
            "first_scan_at": min((scan.at for scan in people), default=None),
            "last_scan_at": max((scan.at for scan in people), default=None),
            "recent": recent,
            "window": {
                **window.instants(),
                "timezone": asked.timezone,
                "total": len(inside),
                "unique": _unique(inside),
                "by": {dimension: _shares(inside, dimension) for dimension in DIMENSIONS},
                "weekdays": grid,
            },
        }

    def _of(self, organization: UUID, code: UUID | None) -> list[Seen]:
        return [
            scan
            for scan in self.scans
            if scan.organization == organization and code in (None, scan.code)
        ]

    def _points(self, scans: list[Seen], window: Stretch, bots: str) -> dict[str, Any]:
        starts = window.starts()
        counts = [[0, 0] for _ in starts]
        for scan in _within(scans, window.first, window.past, bots):
            count = counts[bisect_right(starts, scan.quarter) - 1]
            count[0] += 1
            count[1] += scan.unique
        return {
            **window.instants(),
            "total": sum(scanned for scanned, _ in counts),
            "unique": sum(unique for _, unique in counts),
            "points": [
                (written(window.zone, start), *count)
                for start, count in zip(starts, counts, strict=True)
            ],
        }

    def _windows(
        self, scans: list[Seen], asked: Any, now: datetime
    ) -> tuple[Stretch, Stretch | None]:
        zone = asked.timezone
        if asked.start is not None:
            return self._own(zone, asked.start, asked.end, asked.interval)
        period = asked.period or "7d"
        interval = asked.interval or PERIODS[period][0]
        if interval not in PERIODS[period]:
            raise RefusedError("interval")
        counted = [scan for scan in scans if asked.bots != "exclude" or not scan.bot]
        span, before = self._named(counted, period, zone, now)
        window = Stretch(zone, *span, interval)
        if len(window.starts()) > self.max_points:
            raise RefusedError("interval")
        return window, None if before is None else Stretch(zone, *before, interval)

    def _named(
        self, scans: list[Seen], period: str, zone: str, now: datetime
    ) -> tuple[tuple[int, int], tuple[int, int] | None]:
        if period == "24h":
            span = hours_until(zone, quarter_of(now), 24)
            return span, hours_until(zone, span[0] - 1, 24)
        today = now.astimezone(ZoneInfo(zone)).date()
        first = today
        if period in TO_DATE:
            first = _beginning(today, TO_DATE[period])
            end = _beginning(first - DAY, TO_DATE[period])
            before, days = begins(zone, end), (today - first).days + 1
            while days and end < first:
                end, days = end + DAY, days - 1
            return (begins(zone, first), begins(zone, today + DAY)), (before, begins(zone, end))
        if period == "all":
            if scans:
                # The first scan tells no more than its quarter hour, where bots count.
                earliest = min(scan.quarter for scan in scans)
                first = min(today, clock(zone, earliest).date())
            return (begins(zone, first), begins(zone, today + DAY)), None
        if period == "yesterday":
            first = today = today - DAY
        elif period == "1y":
            # On a 29th of February, which the year before has not, it is the 28th.
            date_before = (
                (2, 28) if today.month == 2 and today.day > 28 else (today.month, today.day)
            )
            first = today - 2 * DAY
            while (first.month, first.day) != date_before:
                first -= DAY
            first += DAY
        elif period != "today":
            first = today - (int(period.removesuffix("d")) - 1) * DAY
        span = begins(zone, first), begins(zone, today + DAY)
        return span, as_many_days_before(zone, *span)

    def _own(
        self, zone: str, start: str, end: str, interval: str | None
    ) -> tuple[Stretch, Stretch]:
        first, past = (
            quarter_of(datetime.fromisoformat(text))
            if "T" in text
            else begins(zone, date.fromisoformat(text))
            for text in (start, end)
        )
        if past <= first:
            raise RefusedError("end")
        fitting = [
            kind
            for kind in INTERVALS
            if len(bucket_starts(zone, first, past, kind)) <= self.max_points
        ]
        if interval is None:
            usual = INTERVALS.index(_usual(zone, first, past))
            interval = next(kind for kind in INTERVALS[usual:] if kind in fitting)
        if interval not in fitting:
            raise RefusedError("interval")
        before = 2 * first - past, first
        earliest, latest = days_of(zone, first, past)
        if (begins(zone, earliest), begins(zone, latest + DAY)) == (first, past):
            before = as_many_days_before(zone, first, past)
        return Stretch(zone, first, past, interval), Stretch(zone, *before, interval)


def _beginning(day: date, months: Iterable[int]) -> date:
    while day.day != 1 or day.month not in months:
        day -= DAY
    return day


def _usual(zone: str, first: int, past: int) -> str:
    start = clock(zone, first).date()
    two_years = date(start.year + 2, 3, 1)
    if (start.month, start.day) != (2, 29):
        two_years = start.replace(year=start.year + 2)
    into_day = first - begins(zone, start)
    for kind, day in (("hour", start + 2 * DAY), ("day", start + 100 * DAY), ("week", two_years)):
        if past <= begins(zone, day) + into_day:
            return kind
    return "month"


def _within(scans: list[Seen], first: int, past: int, bots: str) -> list[Seen]:
    wanted = {"exclude": (False,), "only": (True,), "include": (False, True)}[bots]
    return [scan for scan in scans if first <= scan.quarter < past and scan.bot in wanted]


def _unique(scans: list[Seen]) -> int:
    return sum(scan.unique for scan in scans)


def _shares(scans: list[Seen], dimension: str) -> list[tuple[str, int, int]]:
    """Values with all and unique scans, the most frequent first and then by their names."""
    counts: dict[str, list[int]] = {}
    for scan in scans:
        count = counts.setdefault(scan.values[dimension], [0, 0])
        count[0] += 1
        count[1] += scan.unique
    shares = [(value, *count) for value, count in counts.items()]
    return sorted(shares, key=lambda share: (-share[1], share[0]))
