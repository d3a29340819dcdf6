"""Writes small databases for tests, in the MaxMind DB File Format, version 2.0."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

MARKER = b"\xab\xcd\xefMaxMind.com"


def write_mmdb(networks: Mapping[str, Any], ip_version: int = 6, kind: str = "Tiny") -> bytes:
    """A database that has a record for each of the networks, which must not overlap."""
    root: list[Any] = [None, None]
    data = b""
    for name, record in networks.items():
        network = ip_network(name)
        bits = f"{int(network.network_address):0{network.max_prefixlen}b}"[: network.prefixlen]
        if network.version == 4 and ip_version == 6:
            bits = "0" * 96 + bits
        node = root
        for bit in bits[:-1]:
            if node[int(bit)] is None:
                node[int(bit)] = [None, None]
            node = node[int(bit)]
        node[int(bits[-1])] = len(data)
        data += encoded(record)
    nodes = [root]
    for node in nodes:
        nodes += [child for child in node if isinstance(child, list)]
    places = {id(node): number for number, node in enumerate(nodes)}

    def pointer(child: Any) -> bytes:
        if child is None:
            number = len(nodes)
        elif isinstance(child, list):
            number = places[id(child)]
        else:
            number = len(nodes) + 16 + child
        return number.to_bytes(3, "big")

    tree = b"".join(pointer(child) for node in nodes for child in node)
    metadata = {
        "node_count": (6, len(nodes)),
        "record_size": (5, 24),
        "ip_version": (5, ip_version),
        "database_type": kind,
        "languages": [],
        "binary_format_major_version": (5, 2),
        "binary_format_minor_version": (5, 0),
        "build_epoch": (9, 1_750_000_000),
        "description": {"en": "A test"},
    }
    return tree + bytes(16) + data + MARKER + encoded(metadata)


def encoded(value: Any) -> bytes:
    """A value of the data section; numbers come with their type, as (type, number)."""
    match value:
        case str():
            text = value.encode()
            return control(2, len(text)) + text
        case dict():
            pairs = b"".join(encoded(name) + encoded(item) for name, item in value.items())
            return control(7, len(value)) + pairs
        case list():
            return control(11, len(value)) + b"".join(map(encoded, value))
        case (kind, number):
            digits = number.to_bytes((number.bit_length() + 7) // 8, "big")
            return control(kind, len(digits)) + digits
    raise TypeError(value)


def control(kind: int, size: int) -> bytes:
    assert size < 29
    return bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])
