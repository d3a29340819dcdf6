"""Remembers in this process what was looked up within the last moment."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Event, Lock
from typing import Generic, TypeVar

from core.services.meters import Meter

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The values that were put last, each with the time since when it is known.

    One thread at a time may change it.
    """

    def __init__(self, most: int, meter: Meter | None = None) -> None:
        self._most = most
        self._meter = meter
        self._values: OrderedDict[K, tuple[V, float]] = OrderedDict()
        # PERF: the dictionary's own method: a function around it takes three times as long. What is
        # asked for again is not moved to the end: it is soon put again anyway, or found a little
        # further away.
        self.get: Callable[[K], tuple[V, float] | None] = self._values.get
        """The value, and since when it is known; None where it is not."""

    def put(self, key: K, value: V, since: float) -> None:
        """Remember the value in place of the one before; the one put longest ago makes room."""
        before = len(self._values)
        self._values[key] = value, since
        self._values.move_to_end(key)
        evictions = 0
        if len(self._values) > self._most:
            self._values.popitem(last=False)
            evictions = 1
        self._count(len(self._values) - before, evictions)

    def pop(self, key: K) -> None:
        """Forget the value, if there is one."""
        if self._values.pop(key, None) is not None:
            self._count(-1)

    def clear(self) -> None:
        """Forget everything."""
        before = len(self._values)
        self._values.clear()
        self._count(-before)

    def _count(self, entries: int, evictions: int = 0) -> None:
        if self._meter is not None and (entries or evictions):
            self._meter.held(entries, evictions)


class Question(Generic[V]):
    """What one has asked and others wait for: its answer, or its error, once it is `done`.

    The answer is as old as `began`, because what it tells of may be changed while it comes.
    """

    __slots__ = ("answer", "began", "done", "error")

    def __init__(self, began: float) -> None:
        self.began = began
        self.done = Event()
        self.answer: V | None = None
        self.error: BaseException | None = None

    def put(self, ask: Callable[[], V | None]) -> None:
        """Ask; raises nothing."""
        try:
            self.answer = ask()
        except BaseException as error:  # noqa: BLE001 - whoever waits for the answer raises it.
            self.error = error

    def wait(self) -> V | None:
        """The answer; raises its error."""
        self.done.wait()
        if self.error is not None:
            raise self.error
        return self.answer


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
        self._asked: dict[K, Question[V]] = {}

    def find(self, key: K, ask: Callable[[], V | None]) -> V | None:
        """The value, as it is or was a moment ago: `ask` tells what it is.

        Of many who would ask at the same time one does, and what it raises, all of them raise.
        """
        began, now = time.monotonic_ns(), self._clock()
        # PERF: nobody needs the lock to look.
        known = self._values.get(key)
        if known is not None and now - known[1] < self._ttl:
            self._meter.hit(began)
            return known[0]
        self._meter.miss(began)
        with self._lock:
            question = self._asked.get(key)
            # What a slow storage was asked long ago, it may answer as it was then.
            is_recent = question is not None and now - question.began < self._ttl
            if not is_recent:
                own = self._asked[key] = Question(now)
        if question is not None and is_recent:
            return question.wait()
        own.put(ask)
        with self._lock:
            # NOTE: what was on its way while it was forgotten may be of before.
            if self._asked.get(key) is own:
                del self._asked[key]
                if own.answer is not None:
                    self._values.put(key, own.answer, now)
        own.done.set()
        return own.wait()

    def get(self, key: K, ask: Callable[[], V]) -> V:
        """As `find`, where `ask` always knows a value, or raises."""
        value = self.find(key, ask)
        assert value is not None
        return value

    def forget(self, *keys: K) -> None:
        """Ask anew from now on, since this process has changed these."""
        with self._lock:
            for key in keys:
                self._values.pop(key)
                self._asked.pop(key, None)

    def clear(self) -> None:
        """Ask anew for everything."""
        with self._lock:
            self._values.clear()
            self._asked.clear()
