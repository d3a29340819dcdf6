"""Keeps one drainer process running on a node, whichever worker started it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time

from core.services.journal.complaints import Complaints
from core.services.journal.folder import LOCK, make, try_lock
from core.settings import Settings, pack

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

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._complaints = Complaints()

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
                    # With 0 it was told to end, and so, most often, will this process be.
                    if child.returncode:
                        told = f"the drainer has ended with {child.returncode}; trying again"
                        self._complain(told)
                    self._stop.wait(_TOO_SOON)
                try:
                    child = self._start()
                    started = time.monotonic()
                except OSError as error:
                    child = None
                    self._complain(f"the drainer cannot be started: {error}")
            self._stop.wait(_POLL)

    def _start(self) -> subprocess.Popen[bytes] | None:
        """The new drainer, or None where there is one already."""
        folder = self._settings.journal
        make(folder)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not try_lock(lock):
                return None
            words = [sys.executable, "-m", "core.cli", "scans", "drain", "--follow"]
            child = subprocess.Popen(  # noqa: S603 - nothing of it comes from outside.
                [*words, str(os.getpid())], pass_fds=[lock], stdin=subprocess.PIPE
            )
        finally:
            os.close(lock)
        # Our settings, whatever their file says by now: the lock is that of our folder. Nobody else
        # sees what goes through a pipe, secrets included.
        assert child.stdin is not None
        with child.stdin:
            child.stdin.write(pack(self._settings))
        return child

    def _complain(self, what: str) -> None:
        if self._complaints.are_due("the drainer", what):
            _log.error("%s", what)
