"""Codes: slugs, destinations, validity, and the short link that is encoded in the symbol."""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from posixpath import normpath
from typing import Annotated, Any
from unicodedata import normalize
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from core.domain.validation import Rules, check_line, field_rules
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
_DEVIATION = re.compile("[ßς\u200c\u200d]")
_DOT = re.compile("[.。．｡]")
_HOST = re.compile(r"[A-Za-z0-9._-]*")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_UNSAFE = re.compile(r"[\x00-\x20\x7f<>\"\\^`{|}\ud800-\udfff]")

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


class DestinationPolicy(Struct, frozen=True):
    """Where codes may lead: the allowed schemes, and never to this service's own short links."""

    schemes: frozenset[str]
    base_url: str

    def check(self, destination: str) -> None:
        """Raise ValueError, saying what is wrong, unless `destination` may be stored."""
        match = _UNSAFE.search(destination)
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
        if scheme in ("http", "https"):
            if not parts.hostname:
                raise ValueError("the link names no host; write it as https://example.com/page")
            _check_host(parts.netloc.rpartition("@")[2])
            if port == 0:
                raise ValueError("the port 0 cannot be connected to")
            self._refuse_own_links(destination)
        try:
            length = len(location(destination))
        except ValueError:
            raise ValueError("the link names a host or a port that is none") from None
        if length > MAX_LOCATION:
            raise ValueError(
                f"the link is {length} bytes long as it is sent, with percent signs for what is "
                f"not ASCII; at most {MAX_LOCATION} pass through every proxy: shorten it"
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


def draft_rules(policy: DestinationPolicy) -> Rules:
    """What `CodeDraft` must fulfil beyond its types."""
    fields = field_rules(
        destination=policy.check, slug=check_slug, title=check_line, tags=check_tags
    )
    return lambda values: [*fields(values), *validity_rule(values)]


def changes_rules(policy: DestinationPolicy) -> Rules:
    """What `CodeChanges` must fulfil beyond its types; the window is checked once merged."""
    return field_rules(destination=policy.check, title=check_line, tags=check_tags)


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
        netloc = quote(userinfo, safe=":%") + at + _a_labels(name) + colon + port
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


def _check_host(host: str) -> None:
    """Raise ValueError unless `host`, which may have a port, is a name or an IP address."""
    if "%" in host:
        raise ValueError(f"{_shown(host)} is not a host name; write it without %")
    address, bracket, port = host.rpartition("]")
    if bracket:
        if not address.startswith("[") or (port and not port.startswith(":")):
            raise ValueError(f"{_shown(host)} is not a host name")
        _check_address(IPv6Address, address[1:], "an IPv6 address")
        return
    name = host.partition(":")[0]
    try:
        ascii_name = name if name.isascii() else _a_labels(name)
        labels = ascii_name.removesuffix(".").split(".")
        for label in labels:
            _check_label(label)
        if len(ascii_name) > 253:
            raise ValueError("it is longer than 253 characters")
    except ValueError as error:
        # Python's codec tells of its own steps, which say nothing to whoever wrote the name.
        reason = "it cannot be looked up" if isinstance(error, UnicodeError) else error
        raise ValueError(f"{_shown(name)} is not a host name: {reason}") from None
    if _NUMBER.fullmatch(labels[-1]):
        # Browsers take whatever ends in a number for an address, and go nowhere where it is none.
        _check_address(IPv4Address, ".".join(labels), "an IPv4 address")


def _check_address(kind: type[IPv4Address | IPv6Address], text: str, name: str) -> None:
    try:
        kind(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is not a host name, nor {name}") from None


def _shown(host: str) -> str:
    return repr(host if len(host) <= 80 else f"{host[:77]}...")


def _check_label(label: str) -> None:
    """Raise ValueError for a part of a host name, in ASCII, that none can have (RFC 1035, 5890)."""
    if not label:
        raise ValueError("a part of it is empty")
    if len(label) > 63:
        raise ValueError("a part of it is longer than 63 characters")
    if not _HOST.fullmatch(label):
        raise ValueError("it may have letters, digits, hyphens and underscores")
    if label.lower().startswith("xn--"):
        try:
            meant = label[4:].encode().decode("punycode")
        except UnicodeError:
            meant = ""
        if meant.isascii():
            raise ValueError(f"{label!r} stands for no other name")


def _a_labels(name: str) -> str:
    """A host name in the ASCII form that is looked up (RFC 5890); raises ValueError for others.

    Python's codec follows the older RFC 3490, which turns "ß" into "ss" and drops the joiners of
    Persian and Indic names: other hosts than the ones that browsers go to today.
    """
    parts = _DOT.split(name) if _DEVIATION.search(name) else [name]
    labels = ".".join(_a_label(part) for part in parts)
    # Some characters become ASCII that no name may hold: a no-break space becomes a space.
    if not _HOST.fullmatch(labels):
        raise ValueError(f"{name!r} is not a host name")
    return labels


def _a_label(label: str) -> str:
    if not _DEVIATION.search(label):
        return label.encode("idna").decode()
    encoded = "xn--" + normalize("NFKC", label.lower()).encode("punycode").decode()
    if len(encoded) > 63:
        raise ValueError("a part of the host name is longer than 63 characters")
    return encoded


def _host(parts: Any) -> str:
    name = (parts.hostname or "").rstrip(".")
    try:
        return name if name.isascii() else _a_labels(name).lower()
    except ValueError:
        return str(name)


def _port(parts: Any) -> int:
    """The port, 0 standing for the usual one of either scheme: one leads to the other."""
    usual = {"http": 80, "https": 443}.get(parts.scheme.lower())
    return 0 if parts.port in (None, usual) else int(parts.port)
