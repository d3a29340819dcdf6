"""What every resource is: responders, an access rule for each, and what they take and answer."""

from __future__ import annotations

import enum
import errno
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import falcon
import msgspec
from msgspec import Struct

from core.domain.accounts import Principal, Role
from core.domain.audit import Actor, Origin
from core.errors import QuietzoneError
from core.http.client import Clients
from core.http.request import Request
from core.services import Services
from core.services.limits import Policy
from core.settings import Settings

_log = logging.getLogger(__name__)

_HELD = 0.25
_RENEWED_EVERY = 1.0
"""Seconds that somebody who was let in may take to send a body, or to receive a piece, until it is
asked again whether he is still to be let in."""


class Access(enum.Enum):
    """Who may call a route that belongs to no organisation; the others name a Role."""

    PUBLIC = "public"
    ANYBODY = "anybody, signed in or not"
    SIGNED_IN = "signed in"
    PERSON = "signed in as a person"
    OPERATOR = "operator"


Rule = Access | Role


class AnyQuery(Struct, frozen=True):
    """The query of a route that takes whatever is sent."""


Policies = Mapping[str, Policy]
"""What limits each method, by the principal."""

EventNames = Mapping[str, str]
"""How the log calls what each method does, where it is of interest to who watches over security."""

Queries = Mapping[str, type[Struct]]
"""The types of query parameters, by method."""


Media = Sequence[str] | Callable[[Services], Iterable[str]]
"""Media types, or what tells them where plugins decide which there are."""


class Body(Struct, frozen=True):
    """A body that is not JSON, by its media types."""

    media: Media


class Answer(Struct, frozen=True):
    """One of the answers of a responder.

    `document` is the type of the JSON document that is sent, and `media` are other media types
    that may be sent; without either there is no body. `headers` are those that tell something
    beside the body. A `tagged` answer has an entity tag, and is 304 for those who name it.
    """

    document: Any = None
    status: int = 200
    media: Media = ()
    headers: Sequence[str] = ()
    tagged: bool = False


Bodies = Mapping[str, Any]
"""What is sent in the body, by method: the type of a JSON document, a `Body`, or None."""

Answers = Mapping[str, Sequence[Answer | int]]
"""How a method may be answered; a number is the status of a problem document.

The problems that follow from the access rule, the address, the query and the body are not listed.
"""

Headers = Mapping[str, Mapping[str, Any]]
"""The type of each header that a method takes besides those of HTTP itself."""


class Resource:
    """The base of all resources.

    `access` comes from the route table. `policies` names what limits a method, where it is not what
    limits all that read or write, and `events` what is told of it in the log. `queries` names the
    type of the query parameters by method; a method that is not named takes none. `bodies`,
    `answers` and `headers` say what the OpenAPI document tells, and nothing else: every responder
    has its answers there, and every POST, PUT and PATCH its body.
    """

    access: Mapping[str, Rule]
    policies: ClassVar[Policies] = {}
    events: ClassVar[EventNames] = {}
    queries: ClassVar[Queries] = {}
    bodies: ClassVar[Bodies] = {}
    answers: ClassVar[Answers] = {}
    headers: ClassVar[Headers] = {}

    def __init__(self, services: Services, settings: Settings) -> None:
        self.services = services
        self.settings = settings
        self.clients = Clients(settings.http)

    def __init_subclass__(cls) -> None:
        # Falcon answers HEAD with 405 unless there is a responder; it drops the body itself.
        if hasattr(cls, "on_get") and not hasattr(cls, "on_head"):
            cls.on_head = cls.on_get  # type: ignore[attr-defined]

    def origin(self, req: Request, principal: Principal | None = None) -> Origin:
        """Where the request comes from; without a principal, it is of who is signed in."""
        actor = Actor.of(principal or req.context.principal)
        return Origin(actor, self.clients.address(req), req.context.request_id)

    def body(self, req: Request) -> object:
        """The decoded JSON body; raises 400, 408, 413 or 415 as fits.

        Raises Unauthenticated, Forbidden or NotFound for who may not do this any more by the time
        that all of it is there.
        """
        body = read_json(req, self.settings.http.max_body_bytes)
        _still(req)
        return body

    def picture(self, req: Request, limit: int, setting: str) -> bytes:
        """A body that is no JSON, as it was sent; raises as `body` does."""
        data = read_body(req, limit, setting)
        _still(req)
        return data

    def while_allowed(self, req: Request, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces of a long answer, for as long as the caller may be sent them."""
        asked = time.monotonic()
        for piece in pieces:
            if time.monotonic() - asked > _RENEWED_EVERY and req.context.renew is not None:
                try:
                    req.context.renew(req)
                except QuietzoneError as error:
                    _log.info("request %s is cut off: %s", req.context.request_id, error)
                    # NOTE: gunicorn takes this one for a client that has left, and hangs up before
                    # the end, by which a client knows that something is missing.
                    raise BrokenPipeError(errno.EPIPE, str(error)) from error
                asked = time.monotonic()
            yield piece


def _still(req: Request) -> None:
    """Ask again where the body took its time; raises where the caller may not do this any more."""
    if req.context.renew is not None and time.perf_counter() - req.context.started > _HELD:
        req.context.renew(req)


def read_json(req: Request, limit: int, setting: str = "http.max_body_bytes") -> object:
    """The JSON body of a request, at most `limit` bytes of it, which `setting` allows."""
    media_type = (req.content_type or "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        req.method == "PATCH" and media_type == "application/merge-patch+json"
    ):
        raise falcon.HTTPUnsupportedMediaType(
            description="Send the body as application/json.", headers={"Accept": "application/json"}
        )
    raw = read_body(req, limit, setting)
    if not raw:
        raise falcon.HTTPBadRequest(description="The body is empty; a JSON document is expected.")
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise falcon.HTTPBadRequest(description=_unreadable(raw, error)) from error


def _unreadable(raw: bytes, error: Exception) -> str:
    """What is wrong with a body that could not be decoded."""
    if isinstance(error, RecursionError):
        return "The body is not JSON: it is nested too deeply"
    # msgspec takes a lone surrogate for the end of the body, which would lead nobody to it.
    if b"\\ud" in raw.lower():
        try:
            json.dumps(json.loads(raw), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return "A lone surrogate (\\ud800 to \\udfff) is not allowed; send valid Unicode."
        except (ValueError, RecursionError):
            pass
    return f"The body is not JSON: {error}"


def read_body(req: Request, limit: int, setting: str = "http.max_body_bytes") -> bytes:
    """The body of a request as it was sent, at most `limit` bytes of it, which `setting` allows."""
    if req.get_header("Content-Encoding") not in (None, "identity"):
        raise falcon.HTTPUnsupportedMediaType(
            description="Send the body without a Content-Encoding.",
            headers={"Accept-Encoding": "identity"},
        )
    length = req.content_length
    if length is not None and length > limit:
        raise _too_large(limit, setting)
    # A chunked body has no length; gunicorn ends its stream where the body ends.
    stream = req.stream if length is None else req.bounded_stream
    try:
        raw = stream.read(limit + 1)
    except TimeoutError as error:
        raise falcon.HTTPError(
            408, description="The body did not come in time (setting http.body_timeout)."
        ) from error
    except Exception as error:
        # The server's stream tells a broken chunk, or a client that left, by errors of its own.
        raise falcon.HTTPBadRequest(description="The body broke off, or is not framed.") from error
    if len(raw) > limit:
        raise _too_large(limit, setting)
    if length is not None and len(raw) < length:
        # RFC 9112, 8: what is complete by chance is incomplete all the same.
        raise falcon.HTTPBadRequest(description="The body broke off.")
    return raw


def put_json(resp: falcon.Response, value: object, status: int = 200) -> None:
    """Make `value` the answer, as JSON."""
    resp.status = status
    resp.data = msgspec.json.encode(value)
    resp.content_type = "application/json"


def _too_large(limit: int, setting: str) -> falcon.HTTPContentTooLarge:
    by = f" (setting {setting})" if setting else ""
    return falcon.HTTPContentTooLarge(description=f"The body is larger than {limit} bytes{by}.")
