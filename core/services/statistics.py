"""Timelines and totals of a code, or of all of an organisation's codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from itertools import pairwise
from operator import add
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from msgspec import Struct
from msgspec.structs import astuple

from core.domain.codes import Instant
from core.domain.periods import Interval, Window, between, parse_end
from core.domain.scans import (
    SLOT,
    SLOTS_A_DAY,
    Bots,
    Dimension,
    RecordedScan,
    Span,
    quarter_of,
    slot_of,
)
from core.errors import FieldProblem, InvalidFields
from core.ports import Period, ScanStore
from core.settings import ScansSettings

_RECENT = {"today": 1, "7d": 7, "30d": 30}
_QUARTER = SLOT // timedelta(seconds=1)
_DAY = 86_400
_USUAL_PERIOD = "7d"


class Selection(Struct, frozen=True):
    """Which window is asked for, and which scans of it.

    `period` names a window; `start` and `end` give one of one's own, as dates (2026-03-29: the
    beginning of that day in `timezone`) or as points in time with an offset. Without any of them
    the period is `7d`.
    """

    period: str | None = None
    start: str | None = None
    end: str | None = None
    interval: Interval | None = None
    timezone: str = "UTC"
    bots: Bots = Bots.EXCLUDE


class Point(Struct, frozen=True):
    """One bucket of a timeline; `start` carries the zone's offset of that moment."""

    start: Instant
    scans: int
    unique: int


class Previous(Struct, frozen=True):
    """The window that a timeline is compared with: the one before it, of the same kind.

    `change` is the growth of `total`, 0.5 for half as much again; null where there was nothing.
    """

    start: Instant
    end: Instant
    total: int
    unique: int
    change: float | None
    points: tuple[Point, ...]


class Timeline(Struct, frozen=True):
    """Counts over a half-open window [start, end), a point for every bucket, zeros included.

    `code` is None where all codes of an organisation are meant, `period` where the window has no
    name, and `previous` where no comparison was asked for, or the window has nothing before it.
    """

    code: UUID | None
    period: str | None
    interval: Interval
    timezone: str
    start: Instant
    end: Instant
    total: int
    unique: int
    points: tuple[Point, ...]
    previous: Previous | None
    updated_at: Instant | None


class Recent(Struct, frozen=True):
    """The scans of so many days, today included, and their growth over as many days before."""

    scans: int
    unique: int
    change: float | None


class Share(Struct, frozen=True):
    """The scans of one value of a dimension; "" is what is not known."""

    value: str
    scans: int
    unique: int


class Breakdown(Struct, frozen=True):
    """The scans of a window by what is known of them; each part adds up to `total`.

    `weekdays` has seven rows from Monday on, each with 24 hours, by the clocks of `timezone`.
    """

    start: Instant
    end: Instant
    timezone: str
    total: int
    unique: int
    by: dict[Dimension, tuple[Share, ...]]
    weekdays: tuple[tuple[int, ...], ...]


class Stats(Struct, frozen=True):
    """What has been counted so far, lately, and in one window.

    All-time numbers leave bots out, apart from `bots`; the others are of what was asked for.
    """

    code: UUID | None
    scans: int
    unique: int
    bots: int
    first_scan_at: Instant | None
    last_scan_at: Instant | None
    recent: dict[str, Recent]
    window: Breakdown
    updated_at: Instant | None


class Statistics:
    """Answers from the scan store, bucketed in the zone of whoever asks."""

    def __init__(
        self,
        store: ScanStore,
        periods: Mapping[str, Period],
        settings: ScansSettings,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._periods = periods
        self._settings = settings
        self._clock = clock

    def timeline(
        self,
        organization_id: UUID,
        code_id: UUID | None,
        selection: Selection,
        *,
        compare: bool = False,
    ) -> Timeline:
        """The timeline of one code or of all, in the buckets of the window unless told otherwise.

        Raises InvalidFields for an unknown name, for an interval that the window has not, and for
        more points than the settings allow.
        """
        now = self._clock()
        with self._store.snapshot():
            changed = self._store.generation(organization_id, code_id)
            window, before = self._windows(organization_id, code_id, selection, now)
            points = self._points(organization_id, code_id, window, selection.bots)
            earlier: tuple[Point, ...] | None = None
            if compare and before is not None:
                earlier = self._points(organization_id, code_id, before, selection.bots)
        total = sum(point.scans for point in points)
        previous = None
        if before is not None and earlier is not None:
            scans = sum(point.scans for point in earlier)
            previous = Previous(
                start=before.start_at,
                end=before.end_at,
                total=scans,
                unique=sum(point.unique for point in earlier),
                change=_growth(total, scans),
                points=earlier,
            )
        named = selection.start is None and selection.end is None
        return Timeline(
            code=code_id,
            period=selection.period or (_USUAL_PERIOD if named else None),
            interval=window.interval,
            timezone=selection.timezone,
            start=window.start_at,
            end=window.end_at,
            total=total,
            unique=sum(point.unique for point in points),
            points=points,
            previous=previous,
            updated_at=changed.at,
        )

    def as_of_now(self, selection: Selection) -> tuple[object, ...]:
        """What an answer depends on, besides counts: the question, and what the time makes of it.

        Equal at two moments where today is the same day, and a named period the same window.
        """
        asked: tuple[object, ...] = astuple(selection)
        if selection.timezone not in _zones():
            return asked
        now, zone = self._clock(), ZoneInfo(selection.timezone)
        asked = (*asked, now.astimezone(zone).date())
        period = self._periods.get(selection.period or _USUAL_PERIOD)
        if period is None or (selection.interval or period.intervals[0]) not in period.intervals:
            return asked
        window = period.window(now, zone, None, selection.interval)
        return (*asked, window.start_at, window.end_at)

    def _windows(
        self,
        organization_id: UUID,
        code_id: UUID | None,
        selection: Selection,
        now: datetime,
    ) -> tuple[Window, Window | None]:
        """The window, and the one that it is compared with."""
        problems: list[FieldProblem] = []
        zone = _zone(selection.timezone, problems)
        if selection.start is not None or selection.end is not None:
            if selection.period is not None:
                reason = "start and end give a window already; leave one of them out"
                problems.append(FieldProblem("period", reason))
            start = _end("start", selection.start, problems)
            end = _end("end", selection.end, problems)
            if problems or zone is None or start is None or end is None:
                raise InvalidFields(problems)
            window = between(start, end, zone, selection.interval, self._settings.max_points)
            return window, window.previous()
        name = _USUAL_PERIOD if selection.period is None else selection.period
        interval = selection.interval
        period = self._periods.get(name)
        if period is None:
            reason = f"{name!r} is unknown; enabled are: {', '.join(self._periods)}"
            problems.append(FieldProblem("period", reason))
        elif interval is not None and interval not in period.intervals:
            reason = (
                f"{name!r} has no points of {interval.value!r}; "
                f"write one of: {', '.join(period.intervals)}"
            )
            problems.append(FieldProblem("interval", reason))
        if problems or zone is None or period is None:
            raise InvalidFields(problems)
        totals = self._store.totals(organization_id, code_id)
        first = totals.first_scan_at if selection.bots is Bots.EXCLUDE else totals.since
        window = period.window(now, zone, first, interval)
        most = self._settings.max_points
        if window.exceeds(most):
            fitting = [
                other
                for other in period.intervals
                if not period.window(now, zone, first, other).exceeds(most)
            ]
            way_out = f"write {' or '.join(fitting)}" if fitting else "choose a shorter period"
            raise InvalidFields.of(
                "interval" if fitting else "period",
                f"{window.interval.value!r} gives more than {most} points (setting "
                f"scans.max_points); {way_out}",
            )
        return window, period.previous(window)

    def _points(
        self, organization_id: UUID, code_id: UUID | None, window: Window, bots: Bots
    ) -> tuple[Point, ...]:
        starts = window.starts()
        edges = [quarter_of(moment) for moment in (*starts, window.end_at)]
        spans = list(pairwise(map(slot_of, edges)))
        counts = self._store.counts(organization_id, code_id, spans)
        return tuple(
            Point(start, *count.of(bots)) for start, count in zip(starts, counts, strict=True)
        )

    def latest(
        self, code_id: UUID, before: tuple[datetime, int] | None, limit: int
    ) -> Sequence[RecordedScan]:
        """The newest scans of a code, or those that precede a certain one."""
        return self._store.latest(code_id, before, limit)

    def stats(self, organization_id: UUID, code_id: UUID | None, selection: Selection) -> Stats:
        """The numbers of one code or of all; raises InvalidFields as `timeline` does."""
        now = self._clock()
        with self._store.snapshot():
            changed = self._store.generation(organization_id, code_id)
            window, _ = self._windows(organization_id, code_id, selection, now)
            totals = self._store.totals(organization_id, code_id)
            recent = self._recent(organization_id, code_id, window.timezone, selection.bots, now)
            breakdown = self._breakdown(organization_id, code_id, window, selection)
        return Stats(
            code=code_id,
            scans=totals.scans,
            unique=totals.unique,
            bots=totals.bots,
            first_scan_at=totals.first_scan_at,
            last_scan_at=totals.last_scan_at,
            recent=recent,
            window=breakdown,
            updated_at=changed.at,
        )

    def _recent(
        self,
        organization_id: UUID,
        code_id: UUID | None,
        zone: ZoneInfo,
        bots: Bots,
        now: datetime,
    ) -> dict[str, Recent]:
        tomorrow = now.astimezone(zone).date() + timedelta(days=1)
        spans = []
        for days in _RECENT.values():
            window = Window.days(tomorrow - timedelta(days=days), tomorrow, zone)
            spans += [_span(window), _span(window.previous())]
        counts = [count.of(bots) for count in self._store.counts(organization_id, code_id, spans)]
        return {
            name: Recent(scans, unique, _growth(scans, before))
            for name, (scans, unique), (before, _) in zip(
                _RECENT, counts[::2], counts[1::2], strict=True
            )
        }

    def _breakdown(
        self,
        organization_id: UUID,
        code_id: UUID | None,
        window: Window,
        selection: Selection,
    ) -> Breakdown:
        span, bots = _span(window), selection.bots
        (count,) = self._store.counts(organization_id, code_id, [span])
        total, unique = count.of(bots)
        by: dict[Dimension, tuple[Share, ...]] = {}
        for dimension, found in self._store.breakdowns(organization_id, code_id, span).items():
            shares = [Share(value, *counted.of(bots)) for value, counted in found.items()]
            by[dimension] = tuple(
                sorted((s for s in shares if s.scans), key=lambda s: (-s.scans, s.value))
            )
        return Breakdown(
            start=window.start_at,
            end=window.end_at,
            timezone=selection.timezone,
            total=total,
            unique=unique,
            by=by,
            weekdays=self._weekdays(organization_id, code_id, window, bots),
        )

    def _weekdays(
        self, organization_id: UUID, code_id: UUID | None, window: Window, bots: Bots
    ) -> tuple[tuple[int, ...], ...]:
        zone = window.timezone
        # PERF: the days of a year have a handful of weekdays and offsets in common.
        alike: dict[tuple[int, int], list[int]] = {}
        grid = [[0] * 24 for _ in range(7)]

        def put(second: int, scans: int) -> None:
            # The first of January 1970 was a Thursday.
            grid[(second // _DAY + 3) % 7][second // 3600 % 24] += scans

        for day in self._store.days(organization_id, code_id, _span(window)):
            scans, offset = day.of(bots), _offset_of_day(day.slot, zone)
            if offset is None:
                for slot, count in enumerate(scans, day.slot):
                    put(slot * _QUARTER + _offset(slot, zone), count)
                continue
            key = day.slot // SLOTS_A_DAY % 7, offset
            alike[key] = list(map(add, alike[key], scans)) if key in alike else list(scans)
        for (weekday, offset), scans in alike.items():
            for n, count in enumerate(scans):
                put(weekday * _DAY + n * _QUARTER + offset, count)
        return tuple(map(tuple, grid))


def _zone(name: str, problems: list[FieldProblem]) -> ZoneInfo | None:
    if name in _zones():
        return ZoneInfo(name)
    reason = f"{name!r} is not an IANA time zone; write it as Europe/Berlin or UTC"
    problems.append(FieldProblem("timezone", reason))
    return None


def _end(field: str, text: str | None, problems: list[FieldProblem]) -> date | None:
    """One end of a window of one's own, or None and one problem more."""
    try:
        if text is not None:
            return parse_end(text)
        reason = "is required beside the other end; write a date such as 2026-03-29"
    except ValueError as error:
        reason = str(error)
    problems.append(FieldProblem(field, reason))
    return None


# PERF: whoever looks at a year asks for the same days again.
@lru_cache(maxsize=8192)
def _offset_of_day(slot: int, zone: ZoneInfo) -> int | None:
    """The zone's offset from UTC on the day that begins there; None where the clocks change."""
    first, last = _offset(slot, zone), _offset(slot + SLOTS_A_DAY - 1, zone)
    return first if first == last else None


def _offset(slot: int, zone: ZoneInfo) -> int:
    """The zone's offset from UTC in that quarter hour, in seconds."""
    offset = datetime.fromtimestamp(slot * _QUARTER, zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _span(window: Window) -> Span:
    return slot_of(quarter_of(window.start_at)), slot_of(quarter_of(window.end_at))


def _growth(scans: int, before: int) -> float | None:
    return round((scans - before) / before, 4) if before else None


@cache
def _zones() -> frozenset[str]:
    # Two names in the database are no zones of their own: what they mean depends on the machine.
    return frozenset(available_timezones() - {"localtime", "Factory"})
