"""The benchmark of statistics: how long the numbers of many scans take, and how fast scans drain.

A year of scans of one code is stored through the same rollups that the drainer uses, once with few
and once with many of them; then every period's timeline and the statistics are asked for by turns.
A row shows the median and the 95th percentile in milliseconds. What a row has to reach stands in
`loadtests/targets.toml`; the exit code is 1 where one misses it. Run it from the root of the
repository; without PostgreSQL's programs only SQLite is measured:

    .venv/bin/python -m loadtests.analytics
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import accumulate, cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import click
import msgspec

from core.app import create_app
from core.domain.accounts import OrganizationDraft
from core.domain.audit import OPERATOR
from core.domain.codes import CodeDraft
from core.domain.scans import Visit, slot_of
from core.services import Services
from core.services.statistics import Selection
from core.settings import parse
from loadtests import targets
from loadtests.targets import Analytics
from plugins.storage.rollups import KNOWN, Combination, Rollups
from plugins.storage.scan_store import ADD_COUNTS, COUNT_COLUMNS, SCAN_COLUMNS
from tests.servers import Postgres

PERIODS = ("24h", "today", "yesterday", "7d", "mtd", "30d", "qtd", "90d", "ytd", "1y", "all")
LONG = ("30d", "1y", "all")
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu")

DAYS = 365
_QUARTERS = 96
_QUARTER = 900_000_000

# The drainer meets as many different visitors; each user agent is looked at once.
DRAINED = 100_000
USER_AGENTS = 300
CODES = 20


class Kind(msgspec.Struct, frozen=True):
    """Scans that look the same: how much of all they are, and what is known of them."""

    weight: float
    bot: bool
    unique: bool
    country: str
    device: str
    os: str
    browser: str
    language: str
    referrer: str


class Row(msgspec.Struct, frozen=True):
    """One measured question: its times in milliseconds."""

    database: str
    scans: int
    name: str
    times: Sequence[float]

    @property
    def median(self) -> float:
        """The time that half of them took at most."""
        return statistics.median(self.times)

    @property
    def p95(self) -> float:
        """The time that 95 of 100 took at most."""
        return statistics.quantiles(self.times, n=20)[-1]


def kinds(chance: random.Random) -> list[Kind]:
    """Some hundred kinds of scans, a few of them frequent, as on any real poster."""
    countries = ["DE", "FR", "US", "IT", "AT", "CH", "PL", "NL", "ES", "GB", "SE", "BE", "DK", ""]
    systems = [
        ("mobile", "iOS", "Safari"),
        ("mobile", "Android", "Chrome"),
        ("mobile", "Android", "Samsung Internet"),
        ("tablet", "iPadOS", "Safari"),
        ("desktop", "Windows", "Edge"),
        ("desktop", "Windows", "Firefox"),
        ("desktop", "macOS", "Safari"),
    ]
    languages = ["de", "fr", "en", "it", "pl", "nl", "es", "sv", "da", ""]
    referrers = ["", "", "", "www.example.org", "news.example.com", "m.example.net", "t.example"]
    return [
        Kind(
            1 / (n + 1),
            bot := chance.random() < 0.08,
            not bot and chance.random() < 0.6,
            chance.choice(countries),
            *chance.choice(systems),
            chance.choice(languages),
            chance.choice(referrers),
        )
        for n in range(400)
    ]


def seed(services: Services, organization: UUID, code: UUID, scans: int, now: datetime) -> None:
    """Store a year of scans, more by day than by night, a day in a transaction."""
    connections = services.scan_store._connections  # type: ignore[attr-defined]
    rollups, chance = Rollups(connections), random.Random(scans)
    # PERF: the text of a UUID is made anew each time that it is asked for.
    owner, subject = organization.hex, code.hex
    all_kinds = kinds(chance)
    tails = [(kind.bot, kind.unique, *KNOWN(kind)) for kind in all_kinds]
    weights = list(accumulate(kind.weight for kind in all_kinds))
    by_day = [1 + min(n, _QUARTERS - n) / 12 for n in range(_QUARTERS)]
    first = slot_of(now) // _QUARTERS * _QUARTERS - (DAYS - 1) * _QUARTERS
    ends = accumulate(cycle(by_day))
    whole = sum(by_day) * DAYS
    stored = 0

    def store(rows: list[tuple[Any, ...]], counted: dict[Combination, list[int]]) -> None:
        times = [row[2] for row in rows if not row[3]] or [None]
        sums = [sum(one) for one in zip(*counted.values(), strict=True)]
        total = (subject, owner, *sums, times[0], times[-1])
        with connections.transaction() as database:
            connections.insert_many(database, "scans", SCAN_COLUMNS, rows)
            rollups.add(database, counted)
            connections.insert_many(database, "code_counts", COUNT_COLUMNS, [total], ADD_COUNTS)

    # One day is made up while the one before is stored.
    storing: Future[None] | None = None
    with (
        ThreadPoolExecutor(1) as thread,
        click.progressbar(length=scans, label=f"seeding {scans:,} scans", file=sys.stderr) as bar,
    ):
        for day in range(first, first + DAYS * _QUARTERS, _QUARTERS):
            rows: list[tuple[Any, ...]] = []
            counted: dict[Combination, list[int]] = {}
            for slot in range(day, day + _QUARTERS):
                wanted = round(scans * next(ends) / whole) - stored - len(rows)
                chosen = chance.choices(range(len(tails)), cum_weights=weights, k=wanted)
                start, step = slot * _QUARTER, _QUARTER // max(wanted, 1)
                rows += [
                    (subject, owner, start + n * step, *tails[kind])
                    for n, kind in enumerate(chosen)
                ]
                for kind, times in Counter(chosen).items():
                    bot, unique, *known = tails[kind]
                    sums = counted.setdefault((owner, subject, slot, tuple(known)), [0, 0, 0])
                    sums[0] += times * (not bot)
                    sums[1] += times * unique
                    sums[2] += times * bot
            if storing is not None:
                storing.result()
            storing = thread.submit(store, rows, counted) if rows else None
            stored += len(rows)
            bar.update(len(rows))
        if storing is not None:
            storing.result()


def questions(
    services: Services, organization: UUID, code: UUID, rounds: int
) -> Iterator[tuple[str, list[float]]]:
    """Ask for each timeline and for the statistics by turns; names and times."""
    numbers, times = services.statistics, dict[str, list[float]]()

    def ask(name: str, question: Callable[..., object], *arguments: object) -> None:
        start = time.perf_counter()
        question(organization, *arguments)
        times.setdefault(name, []).append((time.perf_counter() - start) * 1000)

    for _ in range(rounds):
        for period in PERIODS:
            for zone in ZONES:
                selection = Selection(period=period, timezone=zone)
                ask(f"timeline {period} {zone}", numbers.timeline, code, selection)
        for period in LONG:
            selection = Selection(period=period, timezone=ZONES[1])
            ask(f"timeline {period} of all codes", numbers.timeline, None, selection)
            ask(f"stats {period}", numbers.stats, code, selection)
            ask(f"stats {period} of all codes", numbers.stats, None, selection)
    yield from times.items()


def drain_rate(services: Services) -> float:
    """How many scans a second the drainer stores, of visitors that it has not met before."""
    chance = random.Random(5)
    organization = services.organizations.found(
        OrganizationDraft("Harbour", "drained"), None, by=OPERATOR
    )
    draft = CodeDraft(destination="https://harbour.example")
    codes = [services.codes.create(organization.id, draft, by=OPERATOR) for _ in range(CODES)]
    now = datetime.now(UTC)
    for n in range(DRAINED):
        model = chance.randrange(USER_AGENTS)
        services.journal.record(
            Visit(
                code_id=chance.choice(codes).id,
                organization_id=organization.id,
                at=now + timedelta(microseconds=n),
                address=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}",
                user_agent=f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_{model} like Mac OS X) "
                "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
                language="de-DE,de;q=0.9",
                referrer="https://www.example.org/",
            )
        )
    start = time.perf_counter()
    drained = services.drainer.drain()
    return drained / (time.perf_counter() - start)


@contextmanager
def service(database: str, folder: Path) -> Iterator[Services]:
    """The services on an empty database."""
    tree: dict[str, Any] = {"service": {"data": str(folder)}}
    server = Postgres(durable=True) if database == "postgres" else None
    try:
        if server is not None:
            others = ["segno", "png", "svg", "shared_memory", "rolling", "calendar"]
            tree |= {
                "plugins": {"enabled": ["postgres", *others, "user_agent", "log"]},
                "storage": {"backend": "postgres"},
                "plugin": {"postgres": {"dsn": server.dsn(server.create_database())}},
            }
        services = create_app(parse(tree, {})).services
        services.open()
        services.storage.migrate()
        try:
            yield services
        finally:
            services.close()
    finally:
        if server is not None:
            server.stop()


def measure(database: str, scans: int, rounds: int) -> list[Row]:
    """Fill an empty database and measure it."""
    with TemporaryDirectory() as folder, service(database, Path(folder)) as services:
        now = datetime.now(UTC)
        organization = services.organizations.found(
            OrganizationDraft("Quay", "quay"), None, by=OPERATOR
        )
        code = services.codes.create(
            organization.id, CodeDraft(destination="https://a.example"), by=OPERATOR
        )
        start = time.perf_counter()
        seed(services, organization.id, code.id, scans, now)
        took = time.perf_counter() - start
        if database == "postgres":
            # As its own housekeeping does a minute later.
            with services.scan_store._connections.connection() as connection:  # type: ignore[attr-defined]
                connection.execute_sql("ANALYZE")
        rows = [Row(database, scans, "seeding", [took * 1000] * 2)]
        rows += [
            Row(database, scans, name, times)
            for name, times in questions(services, organization.id, code.id, rounds)
        ]
        rate = drain_rate(services)
        rows.append(Row(database, scans, f"draining {DRAINED:,}", [DRAINED / rate * 1000] * 2))
    return rows


def judge(rows: Sequence[Row], bounds: Analytics) -> list[tuple[Row, str, bool]]:
    """Each row with what it had to reach in words, and whether it did.

    Of questions, both the median and the 95th percentile have to: with the fewest scans the bound
    itself, with more of them `growth` times that.
    """
    few = min(row.scans for row in rows)
    judged = []
    for row in rows:
        kind = row.name.split()[0]
        if kind == "draining":
            rate = DRAINED / row.median * 1000
            text = f"{rate:,.0f}/s of {bounds.drained_per_second:,}/s"
            judged.append((row, text, rate >= bounds.drained_per_second))
        elif kind == "seeding":
            text = f"{row.scans / row.median * 1000:,.0f}/s in {bounds.seeding_seconds:g} s"
            judged.append((row, text, row.median <= bounds.seeding_seconds * 1000))
        else:
            limit = bounds.timeline_ms if kind == "timeline" else bounds.stats_ms
            limit *= 1 if row.scans == few else bounds.growth
            judged.append((row, f"{limit:g} ms", max(row.median, row.p95) <= limit))
    return judged


def main() -> int:
    """Measure and show; the exit code tells whether every row reached what it had to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scans", type=int, nargs="+", default=[100_000, 10_000_000])
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgres"])
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    rows: list[Row] = []
    for database in options.databases:
        for scans in sorted(options.scans):
            rows += measure(database, scans, options.rounds)
    judged = judge(rows, targets.read().analytics)
    print(f"{'database':<9} {'scans':>11}  {'':<32} {'p50 ms':>9} {'p95 ms':>9}")
    for row, text, reached in judged:
        print(
            f"{row.database:<9} {row.scans:>11,}  {row.name:<32} {row.median:>9.2f}"
            f" {row.p95:>9.2f}  {'ok' if reached else 'miss'}  {text}"
        )
    return 0 if all(reached for _, _, reached in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
