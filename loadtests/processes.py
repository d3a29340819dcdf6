"""What the processes of a service take while they work, by Linux' /proc."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

EVERY = 1.0
"""Seconds from one look to the next."""


class Look(NamedTuple):
    """What a process took at a moment: seconds since the first look, MB of its own, open files.

    Of memory that several processes share each has its part (`Pss`).
    """

    at: float
    mb: float
    files: int


class Watch:
    """Looks at the workers of a gunicorn again and again, in a thread of its own."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.looks: dict[int, list[Look]] = {}
        """By the ids of the workers, in order of time."""

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def most_mb(self) -> float:
        """The most that one of them took."""
        return max((look.mb for looks in self.looks.values() for look in looks), default=0.0)

    @property
    def mb_per_hour(self) -> float:
        """How fast the memory of the fastest grew, by least squares, once a third was over."""
        return max((_slope(_settled(looks)) for looks in self.looks.values()), default=0.0) * 3600

    @property
    def more_files(self) -> int:
        """How many more files the last looks saw at least than any after a third was over."""
        return max((_more_files(_settled(looks)) for looks in self.looks.values()), default=0)

    def _watch(self) -> None:
        while not self._ended.wait(EVERY):
            for pid in workers(self._master):
                # It may have ended meanwhile.
                with suppress(OSError):
                    at = time.monotonic() - self._began
                    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
                    self.looks.setdefault(pid, []).append(Look(at, megabytes(pid), files))


def workers(master: int) -> list[int]:
    """The processes that a gunicorn has started to serve."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text()
    return [int(pid) for pid in children.split()]


def megabytes(pid: int) -> float:
    """The memory of a process; of what several share it has its part."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kilobytes = next(line for line in lines if line.startswith("Pss:")).split()[1]
    return int(kilobytes) / 1024


def _settled(looks: list[Look]) -> list[Look]:
    return looks[len(looks) // 3 :]


def _slope(looks: list[Look]) -> float:
    """MB a second."""
    if len(looks) < 2:
        return 0.0
    at = sum(look.at for look in looks) / len(looks)
    mb = sum(look.mb for look in looks) / len(looks)
    spread = sum((look.at - at) ** 2 for look in looks)
    return sum((look.at - at) * (look.mb - mb) for look in looks) / spread if spread else 0.0


def _more_files(looks: list[Look]) -> int:
    """What the last tenth never falls below, over the most of the tenth at the beginning."""
    few = max(1, len(looks) // 10)
    return max(
        0,
        min((look.files for look in looks[-few:]), default=0)
        - max((look.files for look in looks[:few]), default=0),
    )
