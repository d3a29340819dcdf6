"""Every number of timelines and statistics, held to a recount of the scans, one by one.

The scans lie where mistakes would: in each quarter hour of some days around a change of clocks, at
the ends of months and years, and as many days before as periods are long, to the microsecond. Each
run asks from every time zone at least once. `QUIETZONE_ORACLE=full` asks much more, from every zone
at every time, and `QUIETZONE_ORACLE=full:7` the same with other chances:

    QUIETZONE_ORACLE=full .venv/bin/python -m pytest tests/contract/test_scan_numbers.py
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import asdict, replace

from core.api import Bots, Dimension, Interval, Scan
from core.errors import InvalidFields
from core.services.statistics import Selection, Statistics
from core.settings import ScansSettings
from plugins.periods import calendar, rolling
from tests.contract.recount import PERIODS, Recount, RefusedError
from tests.contract.test_scan_stores import add_code, add_organization
from tests.servers import Backend
from tests.unit.zones import ZONES

DAY = timedelta(days=1)
QUARTER = timedelta(minutes=15)
TICK = timedelta(microseconds=1)

MODE, _, SEED = os.environ.get("QUIETZONE_ORACLE", "").partition(":")
FULL = MODE == "full"

ERAS = {
    "Kathmandu moves by a quarter hour": ("1986-01-01T00:00Z", "Asia/Kathmandu"),
    "Kiritimati skips a day": ("1994-12-31T10:00Z", "Pacific/Kiritimati"),
    "Newfoundland changes at 00:01": ("2010-11-07T03:00Z", "America/St_Johns"),
    "Goose Bay changes at 00:01": ("2011-03-13T04:00Z", "America/Goose_Bay"),
    "Apia skips a day": ("2011-12-30T10:00Z", "Pacific/Apia"),
    "Pyongyang moves by half an hour": ("2018-05-04T15:00Z", "Asia/Pyongyang"),
    "Casey moves by three hours": ("2020-10-03T16:00Z", "Antarctica/Casey"),
    "a leap day": ("2024-02-29T12:00Z", "UTC"),
    "a year ends": ("2025-12-31T20:00Z", "Asia/Kolkata"),
    "summer begins in Europe": ("2026-03-29T01:00Z", "Europe/Berlin"),
    "winter begins in Australia": ("2026-04-04T15:00Z", "Australia/Lord_Howe"),
    "Santiago skips midnight": ("2026-09-06T04:00Z", "America/Santiago"),
    "Havana repeats midnight": ("2026-11-01T05:00Z", "America/Havana"),
    "a leap day to come": ("2044-02-29T12:00Z", "Pacific/Chatham"),
}
"""When something happens to the calendar or the clocks, and a zone where it is felt."""

SHORT = [
    (period, kind) for period in ("7d", "24h", "today", "yesterday") for kind in PERIODS[period]
]
"""The windows that are cheap to recount."""

AGES = (1, 2, 6, 7, 8, 13, 14, 29, 30, 31, 59, 60, 89, 90, 91, 180, 364, 365, 366, 730, 731)

VALUES = {
    "country": ("", "DE", "FR", "JP"),
    "device": ("", "mobile", "tablet", "desktop"),
    "os": ("", "iOS", "Android"),
    "browser": ("", "Safari", "Chrome", "Firefox"),
    "language": ("", "de", "fr", "pt"),
    "referrer": ("", "example.com", "(other)", "münchen.example"),
}


@cache
def distinct_zones(era: str) -> list[str]:
    """One zone of each kind that there is in the two years before, and the special one."""
    centre, special = ERAS[era]
    days = [datetime.fromisoformat(centre) - n * 5 * DAY for n in range(-4, 150)]
    kinds: dict[Any, str] = {}
    for zone in (special, *ZONES):
        timezone = ZoneInfo(zone)
        kinds.setdefault(tuple(day.astimezone(timezone).utcoffset() for day in days), zone)
    return list(kinds.values())


class Trial:
    """An organisation with its scans, asked and recounted."""

    def __init__(self, backend: Backend, era: str, busy: int) -> None:
        centre, self.special = ERAS[era]
        self.centre = datetime.fromisoformat(centre)
        self.chance = random.Random(f"{era} {SEED}")
        self.max_points = self.chance.choice((400, 1000))
        self.recount = Recount(self.max_points)
        self.organization = add_organization(backend).id
        foreign = add_organization(backend).id
        codes = [add_code(backend, self.organization) for _ in range(4)]
        stranger = add_code(backend, foreign)
        self.doomed = codes.pop()
        self.subjects: list[UUID | None] = [None, None, *(code.id for code in codes)]
        # A code whose only scans are those of bots, one that is deleted, and one of somebody else.
        self.machine = codes[-1].id
        self.subjects += [self.doomed.id, stranger.id]
        batches = list(self._batches([*codes, self.doomed, stranger], busy))
        for n, batch in enumerate(batches):
            if n == len(batches) // 2:
                assert backend.storage.codes.delete(self.organization, self.doomed.id)
                self.recount.delete(self.doomed.id)
            backend.scans.append(batch)
            self.recount.append(batch)
        # The numbers must not need the single scans.
        while backend.scans.tidy(self.centre.date() + 9 * DAY, self.centre + 9 * DAY, 9999):
            pass
        self.now = self.centre
        self.statistics = Statistics(
            backend.scans,
            {**rolling.qz_periods(), **calendar.qz_periods()},
            ScansSettings(max_points=self.max_points),
            lambda: self.now,
        )

    def _batches(self, codes: list[Any], busy: int) -> Iterator[list[Scan]]:
        scans = [self._scan(codes, moment) for moment in self._moments(busy)]
        # More referrers on one day than are told apart.
        spam = self.centre - 5 * DAY
        for n in range(230):
            at = spam.replace(hour=n % 24, minute=n % 60)
            referrer = f"{n % 215:03}.example"
            scans.append(replace(self._scan(codes[:3], at), referrer=referrer))
        # They come about in the order of their times, and some come late.
        scans.sort(key=lambda scan: scan.at)
        for _ in range(len(scans) // 10):
            scans.append(scans.pop(self.chance.randrange(len(scans))))
        while scans:
            size = self.chance.choice((1, 20, 150, 150, 400))
            yield scans[:size]
            scans = scans[size:]

    def _moments(self, busy: int) -> Iterator[datetime]:
        chance, midnight = self.chance, self.centre.replace(hour=0)
        for n in range(-96, 2 * 96):
            yield midnight + n * QUARTER + self._jitter()
        ends = [
            date(self.centre.year - back, month, 1) for back in (0, 1, 2) for month in range(1, 13)
        ]
        for _ in range(busy):
            kind = chance.randrange(4)
            if kind == 0:
                day = midnight - chance.randrange(800) * DAY
            elif kind == 1:
                day = datetime.combine(chance.choice(ends), datetime.min.time(), UTC)
            else:
                day = midnight - chance.choice(AGES) * DAY
            yield day + chance.randrange(-60, 120) * QUARTER + self._jitter()

    def _jitter(self) -> timedelta:
        within = timedelta(microseconds=self.chance.randrange(900_000_000))
        return self.chance.choice((timedelta(), -TICK, TICK, within))

    def _scan(self, codes: list[Any], at: datetime) -> Scan:
        chance = self.chance
        code = chance.choice(codes)
        return Scan(
            code_id=code.id,
            organization_id=code.organization_id,
            at=at,
            visitor=None if chance.random() < 0.2 else b"visitor %d" % chance.randrange(12),
            bot=code.id == self.machine or chance.random() < 0.25,
            **{name: chance.choice(values) for name, values in VALUES.items()},
        )

    def pick_now(self, zone: str) -> None:
        """Some moment around the centre, often just when a quarter hour, hour or day begins."""
        chance = self.chance
        midnight = self.centre.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0)
        moment = chance.choice(
            (
                self.centre + chance.randrange(-120, 120) * QUARTER,
                midnight.astimezone(UTC) + chance.randrange(-1, 3) * DAY,
            )
        )
        self.now = moment + self._jitter()

    def own_window(self) -> tuple[str, str]:
        """Two dates, or two times, or one of each; sometimes in the wrong order."""
        chance = self.chance
        day = self.centre - chance.choice((0, 1, 2, 30, 365)) * DAY
        lengths = (1, 1, 2, 2, 3, 7, 99, 100, 101, 365, 366, 730, 731, 732)
        if FULL:
            lengths += (1500, 3400)
        start, end = day - chance.choice(lengths) * DAY, day
        if chance.random() < 0.5:
            return start.date().isoformat(), end.date().isoformat()
        # Between two times, the lengths at which the usual interval changes are left out.
        span = chance.choice((1, 3, 96, 150, 9000, 50000)) + chance.randrange(30)
        start = end - span * QUARTER + chance.choice((timedelta(), timedelta(), span * 2 * QUARTER))
        zones = [ZoneInfo(chance.choice(("UTC", self.special, "Asia/Kathmandu"))) for _ in range(2)]
        return start.astimezone(zones[0]).isoformat(), end.astimezone(zones[1]).isoformat()

    def check(self, code: UUID | None, selection: Selection, *, stats: bool) -> str:
        """Ask, recount, and compare; how it was answered."""
        case = f"{selection} of {code} at {self.now.isoformat()}, {self.max_points} points at most"
        try:
            expected = self.recount.timeline(self.organization, code, selection, self.now, True)
        except RefusedError as error:
            (field,) = error.args
            return self._check_refusal(code, selection, field, case)
        found = plain(
            self.statistics.timeline(self.organization, code, selection, compare=True), expected
        )
        assert found == expected, case
        if stats:
            expected_stats = self.recount.stats(self.organization, code, selection, self.now)
            answer = self.statistics.stats(self.organization, code, selection)
            assert plain(answer, expected_stats) == expected_stats, case
            window = answer.window
            assert (window.total, window.unique) == (found["total"], found["unique"]), case
            assert sum(map(sum, window.weekdays)) == window.total, case
            for shares in window.by.values():
                assert sum(share.scans for share in shares) == window.total, case
                assert sum(share.unique for share in shares) == window.unique, case
        return "some" if found["total"] else "none"

    def _check_refusal(self, code: UUID | None, selection: Selection, field: str, case: str) -> str:
        for ask in (self.statistics.timeline, self.statistics.stats):
            with pytest.raises(InvalidFields) as raised:
                ask(self.organization, code, selection)
            assert [problem.field for problem in raised.value.problems] == [field], case
        return "refused"


def plain(value: Any, expected: Any = None, key: str = "") -> Any:
    """An answer as the recount gives it; a growth that is right becomes its two numbers."""
    if key == "change":
        return expected if is_growth(value, *expected) else value
    if hasattr(value, "__struct_fields__"):
        if value.__struct_fields__ in (("value", "scans", "unique"), ("start", "scans", "unique")):
            return tuple(plain(item) for item in asdict(value).values())
        value = asdict(value)
    if isinstance(value, dict):
        told = expected if isinstance(expected, dict) else {}
        return {
            str(name): plain(item, told.get(name), name)
            for name, item in value.items()
            # It is a matter of when something was stored, which no recount of scans can tell.
            if name != "updated_at"
        }
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) and key not in MOMENTS else value


MOMENTS = ("first_scan_at", "last_scan_at")


def is_growth(change: float | None, before: int, after: int) -> bool:
    if not before or change is None:
        return not before and change is None
    exact = Fraction(after - before, before)
    return change == round(change, 4) and abs(Fraction(change) - exact) <= Fraction("0.00005000001")


@pytest.mark.parametrize("era", ERAS)
def test_every_number_is_what_a_recount_gives(backend: Backend, era: str) -> None:
    sqlite = backend.name == "sqlite"
    trial = Trial(backend, era, 250 if sqlite else 60)
    chance = trial.chance
    zones = distinct_zones(era)
    answers = []
    for n in range(400):
        if n >= (400 if FULL else 8 if sqlite else 3) and "some" in answers:
            break
        zone = trial.special if n % 3 == 0 else chance.choice(zones)
        trial.pick_now(zone)
        period, start, end = chance.choice([None, *PERIODS]), None, None
        if chance.random() < 0.35:
            period, (start, end) = None, trial.own_window()
        kinds = PERIODS[period or "7d"] if start is None else tuple(Interval)
        chosen = chance.choice((None, *kinds, chance.choice(tuple(Interval))))
        selection = Selection(
            period=period,
            start=start,
            end=end,
            interval=None if chosen is None else Interval(chosen),
            timezone=zone,
            bots=chance.choice(tuple(Bots)),
        )
        answers.append(trial.check(chance.choice(trial.subjects), selection, stats=n % 2 == 0))
    assert "some" in answers


def test_every_number_is_right_in_every_zone(backend: Backend) -> None:
    eras, chance = list(ERAS), random.Random(f"zones {SEED}")
    chance.shuffle(eras)
    names = list(ZONES)
    chance.shuffle(names)
    for n, era in enumerate(eras):
        if FULL:
            zones = names
        elif backend.name == "sqlite":
            zones = names[n :: len(eras)]
        else:
            zones = distinct_zones(era)[n :: len(eras)]
        trial = Trial(backend, era, 20)
        for m, zone in enumerate(zones):
            trial.pick_now(zone)
            period, interval = chance.choice(SHORT)
            bots = chance.choice(tuple(Bots))
            selection = Selection(period, None, None, Interval(interval), zone, bots)
            trial.check(chance.choice(trial.subjects), selection, stats=m % 4 == 0)


def test_the_recount_knows_the_dimensions_and_periods_that_there_are() -> None:
    offered = {**rolling.qz_periods(), **calendar.qz_periods()}
    assert {name: tuple(period.intervals) for name, period in offered.items()} == PERIODS
    assert [*Dimension] == [*VALUES]


def test_scans_on_both_sides_of_a_change_within_an_hour_are_told_apart(backend: Backend) -> None:
    code = add_code(backend, add_organization(backend).id)
    # The clocks of Casey went from 00:01 to 03:01, at 16:01 in UTC.
    change = datetime(2020, 10, 3, 16, tzinfo=UTC)
    moments = [change, *(change + n * QUARTER for n in (1, 3, 3))]
    backend.scans.append([Scan(code.id, code.organization_id, at, None, False) for at in moments])
    periods = {**rolling.qz_periods(), **calendar.qz_periods()}
    statistics = Statistics(backend.scans, periods, ScansSettings(), lambda: change)
    sunday = Selection(start="2020-10-04", end="2020-10-05", timezone="Antarctica/Casey")

    weekdays = statistics.stats(code.organization_id, None, sunday).window.weekdays

    assert weekdays[6][:5] == (1, 0, 0, 3, 0)
    assert sum(map(sum, weekdays)) == 4
