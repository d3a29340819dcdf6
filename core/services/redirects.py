"""Answers a scan: which code it was, and where it leads now."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from core.domain.codes import Code, State, forwarded, is_slug, location, state
from core.errors import Gone, NotFound
from core.services.lookups import Lookups

_log = logging.getLogger(__name__)


class Redirects:
    """Looks codes up by slug, whoever they belong to."""

    def __init__(self, lookups: Lookups, clock: Callable[[], datetime]) -> None:
        self._lookups = lookups
        self._clock = clock

    def follow(self, slug: str, query: str) -> tuple[Code, str]:
        """The code and the ASCII-only address to send the visitor to.

        `query` is the scan's own query string, percent-encoded, appended where the code
        says so and the address does not become too long. Raises NotFound for an unknown slug,
        Gone for a code that must not be followed now.
        """
        code = self._lookups.find(slug) if is_slug(slug) else None
        if code is None:
            raise NotFound("There is no code with this address.")
        now_state = state(code, self._clock())
        if now_state is not State.OPEN:
            raise Gone(f"This code is {now_state.value}.")
        try:
            if code.forward_query and query:
                return code, forwarded(code.destination, query)
            return code, location(code.destination)
        except ValueError as error:
            # Checked when it was stored; whatever got past that must not reach a header.
            _log.exception("the stored destination of code %s is unsafe", code.id)
            raise Gone("This code leads nowhere.") from error
