"""Days: how many scans each quarter hour of a day in UTC had, packed into one row.

A day of any time zone is the end of one such day and the beginning of the next one: two rows,
whatever the zone's offset is. The sums of the whole day stand beside, for all that lie between.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import msgspec

from core.api import SLOTS_A_DAY
from plugins.storage.database import Connection
from plugins.storage.packed import PackedRows

Numbers = tuple[list[int], list[int], list[int]]
"""Scans of people, unique ones among them, and scans of bots, of each quarter hour of a day."""

Sums = tuple[int, int, int]

_BETWEEN = (
    "SELECT day, scans, uniques, bots, quarters FROM {table}_days"
    " WHERE subject_id = ? AND day >= ? AND day <= ? ORDER BY day"
)

_FIRST = "SELECT day, quarters FROM {table}_days WHERE subject_id = ? ORDER BY day LIMIT 1"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, list[int], list[int], list[int]]).decode


class DayRow(NamedTuple):
    """A day with scans: days since 1970, the sums of all its scans, and its packed numbers."""

    day: int
    sums: Sums
    packed: bytes


def numbers() -> Numbers:
    """The numbers of a day without scans."""
    return [0] * SLOTS_A_DAY, [0] * SLOTS_A_DAY, [0] * SLOTS_A_DAY


def until(packed: bytes, offset: int) -> Sums:
    """What was counted in the first `offset` quarter hours of the day."""
    first, scans, uniques, bots = _decode(packed)
    past = max(0, offset - first)
    return sum(scans[:past]), sum(uniques[:past]), sum(bots[:past])


def unpacked(packed: bytes) -> Numbers:
    """The numbers of all quarter hours."""
    first, *kept = _decode(packed)
    whole = numbers()
    for own, some in zip(whole, kept, strict=True):
        own[first : first + len(some)] = some
    return whole


class Days(PackedRows[Numbers]):
    """The rows in `code_days` and `organization_days`."""

    kind = "days"
    place = "day"
    packed = "quarters"
    columns: ClassVar = {
        "subject_id": "uuid",
        "day": "int",
        "scans": "bigint",
        "uniques": "bigint",
        "bots": "bigint",
        "quarters": "bytea",
    }

    def between(
        self, database: Connection, table: str, subject: Any, first: int, last: int
    ) -> Iterator[DayRow]:
        """The days that have scans, in order, the last one included; `subject` is a parameter."""
        text = self._connections.sql(_BETWEEN.format(table=table))
        for day, scans, uniques, bots, packed in database.execute_sql(
            text, (subject, first, last)
        ).fetchall():
            yield DayRow(day, (scans, uniques, bots), packed)

    def first(self, database: Connection, table: str, subject: Any) -> int | None:
        """The first quarter hour of the first day that has scans."""
        text = self._connections.sql(_FIRST.format(table=table))
        row = database.execute_sql(text, (subject,)).fetchone()
        return None if row is None else row[0] * SLOTS_A_DAY + _decode(row[1])[0]

    def unpack(self, data: bytes) -> Numbers:
        """Only the quarter hours from the first to the last one with scans are packed."""
        return unpacked(data)

    def values(self, told: Numbers) -> tuple[int, int, int, bytes]:
        """The sums, and the numbers without the empty beginning and end of the day."""
        scans, uniques, bots = told
        busy = [n for n in range(SLOTS_A_DAY) if scans[n] or bots[n]] or [0]
        first, past = busy[0], busy[-1] + 1
        packed = _encode((first, scans[first:past], uniques[first:past], bots[first:past]))
        return sum(scans), sum(uniques), sum(bots), packed

    def merge(self, told: Numbers, other: Numbers, sign: int = 1) -> None:
        """Quarter hour by quarter hour."""
        for own, some in zip(told, other, strict=True):
            own[:] = [a + sign * b for a, b in zip(own, some, strict=True)]

    def rest(self, told: Numbers) -> Numbers | None:
        """All of it, unless the day has no scans left."""
        return told if any(map(any, told)) else None
