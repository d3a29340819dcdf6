"""The short load test: the real service under Locust's people for some seconds.

Starts gunicorn with `config/loadtest.toml` on a free port and an empty data folder, fills it over
the command line and HTTP, lets Locust loose, and compares with `loadtests/targets.toml`. The exit
code is 1 where a target is missed or scans were miscounted. Run it from the root of the repository:

    .venv/bin/python -m loadtests.smoke
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from loadtests import targets as targets_file
from loadtests.sample import ENVIRONMENT, Sample, SampleCode
from loadtests.slow_clients import free_port
from loadtests.targets import Load, Targets

ROOT = Path(__file__).resolve().parent.parent
ROLES = ("owner", "member", "analyst")


class Measured(msgspec.Struct, frozen=True):
    """What Locust's JSON says of one kind of request; times in milliseconds, with how often."""

    name: str
    num_requests: int
    num_failures: int
    response_times: dict[float, int]

    def p95(self) -> float:
        """The time within which 95 of 100 were answered; infinite where there was no request."""
        rest = 0.95 * self.num_requests
        for milliseconds in sorted(self.response_times):
            rest -= self.response_times[milliseconds]
            if rest <= 0:
                return milliseconds
        return float("inf")


class Line(msgspec.Struct, frozen=True):
    """A line of the table: what was wanted, what was measured, and whether that will do."""

    what: str
    target: str
    measured: str
    met: bool


def quietzone(environ: dict[str, str], *arguments: str, stdin: str | None = None) -> str:
    """Run the `quietzone` command; what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", "core.cli", *arguments],
        cwd=ROOT,
        env=environ,
        input=stdin,
        text=True,
        capture_output=True,
        check=False,
    )
    if result.returncode:
        sys.exit(f"quietzone {' '.join(arguments)} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


class Client:
    """Asks the service over one connection, with the cookie that it was given, or an API key."""

    def __init__(self, port: int, key: str = "") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._cookie = ""
        self._key = key

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # NOTE: a graceful stop waits for idle connections until `keepalive` is over.
        self._connection.close()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer's JSON; ends the test where it is not a success."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self._cookie:
            headers["Cookie"] = self._cookie
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        content = None if body is None else json.dumps(body)
        self._connection.request(method, path, content, headers)
        response = self._connection.getresponse()
        text = response.read().decode()
        if response.status >= 300:
            sys.exit(f"{method} {path} was answered {response.status}:\n{text}")
        cookie = response.getheader("Set-Cookie")
        if cookie:
            self._cookie = cookie.partition(";")[0]
        return json.loads(text)


@contextmanager
def service(environ: dict[str, str], log: Path) -> Iterator[int]:
    """The service as an operator starts it, by the id of its process; stopped gracefully."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "core.cli", "serve"],
            cwd=ROOT,
            env=environ,
            stdout=file,
            stderr=file,
        )
    try:
        wait_until_ready(int(environ["QUIETZONE_BIND"].rpartition(":")[2]), process, log)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once the service says that it is ready; end the test where it does not start."""
    deadline = time.monotonic() + 30
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the service did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)


def found(environ: dict[str, str], emails: dict[str, str], password: str) -> str:
    """Create the database and an organisation with an account for each role; its id."""
    quietzone(environ, "migrate")
    added = quietzone(environ, "organization", "add", "Load test", "--slug", "load-test")
    for role, email in emails.items():
        options = ("--organization", "load-test", "--role", role, "--password-stdin")
        quietzone(environ, "user", "add", email, *options, stdin=f"{password}\n")
    return dict(line.split(": ", 1) for line in added.splitlines())["id"]


def fill(
    port: int,
    organization: str,
    emails: dict[str, str],
    password: str,
    codes: int = 10,
    prefix: str = "load",
) -> Sample:
    """Create some codes over HTTP; what there is now to be asked for."""
    drafts = [
        {"destination": f"https://example.com/{number}", "slug": f"{prefix}-{number}"}
        for number in range(codes)
    ]
    with Client(port) as client:
        client.ask("POST", "/api/session", {"email": emails["owner"], "password": password})
        made = client.ask(
            "POST", f"/api/organizations/{organization}/qr-codes/bulk", {"codes": drafts}
        )["items"]
    known = tuple(SampleCode(id=code["id"], slug=code["slug"]) for code in made)
    return Sample(organization=organization, codes=known, emails=emails, password=password)


def run_locust(port: int, sample: Sample, load: Load, folder: Path) -> list[Measured]:
    """Let the people loose; what Locust measured for each kind of request."""
    environ = {**os.environ, ENVIRONMENT: msgspec.json.encode(sample).decode()}
    # NOTE: its CSV files may lack the last second; only the JSON is written when all is over.
    command = [
        *(sys.executable, "-m", "locust", "--locustfile", "loadtests/locustfile.py"),
        *("--host", f"http://127.0.0.1:{port}", "--headless", "--only-summary"),
        *("--users", str(load.users), "--spawn-rate", str(load.users)),
        # Requests on their way are waited for: a scan must not be counted that nobody saw answered.
        *("--run-time", f"{load.seconds}s", "--stop-timeout", "15"),
        *("--json-file", str(folder / "locust"), "--exit-code-on-error", "0"),
        *("--loglevel", "WARNING"),
    ]
    result = subprocess.run(
        command, cwd=ROOT, env=environ, text=True, capture_output=True, check=False
    )
    if result.returncode:
        sys.exit(f"locust failed:\n{result.stdout}{result.stderr}")
    measured = msgspec.json.decode((folder / "locust.json").read_bytes(), type=list[Measured])
    if any(kind.num_failures for kind in measured):
        print(result.stderr[result.stderr.find("Error report") :])
    return measured


def answered_scans(measured: list[Measured]) -> int:
    """How many scans were led on."""
    return sum(kind.num_requests - kind.num_failures for kind in measured if kind.name == "scan")


def wait_until_counted(client: Client, organization: str, wanted: int) -> int:
    """The scans of all codes, once they are as many as wanted, or after 30 s."""
    address = f"/api/organizations/{organization}/qr-codes?per_page=100"
    deadline = time.monotonic() + 30
    while True:
        page = client.ask("GET", address)
        if page["total"] > len(page["items"]):
            sys.exit("the load test has more codes than one page shows")
        scans = sum(int(code["scans_total"]) for code in page["items"])
        if scans == wanted or time.monotonic() > deadline:
            return scans
        time.sleep(0.1)


def judge(measured: list[Measured], targets: Targets, counted: int) -> list[Line]:
    """Compare what Locust measured and what the service counted with the targets."""
    by_name = {kind.name: kind for kind in measured}
    lines = []
    for name, target in targets.targets.items():
        kind = by_name.get(name, Measured(name, 0, 0, {}))
        p95 = kind.p95()
        lines.append(
            Line(
                name,
                f"p95 <= {target.p95_ms:g} ms, >= {target.requests} requests",
                f"p95 {p95:g} ms, {kind.num_requests} requests",
                p95 <= target.p95_ms and kind.num_requests >= target.requests,
            )
        )
    requests = sum(kind.num_requests for kind in measured)
    failed = sum(kind.num_failures for kind in measured)
    ratio = failed / requests if requests else 1.0
    limit = targets.load.failure_ratio
    lines.append(Line("failures", f"<= {limit:.1%}", f"{failed} of {requests}", ratio <= limit))
    answered = answered_scans(measured)
    lines.append(Line("scans counted", f"all {answered}", str(counted), counted == answered))
    return lines


def show(lines: list[Line]) -> None:
    """Print the table."""
    head = Line("what", "target", "measured", True)
    widths = [
        max(len(getattr(line, f)) for line in (head, *lines)) for f in Line.__struct_fields__[:3]
    ]
    for line in (head, *lines):
        cells = (line.what, line.target, line.measured)
        verdict = "verdict" if line is head else "met" if line.met else "MISSED"
        print("  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)), "", verdict)


def main() -> int:
    """Run the test; 1 where something was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--config", default="config/loadtest.toml", help="the settings to serve with"
    )
    parser.add_argument("--seconds", type=int, help="instead of those of loadtests/targets.toml")
    parser.add_argument("--users", type=int, help="instead of those of loadtests/targets.toml")
    arguments = parser.parse_args()
    targets = targets_file.read()
    load = msgspec.structs.replace(
        targets.load,
        seconds=arguments.seconds or targets.load.seconds,
        users=arguments.users or targets.load.users,
    )
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="quietzone-load-") as name:
        folder = Path(name)
        environ = {
            **os.environ,
            "QUIETZONE_CONFIG": arguments.config,
            "QUIETZONE_DATA": str(folder / "data"),
            "QUIETZONE_BIND": f"127.0.0.1:{port}",
        }
        emails = {role: f"{role}@example.com" for role in ROLES}
        password = secrets.token_urlsafe(16)
        organization = found(environ, emails, password)
        log = folder / "service.log"
        with service(environ, log):
            sample = fill(port, organization, emails, password)
            measured = run_locust(port, sample, load, folder)
            with Client(port) as client:
                client.ask("POST", "/api/session", {"email": emails["owner"], "password": password})
                counted = wait_until_counted(client, organization, answered_scans(measured))
        lines = judge(measured, targets, counted)
        show(lines)
        met = all(line.met for line in lines)
        if not met:
            print(f"\nthe service's log:\n{log.read_text(errors='replace')[-4000:]}")
        return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
