"""Codes: slugs, destinations, validity, and the short link that is encoded in the symbol."""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from posixpath import normpath
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from core.domain.hosts import a_labels, ascii_host, check_host, is_private, listed
from core.domain.validation import Check, Rules, check_line, field_rules
from core.errors import FieldProblem

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32 alphabet: digits and capitals without I, L, O and U."""

MAX_LOCATION = 3072
"""The longest address, in bytes, that a visitor is sent to.

Proxies read the whole head of an answer into one buffer, nginx of 4 kB unless told otherwise, and
answer 502 where it does not fit. The other fields of a redirect take less than the rest.
"""

MAX_SCANS_LIMIT = 2**31 - 1
"""The largest `max_scans`: what a 32-bit integer column holds in every database."""

_SLUG = re.compile(r"[A-Za-z0-9_-]{3,64}")
_ALPHANUMERIC = re.compile(r"[0-9A-Z $%*+\-./:]*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_UNSAFE = re.compile(r"[\x00-\x20\x7f<>\"\\^`{|}\ud800-\udfff]")
# Blanks, control characters and changes of direction beyond ASCII: a link that holds one is not the
# link that people read.
_DECEPTIVE = re.compile(
    "[\x80-\xa0\u061c\u1680\u2000-\u200b\u200e\u200f\u2028-\u202f"
    "\u205f\u2060\u2066-\u2069\u3000\ufeff]"
)

# What `extra_json_schema` holds is for descriptions of the interface alone; the checks below say in
# better words what is wrong.
Slug = Annotated[str, Meta(extra_json_schema={"pattern": f"^{_SLUG.pattern}$"})]
Destination = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2048,
        examples=["https://example.com/menu"],
        extra_json_schema={"format": "iri"},
    ),
]
Title = Annotated[str, Meta(max_length=200)]
Tag = Annotated[str, Meta(min_length=1, max_length=50)]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=20, extra_json_schema={"uniqueItems": True})]
Instant = Annotated[datetime, Meta(tz=True)]
MaxScans = Annotated[int, Meta(ge=1, le=MAX_SCANS_LIMIT)]


class Code(Struct, frozen=True):
    """A printed link: `slug` never changes, `destination` may; `revision` grows with each change.

    `scans_total` counts the scans so far, bots left out.
    """

    id: UUID
    organization_id: UUID
    slug: str
    destination: str
    title: str
    tags: tuple[str, ...]
    active: bool
    valid_from: datetime | None
    valid_until: datetime | None
    max_scans: int | None
    forward_query: bool
    style: UUID | None
    revision: int
    created_at: datetime
    updated_at: datetime
    scans_total: int = 0


class CodeDraft(Struct, frozen=True):
    """What is needed to create a code; without a slug a random one is drawn."""

    destination: Destination
    slug: Slug | None = None
    title: Title = ""
    tags: Tags = ()
    active: bool = True
    valid_from: Instant | None = None
    valid_until: Instant | None = None
    max_scans: MaxScans | None = None
    forward_query: bool = False
    style: UUID | None = None


class CodeChanges(Struct, frozen=True):
    """What may be changed of a code; what is left out stays, null clears."""

    destination: Destination | UnsetType = UNSET
    title: Title | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    valid_from: Instant | UnsetType | None = UNSET
    valid_until: Instant | UnsetType | None = UNSET
    max_scans: MaxScans | UnsetType | None = UNSET
    forward_query: bool | UnsetType = UNSET
    style: UUID | UnsetType | None = UNSET


class BusinessCode(Struct, frozen=True):
    """What an organisation's business code encodes; untracked, and it never leads anywhere else.

    `document` is the typed content, as JSON, that `content` was made of; None where that was text.
    """

    content: str
    document: str | None = None


class CodeSort(enum.StrEnum):
    """The orders in which codes can be listed; a leading hyphen means descending."""

    CREATED_AT = "created_at"
    CREATED_AT_DESCENDING = "-created_at"
    UPDATED_AT = "updated_at"
    UPDATED_AT_DESCENDING = "-updated_at"
    TITLE = "title"
    TITLE_DESCENDING = "-title"
    SLUG = "slug"
    SLUG_DESCENDING = "-slug"
    SCANS_TOTAL = "scans_total"
    SCANS_TOTAL_DESCENDING = "-scans_total"


class CodeQuery(Struct, frozen=True):
    """Which codes of an organisation to list, and in which order; `page` counts from 1."""

    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    per_page: Annotated[int, Meta(ge=1, le=1000)] = 25
    search: Annotated[str, Meta(max_length=200)] = ""
    tag: Tag | None = None
    sort: CodeSort = CodeSort.CREATED_AT_DESCENDING
    active: bool | None = None


class CodePage(Struct, frozen=True):
    """One page of a listing; `total` counts the codes on all pages."""

    items: tuple[Code, ...]
    page: int
    per_page: int
    total: int


class State(enum.Enum):
    """Whether a code may be followed now, and if not, why."""

    OPEN = "open"
    SWITCHED_OFF = "switched off"
    NOT_YET = "not valid yet"
    EXPIRED = "no longer valid"
    USED_UP = "used up"


def state(code: Code, now: datetime) -> State:
    """Whether `code` leads anywhere at `now`; its validity is the half-open [from, until)."""
    if not code.active:
        return State.SWITCHED_OFF
    if code.valid_from is not None and now < code.valid_from:
        return State.NOT_YET
    if code.valid_until is not None and now >= code.valid_until:
        return State.EXPIRED
    if code.max_scans is not None and code.scans_total >= code.max_scans:
        return State.USED_UP
    return State.OPEN


def random_slug(entropy: bytes) -> str:
    """A slug in Crockford's base 32, one character for each byte (5 of its 8 bits are used)."""
    return "".join(CROCKFORD[byte & 31] for byte in entropy)


def slug_key(slug: str) -> str:
    """The spelling under which a slug is unique and looked up."""
    return slug.upper()


def is_slug(text: str) -> bool:
    """Whether `text` can be a slug at all."""
    return _SLUG.fullmatch(text) is not None


def check_slug(slug: str) -> None:
    """Raise ValueError unless `slug` is 3-64 letters, digits, hyphens and underscores."""
    if not is_slug(slug):
        raise ValueError("use 3 to 64 letters, digits, hyphens and underscores (A-Z a-z 0-9 - _)")


def check_tags(tags: Collection[str]) -> None:
    """Raise ValueError for tags that are no line, blank, padded with blanks, or repeated."""
    for tag in tags:
        check_line(tag)
        if tag != tag.strip() or not tag:
            raise ValueError(f"the tag {tag!r} begins or ends with a blank; leave the blank out")
    if len({tag.casefold() for tag in tags}) != len(tags):
        raise ValueError("a tag is named twice (case does not count); name it once")


def validity_rule(values: Mapping[str, Any]) -> list[FieldProblem]:
    """The rule that a validity window ends after it begins."""
    start, end = values.get("valid_from"), values.get("valid_until")
    if isinstance(start, datetime) and isinstance(end, datetime) and end <= start:
        return [FieldProblem("valid_until", "must be later than valid_from")]
    return []


class Target(Struct, frozen=True):
    """Where a code is to lead, taken apart: what a plugin is asked about.

    `url` is the ASCII address that a visitor would be sent to. `host` is in ASCII and lower case,
    without a dot at its end and without brackets, and "" where the scheme knows no host.
    """

    url: str
    scheme: str
    host: str


class DestinationPolicy(Struct, frozen=True):
    """Where codes may lead: the allowed schemes, and never to this service's own short links.

    `denied` are domains, as `core.domain.hosts.domain` writes them, that nothing may lead to, nor
    to what lies below them. With `private` it may lead out of the public internet.
    """

    schemes: frozenset[str]
    base_url: str
    private: bool = False
    denied: frozenset[str] = frozenset()

    def check(self, destination: str) -> Target:
        """What the destination is; raises ValueError, saying what is wrong, where it is refused."""
        match = _UNSAFE.search(destination) or _DECEPTIVE.search(destination)
        if match is not None:
            raise ValueError(
                f"the character {match.group()!a} is not allowed in a link; percent-encode it"
            )
        try:
            parts = urlsplit(destination)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"not a link: {error}") from None
        scheme = parts.scheme.lower()
        allowed = ", ".join(sorted(self.schemes))
        if not scheme or not _SCHEME.fullmatch(scheme):
            raise ValueError(f"write the link with its scheme; allowed are: {allowed}")
        if scheme not in self.schemes:
            raise ValueError(f"the scheme {scheme!r} is not allowed; allowed are: {allowed}")
        if "@" in parts.netloc:
            # It is not repeated: what stands there may well be a password.
            raise ValueError(
                "a link must not hold a user name or a password, which everybody who scans would "
                "be told; leave out what stands before the @, or write %40 in a path"
            )
        host = ""
        if scheme in ("http", "https"):
            if not parts.hostname:
                raise ValueError("the link names no host; write it as https://example.com/page")
            check_host(parts.netloc)
            if port == 0:
                raise ValueError("the port 0 cannot be connected to")
            self._refuse_own_links(destination)
        if parts.hostname:
            host = ascii_host(parts.hostname)
            self._check_place(host)
        try:
            url = location(destination)
        except ValueError:
            raise ValueError("the link names a host or a port that is none") from None
        if len(url) > MAX_LOCATION:
            raise ValueError(
                f"the link is {len(url)} bytes long as it is sent, with percent signs for what is "
                f"not ASCII; at most {MAX_LOCATION} pass through every proxy: shorten it"
            )
        return Target(url, scheme, host)

    def _check_place(self, host: str) -> None:
        domain = listed(host, self.denied)
        if domain is not None:
            raise ValueError(
                f"links to {domain!r} are not allowed here (setting codes.denied_domains); link to "
                "another site, or ask the operator of this service"
            )
        if not self.private and is_private(host):
            raise ValueError(
                f"{host!r} is not in the public internet; link to a public address, or ask the "
                "operator of this service for the setting codes.private_destinations"
            )

    def _refuse_own_links(self, destination: str) -> None:
        own, other = urlsplit(self.base_url), urlsplit(destination)
        same_host = (_host(other), _port(other)) == (_host(own), _port(own))
        # Browsers take out the dots, and servers the percent signs, before they look at a path.
        path = "/" + normpath(unquote(other.path)).lower().lstrip("/")
        if same_host and path.startswith(f"{own.path.rstrip('/').lower()}/r/"):
            raise ValueError(
                "the link leads to a short link of this service; link to the page itself"
            )


def draft_rules(check_destination: Check) -> Rules:
    """What `CodeDraft` must fulfil beyond its types."""
    fields = field_rules(
        destination=check_destination, slug=check_slug, title=check_line, tags=check_tags
    )
    return lambda values: [*fields(values), *validity_rule(values)]


def changes_rules(check_destination: Check) -> Rules:
    """What `CodeChanges` must fulfil beyond its types; the window is checked once merged."""
    return field_rules(destination=check_destination, title=check_line, tags=check_tags)


def location(destination: str) -> str:
    """`destination` as an ASCII-only URI for a Location header (RFC 9110, section 10.2.2).

    Non-ASCII characters are percent-encoded as UTF-8, a host name becomes its A-label form.
    Raises ValueError for anything that could break out of the header.
    """
    if _UNSAFE.search(destination):
        raise ValueError("the destination holds a character that a header must not hold")
    if destination.isascii():
        return destination
    parts = urlsplit(destination)
    netloc = parts.netloc
    if not netloc.isascii():
        userinfo, at, host = netloc.rpartition("@")
        name, colon, port = host.partition(":")
        netloc = quote(userinfo, safe=":%") + at + a_labels(name) + colon + port
        if not netloc.isascii():
            raise ValueError("the destination names a port or an address that is not ASCII")
    safe = "!$&'()*+,;=:@/?%-._~[]"
    return urlunsplit(
        (
            parts.scheme,
            netloc,
            quote(parts.path, safe=safe),
            quote(parts.query, safe=safe),
            quote(parts.fragment, safe=safe),
        )
    )


def forwarded(destination: str, query: str) -> str:
    """`location` with a scan's own query string, where both together are not too long to be sent.

    A query that is too long is left out as a whole: half of one would say something else.
    """
    whole = location(with_query(destination, query))
    return whole if len(whole) <= MAX_LOCATION else location(destination)


def with_query(destination: str, query: str) -> str:
    """`destination` with a scan's own query string appended, before any fragment."""
    if not query:
        return destination
    head, hash_sign, fragment = destination.partition("#")
    joint = "" if head.endswith(("?", "&")) else "&" if "?" in head else "?"
    return f"{head}{joint}{query}{hash_sign}{fragment}"


def short_link(base_url: str, slug: str, *, compact: bool) -> str:
    """The link that the symbol encodes.

    Compact: in capitals wherever that keeps its meaning (scheme, host and slug know no case), so
    that the symbol uses alphanumeric mode (ISO/IEC 18004, 7.4.4) and is a version smaller.
    """
    link = f"{base_url}/r/{slug}"
    path = urlsplit(base_url).path
    # Outside ASCII, capitals can be another name: "straße" becomes "STRASSE".
    if (
        compact
        and link.isascii()
        and path == path.upper()
        and _ALPHANUMERIC.fullmatch(link.upper())
    ):
        return link.upper()
    return link


def _host(parts: Any) -> str:
    return ascii_host(parts.hostname or "")


def _port(parts: Any) -> int:
    """The port, 0 standing for the usual ones of both schemes: one leads to the other."""
    return 0 if parts.port in (None, 80, 443) else int(parts.port)
