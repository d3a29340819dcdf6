"""Scans: what is known of a visit, what is kept of it, and how counts are addressed in time."""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from uuid import UUID

from msgspec import Struct

SLOT = timedelta(minutes=15)
"""Counts are kept by quarter hours: every IANA zone's offset is a number of them since 1979."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Visit(Struct, frozen=True):
    """A scan as the redirect sees it, personal data included: it is never stored as it is."""

    code_id: UUID
    organization_id: UUID
    at: datetime
    address: str
    user_agent: str
    prefetch: bool = False
    do_not_track: bool = False


class Scan(Struct, frozen=True):
    """A scan as it is kept: `visitor` is a salted hash that is worthless a day later, or None."""

    code_id: UUID
    organization_id: UUID
    at: datetime
    visitor: bytes | None
    bot: bool


class RecordedScan(Struct, frozen=True):
    """A scan as the store knows it; `id` grows in the order in which scans were stored."""

    id: int
    at: datetime
    bot: bool
    unique: bool


class Bots(enum.StrEnum):
    """Whether the scans of bots belong to a number."""

    EXCLUDE = "exclude"
    INCLUDE = "include"
    ONLY = "only"


class SlotCount(Struct, frozen=True):
    """The scans of one quarter hour: `slot` counts quarter hours since 1970 in UTC."""

    slot: int
    scans: int
    unique: int


class Totals(Struct, frozen=True):
    """What has been counted of a code, or of all of an organisation's codes, so far.

    `bots` counts bots alone; everything else leaves them out.
    """

    scans: int = 0
    unique: int = 0
    bots: int = 0
    first_scan_at: datetime | None = None
    last_scan_at: datetime | None = None


def slot_of(moment: datetime) -> int:
    """The number of the quarter hour in which `moment` lies."""
    return (moment - _EPOCH) // SLOT


def quarter_of(moment: datetime) -> datetime:
    """When the quarter hour began in which `moment` lies, in UTC."""
    return _EPOCH + slot_of(moment) * SLOT


def visitor_hash(salt: bytes, address: str, user_agent: str) -> bytes:
    """The same 16 bytes for the same visitor as long as `salt` is the same (BLAKE2b, keyed)."""
    digest = blake2b(key=salt[:64], digest_size=16)
    digest.update(address.encode("utf-8", "replace"))
    digest.update(b"\0")
    digest.update(user_agent.encode("utf-8", "replace"))
    return digest.digest()
