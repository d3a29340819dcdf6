"""How scans lie in a journal file, so that whatever is cut off can be told from what is whole.

A file begins with eight bytes, the last two of which are its version and a line feed. Each record
has a head of eight bytes, its length and the CRC-32 of its body (both little-endian), and a body in
MessagePack. A record is whole or it is not there: no length of a file makes half of one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from zlib import crc32

import msgspec
from msgspec import Struct

from core.domain.scans import Visit

VERSION = 1
HEADER = b"QZSCAN" + bytes([VERSION]) + b"\n"
MAX_BODY = 65_536
"""No record is as long; a greater length is a damage."""

_HEAD = struct.Struct("<II")

_NEVER_WRITTEN = bytes(len(HEADER))
"""What a machine that loses power leaves of a file whose length was written and nothing else."""

_NO_ZERO = re.compile(rb"[^\0]")


class Tally(Struct, frozen=True, array_like=True, tag="t"):
    """What a worker only counts: scans of unknown slugs, and scans that it could not record."""

    day: date
    misses: int = 0
    dropped: int = 0


class Arrival(Struct, frozen=True, array_like=True, tag="v"):
    """A scan as it arrived."""

    visit: Visit


Record = Arrival | Tally

_encode = msgspec.msgpack.Encoder(uuid_format="bytes").encode
_decode_1: Callable[[bytes], Record] = msgspec.msgpack.Decoder(Arrival | Tally).decode

_DECODERS: Mapping[int, Callable[[bytes], Record]] = {1: _decode_1}
"""How the bodies of each version are read: files of an older one are drained after an upgrade."""


def version_of(header: bytes) -> int | None:
    """The version of a file that begins so, or None for one that is none, or is cut in its head."""
    if header == _NEVER_WRITTEN:
        return VERSION
    whole = len(header) == len(HEADER) and header[:6] == HEADER[:6] and header[7:] == HEADER[7:]
    return header[6] if whole and header[6] in _DECODERS else None


def frame(record: Record) -> bytes:
    """The record as it is appended."""
    body = _encode(record)
    return _HEAD.pack(len(body), crc32(body)) + body


def read(data: bytes, version: int, *, finished: bool) -> Iterator[tuple[Record | None, int]]:
    """The whole records of `data`, which begins with one, each with the offset of its end.

    What follows the last whole record may still be on its way. In a file that is `finished` it is
    not, and damaged bytes are skipped there, up to the next whole record. None stands for a record
    that is whole and says nothing that this version understands.
    """
    decode, view, at = _DECODERS[version], memoryview(data), 0
    while at + _HEAD.size <= len(data):
        length, checksum = _HEAD.unpack_from(data, at)
        body = view[at + _HEAD.size : at + _HEAD.size + length]
        # No body is empty: a run of zeros, which a crash may leave, would be a record otherwise.
        if 0 < length <= MAX_BODY and len(body) == length and crc32(body) == checksum:
            at += _HEAD.size + length
            yield _decoded(decode, body), at
        elif finished:
            at = _following(data, at)
        else:
            return


def _decoded(decode: Callable[[bytes], Record], body: memoryview) -> Record | None:
    try:
        return decode(bytes(body))
    except ValueError:
        # What msgspec raises is a ValueError, and so is what the text of another encoding causes.
        return None


def _following(data: bytes, at: int) -> int:
    """Where the next record may begin after damaged bytes."""
    # PERF: a crash leaves megabytes of zeros, which would take seconds one by one. A record's first
    # three bytes may be zeros as well, being those of its length.
    if data.startswith(bytes(_HEAD.size), at):
        other = _NO_ZERO.search(data, at)
        return len(data) if other is None else max(at + 1, other.start() - 3)
    return at + 1
