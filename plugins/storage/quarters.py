"""Quarter hours: what is known of the scans of each one, packed into one row.

Only the ends of a span that is no whole number of days in UTC are read from here. A row for each
value, as days have them, would be most of the database, and most of the work of counting.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec

from plugins.storage.database import Connection
from plugins.storage.packed import PackedRows

Parts = dict[int, dict[str, list[int]]]
"""Scans, unique scans and scans of bots, by the number of a dimension and by its value."""

_BETWEEN = "SELECT parts FROM {table}_quarters WHERE subject_id = ? AND slot >= ? AND slot < ?"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Parts).decode


class Quarters(PackedRows[Parts]):
    """The rows in `code_quarters` and `organization_quarters`."""

    kind = "quarters"
    place = "slot"
    packed = "parts"
    columns: ClassVar = {"subject_id": "uuid", "slot": "bigint", "parts": "bytea"}

    def between(
        self, database: Connection, table: str, subject: Any, slots: tuple[int, int]
    ) -> Iterator[Parts]:
        """What is known of each quarter hour; `subject` is a parameter."""
        text = self._connections.sql(_BETWEEN.format(table=table))
        for (parts,) in database.execute_sql(text, (subject, *slots)).fetchall():
            yield self.unpack(parts)

    def unpack(self, data: bytes) -> Parts:
        """Parts as MessagePack."""
        return _decode(data)

    def values(self, told: Parts) -> tuple[bytes]:
        """The one column."""
        return (_encode(told),)

    def merge(self, told: Parts, other: Parts, sign: int = 1) -> None:
        """Value by value."""
        merge(told, other, sign)

    def rest(self, told: Parts) -> Parts | None:
        """Without the values that have no scans, and the dimensions that have no values."""
        kept = {
            number: {value: sums for value, sums in values.items() if any(sums)}
            for number, values in told.items()
        }
        return {number: values for number, values in kept.items() if values} or None


def merge(parts: Parts, others: Parts, sign: int = 1) -> None:
    """Add `others` to `parts`, or subtract them."""
    for number, values in others.items():
        own = parts.setdefault(number, {})
        for value, (scans, uniques, bots) in values.items():
            sums = own.get(value)
            if sums is None:
                sums = own[value] = [0, 0, 0]
            sums[0] += sign * scans
            sums[1] += sign * uniques
            sums[2] += sign * bots
