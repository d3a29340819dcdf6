"""What a number of scans a day takes, worked out from what was measured on one machine.

The figures that it begins with are those of `docs/performance.md`; give your own for your machines.
Nothing is measured here. Run it from the root of the repository:

    .venv/bin/python -m loadtests.capacity --per-core 4500 --drained 25000
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from core.domain.scans import Visit
from core.services.journal.records import Arrival, frame

SCANS = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
_DAY = 86_400
_VISIT = Visit(
    code_id=UUID(int=1),
    organization_id=UUID(int=1),
    at=datetime.now(UTC),
    address="203.0.113.7",
    user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
    language="de-DE,de;q=0.9",
)
"""One that is as long in the journal as most are."""


class Machine(msgspec.Struct, frozen=True):
    """What was measured, and what is kept free.

    `per_core` redirects are answered in a second of a core's time, and `drained` scans are stored
    in a second by the one process of a machine that drains into a database. A memcached answers
    `looked_up` questions in a second (a cautious guess), of which each scan is reckoned to ask one
    (far too many, since redirects ask none). A worker takes `worker_mb`, a scan `scan_bytes` in the
    database and `journal_bytes` in the journal. The busiest second has `peak` times as many scans
    as the average one, and no core is to be busier than `busy` in it.
    """

    per_core: float
    drained: float
    looked_up: float
    worker_mb: float
    scan_bytes: float
    journal_bytes: float
    cores: int = 8
    peak: float = 4.0
    busy: float = 0.6


class Need(msgspec.Struct, frozen=True):
    """What so many scans a day take."""

    scans: int
    peak: float
    cores: float
    machines: int
    drainers: float
    journal_mb_a_second: float
    gb_a_day: float
    worker_gb: float
    databases: int
    caches: int


def need(scans: int, machine: Machine) -> Need:
    """Work it out."""
    peak = scans / _DAY * machine.peak
    cores = peak / (machine.per_core * machine.busy)
    machines = max(1, math.ceil(cores / machine.cores))
    return Need(
        scans=scans,
        peak=peak,
        cores=cores,
        machines=machines,
        # What the journal has taken in the busiest hours may be drained in the others: so the
        # average counts, with the same reserve.
        drainers=scans / _DAY / (machine.drained * machine.busy),
        journal_mb_a_second=peak * machine.journal_bytes / 1e6,
        gb_a_day=scans * machine.scan_bytes / 1e9,
        worker_gb=machines * machine.cores * machine.worker_mb / 1e3,
        databases=max(1, math.ceil(scans / _DAY / (machine.drained * machine.busy))),
        caches=max(1, math.ceil(peak / (machine.looked_up * machine.busy))),
    )


def table(machine: Machine) -> Iterator[str]:
    """All of them, as Markdown."""
    yield (
        f"| scans a day | a second at the peak | cores | machines of {machine.cores} cores | "
        "of what a database can drain | journal, MB/s at the peak | scans stored, GB/day | "
        "workers' memory, GB | PostgreSQL | memcached |"
    )
    yield "| ---: |" + " ---: |" * 9
    for scans in SCANS:
        told = need(scans, machine)
        yield (
            f"| {told.scans:,} | {told.peak:,.0f} | {told.cores:,.1f} | {told.machines} | "
            f"{told.drainers:.1%} | {told.journal_mb_a_second:.2f} | {told.gb_a_day:,.2f} | "
            f"{told.worker_gb:.1f} | {told.databases} | {told.caches} |"
        )


def main() -> int:
    """Work out and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--per-core", type=float, default=4500, help="redirects a second")
    parser.add_argument("--drained", type=float, default=25_000, help="scans a second")
    parser.add_argument(
        "--looked-up", type=float, default=100_000, help="looks a second; not measured"
    )
    parser.add_argument("--worker-mb", type=float, default=90)
    parser.add_argument("--scan-bytes", type=float, default=210)
    parser.add_argument("--journal-bytes", type=float, default=len(frame(Arrival(_VISIT))))
    parser.add_argument("--cores", type=int, default=8, help="of each machine")
    parser.add_argument("--peak", type=float, default=4.0, help="times the average")
    parser.add_argument("--busy", type=float, default=0.6, help="at the peak, of each core")
    machine = Machine(**vars(parser.parse_args()))
    print("\n".join(table(machine)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
