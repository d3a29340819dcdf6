"""Of many who want the same at once, one makes it, in one process and in several."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from core.api import CacheTraits
from core.services.flights import Flights
from plugins.caches.memory import MemoryCache


class Shared(MemoryCache):
    """A cache that several processes, here threads with flights of their own, have in common."""

    @property
    def traits(self) -> CacheTraits:
        return CacheTraits(shared=True)


class Kitchen:
    """Makes one thing, slowly, and keeps it in the cache."""

    def __init__(self, cache: MemoryCache, processes: int) -> None:
        self.cache = cache
        self.made = 0
        self.gate = threading.Event()
        self.began = threading.Event()
        self.lock = threading.Lock()
        self.flights: list[Flights[bytes]] = [Flights(cache) for _ in range(processes)]

    def find(self) -> bytes | None:
        return self.cache.get("dish")

    def make(self) -> bytes:
        with self.lock:
            self.made += 1
        self.began.set()
        assert self.gate.wait(60)
        self.cache.set("dish", b"soup", 60)
        return b"soup"

    def ask(self, process: int) -> bytes:
        return self.find() or self.flights[process].run("dish", self.find, self.make)


def at_once(*calls: Callable[[], Any]) -> list[threading.Thread]:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.parametrize("processes", [1, 5])
def test_a_thousand_who_ask_at_once_have_it_made_once(processes: int) -> None:
    kitchen = Kitchen(Shared(2**20), processes)
    found: list[bytes] = []
    threads = at_once(
        *(lambda n=n: found.append(kitchen.ask(n % processes)) for n in range(1000))  # type: ignore[misc]
    )
    assert kitchen.began.wait(60)
    kitchen.gate.set()
    for thread in threads:
        thread.join(60)
    assert found == [b"soup"] * 1000
    # A process whose patience ended on a slow machine makes it as well.
    assert 1 <= kitchen.made <= processes


def test_without_a_shared_cache_each_process_makes_it() -> None:
    kitchen = Kitchen(MemoryCache(2**20), 2)
    kitchen.gate.set()
    for flights in kitchen.flights:
        assert flights.run("dish", kitchen.find, kitchen.make) == b"soup"
    assert kitchen.made == 2


def test_whoever_waits_in_vain_for_another_process_makes_it() -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    cache = Shared(2**20)
    cache.add("lease:dish", b"", 60)
    flights: Flights[bytes] = Flights(cache, lambda: now, sleep)
    assert flights.run("dish", lambda: None, lambda: b"soup") == b"soup"
    assert 1.0 <= now < 1.1
    # The lease is not ours.
    assert cache.add("lease:dish", b"", 60) is False


def test_what_is_made_elsewhere_meanwhile_is_taken() -> None:
    cache = Shared(2**20)
    cache.add("lease:dish", b"", 60)
    looks = iter([None, None, b"their soup"])
    flights: Flights[bytes] = Flights(cache, lambda: 0.0, lambda _: None)
    assert flights.run("dish", lambda: next(looks), lambda: b"ours") == b"their soup"


def test_an_error_reaches_all_who_wait_and_the_next_one_tries_again() -> None:
    flights: Flights[bytes] = Flights(Shared(2**20))
    gate, began = threading.Event(), threading.Event()
    errors: list[str] = []

    def fail() -> bytes:
        began.set()
        assert gate.wait(60)
        raise ValueError("burnt")

    def ask() -> None:
        try:
            flights.run("dish", lambda: None, fail)
        except ValueError as error:
            errors.append(str(error))

    threads = at_once(ask)
    assert began.wait(60)
    threads += at_once(*[ask] * 9)
    gate.set()
    for thread in threads:
        thread.join(60)
    assert errors == ["burnt"] * 10
    assert flights.run("dish", lambda: None, lambda: b"soup") == b"soup"
