"""How values and keys look on a server that others can write to as well.

A value is framed so that whatever is read back is either what was kept under that very key, or
known to be something else:

    version     1 byte, 0x91
    checksum    8 bytes, BLAKE2b over the key and all that follows
    expires_at  8 bytes, a big-endian double: seconds since 1970
    value       the rest

A counter is the exception, since the server itself counts: it is its bare ASCII digits, none of
which is the byte of the version. Whatever changes in here needs another version.
"""

from __future__ import annotations

import struct
from base64 import urlsafe_b64encode
from hashlib import blake2b

_VERSION = 0x91
_CHECKSUM = 8
_HEAD = struct.Struct(f">B{_CHECKSUM}s")
_EXPIRY = struct.Struct(">d")

OVERHEAD = _HEAD.size + _EXPIRY.size
"""The bytes that a frame takes beyond its value."""

_COUNTER_DIGITS = 20
"""Servers count in 64 bits."""


class Keys:
    """Makes the keys of a server of any texts: ASCII, short, and apart from those of others.

    `prefix` is what operators see of them; `scope` tells services apart that share a server.
    """

    def __init__(self, prefix: str, scope: str) -> None:
        self._begin = f"{prefix}:{_VERSION:x}:"
        self._scope = blake2b(scope.encode("utf-8", "surrogatepass"), digest_size=32).digest()

    def __call__(self, key: str) -> str:
        """The key under which a server keeps it."""
        text = key.encode("utf-8", "surrogatepass")
        digest = blake2b(text, key=self._scope, digest_size=18).digest()
        return self._begin + urlsafe_b64encode(digest).decode("ascii")


def pack(key: str, value: bytes, expires_at: float) -> bytes:
    """The value in its frame; `key` is the server's."""
    rest = _EXPIRY.pack(expires_at) + value
    return _HEAD.pack(_VERSION, _checksum(key, rest)) + rest


def unpack(key: str, data: bytes) -> tuple[bytes, float] | None:
    """The value and when it expires; None for anything that was not packed under this key."""
    if len(data) < OVERHEAD:
        return None
    version, checksum = _HEAD.unpack_from(data)
    rest = data[_HEAD.size :]
    if version != _VERSION or checksum != _checksum(key, rest):
        return None
    (expires_at,) = _EXPIRY.unpack_from(rest)
    return rest[_EXPIRY.size :], expires_at


def is_counter(data: bytes) -> bool:
    """Whether the server counts in this."""
    return 0 < len(data) <= _COUNTER_DIGITS and data.isdigit()


def _checksum(key: str, rest: bytes) -> bytes:
    return blake2b(rest, key=key.encode("ascii")[-64:], digest_size=_CHECKSUM).digest()
