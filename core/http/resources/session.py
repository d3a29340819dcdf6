"""Signing in and out, and who is signed in."""

from __future__ import annotations

from typing import ClassVar

import falcon

from core.domain.accounts import Credentials, Principal
from core.domain.validation import read
from core.http.client import Clients
from core.http.request import Request
from core.http.resources.base import Answer, Answers, Bodies, Resource, put_json, read_json
from core.http.schemas import SessionView
from core.services import Services
from core.services.limits import Policy
from core.settings import Settings

_MAX_CREDENTIALS = 16_384
"""The largest body of a sign-in, in bytes: nobody is known yet who could be held to a limit."""


class Session(Resource):
    """`/api/session`."""

    bodies: ClassVar[Bodies] = {"POST": Credentials}
    answers: ClassVar[Answers] = {
        "POST": (Answer(SessionView, 201, headers=("Set-Cookie",)), 401, 429, 503),
        "GET": (Answer(SessionView),),
        "DELETE": (Answer(status=204, headers=("Set-Cookie",)),),
    }

    def __init__(self, services: Services, settings: Settings) -> None:
        super().__init__(services, settings)
        self._clients = Clients(settings.http)

    def on_post(self, req: Request, resp: falcon.Response) -> None:
        """Sign in and set the cookie."""
        accounts = self.services.accounts
        limit = min(self.settings.http.max_body_bytes, _MAX_CREDENTIALS)
        credentials = read(Credentials, read_json(req, limit, setting=""))
        limits = self.services.limits
        # NOTE: before anything is looked up, and for accounts that there are not as well.
        limits.take(Policy.SIGN_IN_ADDRESS, self._clients.subject(req))
        limits.take(Policy.SIGN_IN_ACCOUNT, credentials.email.strip().casefold())
        token, session, user = accounts.sign_in(credentials)
        resp.set_cookie(
            cookie_name(self.settings.base_url),
            token,
            max_age=self.settings.accounts.session_lifetime,
            secure=is_https(self.settings.base_url),
            http_only=True,
            same_site="Lax",
            path="/",
        )
        principal = Principal(user=user, session=session)
        resp.set_header("Cache-Control", "no-store")
        put_json(resp, SessionView.of(principal, accounts.organizations(principal)), 201)

    def on_get(self, req: Request, resp: falcon.Response) -> None:
        """Tell who is asking."""
        principal = req.context.principal
        organizations = self.services.accounts.organizations(principal)
        put_json(resp, SessionView.of(principal, organizations))

    def on_delete(self, req: Request, resp: falcon.Response) -> None:
        """Sign out: the session ends at once, whoever may still hold its token."""
        session = req.context.principal.session
        if session is not None:
            self.services.accounts.sign_out(session)
        resp.set_cookie(
            cookie_name(self.settings.base_url),
            "",
            max_age=0,
            secure=is_https(self.settings.base_url),
            http_only=True,
            same_site="Lax",
            path="/",
        )
        resp.status = 204


def cookie_name(base_url: str) -> str:
    """The session cookie's name; with https its prefix binds it to this host (RFC 6265bis)."""
    return "__Host-quietzone" if is_https(base_url) else "quietzone"


def is_https(base_url: str) -> bool:
    """Whether the service is reached over https."""
    return base_url.lower().startswith("https:")
