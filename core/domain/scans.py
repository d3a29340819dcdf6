"""Scans: what is known of a visit, what is kept of it, and how counts are addressed in time."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from operator import add
from uuid import UUID

from msgspec import Struct

SLOT = timedelta(minutes=15)
"""Counts are kept by quarter hours: every IANA zone's offset is a number of them since 1979."""

SLOTS_A_DAY = timedelta(days=1) // SLOT

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Visit(Struct, frozen=True):
    """A scan as the redirect sees it, personal data included: it is never stored as it is.

    `language` is Accept-Language and `referrer` is Referer, as they came; `country` is the code
    that a trusted proxy gave the client's country. All are empty where there was none.
    """

    code_id: UUID
    organization_id: UUID
    at: datetime
    address: str
    user_agent: str
    prefetch: bool = False
    do_not_track: bool = False
    language: str = ""
    referrer: str = ""
    country: str = ""


class Scan(Struct, frozen=True):
    """A scan as it is kept; what is not known of it is empty.

    `visitor` is a salted hash that is worthless two days later, or None: it tells whether the scan
    is the first one of the visitor on that day (in UTC), and is then forgotten.
    """

    code_id: UUID
    organization_id: UUID
    at: datetime
    visitor: bytes | None
    bot: bool
    country: str = ""
    device: str = ""
    os: str = ""
    browser: str = ""
    language: str = ""
    referrer: str = ""


class RecordedScan(Struct, frozen=True):
    """A scan as the store knows it; `id` grows in the order in which scans were stored."""

    id: int
    at: datetime
    bot: bool
    unique: bool
    country: str = ""
    device: str = ""
    os: str = ""
    browser: str = ""
    language: str = ""
    referrer: str = ""


class Dimension(enum.StrEnum):
    """By what scans are broken down."""

    COUNTRY = "country"
    DEVICE = "device"
    OS = "os"
    BROWSER = "browser"
    LANGUAGE = "language"
    REFERRER = "referrer"


OTHER = "(other)"
"""The value of all that come after the first so many of a day: anybody may send any referrer."""


class Drained(Struct, frozen=True):
    """Which bytes of which journal file are stored by a batch, and what else the file tells.

    `misses` are scans of unknown slugs, `dropped` are scans that could not be recorded, by day.
    """

    source: str
    start: int
    end: int
    misses: Mapping[date, int] = {}
    dropped: Mapping[date, int] = {}


class Bots(enum.StrEnum):
    """Whether the scans of bots belong to a number."""

    EXCLUDE = "exclude"
    INCLUDE = "include"
    ONLY = "only"


class Count(Struct, frozen=True):
    """A number of scans: `bots` are those of bots, and `scans` are all others.

    `unique` are those scans that are the first ones of their visitors on their day.
    """

    scans: int = 0
    unique: int = 0
    bots: int = 0

    def of(self, bots: Bots) -> tuple[int, int]:
        """All and unique scans; bots are never unique."""
        match bots:
            case Bots.EXCLUDE:
                return self.scans, self.unique
            case Bots.INCLUDE:
                return self.scans + self.bots, self.unique
            case Bots.ONLY:
                return self.bots, 0


class DayCounts(Struct, frozen=True):
    """What was counted on a day of UTC, one number for each of its 96 quarter hours.

    `slot` is the first of them; the lists are as the numbers of `Count`.
    """

    slot: int
    scans: Sequence[int]
    unique: Sequence[int]
    bots: Sequence[int]

    def of(self, bots: Bots) -> Sequence[int]:
        """All scans of each quarter hour."""
        match bots:
            case Bots.EXCLUDE:
                return self.scans
            case Bots.INCLUDE:
                return list(map(add, self.scans, self.bots))
            case Bots.ONLY:
                return self.bots


Span = tuple[int, int]
"""A half-open span of time, in quarter hours since 1970 in UTC."""


class Generation(Struct, frozen=True):
    """How often the counts of a code or organisation have changed, and when they last did.

    `at` is None where nothing was ever counted.
    """

    number: int = 0
    at: datetime | None = None


class Totals(Struct, frozen=True):
    """What has been counted of a code, or of all of an organisation's codes, so far.

    `bots` counts bots alone, and `since` is when the first quarter hour began that has scans of
    anybody; everything else leaves bots out.
    """

    scans: int = 0
    unique: int = 0
    bots: int = 0
    first_scan_at: datetime | None = None
    last_scan_at: datetime | None = None
    since: datetime | None = None


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
