"""What happens to every request: an id, the access rule of its route, the check of its query."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Sequence
from typing import Any

import falcon
from msgspec import Struct

from core.domain.accounts import Principal, Role
from core.domain.hosts import origin
from core.domain.validation import read
from core.errors import FieldProblem, Forbidden, InvalidFields, Unauthenticated
from core.http.client import Clients
from core.http.headers import Headers
from core.http.problems import rate_limit, rate_limit_policy
from core.http.request import Request
from core.http.resources.base import Access, AnyQuery, Resource, Rule
from core.http.response import Response
from core.services import Services
from core.services.limits import Policy
from core.settings import Limit, Settings

_access_log = logging.getLogger("quietzone.access")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_IDS = 256
"""So many ids of requests are made at a time."""

_MAX_QUERIES = 1000
_SHORT = 300
"""So many queries are remembered as they were read, of no more characters than this."""

_USUAL = {
    "GET": Policy.READS,
    "POST": Policy.WRITES,
    "PUT": Policy.WRITES,
    "PATCH": Policy.WRITES,
    "DELETE": Policy.WRITES,
}

_OPEN = (Access.PUBLIC, Access.ANYBODY)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Tracing:
    """Gives each request an id, which the answer, the problem and the log carry.

    The answer gets the headers that all have, for resources to replace.
    """

    def __init__(self, log_requests: bool, headers: Headers) -> None:
        self._log = log_requests
        self._headers = headers
        self._ids: list[str] = []

    def process_request(self, req: Request, resp: Response) -> None:
        """Take over the caller's id where it is a sound one, else draw one."""
        given = req.env.get("HTTP_X_REQUEST_ID")
        sound = given is not None and _REQUEST_ID.fullmatch(given)
        request_id = req.context.request_id = given if given and sound else self._new_id()
        req.context.started = time.perf_counter()
        resp.preset(self._headers.of(req.env))
        resp.preset({"x-request-id": request_id})

    def _new_id(self) -> str:
        """An id that nobody has had, as random as a UUID."""
        # PERF: to ask the system takes 2 of the 30 µs of a redirect, so it is asked for many.
        # NOTE: by workers alone; what was drawn before they part, all of them would give.
        try:
            return self._ids.pop()
        except IndexError:
            many = os.urandom(16 * _IDS).hex()
            self._ids.extend(many[at : at + 32] for at in range(32, len(many), 32))
            return many[:32]

    def process_response(
        self, req: Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Write the line of the log."""
        if self._log:
            # The path is quoted by repr, so that no request can forge a line; no address is logged.
            _access_log.info(
                "%s %s %r %s %.1f ms",
                req.context.request_id,
                req.method,
                req.path,
                resp.status_code,
                1000 * (time.perf_counter() - req.context.started),
            )


class Gate:
    """Lets a request pass to its resource only as the route's access rule says.

    A resource that declares no rule for a method is never called (`routes.install` refuses it).
    """

    def __init__(
        self, services: Services, settings: Settings, headers: Headers, cookie_name: str
    ) -> None:
        self._accounts = services.accounts
        self._limits = services.limits
        self._clients = Clients(settings.http)
        self._by_cookie = headers.behind_a_sign_in("Cookie")
        self._signed_in = {
            policy: {**headers.behind_a_sign_in("Authorization", "Cookie"), **limits}
            for policy in Policy
            for limits in [_described(services.limits.described(policy))]
        }
        self._origin = origin(settings.base_url)
        http = settings.http
        # Others may call with an API key; with a session only where the setting says so.
        self._friends = frozenset(http.cors_origins if http.cors_credentials else ())
        self._cookie = cookie_name
        self._queries: dict[tuple[type[Struct] | None, str], Struct] = {}

    def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, Any]
    ) -> None:
        """Raise Unauthenticated, NotFound, Forbidden or InvalidFields, or fill the context."""
        assert isinstance(resource, Resource)
        method = "GET" if req.method == "HEAD" else req.method
        if method == "OPTIONS" or method not in resource.access:
            return
        rule = resource.access[method]
        self._refuse_cross_site(req)
        if rule in _OPEN and method not in _SAFE:
            # Nobody is known by more than his address who wants to be let in.
            self._limits.take(Policy.SIGN_IN_ADDRESS, self._clients.subject(req))
        if rule is Access.ANYBODY:
            req.context.principal = self._person(req)
            resp.preset(self._by_cookie)
        elif rule is not Access.PUBLIC:
            # Whoever changes something is who he is now, and no longer who he was a moment ago.
            at_once = method not in _SAFE
            principal = self._principal(req, at_once=at_once)
            self._limit(resp, resource.policies.get(method) or _USUAL[method], principal)
            self._admit(req, rule, principal, params, at_once=at_once)
        if rule is not Access.PUBLIC:
            # NOTE: it takes the request, and does not hold it, which would be a cycle.
            req.context.renew = lambda again: self._renew(again, rule, params)
        self._read_query(req, resource, method)

    def _admit(
        self,
        req: Request,
        rule: Rule,
        principal: Principal,
        params: dict[str, Any],
        *,
        at_once: bool,
    ) -> None:
        """Fill the context; raise Forbidden or NotFound for whom the rule does not let pass."""
        if rule is Access.PERSON and principal.user is None:
            raise Forbidden("An API key cannot do this; sign in as a person.")
        if rule is Access.OPERATOR and not principal.operator:
            raise Forbidden(
                "This is for operators of the installation; one can be made with "
                "'quietzone operator add'."
            )
        req.context.principal = principal
        if isinstance(rule, Role):
            # He may pass on his role, also one that has just grown.
            req.context.role = self._accounts.demand(
                rule, principal, params["org_id"], at_once=at_once
            )

    def _renew(self, req: Request, rule: Rule, params: dict[str, Any]) -> None:
        """Ask again, for one who has let time pass since he was let in; raises as it did then."""
        if rule is Access.ANYBODY:
            req.context.principal = self._person(req)
        else:
            principal = self._principal(req, at_once=True)
            self._admit(req, rule, principal, params, at_once=True)

    def _limit(self, resp: Response, policy: Policy, principal: Principal) -> None:
        """Count the request, and tell how many are left (draft-ietf-httpapi-ratelimit-headers)."""
        resp.preset(self._signed_in[policy])
        standing = self._limits.take(policy, principal.subject)
        if standing is not None:
            told = rate_limit(standing.name, standing.left, standing.seconds)
            resp.preset({"ratelimit": told})

    def _person(self, req: Request) -> Principal:
        """Who is signed in by the cookie, or nobody."""
        token = req.cookies.get(self._cookie, "")
        if not token:
            return Principal()
        try:
            at_once = req.method not in _SAFE
            return self._accounts.principal_of_session(token, at_once=at_once)
        except Unauthenticated:
            return Principal()

    def _principal(self, req: Request, *, at_once: bool) -> Principal:
        # PERF: by its name in WSGI; Falcon takes 0.5 µs to find it.
        authorization = req.env.get("HTTP_AUTHORIZATION")
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthenticated("Use the scheme Bearer with an API key.")
            return self._accounts.principal_of_key(token.strip(), at_once=at_once)
        token = req.cookies.get(self._cookie, "")
        if not token:
            raise Unauthenticated("Sign in (POST /api/session), or send an API key.")
        return self._accounts.principal_of_session(token, at_once=at_once)

    def _refuse_cross_site(self, req: Request) -> None:
        # A browser sends the cookie along with what another site makes it send. It also says where
        # that came from, and programs, which have no such headers, are not concerned.
        if req.method in _SAFE or req.get_header("Authorization") is not None:
            return
        site = req.get_header("Sec-Fetch-Site")
        given = req.get_header("Origin")
        if given in self._friends:
            return
        if site is not None:
            allowed = site in ("same-origin", "none")
        else:
            allowed = given is None or given.lower() == self._origin
        if not allowed:
            raise Forbidden("The request comes from another site.")

    def _read_query(self, req: Request, resource: Resource, method: str) -> None:
        kind = resource.queries.get(method)
        if kind is AnyQuery:
            return
        # PERF: most requests have one of few queries: to read one takes 2 to 7 µs.
        known = self._queries.get((kind, req.query_string))
        if known is not None:
            req.context.query = known
            return
        repeated = [name for name, value in req.params.items() if isinstance(value, list)]
        if repeated:
            raise InvalidFields(
                [FieldProblem(name, "is given more than once; give it once") for name in repeated]
            )
        if kind is not None:
            req.context.query = read(kind, req.params, strict=False)
            if len(req.query_string) <= _SHORT:
                if len(self._queries) >= _MAX_QUERIES:
                    self._queries.clear()
                self._queries[kind, req.query_string] = req.context.query
        elif req.params:
            reason = "unknown; no query parameter is known here"
            raise InvalidFields([FieldProblem(name, reason) for name in req.params])


def _described(limits: Sequence[tuple[str, Limit]]) -> dict[str, str]:
    """The header RateLimit-Policy, where there are limits."""
    told = [rate_limit_policy(name, limit.requests, limit.seconds) for name, limit in limits]
    return {"ratelimit-policy": ", ".join(told)} if told else {}
