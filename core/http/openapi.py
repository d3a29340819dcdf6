"""The interface as an OpenAPI 3.1 document, made from the route table and the types.

What a resource declares (`core.http.resources.base`) is told as it is. What follows from the rest
is derived: parameters from the address and the type of the query, who may call from the access
rule, and the problems that every route of that kind can answer with.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from core import __version__
from core.domain.accounts import Role
from core.domain.codes import CodeQuery
from core.domain.images import ImageOptions
from core.domain.validation import Secret
from core.http.problems import MEDIA_TYPE, Problem
from core.http.resources.base import Access, Answer, AnyQuery, Body, Media, Resource, Rule
from core.http.resources.session import cookie_name
from core.http.schemas import SENT_CONTENT, CodesDraft
from core.services import Services
from core.settings import Settings

if TYPE_CHECKING:
    from core.http.routes import Route

Json = dict[str, Any]

_JSON = "application/json"
_MERGE_PATCH = "application/merge-patch+json"
_FIELD = re.compile(r"{(\w+)(?::(\w+))?}")
_SCHEMAS = "#/components/schemas/{name}"

_DESCRIPTION = """\
QR codes that belong to organisations: drawn, redirected and counted.

* Every address that answers GET answers HEAD as well, without the body; a method that is not \
listed is answered with 405.
* Every error is a problem document (RFC 9457). Of a request with wrong values it lists every \
field that is wrong.
* Query parameters and fields that are not listed are refused. Texts hold no control characters.
* Every answer, errors too, has `X-Content-Type-Options`, `Content-Security-Policy`, \
`Referrer-Policy` and `Cache-Control`; what is behind a sign-in is kept by no shared cache.
* To those who are not a member, an organisation and all that it has look as if they did not \
exist (404).
"""

_SECURITY_SCHEMES = ("session", "apiKey")

_PARAMETERS: Mapping[str, str] = {
    "org_id": "The organisation.",
    "qr_id": "The code.",
    "user_id": "The member, by the id of his account.",
    "key_id": "The API key.",
    "invitation_id": "The invitation.",
    "session_id": "The session.",
    "style_id": "The style.",
    "logo_id": "The logo.",
    "slug": "The slug of a code; its case does not matter.",
    "signature": "The signature of the address, as `image-url` told it.",
    "file": "The id of the code and the format, such as `ID.png`, as `image-url` told them.",
    "sheet_format": "The format of the document.",
}

_HEADERS: Mapping[str, Json] = {
    "Accept": {
        "description": "The media types that are understood.",
        "schema": {"type": "string"},
    },
    "Content-Disposition": {
        "description": "The name of the file, where it is to be stored.",
        "schema": {"type": "string"},
    },
    "Content-Security-Policy": {
        "description": "What a picture or a page may do when it is opened: as little as possible.",
        "required": True,
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "The strong entity tag: send it as `If-None-Match` to learn of changes.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[!#-~]*"$'},
    },
    "Location": {
        "description": "Where it is.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "RateLimit": {
        "description": "The limit that is the next to be reached, how many requests are left (`r`) "
        "and in how many seconds there may be more (`t`).",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": "How many requests (`q`) are allowed in how many seconds (`w`).",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "After how many seconds to try again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "Set-Cookie": {
        "description": "The cookie of the session.",
        "required": True,
        "schema": {"type": "string"},
    },
    "WWW-Authenticate": {
        "description": "How to sign in.",
        "required": True,
        "schema": {"type": "string"},
    },
    "X-Request-ID": {
        "description": "The id of the request: the one that was sent, or else a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{8,64}$"},
    },
}

_LIMITED = ("RateLimit", "RateLimit-Policy")

_PROBLEMS: Mapping[int, tuple[str, str, Sequence[str]]] = {
    400: ("Unreadable", "The body is not JSON, or it broke off.", ()),
    401: ("Unauthenticated", "Nobody is signed in.", ("WWW-Authenticate",)),
    403: ("Forbidden", "The role is too small, or the request comes from another site.", ()),
    404: ("NotFound", "There is no such thing, or it is none of the caller's.", ()),
    408: ("TooSlow", "The body did not come in time.", ()),
    409: ("Conflict", "The request contradicts what is stored.", ()),
    410: ("Gone", "The code is switched off, used up or not valid now.", ()),
    413: ("TooLarge", "The body is larger than the settings allow.", ()),
    415: ("WrongMediaType", "The body has another media type, or is encoded.", ("Accept",)),
    422: ("InvalidFields", "Some values cannot be accepted; `errors` names every one.", ()),
    429: ("TooManyRequests", "There were too many requests lately.", ("Retry-After", *_LIMITED)),
    503: ("Unavailable", "The database is away, or too much is waiting.", ("Retry-After",)),
}
"""The name of each problem in the document, what it means, and the headers that come with it."""

_STATUSES: Mapping[int, str] = {
    200: "That is it.",
    201: "It was created.",
    202: "It is being done.",
    204: "It was done; there is nothing to tell.",
    301: "The one address of this image is another one.",
    302: "The code leads there.",
    304: "The client's copy is still the right one.",
    503: "It does not work now.",
}


def document(routes: Sequence[Route], services: Services, settings: Settings) -> Json:
    """The whole document; what settings and plugins decide is told as they do."""
    return _Author(routes, services, settings).document()


class _Author:
    """Writes the document."""

    def __init__(self, routes: Sequence[Route], services: Services, settings: Settings) -> None:
        self._routes = routes
        self._services = services
        self._settings = settings
        self._cookie = cookie_name(settings.base_url)
        self._sent = list(dict.fromkeys(_sent(routes)))
        self._queries = list(dict.fromkeys(_queries(routes)))
        answered = list(dict.fromkeys([Problem, *_answered(routes)]))
        kinds = [*self._sent, *answered, *self._queries, SENT_CONTENT, *_header_kinds(routes)]
        schemas, self._components = msgspec.json.schema_components(
            kinds, schema_hook=_schema_of, ref_template=_SCHEMAS
        )
        self._schemas = dict(zip(kinds, schemas, strict=True))
        self._polish()

    def document(self) -> Json:
        paths: Json = {}
        for route in self._routes:
            path = _FIELD.sub(r"{\1}", route.path)
            paths[path] = {
                method.lower(): self._operation(route, method, rule)
                for method, rule in route.access.items()
            }
        _name_apart(paths)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "Quietzone",
                "version": __version__,
                "description": _DESCRIPTION,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": self._settings.base_url}],
            "tags": self._tags(),
            "paths": paths,
            "components": {
                **_used(self._parts(), paths),
                "securitySchemes": {
                    "session": {
                        "type": "apiKey",
                        "in": "cookie",
                        "name": self._cookie,
                        "description": "A person's session, which POST /api/session begins.",
                    },
                    "apiKey": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "An organisation's API key.",
                    },
                },
            },
        }

    def _parts(self) -> Json:
        return {
            "schemas": self._components,
            "responses": {
                name: self._response(status, words, Problem, (), headers)
                for status, (name, words, headers) in _PROBLEMS.items()
            },
            "headers": dict(_HEADERS),
        }

    def _polish(self) -> None:
        """Say what msgspec does not know of the types."""
        self._components["SentContent"] = self._schemas[SENT_CONTENT]
        for component in self._components.values():
            if "description" in component:
                component["description"] = inspect.cleandoc(component["description"])
        # These two are told even where they hold their defaults.
        self._components["Problem"]["required"] += ["type", "detail"]
        self._close([self._schemas[kind] for kind in self._sent], set())
        for (kind, field), decided in self._decided().items():
            for other in (*self._sent, *self._queries):
                if issubclass(other, kind):
                    self._component(other)["properties"][field].update(decided)

    def _close(self, schema: Any, closed: set[str]) -> None:
        """Refuse further fields in all that the schema leads to, as the service does."""
        for reference in _references(schema):
            if reference not in closed:
                closed.add(reference)
                component = self._components[_name(reference)]
                if "properties" in component:
                    component["additionalProperties"] = False
                self._close(component, closed)

    def _component(self, kind: type[Struct]) -> Json:
        component: Json = self._components[_name(self._schemas[kind]["$ref"])]
        return component

    def _decided(self) -> Mapping[tuple[type[Struct], str], Json]:
        """What settings and plugins decide of single fields."""
        images, codes = self._settings.images, self._settings.codes
        return {
            (ImageOptions, "format"): {"enum": list(self._services.images.formats)},
            (ImageOptions, "size"): {"minimum": images.min_size, "maximum": images.max_size},
            (CodeQuery, "per_page"): {"maximum": codes.max_per_page},
            (CodesDraft, "codes"): {"maxItems": codes.max_bulk},
        }

    def _tags(self) -> list[Json]:
        modules = dict.fromkeys(inspect.getmodule(route.resource) for route in self._routes)
        return [
            {"name": _tag(module.__name__), "description": _first_line(inspect.getdoc(module))}
            for module in modules
            if module is not None
        ]

    def _operation(self, route: Route, method: str, rule: Rule) -> Json:
        resource = route.resource
        words = inspect.getdoc(getattr(resource, f"on_{method.lower()}"))
        query = resource.queries.get(method)
        parts = [*(words or "").split("\n\n")[1:], _who(rule)]
        if query is not None and query is not AnyQuery:
            parts.append(inspect.cleandoc(query.__doc__ or ""))
        operation: Json = {
            "operationId": method.lower() + resource.__name__,
            "tags": [_tag(resource.__module__)],
            "summary": _first_line(words).removesuffix("."),
            "description": "\n\n".join(parts),
            "security": _security(rule),
            "parameters": [
                *self._path_parameters(route.path),
                *self._query_parameters(query),
                *self._header_parameters(resource, method),
            ],
        }
        body = resource.bodies.get(method)
        if body is not None:
            operation["requestBody"] = {
                "required": True,
                "content": self._sent_content(body, method),
            }
        operation["responses"] = self._responses(route, method, rule)
        return operation

    def _path_parameters(self, path: str) -> Iterator[Json]:
        for name, converter in _FIELD.findall(path):
            schema: Json = {"type": "string", "minLength": 1}
            if converter == "uuid":
                schema = {"type": "string", "format": "uuid"}
            elif name == "sheet_format":
                schema = {"type": "string", "enum": list(self._services.sheets.formats)}
            yield {
                "name": name,
                "in": "path",
                "required": True,
                "description": _PARAMETERS.get(name, ""),
                "schema": schema,
            }

    def _query_parameters(self, kind: type[Struct] | None) -> Iterator[Json]:
        if kind is None:
            return
        schema = self._component(kind)
        required = schema.get("required", ())
        for name, field in schema["properties"].items():
            yield {
                "name": name,
                "in": "query",
                "required": name in required,
                "schema": _without_null(field),
            }

    def _header_parameters(self, resource: type[Resource], method: str) -> Iterator[Json]:
        for name, kind in resource.headers.get(method, {}).items():
            schema = dict(self._schemas[kind])
            description = schema.pop("description", "")
            yield {"name": name, "in": "header", "description": description, "schema": schema}
        if any(isinstance(a, Answer) and a.tagged for a in resource.answers[method]):
            yield {
                "name": "If-None-Match",
                "in": "header",
                "description": "The entity tags of the copies that the client has.",
                "schema": {"type": "string"},
            }

    def _sent_content(self, body: Any, method: str) -> Json:
        if isinstance(body, Body):
            return {media_type: {} for media_type in self._media(body.media)}
        types = (_JSON, _MERGE_PATCH) if method == "PATCH" else (_JSON,)
        return {media_type: {"schema": self._schemas[body]} for media_type in types}

    def _responses(self, route: Route, method: str, rule: Rule) -> Json:
        found: dict[int, Json] = {}
        for answer in route.resource.answers[method]:
            if isinstance(answer, int):
                found[answer] = self._problem(answer)
                continue
            words, headers = _STATUSES.get(answer.status, ""), [*answer.headers]
            if answer.document is Problem and answer.status in _PROBLEMS:
                _, words, others = _PROBLEMS[answer.status]
                headers += others
            limited = () if rule in (Access.PUBLIC, Access.ANYBODY) else _LIMITED
            headers += limited
            if answer.tagged:
                headers.append("ETag")
                found[304] = self._response(304, _STATUSES[304], None, (), ["ETag", *limited])
            found[answer.status] = self._response(
                answer.status, words, answer.document, self._media(answer.media), headers
            )
        for status in _derived(route, method, rule):
            found.setdefault(status, self._problem(status))
        return {str(status): found[status] for status in sorted(found)}

    def _problem(self, status: int) -> Json:
        if status in _PROBLEMS:
            return {"$ref": f"#/components/responses/{_PROBLEMS[status][0]}"}
        return self._response(status, "", Problem, (), ())

    def _response(
        self,
        status: int,
        words: str,
        document: Any,
        media: Iterable[str],
        headers: Sequence[str],
    ) -> Json:
        response: Json = {
            "description": words or HTTPStatus(status).phrase,
            "headers": {
                name: {"$ref": f"#/components/headers/{name}"}
                for name in sorted({*headers, "X-Request-ID"})
            },
        }
        content: Json = {}
        if document is not None:
            kind = MEDIA_TYPE if document is Problem else _JSON
            content[kind] = {"schema": self._schemas[document]}
        content |= {media_type: {} for media_type in media}
        if content:
            response["content"] = content
        return response

    def _media(self, media: Media) -> list[str]:
        return list(dict.fromkeys(media(self._services) if callable(media) else media))


def _sent(routes: Sequence[Route]) -> Iterator[Any]:
    for route in routes:
        for body in route.resource.bodies.values():
            if body is not None and not isinstance(body, Body):
                yield body


def _queries(routes: Sequence[Route]) -> Iterator[type[Struct]]:
    for route in routes:
        yield from route.resource.queries.values()


def _answered(routes: Sequence[Route]) -> Iterator[Any]:
    for route in routes:
        for answers in route.resource.answers.values():
            for answer in answers:
                if isinstance(answer, Answer) and answer.document is not None:
                    yield answer.document


def _header_kinds(routes: Sequence[Route]) -> Iterator[Any]:
    for route in routes:
        for headers in route.resource.headers.values():
            yield from headers.values()


def _derived(route: Route, method: str, rule: Rule) -> Iterator[int]:
    """The problems that can occur for what is known of every route."""
    safe = method == "GET"
    if rule is not Access.PUBLIC:
        yield from (401, 503)
    if rule is not Access.PUBLIC or not safe:
        yield 429
    # Whoever may do less than the least may do nothing here: it is 404. What changes something may
    # come from another site.
    if rule not in (Access.PUBLIC, Access.SIGNED_IN, Role.MEMBER) or not safe:
        yield 403
    if "{" in route.path:
        yield 404
    if route.resource.queries.get(method) is not AnyQuery:
        yield 422
    if route.resource.bodies.get(method) is not None:
        yield from (400, 408, 413, 415)


def _who(rule: Rule) -> str:
    """Who may call, in words."""
    match rule:
        case Access.PUBLIC:
            return "For everybody."
        case Access.ANYBODY:
            return "For everybody, signed in or not."
        case Access.SIGNED_IN:
            return "For everybody who is signed in."
        case Access.PERSON:
            return "For people who are signed in; API keys cannot do this."
        case Access.OPERATOR:
            return "For operators of the installation."
    return f"For those who have the role {rule.value} in the organisation, or a larger one."


def _security(rule: Rule) -> list[Json]:
    """The ways to sign in; the names in their lists are roles, one of which is needed."""
    if rule is Access.PUBLIC:
        return []
    if rule is Access.ANYBODY:
        return [{}, {_SECURITY_SCHEMES[0]: []}]
    schemes = _SECURITY_SCHEMES[:1] if rule is Access.PERSON else _SECURITY_SCHEMES
    return [{scheme: [rule.value] if isinstance(rule, Role) else []} for scheme in schemes]


def _name(reference: str) -> str:
    """The name of the component that is meant."""
    return reference.rpartition("/")[2]


def _references(value: Any) -> Iterator[str]:
    """All references in a part of the document."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _references(part)


def _used(components: Json, paths: Json) -> Json:
    """The components without those that nothing leads to."""
    waiting, found = [*_references(paths)], set[str]()
    while waiting:
        reference = waiting.pop()
        if reference not in found:
            found.add(reference)
            kind, name = reference.split("/")[-2:]
            waiting += _references(components[kind][name])
    return {
        kind: {
            name: component
            for name, component in named.items()
            if f"#/components/{kind}/{name}" in found
        }
        for kind, named in components.items()
    }


def _without_null(schema: Json) -> Json:
    """The schema of a query parameter: there is no way to write null, it is left out instead."""
    schema = dict(schema)
    if "default" in schema and schema["default"] is None:
        del schema["default"]
    if "anyOf" in schema:
        options = [option for option in schema.pop("anyOf") if option != {"type": "null"}]
        schema |= options[0] if len(options) == 1 else {"anyOf": options}
    return schema


def _schema_of(kind: type) -> Json:
    if kind is Secret:
        return {"type": "string", "format": "password", "writeOnly": True}
    raise NotImplementedError(kind)


def _name_apart(paths: Json) -> None:
    """Number the operations of resources that have more than one address."""
    seen: dict[str, int] = {}
    for operations in paths.values():
        for operation in operations.values():
            name = operation["operationId"]
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                operation["operationId"] = f"{name}{seen[name]}"


def _tag(module: str) -> str:
    return module.rpartition(".")[2]


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]
