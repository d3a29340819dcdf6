"""Keeps one drainer process running on a node, whichever worker started it."""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from core.services.journal.drainer import LOCK

# How soon another worker notices that the drainer has died, in seconds.
_POLL = 0.25

# A drainer that ends sooner than this has a reason that will not pass at once.
_TOO_SOON = 5.0

_log = logging.getLogger(__name__)


class Supervisor:
    """Starts the drainer wherever no process of the node has the lock of the journal folder.

    A process of its own, because draining needs CPU while redirects must not wait. It inherits the
    lock, so that it is the drainer from its first to its last moment; when it dies, the system
    gives the lock back, and the next worker that asks starts another one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Watch from now on."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._watch, name="drainer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no longer; a drainer that this process has started ends when the process does."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _watch(self) -> None:
        child: subprocess.Popen[bytes] | None = None
        started = 0.0
        while not self._stop.is_set():
            if child is None or child.poll() is not None:
                if child is not None and time.monotonic() - started < _TOO_SOON:
                    _log.error("the drainer has ended with %s; trying again", child.returncode)
                    self._stop.wait(_TOO_SOON)
                try:
                    child = self._start()
                    started = time.monotonic()
                except OSError:
                    _log.exception("the drainer cannot be started")
            self._stop.wait(_POLL)

    def _start(self) -> subprocess.Popen[bytes] | None:
        """The new drainer, or None where there is one already."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            words = [sys.executable, "-m", "core.cli", "scans", "drain", "--follow"]
            return subprocess.Popen(  # noqa: S603 - nothing of it comes from outside.
                [*words, str(os.getpid())], pass_fds=[lock], stdin=subprocess.DEVNULL
            )
        except BlockingIOError:
            return None
        finally:
            os.close(lock)
