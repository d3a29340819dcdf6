"""What grows with what: codes, scans, connections, the size of images, workers.

Each curve is measured by itself, on SQLite and with the cache that the service has by itself. The
tables stand in `docs/performance.md`, and the charts beside it, which `--charts docs` draws. Run it
from the root of the repository:

    .venv/bin/python -m loadtests.growth --charts docs
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pygal

from core.domain.accounts import Organization, OrganizationDraft
from core.domain.audit import OPERATOR
from core.domain.codes import Code, CodeDraft, CodeQuery
from core.services import Services
from loadtests import analytics
from loadtests.connections import request
from loadtests.drawing import link, quietzone
from loadtests.drawing import services as drawing_services
from loadtests.peers import Right
from loadtests.report import CHART, machine
from loadtests.seed import seed
from loadtests.service import service
from loadtests.settings import environment
from loadtests.shares import PHONE, Crowd
from loadtests.slow_clients import free_port, percentile
from loadtests.suites import opened

CODES = (1_000, 10_000, 100_000, 1_000_000)
SCANS = (100_000, 1_000_000, 10_000_000)
CONNECTIONS = (1, 10, 50, 100, 250, 500, 1000)
SIZES = (100, 300, 600, 1000, 2000)
WORKERS = (1, 2, 4)
ROUNDS = 200
SECONDS = 3.0
_BATCH = 1000


class Point(NamedTuple):
    """One place on a curve, and what was measured there, by name."""

    at: int
    values: dict[str, float]


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


class Curve(NamedTuple):
    """What was measured against what; the names of the values tell their units."""

    name: str
    against: str
    points: Sequence[Point]

    def table(self) -> Iterator[str]:
        """The points, as Markdown."""
        names = list(self.points[0].values)
        yield f"| {self.against} | " + " | ".join(names) + " |"
        yield "| ---: |" + " ---: |" * len(names)
        for at, values in self.points:
            yield f"| {at:,} | " + " | ".join(_shown(values[name]) for name in names) + " |"

    def chart(self, folder: Path) -> None:
        """Draw them, both axes by powers of ten."""
        chart = pygal.Line(title=f"by {self.against}", logarithmic=True, **CHART)
        chart.x_labels = [f"{point.at:,}" for point in self.points]
        for name in self.points[0].values:
            chart.add(name, [max(point.values[name], 0.001) for point in self.points])
        chart.render_to_file(folder / f"growth-{self.name}.svg")


def _median(do: Callable[[int], object], rounds: int = ROUNDS) -> float:
    """Milliseconds."""
    times = []
    for number in range(rounds):
        start = time.perf_counter()
        do(number)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def _fill(services: Services, organization: Organization, codes: range) -> None:
    now = services.clock() - timedelta(days=365)
    for start in range(codes.start, codes.stop, _BATCH):
        services.storage.codes.add(
            [
                Code(
                    id=uuid4(),
                    organization_id=organization.id,
                    slug=f"growth-{number}",
                    destination=f"https://example.com/{number}",
                    title=f"Poster {number}",
                    tags=("poster",) if number % 10 else ("card",),
                    active=True,
                    valid_from=None,
                    valid_until=None,
                    max_scans=None,
                    forward_query=False,
                    style=None,
                    revision=1,
                    created_at=now + timedelta(seconds=number),
                    updated_at=now,
                )
                for number in range(start, min(start + _BATCH, codes.stop))
            ]
        )


def _nth(do: Callable[[str], object], texts: Sequence[str], number: int) -> object:
    return do(texts[number % len(texts)])


def by_codes(folder: Path) -> Curve:
    """One organisation with more and more codes."""
    points, filled = [], 0
    with opened(environment(folder, free_port(), 1)) as services:
        services.storage.migrate()
        organization = services.organizations.found(
            OrganizationDraft("Growth", "growth"), None, by=OPERATOR
        )
        draft = CodeDraft("https://example.com/new")
        find, codes = services.storage.codes.by_slug, services.codes

        def page(search: str = "") -> object:
            return codes.list(organization.id, CodeQuery(search=search))

        def create(_: int) -> object:
            return codes.create(organization.id, draft, by=OPERATOR)

        for number in CODES:
            _fill(services, organization, range(filled, number))
            filled = number
            slugs = [f"growth-{n}" for n in range(0, number, number // ROUNDS)]
            values = {
                "redirect looked up, ms": _median(partial(_nth, find, slugs)),
                "first page, ms": _median(lambda _: page()),
                "search, ms": _median(lambda n: page(f"poster {n}99"), 20),
                "create, ms": _median(create),
            }
            points.append(Point(number, values))
    return Curve("codes", "codes", points)


def by_scans() -> Curve:
    """One code with more and more scans, in the course of a year."""
    points = []
    for number in SCANS:
        with tempfile.TemporaryDirectory() as name:
            with analytics.service("sqlite", Path(name)) as services:
                organization = services.organizations.found(
                    OrganizationDraft("Quay", "quay"), None, by=OPERATOR
                )
                draft = CodeDraft("https://a.example")
                code = services.codes.create(organization.id, draft, by=OPERATOR)
                analytics.seed(services, organization.id, code.id, number, datetime.now(UTC))
                times = dict(analytics.questions(services, organization.id, code.id, 10))
            size = sum(file.stat().st_size for file in Path(name).glob("quietzone.db*"))
        rows = {
            "7 days, ms": "timeline 7d UTC",
            "a year, ms": "timeline 1y UTC",
            "stats of a year, ms": "stats 1y",
        }
        values = {title: statistics.median(times[row]) for title, row in rows.items()}
        points.append(Point(number, {**values, "disk, MB": size / 1e6}))
    return Curve("scans", "scans", points)


def _redirects(folder: Path, workers: int, numbers: Sequence[int]) -> Iterator[Point]:
    """Scans of one code over so many connections, one number after the other."""
    port = free_port()
    environ = environment(folder, port, workers)
    with opened(environ) as services:
        sample = seed(services, 100, 0, "a quiet phrase of mine")
    what = [Right(request("GET", f"/r/{sample.codes[0].slug}", *PHONE), b"302")]
    with service(environ, folder / "service.log"):
        for number in numbers:
            with Crowd(port, number) as crowd:
                crowd.ask(what)
                crowd.times.clear()
                crowd.ask(what, seconds=SECONDS)
            times = crowd.times
            values = {
                "redirects a second": len(times) / SECONDS,
                "median, ms": percentile(times, 50) * 1000,
                "p99, ms": percentile(times, 99) * 1000,
                "p99.9, ms": percentile(times, 99.9) * 1000,
            }
            yield Point(number, values)


def by_connections(folder: Path) -> Curve:
    """Two workers, and more and more who scan at the same time."""
    points = list(_redirects(folder, 2, CONNECTIONS))
    return Curve("connections", "connections", points)


def by_workers(folder: Path) -> Curve:
    """As many connections, and more and more workers."""
    points = []
    for workers in WORKERS:
        own = folder / str(workers)
        own.mkdir()
        (point,) = _redirects(own, workers, (64,))
        points.append(Point(workers, point.values))
    return Curve("workers", "workers", points)


def by_size() -> Curve:
    """Images that nobody has asked for before, larger and larger."""
    of = drawing_services("segno")
    points = []
    for size in SIZES:
        values = {}
        for kind, name in enumerate(("png", "svg", "pdf")):
            # New ones each time: of those that were drawn lately the symbol is remembered.
            first = (size * 3 + kind) * ROUNDS
            links = [link(first + number) for number in range(ROUNDS)]
            values[f"{name}, ms"] = _median(partial(_nth, quietzone(of, name, size), links))
        points.append(Point(size, values))
    return Curve("sizes", "pixels", points)


CURVES: dict[str, Callable[[Path], Curve]] = {
    "codes": by_codes,
    "scans": lambda _: by_scans(),
    "connections": by_connections,
    "sizes": lambda _: by_size(),
    "workers": by_workers,
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--curves", nargs="+", choices=list(CURVES), default=list(CURVES))
    parser.add_argument("--charts", type=Path, help="a folder for the charts")
    options = parser.parse_args()
    print(f"{machine()}:", flush=True)
    for name in options.curves:
        with tempfile.TemporaryDirectory(prefix="quietzone-load-") as folder:
            curve = CURVES[name](Path(folder))
        print("\n" + "\n".join(curve.table()), flush=True)
        if options.charts is not None:
            curve.chart(options.charts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
