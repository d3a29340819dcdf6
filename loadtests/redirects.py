"""The benchmark of redirects: how much of a bare redirect's speed is left where scans are counted.

One worker of gunicorn answers each: Quietzone, which records and drains every scan, and a Falcon
resource that does nothing but answer 302. They are asked by turns, over the same number of
connections that stay open. What counts is how many requests a worker answers in a second of its
processor's time (of Linux' /proc), since whoever asks may be slower than it. The exit code is 1
where the share misses `loadtests/targets.toml` or a scan was miscounted. Run it from the root of
the repository:

    .venv/bin/python -m loadtests.redirects
"""

from __future__ import annotations

import argparse
import os
import secrets
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

import falcon

from loadtests import targets
from loadtests.slow_clients import free_port
from loadtests.smoke import ROOT, Client, fill, quietzone, service

CONNECTIONS = 16
SECONDS = 1.0

# As config/loadtest.toml, with one worker: beside the bare one's, whose loop is never idle either.
SETTINGS = """
[service]
data = { env = "QUIETZONE_DATA" }
bind = { env = "QUIETZONE_BIND" }
workers = 1

[log]
level = "warning"
requests = false
"""
PHONE = "Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/130.0 Mobile Safari/537.36"


class _Bare:
    """`/r/{slug}` of somebody who counts nothing."""

    def on_get(self, _: falcon.Request, resp: falcon.Response, slug: str) -> None:
        """Answer 302."""
        resp.status = 302
        resp.set_header("Location", f"https://example.com/{slug}")


def bare() -> falcon.App[falcon.Request, falcon.Response]:
    """The application that gunicorn serves for comparison."""
    app = falcon.App()
    app.add_route("/r/{slug}", _Bare())
    return app


class Speed(NamedTuple):
    """Requests a second, and in a second of the worker's processor time."""

    wall: float
    worker: float


class Scanners:
    """Open connections, each of which asks again as soon as it was answered."""

    def __init__(self, port: int, slug: str) -> None:
        self._request = (
            f"GET /r/{slug} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: {PHONE}\r\n"
            "Accept-Language: de-DE,de;q=0.9\r\nAccept: */*\r\n\r\n"
        ).encode()
        self._port = port
        self.answered = 0

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        self._connections = []
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", self._port), timeout=10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(connection, selectors.EVENT_READ, connection)
            self._connections.append(connection)
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for connection in self._connections:
            connection.close()

    def scan(self, seconds: float, master: int) -> Speed:
        """Scan for some seconds; `master` is the process whose worker answers."""
        worked = _worked(master)
        for connection in self._connections:
            connection.sendall(self._request)
        began = now = time.perf_counter()
        done, waiting = 0, CONNECTIONS
        while waiting:
            for key, _ in self._selector.select(10) or sys.exit("a redirect was not answered"):
                connection = key.data
                # Redirects have no body, and come in one piece.
                answer = connection.recv(65536)
                if not (answer.startswith(b"HTTP/1.1 302") and answer.endswith(b"\r\n\r\n")):
                    sys.exit(f"a redirect was answered with {answer!r}")
                done += 1
                now = time.perf_counter()
                if now - began < seconds:
                    connection.sendall(self._request)
                else:
                    waiting -= 1
        self.answered += done
        return Speed(done / (now - began), done / (_worked(master) - worked))


@contextmanager
def serve_bare(port: int, folder: Path) -> Iterator[int]:
    """The bare application under the same server, with as many workers of the same class."""
    command = [
        *(sys.executable, "-m", "gunicorn", "--worker-class", "gevent", "--workers", "1"),
        *("--bind", f"127.0.0.1:{port}", "--keep-alive", "75", "--worker-connections", "4096"),
        *("--log-level", "warning", "--pythonpath", str(ROOT), "loadtests.redirects:bare()"),
    ]
    # Not where gunicorn would find the settings of Quietzone.
    process = subprocess.Popen(command, cwd=folder)
    try:
        _wait_until_it_listens(port, process)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("the bare application did not start")
            time.sleep(0.1)
        else:
            return


def _worked(master: int) -> float:
    """The processor time of a gunicorn's workers, in seconds, without what they have started."""
    ticks = 0
    for worker in Path(f"/proc/{master}/task/{master}/children").read_text().split():
        # The name, which may hold anything, is in parentheses; the times come 12th behind it.
        fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def counted(client: Client, code: str, wanted: int) -> int:
    """The scans that the service has counted, once they are as many as wanted, or after 30 s."""
    deadline = time.monotonic() + 30
    while True:
        scans = int(client.ask("GET", code)["scans_total"])
        if scans == wanted or time.monotonic() > deadline:
            return scans
        time.sleep(0.1)


def measure(rounds: int, config: str) -> tuple[list[Speed], list[Speed], int, int]:
    """The speed of the bare redirect and of ours; the scans answered and counted."""
    own_port, bare_port = free_port(), free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quietzone-load-")))
        own = folder / "settings.toml"
        own.write_text(SETTINGS)
        environ = {
            **os.environ,
            "QUIETZONE_CONFIG": config or str(own),
            "QUIETZONE_DATA": str(folder / "data"),
            "QUIETZONE_BIND": f"127.0.0.1:{own_port}",
        }
        quietzone(environ, "migrate")
        added = quietzone(environ, "organization", "add", "Load test", "--slug", "load-test")
        organization = dict(line.split(": ", 1) for line in added.splitlines())["id"]
        email, password = "owner@example.com", secrets.token_urlsafe(16)
        options = ("--organization", "load-test", "--role", "owner", "--password-stdin")
        quietzone(environ, "user", "add", email, *options, stdin=f"{password}\n")
        own_master = stack.enter_context(service(environ, folder / "service.log"))
        bare_master = stack.enter_context(serve_bare(bare_port, folder))
        code = fill(own_port, organization, {"owner": email}, password).codes[0]
        address = f"/api/organizations/{organization}/qr-codes/{code.id}"
        client = stack.enter_context(Client(own_port))
        client.ask("POST", "/api/session", {"email": email, "password": password})
        theirs, ours, answered, scans = [], [], 0, 0
        for number in range(rounds + 1):
            with Scanners(bare_port, code.slug) as scanners:
                other = scanners.scan(SECONDS, bare_master)
            with Scanners(own_port, code.slug) as scanners:
                speed = scanners.scan(SECONDS, own_master)
                answered += scanners.answered
            # The next turn shall not pay for what is left to be drained of this one.
            scans = counted(client, address, answered)
            if number:  # The first round warms up.
                theirs.append(other)
                ours.append(speed)
        return theirs, ours, answered, scans


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description="Benchmark of redirects.")
    parser.add_argument("--rounds", type=int, default=15, help="how often it is everybody's turn")
    parser.add_argument("--config", default="", help="the settings to serve with")
    options = parser.parse_args()
    theirs, ours, answered, scans = measure(options.rounds, options.config)
    share = statistics.median(
        own.worker / other.worker for own, other in zip(ours, theirs, strict=True)
    )
    wanted = targets.read().redirects.share
    met = share >= wanted
    for name, speeds in (("bare Falcon redirect", theirs), ("redirect and scan", ours)):
        walls, workers = zip(*speeds, strict=True)
        print(
            f"{name:<21} {statistics.median(workers):9.0f} requests in a second of its worker,"
            f" {statistics.median(walls):.0f} in a second"
        )
    print(f"share                  {share:8.2f}  >= {wanted}: {'ok' if met else 'miss'}")
    print(
        f"scans counted          {scans:8}  of {answered}: {'ok' if scans == answered else 'miss'}"
    )
    return 0 if met and scans == answered else 1


if __name__ == "__main__":
    sys.exit(main())
