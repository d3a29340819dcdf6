"""Records scans: takes what the redirect saw and keeps what may be kept of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date

from core.domain.scans import Scan, Visit, visitor_hash
from core.ports import ScanStore
from core.services.enrichment import Enrichment

_USER_AGENT_MAX = 512


class Journal:
    """The one door through which scans are recorded.

    `record` returns once the scan is safe in the scan store: one transaction a scan.
    """

    def __init__(
        self, store: ScanStore, enrichment: Enrichment, token_bytes: Callable[[int], bytes]
    ) -> None:
        self._store = store
        self._enrichment = enrichment
        self._token_bytes = token_bytes
        self._salt: tuple[date, bytes] | None = None

    def record(self, visit: Visit) -> None:
        """Store and count the scan; raises StorageUnavailable where that is not possible now."""
        self._store.append([self._scan(visit)])

    def _scan(self, visit: Visit) -> Scan:
        user_agent = visit.user_agent[:_USER_AGENT_MAX]
        bot = self._enrichment.traits(visit).bot
        # A bot is no visitor. A browser that prefetches a link must not use up the uniqueness of
        # the person who then follows it.
        visitor = None
        if not (bot or visit.do_not_track):
            visitor = visitor_hash(self._salt_of(visit), visit.address, user_agent)
        return Scan(
            code_id=visit.code_id,
            organization_id=visit.organization_id,
            at=visit.at,
            visitor=visitor,
            bot=bot,
        )

    def _salt_of(self, visit: Visit) -> bytes:
        day = visit.at.astimezone(UTC).date()
        if self._salt is None or self._salt[0] != day:
            self._salt = (day, self._store.salt(day, self._token_bytes(32)))
        return self._salt[1]
