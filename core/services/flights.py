"""Lets many who want the same at the same time wait for one of them who makes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from core.ports import Cache
from core.services.recent import Question

T = TypeVar("T")

_LEASE = 10.0
"""For so many seconds at most one process makes a thing for all: it may die meanwhile."""

_PATIENCE = 1.0
"""So long, in seconds, the others wait for it before they make it themselves."""

_LOOK_EVERY = 0.02


class Flights(Generic[T]):
    """What is being made now: once in each process, and once in all that share `cache`.

    `clock` counts seconds and never goes back.
    """

    def __init__(
        self,
        cache: Cache,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._cache = cache
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._under_way: dict[str, Question[T]] = {}

    def run(self, key: str, find: Callable[[], T | None], make: Callable[[], T]) -> T:
        """What `make` returns, and keeps where `find` finds it.

        Whoever comes while it is being made waits for it. What `make` raises, all who wait in this
        process raise.
        """
        with self._lock:
            flight = self._under_way.get(key)
            if flight is None:
                mine = self._under_way[key] = Question(self._clock())
        if flight is not None:
            return _answer(flight)
        mine.put(lambda: self._for_all(key, find, make))
        with self._lock:
            del self._under_way[key]
        mine.done.set()
        return _answer(mine)

    def _for_all(self, key: str, find: Callable[[], T | None], make: Callable[[], T]) -> T:
        """Make it, unless another process has the lease and is done in time."""
        if not self._cache.traits.shared:
            return make()
        lease = f"lease:{key}"
        until = self._clock() + _PATIENCE
        while not self._cache.add(lease, b"", _LEASE):
            if self._clock() >= until:
                return make()
            self._sleep(_LOOK_EVERY)
            found = find()
            if found is not None:
                return found
        # Who had the lease before may have made it in between, or have failed.
        began = self._clock()
        try:
            return make()
        finally:
            # Later it is somebody else's.
            if self._clock() - began < _LEASE:
                self._cache.delete(lease)


def _answer(flight: Question[T]) -> T:
    made = flight.wait()
    assert made is not None
    return made
