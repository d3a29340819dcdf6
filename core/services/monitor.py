"""Tells operators what the cache does for them, and clears it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from core.domain.codes import Instant
from core.ports import Cache
from core.services.meters import Meters, Namespace, Readings
from core.services.spaces import Epochs

IN_CACHE = (Namespace.IMAGE, Namespace.PROOF, Namespace.STATS, Namespace.TIMELINE)
"""The namespaces of what is in the cache; the others are in each worker, for less than a second."""


class CacheReport(Struct, frozen=True):
    """The state of the cache, and what the workers of this machine have looked for in it.

    `entries`, `size` (bytes) and `evictions` are those of the servers that all workers share, or
    else of all workers together; None where they cannot be told. `aside` are the servers that the
    process that tells this does without for now.
    """

    backend: str
    shared: bool
    entries: int | None
    size: int | None
    evictions: int | None
    servers: tuple[str, ...]
    aside: tuple[str, ...]
    since: Instant
    workers: int
    namespaces: Mapping[str, Readings]


class CacheMonitor:
    """The cache as an operator sees it; `backend` is what the settings call it."""

    def __init__(self, backend: str, cache: Cache, meters: Meters, epochs: Epochs) -> None:
        self._backend = backend
        self._cache = cache
        self._meters = meters
        self._epochs = epochs

    def report(self) -> CacheReport:
        """What there is to tell now; asks the cache's servers."""
        counted = self._meters.read()
        figures, shared = self._cache.figures(), self._cache.traits.shared
        own = [counted.namespaces[name] for name in IN_CACHE]
        return CacheReport(
            backend=self._backend,
            shared=shared,
            entries=figures.entries if shared else sum(space.entries for space in own),
            size=figures.size if shared else sum(space.size for space in own),
            evictions=(
                figures.evictions if shared else sum(space.since_start.evictions for space in own)
            ),
            servers=figures.servers,
            aside=figures.aside,
            since=counted.since,
            workers=counted.workers,
            namespaces=counted.namespaces,
        )

    def clear(self, *namespaces: Namespace) -> None:
        """Have nothing of them found any more, by any worker of any machine, within a second.

        What is there is not removed: it makes room for others in its turn.
        """
        for namespace in namespaces:
            self._epochs.advance(namespace)
