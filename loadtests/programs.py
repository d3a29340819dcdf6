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

from loadtests.service import ROOT
from loadtests.slow_clients import free_port


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


def memcached(*options: str) -> Program:
    """A server with its default settings, apart from the options."""
    program = shutil.which("memcached")
    if program is None:
        sys.exit("memcached is not installed")
    user = ["-u", "root"] if os.geteuid() == 0 else []
    port = free_port()
    return Program(port, program, "-l", "127.0.0.1", "-p", str(port), "-U", "0", *user, *options)


def dripping(upstream: int) -> Program:
    """A proxy in front of a server that drips from one SIGUSR1 to the next."""
    port = free_port()
    return Program(port, sys.executable, "-c", _DRIP, str(port), str(upstream), str(_DRIP_SECONDS))


def delaying(upstream: int, seconds: float) -> Program:
    """A proxy in front of a server that keeps back whatever it says for so long."""
    port = free_port()
    return Program(port, sys.executable, "-c", _DELAY, str(port), str(upstream), str(seconds))


_DELAY = """
import asyncio, sys
port, upstream, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
async def copy(reader, writer, seconds):
    try:
        while data := await reader.read(65536):
            await asyncio.sleep(seconds)
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
async def answer(reader, writer):
    try:
        there = await asyncio.open_connection("127.0.0.1", upstream)
    except OSError:
        writer.close()
        return
    await asyncio.gather(copy(reader, there[1], 0), copy(there[0], writer, seconds))
async def main():
    async with await asyncio.start_server(answer, "127.0.0.1", port) as server:
        await server.serve_forever()
asyncio.run(main())
"""

_DRIP_SECONDS = 0.005

_DRIP = """
import signal, socket, sys, threading, time
port, upstream, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
drips = False
def toggle(*_):
    global drips
    drips = not drips
signal.signal(signal.SIGUSR1, toggle)
def answer(client):
    with client, socket.create_connection(("127.0.0.1", upstream)) as server:
        try:
            while command := client.recv(65536):
                server.sendall(command)
                answer = server.recv(65536)
                while drips and answer:
                    client.sendall(answer[:1])
                    answer = answer[1:]
                    time.sleep(seconds)
                client.sendall(answer)
        except OSError:
            pass
with socket.create_server(("127.0.0.1", port)) as listener:
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
"""
