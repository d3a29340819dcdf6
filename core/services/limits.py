"""How often somebody may do something, counted by all workers together.

A window of time is cut into ten parts, and each part has a counter in the cache. Whoever takes one
more counts it in the part of now, and is refused where that, and the ten parts before it, come to
more than the limit. These cover every span of the length of the window that ends now, so that the
limit holds for every such span, wherever it begins. (A window that begins anew every minute lets
twice as many through around its end.)

A process takes some at a time from the counter, the fewer the fewer are left, and gives them out
by itself: most requests ask nobody. What it has not given out when a part ends is lost.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from threading import Lock

from msgspec import Struct

from core.errors import TooMany
from core.ports import Cache
from core.services.recent import Recent
from core.settings import Limit

_PARTS = 10

_SHARE = 32
"""A process takes one in so many of those that are left, at a time."""

_MOST_TAKEN = 1000
"""And no more than so many, however large the limit is."""

_SETTLING = 1.0
"""Who is a little late, or whose clock is, counts in the part before for so many seconds."""

_MARGIN = 5.0
"""Counters live so much longer than they are read, in seconds."""

MAX_SUBJECTS = 50_000
"""Of so many who were counted last a process remembers how much is left."""


class Policy(enum.StrEnum):
    """What is limited; each has its limits in the settings `[limits]`."""

    SIGN_IN_ADDRESS = "sign_in_address"
    SIGN_IN_ACCOUNT = "sign_in_account"
    LETTERS = "letters"
    LETTERS_SENDER = "letters_sender"
    READS = "reads"
    WRITES = "writes"
    BULK = "bulk"
    DRAWING = "drawing"
    UNKNOWN_SLUGS = "unknown_slugs"


class Standing(Struct, frozen=True):
    """How somebody stands to the tightest limit of a policy, which is called `name`.

    So many more are `left`, and in `seconds` there may be more.
    """

    name: str
    left: int
    seconds: int


Subject = str | int
"""Who is counted, in whatever way he is told from others."""

_Key = tuple[Policy, int, Subject]


class _Window:
    """What a process knows of one subject under one limit."""

    __slots__ = ("before", "counted", "given", "part", "until")

    def __init__(self, part: int, before: list[int], until: float) -> None:
        self.part = part
        # The parts before, the oldest first.
        self.before = before
        # When it has to be read again.
        self.until = until
        # What all have taken in this part, as far as is known; and what we may still give out of
        # it, by the numbers that are left after each.
        self.counted = 0
        self.given = iter(range(0))

    @property
    def used(self) -> int:
        """How many were taken, those that we still have included."""
        return sum(self.before) + self.counted


class Limits:
    """Counts what the policies limit, and raises where it is too much.

    `clock` tells the time in seconds since 1970, for machines have to agree on the parts. While the
    cache is away, each process goes on from what it knows, and counts for itself.
    """

    def __init__(
        self, policies: Mapping[Policy, Sequence[Limit]], cache: Cache, clock: Callable[[], float]
    ) -> None:
        # The short ones first: whoever is refused by one of them has not counted for the long ones.
        self._policies = {
            policy: sorted(limits, key=lambda limit: limit.seconds)
            for policy, limits in policies.items()
        }
        self._cache = cache
        self._clock = clock
        self._lock = Lock()
        self._names = {
            policy: [
                policy.value if len(limits) == 1 else f"{policy}_{limit.seconds}"
                for limit in limits
            ]
            for policy, limits in self._policies.items()
        }
        self._windows: Recent[_Key, _Window] = Recent(MAX_SUBJECTS)

    def described(self, policy: Policy) -> Sequence[tuple[str, Limit]]:
        """The limits of a policy, by the names that `Standing` has of them."""
        return list(zip(self._names[policy], self._policies[policy], strict=True))

    def take(self, policy: Policy, subject: Subject) -> Standing | None:
        """Count one more of the subject, and tell how it stands then; None where nothing limits it.

        Raises TooMany where a limit is reached; who is refused is not counted.
        """
        now, standing = self._clock(), None
        for number, limit in enumerate(self._policies[policy]):
            key = policy, number, subject
            known = self._windows.get(key)
            # PERF: most have something left that was taken for them before; the numbers of an
            # iterator are given out one by one without a lock.
            left = (
                next(known[0].given, None) if known is not None and now < known[0].until else None
            )
            if left is None:
                left = self._refill(key, limit, now)
            length = limit.seconds / _PARTS
            if standing is None or left < standing.left:
                name = self._names[policy][number]
                standing = Standing(name, left, math.ceil(length - now % length))
        return standing

    def _refill(self, key: _Key, limit: Limit, now: float) -> int:
        """Take some more, and the first of them; how many are left. Raises TooMany."""
        length = limit.seconds / _PARTS
        part = int(now // length)
        into = now - part * length
        known = self._windows.get(key)
        window = known[0] if known is not None else None
        if window is None or window.part != part or now >= window.until:
            window = self._read(key, part, length, into)
        seen = window.counted
        free = limit.requests - window.used
        if free > 0:
            many = max(1, min(free // _SHARE, _MOST_TAKEN))
            told = self._cache.increment(
                _counter(key, part), limit.seconds + length + _MARGIN, many
            )
            with self._lock:
                # A cache that is away, or has lost its counters, knows less than we do; what others
                # of this process have taken meanwhile, it does not know either.
                if told is None or told < seen + many:
                    told = window.counted + many
                window.counted = max(window.counted, told)
                # Others may have taken some meanwhile, so that some of ours are beyond the limit.
                granted = many - max(0, sum(window.before) + told - limit.requests)
                if granted > 0:
                    rest = max(0, limit.requests - window.used)
                    # Somebody else of this process may have taken some as well.
                    left = rest + granted - 1 + sum(1 for _ in window.given)
                    window.given = iter(range(left - 1, rest - 1, -1))
                    return left
        # What was taken before all was gone.
        left_over = next(window.given, None)
        if left_over is not None:
            return left_over
        policy, number, _ = key
        wait = _wait(window, limit.requests, length, into)
        name = self._names[policy][number]
        raise TooMany(policy, name, limit.requests, limit.seconds, wait)

    def _read(self, key: _Key, part: int, length: float, into: float) -> _Window:
        """What all have counted in the parts before, and we in case the cache does not know."""
        parts = range(part - _PARTS, part)
        # Who is late counts in the part before for a while, so it is read once more.
        until = (part + 1) * length
        if into < _SETTLING < length:
            until = part * length + _SETTLING
        names = [_counter(key, one) for one in (*parts, part)]
        told = self._cache.get_many(names)
        counts = [_number(told.get(name)) for name in names]
        with self._lock:
            known = self._windows.get(key)
            if known is not None:
                old = known[0]
                own = dict(zip(range(old.part - _PARTS, old.part), old.before, strict=True))
                own[old.part] = old.counted
                counts = [
                    max(count, own.get(one, 0))
                    for one, count in zip((*parts, part), counts, strict=True)
                ]
                if old.part == part:
                    old.before, old.until = counts[:-1], until
                    old.counted = max(old.counted, counts[-1])
                    return old
            window = _Window(part, counts[:-1], until)
            window.counted = counts[-1]
            self._windows.put(key, window, 0.0)
            return window


def _counter(key: _Key, part: int) -> str:
    policy, number, subject = key
    text = f"{policy}:{number}:{part}:{subject}".encode("utf-8", "surrogatepass")
    return f"limit:{blake2b(text, digest_size=16).hexdigest()}"


def _number(value: bytes | None) -> int:
    return int(value) if value is not None and value.isdigit() else 0


def _wait(window: _Window, most: int, length: float, into: float) -> int:
    """In how many seconds so much is given back that there is one to take."""
    used, seconds = window.used, length - into
    for count in (*window.before, window.counted):
        used -= count
        if used < most:
            break
        seconds += length
    return max(1, math.ceil(seconds))
