"""A mail server for tests: it speaks SMTP on a port of this machine and keeps what it was sent."""

from __future__ import annotations

import base64
import socketserver
import ssl
import threading
from contextlib import ExitStack
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import msgspec


class Mail(msgspec.Struct):
    """A mail as it arrived: its envelope, and what was in it."""

    sender: str
    recipients: list[str]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=default)  # type: ignore[return-value]


class MailServer:
    """Takes mails; `answers` are given in place of the usual ones, by verb."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.mails: list[Mail] = []
        self.logins: list[tuple[str, str]] = []
        self.encrypted: list[bool] = []
        self.answers: dict[str, str] = {}
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with ExitStack() as stack:
                    _converse(outer, self, tls, stack)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _converse(
    server: MailServer, handler: Any, tls: ssl.SSLContext | None, stack: ExitStack
) -> None:
    connection, file = handler.connection, handler.rfile
    encrypted, sender, recipients = False, "", []

    def say(text: str) -> None:
        connection.sendall(f"{text}\r\n".encode())

    say("220 test")
    while line := file.readline():
        words = line.decode().strip()
        verb = words.split()[0].upper() if words else ""
        if verb in server.answers:
            say(server.answers[verb])
        elif verb == "EHLO":
            offered = ["test", "AUTH PLAIN", *(["STARTTLS"] if tls else [])]
            for more in offered[:-1]:
                say(f"250-{more}")
            say(f"250 {offered[-1]}")
        elif verb == "STARTTLS":
            assert tls is not None
            say("220 go on")
            try:
                connection = stack.enter_context(tls.wrap_socket(connection, server_side=True))
            except ssl.SSLError:
                return
            file, encrypted = stack.enter_context(connection.makefile("rb")), True
        elif verb == "AUTH":
            _, name, password = base64.b64decode(words.split()[2]).decode().split("\0")
            server.logins.append((name, password))
            say("235 welcome")
        elif verb == "MAIL":
            sender = words
            say("250 ok")
        elif verb == "RCPT":
            recipients.append(words.partition(":")[2])
            say("250 ok")
        elif verb == "DATA":
            say("354 go on")
            lines = []
            while (data := file.readline()) not in (b".\r\n", b""):
                lines.append(data.removeprefix(b"."))
            server.encrypted.append(encrypted)
            server.mails.append(Mail(sender, recipients, b"".join(lines)))
            sender, recipients = "", []
            say("250 taken")
        elif verb == "QUIT":
            say("221 bye")
            return
        else:
            say("250 ok")
