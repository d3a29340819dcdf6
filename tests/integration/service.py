"""Runs the real service in a process of its own, for as long as a test needs it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.command import run

ROOT = Path(__file__).resolve().parents[2]
QUIETZONE = Path(sys.executable).with_name("quietzone")
PATIENCE = 60.0
"""How long anything is waited for before a test fails, in seconds."""


class Answer:
    """One HTTP answer, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """`quietzone init` and `quietzone serve` on a free loopback port, in a folder of a test.

    `within` are the words of a command that serves by replacing itself with what follows them.
    """

    def __init__(self, folder: Path, *, within: Sequence[str] = (), **environ: str) -> None:
        self.data = folder / "data"
        self._within = within
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address: tuple[str, int] = probe.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self.environ = {
            **os.environ,
            "QUIETZONE_DATA": str(self.data),
            "QUIETZONE_BIND": f"127.0.0.1:{self.address[1]}",
            "QUIETZONE_BASE_URL": self.url,
            **environ,
        }
        self._log = folder / "service.log"

    def __enter__(self) -> Service:
        done = run(["init"], self.environ)
        assert done.returncode == 0, done.stdout + done.stderr
        self.welcome = done.stdout
        self.email = self._said("email")
        self.password = self._said("password")
        self.start()
        return self

    def start(self) -> None:
        """Serve, again after it has ended, and wait until it is ready."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._within, str(QUIETZONE), "serve"],
                env=self.environ,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        try:
            self.wait_until(self._is_ready)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def journal(self) -> Path:
        """The folder of the scan journal, as the service sees it."""
        return Path(f"/proc/{self.process.pid}/root{self.data}/journal")

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def command(self, *words: str, stdin: str = "") -> str:
        """Run a `quietzone` command against the same data folder; what it printed."""
        done = subprocess.run(
            [str(QUIETZONE), *words],
            env=self.environ,
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> Answer:
        """One request on a connection of its own; redirects are not followed."""
        connection = http.client.HTTPConnection(*self.address, timeout=timeout)
        headers = dict(headers or {})
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, data, headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def sign_in(self) -> Callable[..., Answer]:
        """`request`, as the first owner."""
        credentials = {"email": self.email, "password": self.password}
        answer = self.request("POST", "/api/session", credentials)
        assert answer.status == 201, answer.body
        cookie = answer.headers["Set-Cookie"].partition(";")[0]

        def request(method: str, path: str, body: object = None, *, accept: str = "*/*") -> Answer:
            return self.request(method, path, body, {"Cookie": cookie, "Accept": accept})

        return request

    def accepts(self) -> bool:
        """Whether the port takes connections."""
        try:
            socket.create_connection(self.address, timeout=PATIENCE).close()
        except OSError:
            return False
        return True

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        return children(self.process.pid)

    def drainers(self) -> list[int]:
        """The process ids of what the workers have started: the drainer."""
        return [pid for worker in self.workers() for pid in children(worker)]

    def kill_one_worker(self) -> None:
        """`kill -9` a worker, and wait until gunicorn has started another."""
        before = set(self.workers())
        os.kill(min(before), signal.SIGKILL)
        self.wait_until(lambda: len(set(self.workers()) - before) >= 1)

    def kill(self, *, alone: bool) -> None:
        """`kill -9` the master and, unless `alone`, all that it and its workers have started."""
        children = [] if alone else [*self.workers(), *self.drainers()]
        for pid in (self.process.pid, *children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def wait_until(self, condition: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait for `condition`; fails with the service's log when patience ends."""
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited in vain; the service's log:\n{self.log}")
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the service ended:\n{self.log}")
        if not self.workers():
            # Workers of a master that was killed may still answer, and hold the port meanwhile.
            return False
        try:
            return self.request("GET", "/health/ready").status == 200
        except OSError:
            return False

    def _said(self, name: str) -> str:
        match = re.search(rf"^{name}: (.+)$", self.welcome, re.MULTILINE)
        assert match is not None, self.welcome
        return match.group(1)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in text.split()]
