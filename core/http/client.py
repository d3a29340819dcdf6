"""Whom a request comes from, as far as it can be believed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from core.http.request import Request
from core.settings import Http, ProxyHeader

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


_REMEMBERED = 1024
"""Addresses of which each worker remembers whether they are opted out, or trusted."""


def networks(names: Sequence[str]) -> tuple[Network, ...]:
    """The networks that a setting such as `http.trusted_proxies` names."""
    return tuple(ipaddress.ip_network(name) for name in names)


def opted_out(names: Sequence[str]) -> Callable[[str], bool] | None:
    """Whether an address belongs to the networks of `scans.opt_out`; None where there are none."""
    if not names:
        return None
    own = networks(names)
    # PERF: to decide takes 6 µs with one network and 14 µs with twenty, to remember takes 0.2 µs;
    # and the visitors of one house share its address.
    return lru_cache(_REMEMBERED)(lambda address: is_within(address, own))


class Clients:
    """Tells whom a request comes from, as `[http]` has it."""

    def __init__(self, settings: Http) -> None:
        self._trusted = trusted = networks(settings.trusted_proxies)
        # PERF: the proxies are few, and to look among networks takes some microseconds.
        self.trusts = lru_cache(_REMEMBERED)(lambda peer: is_trusted(peer, trusted))
        self._header, self._hops = {
            ProxyHeader.X_FORWARDED_FOR: ("HTTP_X_FORWARDED_FOR", _forwarded_for),
            ProxyHeader.FORWARDED: ("HTTP_FORWARDED", _forwarded),
        }[settings.proxy_header]

    def address(self, req: Request) -> str:
        """The address of the client: the last one in the chain that is no trusted proxy.

        The header is read from its right end, and only where the peer itself is trusted: whatever
        stands further left was written by somebody unknown.
        """
        address = req.remote_addr
        if not self._trusted:
            return address
        header = req.env.get(self._header)
        if not header or not self.trusts(address):
            return address
        for hop in self._hops(header):
            hop = _without_port(hop)
            try:
                ipaddress.ip_address(hop)
            except ValueError:
                return address
            address = hop
            if not is_trusted(hop, self._trusted):
                return address
        return address

    def is_proxied(self, req: Request) -> bool:
        """Whether one of the proxies that are believed has sent the request."""
        return self.trusts(req.remote_addr)

    def subject(self, req: Request) -> str:
        """Whom limits count: the address, and of IPv6 the network of the house."""
        return subject(self.address(req))


def subject(address: str) -> str:
    """The address as limits count it: of IPv6 the first 64 bits, which is what one client has."""
    if ":" not in address:
        return address
    try:
        ip = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip) >> 64 << 64, 64)))


def _forwarded_for(header: str) -> Iterator[str]:
    """Whom X-Forwarded-For names, the nearest first."""
    return (hop.strip() for hop in reversed(header.split(",")))


_PAIR = re.compile(r'([^\s",;=\\]+)=("(?:[^"\\]|\\.)*"|[^\s",;\\]*)')
_PLAIN = r'[ \t]*[^\s",;=\\]+=(?:"(?:[^"\\]|\\.)*"|[^\s",;\\]*)[ \t]*'
_ELEMENT = re.compile(rf"{_PLAIN}(?:;(?:{_PLAIN}|[ \t]*))*")
"""What Forwarded is made of (RFC 7239, 4); proxies leave out quotes where they should stand."""

_MOST_COMMAS = 10
"""So many of them may stand in the quotes of one element, so that reading it takes no time."""


def _forwarded(header: str) -> Iterator[str]:
    """Whom Forwarded names, the nearest first.

    What is no address, `unknown` or a name beginning with an underscore, is nobody's.
    """
    # NOTE: read from its left end, a quotation that a client has opened would go on into what our
    # own proxy has written after it, and turn that into his words.
    parts = header.split(",")
    while parts:
        element = parts.pop()
        # Empty elements say nothing (RFC 9110, 5.6.1.2).
        if not element.strip(" \t"):
            continue
        for _ in range(min(_MOST_COMMAS, len(parts))):
            if _ELEMENT.fullmatch(element):
                break
            element = f"{parts.pop()},{element}"
        yield _named(element) if _ELEMENT.fullmatch(element) else "unknown"


def _named(element: str) -> str:
    """Whom an element of Forwarded names."""
    named = [value for name, value in _PAIR.findall(element) if name.lower() == "for"]
    # Of an address that is told twice, nobody knows which one is meant.
    return named[0].strip('"') if len(named) == 1 else "unknown"


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether the address belongs to one of the proxies that are believed."""
    return is_within(address, trusted)


def is_within(address: str, among: Sequence[Network]) -> bool:
    """Whether the address belongs to one of the networks; what is no address belongs to none."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    # A socket for both families shows an IPv4 peer as ::ffff:10.0.0.1.
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return any(ip in network for network in among)


def _without_port(hop: str) -> str:
    # Some proxies write 192.0.2.1:5678 or [2001:db8::1]:5678.
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
