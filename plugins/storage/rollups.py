"""Rollups: scans counted by time and by what is known of them, while they are stored.

Counts are kept for quarter hours, hours and days in UTC, so that a span in any time zone is the sum
of few rows, however many scans there were. An organisation's rows are the sums of its codes' rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import attrgetter, sub
from typing import Any, NamedTuple
from uuid import UUID

from core.api import OTHER, Count, Dimension, SlotSize, Span
from plugins.storage.database import Connection, Connections, batches, placeholders
from plugins.storage.quarters import Parts, Quarters, merge

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

_NOBODY = UUID(int=0)

_SIZES = (SlotSize.DAY, SlotSize.HOUR, SlotSize.QUARTER)

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

_LOCK_ORGANIZATIONS = "SELECT id FROM organizations WHERE id IN {ids} ORDER BY id FOR NO KEY UPDATE"

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

_SLOTS = (
    "SELECT slot, scans, uniques, bots FROM {table}_rollups WHERE subject_id = ?"
    " AND dimension = 0 AND size = ? AND slot >= ? AND slot < ? ORDER BY slot"
)

_OF_SIZE = "r.subject_id = ? AND r.dimension = 0 AND r.size = ?"

_BREAKDOWNS = (
    "SELECT dimension, value, SUM(scans), SUM(uniques), SUM(bots) FROM {table}_rollups"
    " WHERE subject_id = ? AND dimension IN (1, 2, 3, 4, 5, 6) AND size = 96"
    " AND slot >= ? AND slot < ? GROUP BY dimension, value"
)

_OWN_CODE = "SELECT 1 FROM codes WHERE id = ? AND organization_id = ?"

_KNOWN_VALUES = (
    "SELECT value FROM organization_rollups"
    " WHERE subject_id = ? AND dimension = ? AND size = 96 AND slot = ?"
)

Combination = tuple[str, str, int, tuple[str, ...]]
"""Organisation and code (hexadecimal), quarter hour, and what is known of a scan."""

_Quarters = dict[tuple[str, int], Parts]
_Row = tuple[str, int, int, int, str]
_Sums = tuple[int, int, int]


class Rollups:
    """The rows in `code_rollups` and `organization_rollups`: adds to them and sums them up."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._quarters = Quarters(connections)
        self._known: dict[tuple[str, int], tuple[set[str], ...]] = {}

    def add(self, database: Connection, counted: Mapping[Combination, Sequence[int]]) -> None:
        """Count so many scans of people, unique ones among them and scans of bots.

        The locks of the codes are held.
        """
        owners = {code: organization for organization, code, _, _ in counted}
        codes = self._sum_up(database, counted)
        organizations: _Quarters = {}
        for (code, slot), parts in codes.items():
            merge(organizations.setdefault((owners[code], slot), {}), parts)
        self._store(database, "code", codes)
        self.lock(database, sorted(set(owners.values())))
        self._store(database, "organization", organizations)

    def add_to_codes(
        self, database: Connection, counted: Mapping[Combination, Sequence[int]]
    ) -> None:
        """Count as `add` does, for the codes alone."""
        self._store(database, "code", self._sum_up(database, counted))

    def add_to_organization(
        self, database: Connection, quarters: Mapping[tuple[str, int], Parts]
    ) -> None:
        """Add what is known of an organisation's quarter hours, whose lock is held."""
        self._quarters.add(database, "organization_quarters", quarters)

    def lock(self, database: Connection, organizations: Sequence[str]) -> None:
        """Keep others from counting for these organisations until the transaction ends.

        Locks of codes are taken before. SQLite's writer is alone anyway.
        """
        if database.for_update:
            for batch in batches(organizations, 1000):
                text = _LOCK_ORGANIZATIONS.format(ids=placeholders(1, len(batch)))
                ids = [self._connections.key(UUID(hex=organization)) for organization in batch]
                database.execute_sql(self._connections.sql(text), ids)

    def subtract_code(self, database: Connection, organization_id: UUID, code_id: UUID) -> None:
        """Take the counts of a code, which is locked and about to go, out of its organisation's."""
        key, sql = self._connections.key, self._connections.sql
        self.lock(database, [organization_id.hex])
        self._quarters.subtract_code(database, organization_id, code_id)
        database.execute_sql(sql(_SUBTRACT), (key(code_id), key(organization_id)))
        database.execute_sql(sql(_REMOVE_EMPTY), (key(organization_id),))

    def counts(
        self, organization_id: UUID, code_id: UUID | None, spans: Sequence[Span]
    ) -> list[Count]:
        """What was counted in each span."""
        edges = {edge for first, past in spans if first < past for edge in (first, past)}
        until = self._until(organization_id, code_id, edges)
        return [
            Count(*map(sub, until[past], until[first])) if first < past else Count()
            for first, past in spans
        ]

    def slots(
        self, organization_id: UUID, code_id: UUID | None, span: Span, size: SlotSize
    ) -> list[tuple[int, Count]]:
        """What was counted in each slot that has scans."""
        with self._connections.connection() as database:
            table, subject = self._subject(database, organization_id, code_id)
            text = self._connections.sql(_SLOTS.format(table=table))
            cursor = database.execute_sql(text, (subject, int(size), *span))
            return [(row[0], Count(*row[1:])) for row in cursor.fetchall()]

    def breakdowns(
        self, organization_id: UUID, code_id: UUID | None, span: Span
    ) -> dict[Dimension, dict[str, Count]]:
        """What was counted for each value of each dimension."""
        found: Parts = {number: {} for number in NUMBERS.values()}
        with self._connections.connection() as database:
            table, subject = self._subject(database, organization_id, code_id)
            text = self._connections.sql(_BREAKDOWNS.format(table=table))
            for size, *slots in _parts(span, (SlotSize.DAY, SlotSize.QUARTER)):
                if size == SlotSize.DAY:
                    cursor = database.execute_sql(text, (subject, *slots))
                    for number, value, *sums in cursor.fetchall():
                        merge(found, {number: {value: [int(n) for n in sums]}})
                else:
                    name, (first, past) = f"{table}_quarters", slots
                    for parts in self._quarters.between(database, name, subject, (first, past)):
                        merge(found, parts)
        return {
            dimension: {value: Count(*sums) for value, sums in found[number].items()}
            for dimension, number in NUMBERS.items()
        }

    def _until(
        self, organization_id: UUID, code_id: UUID | None, edges: Collection[int]
    ) -> dict[int, _Sums]:
        """What was counted until each edge, from the beginning of the first edge's day on."""
        if not edges:
            return {}
        first, last = min(edges) // SlotSize.DAY * SlotSize.DAY, max(edges)
        ways = {edge: _WAYS[edge % SlotSize.DAY] for edge in edges}
        slots: dict[SlotSize, set[int]] = {SlotSize.HOUR: set(), SlotSize.QUARTER: set()}
        for edge, way in ways.items():
            for size, offset in way.slots:
                slots[size].add(edge - edge % SlotSize.DAY + offset)
        with self._connections.connection() as database:
            table, subject = self._subject(database, organization_id, code_id)
            text = self._connections.sql(_SLOTS.format(table=table))
            days = database.execute_sql(text, (subject, int(SlotSize.DAY), first, last + 1))
            of_day = {slot: tuple(sums) for slot, *sums in days.fetchall()}
            of_size = {
                size: {
                    slot: tuple(sums)
                    for slot, *sums in self._connections.pick(
                        database,
                        f"{table}_rollups",
                        "r.slot, r.scans, r.uniques, r.bots",
                        {"slot": "bigint"},
                        [(slot,) for slot in sorted(wanted)],
                        _OF_SIZE,
                        (subject, int(size)),
                    )
                }
                for size, wanted in slots.items()
                if wanted
            }
        until_day: dict[int, _Sums] = {first: (0, 0, 0)}
        for day in range(first, last + 1, SlotSize.DAY):
            until_day[day + SlotSize.DAY] = _plus(until_day[day], of_day.get(day))
        until = {}
        for edge, way in ways.items():
            day = edge - edge % SlotSize.DAY
            sums = until_day[day + SlotSize.DAY if way.back else day]
            for size, offset in way.slots:
                sums = _plus(sums, of_size[size].get(day + offset), -1 if way.back else 1)
            until[edge] = sums
        return until

    def _subject(
        self, database: Connection, organization_id: UUID, code_id: UUID | None
    ) -> tuple[str, Any]:
        """The prefix of the tables, and whose rows are read; nobody's for another's code."""
        key = self._connections.key
        if code_id is None:
            return "organization", key(organization_id)
        parameters = (key(code_id), key(organization_id))
        found = database.execute_sql(self._connections.sql(_OWN_CODE), parameters).fetchone()
        return "code", key(code_id if found else _NOBODY)

    def _sum_up(
        self, database: Connection, counted: Mapping[Combination, Sequence[int]]
    ) -> _Quarters:
        """What was counted in each quarter hour of each code, TOTAL included."""
        codes: _Quarters = {}
        for (organization, code, slot, known), (people, unique, bots) in counted.items():
            parts = codes.get((code, slot))
            if parts is None:
                parts = codes[code, slot] = {number: {} for number in range(len(NUMBERS) + 1)}
                parts[TOTAL][""] = [0, 0, 0]
            told = self._told(database, organization, slot - slot % SlotSize.DAY, known)
            for number, value in enumerate(("", *told)):
                values = parts[number]
                sums = values.get(value)
                if sums is None:
                    values[value] = [people, unique, bots]
                else:
                    sums[0] += people
                    sums[1] += unique
                    sums[2] += bots
        return codes

    def _store(self, database: Connection, table: str, quarters: _Quarters) -> None:
        rows: dict[_Row, list[int]] = {}
        for (subject, slot), parts in quarters.items():
            for number, values in parts.items():
                for size in _SIZES if number == TOTAL else (SlotSize.DAY,):
                    first = slot - slot % size
                    for value, (people, unique, bots) in values.items():
                        sums = rows.get((subject, number, size, first, value))
                        if sums is None:
                            rows[subject, number, size, first, value] = [people, unique, bots]
                        else:
                            sums[0] += people
                            sums[1] += unique
                            sums[2] += bots
        name = f"{table}_rollups"
        # In one order everywhere, lest two nodes wait for each other's rows.
        ordered = ((*row, *sums) for row, sums in sorted(rows.items()))
        self._connections.insert_many(database, name, _COLUMNS, ordered, _ADD.format(table=name))
        packed = {
            key: {number: values for number, values in parts.items() if number != TOTAL}
            for key, parts in quarters.items()
        }
        self._quarters.add(database, f"{table}_quarters", packed)

    def _told(
        self, database: Connection, organization: str, day: int, known: tuple[str, ...]
    ) -> tuple[str, ...]:
        """What is known, with OTHER where the day has as many values as it may have."""
        seen = self._known.get((organization, day))
        if seen is None:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            seen = tuple(
                self._values(database, organization, day, number) for number in NUMBERS.values()
            )
            self._known[organization, day] = seen
        told = known
        for place, values in enumerate(seen):
            value = known[place]
            if value in values:
                continue
            if len(values) < MAX_VALUES:
                values.add(value)
            else:
                told = (*told[:place], OTHER, *told[place + 1 :])
        return told

    def _values(self, database: Connection, organization: str, day: int, number: int) -> set[str]:
        parameters = (self._connections.key(UUID(hex=organization)), number, day)
        cursor = database.execute_sql(self._connections.sql(_KNOWN_VALUES), parameters)
        return {value for (value,) in cursor.fetchall()}


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


def _plus(sums: _Sums, others: _Sums | None, sign: int = 1) -> _Sums:
    if others is None:
        return sums
    return sums[0] + sign * others[0], sums[1] + sign * others[1], sums[2] + sign * others[2]


class _Way(NamedTuple):
    """How an edge within a day is reached: from the day's begin or back from its end, by slots."""

    back: bool
    slots: tuple[tuple[SlotSize, int], ...]


def _way(offset: int) -> _Way:
    """The shorter way: midnight in Berlin is one hour or two before the end of a day in UTC."""
    back = offset > SlotSize.DAY // 2
    span = (offset, int(SlotSize.DAY)) if back else (0, offset)
    runs = _parts(span, (SlotSize.HOUR, SlotSize.QUARTER))
    return _Way(back, tuple((SlotSize(n), m) for n, a, b in runs for m in range(a, b, n)))


_WAYS = tuple(_way(offset) for offset in range(SlotSize.DAY))
