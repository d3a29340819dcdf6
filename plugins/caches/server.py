"""One memcached server: its connections, its breaker, and what has failed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from functools import partial
from threading import Condition, Lock, Thread
from typing import TypeVar

from pymemcache.client.base import PooledClient
from pymemcache.exceptions import MemcacheServerError, MemcacheUnexpectedCloseError

from plugins.caches.breaker import Breaker
from plugins.caches.connections import Clock, Network, Place, deadline, seconds_left
from plugins.caches.spaces import Space, Spaces

_log = logging.getLogger(__name__)

T = TypeVar("T")

Spawn = Callable[[Callable[[], None]], None]
"""Runs something beside whoever calls."""

_BATCH = 100
"""So many deletions share a round trip, and a deadline."""


class Server:
    """Takes operations to one server while it is in use, and goes on without it while it is not.

    Where an operation fails the server is left aside: from then on nobody waits for it, and whoever
    waits for it then goes on as well. After `retry_after` seconds the next one who would have asked
    sets off a trial, in the background. The trial runs `probe`, which raises unless the server is
    as it should be, and deletes what could not be changed meanwhile; only then is the server in use
    again. `timeout` is how long the trial waits for each answer; whoever calls sets the deadline of
    his operation himself. What fails is counted in `spaces`.
    """

    def __init__(
        self,
        name: str,
        place: Place,
        network: Network,
        probe: Callable[[PooledClient], None],
        timeout: float,
        retry_after: float,
        max_connections: int,
        clock: Clock,
        spawn: Spawn,
        spaces: Spaces,
    ) -> None:
        self.name = name
        self._network = network
        self._probe = probe
        self._timeout = timeout
        self._clock = clock
        self._spawn = spawn
        self._spaces = spaces
        self._breaker = Breaker(retry_after, clock)
        self._is_closed = False
        # The pool raises where it is exhausted, so the waiting for a connection is done here.
        self._slots = Slots(max_connections)
        self._client = PooledClient(
            place, socket_module=network, no_delay=True, default_noreply=False
        )

    @property
    def is_aside(self) -> bool:
        """Whether the cache does without it for now."""
        return self._breaker.is_open

    def close(self) -> None:
        """Close every connection."""
        self._is_closed = True
        self._client.close()

    def call(
        self,
        operation: Callable[[PooledClient], T],
        otherwise: T,
        space: Space | None = None,
        changes: str | None = None,
    ) -> T:
        """What `operation` returns, or `otherwise` where the server does not do its part.

        `operation` raises whatever it likes for an answer that is not as it should be. Its failure
        counts for `space`. `changes` is the key of which an old value may be left on the server
        where the operation fails.
        """
        if not self._breaker.is_open and self._acquire(space):
            granted = seconds_left(self._clock)
            try:
                # Whoever has waited for a connection may find that the server has failed meanwhile.
                if granted > 0 and not self._breaker.is_open:
                    return operation(self._client)
            except Exception as error:  # noqa: BLE001 - whatever it is, the answer is of no use.
                self._spaces.count_error(space)
                # Where others have used up the time, the server is not to blame.
                is_late = isinstance(error, TimeoutError) and granted < self._timeout / 2
                if not is_late and not is_refusal(error):
                    self._fail(error)
            finally:
                self._slots.release()
        if changes is not None:
            self._breaker.miss(changes)
        if self._breaker.claim_trial():
            self._start_trial()
        return otherwise

    def _acquire(self, space: Space | None) -> bool:
        """Wait for one of the connections, until the deadline."""
        if self._slots.acquire() or self._slots.wait(max(0.0, seconds_left(self._clock))):
            return True
        self._spaces.count_error(space)
        return False

    def _fail(self, error: Exception) -> None:
        was_in_use = self._breaker.trip()
        # Connections that are idle now may be broken as well, or hold answers that came too late.
        self._network.renew()
        if was_in_use and not self._is_closed:
            _log.warning("the cache goes on without the server %s: %s", self.name, _reason(error))

    def _start_trial(self) -> None:
        try:
            # NOTE: greenlets inherit the context of whoever starts them, and with it his deadline.
            self._spawn(partial(Context().run, self._try))
        except RuntimeError:
            # No thread can be started; the process has other sorrows.
            self._breaker.fail_trial(frozenset(), missed_too_many=False)

    def _try(self) -> None:
        missed: frozenset[str] = frozenset()
        missed_too_many = passed = False
        try:
            with deadline(self._timeout, self._clock):
                self._probe(self._client)
            while not passed:
                missed, missed_too_many = self._breaker.take_missed()
                self._make_good(missed, missed_too_many)
                missed, missed_too_many = frozenset(), False
                passed = self._breaker.pass_trial()
            _log.warning("the cache uses the server %s again", self.name)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server is not used yet.
            self._spaces.count_error(None)
            self._network.renew()
            _log.debug("the server %s still fails: %s", self.name, _reason(error))
        finally:
            if not passed:
                self._breaker.fail_trial(missed, missed_too_many)
            if self._is_closed:
                self._client.close()

    def _make_good(self, missed: frozenset[str], missed_too_many: bool) -> None:
        """Delete what others must not see any more."""
        if missed_too_many:
            with deadline(self._timeout, self._clock):
                if self._client.raw_command("flush_all") != b"OK":
                    raise ValueError("the server cannot be emptied")
            return
        keys = sorted(missed)
        for start in range(0, len(keys), _BATCH):
            with deadline(self._timeout, self._clock):
                delete(self._client, keys[start : start + _BATCH])


def is_refusal(error: Exception) -> bool:
    """Whether a server that works says that it cannot do this, for want of memory mostly."""
    # NOTE: to pymemcache a connection that is cut is an error of the server's as well.
    return isinstance(error, MemcacheServerError) and not isinstance(
        error, MemcacheUnexpectedCloseError
    )


def delete(client: PooledClient, keys: Sequence[str]) -> None:
    """Delete the keys on the server, and take no other word for it than the right ones."""
    # The no-op at the end marks the end of all answers.
    commands = "".join(f"delete {key}\r\n" for key in keys)
    answers = client.raw_command(commands + "mn", b"MN\r\n")
    if len(answers.split()) != len(keys) or not set(answers.split()) <= {b"DELETED", b"NOT_FOUND"}:
        raise ValueError("the server does not answer to a deletion")


class Slots:
    """So many may do something at a time; a semaphore that hardly costs while nobody has to wait.

    PERF: with gevent, taking and giving back a `threading.Semaphore` is 15 us of some 100.
    """

    def __init__(self, number: int) -> None:
        # Taking from a deque and putting back are atomic.
        self._free = deque([None] * number)
        self._condition = Condition(Lock())
        self._waiting = 0

    def acquire(self) -> bool:
        """Take a slot if one is free."""
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def wait(self, seconds: float) -> bool:
        """Take a slot once one is free, if that is within so many seconds."""
        with self._condition:
            # NOTE: counted before looking again, since `release` looks at it after giving back.
            self._waiting += 1
            try:
                return self._condition.wait_for(self.acquire, seconds)
            finally:
                self._waiting -= 1

    def release(self) -> None:
        """Give the slot back."""
        self._free.append(None)
        if self._waiting:
            with self._condition:
                self._condition.notify()


def in_background(task: Callable[[], None]) -> None:
    """Run the task in a thread of its own, or a greenlet where the worker has those."""
    Thread(target=task, daemon=True).start()


def _reason(error: Exception) -> str:
    # NOTE: pymemcache's own errors hold what the server sent, which may be anybody's data.
    return str(error) if isinstance(error, OSError) and str(error) else type(error).__name__
