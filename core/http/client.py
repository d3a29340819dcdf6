"""Whom a request comes from, as far as it can be believed."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(names: Sequence[str]) -> tuple[Network, ...]:
    """The networks that `http.trusted_proxies` names."""
    return tuple(ipaddress.ip_network(name) for name in names)


def client_address(peer: str, forwarded_for: str | None, trusted: Sequence[Network]) -> str:
    """The address of the client: the last one in the chain that is no trusted proxy.

    `X-Forwarded-For` is read from its right end, and only where `peer` itself is trusted: whatever
    stands further left was written by somebody unknown.
    """
    if not trusted or not forwarded_for or not is_trusted(peer, trusted):
        return peer
    address = peer
    for hop in reversed(forwarded_for.split(",")):
        hop = _without_port(hop.strip())
        try:
            ipaddress.ip_address(hop)
        except ValueError:
            return address
        address = hop
        if not is_trusted(hop, trusted):
            return address
    return address


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether the address belongs to one of the proxies that are believed."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    # A socket for both families shows an IPv4 peer as ::ffff:10.0.0.1.
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return any(ip in network for network in trusted)


def _without_port(hop: str) -> str:
    # Some proxies write 192.0.2.1:5678 or [2001:db8::1]:5678.
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
