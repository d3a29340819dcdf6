"""The cache `memory`: in each worker process, bounded in bytes, the least recently used goes.

It is a segmented LRU: what was asked for again since it was kept is proven, and has four fifths of
the room for itself. Whoever asks for thousands of things once pushes out the rest alone.
"""

from __future__ import annotations

import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from hashlib import blake2b
from threading import Lock
from typing import Annotated

from msgspec import Meta

from core.api import Cache, CacheFigures, CacheTraits, PluginSettings, hookimpl

ENTRY_OVERHEAD = 216
"""What an entry takes beyond its value, in bytes, when the tables have just grown.

Measured on CPython 3.11, 64 bits: the bytes object of the value 33, the point in time in it 8, and
rounding in the allocator 8 on the average; the key 48; the place in the ordered dictionary 74 to
116. Over 10,000 images tracemalloc, which does not see the rounding, has 165 to 205.
"""

_KEY_BYTES = 15
"""120 bits, which never clash; the bytes object that holds them takes 48 bytes, and with 16 of them
it would take 64."""

_PROVEN_SHARE = 0.8
"""How much of the room what was asked for again may take."""

_EXPIRY = struct.Struct("<d")


class MemorySettings(PluginSettings, frozen=True, kw_only=True):
    """`[plugin.memory]`: how many bytes each worker process may keep."""

    max_bytes: Annotated[int, Meta(ge=0)] = 64 * 1024 * 1024


class MemoryCache:
    """Keeps values in the memory of this process, `max_bytes` at most with all that they cost.

    `clock` counts seconds and never goes back.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        # PERF: an entry is its point of expiry followed by its value, in one bytes object: small
        # images are the many, and objects of their own would cost each of them 60 bytes more.
        self._new: OrderedDict[bytes, bytes] = OrderedDict()
        self._proven: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0
        self._proven_size = 0
        self._evictions = 0
        self._too_large = 0
        self._lock = Lock()

    @property
    def size(self) -> int:
        """What the entries cost now, in bytes, expired ones included."""
        return self._size

    def open(self) -> None:
        """Nothing to do: the memory is taken as it is needed."""

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._new.clear()
            self._proven.clear()
            self._size = self._proven_size = 0

    def get(self, key: str) -> bytes | None:
        """The value, or None where there is none or it has expired."""
        digest = _digest(key)
        with self._lock:
            entry = self._live(digest)
            if entry is None:
                self._remove(digest)
                return None
            self._prove(digest, entry)
        return entry[_EXPIRY.size :]

    def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep `value` for `ttl` seconds; the least recently used entries make room for it."""
        digest = _digest(key)
        with self._lock:
            self._put(digest, value, self._clock() + ttl)

    def delete(self, key: str) -> None:
        """Forget the value, if there is one."""
        with self._lock:
            self._remove(_digest(key))

    @property
    def traits(self) -> CacheTraits:
        """Each process has values of its own."""
        return CacheTraits(shared=False, max_value=self._max_bytes)

    def get_many(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """The values that there are."""
        found = ((key, self.get(key)) for key in keys)
        return {key: value for key, value in found if value is not None}

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep `value` where there is none; False where there is one."""
        digest = _digest(key)
        with self._lock:
            if self._live(digest) is not None:
                return False
            self._put(digest, value, self._clock() + ttl)
        return True

    def increment(self, key: str, ttl: float, by: int = 1) -> int | None:
        """Count on; None for what is no counter."""
        digest = _digest(key)
        if ttl <= 0 or by < 0:
            return None
        with self._lock:
            entry = self._live(digest)
            if entry is None:
                count, expires_at = by, self._clock() + ttl
            else:
                (expires_at,) = _EXPIRY.unpack_from(entry)
                digits = entry[_EXPIRY.size :]
                if not digits.isdigit():
                    return None
                count = int(digits) + by
            self._put(digest, b"%d" % count, expires_at)
        return count

    def figures(self) -> CacheFigures:
        """What this process keeps, with all that it costs."""
        with self._lock:
            return CacheFigures(
                entries=len(self._new) + len(self._proven),
                size=self._size,
                evictions=self._evictions,
                too_large=self._too_large,
            )

    def _live(self, digest: bytes) -> bytes | None:
        """The entry, unless its time is over."""
        entry = self._proven.get(digest) or self._new.get(digest)
        if entry is None or _EXPIRY.unpack_from(entry)[0] <= self._clock():
            return None
        return entry

    def _prove(self, digest: bytes, entry: bytes) -> None:
        """Note that the entry was asked for; those that were not for the longest are new again."""
        if digest in self._proven:
            self._proven.move_to_end(digest)
            return
        del self._new[digest]
        self._proven[digest] = entry
        self._proven_size += _cost(entry)
        while self._proven_size > _PROVEN_SHARE * self._max_bytes:
            oldest, entry = self._proven.popitem(last=False)
            self._proven_size -= _cost(entry)
            self._new[oldest] = entry

    def _put(self, digest: bytes, value: bytes, expires_at: float) -> None:
        """Keep the value, if it has any time left and is not too large; forget the one before."""
        entry = _EXPIRY.pack(expires_at) + value
        cost = _cost(entry)
        was_proven = digest in self._proven
        self._remove(digest)
        if expires_at <= self._clock():
            return
        if cost > self._max_bytes:
            self._too_large += 1
            return
        # Room is made first, so that the bound holds at every moment.
        while self._size + cost > self._max_bytes:
            self._remove(next(iter(self._new or self._proven)))
            self._evictions += 1
        self._new[digest] = entry
        self._size += cost
        if was_proven:
            self._prove(digest, entry)

    def _remove(self, digest: bytes) -> None:
        entry = self._new.pop(digest, None)
        if entry is None:
            entry = self._proven.pop(digest, None)
            if entry is None:
                return
            self._proven_size -= _cost(entry)
        self._size -= _cost(entry)


def _cost(entry: bytes) -> int:
    return len(entry) - _EXPIRY.size + ENTRY_OVERHEAD


def _digest(key: str) -> bytes:
    # PERF: 48 bytes in place of the 87 that a key of the usual length takes as text.
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()


@hookimpl
def qz_settings() -> type[PluginSettings]:
    """The options of `[plugin.memory]`."""
    return MemorySettings


@hookimpl
def qz_caches(settings: MemorySettings) -> Mapping[str, Cache]:
    """Offer the cache `memory`."""
    return {"memory": MemoryCache(settings.max_bytes)}
