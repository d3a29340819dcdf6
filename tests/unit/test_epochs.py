"""That a namespace was cleared, every process notices within a second."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from core.errors import StorageUnavailable
from core.services.spaces import Epochs


class Shelf:
    """A storage of numbers that counts who asks, and may be away or slow."""

    def __init__(self, patience: float = 60.0) -> None:
        self.cache_epochs = self
        self.now = 100.0
        self.numbers = {"image": 1}
        self.asked = 0
        self.error: Exception | None = None
        self.began = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        storage: Any = self
        self.epochs = Epochs(storage, lambda: self.now, patience)

    def all(self) -> dict[str, int]:
        self.asked += 1
        found = dict(self.numbers)
        self.began.set()
        assert self.gate.wait(60)
        if self.error is not None:
            raise self.error
        return found

    def advance(self, namespace: str) -> None:
        self.numbers[namespace] += 1


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_the_storage_is_asked_for_all_namespaces_in_less_than_a_second(shelf: Shelf) -> None:
    assert [shelf.epochs.number(name) for name in ("image", "stats", "image")] == [1, 0, 1]
    shelf.numbers["image"] = 2
    shelf.now += 0.79
    assert shelf.epochs.number("image") == 1
    shelf.now += 0.02
    assert shelf.epochs.number("image") == 2
    assert shelf.asked == 2


def test_what_this_process_clears_is_cleared_at_once(shelf: Shelf) -> None:
    assert shelf.epochs.number("image") == 1
    shelf.epochs.advance("image")
    assert shelf.epochs.number("image") == 2


def test_nobody_is_told_what_was_known_long_ago_while_another_asks(shelf: Shelf) -> None:
    assert shelf.epochs.number("image") == 1
    shelf.now += 600
    shelf.numbers["image"] = 2
    shelf.gate.clear()
    with ThreadPoolExecutor(10) as threads:
        told = [threads.submit(shelf.epochs.number, "image") for _ in range(10)]
        shelf.gate.set()
        assert [each.result(60) for each in told] == [2] * 10
    assert shelf.asked == 2


def test_an_answer_of_before_a_clearing_that_comes_after_it_is_not_kept(shelf: Shelf) -> None:
    shelf.gate.clear()
    with ThreadPoolExecutor(2) as threads:
        threads.submit(shelf.epochs.number, "image")
        assert shelf.began.wait(60)
        clearing = threads.submit(shelf.epochs.advance, "image")
        while shelf.numbers["image"] == 1:
            pass
        shelf.gate.set()
        clearing.result(60)
    assert shelf.epochs.number("image") == 2


def test_while_the_storage_is_away_all_is_as_it_was_known_and_one_asks(shelf: Shelf) -> None:
    assert shelf.epochs.number("image") == 1
    shelf.error = StorageUnavailable("away")
    shelf.now += 5
    assert [shelf.epochs.number("image") for _ in range(3)] == [1] * 3
    assert shelf.asked == 2
    shelf.error = None
    shelf.numbers["image"] = 2
    shelf.now += 4.9
    assert shelf.epochs.number("image") == 1
    shelf.now += 0.2
    assert shelf.epochs.number("image") == 2


def test_nobody_waits_long_for_a_slow_storage_and_then_for_a_while_not_at_all() -> None:
    shelf = Shelf(patience=0.01)
    assert shelf.epochs.number("image") == 1
    shelf.numbers["image"] = 2
    shelf.now += 0.9
    shelf.gate.clear()
    assert [shelf.epochs.number("image") for _ in range(3)] == [1, 1, 1]
    assert shelf.asked == 2
    shelf.gate.set()
    deadline = time.monotonic() + 60
    while shelf.epochs.number("image") != 2:
        assert time.monotonic() < deadline
        shelf.now += 5.1


def test_a_storage_that_is_slow_at_first_is_waited_for() -> None:
    shelf = Shelf(patience=0.01)
    shelf.gate.clear()
    with ThreadPoolExecutor(1) as threads:
        told = threads.submit(shelf.epochs.number, "image")
        assert shelf.began.wait(60)
        time.sleep(0.05)
        assert not told.done()
        shelf.gate.set()
        assert told.result(60) == 1
