"""What the processes of a service take while they work, by Linux' /proc."""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

EVERY = 1.0
"""Seconds from one look to the next."""


class Look(NamedTuple):
    """What a process took at a moment: seconds since the first look, MB, and open files.

    Of memory that several processes share each has its part (`Pss`). What belongs to no file is its
    `own`: of a library its part grows as well where another process ends that has used it.
    """

    at: float
    mb: float
    own: float
    files: int


class Watch:
    """Looks at the workers of a gunicorn again and again, in a thread of its own."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.looks: dict[int, list[Look]] = {}
        """By the ids of the workers, in order of time."""
        self.began = time.monotonic()
        self._since = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def begin(self) -> None:
        """From here on it is seen whether something grows."""
        self._since = time.monotonic() - self.began

    @property
    def first_mb(self) -> float:
        """The most that one of them took at its first look; infinite where none was seen."""
        return max((looks[0].mb for looks in self.looks.values()), default=math.inf)

    @property
    def most_mb(self) -> float:
        """The most that one of them took; infinite where none was seen."""
        return max((look.mb for looks in self.looks.values() for look in looks), default=math.inf)

    @property
    def mb_per_hour(self) -> float:
        """How fast the memory of the fastest grew, by least squares, once a third was over."""
        slopes = (_slope(self._settled(looks)) for looks in self.looks.values())
        return max(slopes, default=math.inf) * 3600

    @property
    def more_files(self) -> int:
        """How many more files the last looks saw at least than any after a third was over."""
        return max((_more_files(self._settled(looks)) for looks in self.looks.values()), default=0)

    def _settled(self, looks: list[Look]) -> list[Look]:
        seen = [look for look in looks if look.at >= self._since]
        return seen[len(seen) // 3 :]

    def _watch(self) -> None:
        while not self._ended.wait(EVERY):
            # It may have ended meanwhile.
            with suppress(OSError):
                for pid in workers(self._master):
                    at = time.monotonic() - self.began
                    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
                    look = Look(at, megabytes(pid), megabytes(pid, "Pss_Anon"), files)
                    self.looks.setdefault(pid, []).append(look)


def workers(master: int) -> list[int]:
    """The processes that a gunicorn has started to serve."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text()
    return [int(pid) for pid in children.split()]


def megabytes(pid: int, kind: str = "Pss") -> float:
    """The memory of a process, of a kind that the kernel tells (proc_pid_smaps(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kilobytes = next(line for line in lines if line.startswith(f"{kind}:")).split()[1]
    return int(kilobytes) / 1024


def _slope(looks: list[Look]) -> float:
    """MB a second."""
    if len(looks) < 2:
        return 0.0
    at = sum(look.at for look in looks) / len(looks)
    own = sum(look.own for look in looks) / len(looks)
    spread = sum((look.at - at) ** 2 for look in looks)
    return sum((look.at - at) * (look.own - own) for look in looks) / spread if spread else 0.0


def _more_files(looks: list[Look]) -> int:
    """What the last tenth never falls below, over the most of the tenth at the beginning."""
    few = max(1, len(looks) // 10)
    return max(
        0,
        min((look.files for look in looks[-few:]), default=0)
        - max((look.files for look in looks[:few]), default=0),
    )
