"""The cache as services use it: every key is made here, and every look is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from threading import Lock, Thread
from typing import TypeVar
from uuid import UUID

import msgspec

from core.ports import Cache, Storage
from core.services.allowance import Allowance
from core.services.meters import Meter, Meters, Namespace
from core.services.recent import Question, Recent

T = TypeVar("T")

_LARGE = 16_384
"""Values of more bytes are not kept in the process."""

_pack = msgspec.msgpack.Encoder().encode

_ASK_EVERY = 0.8
"""So many seconds may pass until a process notices that a namespace was cleared."""

_PAUSE = 5.0
"""So long nobody asks a storage that has failed, or has kept somebody waiting."""


def digest(*parts: object) -> str:
    """128 bits that are others wherever one of the parts is, as 32 hexadecimal digits."""
    return blake2b(_pack(parts), digest_size=16).hexdigest()


class Epochs:
    """How often each namespace was cleared, as the storage had it up to 0.8 seconds ago.

    While the storage is away or slow it is as it was known last. `clock` counts seconds and never
    goes back; `patience` is how many of them anybody waits for the storage.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Callable[[], float] = time.monotonic,
        patience: float = 0.25,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._patience = patience
        self._lock = Lock()
        self._asked: Question[Mapping[str, int]] | None = None
        self._numbers: Mapping[str, int] = {}
        self._is_known = False
        self._ask_at = 0.0

    def number(self, namespace: str) -> int:
        """A number that grows whenever the namespace is cleared."""
        now = self._clock()
        if now >= self._ask_at:
            self._refresh(now)
        return self._numbers.get(namespace, 0)

    def advance(self, namespace: str) -> None:
        """Clear the namespace: nobody asks for its keys again."""
        self._storage.cache_epochs.advance(namespace)
        with self._lock:
            # An answer that is on its way may be from before.
            self._asked, self._ask_at = None, 0.0

    def _refresh(self, now: float) -> None:
        """Wait for the storage, for what is known may be of long ago; but not for long."""
        with self._lock:
            question = self._asked
            if question is None:
                question = self._asked = Question(now)
                Thread(target=self._ask, args=(question,), daemon=True).start()
        # Nothing is known before the first answer, and what was cleared must not be found again.
        if not question.done.wait(self._patience if self._is_known else None):
            self._ask_at = self._clock() + _PAUSE

    def _ask(self, question: Question[Mapping[str, int]]) -> None:
        question.put(lambda: dict(self._storage.cache_epochs.all()))
        with self._lock:
            if self._asked is question:
                self._asked = None
                if question.answer is None:
                    pause = _PAUSE if self._is_known else _ASK_EVERY
                    self._ask_at = self._clock() + pause
                else:
                    self._numbers, self._is_known = question.answer, True
                    self._ask_at = question.began + _ASK_EVERY
        question.done.set()


class Space:
    """One namespace of the cache.

    `hot` values that are not large are kept in this process as well, where the cache is another
    one: it is for values that depend on nothing but their key.
    """

    def __init__(
        self,
        name: Namespace,
        cache: Cache,
        meter: Meter,
        epochs: Epochs,
        allowance: Allowance,
        hot: int = 0,
    ) -> None:
        self._cache = cache
        self._allowance = allowance
        self._hot: Recent[str, bytes] | None = Recent(hot) if hot else None
        self._lock = Lock()
        self._name = name.value
        self._prefix = f"{name}:"
        self._meter = meter
        self._epochs = epochs

    def key(self, organization_id: UUID, digest: str) -> str:
        """The key of what belongs to the organisation, by the `digest` of what it depends on.

        That is all of it, revisions included, so that what is kept never becomes wrong.
        """
        return f"{self._prefix}{self._epochs.number(self._name)}:{organization_id.hex}:{digest}"

    def find(self, key: str, read: Callable[[bytes], T | None]) -> T | None:
        """What `read` makes of the value; None where it is of no use, or there is none.

        It may raise ValueError or MsgspecError for what another version has put there.
        """
        began = time.monotonic_ns()
        data = self._get(key)
        found = None if data is None else self._read(data, read)
        if data is None or found is None:
            self._meter.miss(began)
            self._tell()
        else:
            self._meter.hit(began, len(data))
        return found

    def peek(self, key: str, read: Callable[[bytes], T | None]) -> T | None:
        """As `find`, for those who look again and again until it is there: it is not counted."""
        data = self._cache.get(key)
        return self._read(data, read) if data is not None else None

    def keep(
        self, organization_id: UUID, key: str, value: bytes, ttl: float, *, new: bool = True
    ) -> None:
        """Keep the value for so many seconds, if the organisation may add one more.

        One that is not `new` takes the place of the one before.
        """
        if new and not self._allowance.take(organization_id, len(value)):
            self._meter.refused()
            return
        self._cache.set(key, value, ttl)
        self._meter.written(len(value))
        self._tell()

    def _get(self, key: str) -> bytes | None:
        if self._hot is None:
            return self._cache.get(key)
        known = self._hot.get(key)
        if known is not None:
            return known[0]
        data = self._cache.get(key)
        # What has just been made is not hot yet: nobody fills the room by walking through sizes.
        if data is not None and len(data) <= _LARGE:
            with self._lock:
                self._hot.put(key, data, 0)
        return data

    def _read(self, data: bytes, read: Callable[[bytes], T | None]) -> T | None:
        try:
            return read(data)
        except (ValueError, msgspec.MsgspecError):
            self._meter.error()
            return None

    def _tell(self) -> None:
        figures = self._cache.spaces().get(self._name)
        if figures is not None:
            self._meter.told(figures)


class Spaces:
    """All namespaces of the cache."""

    def __init__(
        self,
        cache: Cache,
        meters: Meters,
        epochs: Epochs,
        allowance: Callable[[], Allowance],
        hot_images: int,
    ) -> None:
        self.cache = cache
        hot = {Namespace.IMAGE: hot_images} if cache.traits.shared else {}
        self._spaces = {
            name: Space(name, cache, meters[name], epochs, allowance(), hot.get(name, 0))
            for name in Namespace
        }

    def __getitem__(self, namespace: Namespace) -> Space:
        return self._spaces[namespace]
