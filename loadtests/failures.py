"""What the service does when it is attacked, reloaded, cut off from its database, or killed.

Each row starts the real service on a port of its own, with two workers and a data folder that is
made for it, does to it what its name says, asks for redirects (scans) and images meanwhile, and
stops it. What is measured is held against `[failures]` of `loadtests/targets.toml`; the exit code
is 1 where something is missed. Run it from the root of the repository:

    .venv/bin/python -m loadtests.failures

`--rows` chooses some of them, `--quick` has each do the same in seconds rather than in minutes:

* **flood**: 32 connections try wrong passwords as fast as they are answered, for accounts that
  there are and for others, while visitors ask for redirects and for signed images, 100 of each a
  second. Hashing a password keeps a core busy for some 30 ms; visitors must not wait for it. Then,
  with nobody else about, 400 sign-ins one after the other, by turns for an account that there is
  and for one that there is not: their medians must not tell which.
* **reloads**: the master gets SIGHUP every two seconds, and replaces both workers each time, while
  50,000 redirects are asked for, as fast as they are answered: half of them over 32 connections
  that are kept, half over a fresh connection each. A leaving worker announces on each connection
  that it ends (`Connection: close`), and it is opened anew. A connection that is closed once a
  request was sent on it, with no answer or a part of one, is a failure: none rests here for so long
  that it may be closed for that.
* **database**: PostgreSQL, in which everything is stored, is stopped for 60 seconds and started
  again, while codes that have been scanned before are scanned 100 times a second. All must be led
  on all the time, and all must be counted in the end.
* **slow**: clients that send heads or bodies a byte at a time, say nothing at all, or leave without
  hanging up, first of each kind alone and then of all kinds together: those of
  `loadtests.slow_clients`. An ordinary client asks meanwhile, each time on a new connection.
* **kills**: a worker, the drainer or the master is killed (`kill -9`) a thousand times, by chance,
  while six clients scan without a pause until a million scans are answered. Workers and the drainer
  are replaced by the service, the master is started again. Every answered scan must be counted
  once. A scan whose answer was cut off may be counted or not. This is the long form of
  `tests/integration/test_no_scan_lost.py`, and takes a quarter of an hour at least.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import secrets
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from loadtests import targets
from loadtests.connections import Connection, request
from loadtests.hits import STEADY, WORKERS, Asked, Due, People, Question
from loadtests.processes import workers
from loadtests.service import Client, found, service
from loadtests.settings import environment
from loadtests.shares import EMAIL, Account
from loadtests.shares import Asked as Code
from loadtests.slow_clients import (
    CROWDS,
    Target,
    attack,
    free_port,
    percentile,
    raise_file_limit,
)
from loadtests.suites import Line, table
from loadtests.targets import Failures
from tests.integration.scanning import Load, kill_at_random, make
from tests.servers import Postgres

NOBODY = "nobody@example.com"
WRONG = "a password that is nobody's"
KNOWN = 10
"""Codes that are scanned, so few that each worker has soon led on each of them."""

BEFORE, AFTER = 5.0, 5.0
"""Seconds in which nothing is wrong."""

RELOAD_EVERY = 2.0
PAUSE = 0.02
"""Seconds from one request of the ordinary client beside slow ones to the next."""

SLOW = ("500 dripping headers", "500 idle", "200 slow bodies", "50 lingering", "all of these")


class Scale(NamedTuple):
    """How long and how often everything is done."""

    flood_seconds: float
    sign_ins: int
    reloaded: int
    away_seconds: float
    slow_seconds: float
    kills: int
    scans: int


FULL = Scale(10, 200, 50_000, 60, 10, 1000, 1_000_000)
QUICK = Scale(4, 50, 20_000, 10, 4, 20, 2000)


class Running(NamedTuple):
    """A service that runs, by the id of its master, and the codes that it has."""

    master: int
    account: Account
    codes: Sequence[Code]

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.account.port

    def redirects(self) -> Iterator[Question]:
        """Scans of the codes by turns."""
        for code in itertools.cycle(self.codes[:KNOWN]):
            yield Question("redirect", f"/r/{code.slug}")

    def visits(self) -> Iterator[Question]:
        """Scans and signed images by turns."""
        for scan, code in zip(self.redirects(), itertools.cycle(self.codes), strict=False):
            yield scan
            yield Question("signed image", code.signed)


@contextmanager
def running(folder: Path, dsn: str = "") -> Iterator[Running]:
    """The service with its data in the folder, or in the PostgreSQL of that `dsn`."""
    port, password = free_port(), secrets.token_urlsafe(16)
    environ = environment(folder, port, WORKERS, dsn=dsn)
    account = Account(port, found(environ, {"owner": EMAIL}, password), password)
    with service(environ, folder / "service.log") as master:
        yield Running(master, account, account.codes())


def flood(folder: Path, wanted: Failures, scale: Scale) -> Iterator[Line]:
    """Wrong passwords as fast as they are answered, and what visitors see of it."""
    with running(folder) as here:
        with People(here.port, ["401"]) as strangers, People(here.port) as visitors:

            def guess() -> None:
                strangers.ask(guesses(scale.flood_seconds))

            quiet = visitors.ask_during(lambda: time.sleep(BEFORE), here.visits(), 2 * STEADY)
            asked = visitors.ask_during(guess, here.visits(), 2 * STEADY)
            for kind in ("redirect", "signed image"):
                p99 = milliseconds(asked, kind, 99)
                yield Line(
                    f"flood: {kind}s beside {strangers.counts.total():,} sign-ins",
                    f"p99 < {wanted.flood_p99_ms:g} ms",
                    f"p99 {p99:.1f} ms, {milliseconds(quiet, kind, 99):.1f} ms before",
                    p99 < wanted.flood_p99_ms,
                )
            yield failed("flood: failed", wanted, visitors, strangers)
        known, unknown = sign_in_times(here.port, scale.sign_ins)
        apart = abs(known - unknown)
        yield Line(
            f"flood: sign-ins of known and unknown accounts, {scale.sign_ins} each",
            f"medians < {wanted.sign_in_apart_ms:g} ms apart",
            f"{apart:.2f} ms ({known:.2f} and {unknown:.2f})",
            apart < wanted.sign_in_apart_ms,
        )


def guesses(seconds: float) -> Iterator[Due]:
    """Sign-ins with wrong passwords, each due at once, for so many seconds."""
    until = time.perf_counter() + seconds
    for email in itertools.cycle((EMAIL, NOBODY)):
        if time.perf_counter() >= until:
            return
        body = json.dumps({"email": email, "password": WRONG}).encode()
        yield Due(0, Question("sign-in", "/api/session", method="POST", body=body))


def sign_in_times(port: int, number: int) -> tuple[float, float]:
    """The medians in ms of sign-ins with wrong passwords: of a known account, of an unknown one."""
    times: dict[str, list[float]] = {EMAIL: [], NOBODY: []}
    connection = Connection(port)
    for _ in range(number):
        for email, took in times.items():
            body = json.dumps({"email": email, "password": WRONG}).encode()
            began = time.perf_counter()
            connection.ask(request("POST", "/api/session", body=body))
            while (answer := connection.answer()) is None:
                pass
            took.append((time.perf_counter() - began) * 1000)
            if answer.status != b"401":
                sys.exit(f"a wrong password was answered with {answer}")
    connection.socket.close()
    return statistics.median(times[EMAIL]), statistics.median(times[NOBODY])


def reloads(folder: Path, wanted: Failures, scale: Scale) -> Iterator[Line]:
    """SIGHUP again and again, and what those see of it who keep connections, or open new ones."""
    each = scale.reloaded // 2
    with (
        running(folder) as here,
        People(here.port, visit=each) as keeping,
        People(here.port, visit=1) as opening,
        ThreadPoolExecutor(2) as threads,
    ):
        seen, sent = set(workers(here.master)), 0
        asking = [
            threads.submit(
                people.ask, (Due(0, scan) for scan in itertools.islice(here.redirects(), each))
            )
            for people in (keeping, opening)
        ]
        while wait(asking, RELOAD_EVERY).not_done:
            os.kill(here.master, signal.SIGHUP)
            sent += 1
            seen |= set(workers(here.master))
        for one in asking:
            one.result()
        seen |= set(workers(here.master))
        left = len(seen) - WORKERS
        yield Line(
            "reloads: workers replaced",
            f">= {WORKERS}",
            f"{left} by {sent} SIGHUP",
            left >= WORKERS,
        )
        yield failed("reloads: failed over kept connections", wanted, keeping)
        yield failed("reloads: failed over fresh connections", wanted, opening)
        yield lost("reloads: scans lost", wanted, here, keeping, opening)


def database(folder: Path, wanted: Failures, scale: Scale) -> Iterator[Line]:
    """PostgreSQL stopped for a while, and what visitors see of it."""
    server = Postgres(durable=True)
    try:
        with (
            running(folder, server.dsn()) as here,
            People(here.port, visit=1) as early,
            People(here.port) as visitors,
        ):
            # Each over a connection of its own, so that every worker knows every code.
            early.ask(Due(0, scan) for scan in itertools.islice(here.redirects(), 100 * KNOWN))

            def stop() -> None:
                time.sleep(BEFORE)
                server.halt()
                time.sleep(scale.away_seconds)
                server.start()
                time.sleep(AFTER)

            asked = visitors.ask_during(stop, here.redirects(), STEADY)
            what = f"database: redirects, {scale.away_seconds:g} s without PostgreSQL"
            yield failed(what, wanted, visitors, p99=milliseconds(asked, "redirect", 99))
            yield lost("database: scans lost", wanted, here, early, visitors)
    finally:
        server.stop()


def slow(folder: Path, wanted: Failures, scale: Scale) -> Iterator[Line]:
    """Clients that are slow on purpose, and what an ordinary one sees of them."""
    raise_file_limit()
    with running(folder) as here:
        path = f"/api/organizations/{here.account.organization}/qr-codes"
        # Without a key of an editor, no body longer than that of a sign-in is read.
        key = f"Authorization: Bearer {editor(here.account)}"
        target = Target("", f"/r/{here.codes[0].slug}", path, path, (key,))
        for crowd in CROWDS:
            if crowd.name not in SLOW:
                continue
            attached, seen = attack(here.port, crowd, target, scale.slow_seconds, PAUSE)
            met = seen.p99 < wanted.slow_p99_ms and seen.failed <= wanted.failed
            yield Line(
                f"slow: {crowd.name}, {attached:,} at a time",
                f"p99 < {wanted.slow_p99_ms:g} ms, {wanted.failed} failed",
                f"p99 {seen.p99:.1f} ms, {seen.failed} of {seen.answered:,} failed",
                met and attached >= crowd.clients * wanted.slow_attached,
            )


def editor(account: Account) -> str:
    """The token of an API key that may create codes."""
    with Client(account.port) as client:
        client.ask("POST", "/api/session", {"email": EMAIL, "password": account.password})
        draft = {"name": "Slow clients", "role": "editor"}
        address = f"/api/organizations/{account.organization}/api-keys"
        token: str = client.ask("POST", address, draft)["token"]
        return token


def kills(folder: Path, wanted: Failures, scale: Scale) -> Iterator[Line]:
    """`kill -9` of whatever belongs to the service, again and again, and what is counted."""
    began = time.monotonic()
    with make(folder) as victim, Load(victim) as load:
        hit = kill_at_random(victim, load, scale.kills, scale.scans)
        # Nobody scans any more.
        load.__exit__()
        # While the drainer is killed again and again, little is stored.
        figures = load.figures(load.wait_until_drained(60 + scale.scans / 2000))
    told = f"{figures.lost} of {figures.answered:,}, {figures.unknown:,} cut off"
    minutes = (time.monotonic() - began) / 60
    yield Line(
        f"kills: scans lost by {hit:,} kills in {minutes:.1f} min",
        f"{wanted.lost} lost",
        told,
        figures.lost <= wanted.lost,
    )
    doubled, refused = figures.doubled, figures.refused
    yield Line("kills: scans counted twice", "0", f"{doubled} of {figures.counted:,}", not doubled)
    yield Line(
        "kills: redirects refused", str(wanted.failed), str(refused), refused <= wanted.failed
    )


ROWS: dict[str, Callable[[Path, Failures, Scale], Iterator[Line]]] = {
    row.__name__: row for row in (flood, reloads, database, slow, kills)
}


def milliseconds(asked: Sequence[Asked], kind: str, percent: float) -> float:
    """The time in ms within which so many of 100 were answered."""
    return percentile([1000 * one.seconds for one in asked if one.name == kind], percent)


def failed(what: str, wanted: Failures, *people: People, p99: float | None = None) -> Line:
    """How many of their questions were not answered as they should be."""
    failures = [failure for one in people for failure in one.failures]
    for failure in failures[:3]:
        print(f"  {failure}")
    told = f"{len(failures)} of {sum(one.counts.total() for one in people):,}"
    if p99 is not None:
        told += f", p99 {p99:.1f} ms"
    return Line(what, f"{wanted.failed} failed", told, len(failures) <= wanted.failed)


def lost(what: str, wanted: Failures, here: Running, *people: People) -> Line:
    """How many of the scans that were answered are not counted."""
    answered = sum(one.counts["redirect 302"] for one in people)
    missing = answered - here.account.counted(answered)
    # There are more than were answered where some were counted twice.
    met = 0 <= missing <= wanted.lost
    return Line(what, f"{wanted.lost} lost", f"{missing:,} of {answered:,}", met)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="seconds rather than minutes")
    options = parser.parse_args()
    wanted = targets.read().failures
    scale = QUICK if options.quick else FULL
    lines: list[Line] = []
    for name in options.rows:
        with tempfile.TemporaryDirectory(prefix="quietzone-load-") as made:
            own = list(ROWS[name](Path(made), wanted, scale))
            print("\n".join(table(own)), flush=True)
            lines += own
            if not all(line.met for line in own):
                log = (Path(made) / "service.log").read_text(errors="replace")
                print(f"\nthe service's log:\n{log[-4000:]}")
    return 0 if all(line.met for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
