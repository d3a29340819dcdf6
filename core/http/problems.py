"""Every error as a problem document (RFC 9457, `application/problem+json`)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus

import falcon
import msgspec
from msgspec import Struct

from core import errors
from core.errors import FieldProblem
from core.http.headers import DOCUMENT, REFERRER
from core.http.request import Request
from core.http.response import Response

_log = logging.getLogger("quietzone.errors")

MEDIA_TYPE = "application/problem+json"

_LONGEST = 2000
"""Characters of a text in a problem document, so that it stays in proportion."""

_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", DOCUMENT),
    ("Referrer-Policy", REFERRER),
)


class Problem(Struct, frozen=True, omit_defaults=True):
    """A problem document; `type` is a URN of ours, or about:blank where the status says it all."""

    title: str
    status: int
    request_id: str
    type: str = "about:blank"
    detail: str = ""
    errors: Sequence[FieldProblem] = ()


_KINDS: tuple[tuple[type[errors.QuietzoneError], int, str, str], ...] = (
    (errors.InvalidFields, 422, "invalid-fields", "Some fields cannot be accepted"),
    (errors.CodeRequired, 401, "code-required", "A code is needed"),
    (errors.Unauthenticated, 401, "unauthenticated", "Not signed in"),
    (errors.Forbidden, 403, "forbidden", "Not allowed"),
    (errors.NotFound, 404, "not-found", "Not found"),
    (errors.SlugTaken, 409, "slug-taken", "The slug is taken"),
    (errors.KeyReused, 422, "idempotency-key-reused", "The Idempotency-Key was used before"),
    (errors.Conflict, 409, "conflict", "The request contradicts what is stored"),
    (errors.TooMany, 429, "too-many", "Too many requests"),
    (errors.Overloaded, 503, "overloaded", "Too much is waiting"),
    (errors.Gone, 410, "gone", "Gone"),
    (errors.StorageUnavailable, 503, "storage-unavailable", "The database is away"),
)


def install(app: falcon.App[Request, Response]) -> None:
    """Have `app` answer every error, its own and ours, with a problem document."""
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(errors.QuietzoneError, _ours)
    app.add_error_handler(falcon.HTTPError, _falcons)


def put(req: Request, resp: falcon.Response, problem: Problem) -> None:
    """Make `problem` the answer."""
    resp.status = problem.status
    resp.text = None
    resp.data = encode(problem)
    resp.content_type = MEDIA_TYPE
    resp.set_headers(_HEADERS)
    # What was meant for the answer that did not come about.
    for name in ("ETag", "Location", "Content-Disposition"):
        resp.delete_header(name)


def report_outage(resp: falcon.Response, error: errors.StorageUnavailable, request_id: str) -> None:
    """Log why the database is away, and tell the client when to try again."""
    resp.set_header("Retry-After", "5")
    _log.error("storage unavailable, request %s: %s (%s)", request_id, error, error.__cause__)


def report_limit(resp: falcon.Response, error: errors.TooMany) -> None:
    """Tell the client when to try again."""
    resp.set_header("Retry-After", str(error.wait))
    resp.set_header("RateLimit", rate_limit(error.name, 0, error.wait))
    resp.set_header(
        "RateLimit-Policy", rate_limit_policy(error.name, error.requests, error.seconds)
    )


def rate_limit(name: str, left: int, seconds: int) -> str:
    """The value of the header RateLimit (draft-ietf-httpapi-ratelimit-headers-10)."""
    return f'"{name}";r={left};t={seconds}'


def rate_limit_policy(name: str, requests: int, seconds: int) -> str:
    """One limit in the value of the header RateLimit-Policy, of the same draft."""
    return f'"{name}";q={requests};w={seconds}'


def of(error: errors.QuietzoneError, request_id: str) -> Problem:
    """The problem document of one of our own errors."""
    status, name, title = next(
        (row[1:] for row in _KINDS if isinstance(error, row[0])),
        (500, "internal", HTTPStatus(500).phrase),
    )
    fields = error.problems if isinstance(error, errors.InvalidFields | errors.Conflict) else ()
    detail = str(error)
    if isinstance(error, errors.InvalidFields):
        one = len(fields) == 1
        detail = "One field is wrong." if one else f"{len(fields)} fields are wrong."
    elif isinstance(error, errors.StorageUnavailable):
        detail = "The request was not carried out; try again in a few seconds."
    elif status == 500:
        detail = ""
    return Problem(
        title=title,
        status=status,
        request_id=request_id,
        type=f"urn:quietzone:problem:{name}",
        detail=_shortened(detail),
        errors=[FieldProblem(_shortened(p.field), _shortened(p.message)) for p in fields],
    )


def _shortened(text: str) -> str:
    """The text, without the middle of what somebody has sent and is told again.

    What is wrong stands at its beginning, and the way out at its end.
    """
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}…{text[-_LONGEST // 2 :]}"


def _ours(
    req: Request, resp: falcon.Response, error: errors.QuietzoneError, _: dict[str, object]
) -> None:
    problem = of(error, req.context.request_id)
    put(req, resp, problem)
    if problem.status == 401:
        resp.set_header("WWW-Authenticate", 'Bearer realm="quietzone"')
    elif isinstance(error, errors.StorageUnavailable):
        report_outage(resp, error, problem.request_id)
    elif isinstance(error, errors.TooMany):
        report_limit(resp, error)
    elif isinstance(error, errors.Overloaded):
        resp.set_header("Retry-After", "1")
    elif problem.status == 500:
        _log.error("request %s failed", problem.request_id, exc_info=error)


def _unexpected(
    req: Request, resp: falcon.Response, error: Exception, _: dict[str, object]
) -> None:
    _log.error("request %s (%s) failed", req.context.request_id, req.method, exc_info=error)
    put(req, resp, Problem(HTTPStatus(500).phrase, 500, req.context.request_id))


def _falcons(
    req: Request, resp: falcon.Response, error: falcon.HTTPError, _: dict[str, object]
) -> None:
    if error.headers:
        resp.set_headers(error.headers)
    put(req, resp, _of_falcon(error, req.context.request_id))


def _of_falcon(error: falcon.HTTPError, request_id: str) -> Problem:
    return Problem(
        title=HTTPStatus(error.status_code).phrase,
        status=error.status_code,
        request_id=request_id,
        detail=error.description or "",
    )


def encode(problem: Problem) -> bytes:
    """The document as it is sent."""
    # `type` and `detail` are always told, even where they hold their defaults.
    document = {"type": problem.type, **msgspec.to_builtins(problem)}
    document.setdefault("detail", "")
    return msgspec.json.encode(document)
