"""The cache `shared_memory`: in one file of a fixed size that all workers of a machine map.

What one worker has made all find, and what one counts all count on; it is still there when the
service is started anew. The file is a `Log`; its first bytes say what it is.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Annotated

from msgspec import Meta

from core.api import (
    Cache,
    CacheFigures,
    CacheTraits,
    ConfigurationError,
    PluginContext,
    PluginSettings,
    SpaceFigures,
    hookimpl,
)
from plugins.caches.log import DIGEST, HEAD, OWN, Damaged, Entry, Log
from plugins.caches.spaces import Spaces

_MARK = b"quietzone shared_memory 1".ljust(OWN, b"\0")
"""What the file is, with the version of all that is in it."""

_DIGITS = 20
"""A counter has room for 64 bits, so that it is counted on where it stands."""

_LARGEST_SHARE = 128
"""A value may take one part in so many of all the bytes: the more small ones have to make room for
it, the longer the others wait."""

_PATIENCE = 0.05
"""So long, in seconds, is waited for another one who writes, which takes microseconds."""

_LOOK_EVERY = 0.0001

_flock = ctypes.PyDLL(None).flock
"""PERF: flock(2) without letting go of the interpreter, since it does not wait. `fcntl.flock` does,
and beside a thread that draws gets it back after `sys.getswitchinterval`, 5 ms, with the lock held
meanwhile."""


class SharedMemorySettings(PluginSettings, frozen=True, kw_only=True):
    """`[plugin.shared_memory]`: how many bytes all workers keep together, and in which file."""

    max_bytes: Annotated[int, Meta(ge=1024 * 1024, le=1024**4)] = 64 * 1024 * 1024
    path: Annotated[str, Meta(min_length=1)] | None = None


class SharedMemoryCache:
    """Keeps values in a file of `max_bytes`, shared by all who open the same `path`.

    `scope` tells services apart that share a file. `clock` counts seconds since 1970, because the
    file outlives the processes. So many seconds of `patience` has who writes with another process
    that does not get done.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        scope: str,
        clock: Callable[[], float] = time.time,
        patience: float = _PATIENCE,
    ) -> None:
        self._path = path
        self._size = max_bytes // HEAD * HEAD
        self._clock = clock
        self._scope = blake2b(scope.encode(), digest_size=DIGEST).digest()
        self._max_value = max_bytes // _LARGEST_SHARE
        self._spaces = Spaces()
        self._turn = _Turn(patience)

    @property
    def traits(self) -> CacheTraits:
        """All workers of a machine see the same."""
        return CacheTraits(shared=True, max_value=self._max_value)

    def open(self) -> None:
        """Map the file, a new one where it is of another version or size."""
        self.close()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._opened()
            memory = mmap.mmap(file, self._size)
        except OSError as error:
            raise ConfigurationError(
                f"plugin.shared_memory: {self._path} cannot hold a cache of {self._size} bytes "
                f"({error.strerror}); choose another path, or lower max_bytes"
            ) from None
        self._turn.begin(file, Log(memory, self._clock, self._count_eviction))

    def close(self) -> None:
        """Let go of the file; what is in it stays, for others and for the next start."""
        self._turn.end()

    def get(self, key: str) -> bytes | None:
        """The value, read without a lock."""
        entry = self._live(key, self._digest(key))
        return entry.value if entry is not None else None

    def get_many(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """The values that there are."""
        found = ((key, self.get(key)) for key in keys)
        return {key: value for key, value in found if value is not None}

    def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep `value` for `ttl` seconds, in the room of what was not asked for."""
        digest = self._digest(key)
        with self._turn as log:
            if log is not None:
                self._put(log, key, digest, value, ttl)
        if log is None:
            self._fail(key, digest)

    def delete(self, key: str) -> None:
        """Forget the value, if there is one."""
        digest = self._digest(key)
        with self._turn as log:
            if log is not None:
                log.remove(digest)
        if log is None:
            self._fail(key, digest)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep `value` where there is none; False where there is one."""
        digest = self._digest(key)
        with self._turn as log:
            if log is not None:
                if self._live(key, digest) is not None:
                    return False
                self._put(log, key, digest, value, ttl)
        if log is None:
            self._fail(key)
        return True

    def increment(self, key: str, ttl: float, by: int = 1) -> int | None:
        """Count on; None for what is no counter."""
        digest = self._digest(key)
        if ttl <= 0 or by < 0:
            return None
        with self._turn as log:
            if log is not None:
                entry = self._live(key, digest) or Entry(b"0", self._clock() + ttl)
                if not entry.value.isdigit():
                    return None
                count = int(entry.value) + by
                log.put(digest, _namespace(key), b"%d" % count, entry.expires_at, _DIGITS)
                self._spaces.of(key)
                return count
        self._fail(key)
        return None

    def figures(self) -> CacheFigures:
        """What all workers keep in the file."""
        log, spaces = self._turn.log, [space for _, space in self._spaces.met()]
        told = log.figures if log is not None else None
        return CacheFigures(
            entries=told and told.entries,
            size=told and told.size,
            evictions=told and told.evictions,
            errors=sum(space.errors for space in spaces),
            too_large=sum(space.too_large for space in spaces),
        )

    def spaces(self) -> Mapping[str, SpaceFigures]:
        """What this process has met; how much of what is kept is of a namespace nobody counts."""
        return {
            name: SpaceFigures(
                evictions=space.evictions, errors=space.errors, too_large=space.too_large
            )
            for name, space in self._spaces.met()
        }

    def _digest(self, key: str) -> bytes:
        text = key.encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=DIGEST, key=self._scope).digest()

    def _live(self, key: str, digest: bytes) -> Entry | None:
        """The entry, unless its time is over."""
        log = self._turn.log
        if log is None:
            return None
        try:
            entry = log.read(digest)
        except Damaged:
            self._spaces.count_error(self._spaces.of(key))
            return None
        return entry if entry is not None and entry.expires_at > self._clock() else None

    def _put(self, log: Log, key: str, digest: bytes, value: bytes, ttl: float) -> None:
        """Keep the value, if it has any time left and is not too large; forget the one before."""
        space = self._spaces.of(key)
        if len(value) > self._max_value:
            self._spaces.count_too_large(space)
        elif ttl > 0:
            log.put(digest, _namespace(key), value, self._clock() + ttl)
            return
        log.remove(digest)

    def _count_eviction(self, namespace: str) -> None:
        self._spaces[namespace].evictions += 1

    def _fail(self, key: str, changed: bytes | None = None) -> None:
        """Count that the key could not be written, and forget what was kept under it."""
        log = self._turn.log
        if log is not None:
            self._spaces.count_error(self._spaces.of(key))
            if changed is not None:
                # NOTE: out of turn. An entry that is just on its way to the other ring comes back,
                # until its time is over; what services keep has keys that never become wrong.
                log.remove(changed)

    def _opened(self) -> int:
        """The file, as it has to be; raises OSError."""
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                if self._is_in_place(file):
                    if self._is_ours(file):
                        fcntl.flock(file, fcntl.LOCK_UN)
                        return file
                    self._replace()
            except BaseException:
                os.close(file)
                raise
            # Another file is in its place by now.
            os.close(file)

    def _is_in_place(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self._path.stat())
        except FileNotFoundError:
            return False

    def _is_ours(self, file: int) -> bool:
        head = os.pread(file, OWN, 0)
        return os.fstat(file).st_size == self._size and head == _MARK

    def _replace(self) -> None:
        """Put a new file in the place of the one that is there, which others may still map."""
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # NOTE: a page that the disk has no room for would kill whoever writes into it.
            os.posix_fallocate(file, 0, self._size)
            os.pwrite(file, _MARK, 0)
            draft.replace(self._path)
        except BaseException:
            with suppress(OSError):
                draft.unlink()
            raise
        finally:
            os.close(file)


class _Turn:
    """The right to write into the log, of one thread of one process at a time.

    It is None in the block where another process does not give it back: one that was stopped. Then
    nobody waits for it again until it has.
    """

    def __init__(self, patience: float) -> None:
        self.log: Log | None = None
        self._file = -1
        self._lock = Lock()
        self._is_ours = False
        self._patience = self._left = patience

    def begin(self, file: int, log: Log) -> None:
        """Write into that log from now on, under a lock on that file."""
        self._file, self.log = file, log

    def end(self) -> None:
        """Write no more, and close the file."""
        with self._lock:
            # NOTE: the memory goes with the last one who still reads in it.
            self.log = None
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> Log | None:
        self._lock.acquire()
        try:
            self._is_ours = self.log is not None and self._take()
        except BaseException:
            # A greenlet may be ended while it waits, and then nobody leaves the block.
            self._lock.release()
            raise
        return self.log if self._is_ours else None

    def __exit__(self, *_: object) -> None:
        if self._is_ours:
            _flock(self._file, fcntl.LOCK_UN)
        self._lock.release()

    def _take(self) -> bool:
        until = None
        while _flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            now = time.monotonic()
            until = until or now + self._left
            if now >= until:
                self._left = 0.0
                return False
            time.sleep(_LOOK_EVERY)
        self._left = self._patience
        return True


def _namespace(key: str) -> str:
    namespace, colon, _ = key.partition(":")
    return namespace if colon else ""


@hookimpl
def qz_settings() -> type[PluginSettings]:
    """The options of `[plugin.shared_memory]`."""
    return SharedMemorySettings


@hookimpl
def qz_caches(settings: SharedMemorySettings, context: PluginContext) -> Mapping[str, Cache]:
    """Offer the cache `shared_memory`."""
    path = Path(settings.path) if settings.path else context.data / "cache.shared"
    return {"shared_memory": SharedMemoryCache(path, settings.max_bytes, context.base_url)}
