"""Where work goes that would hold other requests up: CPU, or a wait for the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Offload(Protocol):
    """Runs a function that takes tens of milliseconds where it holds nobody up."""

    def __call__(self, function: Callable[..., T], *args: object) -> T:
        """The function's result."""


def call_inline(function: Callable[..., T], *args: object) -> T:
    """The offload of a process that answers one request at a time."""
    return function(*args)
