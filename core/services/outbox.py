"""The outbox: letters are written and delivered in the background, while nobody waits.

Whoever asks for a letter is answered at once and alike, whether there is somebody to write to or
not. What waits here is in the memory of this process: it is lost when that ends.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from core.domain.letters import Letter
from core.ports import Notifier

DELAYS = (10.0, 60.0, 300.0)
"""How long a letter that could not be delivered waits for its next try, in seconds."""

MOST = 1000
"""So many letters wait at a time, in each process; further ones are dropped, and logged."""

_PATIENCE = 5.0
"""How long a process that ends waits for what can be delivered at once, in seconds."""

_log = logging.getLogger("quietzone.letters")

Write = Callable[[], Letter | None]
"""Writes a letter, or finds that there is none to write."""


class _Waiting(NamedTuple):
    """A letter that waits for its time; `number` keeps the order of those of the same time."""

    due: float
    number: int
    failures: int
    write: Write


class Outbox:
    """Delivers letters one after the other, each a few times at most."""

    def __init__(self, notifier: Notifier, seconds: Callable[[], float] = time.monotonic) -> None:
        self._notifier = notifier
        self._seconds = seconds
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._number = 0
        self._busy = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    def put(self, write: Write) -> None:
        """Have a letter written and delivered soon; raises nothing and takes no time."""
        with self._changed:
            if len(self._waiting) >= MOST:
                _log.error("a letter was dropped: %d are waiting already", MOST)
                return
            self._enter(self._seconds(), 0, write)
            if self._thread is None:
                # Not before there is a letter: most processes never write one.
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
                self._thread.start()

    def flush(self, timeout: float = _PATIENCE) -> bool:
        """Wait until each letter was tried that is due; False where that takes too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy and not self._is_due(), timeout)

    def close(self) -> None:
        """Deliver what can be delivered at once, and give up what is left; may be called again."""
        with self._changed:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        self.flush()
        with self._changed:
            self._stopping = True
            if self._waiting:
                _log.error("%d letters were not delivered before the end", len(self._waiting))
            self._waiting.clear()
            self._changed.notify_all()
        thread.join(_PATIENCE)

    def _enter(self, due: float, failures: int, write: Write) -> None:
        self._number += 1
        heapq.heappush(self._waiting, _Waiting(due, self._number, failures, write))
        self._changed.notify_all()

    def _is_due(self) -> bool:
        return bool(self._waiting) and self._waiting[0].due <= self._seconds()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and not self._is_due():
                    wait = self._waiting[0].due - self._seconds() if self._waiting else None
                    self._changed.wait(wait)
                if self._stopping:
                    return
                waiting = heapq.heappop(self._waiting)
                self._busy = True
            again = self._try(waiting)
            with self._changed:
                self._busy = False
                if again is not None and not self._stopping:
                    delay = DELAYS[waiting.failures]
                    self._enter(self._seconds() + delay, waiting.failures + 1, again)
                self._changed.notify_all()

    def _try(self, waiting: _Waiting) -> Write | None:
        """What is to be tried again, if anything."""
        write = waiting.write
        try:
            letter = write()
            if letter is None:
                return None
            write = _Written(letter)
            self._notifier.deliver(letter)
        except ValueError as error:
            _log.error("a letter cannot be delivered: %s", _told(error))
        except Exception as error:  # noqa: BLE001 - one letter must not keep the others from going.
            if waiting.failures < len(DELAYS):
                delay = DELAYS[waiting.failures]
                _log.warning("a letter is tried again in %g seconds: %s", delay, _told(error))
                return write
            _log.error("a letter is given up after %d tries: %s", len(DELAYS) + 1, _told(error))
        return None


class _Written:
    """A letter that is not written a second time, since that would make another link."""

    def __init__(self, letter: Letter) -> None:
        self._letter = letter

    def __call__(self) -> Letter:
        return self._letter


def _told(error: Exception) -> str:
    # NOTE: no traceback and no repr of an argument: a letter is as good as a password.
    return f"{type(error).__name__}: {ascii(str(error))[1:-1][:200]}"
