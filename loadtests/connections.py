"""Connections that stay open, so that one process can ask a service many things at a time."""

from __future__ import annotations

import socket
from typing import NamedTuple


class Answer(NamedTuple):
    """What came back; the head ends before the empty line."""

    head: bytes
    body: bytes

    @property
    def status(self) -> bytes:
        """The three digits; empty where this is no answer of HTTP."""
        return self.head[9:12] if self.head.startswith(b"HTTP/1.1 ") else b""

    def header(self, name: str) -> str:
        """The value of a header, whose name is given in lower case; empty where there is none."""
        found, rest = (self.head.lower() + b"\r\n").partition(f"\r\n{name}: ".encode())[1:]
        if not found:
            return ""
        start = len(self.head) + len(b"\r\n") - len(rest)
        return self.head[start:].partition(b"\r\n")[0].decode("latin-1")


class Connection:
    """An open connection, which asks one thing at a time, and counts what it has `asked`."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.asked = 0
        self._received = b""

    def ask(self, request: bytes) -> None:
        """Send a request."""
        self.asked += 1
        self._received = b""
        self.socket.sendall(request)

    def answer(self) -> Answer | None:
        """Receive a piece; the answer, once it is complete or the other side has hung up.

        What was cut off is no answer: it has no head.
        """
        piece = self.socket.recv(65536)
        self._received += piece
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) >= _length(head):
            return Answer(head, body)
        return None if piece else Answer(b"", self._received)


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    """A request as it is sent."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Accept: */*", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode() + body


def _length(head: bytes) -> int:
    """How long the body is (RFC 9112, 6.3)."""
    if head.startswith(b"HTTP/1.1 304 "):
        return 0
    found, rest = head.lower().partition(b"\r\ncontent-length:")[1:]
    return int(rest.partition(b"\r\n")[0]) if found else 0
