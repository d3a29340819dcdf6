"""Where work goes that would hold other requests up: CPU, or a wait for the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Protocol, TypeVar

from core.errors import Overloaded

T = TypeVar("T")


class Offload(Protocol):
    """Runs a function that takes tens of milliseconds where it holds nobody up."""

    def __call__(self, function: Callable[..., T], *args: object) -> T:
        """The function's result."""


def call_inline(function: Callable[..., T], *args: object) -> T:
    """The offload of a process that answers one request at a time."""
    return function(*args)


class Admission:
    """Lets at most so many do something, or wait for it, at a time; `setting` says how many."""

    def __init__(self, most: int, setting: str) -> None:
        self._most = most
        self._setting = setting
        self._inside = 0
        self._lock = Lock()

    @contextmanager
    def one(self) -> Iterator[None]:
        """One more, until the end of the block; raises Overloaded beyond the bound."""
        with self._lock:
            if self._inside >= self._most:
                raise Overloaded(
                    f"{self._most} are waiting for this already (setting {self._setting}); try "
                    "again in a second."
                )
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
