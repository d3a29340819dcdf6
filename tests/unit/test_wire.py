"""Answers as they leave a worker: one head, in front of the body, whatever the body is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gevent import GreenletExit
from gunicorn.config import Config
from gunicorn.http.errors import InvalidResponseHeader
from gunicorn.http.parser import RequestParser

from core import wire
from core.settings import Http, Settings
from core.wire import Answer, Settled, Wire, Worker


class Client:
    """Receives, and remembers in how many pieces."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.pieces.append(bytes(data))

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def shutdown(self, how: int) -> None:
        raise OSError("nobody is there any more")

    @property
    def received(self) -> tuple[str, list[str], bytes]:
        """The status line, the other lines of the head, and the body."""
        head, _, body = b"".join(self.pieces).partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        return status, lines, body


class Application:
    """One that a worker may serve."""

    settings = Settings()

    def __init__(self, answer: Callable[..., Iterator[bytes]]) -> None:
        self.answer = answer

    def __call__(self, environ: object, start: Any) -> Iterator[bytes]:
        return self.answer(environ, start)


class Asked:
    """What gunicorn has read."""

    def __init__(self, method: str = "GET", version: tuple[int, int] = (1, 1)) -> None:
        self.method = method
        self.version = version

    def should_close(self) -> bool:
        return self.version == (1, 0)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    wire._sound.clear()
    yield
    wire._sound.clear()


def answer(
    client: Client,
    *pieces: bytes,
    status: str = "200 OK",
    headers: tuple[tuple[str, str], ...] = (),
    length: bool = True,
    **asked: Any,
) -> Answer:
    made = Answer(Asked(**asked), client, Settled(Config()))
    sized = (("content-length", str(sum(map(len, pieces)))),) if length else ()
    made.start_response(status, [*headers, *sized])
    for piece in pieces:
        made.write(piece)
    made.close()
    return made


def test_a_short_answer_goes_out_in_one_piece(client: Client) -> None:
    answer(client, b"hello", headers=(("x-a", "1"), ("set-cookie", "a=b"), ("set-cookie", "c=d")))
    assert len(client.pieces) == 1
    status, lines, body = client.received
    assert (status, body) == ("HTTP/1.1 200 OK", b"hello")
    assert lines[0].startswith("Server: ")
    assert lines[1].startswith("Date: ")
    assert lines[2:] == [
        *("Connection: keep-alive", "x-a: 1", "set-cookie: a=b", "set-cookie: c=d"),
        "content-length: 5",
    ]


@pytest.mark.parametrize("pieces", [(b"x" * 100_000,), (b"a", b"b" * 50_000), (b"", b"late")])
def test_the_head_comes_first_and_once(client: Client, pieces: tuple[bytes, ...]) -> None:
    answer(client, *pieces)
    assert client.received[2] == b"".join(pieces)
    assert b"".join(client.pieces).count(b"HTTP/1.1") == 1


def test_chunks_are_framed(client: Client) -> None:
    answer(client, b"", b"one", b"", b"three", length=False)
    _, lines, body = client.received
    assert "Transfer-Encoding: chunked" in lines
    assert body == b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("asked", "status"),
    [({"method": "HEAD"}, "200 OK"), ({}, "304 Not Modified"), ({}, "204 No Content")],
)
def test_nothing_follows_where_there_is_no_body(
    client: Client, asked: dict[str, Any], status: str
) -> None:
    answer(client, b"hello", status=status, **asked)
    told, lines, body = client.received
    assert (told, body) == (f"HTTP/1.1 {status}", b"")
    assert ("content-length: 5" in lines) == (status != "204 No Content")


def test_an_old_client_is_hung_up_on(client: Client) -> None:
    answer(client, b"one", b"two", length=False, version=(1, 0))
    status, lines, body = client.received
    assert (status, body) == ("HTTP/1.0 200 OK", b"onetwo")
    assert "Connection: close" in lines


def test_it_has_begun_once_something_was_sent(client: Client) -> None:
    made = Answer(Asked(), client, Settled(Config()))
    made.start_response("200 OK", [("content-type", "text/plain")])
    made.write(b"")
    assert not made.has_begun
    made.write(b"x")
    assert made.has_begun


@pytest.mark.parametrize("name", ["vary", "x-request-id"])
def test_no_header_brings_another_one_along(client: Client, name: str) -> None:
    for _ in range(2):
        with pytest.raises(InvalidResponseHeader):
            answer(client, b"x", headers=((name, "a\r\nset-cookie: b=c"),))
    assert client.pieces == []


def test_only_sound_headers_of_few_values_are_remembered(client: Client) -> None:
    kept, changed = ("vary", "Cookie"), ("cache-control", " no-store ")
    for _ in range(2):
        answer(client, b"x", headers=(kept, changed, ("x-request-id", "1"), ("connection", "x")))
    assert wire._sound == {kept}
    assert b"cache-control: no-store\r\n" in client.pieces[1]
    assert b"connection: x" not in client.pieces[1]


def test_no_more_are_remembered_than_there_is_room_for(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_MOST_SOUND", 3)
    answer(client, b"x", headers=tuple(("vary", str(number)) for number in range(9)))
    assert len(wire._sound) == 3
    assert b"".join(client.pieces).count(b"vary: ") == 9


@pytest.mark.parametrize(
    ("end", "sent"), [(GreenletExit, b"half"), (GreenletExit, b""), (SystemExit, b"")]
)
def test_nothing_is_answered_after_a_request_that_was_not_finished(
    client: Client, end: type[BaseException], sent: bytes
) -> None:
    def leave(environ: object, start: Any) -> Iterator[bytes]:
        start("200 OK", [("content-length", "9")])
        yield sent
        raise end

    worker = object.__new__(Worker)
    vars(worker).update(
        {"cfg": Settled(Config()), "wsgi": Application(leave), "alive": True, "_tells": False}
        | {"nr": 0, "max_requests": 9, "log": logging.getLogger()}
    )
    address = ("127.0.0.1", 9)
    head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    request = next(RequestParser(worker.cfg, iter([head]), address))
    with pytest.raises(StopIteration):
        worker.handle_request(address, request, Wire(client, Http()), address)
    assert client.received[2] == sent


def test_settings_are_those_of_gunicorn_but_for_whom_it_trusts() -> None:
    config = Config()
    config.set("keepalive", 7)
    config.set("forwarder_headers", "SCRIPT_NAME")
    settled = Settled(config)
    assert (settled.keepalive, bool(settled.is_ssl)) == (7, False)
    assert (settled.secure_scheme_headers, settled.forwarder_headers) == ({}, [])
    assert settled.http_protocols == ["h1"]
    with pytest.raises(AttributeError):
        _ = settled.no_such_setting
