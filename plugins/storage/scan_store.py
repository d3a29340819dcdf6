"""The scan store: scans and the counts of them, the same for every database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from core.api import SLOT, Bots, RecordedScan, Scan, SlotCount, Totals
from plugins.storage import tables
from plugins.storage.database import Connection, Connections, batches, placeholders
from plugins.storage.tables import to_microseconds, to_moment, to_uuid

_BATCH = 1000
_SLOT = SLOT // timedelta(microseconds=1)

_ALL_CODES = "organization_id = ?"

# PERF: with both conditions on the counted table itself, SQLite takes the organisation's index and
# reads the scans of all of its codes.
_ONE_CODE = "code_id = (SELECT id FROM codes WHERE id = ? AND organization_id = ?)"

_FIND_CODES = "SELECT id FROM codes WHERE id IN {ids}"

_LOCK_CODES = f"{_FIND_CODES} ORDER BY id FOR NO KEY UPDATE"

_SEEN = (
    "WITH wanted(code_id, visitor) AS (VALUES {rows}) SELECT code_id, visitor FROM wanted"
    " WHERE EXISTS (SELECT 1 FROM scans"
    " WHERE scans.code_id = wanted.code_id AND scans.visitor = wanted.visitor)"
)

_INSERT_SCANS = (
    "INSERT INTO scans (code_id, organization_id, at, visitor, bot, is_unique) VALUES {rows}"
)

_ADD_COUNTS = (
    "INSERT INTO code_counts"
    " (code_id, organization_id, scans, uniques, bots, first_at, last_at) VALUES {rows}"
    " ON CONFLICT (code_id) DO UPDATE SET"
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

_SLOTS = (
    f"SELECT at / {_SLOT} AS slot, COUNT(*), SUM(CASE WHEN is_unique THEN 1 ELSE 0 END)"  # noqa: S608
    " FROM scans WHERE {scope} AND at >= ? AND at < ? {bots} GROUP BY slot ORDER BY slot"
)

_LATEST = (
    "SELECT id, at, bot, is_unique FROM scans WHERE code_id = ? {following}"
    " ORDER BY at DESC, id DESC LIMIT ?"
)

Visitor = tuple[UUID, bytes]
"""Somebody who scanned a code: the code's id and the visitor's hash."""


@dataclass
class _Tally:
    """What a batch adds to the counts of one code; the times are microseconds."""

    organization_id: UUID
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
        self._slots = {
            (one_code, bots): connections.sql(_SLOTS.format(scope=scope, bots=condition))
            for one_code, scope in (
                (False, _ALL_CODES),
                (True, _ONE_CODE),
            )
            for bots, condition in (
                (Bots.EXCLUDE, "AND NOT bot"),
                (Bots.INCLUDE, ""),
                (Bots.ONLY, "AND bot"),
            )
        }

    def open(self) -> None:
        """Get ready in this process."""
        self._connections.open()

    def close(self) -> None:
        """Let go of every connection, unless the storage still needs them."""
        self._connections.close()

    def append(self, scans: Sequence[Scan]) -> None:
        """Store and count the scans."""
        with self._connections.transaction() as database:
            codes = self._locked_codes(database, {scan.code_id for scan in scans})
            kept = sorted(
                (scan for scan in scans if scan.code_id in codes), key=lambda scan: scan.at
            )
            visitors = {(scan.code_id, scan.visitor) for scan in kept if scan.visitor is not None}
            seen = self._seen(database, sorted(visitors))
            rows: list[tuple[Any, ...]] = []
            tallies: dict[UUID, _Tally] = {}
            key = self._connections.key
            for scan in kept:
                unique = False
                if scan.visitor is not None and (scan.code_id, scan.visitor) not in seen:
                    seen.add((scan.code_id, scan.visitor))
                    unique = True
                at = to_microseconds(scan.at)
                tally = tallies.setdefault(scan.code_id, _Tally(scan.organization_id))
                tally.add(at, bot=scan.bot, unique=unique)
                rows.append(
                    (
                        key(scan.code_id),
                        key(scan.organization_id),
                        at,
                        scan.visitor,
                        scan.bot,
                        unique,
                    )
                )
            self._run_in_batches(database, _INSERT_SCANS, rows)
            self._run_in_batches(database, _ADD_COUNTS, self._count_rows(tallies))

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

    def slots(
        self,
        organization_id: UUID,
        code_id: UUID | None,
        start: datetime,
        end: datetime,
        bots: Bots,
    ) -> Iterable[SlotCount]:
        """The quarter hours of [start, end) that have scans."""
        statement = self._slots[code_id is not None, bots]
        window = (to_microseconds(start), to_microseconds(end))
        with self._connections.connection() as database:
            cursor = database.execute_sql(
                statement, (*self._scope(organization_id, code_id), *window)
            )
            return [
                SlotCount(slot, scans, int(unique)) for slot, scans, unique in cursor.fetchall()
            ]

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
                RecordedScan(scan_id, to_moment(at), bool(bot), bool(unique))
                for scan_id, at, bot, unique in cursor.fetchall()
            ]

    def totals(self, organization_id: UUID, code_id: UUID | None) -> Totals:
        """What has been counted so far: a row for a code."""
        statement = self._totals[code_id is not None]
        with self._connections.connection() as database:
            cursor = database.execute_sql(statement, self._scope(organization_id, code_id))
            scans, uniques, bots, first_at, last_at = cursor.fetchone()
        return Totals(
            scans=int(scans),
            unique=int(uniques),
            bots=int(bots),
            first_scan_at=None if first_at is None else to_moment(first_at),
            last_scan_at=None if last_at is None else to_moment(last_at),
        )

    def _scope(self, organization_id: UUID, code_id: UUID | None) -> tuple[Any, ...]:
        key = self._connections.key
        return (key(organization_id),) if code_id is None else (key(code_id), key(organization_id))

    def _locked_codes(self, database: Connection, wanted: set[UUID]) -> set[UUID]:
        """Those of the codes that exist, and do so until the transaction ends.

        The locks, taken in one order everywhere, also keep other appends to the same codes
        waiting, so that `_seen` sees all that they have stored. SQLite's writer is alone anyway.
        """
        key = self._connections.key
        statement = _LOCK_CODES if database.for_update else _FIND_CODES
        found: set[UUID] = set()
        for batch in batches(sorted(wanted), _BATCH):
            text = statement.format(ids=placeholders(1, len(batch)))
            parameters = [key(code_id) for code_id in batch]
            cursor = database.execute_sql(self._connections.sql(text), parameters)
            found.update(to_uuid(code_id) for (code_id,) in cursor.fetchall())
        return found

    def _seen(self, database: Connection, visitors: Sequence[Visitor]) -> set[Visitor]:
        """Those of the visitors who have scanned their code before."""
        key = self._connections.key
        seen: set[Visitor] = set()
        for batch in batches(visitors, _BATCH):
            statement = self._connections.sql(_SEEN.format(rows=placeholders(len(batch), 2)))
            parameters = [value for code_id, visitor in batch for value in (key(code_id), visitor)]
            cursor = database.execute_sql(statement, parameters)
            seen.update(
                (to_uuid(code_id), bytes(visitor)) for code_id, visitor in cursor.fetchall()
            )
        return seen

    def _count_rows(self, tallies: dict[UUID, _Tally]) -> list[tuple[Any, ...]]:
        key = self._connections.key
        return [
            (
                key(code_id),
                key(tally.organization_id),
                tally.scans,
                tally.uniques,
                tally.bots,
                tally.first_at,
                tally.last_at,
            )
            for code_id, tally in tallies.items()
        ]

    def _run_in_batches(
        self, database: Connection, statement: str, rows: Sequence[tuple[Any, ...]]
    ) -> None:
        for batch in batches(rows, _BATCH):
            text = statement.format(rows=placeholders(len(batch), len(batch[0])))
            parameters = [value for row in batch for value in row]
            database.execute_sql(self._connections.sql(text), parameters)
