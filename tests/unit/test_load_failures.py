"""The clients of the benchmarks: which closed connection is a failure, and which is opened anew."""

from __future__ import annotations

import itertools
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from loadtests import targets
from loadtests.failures import SLOW
from loadtests.hits import Due, People, Question
from loadtests.slow_clients import CROWDS

ANSWER = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n"


class Closing(socketserver.StreamRequestHandler):
    """Answers as the path says, and hangs up after all but `/kept`."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
            path = line.split()[1]
            if path == b"/kept":
                self.wfile.write(ANSWER + b"\r\n")
                continue
            if path == b"/announced":
                self.wfile.write(ANSWER + b"Connection: close\r\n\r\n")
            elif path == b"/later":
                self.wfile.write(ANSWER + b"\r\n")
            elif path == b"/cut":
                self.wfile.write(ANSWER)
            return


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


@pytest.fixture
def port() -> Iterator[int]:
    """Where the server listens."""
    with Server(("127.0.0.1", 0), Closing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def ask(port: int, path: str, pause: float = 0.0) -> People:
    """More questions than there are connections, a pause after as many as these are."""
    with People(port) as people:
        dues = (Due(pause * (number // 32), Question("scan", path)) for number in range(96))
        assert len(people.ask(dues)) == 96
    return people


@pytest.mark.parametrize(("path", "pause"), [("/kept", 0.0), ("/announced", 0.0), ("/later", 0.5)])
def test_what_is_closed_between_two_questions_is_opened_anew(
    port: int, path: str, pause: float
) -> None:
    people = ask(port, path, pause)
    assert people.failures == []
    assert people.counts == {"scan 302": 96}


@pytest.mark.parametrize("path", ["/dropped", "/cut"])
def test_a_question_without_a_whole_answer_is_a_failure(port: int, path: str) -> None:
    assert len(ask(port, path).failures) == 96


def test_another_status_is_a_failure_and_may_be_what_is_wanted(port: int) -> None:
    for statuses, failures in ((["401"], 3), (["302"], 0)):
        with People(port, statuses) as people:
            people.ask(Due(0, Question("sign-in", "/kept")) for _ in range(3))
            assert len(people.failures) == failures


def test_a_connection_is_left_after_as_many_questions_as_a_visit_has(port: int) -> None:
    opened = 0
    connect = socket.create_connection

    def counted(*arguments: object, **options: object) -> socket.socket:
        nonlocal opened
        opened += 1
        return connect(*arguments, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", counted)
        with People(port, visit=1) as people:
            people.ask(Due(0, Question("scan", "/kept")) for _ in range(40))
    assert opened == 32 + 40


def test_people_ask_until_the_story_is_over_and_its_error_is_told(port: int) -> None:
    def story() -> None:
        time.sleep(0.2)
        raise RuntimeError("the server did not start")

    with People(port) as people:
        with pytest.raises(RuntimeError, match="did not start"):
            people.ask_during(story, itertools.repeat(Question("scan", "/kept")), 100)
        assert 5 <= people.counts["scan 302"] <= 40


def test_the_slow_clients_of_the_targets_are_there() -> None:
    crowds = {crowd.name: crowd.clients for crowd in CROWDS}
    assert [crowds[name] for name in SLOW] == [500, 500, 200, 50, 1250]
    assert 0 < targets.read().failures.slow_attached <= 1
