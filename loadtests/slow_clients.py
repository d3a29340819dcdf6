"""Measures how gunicorn's worker classes stand clients that are slow on purpose.

For each worker class and each kind of bad client it starts gunicorn on a free loopback port,
attaches the bad clients from a process of their own, sends paced requests as an ordinary client
would, and prints their p50, p99, maximum and failures, and the most memory that a worker took. Each
measurement takes `--seconds`, plus a few to start and stop. `docs/worker-class.md` and
`docs/raw-http.md` keep what was measured. Run it from the root of the
repository:

    .venv/bin/python -m loadtests.slow_clients
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import math
import multiprocessing
import os
import platform
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import falcon

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

    Counter = Synchronized[int]

HEADS = b"Host: localhost\r\nUser-Agent: slow\r\n"
GIVE_UP = 5.0
"""Seconds after which an ordinary client counts its request as failed."""

SETTLE = 3.0
"""Seconds in which the bad clients come."""


class Redirect:
    """Answers at once, as a scan does; a POST is answered when its whole body has come."""

    def on_get(self, _: falcon.Request, resp: falcon.Response) -> None:
        resp.status = falcon.HTTP_302
        resp.location = "https://example.com/"

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        req.bounded_stream.read()
        resp.status = falcon.HTTP_204


def application() -> falcon.App[Any, Any]:
    """The small application that is measured unless `--app` names another."""
    app = falcon.App()
    app.add_route("/", Redirect())
    return app


@dataclass(frozen=True)
class Target:
    """The application to serve, and the addresses to ask for."""

    app: str
    path: str
    post_path: str
    long_path: str
    post_fields: tuple[str, ...] = ()

    def post(self, framing: str) -> bytes:
        """The head of a POST whose body is framed like this."""
        fields = ("Content-Type: application/json", *self.post_fields, framing)
        lines = "".join(f"{field}\r\n" for field in fields)
        return f"POST {self.post_path} HTTP/1.1\r\n{lines}".encode() + HEADS + b"\r\n"


@dataclass(frozen=True)
class Crowd:
    """How many bad clients of each kind are attached at a time."""

    name: str
    dripping: int = 0
    idle: int = 0
    slow_body: int = 0
    lingering: int = 0
    filling: int = 0
    endless_head: int = 0
    large_body: int = 0
    endless_body: int = 0
    unread: int = 0

    @property
    def clients(self) -> int:
        """How many they are together."""
        return sum(each for each in astuple(self) if isinstance(each, int))


CROWDS = (
    Crowd("none"),
    Crowd("8 dripping headers", dripping=8),
    Crowd("500 dripping headers", dripping=500),
    Crowd("500 idle", idle=500),
    Crowd("200 slow bodies", slow_body=200),
    Crowd("50 lingering", lingering=50),
    Crowd("all of these", dripping=500, idle=500, slow_body=200, lingering=50),
    Crowd("3,000 idle", idle=3000),
    Crowd("500 heads filled to 24 KB", filling=500),
    Crowd("50 endless heads", endless_head=50),
    Crowd("200 bodies stuck at 900 KB", large_body=200),
    Crowd("20 endless bodies", endless_body=20),
    Crowd("200 unread answers", unread=200),
)

WORKER_CLASSES = {
    "gthread": ["--worker-class", "gthread", "--threads", "4"],
    "gevent": ["--worker-class", "gevent"],
}


async def drip_headers(
    target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """A head that never ends: one more header line each second."""
    writer.write(f"GET {target.path} HTTP/1.1\r\n".encode() + HEADS)
    await drip(b"X-Drip: 1\r\n", reader, writer)


async def drip(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send this once a second, until the server hangs up."""
    while not reader.at_eof():
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(1)


async def stay_idle(_: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A connection on which nothing is ever sent."""
    await reader.read()


async def drip_body(
    target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """A body that was announced as 10 kB and comes a byte a second."""
    writer.write(target.post("Content-Length: 10000"))
    await drip(b" ", reader, writer)


async def linger(target: Target, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A request with `Connection: close` whose sender leaves its socket open for a second."""
    head = f"GET {target.path} HTTP/1.1\r\nConnection: close\r\n"
    writer.write(head.encode() + HEADS + b"\r\n")
    await writer.drain()
    await asyncio.sleep(1)


async def fill_head(
    target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """A head of 24 KB that comes at once, but for its end."""
    writer.write(f"GET {target.path} HTTP/1.1\r\n".encode() + HEADS)
    writer.write((b"X-Fill: " + b"a" * 7900 + b"\r\n") * 3)
    await drip(b"X-Drip: 1\r\n", reader, writer)


async def flood_head(
    target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """A head that never ends, sent as fast as it is taken."""
    writer.write(f"GET {target.path} HTTP/1.1\r\n".encode() + HEADS)
    while not reader.at_eof():
        writer.write(b"X-Flood: 1\r\n" * 50)
        await writer.drain()


async def fill_body(
    target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """A body of a megabyte that comes at once, but for its end."""
    writer.write(target.post("Content-Length: 1000000"))
    writer.write(b" " * 900_000)
    await drip(b" ", reader, writer)


async def flood_body(
    target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """A body of chunks of a byte that never ends, sent as fast as it is taken."""
    writer.write(target.post("Transfer-Encoding: chunked"))
    while not reader.at_eof():
        writer.write(b"1\r\n \r\n" * 1000)
        await writer.drain()


async def read_nothing(
    target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Two hundred requests at once, of whose answers nothing is read."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    request = f"GET {target.long_path} HTTP/1.1\r\n".encode() + HEADS + b"\r\n"
    writer.write(request * 200)
    await drip(b"", reader, writer)


Behaviour = Callable[[Target, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Attached:
    """Counts the connections of the bad clients; tells another process the most at a time."""

    def __init__(self, most: Counter) -> None:
        self._now = 0
        self._most = most

    def add(self, change: int) -> None:
        self._now += change
        self._most.value = max(self._most.value, self._now)


async def misbehave(port: int, behave: Callable[..., Awaitable[None]], attached: Attached) -> None:
    """One bad client, for ever: where the server hangs up, it comes back."""
    while True:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(GIVE_UP):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            attached.add(1)
            try:
                await behave(reader, writer)
            finally:
                attached.add(-1)
                writer.close()
        await asyncio.sleep(0.2)


def crowd_main(port: int, target: Target, crowd: Crowd, seconds: float, most: Counter) -> None:
    """The process of the bad clients; it ends by itself after `seconds`."""
    raise_file_limit()
    attached = Attached(most)
    kinds: list[tuple[Behaviour, int]] = [
        (drip_headers, crowd.dripping),
        (stay_idle, crowd.idle),
        (drip_body, crowd.slow_body),
        (linger, crowd.lingering),
        (fill_head, crowd.filling),
        (flood_head, crowd.endless_head),
        (fill_body, crowd.large_body),
        (flood_body, crowd.endless_body),
        (read_nothing, crowd.unread),
    ]

    async def attack() -> None:
        if crowd == Crowd(crowd.name):
            return
        clients = [
            asyncio.create_task(misbehave(port, partial(behave, target), attached))
            for behave, count in kinds
            for _ in range(count)
        ]
        await asyncio.wait(clients, timeout=seconds)
        os._exit(0)

    asyncio.run(attack())


@dataclass(frozen=True)
class Measured:
    """What the ordinary client saw: times in milliseconds, and requests that got no answer."""

    p50: float
    p99: float
    worst: float
    answered: int
    failed: int


def measure(port: int, path: str, seconds: float, pause: float) -> Measured:
    """An ordinary client: a request on a new connection every `pause` seconds, one at a time."""
    times: list[float] = []
    failed = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GIVE_UP)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            failed += response.status >= 400
            times.append((time.perf_counter() - start) * 1000)
        except (OSError, http.client.HTTPException):
            failed += 1
        finally:
            connection.close()
        time.sleep(pause)
    return Measured(
        percentile(times, 50),
        percentile(times, 99),
        max(times, default=math.nan),
        len(times),
        failed,
    )


def percentile(values: list[float], percent: float) -> float:
    """The nearest-rank percentile; not a number where there is no value."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def raise_file_limit() -> None:
    """Let this process and its children open as many connections as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def gunicorn(options: list[str], target: Target) -> Iterator[tuple[int, int]]:
    """A gunicorn of our own on a free port; gives its process id and the port once it answers."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--bind",
        f"127.0.0.1:{port}",
        *options,
        target.app,
    ]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + 30
            while measure(port, target.path, 0.01, 0.1).answered == 0:
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"gunicorn did not start:\n{log.read().decode(errors='replace')}")
            yield process.pid, port
        finally:
            # It is our own process group: a worker that is stuck must not outlive the measurement.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def most_memory(master: int) -> float:
    """The most memory that a worker of this gunicorn has had, in MiB."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii").split()
    peaks = [
        re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        for status in (Path(f"/proc/{child}/status").read_text() for child in children)
    ]
    return max((int(peak[1]) / 1024 for peak in peaks if peak is not None), default=math.nan)


def run_one(
    options: list[str], crowd: Crowd, target: Target, seconds: float, pause: float
) -> tuple[int, Measured, float]:
    """A fresh gunicorn with its bad clients: how many, what others see of it, and its memory."""
    with gunicorn(options, target) as (master, port):
        attached, seen = attack(port, crowd, target, seconds, pause)
        return attached, seen, most_memory(master)


def attack(
    port: int, crowd: Crowd, target: Target, seconds: float, pause: float
) -> tuple[int, Measured]:
    """A server and its bad clients: how many there were, and what others see of it."""
    context = multiprocessing.get_context("spawn")
    most: Counter = context.Value("i", 0)
    attackers = context.Process(
        target=crowd_main,
        args=(port, target, crowd, SETTLE + seconds + GIVE_UP, most),
        daemon=True,
    )
    attackers.start()
    try:
        time.sleep(SETTLE)
        seen = measure(port, target.path, seconds, pause)
        return most.value, seen
    finally:
        attackers.kill()
        attackers.join()


def main() -> None:
    """Print a Markdown table for each worker class."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--worker-class", choices=WORKER_CLASSES, action="append")
    parser.add_argument("--config", help="a gunicorn configuration to use instead of the classes")
    parser.add_argument("--app", default="loadtests.slow_clients:application()")
    parser.add_argument("--path", default="/", help="what is asked for (default: /)")
    parser.add_argument("--post-path", help="where slow bodies go (default: as --path)")
    parser.add_argument("--long-path", help="whose answers nobody reads (default: as --path)")
    parser.add_argument("--post-field", action="append", help="a header field of slow bodies")
    parser.add_argument("--crowd", action="append", help="only the rows that are named like this")
    parser.add_argument("--seconds", type=float, default=10.0, help="per row (default: 10)")
    parser.add_argument("--pause", type=float, default=0.02, help="between requests (0.02)")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    raise_file_limit()
    print(
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}, "
        f"{arguments.workers} workers, {arguments.seconds:g} s a row"
    )
    # Without a --config of its own, gunicorn would read the gunicorn.conf.py of this folder.
    base = ["--workers", str(arguments.workers), "--no-control-socket", "--keep-alive", "10"]
    base += ["--config", "python:loadtests"]
    if arguments.config:
        servers = {arguments.config: ["--config", arguments.config, *base[:2]]}
    else:
        names = arguments.worker_class or list(WORKER_CLASSES)
        servers = {name: [*base, *WORKER_CLASSES[name]] for name in names}
    target = Target(
        arguments.app,
        arguments.path,
        arguments.post_path or arguments.path,
        arguments.long_path or arguments.path,
        tuple(arguments.post_field or ()),
    )
    for name, options in servers.items():
        print(f"\n### {name}\n")
        print("| bad clients | attached | answered | failed | p50 ms | p99 ms | worst ms | MiB |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for crowd in CROWDS:
            if arguments.crowd and crowd.name not in arguments.crowd:
                continue
            attached, seen, memory = run_one(
                options, crowd, target, arguments.seconds, arguments.pause
            )
            print(
                f"| {crowd.name} | {attached} | {seen.answered} | {seen.failed} "
                f"| {seen.p50:.1f} | {seen.p99:.1f} | {seen.worst:.1f} | {memory:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
