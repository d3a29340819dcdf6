"""Remembers the codes that scans ask for, so that few scans wait for the database."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from core.domain.codes import Code, slug_key
from core.errors import StorageUnavailable
from core.ports import Storage
from core.services.meters import Meter
from core.services.recent import Question, Recall, Recent
from core.settings import CacheSettings

_PAUSE = 1.0
"""So long, in seconds, nobody asks a storage that has just failed."""

_LONG_PAUSE = 5.0
"""So long nobody waits for a storage that has kept somebody waiting, where an answer is known."""

_MAX_MISSES = 1000
"""So many slugs of no code are remembered: whoever tries slugs must not push out codes."""

_log = logging.getLogger(__name__)


class Lookups:
    """The codes by slug or id, as the storage had them up to `cache.code_ttl` seconds ago.

    While the storage is away, or slow, `find` tells what was known last: a printed code must lead
    on. What this process changes, it tells by `forget`. `clock` counts seconds and never goes back;
    `patience` is how many of them a scan waits where there is an answer from before.
    `plans` are what others have made of codes, and are forgotten with them.
    """

    def __init__(
        self,
        storage: Storage,
        settings: CacheSettings,
        meter: Meter,
        plans: Recall[Any, Any],
        clock: Callable[[], float] = time.monotonic,
        patience: float = 1.0,
    ) -> None:
        self._storage = storage
        self._settings = settings
        self._meter = meter
        self._plans = plans
        self._clock = clock
        self._patience = patience
        self._lock = threading.Lock()
        self._codes: Recent[str, Code] = Recent(settings.max_codes, meter)
        self._misses: Recent[str, None] = Recent(_MAX_MISSES, meter)
        self._by_id: Recall[int, Code] = Recall(settings.code_ttl, settings.max_codes, meter, clock)
        self._asked: dict[str, Question[Code]] = {}
        self._away_until = 0.0
        self._slow_until = 0.0
        self._is_away = False

    def find(self, slug: str) -> Code | None:
        """The code of that slug; raises StorageUnavailable where it is not known from before."""
        key, now, began = slug_key(slug), self._clock(), time.monotonic_ns()
        fresh = self._codes.get(key)
        if fresh is not None:
            code, since = fresh
            # PERF: most scans end here, and need no lock to look. Whether a code with `max_scans`
            # leads on depends on its scans, which change all the time.
            if now - since < self._settings.code_ttl and code.max_scans is None:
                self._meter.hit(began)
                return code
        with self._lock:
            known, since = self._codes.get(key) or (None, now)
            if known is None:
                if (miss := self._misses.get(key)) and now - miss[1] < self._settings.code_ttl:
                    self._meter.hit(began)
                    return None
            elif now - since >= self._settings.code_grace:
                known = None
            if known is None and now < self._away_until:
                raise StorageUnavailable("The database has not answered a moment ago.")
            if known is not None and now < max(self._away_until, self._slow_until):
                self._meter.hit(began)
                return known
            self._meter.miss(began)
            question = self._asked.get(key)
            is_new = question is None
            if question is None:
                question = self._asked[key] = Question(now)
        if known is None:
            if is_new:
                self._ask(key, question)
            question.done.wait()
        else:
            if is_new:
                threading.Thread(target=self._ask, args=(key, question), daemon=True).start()
            if not question.done.wait(max(0.0, question.began + self._patience - now)):
                with self._lock:
                    self._slow_until = self._clock() + _LONG_PAUSE
                return known
            if question.error is not None:
                return known
        return question.wait()

    def by_id(self, code_id: UUID) -> Code | None:
        """The code of that id, whatever organisation it is of."""
        # PERF: the hash of a UUID takes as long as all the rest of finding it here.
        return self._by_id.find(code_id.int, lambda: self._storage.codes.find(code_id))

    def forget(self, *codes: Code) -> None:
        """Ask anew from now on, since this process has changed these codes."""
        self._by_id.forget(*(code.id.int for code in codes))
        self._plans.clear()
        with self._lock:
            for key in (slug_key(code.slug) for code in codes):
                self._codes.pop(key)
                self._misses.pop(key)
                # An answer that is on its way may be from before.
                self._asked.pop(key, None)

    def clear(self) -> None:
        """Ask anew for every code."""
        self._by_id.clear()
        self._plans.clear()
        with self._lock:
            self._codes.clear()
            self._misses.clear()
            self._asked.clear()

    def _ask(self, key: str, question: Question[Code]) -> None:
        """Ask the storage, and keep what it says unless `forget` was called meanwhile."""
        question.put(lambda: self._storage.codes.by_slug(key))
        with self._lock:
            self._note(question.error)
            if self._asked.get(key) is question:
                del self._asked[key]
                if question.error is None:
                    self._keep(key, question)
        question.done.set()

    def _keep(self, key: str, question: Question[Code]) -> None:
        if question.answer is None:
            self._codes.pop(key)
            self._misses.put(key, None, question.began)
        else:
            self._misses.pop(key)
            self._codes.put(key, question.answer, question.began)

    def _note(self, error: BaseException | None) -> None:
        """Remember whether the storage is away, and say so once."""
        is_away = isinstance(error, StorageUnavailable)
        if is_away:
            self._away_until = self._clock() + _PAUSE
            if not self._is_away:
                _log.warning("codes are followed as they were known last: %s", error)
        elif error is not None:
            _log.error("a code cannot be looked up", exc_info=error)
        else:
            self._away_until = self._slow_until = 0.0
            if self._is_away:
                _log.warning("codes are followed as they are again")
        self._is_away = is_away
