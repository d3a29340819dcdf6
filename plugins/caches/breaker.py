"""Leaves a server aside that has failed, and remembers what it has missed meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable
from threading import Lock

LONGEST = 4.0
"""So many seconds a server is left aside at most, unless `retry_after` is longer."""

MAX_MISSED = 100_000
"""So many changes are remembered for a server, some 12 MB; beyond it all values are in doubt."""


class Breaker:
    """Whether one server is in use; it is closed while it is.

    `clock` counts seconds and never goes back. A server that passes trials and fails whoever asks
    it afterwards, since it drips just fast enough for them, say, is left aside twice as long
    whenever it was back for less than `LONGEST` seconds: it costs its deadline that often at most.

    A change that the server did not get leaves an old value there, which must not be seen when the
    server is back: so it is `missed`, and the breaker does not close before somebody has taken all
    that was missed and has made it good.
    """

    def __init__(self, retry_after: float, clock: Callable[[], float]) -> None:
        self._retry_after = self._pause = retry_after
        self._clock = clock
        self._lock = Lock()
        self._retry_at = 0.0
        self._back_at = -math.inf
        self._on_trial = False
        self._missed: set[str] = set()
        self._missed_too_many = False
        # PERF: read by every operation, without the lock: whoever comes too late has the deadline.
        self.is_open = False

    def trip(self) -> bool:
        """Leave the server aside; whether it was in use until now."""
        with self._lock:
            if not self.is_open:
                was_back_for = self._clock() - self._back_at
                longer = min(2 * self._pause, max(LONGEST, self._retry_after))
                self._pause = longer if was_back_for < LONGEST else self._retry_after
            return self._trip()

    def miss(self, key: str) -> None:
        """Remember a change that the server did not get."""
        with self._lock:
            # The breaker may have closed just now, with this change still to be made good.
            self._trip()
            if key in self._missed or len(self._missed) < MAX_MISSED:
                self._missed.add(key)
            else:
                self._missed_too_many = True

    def claim_trial(self) -> bool:
        """Whether it is time to try the server again; True to one of all who ask."""
        with self._lock:
            if not self.is_open or self._on_trial or self._clock() < self._retry_at:
                return False
            self._on_trial = True
            return True

    def take_missed(self) -> tuple[frozenset[str], bool]:
        """The keys of the changes to be made good, and whether there were more than these."""
        with self._lock:
            missed, too_many = frozenset(self._missed), self._missed_too_many
            self._missed.clear()
            self._missed_too_many = False
        return missed, too_many

    def pass_trial(self) -> bool:
        """Use the server again; False where changes were missed while it was on trial."""
        with self._lock:
            if self._missed or self._missed_too_many:
                return False
            self.is_open = self._on_trial = False
            self._back_at = self._clock()
            return True

    def fail_trial(self, missed: frozenset[str], missed_too_many: bool) -> None:
        """Try again later; what could not be made good is still missed."""
        with self._lock:
            self._on_trial = False
            self._retry_at = self._clock() + self._pause
            self._missed |= missed
            self._missed_too_many |= missed_too_many

    def _trip(self) -> bool:
        was_closed = not self.is_open
        if was_closed:
            self.is_open = True
            self._retry_at = self._clock() + self._pause
        return was_closed
