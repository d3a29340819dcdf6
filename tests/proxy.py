"""A proxy that stands between a client and a server and misbehaves as it is told to."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from enum import Enum
from typing import Self


class Mode(Enum):
    """What the proxy does with commands, or with the answers to them."""

    PASS = "passes everything on"
    BLACKHOLE = "takes commands and never answers"
    DELAY = "answers after `delay` seconds"
    DRIP = "answers `piece` bytes at a time, `delay` seconds apart"
    GARBAGE = "answers with something else"
    TRUNCATE = "answers by half and hangs up"
    STALL = "answers by half, and no more"
    FLOOD = "answers without end"
    RESET = "resets the connection at every command"
    HANG_UP = "accepts connections and ends them at once"


class Proxy:
    """Listens on a port of its own; counts the connections and the commands that reach it.

    `mode` may be changed at any time, and holds for what comes from then on.
    """

    def __init__(self, upstream: tuple[str, int], delay: float = 0.05) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.mode = Mode.PASS
        self.delay = delay
        self.piece = 1
        self.connections = 0
        self.commands = 0
        self.dripped = 0

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        with self._lock:
            sockets = [self._listener, *self._sockets]
        for each in sockets:
            # Shutting down wakes the threads that wait for it; closing alone does not.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in sockets:
            each.close()

    @property
    def name(self) -> str:
        """Its address as host:port."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def seen(self) -> tuple[int, int]:
        """How many connections, and how many commands, there were so far."""
        with self._lock:
            return self.connections, self.commands

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._sockets.append(client)
            if self.mode is Mode.HANG_UP:
                self._cut(client)
                continue
            try:
                server = socket.create_connection(self._upstream)
            except OSError:
                self._cut(client)
                continue
            with self._lock:
                self._sockets.append(server)
            self._spawn(self._commands, client, server)
            self._spawn(self._answers, server, client)

    def _commands(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := client.recv(1 << 20):
                with self._lock:
                    self.commands += 1
                if self.mode is Mode.RESET:
                    # Closing with nothing to linger for sends a reset instead of an end.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.close()
                    break
                if self.mode is not Mode.BLACKHOLE:
                    server.sendall(piece)
        self._cut(server)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := server.recv(1 << 20):
                if not self._answer(client, piece):
                    break
        self._cut(client)

    def _answer(self, client: socket.socket, piece: bytes) -> bool:
        match self.mode:
            case Mode.DELAY:
                self._stopped.wait(self.delay)
                client.sendall(piece)
            case Mode.DRIP:
                for at in range(0, len(piece), self.piece):
                    drop = piece[at : at + self.piece]
                    client.sendall(drop)
                    with self._lock:
                        self.dripped += len(drop)
                    if self._stopped.wait(self.delay):
                        return False
            case Mode.GARBAGE:
                client.sendall(b"\0\xff no such thing \r\n" * (1 + len(piece) // 18))
            case Mode.TRUNCATE:
                client.sendall(piece[: len(piece) // 2])
                return False
            case Mode.STALL:
                client.sendall(piece[: len(piece) // 2])
            case Mode.FLOOD:
                while True:
                    client.sendall(b"x" * 65536)
            case Mode.BLACKHOLE:
                pass
            case _:
                client.sendall(piece)
        return True

    @staticmethod
    def _cut(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
