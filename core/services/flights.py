"""Lets many who want the same at the same time wait for one of them who gets it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """Work that is under way in this process, by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[str, _Flight[T]] = {}

    def run(self, key: str, work: Callable[[], T]) -> T:
        """What `work` returns, done here, or by whoever began with the same key and has not ended.

        What it raises, all who wait for it raise.
        """
        with self._lock:
            flight = self._under_way.get(key)
            if flight is None:
                mine = self._under_way[key] = _Flight()
        if flight is not None:
            flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            return flight.results[0]
        try:
            mine.results.append(work())
        except BaseException as error:
            mine.error = error
            raise
        finally:
            with self._lock:
                del self._under_way[key]
            mine.landed.set()
        return mine.results[0]


class _Flight(Generic[T]):
    def __init__(self) -> None:
        self.landed = threading.Event()
        self.results: list[T] = []
        self.error: BaseException | None = None
