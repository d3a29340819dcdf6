"""Security events: one line of JSON each, for whoever or whatever watches the installation."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime

import falcon

from core.http.client import Clients
from core.http.request import Request
from core.http.resources.base import Resource
from core.http.resources.session import cookie_name
from core.services.recent import Recent
from core.settings import Settings

_log = logging.getLogger("quietzone.security")

REFUSED = "request"
"""The event of a request that was refused, where it is none with a name of its own."""

_REFUSALS = frozenset({401, 403, 429})
_EVERY = 1.0
_MOST = 10_000


class Events:
    """Tells of what resources name as their `events`, and of everybody who is turned away.

    Whoever has shown nothing at all is not told of: he was asked to sign in. Who is refused again
    and again is told of once a second, with the number of times. `clock` tells the time.
    """

    def __init__(self, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._clients = Clients(settings.http)
        self._cookie = cookie_name(settings.base_url)
        self._clock = clock
        self._repeated: Recent[tuple[str, str, int], int] = Recent(_MOST)

    def process_response(
        self, req: Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Write the line, where there is something to tell."""
        # PERF: of nearly every request nothing else is looked at.
        if req_succeeded and req.method == "GET" and resp.status != 429:
            return
        status = resp.status_code
        event = resource.events.get(req.method) if isinstance(resource, Resource) else None
        if event is None and (status not in _REFUSALS or (status == 401 and not self._tried(req))):
            return
        address, now = self._clients.address(req), self._clock()
        told: dict[str, object] = {
            "time": now.isoformat(timespec="milliseconds"),
            "event": event or REFUSED,
            "outcome": "done" if status < 400 else "refused" if status < 500 else "failed",
            "status": status,
            "method": req.method,
            "path": req.path,
            "address": address,
            "who": _who(req),
            "request_id": req.context.request_id,
        }
        limit = resp.get_header("RateLimit") if status == 429 else None
        if limit is not None:
            told["limit"] = limit.split('"')[1]
        if status >= 400:
            key, seconds = (event or REFUSED, address, status), now.timestamp()
            known = self._repeated.get(key)
            if known is not None and seconds - known[1] < _EVERY:
                self._repeated.put(key, known[0] + 1, known[1])
                return
            if known is not None and known[0]:
                told["repeated"] = known[0]
            self._repeated.put(key, 0, seconds)
        _log.log(logging.INFO if status < 400 else logging.WARNING, "%s", json.dumps(told))

    def _tried(self, req: Request) -> bool:
        """Whether a key or a session was sent, to be let in by."""
        return "HTTP_AUTHORIZATION" in req.env or self._cookie in req.cookies


def _who(req: Request) -> str | None:
    """Who is asking, as far as he is known."""
    principal = getattr(req.context, "principal", None)
    if principal is None:
        return None
    if principal.user is not None:
        return f"user {principal.user.id}"
    return f"key {principal.api_key.id}" if principal.api_key is not None else None
