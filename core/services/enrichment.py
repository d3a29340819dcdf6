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

    An enricher that fails costs what it would have added, never the scan. `clock` counts seconds
    and never goes back.
    """

    def __init__(
        self,
        enrichers: Mapping[str, ScanEnricher],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._enrichers = tuple(enrichers.items())
        self._clock = clock
        self._opened: list[ScanEnricher] = []
        self._silent_until: dict[str, float] = {}

    def open(self) -> None:
        """Open every enricher, once; those that were opened are closed again where one fails.

        Only the process that drains needs them: they may take much memory.
        """
        if self._opened:
            return
        try:
            for _, enricher in self._enrichers:
                enricher.open()
                self._opened.append(enricher)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every enricher that was opened, in reverse order; may be called again."""
        while self._opened:
            self._opened.pop().close()

    def traits(self, visit: Visit) -> Traits:
        """What is known of the scan; raises nothing, whatever the visitor or an enricher does."""
        bot = visit.prefetch or not visit.user_agent.strip()
        traits = _told(bot, visit.country, visit.language, visit.referrer)
        for name, enricher in self._enrichers:
            try:
                enriched = enricher.enrich(visit, traits)
                if not isinstance(enriched, Traits):
                    raise TypeError(f"must return Traits, not {type(enriched).__name__}")
            except Exception as error:  # noqa: BLE001
                self._complain(name, error)
            else:
                traits = enriched
        return traits

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
