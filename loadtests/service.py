"""The real service as a measurement needs it: started, filled, asked and stopped."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

N = TypeVar("N", int, float)

ROOT = Path(__file__).resolve().parent.parent


class Code(NamedTuple):
    """A code that may be asked for."""

    id: str
    slug: str


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
        time.sleep(0.02)


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
    email: str,
    password: str,
    codes: int = 10,
    prefix: str = "load",
) -> list[Code]:
    """Create some codes over HTTP, as the owner of that address."""
    drafts = [
        {"destination": f"https://example.com/{number}", "slug": f"{prefix}-{number}"}
        for number in range(codes)
    ]
    with Client(port) as client:
        client.ask("POST", "/api/session", {"email": email, "password": password})
        made = client.ask(
            "POST", f"/api/organizations/{organization}/qr-codes/bulk", {"codes": drafts}
        )["items"]
    return [Code(code["id"], code["slug"]) for code in made]


def scans_of_codes(client: Client, organization: str) -> int:
    """The scans of all codes, of which there are few."""
    page = client.ask("GET", f"/api/organizations/{organization}/qr-codes?per_page=100")
    if page["total"] > len(page["items"]):
        sys.exit("the load test has more codes than one page shows")
    return sum(int(code["scans_total"]) for code in page["items"])


def wait_until_counted(count: Callable[[], N], wanted: int) -> N:
    """What is counted, once it is as much as wanted, or after 30 s."""
    deadline = time.monotonic() + 30
    while True:
        scans = count()
        if scans == wanted or time.monotonic() > deadline:
            return scans
        time.sleep(0.1)
