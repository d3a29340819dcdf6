"""Whatever is sent is understood or refused with a problem document: nothing breaks the service.

Each parser of something from outside is given what nobody would send on purpose. Requests are
made as a WSGI server makes them, so that bytes come through that no honest client can write.
Journals, contents, fields and keys of caches have more tests of this kind in `tests/unit`.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from datetime import UTC
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote
from zlib import crc32

import msgspec
import pytest
from falcon.testing import create_environ
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.api import ConfigurationError, DestinationRefused, Target
from core.app import Application
from core.domain.accounts import Role
from core.domain.hosts import ascii_host
from core.http.client import Clients
from core.http.problems import Problem
from core.http.request import Request
from core.services.journal.records import read
from core.settings import Http, ProxyHeader, Sections, Settings, pack, parse, unpack
from plugins.destinations.domain_list import DomainList
from tests.http.bodies import PHRASE, Scene
from tests.http.conftest import LOGO, PASSWORD, Clock, Tenant
from tests.http.test_logos import png

fuzzed = settings(
    deadline=None,
    derandomize=True,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

Address: TypeAlias = IPv4Address | IPv6Address

RAW = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60)
"""The value of a header as WSGI hands it over: any bytes, as if they were Latin-1 (PEP 3333)."""

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "0", "2026-05-06T12:00:00Z", "https://example.com", "\0", "null"])
)


def named(fields: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """Documents, many of whose fields have the names of real ones."""
    names = st.sampled_from(fields) | st.text(max_size=5)
    return st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
        max_leaves=12,
    )


class Caller:
    """Sends requests with the owner's API key or session, and looks at every answer."""

    def __init__(self, app: Application, name: str, value: str) -> None:
        self._app = app
        self._credential = {name: value}

    def __call__(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        **raw: str,
    ) -> tuple[int, dict[str, str], bytes]:
        """The answer; `path` is decoded already, `raw` are entries of WSGI's environment."""
        environ = create_environ("/", method=method, body=body)
        environ |= {"PATH_INFO": path, "QUERY_STRING": query, **self._credential}
        environ["RAW_URI"] = quote(path, encoding="latin-1") + (f"?{query}" if query else "")
        environ |= raw
        errors = environ["wsgi.errors"] = io.StringIO()
        told: list[Any] = []
        chunks = self._app(environ, lambda status, headers, _=None: told.extend((status, headers)))
        data = b"".join(chunks)
        status, headers = int(told[0][:3]), {name.lower(): text for name, text in told[1]}
        assert status < 500, data
        assert errors.getvalue() == ""
        for name, text in told[1]:
            # WSGI servers refuse, or worse send, anything else.
            assert text.encode("latin-1").isascii(), name
            assert not {"\r", "\n", "\0"} & set(text), name
        if status >= 400 and not headers["content-type"].startswith("text/html"):
            assert headers["content-type"] == "application/problem+json"
            if method != "HEAD":
                problem = msgspec.json.decode(data, type=Problem)
                assert problem.request_id == headers["x-request-id"]
                assert problem.status == status
                assert bool(problem.errors) == (status == 422) or status == 409
        return status, headers, data


@pytest.fixture
def call(app: Application, acme: Tenant) -> Caller:
    return Caller(app, "HTTP_AUTHORIZATION", f"Bearer {acme.keys[Role.OWNER]}")


BODIES = {
    "POST /qr-codes": "destination slug title tags active valid_from valid_until max_scans style",
    "POST /qr-codes/bulk": "codes destination slug tags",
    "PATCH /qr-codes/{code}": "destination title tags active valid_from valid_until forward_query",
    "POST /styles": "name default color background shape finder_shape logo logo_size caption",
    "PATCH /styles/{style}": "name default color background shape logo caption",
    "POST /images": "content type text url size format margin dpi style color error_correction",
    "PUT /qr-business": "content type ssid password phones emails url start end iban amount to",
    "POST /invitations": "email role",
    "POST /api-keys": "name role expires_at",
    "PATCH ": "name slug",
    "PATCH /members/{user}": "role",
}


@pytest.mark.parametrize("operation", BODIES)
@settings(fuzzed, max_examples=15)
@given(data=st.data())
def test_json_of_any_shape(call: Caller, acme: Tenant, operation: str, data: st.DataObject) -> None:
    method, _, path = operation.partition(" ")
    fields = tuple(BODIES[operation].split())
    document = data.draw(
        st.dictionaries(st.sampled_from(fields), named(fields), max_size=6) | named(fields)
    )
    body = msgspec.json.encode(document)
    ids = {"code": acme.code.id, "style": acme.style_id, "user": acme.users[Role.MEMBER]}
    call(method, acme.url + path.format(**ids), body=body, CONTENT_TYPE="application/json")


OF_PEOPLE = {
    "POST /api/session": "email password code",
    "PUT /api/password": "current new",
    "POST /api/password-resets": "email",
    "POST /api/password-resets/redeem": "token password",
    "POST /api/second-factor": "password",
    "POST /api/second-factor/confirm": "code",
    "POST /api/second-factor/disable": "password code",
    "POST /api/invitations/accept": "token password code name",
}


@pytest.mark.parametrize("operation", OF_PEOPLE)
@settings(fuzzed, max_examples=20)
@given(data=st.data())
def test_json_of_any_shape_about_oneself(
    app: Application, acme: Tenant, clock: Clock, operation: str, data: st.DataObject
) -> None:
    # Whoever tries too often is not listened to.
    clock.forward(hours=1)
    scene = Scene(app, acme, clock)
    call = Caller(app, "HTTP_COOKIE", scene.session())
    right = {
        "email": scene.user.email,
        "password": PASSWORD,
        "current": PASSWORD,
        "new": PHRASE,
        "code": scene.begun(),
        "name": "Somebody",
        "token": scene.reset() if "redeem" in operation else scene.invited(scene.user.email),
    }
    method, _, path = operation.partition(" ")
    fields = tuple(OF_PEOPLE[operation].split())
    odd = named(fields)
    text, name = st.text(max_size=40), st.sampled_from(fields)
    changes = st.dictionaries(name, text, max_size=1) | st.dictionaries(name, odd, max_size=2)
    nearly_right = changes.map(lambda changed: {name: right[name] for name in fields} | changed)
    body = msgspec.json.encode(data.draw(nearly_right | odd))
    status, _, _ = call(method, path, body=body, CONTENT_TYPE="application/json")
    assert status != 429


@fuzzed
@given(
    body=st.binary(max_size=80)
    | st.text(st.sampled_from('{}[]":,\\u0dD8f-1e. \x00'), max_size=40).map(str.encode),
    kind=st.sampled_from(["application/json", "application/json; charset=latin-1"]) | RAW,
    length=st.none() | RAW | st.integers(-5, 200).map(str),
    encoding=st.none() | RAW,
)
def test_bodies_that_are_no_json(
    call: Caller, acme: Tenant, body: bytes, kind: str, length: str | None, encoding: str | None
) -> None:
    raw = {"CONTENT_TYPE": kind}
    if length is not None:
        raw["CONTENT_LENGTH"] = length
    if encoding is not None:
        raw["HTTP_CONTENT_ENCODING"] = encoding
    call("POST", f"{acme.url}/qr-codes", body=body, **raw)


QUERIES = {
    "/qr-codes": "page per_page search tag sort active",
    "/qr-codes/{code}/image": "format size margin color background dpi width_mm style logo caption",
    "/qr-codes/{code}/timeline": "period start end interval timezone bots compare width",
    "/timeline": "period start end interval timezone bots compare width",
    "/qr-codes/{code}/stats": "period start end timezone bots",
    "/qr-codes/{code}/scans": "per_page cursor",
    "/qr-codes/sheet.pdf": "preset page rows columns gap_x_mm label_width_mm skip code copies",
    "/qr-codes/images.zip": "format size tag style",
}

TEXTS = RAW | st.integers().map(str) | st.sampled_from(
    [
        "null", "true", "nan", "inf", "1e400", "%00", "%ff", "%ed%a0%80", "+", "%2", "2026-05-06",
        "2026-05-06T12:00:00Z", "0001-01-01", "9999-12-31", "9999-12-31T23:59:59-23:59", "7d", "1y",
        "99999999999999999-1", "99999999999999999-999999999999999999", "0-0", "Asia/Kathmandu",
        "../etc/passwd", "0x0", "1e3x1e3", "10x2000",
    ]
)  # fmt: skip


@pytest.mark.parametrize("path", QUERIES)
@settings(fuzzed, max_examples=30)
@given(data=st.data())
def test_queries_of_any_kind(call: Caller, acme: Tenant, path: str, data: st.DataObject) -> None:
    names = st.sampled_from(QUERIES[path].split()) | RAW
    pairs = data.draw(st.lists(st.tuples(names, TEXTS), max_size=4, unique_by=lambda p: p[0]))
    joint = data.draw(st.sampled_from(["&", "&", "&", ";", "&&"]))
    query = joint.join(f"{name}={text}" for name, text in pairs)
    accept = data.draw(st.sampled_from(["*/*", "text/csv", "image/svg+xml"]))
    url = acme.url + path.format(code=acme.code.id)
    call("GET", url, query, HTTP_ACCEPT=accept)


HEADERS = (
    "ACCEPT", "ACCEPT_LANGUAGE", "AUTHORIZATION", "COOKIE", "DNT", "FORWARDED", "HOST",
    "IF_MATCH", "IF_MODIFIED_SINCE", "IF_NONE_MATCH", "ORIGIN", "PURPOSE", "RANGE", "REFERER",
    "SEC_FETCH_SITE", "SEC_GPC", "USER_AGENT", "X_FORWARDED_FOR", "X_REQUEST_ID",
)  # fmt: skip
VALUES = RAW | st.lists(
    st.sampled_from(
        [
            "*", '"', 'W/"', "bytes=", "0-", "-1", ",", ";", "=", "q=", "1.1", "text/html", "/",
            "quietzone=", "Bearer ", "bearer", "qz_", "for=", "[::1]", "10.0.0.1", "%00", "\\", "é",
            "*/*", "same-origin", "null", "http://", "\t",
        ]
    ),
    max_size=8,
).map("".join)  # fmt: skip


@settings(fuzzed, max_examples=150)
@given(
    place=st.sampled_from(["/qr-codes/{code}/image", "/timeline", "/qr-codes", "/r/", "/openapi"]),
    method=st.sampled_from(["GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS", "PROPFIND"]),
    headers=st.dictionaries(st.sampled_from(HEADERS), VALUES, max_size=4),
)
@example(place="/timeline", method="GET", headers={"ACCEPT": "text/*;q=é"})
def test_headers_of_any_kind(
    call: Caller, acme: Tenant, place: str, method: str, headers: dict[str, str]
) -> None:
    url = {"/r/": f"/r/{acme.code.slug}", "/openapi": "/api/openapi.json"}.get(
        place, acme.url + place.format(code=acme.code.id)
    )
    call(method, url, **{f"HTTP_{name}": value for name, value in headers.items()})


PROXIES = ("10.0.0.0/8", "192.0.2.7", "2001:db8:ffff::/48")
TRUSTED = [ip_network(name) for name in PROXIES]


def trusts(address: Address) -> bool:
    plain = getattr(address, "ipv4_mapped", None) or address
    return any(plain in network for network in TRUSTED)


STRANGERS = st.ip_addresses().filter(lambda address: not trusts(address))
MEMBERS = st.sampled_from(TRUSTED).flatmap(lambda network: st.ip_addresses(network=network))
PEERS = (STRANGERS | MEMBERS).map(str) | st.sampled_from(["10.0.0.1", "::ffff:10.0.0.1", "", "@"])


def told_client(header: ProxyHeader, peer: str, value: str) -> str:
    """Whom a request is told to come from."""
    clients = Clients(Http(trusted_proxies=PROXIES, proxy_header=header))
    env = create_environ("/") | {"REMOTE_ADDR": peer}
    env[f"HTTP_{header.upper().replace('-', '_')}"] = value
    request = Request(env)
    address = clients.address(request)
    clients.subject(request)
    assert clients.is_proxied(request) or address == peer
    return address


CHAINS = RAW | st.lists(
    st.sampled_from(
        [
            "for=", "For=", "by=", "proto=https", ";", ",", ", ", " ", '"', "\\", '\\"', "[", "]",
            ":", ":80", "10.0.0.2", "192.0.2.7", "203.0.113.9", "2001:db8::9", "[2001:db8:ffff::1]",
            "unknown", "_hidden", "%", "::", "::ffff:6.6.6.6", "fe80::1%eth0", "é", "\t", "0", "1",
        ]
    ),
    max_size=12,
).map("".join)  # fmt: skip


@pytest.mark.parametrize("header", ProxyHeader)
@settings(fuzzed, max_examples=200)
@given(peer=PEERS, value=CHAINS)
def test_of_any_chain_of_proxies_nothing_is_told_but_an_address_in_it(
    header: ProxyHeader, peer: str, value: str
) -> None:
    told = told_client(header, peer, value)
    if told != peer:
        ip_address(told)
        # It stands there as a whole.
        assert re.search(rf"(?<![\w.:]){re.escape(told)}(?![\w.])", value)


class Hop(NamedTuple):
    """One element of a chain: what it says, and the address that it names, if any."""

    text: str
    address: Address | None


PORTS = st.integers(0, 65_535).map(str)
SPACES = st.sampled_from(["", " ", "\t", "  "])


@st.composite
def hops(draw: st.DrawFn, header: ProxyHeader, addresses: st.SearchStrategy[Address]) -> Hop:
    """An element that names one of the addresses."""
    address = draw(addresses)
    name = draw(st.sampled_from([str(address), address.exploded, str(address).upper()]))
    ports = PORTS if header is ProxyHeader.X_FORWARDED_FOR else PORTS | st.just("_hidden")
    port = draw(st.just("") | ports.map(":{}".format))
    if address.version == 6 and (port or header is ProxyHeader.FORWARDED or draw(st.booleans())):
        name = f"[{name}]"
    if header is ProxyHeader.X_FORWARDED_FOR:
        return Hop(name + port, address)
    if address.version == 6 or port or draw(st.booleans()):
        name = f'"{name}{port}"'
    return Hop(draw(elements(name)), address)


@st.composite
def hidden(draw: st.DrawFn, header: ProxyHeader) -> Hop:
    """An element that names nobody."""
    name = draw(st.sampled_from(["unknown", "_hidden", "_gazonk-1"]))
    if header is ProxyHeader.X_FORWARDED_FOR:
        return Hop(name, None)
    return Hop(draw(elements(name) | elements(f'"{name}:_port"')), None)


QUOTED = (
    st.text(
        st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=8
    )
    | st.sampled_from([",", ";", "a, for=6.6.6.6", ";for=6.6.6.6;", '"', "\\"])
).map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
PAIRS = st.tuples(
    st.sampled_from(["proto", "by", "host", "Secret"]), st.just("https") | st.just("_x") | QUOTED
).map("=".join)


@st.composite
def elements(draw: st.DrawFn, name: str) -> str:
    """An element of Forwarded, with other pairs before and after the name."""
    pairs = draw(st.lists(PAIRS, max_size=2))
    label = draw(st.sampled_from(["for", "For", "FOR"]))
    pairs.insert(draw(st.integers(0, len(pairs))), f"{label}={name}")
    return ";".join(pairs)


@pytest.mark.parametrize("header", ProxyHeader)
@settings(fuzzed, max_examples=150)
@given(data=st.data())
def test_of_a_chain_of_proxies_the_last_one_that_is_not_trusted_is_told(
    header: ProxyHeader, data: st.DataObject
) -> None:
    peer = data.draw(PEERS)
    anybody = hops(header, STRANGERS) | hops(header, MEMBERS) | hidden(header)
    chain = data.draw(st.lists(anybody, max_size=4)) + data.draw(
        st.lists(hops(header, MEMBERS), max_size=2)
    )
    joint = st.tuples(SPACES, st.just(","), SPACES).map("".join)
    parts = [hop.text for hop in chain]
    if header is ProxyHeader.FORWARDED:
        # Empty elements say nothing (RFC 9110, 5.6.1.2).
        for _ in range(data.draw(st.integers(0, 2))):
            parts.insert(data.draw(st.integers(0, len(parts))), "")
    value = "".join(data.draw(joint) + part for part in parts)[1:] if parts else ""
    expected = ip_address(peer) if peer not in ("", "@") else None
    for hop in reversed(chain):
        if expected is None or not trusts(expected) or hop.address is None:
            break
        expected = hop.address
    told = told_client(header, peer, value)
    assert told == peer if expected is None else ip_address(told) == expected


@pytest.mark.parametrize("header", ProxyHeader)
@settings(fuzzed, max_examples=150)
@given(
    data=st.data(),
    before=st.tuples(
        st.sampled_from(["", "for=6.6.6.6", "for=6.6.6.6;x="]),
        CHAINS | st.sampled_from(['"', '\\"']),
    ).map("".join),
)
def test_no_client_chooses_his_address_before_a_proxy_that_goes_on_with_what_he_sent(
    header: ProxyHeader, data: st.DataObject, before: str
) -> None:
    hop = data.draw(hops(header, STRANGERS))
    value = before + data.draw(st.sampled_from([",", ", "])) + hop.text
    told = told_client(header, "10.0.0.1", value)
    assert ip_address(told) == hop.address


@settings(fuzzed, max_examples=80)
@given(
    path=st.lists(
        RAW
        | st.sampled_from(
            ["r", "R", "i", "api", "..", ".", "", "organizations", "acme-menu", "%2e", "\x00", "Ã¼"]
        ),
        max_size=5,
    ),
    query=RAW,
    people=st.booleans(),
)
def test_addresses_of_any_kind(call: Caller, path: list[str], query: str, people: bool) -> None:
    call("GET", "/" + "/".join(path), query, HTTP_ACCEPT="text/html" if people else "*/*")


@fuzzed
@given(slug=RAW, query=RAW)
def test_slugs_and_what_is_forwarded_with_them(
    call: Caller, acme: Tenant, slug: str, query: str
) -> None:
    made = {"destination": "https://example.com/?a=1#b", "slug": "forward", "forward_query": True}
    body = msgspec.json.encode(made)
    call("POST", f"{acme.url}/qr-codes", body=body, CONTENT_TYPE="application/json")
    status, headers, _ = call("GET", "/r/forward", query)
    assert status == 302
    assert headers["location"].startswith("https://example.com/?a=1")
    call("GET", f"/r/{slug}", query)


@fuzzed
@given(signature=RAW, name=RAW, change=st.integers(0, 200), query=RAW)
def test_signed_addresses_that_nobody_signed(
    call: Caller, acme: Tenant, signature: str, name: str, change: int, query: str
) -> None:
    _, _, data = call("GET", f"{acme.code_url}/image-url", "size=200")
    path, _, signed = msgspec.json.decode(data)["url"].removeprefix("http://qz.test").partition("?")
    assert call("GET", path, signed)[0] == 200
    call("GET", f"/i/{signature}/{name}", query)
    place = change % len(path)
    other = path[:place] + ("A" if path[place] != "A" else "B") + path[place + 1 :]
    assert call("GET", other, signed)[0] == 404
    assert call("GET", path, f"{signed}&{query}")[0] in (200, 301, 404, 422)


@settings(fuzzed, max_examples=80)
@given(data=st.data())
def test_pictures_that_are_broken(call: Caller, acme: Tenant, data: st.DataObject) -> None:
    kind, whole = data.draw(st.sampled_from([("image/png", png(8, 8)), ("image/svg+xml", LOGO)]))
    at = data.draw(st.integers(0, len(whole)))
    cut = data.draw(st.integers(0, 12))
    snippets = [b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"<script/>", b"1e999", b"IDAT", b"<g>"]
    put_in = data.draw(st.binary(max_size=12) | st.sampled_from(snippets))
    picture = whole[:at] + put_in + whole[at + cut :]
    status, _, _ = call("POST", f"{acme.url}/logos", "name=Fuzz", body=picture, CONTENT_TYPE=kind)
    assert status in (201, 409, 422)


LABELS = st.text(st.sampled_from("abÄßéIX0-"), min_size=1, max_size=6).map("a{}z".format)
DOMAINS = st.lists(LABELS, min_size=1, max_size=3).map(".".join) | st.sampled_from(
    ["evil.example", "xn--mller-kva.example", "EVIL。example.", "1.2.3.4", "a\x85b", "-_.a", "a b"]
)
LINES = st.builds(
    "{}{}{}".format, SPACES, DOMAINS | st.just(""), st.sampled_from(["", "", " # é", "#", "\v"])
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
LISTS = st.builds(str.join, ENDS, st.lists(LINES, max_size=4)).map(str.encode)
FILES = (
    LISTS
    | LISTS.map(b"\xef\xbb\xbf".__add__)
    | st.tuples(LISTS, st.binary(max_size=4), LISTS).map(b"".join)
    | st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
)


def denied(path: Path, lines: Sequence[bytes]) -> DomainList:
    path.write_bytes(b"\n".join(lines))
    made = DomainList(path)
    made.open()
    return made


@settings(fuzzed, max_examples=200)
@given(data=FILES)
def test_a_list_of_domains_holds_what_stands_in_it_or_names_the_line(
    tmp_path: Path, data: bytes
) -> None:
    path = tmp_path / "denied.txt"
    lines = re.split(b"\r\n|\r|\n", data)
    said = f"plugin.domain_list.path: {str(path)!r} cannot be used: line "
    try:
        made = denied(path, [data])
    except ConfigurationError as error:
        number = int(re.match(rf"{re.escape(said)}(\d+): ", str(error))[1])
        # It is the first one that is wrong, and it is wrong by itself.
        denied(path, lines[: number - 1])
        with pytest.raises(ConfigurationError, match=f": line {number}: "):
            denied(path, [b""] * (number - 1) + [lines[number - 1]])
        return
    texts = [
        line.decode("utf-8-sig" if n == 0 else "utf-8", "replace") for n, line in enumerate(lines)
    ]
    names = {text.partition("#")[0].strip().lower() for text in texts} - {""}
    hosts = {ascii_host(name) for name in names}
    assert len(made._domains) == len(hosts)
    for host in hosts:
        for below in (host, f"www.{host}"):
            with pytest.raises(DestinationRefused):
                made.check(Target(f"https://{below}/", "https", below))


WORDS = st.text(max_size=12) | st.sampled_from(
    [
        "127.0.0.1:8000", "[::1]:8000", "a:0", f"a:{'9' * 5000}", "https://qr.example.com",
        "https://[", "http://a:b", "*", "10.0.0.0/8", "::1", "::ffff:1.2.3.4", "example.com", "ß",
        "info", "always", "network", "Forwarded", "1e400", "nan", "inf", "-1", "1_0", "true",
    ]
)  # fmt: skip
REFERENCES = (
    st.fixed_dictionaries({"env": st.sampled_from(["SET", "UNSET", "", 1])})
    | st.fixed_dictionaries({"env": WORDS, "default": WORDS})
    | st.fixed_dictionaries({"file": st.sampled_from(["/", "", "a\0b", "a" * 5000, 5])})
)
TOML = st.deferred(
    lambda: (
        WORDS
        | st.booleans()
        | st.integers()
        | st.builds(pow, st.just(16), st.just(4000))
        | st.floats()
        | st.dates()
        | st.times()
        | st.datetimes(timezones=st.just(UTC))
        | REFERENCES
        | st.lists(TOML, max_size=2)
        | st.dictionaries(WORDS, TOML, max_size=2)
    )
)
LIKE = {
    str: WORDS,
    int: st.integers(-1, 2**33) | st.integers(0, 100),
    float: st.floats(),
    tuple: st.lists(WORDS | st.fixed_dictionaries({"requests": TOML, "seconds": TOML}), max_size=2),
}


def options(section: msgspec.Struct) -> st.SearchStrategy[dict[str, Any]]:
    """Options of a section, most of them of the type that they should have."""
    values = msgspec.structs.asdict(section).items()
    likely = {name: LIKE.get(type(value), WORDS) | TOML for name, value in values}
    return st.dictionaries(
        st.sampled_from(list(likely)), st.none(), min_size=1, max_size=2
    ).flatmap(lambda names: st.fixed_dictionaries({name: likely[name] for name in names}))


SECTIONS = {
    field.name: options(field.default)
    for field in msgspec.structs.fields(Settings)
    if isinstance(field.default, msgspec.Struct)
} | {"plugin": st.dictionaries(WORDS, TOML, max_size=2)}
TREES = st.sampled_from(list(SECTIONS)).flatmap(
    lambda name: st.fixed_dictionaries({name: SECTIONS[name] | TOML})
) | st.dictionaries(WORDS, TOML, max_size=2)


@settings(fuzzed, max_examples=300)
@given(tree=TREES)
@example(tree={"service": {"bind": f"a:{'9' * 5000}"}})
@example(tree={"service": {"data": {"file": "a\0b"}}})
@example(tree={"cache": {"image_ttl": math.inf}})
def test_settings_of_any_kind_are_taken_or_refused_by_name(tree: dict[str, Any]) -> None:
    problem = ""
    try:
        taken = parse(tree, {"SET": "set"})
    except ConfigurationError as error:
        problem = str(error)
    if problem:
        assert problem.startswith(tuple(tree))
        return
    # What is taken can be handed on, and is the same then.
    pack(taken)
    plain = msgspec.structs.replace(taken, plugin=Sections())
    assert unpack(pack(plain)) == plain


@fuzzed
@given(body=st.binary(min_size=1, max_size=60), finished=st.booleans())
def test_journal_records_that_nobody_wrote(body: bytes, finished: bool) -> None:
    record = len(body).to_bytes(4, "little") + crc32(body).to_bytes(4, "little") + body
    assert [end for _, end in read(record * 2, 1, finished=finished)] == [
        len(record),
        2 * len(record),
    ]
