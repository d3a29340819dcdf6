"""The scan store: scans and the counts of them, the same for every database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

from core.api import (
    SLOT,
    Conflict,
    Count,
    DayCounts,
    Dimension,
    Drained,
    Generation,
    RecordedScan,
    Scan,
    Span,
    Totals,
)
from plugins.storage import tables
from plugins.storage.database import Connection, Connections, batches, placeholders
from plugins.storage.recount import Recount
from plugins.storage.removal import Removal
from plugins.storage.rollups import KNOWN, Combination, Rollups
from plugins.storage.tables import to_microseconds, to_moment, to_uuid

_BATCH = 1000
_SLOT = SLOT // timedelta(microseconds=1)
_DAY = timedelta(days=1) // timedelta(microseconds=1)

_ALL_CODES = "organization_id = ?"

# PERF: with both conditions on the counted table itself, SQLite takes the organisation's index and
# reads the scans of all of its codes.
_ONE_CODE = "code_id = (SELECT id FROM codes WHERE id = ? AND organization_id = ? AND NOT deleted)"

_FIND_CODES = "SELECT id, organization_id FROM codes WHERE id IN {ids} AND NOT deleted"

_LOCK_CODES = f"{_FIND_CODES} ORDER BY id FOR NO KEY UPDATE"

SCAN_COLUMNS = {
    "code_id": "uuid",
    "organization_id": "uuid",
    "at": "bigint",
    "bot": "boolean",
    "is_unique": "boolean",
    "country": "text",
    "device": "text",
    "os": "text",
    "browser": "text",
    "language": "text",
    "referrer": "text",
}

_VISITOR_COLUMNS = {"day": "int", "code_id": "uuid", "visitor": "bytea"}

COUNT_COLUMNS = {
    "code_id": "uuid",
    "organization_id": "uuid",
    "scans": "bigint",
    "uniques": "bigint",
    "bots": "bigint",
    "first_at": "bigint",
    "last_at": "bigint",
}

_REMOVE_VISITORS = (
    "DELETE FROM visitors WHERE (day, code_id, visitor) IN"
    " (SELECT day, code_id, visitor FROM visitors WHERE day < ? ORDER BY day LIMIT ?)"
)

_REMOVE_SCANS = (
    "DELETE FROM scans WHERE id IN (SELECT id FROM scans WHERE at < ? ORDER BY at LIMIT ?)"
)

_KEEP_SINCE = "UPDATE kept_scans SET since = ? WHERE since < ?"

_ADVANCE = "UPDATE journal_positions SET position = ? WHERE source = ? AND position = ?"

_BEGIN = "INSERT INTO journal_positions (source, position) VALUES (?, ?) ON CONFLICT DO NOTHING"

_TALLY = (
    "INSERT INTO scan_tallies (day, misses, dropped) VALUES (?, ?, ?)"
    " ON CONFLICT (day) DO UPDATE SET misses = scan_tallies.misses + EXCLUDED.misses,"
    " dropped = scan_tallies.dropped + EXCLUDED.dropped"
)

ADD_COUNTS = (
    "ON CONFLICT (code_id) DO UPDATE SET"
    " scans = code_counts.scans + EXCLUDED.scans,"
    " uniques = code_counts.uniques + EXCLUDED.uniques,"
    " bots = code_counts.bots + EXCLUDED.bots,"
    # A comparison with NULL is not true: the other of the two times is kept.
    " first_at = CASE WHEN code_counts.first_at IS NULL"
    " OR EXCLUDED.first_at < code_counts.first_at"
    " THEN EXCLUDED.first_at ELSE code_counts.first_at END,"
    " last_at = CASE WHEN code_counts.last_at IS NULL"
    " OR EXCLUDED.last_at > code_counts.last_at"
    " THEN EXCLUDED.last_at ELSE code_counts.last_at END"
)

_TOTALS = (
    "SELECT COALESCE(SUM(scans), 0), COALESCE(SUM(uniques), 0), COALESCE(SUM(bots), 0),"
    " MIN(first_at), MAX(last_at) FROM code_counts WHERE {scope}"
)

_LATEST = (
    "SELECT id, at, bot, is_unique, country, device, os, browser, language, referrer"
    " FROM scans WHERE code_id = ? {following}"
    " ORDER BY at DESC, id DESC LIMIT ?"
)

_Visitor = tuple[int, str, bytes]
"""Somebody who scanned a code on a day: days since 1970 in UTC, code and the visitor's hash."""


@dataclass
class _Tally:
    """What a batch adds to the counts of one code; the times are microseconds.

    PERF: ids are hexadecimal texts here, since comparing UUIDs takes a quarter of all time.
    """

    code: str
    organization: str
    scans: int = 0
    uniques: int = 0
    bots: int = 0
    first_at: int | None = None
    last_at: int | None = None

    def add(self, at: int, *, bot: bool, unique: bool) -> None:
        """Count one scan; scans come in the order of their times."""
        if bot:
            self.bots += 1
            return
        self.scans += 1
        self.uniques += unique
        self.first_at = at if self.first_at is None else self.first_at
        self.last_at = at


_Kept = tuple[int, int, _Tally, Scan]
"""A scan to be stored: its time, its place in the batch, and the counts of its code."""


class DatabaseScanStore:
    """A scan store in the database behind `connections`.

    The statements are written by hand: a node appends thousands of scans a second.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._totals = {
            False: connections.sql(_TOTALS.format(scope=_ALL_CODES)),
            True: connections.sql(_TOTALS.format(scope=_ONE_CODE)),
        }
        self._latest = {
            following: connections.sql(_LATEST.format(following=condition))
            for following, condition in ((False, ""), (True, "AND (at, id) < (?, ?)"))
        }
        self._rollups = Rollups(connections)
        self._removal = Removal(connections)

    def open(self) -> None:
        """Get ready in this process."""
        self._connections.open()

    def close(self) -> None:
        """Let go of every connection, unless the storage still needs them."""
        self._connections.close()

    def append(self, scans: Sequence[Scan], drained: Drained | None = None) -> None:
        """Store and count the scans, and how far the journal was read."""
        with self._connections.transaction(durable=True) as database:
            if drained is not None:
                self._advance(database, drained)
            tallies = {
                code_id: _Tally(code_id.hex, organization_id.hex)
                for code_id, organization_id in self._locked_codes(
                    database, {scan.code_id for scan in scans}
                ).items()
            }
            kept = sorted(
                (to_microseconds(scan.at), n, tally, scan)
                for n, scan in enumerate(scans)
                if (tally := tallies.get(scan.code_id)) is not None
            )
            new = self._new_visitors(database, kept)
            rows: list[tuple[Any, ...]] = []
            counted: dict[Combination, list[int]] = {}
            for at, _, tally, scan in kept:
                unique = False
                if scan.visitor is not None and not scan.bot:
                    visitor = (at // _DAY, tally.code, scan.visitor)
                    if visitor in new:
                        new.remove(visitor)
                        unique = True
                tally.add(at, bot=scan.bot, unique=unique)
                known = KNOWN(scan)
                place = (tally.organization, tally.code, at // _SLOT, known)
                sums = counted.setdefault(place, [0, 0, 0])
                sums[0] += not scan.bot
                sums[1] += unique
                sums[2] += scan.bot
                rows.append((tally.code, tally.organization, at, scan.bot, unique, *known))
            insert_many = self._connections.insert_many
            insert_many(database, "scans", SCAN_COLUMNS, rows)
            counts = [
                (t.code, t.organization, t.scans, t.uniques, t.bots, t.first_at, t.last_at)
                for t in sorted(tallies.values(), key=attrgetter("code"))
                if t.scans or t.bots
            ]
            insert_many(database, "code_counts", COUNT_COLUMNS, counts, ADD_COUNTS)
            self._rollups.add(database, counted)

    def rebuild(self, progress: Callable[[int, int], None]) -> None:
        """Count everything anew."""
        Recount(self._connections, Rollups(self._connections)).run(progress)

    def position(self, source: str) -> int | None:
        """How far the journal file was read."""
        table = tables.JournalPosition
        with self._connections.connection() as database:
            query = table.select(table.position).where(table.source == source)
            found: int | None = query.scalar(database)
            return found

    def tidy(self, today: date, before: datetime | None, limit: int) -> int:
        """Remove salts, visitors and scans that must not stay."""
        yesterday = today - timedelta(days=1)
        sql = self._connections.sql
        with self._connections.transaction() as database:
            salts = database.execute(tables.Salt.delete().where(tables.Salt.day < yesterday))
            oldest = (yesterday - date(1970, 1, 1)).days
            removed: int = database.execute_sql(sql(_REMOVE_VISITORS), (oldest, limit)).rowcount
            secrets = salts.rowcount or removed
            if before is not None:
                since = to_microseconds(before)
                database.execute_sql(sql(_KEEP_SINCE), (since, since))
                parameters = (since, limit)
                cursor = database.execute_sql(sql(_REMOVE_SCANS), parameters)
                removed = max(removed, cursor.rowcount)
        if secrets:
            self._connections.scrub()
        return limit if self._removal.step(limit) else removed

    def tallies(self, first: date) -> Mapping[date, tuple[int, int]]:
        """What is only counted, by day."""
        table = tables.ScanTally
        with self._connections.connection() as database:
            query = table.select().where(table.day >= first).order_by(table.day)
            return {
                day: (misses, dropped) for day, misses, dropped in query.tuples().execute(database)
            }

    def forget(self, sources: Sequence[str]) -> None:
        """Forget the positions of journal files."""
        table = tables.JournalPosition
        with self._connections.transaction() as database:
            for batch in batches(sources, _BATCH):
                database.execute(table.delete().where(table.source << list(batch)))

    def salt(self, day: date, proposal: bytes) -> bytes:
        """The salt of `day`."""
        table, oldest = tables.Salt, day - timedelta(days=1)
        with self._connections.connection() as database:
            salts: dict[date, bytes] = dict(table.select().tuples().execute(database))
        if day in salts and min(salts) >= oldest:
            return salts[day]
        with self._connections.transaction() as database:
            database.execute(table.delete().where(table.day < oldest))
            # Whoever comes second waits for the first one, and then reads what that has stored.
            database.execute(table.insert(day=day, salt=proposal).on_conflict_ignore())
            salt: bytes = table.select(table.salt).where(table.day == day).scalar(database)
            return salt

    def snapshot(self) -> AbstractContextManager[None]:
        """A transaction that only reads."""
        return self._connections.snapshot()

    def generation(self, organization_id: UUID, code_id: UUID | None) -> Generation:
        """How often the counts have changed, and when they last did."""
        return self._rollups.generation(organization_id if code_id is None else code_id)

    def counts(
        self, organization_id: UUID, code_id: UUID | None, spans: Sequence[Span]
    ) -> Sequence[Count]:
        """What was counted in each span."""
        return self._rollups.counts(organization_id, code_id, spans)

    def days(self, organization_id: UUID, code_id: UUID | None, span: Span) -> Sequence[DayCounts]:
        """What was counted in the quarter hours of each day that has scans."""
        return self._rollups.days(organization_id, code_id, span)

    def breakdowns(
        self, organization_id: UUID, code_id: UUID | None, span: Span
    ) -> Mapping[Dimension, Mapping[str, Count]]:
        """What was counted for each value of each dimension."""
        return self._rollups.breakdowns(organization_id, code_id, span)

    def latest(
        self, code_id: UUID, before: tuple[datetime, int] | None, limit: int
    ) -> Sequence[RecordedScan]:
        """The newest scans of a code, or those before a certain one."""
        parameters: list[Any] = [self._connections.key(code_id)]
        if before is not None:
            parameters += (to_microseconds(before[0]), before[1])
        with self._connections.connection() as database:
            cursor = database.execute_sql(self._latest[before is not None], (*parameters, limit))
            return [
                RecordedScan(scan_id, to_moment(at), bool(bot), bool(unique), *known)
                for scan_id, at, bot, unique, *known in cursor.fetchall()
            ]

    def totals(self, organization_id: UUID, code_id: UUID | None) -> Totals:
        """What has been counted so far: a row for a code."""
        statement = self._totals[code_id is not None]
        with self._connections.connection() as database:
            cursor = database.execute_sql(statement, self._scope(organization_id, code_id))
            scans, uniques, bots, first_at, last_at = cursor.fetchone()
            since = self._rollups.first(database, organization_id, code_id)
        return Totals(
            scans=int(scans),
            unique=int(uniques),
            bots=int(bots),
            first_scan_at=None if first_at is None else to_moment(first_at),
            last_scan_at=None if last_at is None else to_moment(last_at),
            since=None if since is None else to_moment(since * _SLOT),
        )

    def _scope(self, organization_id: UUID, code_id: UUID | None) -> tuple[Any, ...]:
        key = self._connections.key
        return (key(organization_id),) if code_id is None else (key(code_id), key(organization_id))

    def _locked_codes(self, database: Connection, wanted: set[UUID]) -> dict[UUID, UUID]:
        """Those of the codes that exist, with their organisations, kept until the transaction ends.

        The locks, taken in one order everywhere, also keep other appends to the same codes
        waiting: each knows the visitors whom those before it have stored. SQLite's writer is alone
        anyway.
        """
        key = self._connections.key
        statement = _LOCK_CODES if database.for_update else _FIND_CODES
        found: dict[UUID, UUID] = {}
        for batch in batches(sorted(wanted), _BATCH):
            text = statement.format(ids=placeholders(1, len(batch)))
            parameters = [key(code_id) for code_id in batch]
            cursor = database.execute_sql(self._connections.sql(text), parameters)
            found.update((to_uuid(code), to_uuid(owner)) for code, owner in cursor.fetchall())
        return found

    def _new_visitors(self, database: Connection, scans: Iterable[_Kept]) -> set[_Visitor]:
        """Store the scans' visitors; those who have not scanned their code on that day before."""
        visitors = {
            (at // _DAY, tally.code, scan.visitor)
            for at, _, tally, scan in scans
            if scan.visitor is not None and not scan.bot
        }
        new = self._connections.insert_new(database, "visitors", _VISITOR_COLUMNS, sorted(visitors))
        return {(day, to_uuid(code_id).hex, bytes(visitor)) for day, code_id, visitor in new}

    def _advance(self, database: Connection, drained: Drained) -> None:
        """Store how far the journal was read, and what it tells beside scans."""
        sql, execute = self._connections.sql, database.execute_sql
        moved = execute(sql(_ADVANCE), (drained.end, drained.source, drained.start)).rowcount
        if not moved and not execute(sql(_BEGIN), (drained.source, drained.end)).rowcount:
            raise Conflict(f"The journal file {drained.source} has been read already.")
        for day in sorted(drained.misses.keys() | drained.dropped.keys()):
            row = (day.isoformat(), drained.misses.get(day, 0), drained.dropped.get(day, 0))
            execute(sql(_TALLY), row)
