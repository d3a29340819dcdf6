"""The load suites: Locust's people on a service of their own, held against budgets.

Starts gunicorn on a free port with a data folder that is filled beforehand, lets the people of each
stage loose, and compares what Locust measured, and what the service counted of itself, with
`loadtests/targets.toml`. The exit code is 1 where something is missed, or a scan was miscounted.
Run it from the root of the repository; the suites are `smoke`, `targets`, `bench`, `spike` and
`soak`:

    .venv/bin/python -m loadtests.suites targets --setup production --report reports/targets

With `--delay` a proxy keeps each answer back for so many milliseconds, to see it fail.
"""

from __future__ import annotations

import argparse
import enum
import math
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from core.app import create_app
from core.services import Services
from core.services.journal.drainer import status
from core.settings import load
from loadtests import targets
from loadtests.processes import Watch
from loadtests.programs import delaying, memcached
from loadtests.sample import ENVIRONMENT, Sample
from loadtests.seed import seed
from loadtests.service import ROOT, Client, service, wait_until_counted
from loadtests.settings import environment
from loadtests.slow_clients import free_port
from loadtests.targets import Budget, Stage, Suite
from tests.servers import Postgres

WORKERS = 2
EVERYBODY = ("Scanner", "Visitor", "Member", "Analyst", "Editor")
"""Who comes to a stage that does not say so."""


class Setup(enum.StrEnum):
    """What the service runs on: what it has by itself, or PostgreSQL and memcached."""

    DEFAULT = "default"
    PRODUCTION = "production"


class Measured(msgspec.Struct, frozen=True):
    """What Locust's JSON says of one kind of request; times in milliseconds, with how often."""

    name: str
    num_requests: int
    num_failures: int
    total_response_time: float
    response_times: dict[float, int]

    def within(self, share: float) -> float:
        """The time within which that share was answered; infinite where there was no request."""
        rest = share * self.num_requests
        for milliseconds in sorted(self.response_times):
            rest -= self.response_times[milliseconds]
            if rest <= 0:
                return milliseconds
        return float("inf")

    @property
    def average(self) -> float:
        """The mean; infinite where there was no request."""
        if not self.num_requests:
            return float("inf")
        return self.total_response_time / self.num_requests

    @classmethod
    def together(cls, kinds: list[Measured]) -> Measured:
        """All kinds as one."""
        times: dict[float, int] = {}
        for kind in kinds:
            for milliseconds, number in kind.response_times.items():
                times[milliseconds] = times.get(milliseconds, 0) + number
        return cls(
            "all",
            sum(kind.num_requests for kind in kinds),
            sum(kind.num_failures for kind in kinds),
            sum(kind.total_response_time for kind in kinds),
            times,
        )


class Line(msgspec.Struct, frozen=True):
    """A line of the table: what was wanted, what was measured, and whether that will do."""

    what: str
    target: str
    measured: str
    met: bool


class Run(msgspec.Struct):
    """What a suite has measured: each stage's kinds of requests, and the service itself.

    `scans` are those that were stored before and led on since, `counted` those that the service
    has counted; `hits` are found and missed looks by namespace, and after `started` seconds it was
    ready. So many bytes were `left` in its journal at the end, which is infinite where nobody says.
    """

    stages: list[list[Measured]]
    watch: Watch
    hits: dict[str, tuple[int, int]]
    scans: int
    counted: int
    started: float
    left: float


@contextmanager
def surroundings(setup: Setup, folder: Path, port: int) -> Iterator[dict[str, str]]:
    """What the service is told by its environment, and the servers that it needs."""
    if setup is Setup.DEFAULT:
        yield environment(folder, port, WORKERS)
        return
    database = Postgres(durable=True)
    try:
        with memcached() as server:
            dsn = database.dsn()
            yield environment(folder, port, WORKERS, "memcached", server.port, dsn=dsn)
    finally:
        database.stop()


@contextmanager
def opened(environ: dict[str, str]) -> Iterator[Services]:
    """The services, in this process."""
    services = create_app(load(environ=environ)).services
    services.open()
    try:
        yield services
    finally:
        services.close()


def run_locust(port: int, sample: Path, stage: Stage, number: int, folder: Path) -> list[Measured]:
    """Let the people loose; what Locust measured for each kind of request."""
    name = folder / f"stage-{number}"
    # NOTE: its CSV files may lack the last second; only the JSON is written when all is over.
    command = [
        *(sys.executable, "-m", "locust", "--locustfile", "loadtests/locustfile.py"),
        *("--host", f"http://127.0.0.1:{port}", "--headless", "--only-summary"),
        *("--users", str(stage.users), "--spawn-rate", f"{stage.spawn_rate or stage.users:g}"),
        # Requests on their way are waited for: a scan must not be counted that nobody saw answered.
        *("--run-time", f"{stage.seconds}s", "--stop-timeout", "15"),
        *("--json-file", str(name), "--html", f"{name}.html"),
        *("--exit-code-on-error", "0", "--loglevel", "WARNING"),
        *(stage.people or EVERYBODY),
    ]
    environ = {**os.environ, ENVIRONMENT: str(sample)}
    result = subprocess.run(
        command, cwd=ROOT, env=environ, text=True, capture_output=True, check=False
    )
    if result.returncode:
        sys.exit(f"locust failed:\n{result.stdout}{result.stderr}")
    measured = msgspec.json.decode(Path(f"{name}.json").read_bytes(), type=list[Measured])
    if any(kind.num_failures for kind in measured):
        print(result.stderr[result.stderr.find("Error report") :])
    return measured


def run(suite: Suite, setup: Setup, folder: Path, delay: float = 0) -> Run:
    """Fill a service, let everybody loose, and see what has become of it."""
    port, password = free_port(), secrets.token_urlsafe(16)
    log, known = folder / "service.log", folder / "sample.json"
    stages: list[list[Measured]] = []
    with surroundings(setup, folder, port) as environ:
        with opened(environ) as services:
            sample = seed(services, suite.codes, suite.scans, password)
            known.write_bytes(msgspec.json.encode(sample))
        with ExitStack() as stack:
            began = time.perf_counter()
            master = stack.enter_context(service(environ, log))
            started = time.perf_counter() - began
            front = delaying(port, delay / 1000) if delay else nullcontext()
            proxy = stack.enter_context(front)
            with Watch(master) as watch:
                for number, stage in enumerate(suite.stages, 1):
                    there = port if proxy is None else proxy.port
                    watch.begin()
                    stages.append(run_locust(there, known, stage, number, folder))
            hits = looked_for(port, sample)
            left = undrained(Path(environ["QUIETZONE_DATA"]) / "journal")
        answered = sum(answered_scans(kinds) for kinds in stages)
        with opened(environ) as services:
            wanted = suite.scans + answered
            counted = wait_until_counted(lambda: _stored(services, sample), wanted)
    return Run(stages, watch, hits, wanted, counted, started, left)


def undrained(journal: Path) -> float:
    """The bytes that the service's own drainer has still to store, once it had time for it."""

    def left() -> float:
        known = status(journal)
        return math.inf if known is None else known.backlog

    return wait_until_counted(left, 0)


def answered_scans(measured: list[Measured]) -> int:
    """How many scans were led on."""
    return sum(kind.num_requests - kind.num_failures for kind in measured if kind.name == "scan")


def looked_for(port: int, sample: Sample) -> dict[str, tuple[int, int]]:
    """What the service has found in its cache and what not, by namespace, since it was started."""
    with Client(port) as client:
        credentials = {"email": sample.emails["owner"], "password": sample.password}
        client.ask("POST", "/api/session", credentials)
        told: dict[str, Any] = client.ask("GET", "/api/cache")["namespaces"]
    looks = {name: each["since_start"] for name, each in told.items()}
    return {name: (each["hits"], each["misses"]) for name, each in looks.items()}


def _stored(services: Services, sample: Sample) -> int:
    """The scans of everybody, bots included."""
    # What the service left in its journal when it was stopped is counted by whoever comes next.
    services.drainer.drain()
    totals = services.scan_store.totals(UUID(sample.organization), None)
    return totals.scans + totals.bots


def judge(suite: Suite, run: Run) -> Iterator[Line]:
    """Hold it against the budgets."""
    for stage, kinds in zip(suite.stages, run.stages, strict=True):
        people = f"{stage.users} {' and '.join(stage.people) or 'people'}"
        by_name = {kind.name: kind for kind in kinds}
        together = Measured.together(kinds)
        yield _held(f"{people}: all", together, stage.all)
        for name, budget in stage.requests.items():
            kind = by_name.get(name, Measured(name, 0, 0, 0, {}))
            yield _held(f"{people}: {name}", kind, budget)
    every = Measured.together([kind for kinds in run.stages for kind in kinds])
    ratio = every.num_failures / every.num_requests if every.num_requests else 1.0
    limit = suite.failure_ratio
    failed = f"{every.num_failures} of {every.num_requests}"
    yield Line("failures", f"<= {limit:.1%}", failed, ratio <= limit)
    yield Line("scans counted", f"all {run.scans}", str(run.counted), run.counted == run.scans)
    yield Line("left in the journal", "0 bytes", f"{run.left:,} bytes", not run.left)
    seen = len(run.watch.looks)
    yield Line("workers", f"the same {WORKERS}", f"{seen} seen", seen == WORKERS)
    for name, share in suite.hits.items():
        hits, misses = run.hits.get(name, (0, 0))
        looks = hits + misses
        found = hits / looks if looks else 0.0
        yield Line(f"{name} hits", f">= {share:.2f}", f"{found:.3f} of {looks}", found >= share)
    if suite.start_s is not None:
        told = f"{run.started:.2f} s"
        yield Line("start-up", f"<= {suite.start_s:g} s", told, run.started <= suite.start_s)
    watch = run.watch
    if suite.worker_mb is not None:
        most = f"{watch.first_mb:.1f} MB at first, {watch.most_mb:.1f} MB at most"
        yield Line(
            "worker memory", f"<= {suite.worker_mb:g} MB", most, watch.most_mb <= suite.worker_mb
        )
    if suite.growth_mb_per_hour is not None:
        grown, most_grown = watch.mb_per_hour, suite.growth_mb_per_hour
        target = f"<= {most_grown:g} MB/h"
        yield Line("worker memory grows", target, f"{grown:.2f} MB/h", grown <= most_grown)
    if suite.descriptors is not None:
        more = watch.more_files
        target = f"<= {suite.descriptors} more"
        yield Line("open files", target, f"{more} more", more <= suite.descriptors)


def _held(what: str, kind: Measured, budget: Budget) -> Line:
    """One kind of request in one stage, held against its budget."""
    values = (
        ("average", budget.average_ms, kind.average),
        ("p95", budget.p95_ms, kind.within(0.95)),
        ("p99", budget.p99_ms, kind.within(0.99)),
        ("p99.9", budget.p999_ms, kind.within(0.999)),
    )
    chosen = [(name, limit, value) for name, limit, value in values if limit is not None]
    target = ", ".join(f"{name} <= {limit:g} ms" for name, limit, _ in chosen)
    told = ", ".join(f"{name} {value:.3g} ms" for name, _, value in chosen)
    met = kind.num_requests >= budget.requests and all(value <= limit for _, limit, value in chosen)
    return Line(
        what,
        ", ".join(filter(None, (target, f">= {budget.requests}"))),
        ", ".join(filter(None, (told, f"{kind.num_requests} requests"))),
        met,
    )


def table(lines: list[Line]) -> Iterator[str]:
    """The lines, in columns."""
    head = Line("what", "target", "measured", True)
    widths = [
        max(len(getattr(line, f)) for line in (head, *lines)) for f in Line.__struct_fields__[:3]
    ]
    for line in (head, *lines):
        cells = (line.what, line.target, line.measured)
        verdict = "verdict" if line is head else "ok" if line.met else "miss"
        columns = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        yield "  ".join((*columns, verdict))


def chosen(name: str, seconds: int | None, users: int | None) -> Suite:
    """The suite of that name; where they are given, each stage has these seconds and people."""
    suite = targets.read().suites[name]
    stages = tuple(
        msgspec.structs.replace(stage, seconds=seconds or stage.seconds, users=users or stage.users)
        for stage in suite.stages
    )
    return msgspec.structs.replace(suite, stages=stages)


def main() -> int:
    """Run a suite; 1 where something was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("suite", choices=sorted(targets.read().suites))
    parser.add_argument("--setup", choices=list(Setup), type=Setup, default=Setup.DEFAULT)
    parser.add_argument("--report", type=Path, help="a folder for tables, charts and Locust's own")
    parser.add_argument("--seconds", type=int, help="instead of those of loadtests/targets.toml")
    parser.add_argument("--users", type=int, help="instead of those of loadtests/targets.toml")
    parser.add_argument("--delay", type=float, default=0, help="milliseconds, to see it fail")
    options = parser.parse_args()
    suite = chosen(options.suite, options.seconds, options.users)
    print(f"Suite {options.suite}, {options.setup}:", flush=True)
    with tempfile.TemporaryDirectory(prefix="quietzone-load-") as name:
        folder = Path(name)
        measured = run(suite, options.setup, folder, options.delay)
        lines = list(judge(suite, measured))
        print("\n".join(table(lines)))
        met = all(line.met for line in lines)
        if options.report is not None:
            # PERF: drawing charts needs a library that takes its time to load.
            from loadtests.report import write

            write(options.report, options.suite, options.setup, suite, measured, lines, folder)
        if not met:
            log = (folder / "service.log").read_text(errors="replace")
            print(f"\nthe service's log:\n{log[-4000:]}")
        return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
