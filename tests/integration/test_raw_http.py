"""What no ordinary client sends, as bytes to the real service, with a healthy client beside.

Each row of `ROWS` is held against RFC 9112 (messages) and RFC 9110 (semantics); `docs/raw-http.md`
shows them all. Where the framing of a request is in doubt the answer is the last one of its
connection, and nothing that stood in its body is ever taken for a request.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, NamedTuple

import pytest

from loadtests.processes import megabytes
from tests.integration.service import PATIENCE, ROOT, Service

SETTINGS = """
[http]
head_timeout = 3
body_timeout = 3
answer_timeout = 1

[limits]
sign_in_address = []
sign_in_account = []
unknown_slugs = []

[log]
level = "debug"
"""

LIVE = b"GET /health/live HTTP/1.1\r\n"
HOST = b"Host: qr.example\r\n"
POST = b"POST /api/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /r/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
END = b"0\r\n\r\n"


def live(fields: bytes = HOST) -> bytes:
    """A request for `/health/live` with these fields."""
    return LIVE + fields + b"\r\n"


def target(target: bytes) -> bytes:
    """A GET with this target."""
    return b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"


def sized(length: bytes) -> bytes:
    """A POST of `{}` whose length is written in this way, and what must not become a request."""
    return POST + b"Content-Length: " + length + b"\r\n\r\n{}"


def coded(coding: bytes) -> bytes:
    """A POST whose transfer coding is written in this way; its chunks hold `{}`."""
    return POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n2\r\n{}\r\n" + END + SMUGGLED


class Row(NamedTuple):
    """What is sent, the statuses that come back, and whether the service then hangs up.

    With `half` the client ends its side after it has sent all.
    """

    what: str
    sent: bytes
    answers: tuple[int, ...]
    closed: bool
    rfc: str
    half: bool = False


KEPT, CLOSED = False, True

ROWS = (
    # The request line.
    Row("an ordinary request", live(), (200,), KEPT, "9112, 3"),
    Row("no request line", b"\r\n\r\n", (400,), CLOSED, "9112, 3"),
    Row("an empty line before the request", b"\r\n" + live(), (200,), KEPT, "9112, 2.2"),
    Row("binary garbage", b"\x00\xff\x01\r\n\r\n", (400,), CLOSED, "9112, 3"),
    Row(
        "the hello of TLS",
        bytes.fromhex("16030100a5010000a10303") + bytes(160),
        (400,),
        CLOSED,
        "9112, 3",
    ),
    Row("HTTP/0.9", b"GET /health/live\r\n\r\n", (400,), CLOSED, "9112, 3"),
    Row("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,), CLOSED, "9113, 3.4"),
    Row("version 1.9", b"GET /health/live HTTP/1.9\r\nHost: x\r\n\r\n", (200,), KEPT, "9110, 2.5"),
    Row("version 3.0", b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", (400,), CLOSED, "9112, 2.3"),
    Row("version 1.10", b"GET / HTTP/1.10\r\nHost: x\r\n\r\n", (400,), CLOSED, "9112, 2.3"),
    Row("version in lower case", b"GET / http/1.1\r\nHost: x\r\n\r\n", (400,), CLOSED, "9112, 2.3"),
    Row("two spaces in the line", b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", (400,), CLOSED, "9112, 3"),
    Row("tabs in the line", b"GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n", (400,), CLOSED, "9112, 3"),
    Row("lines that end in LF", LIVE[:-2] + b"\nHost: x\n\n", (400,), CLOSED, "9112, 2.2"),
    Row(
        "an offer of HTTP/2 in the clear",
        live(
            HOST
            + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
        ),
        (200,),
        KEPT,
        "9110, 7.8",
    ),
    # Targets.
    Row("the absolute form", target(b"http://evil.example/health/live"), (200,), KEPT, "9112, 3.2"),
    Row("... with a user", target(b"http://a@b/health/live"), (400,), CLOSED, "9110, 4.2.4"),
    Row("... without a host", target(b"http:///health/live"), (400,), CLOSED, "9110, 4.2.1"),
    Row("... of another scheme", target(b"ftp://x/health/live"), (400,), CLOSED, "9112, 3.2.2"),
    Row("a path without a slash", target(b"x/health/live?a=://"), (400,), CLOSED, "9112, 3.2"),
    Row("the authority form", target(b"qr.example:80"), (400,), CLOSED, "9112, 3.2.3"),
    Row(
        "CONNECT",
        b"CONNECT qr.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        (400,),
        CLOSED,
        "9110, 9.3.6",
    ),
    Row("a fragment", target(b"/health/live#/../api"), (400,), CLOSED, "9112, 3.2"),
    Row("an address of 100 KB", target(b"/" + b"a" * 100_000), (414,), CLOSED, "9112, 3"),
    Row("a NUL in the path", target(b"/r/a\x00b"), (400,), CLOSED, "9112, 3.2"),
    Row("a control byte in the path", target(b"/r/a\x01b"), (400,), CLOSED, "9112, 3.2"),
    Row("a DEL in the path", target(b"/r/a\x7fb"), (400,), CLOSED, "9112, 3.2"),
    Row("a byte of 8 bits in the path", target(b"/r/\xe9"), (400,), CLOSED, "9112, 3.2"),
    Row("a space in the path", target(b"/r/a b"), (400,), CLOSED, "9112, 3.2"),
    Row("a NUL in the path, as %00", target(b"/r/a%00b"), (404,), KEPT, "3986, 2.1"),
    Row("a line end in the path, as %0d%0a", target(b"/r/a%0d%0aX:b"), (404,), KEPT, "3986, 2.1"),
    Row("no UTF-8 in the path, as %ff", target(b"/r/%ff"), (404,), KEPT, "3986, 2.1"),
    Row("dots in the path", target(b"/../../etc/passwd"), (404,), KEPT, "3986, 5.2.4"),
    Row("two slashes", target(b"//evil.example/health/live"), (404,), KEPT, "3986, 3.3"),
    # Methods.
    Row("TRACE", b"TRACE" + live()[3:], (405,), KEPT, "9110, 9.3.8"),
    Row("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", (404,), KEPT, "9110, 9.3.7"),
    Row("GET *", target(b"*"), (400,), CLOSED, "9112, 3.2.4"),
    Row("an unknown method", b"FOOBAR" + live()[3:], (400,), KEPT, "9110, 9.1"),
    Row("a method in lower case", b"get" + live()[3:], (400,), CLOSED, "9110, 9.1"),
    Row("no method's characters", b"G@T" + live()[3:], (400,), CLOSED, "9110, 9.1"),
    # Header fields.
    Row("a field without a colon", live(HOST + b"Accept\r\n"), (400,), CLOSED, "9112, 5"),
    Row("a field without a name", live(HOST + b": a\r\n"), (400,), CLOSED, "9112, 5"),
    Row("a space before the colon", live(HOST + b"Accept : a\r\n"), (400,), CLOSED, "9112, 5.1"),
    Row("a tab before the colon", live(HOST + b"Accept\t: a\r\n"), (400,), CLOSED, "9112, 5.1"),
    Row("a folded field", live(HOST + b"Accept: a\r\n b\r\n"), (400,), CLOSED, "9112, 5.2"),
    Row("a space before the first field", live(b" A: b\r\n" + HOST), (400,), CLOSED, "9112, 2.2"),
    Row("a NUL in a field", live(HOST + b"Accept: a\x00b\r\n"), (400,), CLOSED, "9110, 5.5"),
    Row(
        "a control byte in a field", live(HOST + b"Accept: a\x0bb\r\n"), (400,), CLOSED, "9110, 5.5"
    ),
    Row("a bare CR in a field", live(HOST + b"A: a\rX: b\r\n"), (400,), CLOSED, "9112, 2.2"),
    Row("a bare LF in a field", live(HOST + b"A: a\nX: b\r\n"), (400,), CLOSED, "9112, 2.2"),
    Row("8 bits in a field's name", live(HOST + b"\xc4: b\r\n"), (400,), CLOSED, "9110, 5.1"),
    Row("8 bits in a field's value", live(HOST + b"Accept: \xc4\r\n"), (200,), KEPT, "9110, 5.5"),
    Row("60 fields", live(HOST + b"A: b\r\n" * 60), (200,), KEPT, "9110, 5.4"),
    Row("1,000 fields", live(HOST + b"A: b\r\n" * 1000), (431,), CLOSED, "6585, 5"),
    Row("a field of 100 KB", live(HOST + b"A: " + b"b" * 100_000), (431,), CLOSED, "6585, 5"),
    Row(
        "60 KB of fields that are not too long",
        live(HOST + (b"A: " + b"b" * 7500 + b"\r\n") * 8),
        (431,),
        CLOSED,
        "6585, 5",
    ),
    # Host.
    Row("no Host", live(b""), (400,), CLOSED, "9112, 3.2"),
    Row("no Host in HTTP/1.0", b"GET /health/live HTTP/1.0\r\n\r\n", (200,), CLOSED, "9112, 3.2"),
    Row("two Hosts", live(HOST + b"Host: evil.example\r\n"), (400,), CLOSED, "9112, 3.2"),
    Row("the same Host twice", live(HOST + HOST), (400,), CLOSED, "9112, 3.2"),
    Row("a Host with a space", live(b"Host: a b\r\n"), (400,), CLOSED, "9112, 3.2"),
    Row("a Host with a user", live(b"Host: a@b\r\n"), (400,), CLOSED, "9112, 3.2"),
    Row("a Host with a path", live(b"Host: a/b\r\n"), (400,), CLOSED, "9112, 3.2"),
    Row(
        "a Host without a number for its port", live(b"Host: a:b\r\n"), (400,), CLOSED, "9112, 3.2"
    ),
    Row("an IPv6 address as Host", live(b"Host: [::1]:80\r\n"), (200,), KEPT, "3986, 3.2.2"),
    Row("an empty Host", live(b"Host:\r\n"), (200,), KEPT, "9112, 3.2"),
    # Content-Length.
    Row("a body with its length", sized(b"2"), (422,), KEPT, "9112, 6.2"),
    Row("a length with zeros before it", sized(b"0002"), (422,), KEPT, "9110, 8.6"),
    Row("a length within blanks", sized(b" \t2 "), (422,), KEPT, "9110, 5.5"),
    Row("two lengths", sized(b"2\r\nContent-Length: 44"), (400,), CLOSED, "9112, 6.3"),
    Row("the same length twice", sized(b"2\r\nContent-Length: 2"), (400,), CLOSED, "9112, 6.3"),
    Row("a list of lengths", sized(b"2, 2") + SMUGGLED, (400,), CLOSED, "9112, 6.3"),
    Row("a length of +2", sized(b"+2") + SMUGGLED, (400,), CLOSED, "9110, 8.6"),
    Row("a length of -2", sized(b"-2") + SMUGGLED, (400,), CLOSED, "9110, 8.6"),
    Row("a length of 0x2", sized(b"0x2") + SMUGGLED, (400,), CLOSED, "9110, 8.6"),
    Row("a length of 1_0", sized(b"1_0") + SMUGGLED, (400,), CLOSED, "9110, 8.6"),
    Row("a length of 1 0", sized(b"1 0") + SMUGGLED, (400,), CLOSED, "9110, 8.6"),
    Row("a length of ²", sized(b"\xb2") + SMUGGLED, (400,), CLOSED, "9110, 8.6"),
    Row("an empty length", sized(b"") + SMUGGLED, (400,), CLOSED, "9110, 8.6"),
    Row("a length of 31 digits", sized(b"1" + b"0" * 30) + SMUGGLED, (413,), CLOSED, "9110, 8.6"),
    Row("a length of 5,000 digits", sized(b"1" * 5000) + SMUGGLED, (400,), CLOSED, "9110, 8.6"),
    Row(
        "a length with a space before its colon",
        POST + b"Content-Length : 2\r\n\r\n{}" + SMUGGLED,
        (400,),
        CLOSED,
        "9112, 5.1",
    ),
    Row(
        "a GET with a body",
        live(HOST + b"Content-Length: %d\r\n" % len(SMUGGLED)) + SMUGGLED,
        (200,),
        CLOSED,
        "9110, 9.3.1",
    ),
    # Transfer-Encoding.
    Row("a chunked body", CHUNKED + b"2\r\n{}\r\n" + END, (422,), KEPT, "9112, 7.1"),
    Row(
        "CHUNKED in capitals",
        POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n2\r\n{}\r\n" + END,
        (422,),
        KEPT,
        "9112, 7",
    ),
    Row(
        "a length and chunks",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + END + SMUGGLED,
        (400,),
        CLOSED,
        "9112, 6.1",
    ),
    Row(
        "chunks and a length",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 49\r\n\r\n" + END + SMUGGLED,
        (400,),
        CLOSED,
        "9112, 6.1",
    ),
    Row("`chunked, chunked`", coded(b"chunked, chunked"), (400,), CLOSED, "9112, 6.1"),
    Row(
        "`chunked` in two fields",
        coded(b"chunked\r\nTransfer-Encoding: chunked"),
        (400,),
        CLOSED,
        "9112, 6.1",
    ),
    Row("`identity`", coded(b"identity"), (400,), CLOSED, "9112, 7"),
    Row("`identity, chunked`", coded(b"identity, chunked"), (400,), CLOSED, "9112, 7"),
    Row(
        "`identity, chunked, gzip`", coded(b"identity, chunked, gzip"), (400,), CLOSED, "9112, 6.3"
    ),
    Row("`gzip, chunked`", coded(b"gzip, chunked"), (400,), CLOSED, "9112, 6.1"),
    Row("`gzip`", coded(b"gzip"), (400,), CLOSED, "9112, 6.3"),
    Row("`xchunked`", coded(b"xchunked"), (400,), CLOSED, "9112, 6.1"),
    Row("`chunked;q=1`", coded(b"chunked;q=1"), (400,), CLOSED, "9112, 7"),
    Row('`"chunked"`', coded(b'"chunked"'), (400,), CLOSED, "9112, 7"),
    Row("`chunked` behind a vertical tab", coded(b"\x0bchunked"), (400,), CLOSED, "9110, 5.5"),
    Row("an empty Transfer-Encoding", coded(b""), (400,), CLOSED, "9112, 6.1"),
    Row(
        "`Transfer-Encoding : chunked`",
        POST + b"Transfer-Encoding : chunked\r\n\r\n" + END + SMUGGLED,
        (400,),
        CLOSED,
        "9112, 5.1",
    ),
    Row(
        "`Transfer_Encoding: chunked`, which is another field",
        POST + b"Transfer_Encoding: chunked\r\n\r\n" + END + SMUGGLED,
        (400, 400),
        CLOSED,
        "9110, 5.1",
    ),
    Row(
        "chunks in HTTP/1.0",
        CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"2\r\n{}\r\n" + END + SMUGGLED,
        (400,),
        CLOSED,
        "9112, 6.1",
    ),
    # Chunks.
    Row("a chunk of zz", CHUNKED + b"zz\r\n{}\r\n" + END + SMUGGLED, (400,), CLOSED, "9112, 7.1"),
    Row("a chunk of -2", CHUNKED + b"-2\r\n{}\r\n" + END + SMUGGLED, (400,), CLOSED, "9112, 7.1"),
    Row("a chunk of +2", CHUNKED + b"+2\r\n{}\r\n" + END + SMUGGLED, (400,), CLOSED, "9112, 7.1"),
    Row("a chunk of 0x2", CHUNKED + b"0x2\r\n{}\r\n" + END + SMUGGLED, (400,), CLOSED, "9112, 7.1"),
    Row("a space before a size", CHUNKED + b" 2\r\n{}\r\n" + END, (400,), CLOSED, "9112, 7.1"),
    Row("a space behind a size", CHUNKED + b"2 \r\n{}\r\n" + END, (400,), CLOSED, "9112, 7.1"),
    Row("a chunk without a size", CHUNKED + b"\r\n{}\r\n" + END, (400,), CLOSED, "9112, 7.1"),
    Row("sizes that end in LF", CHUNKED + b"2\n{}\n0\n\n" + SMUGGLED, (400,), CLOSED, "9112, 7.1"),
    Row(
        "a chunk longer than its size",
        CHUNKED + b"2\r\n{}xx\r\n" + END,
        (400,),
        CLOSED,
        "9112, 7.1",
    ),
    Row("no line end behind a chunk", CHUNKED + b"2\r\n{}" + END, (400,), CLOSED, "9112, 7.1"),
    Row(
        "a size of more than 64 bits",
        CHUNKED + b"10000000000000002\r\n{}\r\n" + END + SMUGGLED,
        (400,),
        CLOSED,
        "9112, 7.1",
        half=True,
    ),
    Row("an extension", CHUNKED + b'2;a="b;"\r\n{}\r\n' + END, (422,), KEPT, "9112, 7.1.1"),
    Row(
        "an extension with a line end of its own",
        CHUNKED + b"2;a\nb\r\n{}\r\n" + END + SMUGGLED,
        (400,),
        CLOSED,
        "9112, 7.1.1",
    ),
    Row("an extension of 20 KB", CHUNKED + b"2;a=" + b"b" * 20_000, (400,), CLOSED, "9112, 7.1.1"),
    Row("a trailer", CHUNKED + b"2\r\n{}\r\n0\r\nX-A: b\r\n\r\n", (422,), KEPT, "9112, 7.1.2"),
    Row(
        "a trailer with a length",
        CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 44\r\n\r\n" + SMUGGLED,
        (400,),
        CLOSED,
        "9110, 6.5.1",
    ),
    Row(
        "a trailer of 100 KB",
        CHUNKED + b"2\r\n{}\r\n0\r\n" + (b"A: " + b"b" * 5000 + b"\r\n") * 20 + b"\r\n",
        (400,),
        CLOSED,
        "9112, 7.1.2",
    ),
    Row(
        "a chunked body that breaks off", CHUNKED + b"2\r\n{", (400,), CLOSED, "9112, 8", half=True
    ),
    Row(
        "a chunked body that never ends",
        CHUNKED + (b"800\r\n" + b" " * 2048 + b"\r\n") * 20,
        (413,),
        CLOSED,
        "9110, 15.5.14",
    ),
    Row(
        "a GET with broken chunks",
        live(HOST + b"Transfer-Encoding: chunked\r\n") + b"zz\r\n" + SMUGGLED,
        (200,),
        CLOSED,
        "9112, 6.3",
    ),
    # Expect.
    Row(
        "Expect: 100-continue",
        POST + b"Content-Length: 2\r\nExpect: 100-Continue\r\n\r\n{}",
        (100, 422),
        KEPT,
        "9110, 10.1.1",
    ),
    Row("another expectation", live(HOST + b"Expect: 200-ok\r\n"), (417,), CLOSED, "9110, 10.1.1"),
    Row(
        "Expect with a body that is too large",
        POST + b"Content-Length: 9999999\r\nExpect: 100-continue\r\n\r\n",
        (100, 413),
        CLOSED,
        "9110, 10.1.1",
    ),
    # Several requests, and halves of one.
    Row(
        "three requests at once",
        live() + target(b"/nowhere") + live(),
        (200, 404, 200),
        KEPT,
        "9112, 9.3.2",
    ),
    Row("a body and a request at once", sized(b"2") + live(), (422, 200), KEPT, "9112, 9.3.2"),
    Row(
        "a HEAD and a request at once",
        b"HEAD" + live()[3:] + live(),
        (200, 200),
        KEPT,
        "9110, 9.3.2",
    ),
    Row(
        "a request behind a body that is not read",
        b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
        + SMUGGLED
        + SMUGGLED,
        (404,),
        CLOSED,
        "9112, 9.6",
    ),
    Row(
        "500 KB for nobody",
        b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n" + bytes(500_000),
        (404,),
        CLOSED,
        "9112, 9.6",
    ),
    Row("a request whose sender ends his side", live(), (200,), CLOSED, "9112, 9.6", half=True),
    Row("half a head", live()[:30], (), CLOSED, "9112, 8", half=True),
    Row("half a body", sized(b"50"), (400,), CLOSED, "9112, 8", half=True),
    # What other servers listen to.
    Row(
        "X-Original-URL and X-Rewrite-URL",
        b"GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Original-URL: /health/live\r\n"
        b"X-Rewrite-URL: /health/live\r\n\r\n",
        (404,),
        KEPT,
        "none",
    ),
    Row(
        "X-HTTP-Method-Override",
        live(HOST + b"X-HTTP-Method-Override: DELETE\r\nX-Method-Override: PUT\r\n"),
        (200,),
        KEPT,
        "none",
    ),
    Row(
        "SCRIPT_NAME and PATH_INFO",
        live(HOST + b"SCRIPT_NAME: /health\r\nPATH_INFO: /nowhere\r\n"),
        (200,),
        KEPT,
        "none",
    ),
)


class Answered(NamedTuple):
    """One answer as it came."""

    status: int
    fields: dict[str, str]
    body: bytes


def read_answer(stream: BinaryIO, *, bodiless: bool = False) -> Answered | None:
    """The next answer of a connection, or None where it has ended."""
    line = stream.readline()
    if not line:
        return None
    assert line.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), line
    status = int(line[9:12])
    fields = {}
    while (field := stream.readline()) != b"\r\n":
        name, _, value = field.decode("latin-1").partition(":")
        fields[name.lower()] = value.strip()
    bodiless = bodiless or status < 200 or status in (204, 304)
    body = b"" if bodiless else stream.read(int(fields["content-length"]))
    return Answered(status, fields, body)


class Healthy:
    """A client that does nothing wrong, and wants an answer each time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answered = 0
        self.wrong: list[object] = []

    def __enter__(self) -> Healthy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.05):
            try:
                status = self._service.request("GET", "/health/live", timeout=20).status
            except OSError as error:
                self.wrong.append(error)
            else:
                self.answered += 1
                if status != 200:
                    self.wrong.append(status)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Healthy]]:
    """One service for the whole table, and a client beside it from first to last."""
    folder = tmp_path_factory.mktemp("raw")
    config = folder / "settings.toml"
    config.write_text(SETTINGS)
    with Service(folder, QUIETZONE_CONFIG=str(config)) as service:
        # One of them may answer before the other one has begun.
        service.wait_until(lambda: len(service.workers()) == 2)
        with Healthy(service) as healthy:
            yield service, healthy


@pytest.fixture
def service(running: tuple[Service, Healthy]) -> Iterator[Service]:
    """The service; nothing that a test sends may harm it or others."""
    service, healthy = running
    workers = set(service.workers())
    before = healthy.answered
    yield service
    service.wait_until(lambda: healthy.answered > before or bool(healthy.wrong))
    assert healthy.wrong == []
    assert set(service.workers()) == workers
    assert "Traceback" not in service.log
    assert "smuggled" not in service.log


@contextlib.contextmanager
def connect(service: Service) -> Iterator[tuple[socket.socket, BinaryIO]]:
    """A connection, and what comes back on it."""
    with (
        socket.create_connection(service.address, PATIENCE) as connection,
        connection.makefile("rb") as stream,
    ):
        yield connection, stream


@pytest.mark.parametrize("row", ROWS, ids=[row.what for row in ROWS])
def test_what_is_sent_is_answered_as_it_should_be(service: Service, row: Row) -> None:
    with connect(service) as (connection, stream):
        connection.sendall(row.sent)
        if row.half:
            connection.shutdown(socket.SHUT_WR)
        answers = []
        for expected in row.answers:
            bodiless = row.sent.startswith(b"HEAD") and not answers
            answer = read_answer(stream, bodiless=bodiless)
            assert answer is not None, f"hung up where {expected} was due"
            answers.append(answer)
        assert tuple(answer.status for answer in answers) == row.answers
        for answer in answers:
            if answer.status >= 400:
                problem = json.loads(answer.body)
                assert answer.fields["content-type"] == "application/problem+json"
                assert problem["status"] == answer.status
                assert problem["request_id"] == answer.fields["x-request-id"]
        if row.closed:
            assert stream.read() == b""
            if answers and not row.half:
                assert answers[-1].fields["connection"] == "close"
        else:
            connection.sendall(live(HOST + b"X-Request-ID: the-next-one\r\n"))
            following = read_answer(stream)
            assert following is not None
            assert following.fields["x-request-id"] == "the-next-one"
            assert following.status == 200


def test_the_page_shows_the_whole_table() -> None:
    page = (ROOT / "docs" / "raw-http.md").read_text(encoding="utf-8")
    table = page.split(
        "| what is sent | answers | connection | RFC |\n| --- | --- | --- | --- |\n"
    )[1]
    assert table.split("\n\n")[0].rstrip("\n").split("\n") == [
        f"| {row.what} | {', '.join(map(str, row.answers)) or 'none'} "
        f"| {'closed' if row.closed else 'kept'} | {row.rfc} |"
        for row in ROWS
    ]


def test_no_address_is_built_from_what_a_request_says_of_itself(service: Service) -> None:
    forged = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Port": "4430",
        "X-Forwarded-Server": "evil.example",
        "X-Forwarded-For": "203.0.113.66",
        "Forwarded": "for=203.0.113.66;host=evil.example;proto=https",
    }
    signed_in = service.request(
        "POST", "/api/session", {"email": service.email, "password": service.password}, forged
    )
    assert signed_in.status == 201
    assert "secure" not in signed_in.headers["Set-Cookie"].lower()
    cookie = signed_in.headers["Set-Cookie"].partition(";")[0]
    org = signed_in.json()["organizations"][0]["id"]
    me = {**forged, "Cookie": cookie}
    codes = f"/api/organizations/{org}/qr-codes"
    body = {"destination": "https://example.com/menu"}
    made = service.request("POST", codes, body, me)
    assert made.status == 201
    assert made.json()["short_url"].lower().startswith(service.url)
    code = f"{codes}/{made.json()['id']}"
    answers = [
        signed_in,
        made,
        service.request("GET", code, None, me),
        service.request("GET", f"{code}/image-url", None, me),
        service.request("GET", f"{code}/image?format=text", None, me),
        service.request("GET", f"/r/{made.json()['slug']}", None, forged),
        service.request("GET", "/r/nothing", None, {**forged, "Accept": "text/html"}),
        service.request("GET", "/api/openapi.json", None, forged),
        service.request("GET", "/nowhere", None, forged),
    ]
    for answer in answers:
        told = answer.headers.as_bytes() + answer.body
        assert answer.status < 500
        assert b"evil.example" not in told.lower()
        assert b"203.0.113.66" not in told
        assert b":4430" not in told
    assert "203.0.113.66" not in service.log


def drip(connection: socket.socket, data: bytes) -> bool:
    """Send a little more; whether the service still takes it."""
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


def ended(connection: socket.socket) -> bool:
    """Whether the service has hung up, as far as the system knows."""
    poll = select.poll()
    poll.register(connection, select.POLLIN | select.POLLRDHUP)
    return any(
        event & (select.POLLRDHUP | select.POLLHUP | select.POLLERR) for _, event in poll.poll(0)
    )


DRAWN_OUT = (
    # What a client sends at first, what it goes on sending, and the answer to that.
    (b"", b"", b""),
    (LIVE + HOST, b"X-Slow: a\r\n", b""),
    (LIVE + HOST + b"X: ", b"a", b""),
    (live(), b"", b"HTTP/1.1 200 "),
    (POST + b"Content-Length: 9999\r\n\r\n", b" ", b"HTTP/1.1 408 "),
    (CHUNKED, b"1\r\n \r\n", b"HTTP/1.1 408 "),
    (CHUNKED + b"1;a=", b"b", b"HTTP/1.1 408 "),
    (CHUNKED + b"0\r\n", b"A: b\r\n", b"HTTP/1.1 408 "),
)


def test_a_flood_of_what_is_drawn_out_ends(service: Service) -> None:
    with contextlib.ExitStack() as stack:
        flood = []
        for begin, more, answer in DRAWN_OUT * 50:
            connection = stack.enter_context(socket.create_connection(service.address, PATIENCE))
            connection.sendall(begin)
            flood.append((connection, more, answer))

        def all_ended() -> bool:
            going_on = [one for one in flood if not ended(one[0])]
            for connection, more, _ in going_on:
                drip(connection, more)
            return not going_on

        service.wait_until(all_ended)
        for connection, _, answer in flood:
            # What had come is still there to be read, unless more was sent after it.
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(13) == answer


HEADS = LIVE + HOST + b"".join(b"X-%d: " % n + b"a" * 7000 + b"\r\n" for n in range(4))
"""Nearly as long as a head may be, and not its end."""

BODIES = POST + b"Content-Length: 16000\r\n\r\n" + b" " * 15_999
"""All but the last byte of the largest body that is taken from somebody unknown."""


def test_memory_is_bounded_while_hundreds_hold_on_to_what_they_have_sent(service: Service) -> None:
    def most() -> float:
        return max(megabytes(pid) for pid in service.workers())

    before = most()
    with contextlib.ExitStack() as stack:
        for held in [HEADS] * 300 + [BODIES] * 200:
            connection = stack.enter_context(socket.create_connection(service.address, PATIENCE))
            connection.sendall(held)
        # 9 MB of heads and 3 MB of bodies, and what a connection takes.
        assert most() - before < 50


def test_an_answer_that_nobody_reads_is_given_up(service: Service) -> None:
    request = b"GET /api/openapi.json HTTP/1.1\r\n" + HOST + b"\r\n"
    with contextlib.ExitStack() as stack:
        flood = [
            stack.enter_context(socket.create_connection(service.address, PATIENCE))
            for _ in range(10)
        ]
        for connection in flood:
            # Far more than the system keeps for a connection.
            connection.sendall(request * 200)
        service.wait_until(lambda: all(ended(connection) for connection in flood))


def test_clients_that_feed_tiny_chunks_fast_do_not_hold_up_the_others(service: Service) -> None:
    answer = service.request(
        "POST", "/api/session", {"email": service.email, "password": service.password}
    )
    org = answer.json()["organizations"][0]["id"]
    head = (
        f"POST /api/organizations/{org}/qr-codes HTTP/1.1\r\nHost: x\r\n"
        f"Cookie: {answer.headers['Set-Cookie'].partition(';')[0]}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    waits = []

    def feed() -> None:
        with connect(service) as (connection, _):
            connection.sendall(head)
            while not ended(connection) and drip(connection, b"1\r\n \r\n" * 5000):
                pass

    begin = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        fed = [pool.submit(feed) for _ in range(4)]
        while not all(one.done() for one in fed):
            start = time.monotonic()
            assert service.request("GET", "/health/live", timeout=PATIENCE).status == 200
            waits.append(time.monotonic() - start)
    # Without a turn for others, the first of them waits until the last chunk is read.
    assert max(waits) < 0.7 * (time.monotonic() - begin)


def test_no_secret_of_a_request_is_told_by_the_log_or_an_answer(service: Service) -> None:
    secret = "Xyzzy7PLUGH"
    told = []

    def send(data: bytes, *, half: bool = False) -> None:
        with connect(service) as (connection, stream):
            connection.sendall(data.replace(b"SECRET", secret.encode()))
            if half:
                connection.shutdown(socket.SHUT_WR)
            told.append(stream.read())

    close = HOST + b"Connection: close\r\n"
    json_head = b"POST /api/session HTTP/1.1\r\nContent-Type: application/json\r\n" + close
    bodies = (
        b'{"email": "a@example.com", "password": "SECRET"}',
        b'{"email": "a@example.com", "password": ["SECRET"]}',
        b'{"email": "a@example.com", "password": {"SECRET": 1}}',
        b'{"email": "a@example.com", "password": "SECRET',
        b'{"email": 7, "password": "SECRET"}',
    )
    for body in bodies:
        body = body.replace(b"SECRET", secret.encode())
        send(json_head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        send(json_head + b"Content-Length: %d\r\n\r\n" % (len(body) + 9) + body, half=True)
        send(json_head + b"Transfer-Encoding: chunked\r\n\r\n" + body, half=True)
    session = b"GET /api/session HTTP/1.1\r\n" + close
    for fields in (
        b"Authorization: Bearer SECRET\r\n",
        b"Authorization: Basic SECRET\r\n",
        b"Authorization Bearer SECRET\r\n",
        b"Authorization : Bearer SECRET\r\n",
        b"Authorization: Bearer SECRET\x01\r\n",
        b"Authorization: Bearer\r\n SECRET\r\n",
        b"Cookie: quietzone=SECRET\r\n",
        b"Cookie: quietzone=SECRET\x00\r\n",
        b"Expect: SECRET\r\n",
        b"Transfer-Encoding: SECRET\r\n",
        b"Content-Length: SECRET\r\n",
        b"Cookie: quietzone=SECRET" + b"a" * 9000 + b"\r\n",
    ):
        send(session + fields + b"\r\n")
        send(session + fields, half=True)
    for line in (
        b"GET /r/menu?token=SECRET HTTP/1.1\r\n",
        b"GET /api/session?token=SECRET HTTP/1.1\r\n",
        b"GET /api/openapi.json?token=SECRET HTTP/1.1\r\n",
        b"GET /nowhere?token=SECRET HTTP/1.1\r\n",
        b"GET http://a:SECRET@b/ HTTP/1.1\r\n",
        b"GET /?token=SECRET#a HTTP/1.1\r\n",
        b"GET /?token=SECRET\x01 HTTP/1.1\r\n",
        b"GET /?token=SECRET HTTP/9.9\r\n",
        b"SECRET /\r\n",
        b"GET /?token=SECRET" + b"a" * 9000 + b" HTTP/1.1\r\n",
        b"GET /?token=SECRET",
    ):
        send(line + close + b"\r\n", half=True)
    send(session[:-2] + b"Host: SECRET\r\n\r\n")
    service.sign_in()
    said = [*told, service.log.encode(), service.command("check").encode()]
    for text in said:
        assert secret.lower().encode() not in text.lower()
        assert service.password.encode() not in text
    assert b"".join(told).count(b"HTTP/1.1 ") > 35
