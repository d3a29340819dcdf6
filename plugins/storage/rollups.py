"""Rollups: scans counted by time and by what is known of them, while they are stored.

Counts are kept by the days of UTC: how many scans each quarter hour had (`days`), and how many each
value had (here). What the values of single quarter hours had (`quarters`) is needed at the ends of
a span alone. An organisation's rows are the sums of its codes' rows.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, sub
from typing import Any, TypeVar
from uuid import UUID

from core.api import OTHER, SLOTS_A_DAY, Count, DayCounts, Dimension, Generation, Span
from plugins.storage import days
from plugins.storage.database import Connection, Connections, batches, placeholders
from plugins.storage.days import Days, Numbers, Sums
from plugins.storage.quarters import Parts, Quarters, merge
from plugins.storage.tables import to_moment

NUMBERS: Mapping[Dimension, int] = {
    Dimension.COUNTRY: 1,
    Dimension.DEVICE: 2,
    Dimension.OS: 3,
    Dimension.BROWSER: 4,
    Dimension.LANGUAGE: 5,
    Dimension.REFERRER: 6,
}
"""The numbers by which dimensions are stored."""

MAX_VALUES = {"code": 100, "organization": 1000}
"""So many values a day and a dimension are told apart of each; the rest is OTHER.

Visitors choose what they send: without a limit, one of them could fill the database, and without
one for each code, the scans of one code could use up what there is for all others.
"""

_MAX_REMEMBERED = 10_000

_NOBODY = UUID(int=0)

K = TypeVar("K")

KNOWN = attrgetter(*(dimension.value for dimension in NUMBERS))
"""What is known of a scan: its value in each of these dimensions, in their order."""

_COLUMNS = {
    "subject_id": "uuid",
    "dimension": "int",
    "day": "int",
    "value": "text",
    "scans": "bigint",
    "uniques": "bigint",
    "bots": "bigint",
}

_ADD = (
    "ON CONFLICT (subject_id, dimension, day, value) DO UPDATE SET"
    " scans = {table}.scans + EXCLUDED.scans,"
    " uniques = {table}.uniques + EXCLUDED.uniques,"
    " bots = {table}.bots + EXCLUDED.bots"
)

_LOCK_ORGANIZATIONS = "SELECT id FROM organizations WHERE id IN {ids} ORDER BY id FOR NO KEY UPDATE"

# These name all dimensions, so that each is one range of the tables' keys.
_SUBTRACT = (
    "UPDATE organization_values SET"
    " scans = organization_values.scans - c.scans,"
    " uniques = organization_values.uniques - c.uniques,"
    " bots = organization_values.bots - c.bots"
    " FROM code_values AS c"
    " WHERE c.subject_id = ? AND c.dimension IN (1, 2, 3, 4, 5, 6) AND c.day >= ? AND c.day < ?"
    " AND organization_values.subject_id = ? AND organization_values.dimension = c.dimension"
    " AND organization_values.day = c.day AND organization_values.value = c.value"
)

_REMOVE_EMPTY = (
    "DELETE FROM organization_values WHERE subject_id = ? AND dimension IN (1, 2, 3, 4, 5, 6)"
    " AND day >= ? AND day < ? AND scans = 0 AND bots = 0"
)

_CLEAR_VALUES = (
    "DELETE FROM {table}_values WHERE subject_id = ? AND dimension IN (1, 2, 3, 4, 5, 6)"
    " AND day >= ? AND day < ?"
)
_CLEAR_DAYS = "DELETE FROM {table}_days WHERE subject_id = ? AND day >= ? AND day < ?"
_CLEAR_QUARTERS = "DELETE FROM {table}_quarters WHERE subject_id = ? AND slot >= ? AND slot < ?"

_BREAKDOWNS = (
    "SELECT dimension, value, SUM(scans), SUM(uniques), SUM(bots) FROM {table}_values"
    " WHERE subject_id = ? AND dimension IN (1, 2, 3, 4, 5, 6) AND day >= ? AND day < ?"
    " GROUP BY dimension, value"
)

_GENERATION = "SELECT number, changed_at FROM generations WHERE subject_id = ?"

_GENERATION_COLUMNS = {"subject_id": "uuid", "number": "bigint", "changed_at": "bigint"}

_ADVANCE = (
    "ON CONFLICT (subject_id) DO UPDATE SET"
    " number = generations.number + 1, changed_at = excluded.changed_at"
)

_OWN_CODE = "SELECT 1 FROM codes WHERE id = ? AND organization_id = ? AND NOT deleted"

_KNOWN_VALUES = (
    "SELECT dimension, value FROM {table}_values"
    " WHERE subject_id = ? AND dimension IN (1, 2, 3, 4, 5, 6) AND day = ?"
)

Combination = tuple[str, str, int, tuple[str, ...]]
"""Organisation and code (hexadecimal), quarter hour, and what is known of a scan."""

_Row = tuple[str, int, int, str]


@dataclass
class Counted:
    """What is added to the rows of codes, or of organisations, by subject (hexadecimal)."""

    quarters: dict[tuple[str, int], Parts] = field(default_factory=dict)
    days: dict[tuple[str, int], Numbers] = field(default_factory=dict)

    def add(self, subject: str, slot: int, parts: Parts, sums: Sequence[int]) -> None:
        """Count what is known of a quarter hour, and how many scans it had."""
        merge(self.quarters.setdefault((subject, slot), {}), parts)
        self.add_sums(subject, slot, sums)

    def add_sums(self, subject: str, slot: int, sums: Sequence[int]) -> None:
        """Count how many scans a quarter hour had."""
        day, offset = divmod(slot, SLOTS_A_DAY)
        numbers = self.days.get((subject, day))
        if numbers is None:
            numbers = self.days[subject, day] = days.numbers()
        for own, count in zip(numbers, sums, strict=True):
            own[offset] += count


class Rollups:
    """The rows of codes and of organisations: adds to them and sums them up."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._quarters = Quarters(connections)
        self._days = Days(connections)
        self._known: dict[tuple[str, int], tuple[set[str], ...]] = {}

    def add(self, database: Connection, counted: Mapping[Combination, Sequence[int]]) -> None:
        """Count so many scans of people, unique ones among them and scans of bots.

        The locks of the codes are held.
        """
        owners = {code: organization for organization, code, _, _ in counted}
        codes = self._sum_up(database, counted)
        organizations = Counted()
        for (code, slot), parts in codes.quarters.items():
            day, offset = divmod(slot, SLOTS_A_DAY)
            sums = [numbers[offset] for numbers in codes.days[code, day]]
            organizations.add(owners[code], slot, parts, sums)
        self._store(database, "code", codes)
        self.lock(database, sorted(set(owners.values())))
        self._store(database, "organization", organizations)

    def add_to_codes(
        self, database: Connection, counted: Mapping[Combination, Sequence[int]]
    ) -> None:
        """Count as `add` does, for the codes alone."""
        self._store(database, "code", self._sum_up(database, counted))

    def add_to_organization(
        self,
        database: Connection,
        quarters: Mapping[tuple[str, int], Parts],
        days: Mapping[tuple[str, int], Numbers],
    ) -> None:
        """Add to an organisation's packed rows, whose lock is held."""
        self._quarters.add(database, "organization", quarters)
        self._days.add(database, "organization", days)

    def lock(self, database: Connection, organizations: Sequence[str]) -> None:
        """Keep others from counting for these organisations until the transaction ends.

        Locks of codes are taken before. SQLite's writer is alone anyway.
        """
        if database.for_update:
            for batch in batches(organizations, 1000):
                text = _LOCK_ORGANIZATIONS.format(ids=placeholders(1, len(batch)))
                ids = [self._connections.key(UUID(hex=organization)) for organization in batch]
                database.execute_sql(self._connections.sql(text), ids)

    def subtract(
        self, database: Connection, organization_id: UUID, code_id: UUID, days: tuple[int, int]
    ) -> None:
        """Take a code's counts of these days out of its organisation's; the code is locked."""
        key, sql = self._connections.key, self._connections.sql
        self.lock(database, [organization_id.hex])
        self._quarters.subtract(database, organization_id, code_id, slots_of(days))
        self._days.subtract(database, organization_id, code_id, days)
        database.execute_sql(sql(_SUBTRACT), (key(code_id), *days, key(organization_id)))
        database.execute_sql(sql(_REMOVE_EMPTY), (key(organization_id), *days))
        self._advance(database, [organization_id.hex])

    def clear(self, database: Connection, table: str, subject: UUID, days: tuple[int, int]) -> None:
        """Remove all counts of these days; `table` is `code` or `organization`."""
        key = self._connections.key(subject)
        for statement, span in (
            (_CLEAR_VALUES, days),
            (_CLEAR_DAYS, days),
            (_CLEAR_QUARTERS, slots_of(days)),
        ):
            text = self._connections.sql(statement.format(table=table))
            database.execute_sql(text, (key, *span))
        self._advance(database, [subject.hex])

    def generation(self, subject: UUID) -> Generation:
        """How often the counts of the subject have changed, and when they last did."""
        with self._connections.connection() as database:
            text = self._connections.sql(_GENERATION)
            row = database.execute_sql(text, (self._connections.key(subject),)).fetchone()
        if row is None:
            return Generation()
        return Generation(row[0], None if row[1] is None else to_moment(row[1]))

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

    def days(self, organization_id: UUID, code_id: UUID | None, span: Span) -> list[DayCounts]:
        """What was counted in the quarter hours of each day."""
        start, past = span
        if start >= past:
            return []
        found = []
        with self._connections.connection() as database:
            table, subject = self._subject(database, organization_id, code_id)
            first, last = start // SLOTS_A_DAY, (past - 1) // SLOTS_A_DAY
            for row in self._days.between(database, table, subject, first, last):
                numbers, slot = days.unpacked(row.packed), row.day * SLOTS_A_DAY
                for own in numbers:
                    # Quarter hours of the first and of the last day may lie outside.
                    own[: max(0, start - slot)] = [0] * max(0, start - slot)
                    own[max(0, past - slot) :] = [0] * max(0, slot + SLOTS_A_DAY - past)
                found.append(DayCounts(slot, *numbers))
        return found

    def first(
        self, database: Connection, organization_id: UUID, code_id: UUID | None
    ) -> int | None:
        """The first quarter hour that has scans, those of bots included."""
        table, subject = self._subject(database, organization_id, code_id)
        return self._days.first(database, table, subject)

    def breakdowns(
        self, organization_id: UUID, code_id: UUID | None, span: Span
    ) -> dict[Dimension, dict[str, Count]]:
        """What was counted for each value of each dimension."""
        found: Parts = {number: {} for number in NUMBERS.values()}
        start, past = span
        first, last = -(-start // SLOTS_A_DAY), past // SLOTS_A_DAY
        # Whole days, and the quarter hours before and after them; or quarter hours alone.
        ends = [(start, first * SLOTS_A_DAY), (last * SLOTS_A_DAY, past)]
        if first >= last:
            ends = [(start, past)]
        with self._connections.connection() as database:
            table, subject = self._subject(database, organization_id, code_id)
            if first < last:
                text = self._connections.sql(_BREAKDOWNS.format(table=table))
                cursor = database.execute_sql(text, (subject, first, last))
                for number, value, *sums in cursor.fetchall():
                    found[number][value] = [int(n) for n in sums]
            for slots in ends:
                if slots[0] < slots[1]:
                    for parts in self._quarters.between(database, table, subject, slots):
                        merge(found, parts)
        return {
            dimension: {value: Count(*sums) for value, sums in found[number].items()}
            for dimension, number in NUMBERS.items()
        }

    def _until(
        self, organization_id: UUID, code_id: UUID | None, edges: Collection[int]
    ) -> dict[int, Sums]:
        """What was counted until each edge, from the beginning of the first edge's day on."""
        if not edges:
            return {}
        ordered = [(*divmod(edge, SLOTS_A_DAY), edge) for edge in sorted(edges)]
        found: dict[int, Sums] = {}
        with self._connections.connection() as database:
            table, subject = self._subject(database, organization_id, code_id)
            rows = list(self._days.between(database, table, subject, ordered[0][0], ordered[-1][0]))
        scans = uniques = bots = n = 0
        for day, offset, edge in ordered:
            while n < len(rows) and rows[n].day < day:
                of_day = rows[n].sums
                scans, uniques, bots = scans + of_day[0], uniques + of_day[1], bots + of_day[2]
                n += 1
            found[edge] = scans, uniques, bots
            if offset and n < len(rows) and rows[n].day == day:
                part = days.until(rows[n].packed, offset)
                found[edge] = scans + part[0], uniques + part[1], bots + part[2]
        return found

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
    ) -> Counted:
        """What was counted in each quarter hour of each code."""
        codes = Counted()
        for (organization, code, slot, known), sums in counted.items():
            codes.add_sums(code, slot, sums)
            parts = codes.quarters.get((code, slot))
            if parts is None:
                parts = codes.quarters[code, slot] = {number: {} for number in NUMBERS.values()}
            told = self._told(database, organization, code, slot // SLOTS_A_DAY, known)
            for number, value in enumerate(told, 1):
                _add(parts[number], value, sums)
        return codes

    def _store(self, database: Connection, table: str, counted: Counted) -> None:
        rows: dict[_Row, list[int]] = {}
        for (subject, slot), parts in counted.quarters.items():
            day = slot // SLOTS_A_DAY
            for number, values in parts.items():
                for value, sums in values.items():
                    _add(rows, (subject, number, day, value), sums)
        name = f"{table}_values"
        # In one order everywhere, lest two nodes wait for each other's rows.
        ordered = ((*row, *sums) for row, sums in sorted(rows.items()))
        self._connections.insert_many(database, name, _COLUMNS, ordered, _ADD.format(table=name))
        self._quarters.add(database, table, counted.quarters)
        self._days.add(database, table, counted.days)
        self._advance(database, sorted({subject for subject, _ in counted.days}))

    def _advance(self, database: Connection, subjects: Sequence[str]) -> None:
        """Begin a new generation of the counts of these codes, or of these organisations."""
        now = time.time_ns() // 1000
        rows = [(subject, 1, now) for subject in subjects]
        self._connections.insert_many(database, "generations", _GENERATION_COLUMNS, rows, _ADVANCE)

    def _told(
        self, database: Connection, organization: str, code: str, day: int, known: tuple[str, ...]
    ) -> tuple[str, ...]:
        """What is known, with OTHER where the day has as many values as it may have."""
        of_code = self._seen(database, "code", code, day)
        of_organization = self._seen(database, "organization", organization, day)
        told = known
        for place, value in enumerate(known):
            own, all_ = of_code[place], of_organization[place]
            if value in own:
                continue
            room = value in all_ or len(all_) < MAX_VALUES["organization"]
            if room and len(own) < MAX_VALUES["code"]:
                own.add(value)
                all_.add(value)
            else:
                told = (*told[:place], OTHER, *told[place + 1 :])
        return told

    def _seen(
        self, database: Connection, table: str, subject: str, day: int
    ) -> tuple[set[str], ...]:
        """The values of each dimension that the day has so far."""
        seen = self._known.get((subject, day))
        if seen is None:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            seen = self._known[subject, day] = tuple(set() for _ in NUMBERS)
            text = self._connections.sql(_KNOWN_VALUES.format(table=table))
            parameters = (self._connections.key(UUID(hex=subject)), day)
            for number, value in database.execute_sql(text, parameters).fetchall():
                seen[number - 1].add(value)
        return seen


def slots_of(days: tuple[int, int]) -> tuple[int, int]:
    """The quarter hours of a span of days."""
    return days[0] * SLOTS_A_DAY, days[1] * SLOTS_A_DAY


def _add(counts: dict[K, list[int]], key: K, sums: Sequence[int]) -> None:
    own = counts.get(key)
    if own is None:
        counts[key] = [*sums]
    else:
        own[0] += sums[0]
        own[1] += sums[1]
        own[2] += sums[2]
