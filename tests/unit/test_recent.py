"""What was looked up a moment ago is not looked up again; what was changed is."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from core.services.meters import Meters, Namespace, Readings
from core.services.recent import Recall


class Shelf:
    """Numbers by name, as some storage has them, and how often each was asked for."""

    def __init__(self, folder: Path) -> None:
        self.now = 100.0
        self.values: dict[str, int] = {"a": 1, "b": 2, "c": 3}
        self.asked: list[str] = []
        self.meters = Meters(folder / "none")
        self.recall: Recall[str, int] = Recall(
            0.8, 2, self.meters[Namespace.CODE], lambda: self.now
        )

    def find(self, key: str) -> int | None:
        def ask() -> int | None:
            self.asked.append(key)
            return self.values.get(key)

        return self.recall.find(key, ask)

    @property
    def readings(self) -> Readings:
        return self.meters.read().namespaces[Namespace.CODE]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_a_value_is_asked_for_again_once_its_time_is_over(shelf: Shelf) -> None:
    assert [shelf.find("a") for _ in range(3)] == [1, 1, 1]
    shelf.values["a"] = 9
    shelf.now += 0.79
    assert shelf.find("a") == 1
    shelf.now += 0.02
    assert shelf.find("a") == 9
    assert shelf.asked == ["a", "a"]
    looks = shelf.readings.since_start
    assert (looks.hits, looks.misses) == (3, 2)


def test_a_value_is_as_old_as_its_question(shelf: Shelf) -> None:
    def slowly() -> int:
        shelf.now += 0.7
        return 1

    assert shelf.recall.find("a", slowly) == 1
    shelf.now += 0.2
    assert shelf.find("a") == 1
    assert shelf.asked == ["a"]


def test_that_there_is_nothing_is_not_remembered(shelf: Shelf) -> None:
    assert shelf.find("new") is None
    shelf.values["new"] = 4
    assert shelf.find("new") == 4


def test_what_is_forgotten_is_asked_for_again(shelf: Shelf) -> None:
    for key in "ab":
        shelf.find(key)
    shelf.recall.forget("a", "unknown")
    for key in "ab":
        shelf.find(key)
    assert shelf.asked == ["a", "b", "a"]
    shelf.recall.clear()
    for key in "ab":
        shelf.find(key)
    assert shelf.asked == ["a", "b", "a", "a", "b"]


def test_the_value_that_was_asked_for_longest_ago_makes_room(shelf: Shelf) -> None:
    for key in "ab":
        shelf.find(key)
    shelf.now += 0.81
    for key in "ac":
        shelf.find(key)
    assert (shelf.readings.entries, shelf.readings.since_start.evictions) == (2, 1)
    shelf.find("a")
    assert shelf.asked == ["a", "b", "a", "c"]
    shelf.recall.forget("a")
    assert shelf.readings.entries == 1
    shelf.recall.clear()
    assert shelf.readings.entries == 0


def test_an_answer_that_was_on_its_way_is_not_kept_once_something_was_forgotten(
    shelf: Shelf,
) -> None:
    began, gate = threading.Event(), threading.Event()

    def ask() -> int:
        began.set()
        assert gate.wait(60)
        return 1

    asking = threading.Thread(target=shelf.recall.find, args=("a", ask))
    asking.start()
    assert began.wait(60)
    shelf.values["a"] = 9
    shelf.recall.forget("a")
    gate.set()
    asking.join(60)
    assert shelf.find("a") == 9


def test_a_time_of_nothing_asks_always(shelf: Shelf) -> None:
    recall: Recall[str, int] = Recall(0, 10, shelf.meters[Namespace.CODE], lambda: shelf.now)
    assert [recall.find("a", lambda: 1), recall.find("a", lambda: 2)] == [1, 2]


def test_of_many_who_ask_at_once_one_does_and_all_get_its_answer(shelf: Shelf) -> None:
    began, gate, asked, found = threading.Event(), threading.Event(), [], []

    def ask() -> int:
        asked.append(1)
        began.set()
        assert gate.wait(60)
        return 7

    threads = [
        threading.Thread(target=lambda: found.append(shelf.recall.find("a", ask)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    assert began.wait(60)
    gate.set()
    for thread in threads:
        thread.join(60)
    assert (len(asked), found) == (1, [7] * 20)


def test_an_error_is_raised_by_all_who_wait_and_not_remembered(shelf: Shelf) -> None:
    def fail() -> int:
        raise LookupError("away")

    with pytest.raises(LookupError):
        shelf.recall.find("a", fail)
    assert shelf.find("a") == 1


def test_what_is_forgotten_of_others_keeps_no_answer_away(shelf: Shelf) -> None:
    def ask() -> int:
        shelf.recall.forget("other")
        return 1

    shelf.recall.find("a", ask)
    assert shelf.find("a") == 1
    assert shelf.asked == []


def test_nobody_waits_for_what_was_asked_longer_ago_than_a_value_lives(shelf: Shelf) -> None:
    began, gate = threading.Event(), threading.Event()

    def slowly() -> int:
        began.set()
        assert gate.wait(60)
        return 1

    asking = threading.Thread(target=shelf.recall.find, args=("a", slowly))
    asking.start()
    assert began.wait(60)
    shelf.values["a"] = 9
    shelf.now += 0.81
    assert shelf.find("a") == 9
    gate.set()
    asking.join(60)
    # And what comes so late is not kept in place of the newer one.
    assert shelf.find("a") == 9
    assert shelf.asked == ["a"]
