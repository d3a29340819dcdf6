"""Rollups: scans counted by time and by what is known of them, while they are stored.

Counts are kept for quarter hours, hours and days in UTC, so that a span in any time zone is the sum
of few rows, however many scans there were. An organisation's rows are the sums of its codes' rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

from core.api import OTHER, Count, Dimension, SlotSize, Span
from plugins.storage.database import Connection, Connections, batches, placeholders

TOTAL = 0
"""The number of the dimension of which all scans have the same value, ""."""

NUMBERS: Mapping[Dimension, int] = {
    Dimension.COUNTRY: 1,
    Dimension.DEVICE: 2,
    Dimension.OS: 3,
    Dimension.BROWSER: 4,
    Dimension.LANGUAGE: 5,
    Dimension.REFERRER: 6,
}
"""The numbers by which the other dimensions are stored."""

MAX_VALUES = 200
"""So many values a day, an organisation and a dimension are told apart; the rest is OTHER.

Visitors choose what they send: without a limit, one of them could fill the database.
"""

_MAX_REMEMBERED = 10_000

_TOTAL_SIZES = (SlotSize.DAY, SlotSize.HOUR, SlotSize.QUARTER)
_VALUE_SIZES = (SlotSize.DAY, SlotSize.QUARTER)

KNOWN = attrgetter(*(dimension.value for dimension in NUMBERS))
"""What is known of a scan: its value in each of these dimensions, in their order."""

_COLUMNS = {
    "subject_id": "uuid",
    "dimension": "int",
    "size": "int",
    "slot": "bigint",
    "value": "text",
    "scans": "bigint",
    "uniques": "bigint",
    "bots": "bigint",
}

_ADD = (
    "ON CONFLICT (subject_id, dimension, size, slot, value) DO UPDATE SET"
    " scans = {table}.scans + EXCLUDED.scans,"
    " uniques = {table}.uniques + EXCLUDED.uniques,"
    " bots = {table}.bots + EXCLUDED.bots"
)

_SUBTRACT = (
    "UPDATE organization_rollups SET"
    " scans = organization_rollups.scans - c.scans,"
    " uniques = organization_rollups.uniques - c.uniques,"
    " bots = organization_rollups.bots - c.bots"
    " FROM code_rollups AS c WHERE c.subject_id = ? AND organization_rollups.subject_id = ?"
    " AND organization_rollups.dimension = c.dimension AND organization_rollups.size = c.size"
    " AND organization_rollups.slot = c.slot AND organization_rollups.value = c.value"
)

_REMOVE_EMPTY = "DELETE FROM organization_rollups WHERE subject_id = ? AND scans = 0 AND bots = 0"

# PERF: the ranges come first, and each is one range of the table's key: a year of days of 24 hours
# reads 8,760 short rows, whatever was counted in them.
_COUNTS = (
    "WITH wanted(n, size, first, past) AS (VALUES {rows})"
    " SELECT wanted.n, SUM(r.scans), SUM(r.uniques), SUM(r.bots) FROM wanted"
    " {join} JOIN {table} AS r ON r.subject_id = {subject} AND r.dimension = 0"
    " AND r.size = wanted.size AND r.slot >= wanted.first AND r.slot < wanted.past"
    " GROUP BY wanted.n"
)

_SLOTS = (
    "SELECT slot, scans, uniques, bots FROM {table} WHERE subject_id = {subject}"
    " AND dimension = 0 AND size = ? AND slot >= ? AND slot < ? ORDER BY slot"
)

_BREAKDOWN = (
    "SELECT value, SUM(scans), SUM(uniques), SUM(bots) FROM {table}"
    " WHERE subject_id = {subject} AND dimension = ? AND size = ? AND slot >= ? AND slot < ?"
    " GROUP BY value"
)

_KNOWN_VALUES = (
    "SELECT value FROM organization_rollups"
    " WHERE subject_id = ? AND dimension = ? AND size = 96 AND slot = ?"
)

Counted = tuple[str, str, int, tuple[str, ...], bool, bool]
"""A scan to be counted: organisation and code (hexadecimal), quarter hour, what is known of it, and
whether it is a bot's or unique.
"""

_Row = tuple[str, int, int, int, str]


class Rollups:
    """The rows in `code_rollups` and `organization_rollups`: adds to them and sums them up."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._known: dict[tuple[str, int, int], set[str]] = {}

    def add(self, database: Connection, scans: Iterable[Counted]) -> None:
        """Count scans."""
        combinations: dict[tuple[str, str, int, tuple[str, ...]], list[int]] = {}
        for organization, code, slot, known, bot, first in scans:
            key = (organization, code, slot, known)
            count = combinations.get(key)
            if count is None:
                count = combinations[key] = [0, 0, 0]
            if bot:
                count[2] += 1
            else:
                count[0] += 1
                count[1] += first
        codes: dict[_Row, list[int]] = {}
        organizations: dict[_Row, list[int]] = {}
        for (organization, code, slot, known), (people, unique, bots) in combinations.items():
            places = self._places(database, organization, slot, known)
            for rollups, subject in ((codes, code), (organizations, organization)):
                for place in places:
                    row = (subject, *place)
                    sums = rollups.get(row)
                    if sums is None:
                        rollups[row] = [people, unique, bots]
                    else:
                        sums[0] += people
                        sums[1] += unique
                        sums[2] += bots
        for table, rollups in (("code_rollups", codes), ("organization_rollups", organizations)):
            # In one order everywhere, lest two nodes wait for each other's rows.
            ordered = ((*row, *sums) for row, sums in sorted(rollups.items()))
            self._connections.insert_many(
                database, table, _COLUMNS, ordered, _ADD.format(table=table)
            )

    def counts(
        self, organization_id: UUID, code_id: UUID | None, spans: Sequence[Span]
    ) -> list[Count]:
        """What was counted in each span."""
        ranges = [(n, *part) for n, span in enumerate(spans) for part in _parts(span, _TOTAL_SIZES)]
        table, subject, parameters = self._scope(organization_id, code_id)
        found = [Count()] * len(spans)
        with self._connections.connection() as database:
            for batch in batches(ranges, 2000):
                # SQLite would choose the order of the tables by guessing; CROSS fixes it.
                join = "CROSS" if not database.for_update else ""
                text = _COUNTS.format(
                    rows=placeholders(len(batch), 4), join=join, table=table, subject=subject
                )
                values = [value for row in batch for value in row]
                cursor = database.execute_sql(self._connections.sql(text), (*values, *parameters))
                for n, scans, uniques, bots in cursor.fetchall():
                    found[n] = _sum(found[n], Count(int(scans), int(uniques), int(bots)))
        return found

    def slots(
        self, organization_id: UUID, code_id: UUID | None, span: Span, size: SlotSize
    ) -> list[tuple[int, Count]]:
        """What was counted in each slot that has scans."""
        table, subject, parameters = self._scope(organization_id, code_id)
        text = self._connections.sql(_SLOTS.format(table=table, subject=subject))
        with self._connections.connection() as database:
            cursor = database.execute_sql(text, (*parameters, int(size), *span))
            return [(row[0], Count(*row[1:])) for row in cursor.fetchall()]

    def breakdown(
        self, organization_id: UUID, code_id: UUID | None, span: Span, dimension: Dimension
    ) -> dict[str, Count]:
        """What was counted for each value of the dimension."""
        table, subject, parameters = self._scope(organization_id, code_id)
        text = self._connections.sql(_BREAKDOWN.format(table=table, subject=subject))
        found: dict[str, Count] = {}
        with self._connections.connection() as database:
            for part in _parts(span, _VALUE_SIZES):
                cursor = database.execute_sql(text, (*parameters, NUMBERS[dimension], *part))
                for value, scans, uniques, bots in cursor.fetchall():
                    count = Count(int(scans), int(uniques), int(bots))
                    found[value] = _sum(found.get(value, Count()), count)
        return found

    def _scope(self, organization_id: UUID, code_id: UUID | None) -> tuple[str, str, list[Any]]:
        key = self._connections.key
        if code_id is None:
            return "organization_rollups", "?", [key(organization_id)]
        return (
            "code_rollups",
            "(SELECT id FROM codes WHERE id = ? AND organization_id = ?)",
            [key(code_id), key(organization_id)],
        )

    def _places(
        self, database: Connection, organization: str, slot: int, known: tuple[str, ...]
    ) -> list[tuple[int, int, int, str]]:
        """The dimension, size, first quarter hour and value of each row that a scan counts in."""
        places = [(TOTAL, int(size), slot - slot % size, "") for size in _TOTAL_SIZES]
        day = slot - slot % SlotSize.DAY
        for number, value in zip(NUMBERS.values(), known, strict=True):
            told = self._told(database, organization, number, day, value)
            places += [(number, int(size), slot - slot % size, told) for size in _VALUE_SIZES]
        return places

    def _told(
        self, database: Connection, organization: str, number: int, day: int, value: str
    ) -> str:
        """The value, or OTHER where the day has as many as it may have."""
        key = (organization, number, day)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            parameters = (self._connections.key(UUID(hex=organization)), number, day)
            cursor = database.execute_sql(self._connections.sql(_KNOWN_VALUES), parameters)
            known = self._known[key] = {found for (found,) in cursor.fetchall()}
        if value not in known:
            if len(known) >= MAX_VALUES:
                return OTHER
            known.add(value)
        return value


def subtract_code(
    connections: Connections, database: Connection, organization_id: UUID, code_id: UUID
) -> None:
    """Take the counts of a code, which is about to be deleted, out of its organisation's."""
    code, organization = connections.key(code_id), connections.key(organization_id)
    database.execute_sql(connections.sql(_SUBTRACT), (code, organization))
    database.execute_sql(connections.sql(_REMOVE_EMPTY), (organization,))


def _parts(span: Span, sizes: Sequence[SlotSize]) -> Iterator[tuple[int, int, int]]:
    """The span in as few slots of these sizes as can be: size, first and past of each run."""
    first, past = span
    if first >= past:
        return
    size, *smaller = sizes
    begin, end = -(-first // size) * size, past // size * size
    if begin >= end:
        yield from _parts(span, smaller)
        return
    yield from _parts((first, begin), smaller)
    yield int(size), begin, end
    yield from _parts((end, past), smaller)


def _sum(one: Count, other: Count) -> Count:
    return Count(one.scans + other.scans, one.unique + other.unique, one.bots + other.bots)
