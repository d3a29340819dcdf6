"""The scan itself: from the printed code to wherever its owner wants today."""

from __future__ import annotations

import html
import re
from typing import ClassVar
from urllib.parse import quote

import falcon

from core.domain.codes import Code
from core.domain.scans import Visit
from core.errors import Gone, NotFound, StorageUnavailable, TooMany
from core.http import problems
from core.http.client import opted_out
from core.http.page import MEDIA_TYPE, page, policy
from core.http.request import Request
from core.http.resources.base import Answer, Answers, AnyQuery, Queries, Resource
from core.services import Services
from core.services.limits import Policy
from core.settings import Settings

_USER_AGENT_MAX = 512
_HEADER_MAX = 256
"""So much of a header is recorded; nothing that is derived of it lies further behind."""

_QUERY_SAFE = "!$&'()*+,;=:@/?%-._~[]"
"""What may stand in a query as it is (RFC 3986, 3.4), and what is percent-encoded already."""


_REFERRER = "strict-origin-when-cross-origin"
"""What a page with a short link lets the destination know of itself: its origin at most."""

_COUNTRY = re.compile(r"[A-Za-z]{2}")


class Redirect(Resource):
    """`/r/{slug}`: 302 and never kept, so that an edit works at once and every scan is seen."""

    queries: ClassVar[Queries] = {"GET": AnyQuery}
    answers: ClassVar[Answers] = {
        "GET": (
            Answer(status=302, headers=("Location",)),
            # Browsers are shown a page.
            *(Answer(problems.Problem, status, ("text/html",)) for status in (404, 410, 429, 503)),
        )
    }

    def __init__(self, services: Services, settings: Settings) -> None:
        super().__init__(services, settings)
        self._country_header = settings.http.country_header
        self._opted_out = opted_out(settings.scans.opt_out)

    def on_get(self, req: Request, resp: falcon.Response, slug: str) -> None:
        """Send the visitor on, and count the scan before he is told where to."""
        address = self.clients.address(req)
        own = self._opted_out is not None and self._opted_out(address)
        self._answer(req, resp, slug, None if own else address)

    def on_head(self, req: Request, resp: falcon.Response, slug: str) -> None:
        """Tell where the code leads, without counting."""
        self._answer(req, resp, slug, None)

    def _answer(self, req: Request, resp: falcon.Response, slug: str, address: str | None) -> None:
        """Send the visitor on; the scan is counted for `address`, or not at all without one."""
        try:
            code, target = self._follow(req, slug, count=address is not None)
            if address is not None:
                self.services.journal.record(self._visit(req, code, address))
        except (NotFound, Gone, TooMany, StorageUnavailable) as error:
            resp.append_header("Vary", "Accept")
            if not _is_for_people(req):
                raise
            _put_page(resp, error, req.context.request_id)
            return
        resp.status = falcon.HTTP_302
        resp.set_header("Location", target)
        resp.set_header("Referrer-Policy", _REFERRER)

    def _follow(self, req: Request, slug: str, *, count: bool) -> tuple[Code, str]:
        try:
            return self.services.redirects.follow(slug, _query(req))
        except NotFound:
            if count:
                self.services.journal.miss()
            self.services.limits.take(Policy.UNKNOWN_SLUGS, self.clients.subject(req))
            raise

    def _visit(self, req: Request, code: Code, address: str) -> Visit:
        # PERF: by their names in WSGI (PEP 3333); Falcon takes 1.2 µs to find each.
        get = req.env.get
        purpose = (get("HTTP_SEC_PURPOSE") or get("HTTP_PURPOSE") or "").lower()
        return Visit(
            code_id=code.id,
            organization_id=code.organization_id,
            at=self.services.clock(),
            address=address,
            user_agent=get("HTTP_USER_AGENT", "")[:_USER_AGENT_MAX],
            prefetch="prefetch" in purpose or "prerender" in purpose,
            do_not_track=get("HTTP_DNT") == "1" or get("HTTP_SEC_GPC") == "1",
            language=get("HTTP_ACCEPT_LANGUAGE", "")[:_HEADER_MAX],
            referrer=get("HTTP_REFERER", "")[:_HEADER_MAX],
            country=self._country(req),
        )

    def _country(self, req: Request) -> str:
        if not self._country_header or not self.clients.is_proxied(req):
            return ""
        country = req.get_header(self._country_header) or ""
        # Codes are two letters (ISO 3166-1). Of anything longer, the first two are another country.
        return country if _COUNTRY.fullmatch(country) else ""


def lost(req: Request, resp: falcon.Response, **_: object) -> None:
    """Answer an address below `/r` that can be no code's, one with a slash at its end above all."""
    resp.append_header("Vary", "Accept")
    error = NotFound("There is no code with this address.")
    if not _is_for_people(req):
        raise error
    _put_page(resp, error, req.context.request_id)


def _query(req: Request) -> str:
    if not req.query_string:
        return ""
    # WSGI hands raw bytes over as if they were Latin-1 (PEP 3333).
    return quote(req.query_string.encode("latin-1", "replace"), safe=_QUERY_SAFE)


def _is_for_people(req: Request) -> bool:
    # Browsers name text/html in Accept; programs send */* or nothing.
    return "text/html" in (req.get_header("Accept") or "").lower()


def _put_page(
    resp: falcon.Response, error: NotFound | Gone | TooMany | StorageUnavailable, request_id: str
) -> None:
    problem = problems.of(error, request_id)
    title, hint = _WORDS[type(error)]
    if isinstance(error, TooMany):
        problems.report_limit(resp, error)
    if isinstance(error, StorageUnavailable):
        problems.report_outage(resp, error, request_id)
    resp.status = problem.status
    resp.content_type = MEDIA_TYPE
    resp.set_header("Content-Security-Policy", _POLICY)
    resp.text = page(title, f"<p>{html.escape(problem.detail)} {hint}</p>")


_WORDS = {
    NotFound: (
        "This code is unknown",
        "Look whether the address is complete, or scan the code again.",
    ),
    Gone: ("This code is not in use", "Ask whoever gave you the code for a new one."),
    TooMany: ("Too many codes are unknown", "The codes themselves are fine."),
    StorageUnavailable: ("This does not work right now", "The code itself is fine."),
}

_POLICY = policy()
