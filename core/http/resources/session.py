"""Signing in and out, who is signed in, and where else one is."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

import falcon

from core.domain.accounts import Credentials, Principal
from core.domain.validation import read
from core.http.request import Request
from core.http.resources.base import (
    Answer,
    Answers,
    Bodies,
    EventNames,
    Resource,
    put_json,
    read_json,
)
from core.http.schemas import SessionItem, SessionList, SessionView

_MAX_CREDENTIALS = 16_384
"""The largest body of a sign-in, in bytes: nobody is known yet who could be held to a limit."""

_DEVICE_LIFETIME = 34_560_000
"""In seconds, 400 days: browsers keep no cookie for longer (RFC 6265bis, 5.5)."""


class Session(Resource):
    """`/api/session`."""

    events: ClassVar[EventNames] = {"POST": "session.begin", "DELETE": "session.end"}
    bodies: ClassVar[Bodies] = {"POST": Credentials}
    answers: ClassVar[Answers] = {
        "POST": (Answer(SessionView, 201, headers=("Set-Cookie",)), 401, 503),
        "GET": (Answer(SessionView),),
        "DELETE": (Answer(status=204, headers=("Set-Cookie",)),),
    }

    def on_post(self, req: Request, resp: falcon.Response) -> None:
        """Sign in and set the cookie; a session that was presented by an older one ends."""
        accounts = self.services.accounts
        limit = min(self.settings.http.max_body_bytes, _MAX_CREDENTIALS)
        credentials = read(Credentials, read_json(req, limit, setting=""))
        base_url = self.settings.base_url
        presented = req.cookies.get(cookie_name(base_url), "")
        device = req.cookies.get(device_cookie_name(base_url), "")
        token, session, user = accounts.sign_in(credentials, presented, device)
        lifetime = self.settings.accounts.session_lifetime
        set_cookie(resp, base_url, cookie_name(base_url), token, lifetime)
        if not accounts.devices.is_known(user, device):
            remember_device(resp, base_url, accounts.devices.token(user))
        req.context.principal = principal = Principal(user=user, session=session)
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
        base_url = self.settings.base_url
        set_cookie(resp, base_url, cookie_name(base_url), "", 0)
        resp.status = 204


class Sessions(Resource):
    """`/api/sessions`."""

    events: ClassVar[EventNames] = {"DELETE": "session.end_others"}
    answers: ClassVar[Answers] = {
        "GET": (Answer(SessionList),),
        "DELETE": (Answer(status=204),),
    }

    def on_get(self, req: Request, resp: falcon.Response) -> None:
        """List the caller's own sessions."""
        principal = req.context.principal
        assert principal.user is not None
        found = self.services.accounts.sessions(principal.user)
        put_json(resp, SessionList([SessionItem.of(item, principal.session) for item in found]))

    def on_delete(self, req: Request, resp: falcon.Response) -> None:
        """End all of the caller's sessions but the one that asks for it."""
        session = req.context.principal.session
        assert session is not None
        self.services.accounts.end_other_sessions(session)
        resp.status = 204


class OneSession(Resource):
    """`/api/sessions/{session_id}`."""

    events: ClassVar[EventNames] = {"DELETE": "session.end_one"}
    answers: ClassVar[Answers] = {"DELETE": (Answer(status=204),)}

    def on_delete(self, req: Request, resp: falcon.Response, session_id: UUID) -> None:
        """End one of the caller's sessions."""
        user = req.context.principal.user
        assert user is not None
        self.services.accounts.end_session(user, session_id)
        resp.status = 204


def cookie_name(base_url: str) -> str:
    """The session cookie's name; with https its prefix binds it to this host (RFC 6265bis)."""
    return "__Host-quietzone" if is_https(base_url) else "quietzone"


def device_cookie_name(base_url: str) -> str:
    """The name of the cookie by which a browser is known again at the next sign-in."""
    return f"{cookie_name(base_url)}-device"


def remember_device(resp: falcon.Response, base_url: str, token: str) -> None:
    """Have the browser keep its token, whoever signs out."""
    set_cookie(resp, base_url, device_cookie_name(base_url), token, _DEVICE_LIFETIME)


def set_cookie(resp: falcon.Response, base_url: str, name: str, value: str, lifetime: int) -> None:
    """Set a cookie that no script sees, for so many seconds."""
    resp.set_cookie(
        name,
        value,
        max_age=lifetime,
        secure=is_https(base_url),
        http_only=True,
        same_site="Lax",
        path="/",
    )


def is_https(base_url: str) -> bool:
    """Whether the service is reached over https."""
    return base_url.lower().startswith("https:")
