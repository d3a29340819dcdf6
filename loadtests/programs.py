"""Servers that a measurement starts beside the service, and ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Self

from loadtests.slow_clients import free_port
from loadtests.smoke import ROOT


class Program:
    """A process that listens on a port; it can be ended and started again."""

    def __init__(self, port: int, *command: str) -> None:
        self.port = port
        self._command = command
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it accepts connections; ends the test where it does not."""
        self._process = subprocess.Popen(self._command, cwd=ROOT)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    sys.exit(f"{' '.join(self._command)} did not start")
                time.sleep(0.01)
            else:
                return

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, and wait until it has surely taken effect."""
        self._process.send_signal(number)
        time.sleep(0.2)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


def memcached() -> Program:
    """A server with its default settings."""
    program = shutil.which("memcached")
    if program is None:
        sys.exit("memcached is not installed")
    user = ["-u", "root"] if os.geteuid() == 0 else []
    port = free_port()
    return Program(port, program, "-l", "127.0.0.1", "-p", str(port), "-U", "0", *user)
