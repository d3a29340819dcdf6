"""Remembers in this process what was looked up within the last moment."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from core.services.meters import Meter

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The values that were put last, each with the time since when it is known.

    One thread at a time may change it.
    """

    def __init__(self, most: int, meter: Meter) -> None:
        self._most = most
        self._meter = meter
        self._values: OrderedDict[K, tuple[V, float]] = OrderedDict()

    def get(self, key: K) -> tuple[V, float] | None:
        """The value, and since when it is known."""
        # PERF: what is asked for again is not moved to the end, since it is soon put again anyway.
        return self._values.get(key)

    def put(self, key: K, value: V, since: float) -> None:
        """Remember the value in place of the one before; the one put longest ago makes room."""
        before = len(self._values)
        self._values[key] = value, since
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
            self._meter.held(0, evictions=1)
        elif len(self._values) > before:
            self._meter.held(1)

    def pop(self, key: K) -> None:
        """Forget the value, if there is one."""
        if self._values.pop(key, None) is not None:
            self._meter.held(-1)

    def clear(self) -> None:
        """Forget everything."""
        self._meter.held(-len(self._values))
        self._values.clear()


class Recall(Generic[K, V]):
    """Asks for a value again once what is known of it is `ttl` seconds old.

    That nothing was found is not remembered: what has just been made or granted is there at once.
    What this process changes, it tells by `forget`. `clock` counts seconds and never goes back.
    """

    def __init__(
        self, ttl: float, most: int, meter: Meter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ttl = ttl
        self._meter = meter
        self._clock = clock
        self._lock = Lock()
        self._values: Recent[K, V] = Recent(most, meter)
        self._changes = 0

    def find(self, key: K, ask: Callable[[], V | None]) -> V | None:
        """The value, as it is or was a moment ago: `ask` tells what it is."""
        began, now = time.monotonic_ns(), self._clock()
        # PERF: nobody needs the lock to look.
        known, changes = self._values.get(key), self._changes
        if known is not None and now - known[1] < self._ttl:
            self._meter.hit(began)
            return known[0]
        self._meter.miss(began)
        value = ask()
        if value is not None:
            with self._lock:
                # NOTE: what was on its way while something was forgotten may be of before.
                if self._changes == changes:
                    self._values.put(key, value, now)
        return value

    def get(self, key: K, ask: Callable[[], V]) -> V:
        """As `find`, where `ask` always knows a value, or raises."""
        value = self.find(key, ask)
        assert value is not None
        return value

    def forget(self, *keys: K) -> None:
        """Ask anew from now on, since this process has changed these."""
        with self._lock:
            self._changes += 1
            for key in keys:
                self._values.pop(key)

    def clear(self) -> None:
        """Ask anew for everything."""
        with self._lock:
            self._changes += 1
            self._values.clear()
