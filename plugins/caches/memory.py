"""The cache `memory`: in each worker process, bounded in bytes, the least recently used goes.

It is a segmented LRU: what was asked for again since it was kept is proven, and has four fifths of
the room for itself. Whoever asks for thousands of things once pushes out the rest alone.
"""

from __future__ import annotations

import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from hashlib import blake2s
from threading import Lock
from typing import Annotated

from msgspec import Meta

from core.api import Cache, CacheFigures, CacheTraits, PluginSettings, SpaceFigures, hookimpl
from plugins.caches.spaces import Space, Spaces

ENTRY_OVERHEAD = 216
"""What an entry takes beyond its value, in bytes, when the tables have just grown.

Measured on CPython 3.11, 64 bits: the bytes object of the value 33, its head 9, and rounding in the
allocator 8 on the average; the key 48; the place in the ordered dictionary 74 to 116. Over 10,000
images tracemalloc, which does not see the rounding, has 166 to 206.
"""

_KEY_BYTES = 15
"""120 bits, which never clash; the bytes object that holds them takes 48 bytes, and with 16 of them
it would take 64."""

_PROVEN_SHARE = 0.8
"""How much of the room what was asked for again may take."""

_HEAD = struct.Struct("<dB")
"""When the entry expires, and the number of its namespace."""

_NUMBER = _HEAD.size - 1
"""Where the number of the namespace stands."""

_pack, _unpack = _HEAD.pack, _HEAD.unpack_from

_BEYOND = ENTRY_OVERHEAD - _HEAD.size
"""What an entry costs beyond the bytes that it has, of which the head is a part."""


class MemorySettings(PluginSettings, frozen=True, kw_only=True):
    """`[plugin.memory]`: how many bytes each worker process may keep."""

    max_bytes: Annotated[int, Meta(ge=0)] = 64 * 1024 * 1024


class MemoryCache:
    """Keeps values in the memory of this process, `max_bytes` at most with all that they cost.

    `clock` counts seconds and never goes back.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._max_proven = _PROVEN_SHARE * max_bytes
        self._clock = clock
        # PERF: an entry is its head followed by its value, in one bytes object: small images are
        # the many, and objects of their own would cost each of them 60 bytes more. The namespace
        # stands there and not in the key, so that nobody who reads has to find out which it is.
        self._new: OrderedDict[bytes, bytes] = OrderedDict()
        self._proven: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0
        self._proven_size = 0
        self._spaces = Spaces()
        self._numbered = self._spaces.numbered
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
            for _, space in self._spaces.met():
                space.entries = space.size = 0

    def get(self, key: str) -> bytes | None:
        """The value, or None where there is none or it has expired."""
        digest = _digest(key)
        with self._lock:
            entry = self._live(digest, self._clock())
            if entry is None:
                self._remove(digest)
                return None
            self._prove(digest, entry)
        return entry[_HEAD.size :]

    def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep `value` for `ttl` seconds; the least recently used entries make room for it."""
        digest = _digest(key)
        with self._lock:
            now = self._clock()
            self._put(key, digest, value, now, now + ttl)

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
            now = self._clock()
            if self._live(digest, now) is not None:
                return False
            self._put(key, digest, value, now, now + ttl)
        return True

    def increment(self, key: str, ttl: float, by: int = 1) -> int | None:
        """Count on; None for what is no counter."""
        digest = _digest(key)
        if ttl <= 0 or by < 0:
            return None
        with self._lock:
            now = self._clock()
            entry = self._live(digest, now)
            if entry is None:
                count, expires_at = by, now + ttl
            else:
                expires_at, _ = _unpack(entry)
                digits = entry[_HEAD.size :]
                if not digits.isdigit():
                    return None
                count = int(digits) + by
            self._put(key, digest, b"%d" % count, now, expires_at)
        return count

    def figures(self) -> CacheFigures:
        """What this process keeps, with all that it costs."""
        spaces = self.spaces().values()
        return CacheFigures(
            entries=sum(space.entries or 0 for space in spaces),
            size=sum(space.size or 0 for space in spaces),
            evictions=sum(space.evictions or 0 for space in spaces),
            too_large=sum(space.too_large for space in spaces),
        )

    def spaces(self) -> Mapping[str, SpaceFigures]:
        """The same of each namespace."""
        with self._lock:
            return {
                name: SpaceFigures(
                    entries=space.entries,
                    size=space.size,
                    evictions=space.evictions,
                    too_large=space.too_large,
                )
                for name, space in self._spaces.met()
            }

    def _live(self, digest: bytes, now: float) -> bytes | None:
        """The entry, unless its time is over."""
        entry = self._proven.get(digest) or self._new.get(digest)
        if entry is None or _unpack(entry)[0] <= now:
            return None
        return entry

    def _prove(self, digest: bytes, entry: bytes) -> None:
        """Note that the entry was asked for; those that were not for the longest are new again."""
        if digest in self._proven:
            self._proven.move_to_end(digest)
            return
        del self._new[digest]
        self._proven[digest] = entry
        self._proven_size += len(entry) + _BEYOND
        while self._proven_size > self._max_proven:
            oldest, entry = self._proven.popitem(last=False)
            self._proven_size -= len(entry) + _BEYOND
            self._new[oldest] = entry

    def _put(self, key: str, digest: bytes, value: bytes, now: float, expires_at: float) -> None:
        """Keep the value, if it has any time left and is not too large; forget the one before."""
        was_proven = digest in self._proven
        # PERF: what is replaced knows its namespace, so that the key need not be taken apart.
        space = self._remove(digest) or self._spaces.of(key)
        if expires_at <= now:
            return
        entry = _pack(expires_at, space.number) + value
        cost = len(entry) + _BEYOND
        if cost > self._max_bytes:
            space.too_large += 1
            return
        # Room is made first, so that the bound holds at every moment.
        while self._size + cost > self._max_bytes:
            if self._new:
                _, oldest = self._new.popitem(last=False)
            else:
                _, oldest = self._proven.popitem(last=False)
                self._proven_size -= len(oldest) + _BEYOND
            self._forgotten(oldest).evictions += 1
        self._new[digest] = entry
        self._size += cost
        space.entries += 1
        space.size += cost
        if was_proven:
            self._prove(digest, entry)

    def _remove(self, digest: bytes) -> Space | None:
        """Forget the entry; the namespace that it was of, None where there was no entry."""
        if digest in self._new:
            entry = self._new.pop(digest)
        elif digest in self._proven:
            entry = self._proven.pop(digest)
            self._proven_size -= len(entry) + _BEYOND
        else:
            return None
        return self._forgotten(entry)

    def _forgotten(self, entry: bytes) -> Space:
        """Count the entry no more; the namespace that it was of."""
        cost = len(entry) + _BEYOND
        space = self._numbered[entry[_NUMBER]]
        space.entries -= 1
        space.size -= cost
        self._size -= cost
        return space


def _digest(key: str) -> bytes:
    try:
        text = key.encode()
    except UnicodeEncodeError:
        text = key.encode("utf-8", "surrogatepass")
    # PERF: 48 bytes in place of the 87 that a key of the usual length takes as text; BLAKE2s takes
    # blocks of 64 bytes, in one of which such a key finds room.
    return blake2s(text, digest_size=_KEY_BYTES).digest()


@hookimpl
def qz_settings() -> type[PluginSettings]:
    """The options of `[plugin.memory]`."""
    return MemorySettings


@hookimpl
def qz_caches(settings: MemorySettings) -> Mapping[str, Cache]:
    """Offer the cache `memory`."""
    return {"memory": MemoryCache(settings.max_bytes)}
