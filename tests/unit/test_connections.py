"""Whatever a server does, a connection ends at the deadline of whoever uses it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from plugins.caches import connections
from plugins.caches.connections import Connection, Network, deadline, seconds_left


class Clock:
    """A clock that goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pair(clock: Clock) -> Iterator[tuple[Connection, socket.socket]]:
    """A connection, and the server's end of it."""
    connection = Network(1.0, clock).socket()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with deadline(1.0, clock):
            connection.connect(listener.getsockname())
        server, _ = listener.accept()
    with server:
        yield connection, server
    connection.close()


def test_the_earlier_of_two_deadlines_holds(clock: Clock) -> None:
    with deadline(1.0, clock):
        with deadline(5.0, clock):
            assert seconds_left(clock) == 1.0
        with deadline(0.5, clock):
            assert seconds_left(clock) == 0.5
        assert seconds_left(clock) == 1.0


def test_what_has_arrived_is_read_after_the_deadline_but_not_without_end(
    pair: tuple[Connection, socket.socket], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_PIECE", 10)
    connection, server = pair
    read = 0
    with deadline(1.0, clock):
        connection.sendall(b"get key\r\n")
        server.sendall(bytes(1000))
        while read < 500:
            read += len(connection.recv(4096))
        clock.now += 1.0
        for _ in range(connections._LATE_PIECES):
            assert len(connection.recv(4096)) == 10
        with pytest.raises(TimeoutError):
            connection.recv(4096)


def test_who_was_late_himself_waits_a_moment_and_no_longer(
    pair: tuple[Connection, socket.socket], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_CHANCE", 0.5)
    connection, _ = pair
    with deadline(1.0, clock):
        connection.sendall(b"get key\r\n")
        clock.now += 1.0
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            connection.recv(4096)
        assert time.monotonic() - started > 0.4
        # The server has had its chance.
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            connection.recv(4096)
        assert time.monotonic() - started < 0.4


def test_a_server_that_was_asked_late_is_not_blamed_where_it_answers_at_once(
    pair: tuple[Connection, socket.socket], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_CHANCE", 5.0)
    connection, server = pair
    with deadline(1.0, clock):
        # The time passes in this process, which hands the interpreter to others while it sends.
        clock.now += 2.0
        connection.sendall(b"get key\r\n")
        answering = threading.Timer(0.05, server.sendall, [b"END\r\n"])
        answering.start()
        assert connection.recv(4096) == b"END\r\n"
        answering.join()


def test_a_server_is_not_blamed_for_the_time_that_went_by_while_we_got_ready_to_connect(
    clock: Clock,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, deadline(1.0, clock):
        clock.now += 2.0
        connection = Network(1.0, clock).socket()
        connection.connect(listener.getsockname())
        connection.close()


def test_what_nobody_has_asked_for_is_not_taken_for_an_answer(
    pair: tuple[Connection, socket.socket], clock: Clock
) -> None:
    connection, server = pair
    with deadline(1.0, clock):
        connection.sendall(b"get key\r\n")
        server.sendall(b"END\r\n")
        while connection.recv(4096) != b"END\r\n":
            pass
        server.sendall(b"left over")
        # It connects anew instead, to where nobody listens any more.
        with pytest.raises(ConnectionRefusedError):
            _send_until_noticed(connection)


def _send_until_noticed(connection: Connection) -> None:
    """The kernel may take a moment to hand over what the server has sent."""
    for _ in range(1000):
        connection.sendall(b"get key\r\n")
