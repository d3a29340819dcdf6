"""The benchmark of the cache behind the service: what it finds, whom it protects, what it costs.

Two workers of gunicorn serve three organisations with 200 codes each: with the cache that both
share (`shared_memory`), with one in each worker (`memory`), and with a memcached server; the counts
are the service's own (`/api/cache`). Targets are in `loadtests/targets.toml`; the exit code is 1
where one is missed. Run it from the root of the repository:

    .venv/bin/python -m loadtests.hits

**Hits** are counted from a cold start, so that each first look weighs in. Two minutes of people:

* 120,000 images. An image is kept for a day, and the codes together are asked for 1.4 a second:
  this is a day of it, and each image is drawn once in it, or once in each worker. 95 of 100
  are asked for by visitors of pages, under the signed address of one image a code; the others by
  members, who leaf through lists (25 thumbnails of 200 pixels a page, the first page most), and
  now and then look at a code (300 pixels, mostly) or take an SVG or a PNG of 1,000 pixels with
  them. Every fifth visitor and every other member has been there and asks with an entity tag: what
  is answered 304 is no look into the cache.
* Popularity follows Zipf's law: the code of rank n is asked for 1/n as often as the first.
* 20 scans a second, by the same law, are 1.7 million a day: the numbers of popular codes, and of
  all organisations, change all the time, those of the others now and then.
* 36 dashboards, 12 an organisation, which ask anew every 4 seconds for the statistics and
  the timeline of the organisation (30 days), of its three most popular codes, and of one code
  that nobody else needs to look at (7 days, chosen by Zipf's law). They send the entity tag of what
  they show; each question is a look, whether it is answered 304 or not.
* Every other second the destination of a code is edited, every 15 seconds a style preset. Every
  tenth code has the preset of its organisation.
* People come and go: a connection ends after 50 questions, so that no worker has most of them.

**Admission**: the same people, with 500 images a second, while a member with a key asks for as many
that nobody has ever asked for: all sizes, margins and levels, every tenth in a colour of its own.
The room (3 MiB of all workers together) is small enough for him to overflow it several times. All
of his looks are misses: what was found, others have found. The service's count of looks has to be
what was sent, or the measurement is void. Others are measured once they have asked for the signed
image and the thumbnail of each code five times: before he comes, and while he is there.

**Away**: redirects and signed images at a steady rate, from this one process, while a server is
killed, stopped (SIGSTOP) and drips (each byte of an answer 5 ms apart), by their 99th percentiles,
beside those of before and after, once the first second is over. No request may fail at any time.
"Back" is the time from the server's return until no worker does without it.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import random
import secrets
import selectors
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from loadtests import targets
from loadtests.connections import Answer, Connection, request
from loadtests.programs import dripping, memcached
from loadtests.service import Client, fill, found, quietzone, service
from loadtests.settings import environment
from loadtests.slow_clients import free_port, percentile
from loadtests.targets import Hits

WORKERS = 2
ORGANIZATIONS = 3
CODES = 200
CONNECTIONS = 32
VISIT = 50
"""After so many questions a connection is closed and another one opened, by whichever worker."""

CACHES = ("shared_memory", "memory", "memcached")
SERVED = ("memcached",)
EMAIL = "owner@example.com"
PHONE = "User-Agent: Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/130.0 Mobile Safari/537.36"

SECONDS = 120
IMAGES_A_SECOND = 1000
VISITORS = 0.95
VISITORS_AGAIN, MEMBERS_AGAIN = 0.2, 0.5
PAGE = 25
LEAFING = 0.1
"""Of a member's steps; a page is as many images as it has codes, so that most are thumbnails."""

LOOKED_AT = {"": 0.7, "?format=svg": 0.2, "?size=1000": 0.1}
SCANS_A_SECOND = 20
DASHBOARDS = 12
REFRESH = 4.0
POPULAR = 3
EDIT_EVERY, RESTYLE_EVERY = 2.0, 15.0
STYLED = 10

TIMES_BEFORE = 5
QUIET, ATTACK = 3, 10
OTHERS_A_SECOND = 500
ATTACKS_A_SECOND = 500
ROOM = 3 * 1024 * 1024
"""Bytes, of all workers together."""

ASKED = 20
"""How many codes are asked for while a server is away."""

STEADY = 100
"""Redirects a second, and as many images."""

SETTLING, NORMAL, FAILING, AWAY, AGAIN = 2.5, 3.0, 1.0, 5.0, 2.0
"""Seconds: of the cold start, normality, the first failures, what then is measured, the return."""

NORMALLY = "normal"
PATIENCE = 15.0


class Code(NamedTuple):
    """A code, and the signed address of its image."""

    id: str
    slug: str
    signed: str


class Organization(NamedTuple):
    """Some codes, the most popular first, a style preset, and keys for each role."""

    id: str
    codes: Sequence[Code]
    style: str
    keys: dict[str, str]

    def address(self, rest: str) -> str:
        """The address of something that belongs to it."""
        return f"/api/organizations/{self.id}/{rest}"

    def image(self, code: Code, query: str) -> Question:
        """A member's question."""
        return Question(
            "image", self.address(f"qr-codes/{code.id}/image{query}"), self.keys["member"]
        )


class Question(NamedTuple):
    """What is asked for, with an API key or without; `again` by somebody who may have a copy."""

    name: str
    path: str
    key: str = ""
    method: str = "GET"
    body: bytes = b""
    again: bool = False


class Due(NamedTuple):
    """A question, and when it is to be asked, in seconds from the beginning."""

    at: float
    question: Question


class Asked(NamedTuple):
    """A question that was answered: when it was sent (of `perf_counter`), and what it took."""

    name: str
    sent: float
    seconds: float


class People:
    """Asks what is due over connections that stay open; keeps the entity tags of answers.

    Whatever is not answered with one of the `statuses` is a failure. A connection that the server
    closes between two questions, or has announced to close, is opened anew; one that it closes
    once it was asked is a failure too, since no connection here rests for so long that a server
    may have had enough of it. After `visit` questions each is opened anew in any case.
    """

    def __init__(
        self, port: int, statuses: Collection[str] = ("200", "302", "304"), visit: int = VISIT
    ) -> None:
        self._port = port
        self._statuses = statuses
        self._visit = visit
        self._tags: dict[tuple[str, str], str] = {}
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        self._idle: deque[Connection] = deque()
        self._busy: dict[Connection, tuple[Question, float]] = {}
        for _ in range(CONNECTIONS):
            self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for connection in (*self._idle, *self._busy):
            connection.socket.close()

    def ask(self, schedule: Iterable[Due]) -> list[Asked]:
        """Ask everything when it is due, or as soon as a connection is free; then, all is answered.

        Ends the test where that takes too long.
        """
        asked: list[Asked] = []
        began = time.perf_counter()
        for due in schedule:
            while (left := began + due.at - time.perf_counter()) > 0 or not self._idle:
                asked += self._answered(max(left, 0.0) if self._idle else PATIENCE)
            connection = self._idle.popleft()
            self._busy[connection] = due.question, time.perf_counter()
            # Where the other side has hung up, that is what comes back.
            with suppress(OSError):
                connection.ask(self._request(due.question))
        while self._busy:
            asked += self._answered(PATIENCE)
        return asked

    def ask_during(
        self, story: Callable[[], object], questions: Iterable[Question], rate: float
    ) -> list[Asked]:
        """Ask at a steady rate, so many a second, until the story is over that goes on beside."""
        done = threading.Event()

        def tell() -> None:
            try:
                story()
            finally:
                done.set()

        with ThreadPoolExecutor(1) as thread:
            told = thread.submit(tell)
            asked = self.ask(_steadily(questions, rate, done))
            told.result()
        return asked

    def _connect(self) -> None:
        connection = Connection(self._port)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._idle.append(connection)

    def _request(self, question: Question) -> bytes:
        headers = [PHONE]
        if question.key:
            headers.append(f"Authorization: Bearer {question.key}")
        tag = self._tags.get((question.path, question.key)) if question.again else None
        if tag is not None:
            headers.append(f"If-None-Match: {tag}")
        return request(question.method, question.path, *headers, body=question.body)

    def _answered(self, patience: float) -> Iterator[Asked]:
        ready = self._selector.select(patience)
        if not ready and patience == PATIENCE:
            sys.exit(f"not answered within {PATIENCE:g} s: {list(self._busy.values())}")
        for key, _ in ready:
            connection = key.data
            try:
                answer = connection.answer()
            except OSError as error:
                answer = Answer(b"", str(error).encode())
            if answer is None:
                continue
            now = time.perf_counter()
            if connection not in self._busy:
                self._idle.remove(connection)
                self._reconnect(connection)
                continue
            question, sent = self._busy.pop(connection)
            self._note(question, answer)
            ends = not answer.status or answer.header("connection").lower() == "close"
            if ends or connection.asked >= self._visit:
                self._reconnect(connection)
            else:
                self._idle.append(connection)
            yield Asked(question.name, sent, now - sent)

    def _reconnect(self, connection: Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._connect()

    def _note(self, question: Question, answer: Answer) -> None:
        status = answer.status.decode()
        self.counts[f"{question.name} {status}"] += 1
        if status not in self._statuses:
            self.failures.append(f"{question.method} {question.path}: {answer}")
        elif status == "200" and question.method == "GET":
            self._tags[question.path, question.key] = answer.header("etag")


class Crowd:
    """Makes up what people ask for. Same seed, same questions."""

    def __init__(self, organizations: Sequence[Organization], seed: int = 7) -> None:
        self._organizations = organizations
        self._chance = random.Random(seed)
        every = [
            (one, code)
            for codes in zip(*(o.codes for o in organizations), strict=True)
            for one, code in zip(organizations, codes, strict=True)
        ]
        self._everybodys = every, zipf(len(every))
        self._own = zipf(CODES)
        self._pages = zipf(CODES // PAGE)

    def schedule(self, seconds: float, images_a_second: float) -> Iterator[Due]:
        """What is asked for in so many seconds."""
        return heapq.merge(
            self._at(seconds, images_a_second, self._images()),
            self._at(seconds, SCANS_A_SECOND, self._scans()),
            self._at(seconds, 1 / EDIT_EVERY, self._edits()),
            self._at(seconds, 1 / RESTYLE_EVERY, self._restylings()),
            *self._dashboards(seconds),
            key=lambda due: due.at,
        )

    def settled(self) -> Iterator[Due]:
        """The signed image and the thumbnail of each code some times, in no order."""
        questions = [
            question
            for organization, code in self._everybodys[0]
            for question in (
                Question("image", code.signed),
                organization.image(code, "?size=200"),
            )
        ] * TIMES_BEFORE
        self._chance.shuffle(questions)
        for number, question in enumerate(questions):
            yield Due(number / IMAGES_A_SECOND, question)

    def signed(self) -> Iterator[Question]:
        """Visitors' images, and scans, by turns, of the most popular codes."""
        for code in itertools.cycle([code for _, code in self._everybodys[0][:ASKED]]):
            yield Question("redirect", f"/r/{code.slug}")
            yield Question("signed image", code.signed)

    def _at(self, seconds: float, rate: float, questions: Iterator[Question]) -> Iterator[Due]:
        """The questions at random moments, as independent people ask them."""
        moment = 0.0
        while (moment := moment + self._chance.expovariate(rate)) < seconds:
            yield Due(moment, next(questions))

    def _code(self) -> tuple[Organization, Code]:
        every, weights = self._everybodys
        return self._chance.choices(every, cum_weights=weights)[0]

    def _images(self) -> Iterator[Question]:
        members = self._members()
        while True:
            if self._chance.random() < VISITORS:
                again = self._chance.random() < VISITORS_AGAIN
                yield Question("image", self._code()[1].signed, again=again)
            else:
                yield next(members)

    def _members(self) -> Iterator[Question]:
        chance = self._chance
        while True:
            organization = chance.choice(self._organizations)
            again = chance.random() < MEMBERS_AGAIN
            if chance.random() < LEAFING:
                (page,) = chance.choices(range(CODES // PAGE), cum_weights=self._pages)
                for code in organization.codes[page * PAGE : (page + 1) * PAGE]:
                    yield organization.image(code, "?size=200")._replace(again=again)
            else:
                (query,) = chance.choices([*LOOKED_AT], [*LOOKED_AT.values()])
                (code,) = chance.choices(organization.codes, cum_weights=self._own)
                yield organization.image(code, query)._replace(again=again)

    def _scans(self) -> Iterator[Question]:
        while True:
            yield Question("scan", f"/r/{self._code()[1].slug}")

    def _edits(self) -> Iterator[Question]:
        for number in itertools.count():
            organization, code = self._code()
            body = json.dumps({"destination": f"https://example.com/edited/{number}"}).encode()
            address = organization.address(f"qr-codes/{code.id}")
            yield Question("edit", address, organization.keys["editor"], "PATCH", body)

    def _restylings(self) -> Iterator[Question]:
        while True:
            organization = self._chance.choice(self._organizations)
            # Dark enough for any phone.
            color = bytes(self._chance.choices(range(0x60), k=3)).hex()
            body = json.dumps({"color": color}).encode()
            address = organization.address(f"styles/{organization.style}")
            yield Question("edit", address, organization.keys["admin"], "PATCH", body)

    def _dashboards(self, seconds: float) -> Iterator[Iterator[Due]]:
        for organization in self._organizations:
            for _ in range(DASHBOARDS):
                (own,) = self._chance.choices(organization.codes, cum_weights=self._own)
                codes = {code.id: f"qr-codes/{code.id}/" for code in organization.codes[:POPULAR]}
                codes[own.id] = f"qr-codes/{own.id}/"
                shown = [("", "30d"), *((path, "7d") for path in codes.values())]
                questions = [
                    Question(
                        what,
                        organization.address(
                            f"{path}{what}?period={period}&timezone=Europe/Berlin"
                        ),
                        organization.keys["analyst"],
                        again=True,
                    )
                    for path, period in shown
                    for what in ("stats", "timeline")
                ]
                yield _refreshed(self._chance.uniform(0, REFRESH), seconds, questions)


def _refreshed(first: float, seconds: float, questions: Sequence[Question]) -> Iterator[Due]:
    moment = first
    while moment < seconds:
        yield from (Due(moment, question) for question in questions)
        moment += REFRESH


def attack(organization: Organization, seconds: float, seed: int = 11) -> Iterator[Due]:
    """Images that nobody has asked for before; the sizes that people use are left out."""
    chance = random.Random(seed)
    code = organization.codes[0]
    sizes = [size for size in range(100, 2001) if size not in (200, 300, 1000)]
    chance.shuffle(sizes)
    looks = itertools.cycle(itertools.product("LMQH", range(21)))
    for number in range(round(seconds * ATTACKS_A_SECOND)):
        level, margin = next(looks)
        query = f"?size={sizes[number % len(sizes)]}&margin={margin}&error_correction={level}"
        if number % 10 == 0:
            query += f"&color={number:06x}"
        question = organization.image(code, query)._replace(name="attack")
        yield Due(number / ATTACKS_A_SECOND, question)


def zipf(number: int) -> Sequence[float]:
    """Cumulated weights of so many ranks."""
    return list(itertools.accumulate(1 / rank for rank in range(1, number + 1)))


class Line(NamedTuple):
    """A row of the table; without a target it is not judged."""

    cache: str
    what: str
    measured: str
    target: str = ""
    met: bool = True

    def show(self) -> None:
        """Print it."""
        verdict = ("ok" if self.met else "miss") if self.target else ""
        told = f"{self.cache:<9}  {self.what:<32}  {self.measured:<34}  {self.target:<9}  {verdict}"
        print(told.rstrip(), flush=True)


class Installation:
    """The data of a service that was filled once, and is served in several ways."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._log = folder / "service.log"
        environ = environment(folder, self.port, WORKERS)
        password = secrets.token_urlsafe(16)
        first = found(environ, {"owner": EMAIL}, password)
        with service(environ, self._log), Client(self.port) as client:
            client.ask("POST", "/api/session", {"email": EMAIL, "password": password})
            others = [
                client.ask("POST", "/api/organizations", {"name": name, "slug": name})["id"]
                for name in (f"load-test-{number}" for number in range(1, ORGANIZATIONS))
            ]
            self.organizations = [
                self._filled(client, organization, number, password)
                for number, organization in enumerate([first, *others])
            ]
            made = self._key(client, self.organizations[0].id, "member")
            self._operator = made["token"]
            quietzone(environ, "operator", "add", made["key"]["id"])

    @contextmanager
    def served(self, cache: str, server: int = 0, more: str = "") -> Iterator[None]:
        """The service, started anew."""
        environ = environment(self._folder, self.port, WORKERS, cache, server, more)
        with service(environ, self._log):
            yield

    def report(self) -> Any:
        """What the service tells of its cache."""
        with Client(self.port, self._operator) as client:
            return client.ask("GET", "/api/cache")

    def looks(self) -> dict[str, tuple[int, int]]:
        """The hits and misses of each namespace since the service was started."""
        return {
            name: (counted["since_start"]["hits"], counted["since_start"]["misses"])
            for name, counted in self.report()["namespaces"].items()
        }

    def is_whole(self) -> bool:
        """Whether no worker does without a server; those that answer are asked several times."""
        with ExitStack() as stack:
            clients = [
                stack.enter_context(Client(self.port, self._operator)) for _ in range(4 * WORKERS)
            ]
            # Each connection belongs to the worker that takes it, and stays open meanwhile.
            return not any(client.ask("GET", "/api/cache")["aside"] for client in clients)

    def _filled(
        self, client: Client, organization: str, number: int, password: str
    ) -> Organization:
        address = f"/api/organizations/{organization}"
        roles = ("member", "analyst", "editor", "admin")
        keys = {role: self._key(client, organization, role)["token"] for role in roles}
        draft = {"name": "House style", "color": "003366"}
        style = client.ask("POST", f"{address}/styles", draft)["id"]
        made = fill(self.port, organization, EMAIL, password, CODES, f"load-{number}")
        codes = []
        for rank, code in enumerate(made):
            path = f"{address}/qr-codes/{code.id}"
            if rank % STYLED == STYLED - 1:
                client.ask("PATCH", path, {"style": style})
            signed = urlsplit(client.ask("GET", f"{path}/image-url")["url"])
            codes.append(Code(code.id, code.slug, f"{signed.path}?{signed.query}".rstrip("?")))
        return Organization(organization, codes, style, keys)

    @staticmethod
    def _key(client: Client, organization: str, role: str) -> Any:
        draft = {"name": role, "role": role}
        return client.ask("POST", f"/api/organizations/{organization}/api-keys", draft)


def all_answered(people: People) -> None:
    """End the test where somebody was refused."""
    if people.failures:
        sys.exit(f"{len(people.failures)} requests failed, such as {people.failures[0]}")


def ratio(before: tuple[int, int], after: tuple[int, int]) -> tuple[float, int]:
    """How much of what was looked for was found between two readings, and how many looks."""
    hits, misses = after[0] - before[0], after[1] - before[1]
    return hits / max(hits + misses, 1), hits + misses


def errors(report: Any) -> int:
    """How often the cache failed: what a sound server on a starved machine is left aside for."""
    return sum(counted["since_start"]["errors"] for counted in report["namespaces"].values())


def hits(installation: Installation, cache: str, wanted: Hits) -> Iterator[Line]:
    """What is found from a cold start on, and how much of it in the second half."""
    with ExitStack() as stack:
        server = stack.enter_context(memcached()).port if cache in SERVED else 0
        stack.enter_context(installation.served(cache, server))
        people = stack.enter_context(People(installation.port))
        crowd = Crowd(installation.organizations)
        started = time.perf_counter()
        people.ask(crowd.schedule(SECONDS / 2, IMAGES_A_SECOND))
        middle = installation.looks()
        people.ask(crowd.schedule(SECONDS / 2, IMAGES_A_SECOND))
        took = time.perf_counter() - started
        all_answered(people)
        end = installation.looks()
        sent = sum(people.counts.values())
        yield Line(
            cache, "requests", f"{sent:,} in {took:.0f} s, {errors(installation.report())} errors"
        )
        for name, target in (
            ("image", wanted.image),
            ("stats", wanted.stats),
            ("timeline", wanted.timeline),
        ):
            whole, looks = ratio((0, 0), end[name])
            late, _ = ratio(middle[name], end[name])
            told = f"{whole:.3f} of {looks:,}, later {late:.3f}"
            yield Line(cache, f"{name}, found", told, f">= {target:g}", whole >= target)


def others(
    installation: Installation, people: People, schedule: Iterable[Due]
) -> tuple[float, int]:
    """How much of what the others look for is found, and how many looks that are.

    Whatever the attacker looks for is missed. Ends the test where the service has counted
    another number of looks than were asked for.
    """
    people.counts.clear()
    first = installation.looks()["image"]
    people.ask(schedule)
    all_answered(people)
    last = installation.looks()["image"]
    asked, attacks = people.counts["image 200"], people.counts["attack 200"]
    counted = sum(last) - sum(first)
    if counted != asked + attacks:
        sys.exit(f"{counted} looks were counted of {asked + attacks}")
    return (last[0] - first[0]) / asked, asked


def admission(installation: Installation, cache: str, wanted: Hits) -> Iterator[Line]:
    """What is found of the others' images, without and with somebody who asks for all there are."""
    organization = installation.organizations[0]
    with ExitStack() as stack:
        server, more = 0, ""
        if cache in SERVED:
            server = stack.enter_context(memcached("-m", str(ROOM // 2**20))).port
        else:
            own = ROOM // WORKERS if cache == "memory" else ROOM
            more = f"[plugin.{cache}]\nmax_bytes = {own}\n"
        stack.enter_context(installation.served(cache, server, more))
        people = stack.enter_context(People(installation.port))
        crowd = Crowd(installation.organizations)
        people.ask(crowd.settled())
        share, looks = others(installation, people, crowd.schedule(QUIET, OTHERS_A_SECOND))
        yield Line(cache, "others' images, not attacked", f"{share:.3f} of {looks:,}")
        before = installation.report()
        schedules = crowd.schedule(ATTACK, OTHERS_A_SECOND), attack(organization, ATTACK)
        both = heapq.merge(*schedules, key=lambda due: due.at)
        share, looks = others(installation, people, both)
        yield Line(
            cache,
            "others' images, attacked",
            f"{share:.3f} of {looks:,}",
            f">= {wanted.under_attack:g}",
            share >= wanted.under_attack,
        )
        after = installation.report()
        first, last = (
            report["namespaces"]["image"]["since_start"]["bytes_written"]
            for report in (before, after)
        )
        overflow, evicted = (last - first) / ROOM, after["evictions"] - before["evictions"]
        told = f"{overflow:.1f} x the room, {evicted:,} evicted"
        yield Line(cache, "  by images that nobody wants", told)
        yield Line(cache, "  meanwhile", f"{errors(after)} errors")


class Spell(NamedTuple):
    """Some time in which the servers were in one state."""

    name: str
    start: float
    end: float


class Watch:
    """Has servers fail and come back, and notes when, while people go on asking."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.spells: list[Spell] = []
        self.back: dict[str, float] = {}

    def normal(self) -> None:
        """Note what is normal, once the cold start is over."""
        time.sleep(SETTLING)
        self._spell(NORMALLY, NORMAL)

    def away(self, name: str, fail: Callable[[], object], mend: Callable[[], object]) -> None:
        """Have a server fail and come back."""
        fail()
        time.sleep(FAILING)
        self._spell(name, AWAY)
        if self._installation.is_whole():
            sys.exit(f"no worker noticed that the server is {name}")
        began = time.perf_counter()
        mend()
        while not self._installation.is_whole():
            if time.perf_counter() - began > PATIENCE:
                break
            time.sleep(0.02)
        self.back[name] = time.perf_counter() - began
        self._spell(NORMALLY, AGAIN)

    def p99(self, asked: Sequence[Asked], kind: str, name: str) -> float:
        """The time in ms within which 99 of 100 were answered in the spells of that name."""
        spells = [spell for spell in self.spells if spell.name == name]
        times = [
            1000 * one.seconds
            for one in asked
            if one.name == kind and any(spell.start <= one.sent < spell.end for spell in spells)
        ]
        return percentile(times, 99)

    def _spell(self, name: str, seconds: float) -> None:
        start = time.perf_counter()
        time.sleep(seconds)
        self.spells.append(Spell(name, start, time.perf_counter()))


def watched(
    installation: Installation, server: int, story: Callable[[Watch], object], wanted: Hits
) -> Iterator[Line]:
    """What people see who ask at a steady rate while the story goes on."""
    watch = Watch(installation)
    with installation.served("memcached", server), People(installation.port) as people:
        crowd = Crowd(installation.organizations)
        asked = people.ask_during(lambda: story(watch), crowd.signed(), 2 * STEADY)
    names = list(dict.fromkeys(spell.name for spell in watch.spells))
    for kind in ("redirect", "signed image"):
        p99 = {name: watch.p99(asked, kind, name) for name in names}
        for name, milliseconds in p99.items():
            what, told_ms = f"{kind}, p99, {name}", f"{milliseconds:.1f} ms"
            if name == NORMALLY:
                yield Line("memcached", what, told_ms)
                continue
            more = milliseconds - p99[NORMALLY]
            yield Line(
                "memcached",
                what,
                f"{told_ms}, {more:+.1f} ms",
                f"<= +{wanted.away_p99_ms:g} ms",
                more <= wanted.away_p99_ms,
            )
    for name, seconds in watch.back.items():
        target = f"<= {wanted.back_s:g} s"
        yield Line(
            "memcached", f"back when {name}", f"{seconds:.1f} s", target, seconds <= wanted.back_s
        )
    failed = len(people.failures)
    yield Line("memcached", "failed", f"{failed} of {len(asked):,}", "0", not failed)
    for failure in people.failures[:3]:
        print(f"  {failure}")


def _steadily(questions: Iterable[Question], rate: float, done: threading.Event) -> Iterator[Due]:
    for number, question in enumerate(questions):
        if done.is_set():
            return
        yield Due(number / rate, question)


def away(installation: Installation, wanted: Hits) -> Iterator[Line]:
    """What is left while a server is killed, stopped, and drips."""
    with memcached() as server:

        def killed_and_stopped(watch: Watch) -> None:
            watch.normal()
            watch.away("killed", server.kill, server.start)
            watch.away(
                "stopped",
                lambda: server.send(signal.SIGSTOP),
                lambda: server.send(signal.SIGCONT),
            )

        yield from watched(installation, server.port, killed_and_stopped, wanted)
    with memcached() as server, dripping(server.port) as drip:

        def dripped(watch: Watch) -> None:
            def toggle() -> None:
                drip.send(signal.SIGUSR1)

            watch.normal()
            watch.away("dripping", toggle, toggle)

        yield from watched(installation, drip.port, dripped, wanted)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--caches", nargs="+", choices=CACHES, default=CACHES)
    parser.add_argument("--parts", nargs="+", choices=("hits", "admission", "away"), default=None)
    options = parser.parse_args()
    wanted = targets.read().hits
    parts = options.parts or ("hits", "admission", "away")
    met = True
    with tempfile.TemporaryDirectory(prefix="quietzone-load-") as name:
        installation = Installation(Path(name))
        print(f"{'cache':<9}  {'':<32}  {'measured':<34}  {'target':<9}  verdict", flush=True)
        lines: list[Iterator[Line]] = []
        if "hits" in parts:
            lines += [hits(installation, cache, wanted) for cache in options.caches]
        if "admission" in parts:
            lines += [admission(installation, cache, wanted) for cache in options.caches]
        if "away" in parts and "memcached" in options.caches:
            lines.append(away(installation, wanted))
        for line in itertools.chain.from_iterable(lines):
            line.show()
            met = met and line.met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
