"""The scan itself: from the printed code to wherever its owner wants today."""

from __future__ import annotations

import html
from string import Template
from typing import ClassVar
from urllib.parse import quote

import falcon

from core.domain.codes import Code
from core.domain.scans import Visit
from core.errors import Gone, NotFound
from core.http.client import client_address, networks
from core.http.request import Request
from core.http.resources.base import AnyQuery, Queries, Resource
from core.services import Services
from core.settings import Settings

_QUERY_SAFE = "!$&'()*+,;=:@/?%-._~[]"
"""What may stand in a query as it is (RFC 3986, 3.4), and what is percent-encoded already."""


class Redirect(Resource):
    """`/r/{slug}`: 302 and never kept, so that an edit works at once and every scan is seen."""

    queries: ClassVar[Queries] = {"GET": AnyQuery}

    def __init__(self, services: Services, settings: Settings) -> None:
        super().__init__(services, settings)
        self._trusted = networks(settings.http.trusted_proxies)

    def on_get(self, req: Request, resp: falcon.Response, slug: str) -> None:
        """Send the visitor on, and count the scan before he is told where to."""
        code = self._follow(req, resp, slug)
        if code is not None:
            self.services.journal.record(self._visit(req, code))

    def on_head(self, req: Request, resp: falcon.Response, slug: str) -> None:
        """Tell where the code leads, without counting."""
        self._follow(req, resp, slug)

    def _follow(self, req: Request, resp: falcon.Response, slug: str) -> Code | None:
        resp.set_header("Cache-Control", "no-store")
        try:
            code, target = self.services.redirects.follow(slug, _query(req))
        except (NotFound, Gone) as error:
            if not _is_for_people(req):
                raise
            _put_page(resp, error)
            return None
        resp.status = 302
        resp.set_header("Location", target)
        return code

    def _visit(self, req: Request, code: Code) -> Visit:
        purpose = req.get_header("Sec-Purpose") or req.get_header("Purpose") or ""
        return Visit(
            code_id=code.id,
            organization_id=code.organization_id,
            at=self.services.clock(),
            address=client_address(
                req.remote_addr, req.get_header("X-Forwarded-For"), self._trusted
            ),
            user_agent=req.user_agent or "",
            prefetch="prefetch" in purpose.lower() or "prerender" in purpose.lower(),
            do_not_track=req.get_header("DNT") == "1" or req.get_header("Sec-GPC") == "1",
        )


def _query(req: Request) -> str:
    # WSGI hands raw bytes over as if they were Latin-1 (PEP 3333).
    return quote(req.query_string.encode("latin-1", "replace"), safe=_QUERY_SAFE)


def _is_for_people(req: Request) -> bool:
    # Browsers name text/html in Accept; programs send */* or nothing.
    return "text/html" in (req.get_header("Accept") or "")


def _put_page(resp: falcon.Response, error: NotFound | Gone) -> None:
    gone = isinstance(error, Gone)
    resp.status = 410 if gone else 404
    resp.content_type = "text/html; charset=utf-8"
    resp.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
    resp.text = _PAGE.substitute(
        title="This code is not in use" if gone else "This code is unknown",
        text=html.escape(str(error)),
        hint=(
            "Ask whoever gave you the code for a new one."
            if gone
            else "Look whether the address is complete, or scan the code again."
        ),
    )


_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>$title</title>
<style>
:root { color-scheme: light dark }
body {
  font: 1.125rem/1.5 system-ui, sans-serif;
  max-width: 32rem; margin: 20vh auto; padding: 0 1.5rem;
}
h1 { font-size: 1.5rem; line-height: 1.25 }
</style>
</head>
<body>
<h1>$title</h1>
<p>$text $hint</p>
</body>
</html>
""")
