"""What the log is told of conditions that last."""

from __future__ import annotations

import time
from collections.abc import Callable

_SILENCE = 60.0
"""For how many seconds nothing is said twice."""


class Complaints:
    """Lets a thing be told once, and again where it has changed or a minute has passed.

    `clock` counts seconds and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, tuple[str, float]] = {}

    def are_due(self, about: str, what: str) -> bool:
        """Whether `what` is to be told now, of the file or task that `about` names."""
        now = self._clock()
        last, at = self._told.get(about, ("", now))
        if last == what and now < at + _SILENCE:
            return False
        self._told[about] = what, now
        return True

    def end(self, about: str) -> bool:
        """There is nothing more to complain of; whether there was."""
        return self._told.pop(about, None) is not None
