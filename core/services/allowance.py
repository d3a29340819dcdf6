"""Keeps one organisation from filling the cache, which belongs to all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from uuid import UUID

from core.services.recent import Recent

_SPAN = 600.0
_MOST = 10_000
_OVERHEAD = 256
"""What a value costs in a cache beyond its own bytes, by and large."""


class Allowance:
    """How many bytes an organisation may add to the cache, in this process.

    Whoever walks through sizes and colours, or through periods and time zones, makes thousands of
    things that nobody asks for again; beyond `most` bytes of them they are made, and not kept. What
    was taken is given back evenly within ten minutes (a token bucket): a cache that was lost fills
    again. `clock` counts seconds and never goes back.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._lock = Lock()
        self._taken: Recent[int, float] = Recent(_MOST)

    def take(self, organization_id: UUID, size: int) -> bool:
        """Whether a value of so many bytes may be added; it counts from then on."""
        now = self._clock()
        with self._lock:
            taken, since = self._taken.get(organization_id.int) or (0.0, now)
            given_back = self._most * (now - since) / _SPAN
            taken = max(0.0, taken - given_back) + size + _OVERHEAD
            if taken > self._most:
                return False
            self._taken.put(organization_id.int, taken, now)
        return True
