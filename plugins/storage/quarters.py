"""Quarter hours: what is known of the scans of each one, packed into one row.

Only the ends of a span that is no whole number of days in UTC are read from here. A row for each
value, as days have them, would be most of the database, and most of the work of counting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import msgspec

from plugins.storage.database import Connection, Connections
from plugins.storage.tables import to_uuid

Parts = dict[int, dict[str, list[int]]]
"""Scans, unique scans and scans of bots, by the number of a dimension and by its value."""

_BATCH = 1000

_COLUMNS = {"subject_id": "uuid", "slot": "bigint", "parts": "bytea"}

_REPLACE = "ON CONFLICT (subject_id, slot) DO UPDATE SET parts = EXCLUDED.parts"

_BETWEEN = "SELECT parts FROM {table} WHERE subject_id = ? AND slot >= ? AND slot < ?"

_FOLLOWING = (
    "SELECT slot, parts FROM code_quarters WHERE subject_id = ? AND slot > ? ORDER BY slot LIMIT ?"
)

_REMOVE = "DELETE FROM organization_quarters WHERE subject_id = ? AND slot = ?"

_encode = msgspec.msgpack.Encoder().encode

unpack = msgspec.msgpack.Decoder(Parts).decode
"""Reads the column `parts`."""


class Quarters:
    """The rows in `code_quarters` and `organization_quarters`.

    They are read, changed and written back: whoever does that holds the lock of the subject.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def add(
        self, database: Connection, table: str, quarters: Mapping[tuple[str, int], Parts]
    ) -> None:
        """Add to the quarter hours of each subject (hexadecimal)."""
        found = self._find(database, table, quarters)
        for key, parts in found.items():
            merge(parts, quarters[key])
        self._store(database, table, {**quarters, **found})

    def subtract_code(self, database: Connection, organization_id: UUID, code_id: UUID) -> None:
        """Take a code's quarter hours out of its organisation's, whose lock is held."""
        key, sql = self._connections.key, self._connections.sql
        owner = organization_id.hex
        for page in self._pages(database, code_id):
            wanted = {(owner, slot): parts for slot, parts in page.items()}
            left: dict[tuple[str, int], Parts] = {}
            for place, parts in self._find(database, "organization_quarters", wanted).items():
                merge(parts, wanted[place], -1)
                rest = _without_zeros(parts)
                if rest:
                    left[place] = rest
                else:
                    database.execute_sql(sql(_REMOVE), (key(organization_id), place[1]))
            self._store(database, "organization_quarters", left)

    def between(
        self,
        database: Connection,
        table: str,
        subject: Any,
        slots: tuple[int, int],
    ) -> Iterator[Parts]:
        """What is known of each quarter hour; `subject` is a parameter."""
        text = self._connections.sql(_BETWEEN.format(table=table))
        for (parts,) in database.execute_sql(text, (subject, *slots)).fetchall():
            yield unpack(parts)

    def _pages(self, database: Connection, code_id: UUID) -> Iterator[dict[int, Parts]]:
        text = self._connections.sql(_FOLLOWING)
        last = -1
        while True:
            parameters = (self._connections.key(code_id), last, _BATCH)
            page = {
                slot: unpack(parts)
                for slot, parts in database.execute_sql(text, parameters).fetchall()
            }
            if not page:
                return
            yield page
            last = max(page)

    def _find(
        self, database: Connection, table: str, wanted: Mapping[tuple[str, int], Parts]
    ) -> dict[tuple[str, int], Parts]:
        key = {name: _COLUMNS[name] for name in ("subject_id", "slot")}
        columns = "r.subject_id, r.slot, r.parts"
        rows = self._connections.pick(database, table, columns, key, sorted(wanted))
        return {(to_uuid(subject).hex, slot): unpack(parts) for subject, slot, parts in rows}

    def _store(
        self, database: Connection, table: str, quarters: Mapping[tuple[str, int], Parts]
    ) -> None:
        # In one order everywhere, lest two nodes wait for each other's rows.
        rows = ((*key, _encode(parts)) for key, parts in sorted(quarters.items()))
        self._connections.insert_many(database, table, _COLUMNS, rows, _REPLACE)


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


def _without_zeros(parts: Parts) -> Parts:
    kept = {
        number: {value: sums for value, sums in values.items() if any(sums)}
        for number, values in parts.items()
    }
    return {number: values for number, values in kept.items() if values}
