"""The connections of a worker: gunicorn's for gevent, with an end to all that a client draws out.

gunicorn reads the requests. It bounds each line and each field of a head, but neither the whole
head nor the time in which a body comes or an answer is taken; and it reads some requests that RFC
9112 has a server refuse. What comes back in each case is told in `docs/raw-http.md`.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import string
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import gevent
from gunicorn import util
from gunicorn.http import errors, wsgi
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.workers.ggevent import GeventWorker

from core.http.headers import DOCUMENT, REFERRER
from core.http.problems import MEDIA_TYPE, Problem, encode
from core.settings import Http

_PIECE = 65_536
"""So many bytes are received or sent at once; `http.answer_timeout` holds for each piece."""

_READ = 8192
"""What gunicorn receives at once where it does not know how much is coming."""

_FRAME = 1024
"""So many bytes are received at once where the next size of a chunk is looked for.

PERF: gunicorn copies what it holds for each chunk, and lets nobody else run meanwhile. With 8 KiB
of tiny chunks at a time, ten clients that send nothing else stop a worker for all others.
"""

_LINGER = 2.0
_MAX_LINGER = 1_048_576
"""Seconds, and bytes that are passed over, until a client has read why it is hung up on."""

_RESET = struct.pack("ii", 1, 0)

_SHORT = 16_384
"""A body of so many bytes goes out together with its head."""

_STEADY = frozenset(
    {
        *("cache-control", "content-security-policy", "content-type", "referrer-policy"),
        *("cross-origin-resource-policy", "ratelimit-policy", "strict-transport-security"),
        *("vary", "x-content-type-options"),
    }
)
"""Names of headers that have few values."""

_MOST_SOUND = 1000
_sound: set[tuple[str, str]] = set()
"""So many of these headers, at most, that gunicorn has found to be sound."""

_FIRST = frozenset(string.ascii_letters.encode() + b"\r")
"""What a connection may begin with: a method, or the empty line that RFC 9112, 2.2 lets pass."""

# RFC 9110, 4.2 and 7.2: host [ ":" port ]. It may be empty where the target has no authority.
_HOST = re.compile(r"(?:\[[0-9A-Za-z:._~%-]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(?::[0-9]*)?")

# RFC 9112, 3.2: the origin form and the absolute form. Neither has a fragment.
_TARGET = re.compile(rf"/[^#]*|https?://(?!:|[/?]|\Z){_HOST.pattern}(?:[/?][^#]*)?", re.IGNORECASE)

_FAULTS: tuple[tuple[type[Exception], int, str], ...] = (
    # Those of ours that are no fault of the client, first: each is a kind of another one below.
    (errors.InvalidResponseHeader, 500, ""),
    (errors.InvalidResponseHeaderName, 500, ""),
    (errors.LimitRequestLine, 414, "The request line is too long"),
    (errors.LimitRequestHeaders, 431, "The header is too large, or has too many fields"),
    (errors.ExpectationFailed, 417, "The only expectation that is met is 100-continue"),
    (errors.InvalidRequestLine, 400, "Invalid HTTP request line"),
    (errors.InvalidRequestMethod, 400, "Invalid HTTP method"),
    (errors.InvalidHTTPVersion, 400, "Invalid HTTP version"),
    (errors.InvalidHeaderName, 400, "Invalid name of an HTTP header field"),
    (errors.InvalidHeader, 400, "Invalid HTTP header field"),
    (errors.ObsoleteFolding, 400, "Folded HTTP header field"),
    # RFC 9112, 6.1 would have it 501; but this is the client's fault, and no failure of ours.
    (errors.UnsupportedTransferCoding, 400, "Invalid transfer coding"),
)
"""What is wrong with requests that cannot be read, and how they are answered."""


class Wire:
    """A client's socket, as gunicorn uses it.

    While a head comes, `Worker.timeout_ctx` limits the time; `begin_body` starts that of the body.
    """

    def __init__(self, sock: Any, limits: Http) -> None:
        self._sock = sock
        self._limits = limits
        self._fresh = True
        self._head = 0
        self._piece = _PIECE
        self._until: float | None = None
        self._answered = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def begin_head(self) -> None:
        """From here on the head of another request is received."""
        self._head = 0
        self._until = None

    def begin_body(self, *, chunked: bool) -> None:
        """From here on the body of a request is received, for so long as it may take."""
        self._piece = _FRAME if chunked else _PIECE
        self._until = time.monotonic() + self._limits.body_timeout

    def recv(self, size: int) -> bytes:
        """Some bytes; raises TimeoutError, or LimitRequestHeaders, where no more are waited for."""
        if self._until is None:
            return self._receive_head(size)
        # NOTE: a client that sends faster than its chunks are read would keep all others waiting,
        # since receiving what is there already does not let another greenlet run.
        gevent.sleep(0)
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the body did not come in time")
        self._sock.settimeout(left)
        # What is left of a chunk is asked for with its size, which is more than this.
        data: bytes = self._sock.recv(min(size, self._piece if size <= _READ else _PIECE))
        return data

    def _receive_head(self, size: int) -> bytes:
        if self._head >= self._limits.max_head_bytes:
            raise errors.LimitRequestHeaders("http.max_head_bytes")
        self._answered = False
        self._sock.settimeout(None)
        data: bytes = self._sock.recv(size)
        self._head += len(data)
        if self._fresh and data[:1] and data[0] not in _FIRST:
            # TLS, most often: it would wait for an answer, and we for the end of its first line.
            raise errors.InvalidRequestLine(data[:1])
        self._fresh = False
        return data

    def send(self, data: bytes) -> int:
        """Send all of it."""
        self.sendall(data)
        return len(data)

    def sendall(self, data: bytes) -> None:
        """Send all of it; raises BrokenPipeError where the client does not take it."""
        self._answered = True
        view = memoryview(data)
        try:
            for start in range(0, len(view), _PIECE):
                self._sock.settimeout(self._limits.answer_timeout)
                if start:
                    gevent.sleep(0)
                self._sock.sendall(view[start : start + _PIECE])
        except TimeoutError:
            # What the system still holds for this client is thrown away as well.
            self._answered = False
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            # NOTE: gunicorn takes this one for a client that has left, and any other for a failure.
            raise BrokenPipeError(errno.EPIPE, "the answer was not taken in time") from None

    def close(self) -> None:
        """Hang up, so that a client which still sends can read its answer (RFC 9112, 9.6)."""
        if self._answered:
            util.close_graceful(self._sock, timeout=_LINGER, max_drain=_MAX_LINGER)
        else:
            util.close(self._sock)


class Answer(wsgi.Response):  # type: ignore[misc, unused-ignore]
    """gunicorn's answer, with less work for what is the same in most of them.

    NOTE: it rests on how `Response.write` of gunicorn 27.0 goes on: by `send_headers`, and then by
    `_emit_body`. tests/unit/test_wire.py holds that.
    """

    headers_sent: bool

    def __init__(self, req: Any, sock: Wire, cfg: Any) -> None:
        super().__init__(req, sock, cfg)
        self._head = b""

    def process_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Take the headers; raises InvalidResponseHeader for what is none."""
        for header in headers:
            # PERF: to look at a header again takes 1 µs, and an answer has ten of them.
            if header in _sound:
                self.headers.append(header)
                continue
            super().process_headers((header,))
            if header[0] in _STEADY and header == self.headers[-1] and len(_sound) < _MOST_SOUND:
                _sound.add(header)

    def send_headers(self) -> None:
        """Write the head, which goes out with the first piece of the body."""
        if self.headers_sent:
            return
        major, minor = self.req.version
        lines = [
            f"HTTP/{major}.{minor} {self.status}",
            f"Server: {self.version}",
            f"Date: {_date(int(time.time()))}",
            f"Connection: {'close' if self.should_close() else 'keep-alive'}",
            *(["Transfer-Encoding: chunked"] if self.chunked else ()),
            *(f"{name}: {value}" for name, value in self.headers),
            "\r\n",
        ]
        self._head = "\r\n".join(lines).encode("latin-1")
        self.headers_sent = True

    def close(self) -> None:
        """Send what is left."""
        self.send_headers()
        self._send_head()
        super().close()

    @property
    def has_begun(self) -> bool:
        """Whether something was sent."""
        return self.headers_sent and not self._head

    def _emit_body(self, data: bytes) -> None:
        # PERF: to send twice takes 20 µs more.
        if self._head and not self.chunked and len(data) <= _SHORT:
            data, self._head = self._head + data, b""
        self._send_head()
        super()._emit_body(data)

    def _send_head(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self.sock.sendall(head)


# PERF: gunicorn looks the logger up for each request, under a lock: 12 µs.
wsgi.WSGIErrorsWrapper = lru_cache(1)(wsgi.WSGIErrorsWrapper)

# PERF: to write a date takes 13 µs, and it changes once a second.
_date = lru_cache(1)(util.http_date)


class Settled:
    """gunicorn's settings, as they are when a worker begins."""

    def __init__(self, config: Any) -> None:
        self._config = config
        # PERF: gunicorn calls three functions for each, and asks for many in a request: 22 µs.
        vars(self).update({name: setting.get() for name, setting in config.settings.items()})
        # Whose headers tell the scheme or the path is for the application to say: nobody is trusted
        # with any here. PERF: where all are, gunicorn need not read the address of each: 8 µs.
        self.secure_scheme_headers: dict[str, str] = {}
        self.forwarder_headers: list[str] = []
        self.forwarded_allow_ips = ["*"]
        # NOTE: it would let everybody in as well, past all that is limited here.
        self.http_protocols = ["h1"]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)


class Worker(GeventWorker):  # type: ignore[misc, unused-ignore]
    """gunicorn's worker for gevent, stricter and with more limits."""

    alive: bool

    def init_process(self) -> None:
        """Begin in the new process."""
        self.cfg: Any = Settled(self.cfg)
        self._tells = bool(self.log.access_log_enabled or self.cfg.statsd_host)
        super().init_process()

    def handle_usr1(self, sig: Any, frame: Any) -> None:
        """Begin new files of the log."""
        super().handle_usr1(sig, frame)
        wsgi.WSGIErrorsWrapper.cache_clear()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection."""
        super().handle(listener, Wire(client, self.wsgi.settings.http), addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Wire, addr: Any) -> None:
        """Answer one request; where its body was not read to its end, the connection ends."""
        demand(req)
        ends = req.should_close
        # NOTE: gunicorn would read what is left of the body, however long, to find the next request
        # behind it. Where that is wrongly framed, it would be answered a second time.
        req.should_close = lambda: ends() or not _is_read(req.body.reader)
        chunked = isinstance(req.body.reader, ChunkedReader)
        if chunked:
            req.body.reader.limit_trailer_section = self.wsgi.settings.http.max_head_bytes
        sock.begin_body(chunked=chunked)
        try:
            self._answer(listener_name, req, sock, addr)
        except (gevent.GreenletExit, SystemExit):
            # NOTE: gunicorn would go on with the next request, whose answer would be taken for the
            # rest of this one. A worker that leaves ends its greenlets so.
            raise StopIteration from None
        finally:
            sock.begin_head()
            # NOTE: where the next request has come already, gevent would go on with it: a client
            # that asks as fast as it is answered would keep others waiting for hundreds of ms.
            gevent.sleep(0)

    def _answer(self, listener_name: Any, req: Any, sock: Wire, addr: Any) -> None:
        """Have the application answer; raises StopIteration where the connection ends with that.

        As `AsyncWorker.handle_request` of gunicorn 27.0 does. PERF: that takes 10 µs more, most of
        it for hooks that are not used here.
        """
        began = time.monotonic()
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        answer, environ = wsgi.create(req, sock, addr, listener_name, self.cfg, Answer)
        environ["wsgi.multithread"] = True
        if not self.alive or not self.cfg.keepalive:
            answer.force_close()
        try:
            pieces = self.wsgi(environ, answer.start_response)
            try:
                for piece in pieces:
                    answer.write(piece)
                answer.close()
            finally:
                if self._tells:
                    took = timedelta(seconds=time.monotonic() - began)
                    self.log.access(answer, req, environ, took)
                if hasattr(pieces, "close"):
                    pieces.close()
        except (StopIteration, OSError):
            raise
        except (Exception, SystemExit):
            if not answer.has_begun:
                raise
            # Another answer in the middle of this one would be taken for a part of it.
            self.log.exception("Error handling request")
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
                sock.close()
            raise StopIteration from None
        if answer.should_close():
            raise StopIteration

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that cannot be read, with nothing in answer or log of what it held."""
        found = ((status, told) for kind, status, told in _FAULTS if isinstance(exc, kind))
        status, told = next(found, (500, ""))
        if status == 500:
            super().handle_error(req, client, addr, exc)
            return
        request_id = os.urandom(16).hex()
        self.log.warning("Invalid request: %s, request %s", told, request_id)
        phrase = HTTPStatus(status).phrase
        body = encode(Problem(phrase, status, request_id, detail=f"{told}."))
        head = (
            f"HTTP/1.1 {status} {phrase}\r\nDate: {formatdate(usegmt=True)}\r\n"
            f"Connection: close\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n"
            f"X-Request-ID: {request_id}\r\nCache-Control: no-store\r\n"
            f"X-Content-Type-Options: nosniff\r\nContent-Security-Policy: {DOCUMENT}\r\n"
            f"Referrer-Policy: {REFERRER}\r\n\r\n"
        )
        try:
            client.sendall(head.encode() + body)
        except OSError:
            self.log.debug("The client of an invalid request has left.")


def demand(req: Any) -> None:
    """Refuse what gunicorn lets pass and RFC 9112 does not, or what proxies may read otherwise.

    Raises one of gunicorn's own errors for requests that cannot be read.
    """
    # RFC 9110, 2.5: a higher minor version is answered as the highest one that is known.
    req.version = min(req.version, (1, 1))
    if req.method == "CONNECT":
        raise errors.InvalidRequestMethod(req.method)
    if req.uri != "*" and not _TARGET.fullmatch(req.uri):
        raise errors.InvalidRequestLine(req.uri)
    hosted = coded = False
    for name, value in req.headers:
        if name == "HOST":
            hosted = True
            if not _HOST.fullmatch(value):
                raise errors.InvalidHeader("HOST")
        elif name == "TRANSFER-ENCODING":
            # Of stacked codings nothing here makes use, and not all agree where such a body ends.
            if coded or value.lower() != "chunked":
                raise errors.UnsupportedTransferCoding("TRANSFER-ENCODING")
            coded = True
    if not hosted and req.version == (1, 1):
        raise errors.InvalidHeader("HOST")


def _is_read(reader: Any) -> bool:
    """Whether the next request begins where the connection stands now."""
    if isinstance(reader, LengthReader):
        return bool(reader.length == 0)
    return isinstance(reader, ChunkedReader) and reader.parser is None
