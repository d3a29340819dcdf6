"""Timelines and totals of a code, or of all of an organisation's codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import pairwise
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from msgspec import Struct

from core.domain.periods import Interval
from core.domain.scans import Bots, RecordedScan, Totals, quarter_of, slot_of
from core.errors import InvalidFields
from core.ports import Period, ScanStore


class Point(Struct, frozen=True):
    """One bucket of a timeline; `start` carries the zone's offset of that moment."""

    start: datetime
    scans: int
    unique: int


class Timeline(Struct, frozen=True):
    """Counts over a half-open window [start, end), a point for every bucket, zeros included.

    `code` is None where all codes of an organisation are meant.
    """

    code: UUID | None
    period: str
    interval: Interval
    timezone: str
    start: datetime
    end: datetime
    total: int
    unique: int
    points: tuple[Point, ...]
    updated_at: datetime


class Statistics:
    """Answers from the scan store, bucketed in the zone of whoever asks."""

    def __init__(
        self,
        store: ScanStore,
        periods: Mapping[str, Period],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._periods = periods
        self._clock = clock

    def timeline(
        self,
        organization_id: UUID,
        code_id: UUID | None,
        period: str,
        timezone: str,
        bots: Bots,
        interval: Interval | None = None,
    ) -> Timeline:
        """The timeline of one code or of all, in the buckets of the period unless told otherwise.

        Raises InvalidFields for an unknown name, and for an interval that the period has not.
        """
        found = self._periods.get(period)
        if found is None:
            raise InvalidFields.of(
                "period", f"{period!r} is unknown; enabled are: {', '.join(self._periods)}"
            )
        if interval is not None and interval not in found.intervals:
            raise InvalidFields.of(
                "interval",
                f"{period!r} has no points of {interval.value!r}; "
                f"write one of: {', '.join(found.intervals)}",
            )
        zone = self._zone(timezone)
        first = self._store.totals(organization_id, code_id).first_scan_at
        now = self._clock()
        window = found.window(now, zone, first, interval)
        starts = window.starts()
        edges = [quarter_of(moment) for moment in (*starts, window.end_at)]
        spans = list(pairwise(map(slot_of, edges)))
        counts = self._store.counts(organization_id, code_id, spans)
        scans, unique = zip(*(count.of(bots) for count in counts), strict=True)
        return Timeline(
            code=code_id,
            period=period,
            interval=window.interval,
            timezone=timezone,
            start=window.start_at,
            end=window.end_at,
            total=sum(scans),
            unique=sum(unique),
            points=tuple(map(Point, starts, scans, unique)),
            updated_at=now,
        )

    def latest(
        self, code_id: UUID, before: tuple[datetime, int] | None, limit: int
    ) -> Sequence[RecordedScan]:
        """The newest scans of a code, or those that precede a certain one."""
        return self._store.latest(code_id, before, limit)

    def totals(self, organization_id: UUID, code_id: UUID | None) -> Totals:
        """Everything counted so far."""
        return self._store.totals(organization_id, code_id)

    def _zone(self, name: str) -> ZoneInfo:
        if name not in _zones():
            raise InvalidFields.of(
                "timezone", f"{name!r} is not an IANA time zone; write it as Europe/Berlin or UTC"
            )
        return ZoneInfo(name)


@cache
def _zones() -> frozenset[str]:
    # Two names in the database are no zones of their own: what they mean depends on the machine.
    return frozenset(available_timezones() - {"localtime", "Factory"})
