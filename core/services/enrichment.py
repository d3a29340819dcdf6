"""Derives from a scan what may be kept of it, with the help of the operator's enrichers."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Mapping
from functools import lru_cache

from core.domain.scans import Visit
from core.domain.traits import Traits, known_country, preferred_language, referring_host
from core.ports import ScanEnricher

_logger = logging.getLogger(__name__)

_SILENCE = 60.0
"""For how many seconds an enricher that has failed is not complained of again."""


class Enrichment:
    """Fills the traits of scans: first what needs no plugin, then one enricher after the other.

    An enricher that fails, or cannot be opened, costs what it would have added, never the scan.
    `clock` counts seconds and never goes back.
    """

    def __init__(
        self,
        enrichers: Mapping[str, ScanEnricher],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._enrichers = dict(enrichers)
        self._clock = clock
        self._opened: dict[str, ScanEnricher] = {}
        self._silent_until: dict[str, float] = {}
        self._closed_until: dict[str, float] = {}
        self._reasons: dict[str, str] = {}

    def check(self) -> None:
        """Open every enricher and close it again; raises what the first of them raises."""
        for enricher in self._enrichers.values():
            enricher.open()
            enricher.close()

    def open(self) -> None:
        """Open every enricher that is not open; one that cannot be is passed over for a minute.

        Only the process that drains needs them: they may take much memory.
        """
        if len(self._opened) == len(self._enrichers):
            return
        now = self._clock()
        for name, enricher in self._enrichers.items():
            if name in self._opened or now < self._closed_until.get(name, now):
                continue
            try:
                enricher.open()
            except Exception as error:  # noqa: BLE001
                self._closed_until[name] = now + _SILENCE
                self._pass_over(name, f"{type(error).__name__}: {error}")
            else:
                self._opened[name] = enricher
                self._closed_until.pop(name, None)
                if self._reasons.pop(name, None):
                    _logger.warning("the scan enricher %r is open now", name)

    def close(self) -> None:
        """Close every enricher that was opened, in reverse order; may be called again."""
        while self._opened:
            _, enricher = self._opened.popitem()
            enricher.close()

    def traits(self, visit: Visit) -> Traits:
        """What is known of the scan; raises nothing, whatever the visitor or an enricher does."""
        bot = visit.prefetch or not visit.user_agent.strip()
        traits = _told(bot, visit.country, visit.language, visit.referrer)
        for name, enricher in self._enrichers.items():
            if name in self._closed_until:
                continue
            try:
                enriched = enricher.enrich(visit, traits)
                if not isinstance(enriched, Traits):
                    raise TypeError(f"must return Traits, not {type(enriched).__name__}")
            except Exception as error:  # noqa: BLE001
                self._complain(name, error)
            else:
                traits = enriched
        return traits

    def _pass_over(self, name: str, reason: str) -> None:
        if self._reasons.get(name) != reason:
            self._reasons[name] = reason
            _logger.error(
                "the scan enricher %r cannot be opened, and scans are stored without it; it is "
                "tried again every minute: %s",
                name,
                reason,
            )

    def _complain(self, name: str, error: Exception) -> None:
        now = self._clock()
        if now < self._silent_until.get(name, now):
            return
        self._silent_until[name] = now + _SILENCE
        # NOTE: the message of the error may quote the visitor's address or user agent, which are
        # to be kept nowhere: its type and its way through the code have to be enough.
        frames = traceback.extract_tb(error.__traceback__)
        _logger.error(
            "the scan enricher %r failed and was passed over: %s at %s; further failures of it are "
            "not logged for a minute",
            name,
            type(error).__name__,
            ", ".join(f"{frame.filename}:{frame.lineno}" for frame in frames),
        )


# PERF: the same few headers come again and again, and reading them takes longer than all else.
@lru_cache(4096)
def _told(bot: bool, country: str, language: str, referrer: str) -> Traits:
    """What the headers of a visit tell."""
    return Traits(
        bot=bot,
        country=known_country(country),
        language=preferred_language(language),
        referrer=referring_host(referrer),
    )
