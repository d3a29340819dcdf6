"""What every answer tells browsers and caches: what it may do, and who may keep it.

docs/security.md says why each of these headers is as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import falcon

from core.domain.hosts import origin
from core.http.client import Clients
from core.http.request import Request
from core.settings import Settings

Pairs = Sequence[tuple[str, str]]

DOCUMENT = "default-src 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of what is no page at all: nothing runs, loads or is framed."""

REFERRER = "no-referrer"
"""The Referrer-Policy of all but redirects: nothing here leads anywhere."""

_ALLOWED = "Authorization, Content-Type, Idempotency-Key, If-None-Match, X-Request-ID"
_EXPOSED = (
    "Content-Disposition, ETag, Location, RateLimit, RateLimit-Policy, Retry-After, "
    "WWW-Authenticate, X-Request-ID"
)
_PREFLIGHT_SECONDS = "600"


class Headers:
    """The headers that an answer has unless its resource says otherwise."""

    def __init__(self, settings: Settings) -> None:
        http = settings.http
        plain = {
            "x-content-type-options": "nosniff",
            "content-security-policy": DOCUMENT,
            "referrer-policy": REFERRER,
            "cache-control": "no-store",
        }
        if http.cors_origins:
            # Also where no origin is named: what is kept for one must not be shown to another.
            plain["vary"] = "Origin"
        secure = {**plain}
        if http.hsts_seconds:
            secure["strict-transport-security"] = f"max-age={http.hsts_seconds}"
        # PERF: made once for the life of the process; to make them takes longer than to send them.
        self._plain, self._secure = plain, secure
        self._usual = secure if origin(settings.base_url).startswith("https:") else plain
        self._clients = Clients(http)

    def behind_a_sign_in(self, *varying: str) -> Mapping[str, str]:
        """What replaces some of them where an answer depends on who asks, as these headers tell."""
        vary = ", ".join([*([self._plain["vary"]] if "vary" in self._plain else []), *varying])
        # Nothing of it may be kept by a shared cache, nor shown to whoever signs in next by a
        # browser's own.
        return {"cache-control": "private, no-cache", "vary": vary}

    def of(self, env: dict[str, Any]) -> Mapping[str, str]:
        """The headers of the answer to a request, by what WSGI tells of it (PEP 3333)."""
        proto = env.get("HTTP_X_FORWARDED_PROTO")
        if proto is not None and self._clients.trusts(env.get("REMOTE_ADDR", "")):
            # RFC 6797 (7.2): none of it over plain http. The last proxy wrote the last name.
            last = proto.rpartition(",")[2].strip().lower()
            return self._secure if last == "https" else self._plain
        return self._secure if env["wsgi.url_scheme"] == "https" else self._usual


class Sharing:
    """Lets pages of the origins in `http.cors_origins` call the interface (the Fetch Standard).

    It stands in the middleware only where there are such origins.
    """

    def __init__(self, settings: Settings) -> None:
        self._given = {
            name: self._granted(name, settings.http.cors_credentials)
            for name in settings.http.cors_origins
        }

    def _granted(self, name: str, credentials: bool) -> Pairs:
        pairs = [
            ("Access-Control-Allow-Origin", name),
            ("Access-Control-Expose-Headers", _EXPOSED),
        ]
        if credentials:
            pairs.append(("Access-Control-Allow-Credentials", "true"))
        return pairs

    def process_response(
        self, req: Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Tell the browser that the page may see the answer, errors too, or what it may send."""
        granted = self._given.get(req.env.get("HTTP_ORIGIN", ""))
        if granted is None:
            return
        resp.set_headers(granted)
        allow = resp.get_header("Allow")
        asks = req.method == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in req.env
        if asks and req_succeeded and allow is not None:
            resp.set_header("Access-Control-Allow-Methods", allow)
            resp.set_header("Access-Control-Allow-Headers", _ALLOWED)
            resp.set_header("Access-Control-Max-Age", _PREFLIGHT_SECONDS)
