"""Two levels: a small one in the process, of a short life, in front of one that all share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from threading import Lock
from typing import Protocol

from msgspec.structs import replace

from core.api import Cache, CacheFigures, CacheTraits, SpaceFigures

_STRIPES = 1024


class Shared(Cache, Protocol):
    """A cache that tells how long a value has still to live."""

    def read_many(self, keys: Collection[str]) -> Mapping[str, tuple[bytes, float]]:
        """The values with the seconds that each may be kept in another level, 0 for not at all."""


class TieredCache:
    """Asks `near` before `far`; what is counted or added is the matter of `far` alone.

    A value lives in `near` for `near_seconds` at most, so that much later than with `far` alone a
    process notices what another one has changed. What this process changes it notices at once.
    """

    def __init__(self, near: Cache, far: Shared, near_seconds: float) -> None:
        self._near = near
        self._far = far
        self._near_seconds = near_seconds
        # How often the keys of a stripe were changed by this process: a value that was on its way
        # from `far` meanwhile may be the one from before, and must not be kept.
        self._changes = [0] * _STRIPES
        self._lock = Lock()

    @property
    def traits(self) -> CacheTraits:
        """Those of the shared level, but for the life of the near one."""
        traits = self._far.traits
        return replace(traits, lag=traits.lag + self._near_seconds)

    def open(self) -> None:
        """Open both levels."""
        self._far.open()
        self._near.open()

    def close(self) -> None:
        """Close both levels."""
        self._near.close()
        self._far.close()

    def get(self, key: str) -> bytes | None:
        """The value of the level that has one."""
        value = self._near.get(key)
        return value if value is not None else self._fetch([key]).get(key)

    def get_many(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """What is near, and the rest from afar."""
        found = dict(self._near.get_many(keys))
        missing = [key for key in keys if key not in found]
        return {**found, **self._fetch(missing)} if missing else found

    def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep the value in both levels, unless it is too large for the shared one."""
        self._far.set(key, value, ttl)
        most = self._far.traits.max_value
        if most is not None and len(value) > most:
            self._forget(key)
            return
        with self._lock:
            self._changes[_stripe(key)] += 1
            self._near.set(key, value, min(ttl, self._near_seconds))

    def delete(self, key: str) -> None:
        """Forget the value in both levels."""
        self._far.delete(key)
        self._forget(key)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """As the shared level does."""
        added = self._far.add(key, value, ttl)
        # What is near may be of before the value was deleted by another process.
        self._forget(key)
        return added

    def increment(self, key: str, ttl: float, by: int = 1) -> int | None:
        """As the shared level does."""
        return self._far.increment(key, ttl, by)

    def figures(self) -> CacheFigures:
        """Those of the shared level: what is near is a copy of it."""
        return self._far.figures()

    def spaces(self) -> Mapping[str, SpaceFigures]:
        """As `figures`, those of the shared level."""
        return self._far.spaces()

    def _fetch(self, keys: Collection[str]) -> Mapping[str, bytes]:
        before = {key: self._changes[_stripe(key)] for key in keys}
        values = self._far.read_many(keys)
        for key, (value, seconds) in values.items():
            if seconds > 0:
                with self._lock:
                    if self._changes[_stripe(key)] == before[key]:
                        self._near.set(key, value, min(seconds, self._near_seconds))
        return {key: value for key, (value, _) in values.items()}

    def _forget(self, key: str) -> None:
        # NOTE: after the shared level has forgotten it, or a reader could bring the old one back.
        with self._lock:
            self._changes[_stripe(key)] += 1
            self._near.delete(key)


def _stripe(key: str) -> int:
    return hash(key) % _STRIPES
