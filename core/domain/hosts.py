"""Hosts of links: which there can be, their two spellings, and which of them are private.

Names are never looked up: what a name leads to can be another address at the next moment.
"""

from __future__ import annotations

import re
from collections.abc import Container
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from unicodedata import normalize
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address

_DEVIATION = re.compile("[ßς\u200c\u200d]")
_DOT = re.compile("[.。．｡]")
_HOST = re.compile(r"[A-Za-z0-9._-]*")
_PLAIN = re.compile(r"[a-z0-9._-]+")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")

# What the registries of special-purpose addresses (RFC 6890, and IANA's lists that follow it) keep
# out of the public internet, and what is sent to many. Addresses for examples are left out: they
# lead nowhere at all.
_PRIVATE = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_PRIVATE_6 = tuple(
    IPv6Network(network)
    for network in (
        "::/128",
        "::1/128",
        "64:ff9b:1::/48",
        # Teredo (RFC 4380): whatever the tunnel of a stranger leads to.
        "2001::/32",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
# Networks whose addresses hold one of IPv4, and how many bits stand behind it: mapped (RFC 4291),
# the compatible ones before them, translated (RFC 2765), of NAT64 (RFC 6052), and of 6to4
# (RFC 3056).
_HOLDS_IPV4 = (
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("::/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("2002::/16"), 80),
)

# Names that never leave the machine or its network (RFC 6761, 6762, 8375; ICANN's `internal`).
_PRIVATE_NAMES = frozenset({"localhost", "localdomain", "local", "internal", "home.arpa"})


def host_of(link: str) -> str:
    """The host that a link names, as `ascii_host` writes it; "" where it names none."""
    try:
        return ascii_host(urlsplit(link).hostname or "")
    except ValueError:
        return ""


def unicode_host(plain: str) -> str:
    """A host that `ascii_host` wrote, as people read it."""
    return ".".join(map(_u_label, plain.split("."))) if "xn--" in plain else plain


def ascii_host(name: str) -> str:
    """A host as it is compared: in ASCII and lower case, without a dot at its end.

    What no host can be is given back as it is: links that are stored already are not refused here.
    """
    if ":" in name:
        try:
            return str(IPv6Address(name))
        except ValueError:
            return name.lower()
    try:
        plain = name if name.isascii() else a_labels(name)
    except ValueError:
        return name
    return plain.lower().removesuffix(".")


def domain(text: str) -> str:
    """A domain as `listed` compares it; raises ValueError for what is none."""
    # PERF: lists of a million domains are read by this, nearly all of them plain.
    if not _PLAIN.fullmatch(text) or "xn--" in text or "." not in text:
        if ":" in text:
            raise ValueError(f"{_shown(text)} is not a domain; write it as example.com")
        check_host(text)
        return ascii_host(text)
    plain = text.removesuffix(".")
    labels = plain.split(".")
    if len(plain) > 253 or "" in labels or labels[-1][:1].isdigit() or max(map(len, labels)) > 63:
        check_host(text)
    return plain


def listed(host: str, domains: Container[str]) -> str | None:
    """Which of `domains` holds `host`, as it is or as one that the host lies below, if any does."""
    rest = host
    while rest not in domains:
        _, dot, rest = rest.partition(".")
        if not dot:
            return None
    return rest


def origin(url: str) -> str:
    """The origin of an address as browsers write it (RFC 6454, 6.2): no default port."""
    parts = urlsplit(url.lower())
    default = {"http": 80, "https": 443}.get(parts.scheme)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in (None, default) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def is_private(host: str) -> bool:
    """Whether a host, as `ascii_host` writes it, lies outside of the public internet.

    These are addresses and names of the machine itself, of its network, and names without a dot,
    which only a local network knows.
    """
    address: Address
    try:
        address = IPv6Address(host.partition("%")[0]) if ":" in host else IPv4Address(host)
    except ValueError:
        return "." not in host or listed(host, _PRIVATE_NAMES) is not None
    return _is_private(address)


def _is_private(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return any(address in network for network in _PRIVATE)
    if any(address in network for network in _PRIVATE_6):
        return True
    return any(
        address in network and _is_private(IPv4Address(int(address) >> behind & 0xFFFFFFFF))
        for network, behind in _HOLDS_IPV4
    )


def _u_label(label: str) -> str:
    """A part of a name for people to read, or as it is where browsers would read another one."""
    if not label.startswith("xn--"):
        return label
    try:
        meant = label[4:].encode().decode("punycode")
        return meant if meant.isprintable() and _a_label(meant) == label else label
    except ValueError:
        return label


def check_host(host: str) -> None:
    """Raise ValueError unless `host`, which may have a port, is a name or an IP address."""
    if "%" in host:
        raise ValueError(f"{_shown(host)} is not a host name; write it without %")
    address, bracket, port = host.rpartition("]")
    if bracket:
        if not address.startswith("[") or (port and not port.startswith(":")):
            raise ValueError(f"{_shown(host)} is not a host name")
        _check_address(IPv6Address, address[1:], "an IPv6 address", "[2001:db8::7]")
        return
    name = host.partition(":")[0]
    try:
        ascii_name = name if name.isascii() else a_labels(name)
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
        # Browsers take whatever ends in a number for an address, and 127.1, 0x7f.1 or 2130706433
        # for 127.0.0.1: of all its spellings the usual one is let through alone.
        _check_address(IPv4Address, ".".join(labels), "an IPv4 address", "192.0.2.7")


def _check_address(kind: type[Address], text: str, name: str, example: str) -> None:
    try:
        kind(text)
    except ValueError:
        raise ValueError(
            f"{_shown(text)} is not a host name, nor {name}; write one as {example}"
        ) from None


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


def a_labels(name: str) -> str:
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
