"""The outbox: tries, delays, and what it never does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from core.domain.letters import Letter
from core.services import outbox as module
from core.services.outbox import DELAYS, Outbox

LETTER = Letter("ada@example.com", "Hello", "https://qr.example.com/#token=verysecret")


class Notifier:
    """Fails as often as it is told to, and notes the rest."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.tries = 0
        self.letters: list[Letter] = []

    def deliver(self, letter: Letter) -> None:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        self.letters.append(letter)


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def notifier() -> Notifier:
    return Notifier()


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def outbox(notifier: Notifier, seconds: Seconds) -> Iterator[Outbox]:
    outbox = Outbox(notifier, seconds)
    yield outbox
    outbox.close()


def forward(outbox: Outbox, seconds: Seconds, span: float) -> None:
    assert outbox.flush()
    seconds.now += span
    # It sleeps by a clock that the test does not move; to put something in wakes it.
    outbox.put(lambda: None)
    assert outbox.flush()


def test_nobody_waits_for_a_letter(outbox: Outbox, notifier: Notifier) -> None:
    go_on = threading.Event()

    def write() -> Letter:
        assert go_on.wait(5)
        return LETTER

    outbox.put(write)
    assert notifier.letters == []
    go_on.set()
    assert outbox.flush()
    assert notifier.letters == [LETTER]


def test_no_thread_is_there_before_the_first_letter(notifier: Notifier) -> None:
    before = threading.active_count()
    outbox = Outbox(notifier)
    assert threading.active_count() == before
    outbox.close()


def test_a_letter_is_written_once_and_tried_a_few_times(
    outbox: Outbox, notifier: Notifier, seconds: Seconds, caplog: pytest.LogCaptureFixture
) -> None:
    written: list[int] = []
    notifier.failures = [ConnectionError("away")] * 3

    def write() -> Letter:
        written.append(1)
        return LETTER

    outbox.put(write)
    for number, delay in enumerate(DELAYS, 1):
        forward(outbox, seconds, delay - 0.1)
        assert notifier.tries == number
        forward(outbox, seconds, 0.2)
    assert notifier.letters == [LETTER]
    assert written == [1]
    assert "verysecret" not in caplog.text


def test_it_is_given_up_in_the_end(
    outbox: Outbox, notifier: Notifier, seconds: Seconds, caplog: pytest.LogCaptureFixture
) -> None:
    notifier.failures = [ConnectionError("away\nWARNING forged")] * 9
    outbox.put(lambda: LETTER)
    for delay in (*DELAYS, 1e6):
        forward(outbox, seconds, delay)
    assert notifier.tries == len(DELAYS) + 1
    assert "given up after 4 tries: ConnectionError: away\\nWARNING forged" in caplog.text


def test_what_can_never_be_delivered_is_not_tried_again(
    outbox: Outbox, notifier: Notifier, seconds: Seconds
) -> None:
    notifier.failures = [ValueError("no such recipient")]
    outbox.put(lambda: LETTER)
    forward(outbox, seconds, 1e6)
    assert notifier.tries == 1


def test_one_that_waits_holds_up_no_other(
    outbox: Outbox, notifier: Notifier, seconds: Seconds
) -> None:
    notifier.failures = [ConnectionError("away")]
    outbox.put(lambda: LETTER)
    outbox.put(lambda: LETTER)
    assert outbox.flush()
    assert len(notifier.letters) == 1


def test_a_letter_that_cannot_be_written_yet_is_written_later(
    outbox: Outbox, notifier: Notifier, seconds: Seconds
) -> None:
    states = [RuntimeError("the database is away")]

    def write() -> Letter:
        if states:
            raise states.pop()
        return LETTER

    outbox.put(write)
    forward(outbox, seconds, DELAYS[0] + 0.1)
    assert notifier.letters == [LETTER]


def test_there_is_an_end_to_what_waits(
    outbox: Outbox, notifier: Notifier, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "MOST", 2)
    notifier.failures = [ConnectionError("away")] * 9
    for _ in range(2):
        outbox.put(lambda: LETTER)
    assert outbox.flush()
    outbox.put(lambda: LETTER)
    assert "a letter was dropped: 2 are waiting already" in caplog.text


def test_closing_delivers_what_can_be_delivered_and_tells_of_the_rest(
    outbox: Outbox, notifier: Notifier, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    notifier.failures = [ConnectionError("away")]
    for _ in range(3):
        outbox.put(lambda: LETTER)
    outbox.close()
    outbox.close()
    assert len(notifier.letters) == 2
    assert "1 letters were not delivered before the end" in caplog.text
    outbox.put(lambda: LETTER)
    assert outbox.flush()
    assert len(notifier.letters) == 3
