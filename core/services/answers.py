"""Keeps the answers of timelines and statistics until a number in them may have changed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from threading import Lock
from uuid import UUID

import msgspec
from msgspec import Struct

from core.ports import ScanStore
from core.services.flights import Flights
from core.services.meters import Namespace
from core.services.spaces import Spaces, digest
from core.settings import CacheSettings

_MAX_SUBJECTS = 10_000
"""Of so many codes and organisations each process remembers the generation."""


class Answer(Struct, frozen=True, array_like=True):
    """A document as it is sent, with its strong entity tag (RFC 9110, 8.8.3)."""

    body: bytes
    entity_tag: str


class _Kept(Struct, frozen=True, array_like=True):
    generation: int
    answer: Answer


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Kept).decode


class Answers:
    """Documents that are made of counts, kept for `cache.answer_ttl` while no count changes.

    Whether one has changed is asked at most every `cache.answer_lag` seconds: an answer is never
    further behind the stored scans. `clock` counts seconds and never goes back.
    """

    def __init__(
        self,
        store: ScanStore,
        spaces: Spaces,
        settings: CacheSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._spaces = spaces
        self._settings = settings
        self._clock = clock
        self._lock = Lock()
        self._generations: OrderedDict[UUID, tuple[int, float]] = OrderedDict()
        self._flights: Flights[Answer] = Flights(spaces.cache)

    def fetch(
        self,
        namespace: Namespace,
        organization_id: UUID,
        code_id: UUID | None,
        name: tuple[object, ...],
        make: Callable[[], bytes],
    ) -> Answer:
        """The answer of that name, from the cache, or made now and kept.

        Whatever the answer depends on, apart from the counts of the code or organisation, has to be
        in `name`. Of many who ask for it at once one makes it; what `make` raises, all of them do.
        """
        generation, is_of_now = self._generation(organization_id, code_id)
        space = self._spaces[namespace]
        key = space.key(organization_id, digest(code_id, *name))

        new = True

        def read(data: bytes) -> Answer | None:
            nonlocal new
            new = False
            kept = _decode(data)
            # NOTE: a later one is of another process, which has asked after this one has. Two of
            # them must not take it for a wrong one, and put theirs in its place, and so on. Later
            # than now it cannot be: the number was set back, as of a database from a backup.
            is_later = kept.generation > generation and not is_of_now
            return kept.answer if is_later or kept.generation == generation else None

        def make_and_keep() -> Answer:
            body = make()
            answer = Answer(body, f'"{blake2b(body, digest_size=16).hexdigest()}"')
            kept = _encode(_Kept(generation, answer))
            space.keep(organization_id, key, kept, self._settings.answer_ttl, new=new)
            return answer

        return space.find(key, read) or self._flights.run(
            f"{key}:{generation}", lambda: space.peek(key, read), make_and_keep
        )

    def _generation(self, organization_id: UUID, code_id: UUID | None) -> tuple[int, bool]:
        """The generation, and whether it is of this very moment."""
        subject, now = code_id or organization_id, self._clock()
        with self._lock:
            known = self._generations.get(subject)
            if known is not None and now - known[1] < self._settings.answer_lag:
                return known[0], False
        generation = self._store.generation(organization_id, code_id).number
        with self._lock:
            # NOTE: it is as old as its question, because a count may have changed meanwhile.
            self._generations[subject] = generation, now
            self._generations.move_to_end(subject)
            if len(self._generations) > _MAX_SUBJECTS:
                self._generations.popitem(last=False)
        return generation, True
