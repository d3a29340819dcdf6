"""The benchmark of what is asked for most: how much of a bare Falcon's speed is left.

One worker of gunicorn answers for each: Quietzone, which knows codes, caches and keys, and records
and drains every scan; and a Falcon application that does nothing but answer the same, under the
worker class that gunicorn itself has for gevent. (The last column tells the share of what it does
under Quietzone's own worker class, `core.wire`, which is faster.) They are asked the same things by
turns, over the same number of connections that stay open: for one code to be scanned, and for the
images of one code after another. What counts is how many requests a worker answers in a second of
its processor's time (of Linux' /proc), since whoever asks may be slower than it; what memcached
takes itself is not in it. The exit code is 1 where a share misses `loadtests/targets.toml` or a
scan was miscounted. Run it from the root of the repository:

    .venv/bin/python -m loadtests.shares
"""

from __future__ import annotations

import argparse
import http.client
import os
import secrets
import selectors
import shutil
import statistics
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import NamedTuple, Protocol, Self
from urllib.parse import urlsplit

import falcon
import msgspec

from core.settings import Settings
from loadtests import targets
from loadtests.connections import Answer, Connection, request
from loadtests.programs import Program, memcached
from loadtests.service import (
    Client,
    fill,
    found,
    scans_of_codes,
    service,
    wait_until_counted,
)
from loadtests.settings import environment
from loadtests.slow_clients import free_port

CODES = 50
CONNECTIONS = 16
SECONDS = 0.5

CACHES = ("shared_memory", "memory", "memcached", "tiered")
SERVED = CACHES[2:]
EMAIL = "owner@example.com"
PHONE = (
    "User-Agent: Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/130.0 Mobile Safari/537.36",
    "Accept-Language: de-DE,de;q=0.9",
)


class BareRedirect:
    """`/r/{slug}` of somebody who counts nothing."""

    def on_get(self, _: falcon.Request, resp: falcon.Response, slug: str) -> None:
        """Answer 302."""
        resp.status = 302
        resp.set_header("Location", f"https://example.com/{slug}")


class BareFile:
    """A file of somebody who asks for no key, and finds every copy the right one."""

    def __init__(self, files: dict[str, bytes], media_type: str = "image/png") -> None:
        self._files = files
        self._media_type = media_type

    def on_get(self, req: falcon.Request, resp: falcon.Response, file: str, **_: str) -> None:
        """Answer 200, or 304 to whoever has a copy."""
        tag = req.get_header("If-None-Match")
        if tag is not None:
            resp.status = 304
            resp.set_header("ETag", tag)
            return
        resp.data = self._files[file]
        resp.content_type = self._media_type


class Bare(falcon.App[falcon.Request, falcon.Response]):
    """Falcon itself, with the settings that a worker looks up."""

    settings = Settings()


def bare(folder: str) -> Bare:
    """The application that gunicorn serves for comparison, with the images of a folder."""
    images = {file.name: file.read_bytes() for file in Path(folder).iterdir()}
    app = Bare()
    app.add_route("/r/{slug}", BareRedirect())
    app.add_route("/i/{signature}/{file}", BareFile(images))
    app.add_route(
        "/api/organizations/{organization}/qr-codes/{file}/image",
        BareFile({name.removesuffix(".png"): data for name, data in images.items()}),
    )
    return app


class Question(Protocol):
    """A request whose answer can be checked."""

    @property
    def request(self) -> bytes:
        """As it is sent."""

    def check(self, answer: Answer) -> None:
        """End the test where the answer is wrong."""


class Exchange(NamedTuple):
    """A request, and what its answer must be: the status, a part of its head, and its body."""

    request: bytes
    status: bytes
    head: bytes
    body: bytes = b""

    def check(self, answer: Answer) -> None:
        """End the test where the answer is wrong."""
        right = (
            answer.status == self.status
            and self.head in answer.head.lower() + b"\r\n"
            and answer.body == self.body
        )
        if not right:
            sys.exit(f"{self.request!r} was answered with {answer!r}")


class Asked(NamedTuple):
    """A code, and what pages ask of it by its signed address, and programs by an API key."""

    slug: str
    signed: str
    keyed: str
    key: str
    tag: str
    image: bytes

    @property
    def file(self) -> str:
        """What the signed address ends with."""
        return self.signed.rpartition("/")[2]

    def scan(self) -> Exchange:
        """Lead somebody on."""
        request = _get(f"/r/{self.slug}", *PHONE)
        return Exchange(request, b"302", b"\r\nlocation: https://example.com/")

    def page_image(self) -> Exchange:
        """Show the image on a page."""
        return self._image(_get(self.signed, *PHONE))

    def page_unchanged(self) -> Exchange:
        """Show it again."""
        return self._unchanged(_get(self.signed, *PHONE, self._copy))

    def program_image(self) -> Exchange:
        """Give the image to a program with an API key."""
        return self._image(_get(self.keyed, self._key))

    def program_unchanged(self) -> Exchange:
        """Tell the program that it has the image."""
        return self._unchanged(_get(self.keyed, self._key, self._copy))

    @property
    def _key(self) -> str:
        return f"Authorization: Bearer {self.key}"

    @property
    def _copy(self) -> str:
        return f"If-None-Match: {self.tag}"

    def _image(self, request: bytes) -> Exchange:
        return Exchange(request, b"200", b"\r\ncontent-type: image/png\r\n", self.image)

    def _unchanged(self, request: bytes) -> Exchange:
        return Exchange(request, b"304", f"\r\netag: {self.tag}\r\n".encode())


def _get(path: str, *headers: str) -> bytes:
    return request("GET", path, *headers)


class Row(NamedTuple):
    """What is asked of how many codes, and how `[shares]` calls it.

    No cache has a part in what is counted.
    """

    name: str
    target: str
    exchange: Callable[[Asked], Exchange]
    codes: int = CODES
    counted: bool = False


ROWS = (
    Row("redirect, scan recorded", "redirect", Asked.scan, codes=1, counted=True),
    Row("signed image", "image", Asked.page_image),
    Row("signed image, unchanged", "unchanged", Asked.page_unchanged),
    Row("image by API key", "image", Asked.program_image),
    Row("image by API key, unchanged", "unchanged", Asked.program_unchanged),
)
_WIDTH = max(len(row.name) for row in ROWS)


class Turn(NamedTuple):
    """How many requests were answered, and how many in a second of a worker's time."""

    answered: int
    speed: float


class Line(NamedTuple):
    """A row with one cache: everybody's turns, round by round, and the scans that were counted."""

    row: Row
    cache: str
    counted: int
    bare: Sequence[Turn]
    within: Sequence[Turn]
    own: Sequence[Turn]

    def judge(self, target: float) -> bool:
        """Print it; whether the share is met, and every scan counted."""
        share = _share(self.own, self.bare)
        met = share >= target
        print(
            f"{self.row.name:<{_WIDTH}}  {self.cache:<13}  {_speed(self.bare):6.0f}"
            f"  {_speed(self.own):6.0f}  {share:5.3f}  {target:6.2f}"
            f"  {'ok' if met else 'miss':<7}  {_share(self.own, self.within):5.3f}",
            flush=True,
        )
        if not self.row.counted:
            return met
        answered = sum(turn.answered for turn in self.own)
        right = self.counted == answered
        print(f"  scans counted: {self.counted} of {answered}  {'ok' if right else 'miss'}")
        return met and right


def _speeds(turns: Sequence[Turn]) -> list[float]:
    # The first round warms up.
    return [turn.speed for turn in turns[1:]]


def _speed(turns: Sequence[Turn]) -> float:
    return statistics.median(_speeds(turns))


def _share(own: Sequence[Turn], bare: Sequence[Turn]) -> float:
    pairs = zip(_speeds(own), _speeds(bare), strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


class Crowd:
    """Open connections, each of which asks for the next thing as soon as it was answered.

    `times` are those of all answers, in seconds.
    """

    def __init__(self, port: int, connections: int = CONNECTIONS) -> None:
        self._port = port
        self._number = connections
        self.times: list[float] = []

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        self._connections = [Connection(self._port) for _ in range(self._number)]
        for connection in self._connections:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for connection in self._connections:
            connection.socket.close()

    def ask(
        self, questions: Sequence[Question], *, once: bool = False, seconds: float = SECONDS
    ) -> int:
        """Ask again and again, for some seconds, or each question once; how many were answered."""
        following = iter(questions) if once else cycle(questions)
        asked: dict[Connection, tuple[Question, float]] = {}
        until = time.perf_counter() + seconds

        def ask_next(connection: Connection) -> bool:
            question, now = next(following, None), time.perf_counter()
            if question is None or (not once and now >= until):
                return False
            asked[connection] = question, now
            connection.ask(question.request)
            return True

        done, waiting = 0, sum(map(ask_next, self._connections))
        while waiting:
            for key, _ in self._selector.select(10) or sys.exit("a request was not answered"):
                connection = key.data
                answer = connection.answer()
                if answer is None:
                    continue
                question, sent = asked[connection]
                self.times.append(time.perf_counter() - sent)
                question.check(answer)
                done += 1
                waiting -= not ask_next(connection)
        return done


class Server(NamedTuple):
    """A gunicorn, by the port and the id of its master."""

    port: int
    master: int

    def turn(self, questions: Sequence[Question], *, once: bool = False) -> Turn:
        """Ask for some seconds, or each question once."""
        with Crowd(self.port) as crowd:
            worked = self._worked()
            answered = crowd.ask(questions, once=once)
            return Turn(answered, answered / (self._worked() - worked))

    def _worked(self) -> float:
        """The processor time of the workers, in seconds, without what they have started."""
        ticks = 0
        for worker in Path(f"/proc/{self.master}/task/{self.master}/children").read_text().split():
            # The name, which may hold anything, is in parentheses; the times come 12th behind it.
            fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


class Account(NamedTuple):
    """Who looks after the codes."""

    port: int
    organization: str
    password: str

    def codes(self) -> list[Asked]:
        """Create the codes and a key for their images."""
        known = fill(self.port, self.organization, EMAIL, self.password, CODES)
        codes = []
        with Client(self.port) as client:
            self._sign_in(client)
            address = f"/api/organizations/{self.organization}"
            draft = {"name": "Load test", "role": "analyst"}
            key = client.ask("POST", f"{address}/api-keys", draft)["token"]
            for code in known:
                keyed = f"{address}/qr-codes/{code.id}/image"
                url = urlsplit(client.ask("GET", f"{keyed}-url")["url"])
                tag, image = self._image(url.path)
                codes.append(Asked(code.slug, url.path, keyed, key, tag, image))
        return codes

    def counted(self, wanted: int) -> int:
        """The scans of all codes, once they are as many as wanted, or after 30 s."""
        with Client(self.port) as client:
            self._sign_in(client)
            return wait_until_counted(lambda: scans_of_codes(client, self.organization), wanted)

    def _sign_in(self, client: Client) -> None:
        client.ask("POST", "/api/session", {"email": EMAIL, "password": self.password})

    def _image(self, path: str) -> tuple[str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        image = response.read()
        connection.close()
        tag = response.getheader("ETag")
        if response.status != 200 or tag is None:
            sys.exit(f"{path} was answered {response.status}: {image!r}")
        return tag, image


def bare_program(application: str, worker_class: str = "gevent") -> Program:
    """A bare application, as gunicorn is told of it, with one worker."""
    port = free_port()
    return Program(
        *(port, sys.executable, "-m", "gunicorn", "--workers", "1"),
        *("--worker-class", worker_class),
        *("--bind", f"127.0.0.1:{port}", "--keep-alive", "75", "--worker-connections", "4096"),
        # Without a --config of its own, gunicorn would read the settings of Quietzone.
        *("--config", "python:loadtests", "--no-control-socket", "--log-level", "warning"),
        application,
    )


def available(config: str) -> Sequence[str]:
    """The caches to measure with: that of the settings, or all that there is a server for."""
    if config:
        tree = tomllib.loads(Path(config).read_text(encoding="utf-8"))
        return [tree.get("cache", {}).get("backend", CACHES[0])]
    for name, there in (
        ("memcached", shutil.which("memcached")),
        ("pymemcache", find_spec("pymemcache")),
    ):
        if there is None:
            print(f"skipped: {' and '.join(SERVED)}, since {name} is not installed")
            return CACHES[:2]
    return CACHES


@contextmanager
def surroundings(cache: str, config: str, folder: Path, port: int) -> Iterator[dict[str, str]]:
    """What the service is told by its environment, and a memcached server where it needs one."""
    with nullcontext() if config or cache not in SERVED else memcached() as server:
        # One worker, beside the bare one's, whose loop is never idle either.
        own = environment(folder, port, 1, cache, server.port if server is not None else 0)
        yield {**own, "QUIETZONE_CONFIG": config or own["QUIETZONE_CONFIG"]}


def measure(caches: Sequence[str], rounds: int, config: str) -> Iterator[Line]:
    """Serve the same codes with each cache in turn, and ask for what every row asks for."""
    port, password = free_port(), secrets.token_urlsafe(16)
    with tempfile.TemporaryDirectory(prefix="quietzone-load-") as name:
        folder = Path(name)
        log, images = folder / "service.log", folder / "images"
        with surroundings(caches[0], config, folder, port) as environ:
            account = Account(port, found(environ, {"owner": EMAIL}, password), password)
            with service(environ, log):
                codes = account.codes()
        images.mkdir()
        for code in codes:
            (images / code.file).write_bytes(code.image)
        application = f"loadtests.shares:bare({str(images)!r})"
        with ExitStack() as stack:
            others = []
            for worker_class in ("gevent", "core.wire.Worker"):
                program = stack.enter_context(bare_program(application, worker_class))
                others.append(Server(program.port, program.pid))
            for cache in caches:
                with (
                    surroundings(cache, config, folder, port) as environ,
                    service(environ, log) as master,
                ):
                    for row in ROWS:
                        if cache == caches[0] or not row.counted:
                            exchanges = [row.exchange(code) for code in codes[: row.codes]]
                            scanned = account.counted if row.counted else None
                            everybody = [*others, Server(port, master)]
                            turns, scans = alternate(everybody, exchanges, rounds, scanned)
                            yield Line(row, cache, scans, *turns)


def alternate(
    everybody: Sequence[Server],
    exchanges: Sequence[Exchange],
    rounds: int,
    counted: Callable[[int], int] | None,
) -> tuple[list[list[Turn]], int]:
    """Everybody's turns, one round more than asked for, and the scans that the last has counted."""
    turns: list[list[Turn]] = [[] for _ in everybody]
    scans = 0
    for _ in range(rounds + 1):
        for server, own in zip(everybody, turns, strict=True):
            own.append(server.turn(exchanges))
        if counted is not None:
            # The next turn shall not pay for what is left to be drained of this one.
            scans = counted(sum(turn.answered for turn in turns[-1]))
    return turns, scans


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=9, help="how often it is everybody's turn")
    parser.add_argument("--config", default="", help="the settings to serve with, and no others")
    options = parser.parse_args()
    wanted = msgspec.structs.asdict(targets.read().shares)
    caches = available(options.config)
    print("Requests that a worker answers in a second of its processor's time:")
    print(
        f"{'row':<{_WIDTH}}  {'cache':<13}    bare    ours  share  target  verdict"
        "  within core.wire",
        flush=True,
    )
    lines = measure(caches, options.rounds, options.config)
    met = [line.judge(wanted[line.row.target]) for line in lines]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
