"""The recount: all numbers once more from the scans that are kept, while the service runs.

It goes from code to code and from day to day in short transactions, each of which leaves right
numbers behind. Days of which scans have been removed for their age keep the numbers that they have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from core.api import SLOT, SLOTS_A_DAY
from plugins.storage.database import Connection, Connections
from plugins.storage.days import Days
from plugins.storage.packed import PackedRows
from plugins.storage.quarters import Quarters
from plugins.storage.rollups import Combination, Rollups, slots_of
from plugins.storage.tables import to_uuid

_SCANS = 50_000
"""About so many scans are counted in one transaction, and at least those of one day."""

_DAYS = 7
"""So many days of an organisation are summed up in one transaction."""

_PAGE = 500
_MICROSECONDS = SLOT // timedelta(microseconds=1)
_DAY = _MICROSECONDS * SLOTS_A_DAY
_END = 1 << 62

# Deleted codes are being removed, and their counts are subtracted from those of organisations.
_CODES = "SELECT id, organization_id FROM codes WHERE id > ? AND NOT deleted ORDER BY id LIMIT ?"
_ORGANIZATIONS = "SELECT id FROM organizations WHERE id > ? ORDER BY id LIMIT ?"
_HOW_MANY = "SELECT COUNT(*) FROM organizations WHERE id > ?"
_FIRST_ID = UUID(int=0)

_LOCK_CODE = "SELECT id FROM codes WHERE id = ? AND NOT deleted"
_SINCE = "SELECT since FROM kept_scans"

_NEXT_SCAN = "SELECT at FROM scans WHERE code_id = ? AND at >= ? ORDER BY at LIMIT 1 OFFSET ?"

_COUNT = (
    "SELECT at / {slot}, country, device, os, browser, language, referrer,"
    " SUM(CASE WHEN bot THEN 0 ELSE 1 END), SUM(CASE WHEN is_unique THEN 1 ELSE 0 END),"
    " SUM(CASE WHEN bot THEN 1 ELSE 0 END)"
    " FROM scans WHERE code_id = ? AND at >= ? AND at < ? GROUP BY 1, 2, 3, 4, 5, 6, 7"
)

_SUM_OF_DAYS = (
    "SELECT COALESCE(SUM(scans), 0), COALESCE(SUM(uniques), 0), COALESCE(SUM(bots), 0)"
    " FROM code_days WHERE subject_id = ?"
)

_FIRST = "SELECT at FROM scans WHERE code_id = ? AND NOT bot ORDER BY at LIMIT 1"
_LAST = "SELECT at FROM scans WHERE code_id = ? AND NOT bot ORDER BY at DESC LIMIT 1"
_TIMES = "SELECT first_at, last_at FROM code_counts WHERE code_id = ?"
_REMOVE_COUNTS = "DELETE FROM code_counts WHERE code_id = ?"
_COUNTS = (
    "INSERT INTO code_counts (code_id, organization_id, scans, uniques, bots, first_at, last_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (code_id) DO UPDATE SET"
    " scans = EXCLUDED.scans, uniques = EXCLUDED.uniques, bots = EXCLUDED.bots,"
    " first_at = EXCLUDED.first_at, last_at = EXCLUDED.last_at"
)

_NEXT_DAY = (
    "SELECT MIN(day) FROM (SELECT day FROM code_days"
    " WHERE subject_id IN (SELECT id FROM codes WHERE organization_id = ?) AND day >= ?"
    " UNION ALL SELECT day FROM organization_days WHERE subject_id = ? AND day >= ?) AS days"
)

_SUM_OF_CODES = (
    "INSERT INTO organization_values (subject_id, dimension, day, value, scans, uniques, bots)"
    " SELECT ?, dimension, day, value, SUM(scans), SUM(uniques), SUM(bots)"
    " FROM code_values WHERE subject_id IN (SELECT id FROM codes WHERE organization_id = ?)"
    " AND dimension IN (1, 2, 3, 4, 5, 6) AND day >= ? AND day < ?"
    " GROUP BY dimension, day, value"
)

_OF_CODES = (
    "SELECT {place}, {packed} FROM code_{kind}"
    " WHERE subject_id IN (SELECT id FROM codes WHERE organization_id = ?)"
    " AND {place} >= ? AND {place} < ?"
)

T = TypeVar("T")


class Recount:
    """Counts everything anew."""

    def __init__(self, connections: Connections, rollups: Rollups) -> None:
        self._connections = connections
        self._rollups = rollups
        self._quarters = Quarters(connections)
        self._days = Days(connections)

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Count; `progress` is called with how much has been done and how much there is to do."""
        with self._connections.connection() as database:
            scans = self._ask(database, "SELECT COUNT(*) FROM scans")
            organizations = self._ask(database, _HOW_MANY, self._connections.key(_FIRST_ID))
        done, whole = 0, scans + organizations
        for code, owner in self._pages(_CODES):
            for counted in self._code(to_uuid(code), to_uuid(owner)):
                done += counted
                progress(done, max(whole, done))
        for (organization,) in self._pages(_ORGANIZATIONS):
            self._organization(to_uuid(organization))
            done += 1
            progress(done, max(whole, done))

    def _pages(self, statement: str) -> Iterator[tuple[Any, ...]]:
        text, last = self._connections.sql(statement), self._connections.key(_FIRST_ID)
        while True:
            with self._connections.connection() as database:
                page = database.execute_sql(text, (last, _PAGE)).fetchall()
            yield from page
            if len(page) < _PAGE:
                return
            last = self._connections.key(to_uuid(page[-1][0]))

    def _code(self, code: UUID, owner: UUID) -> Iterator[int]:
        """Count the scans of a code; yields how many each transaction has counted."""
        key, sql = self._connections.key(code), self._connections.sql
        start = 0
        while start < _END:
            with self._connections.transaction() as database:
                lock, share = (
                    (" FOR NO KEY UPDATE", " FOR SHARE") if database.for_update else ("", "")
                )
                if not database.execute_sql(sql(_LOCK_CODE + lock), (key,)).fetchall():
                    return
                # Nothing is removed for its age before this transaction ends.
                since = self._ask(database, _SINCE + share)
                start = max(start, -(-since // _DAY) * _DAY)
                beyond = self._ask(database, _NEXT_SCAN, key, start, _SCANS)
                past = _END if beyond is None else max(beyond // _DAY * _DAY, start + _DAY)
                self._rollups.clear(database, "code", code, (start // _DAY, past // _DAY))
                counted = self._counted(database, code, owner, (start, past))
                self._rollups.add_to_codes(database, counted)
                start = past
                if start == _END:
                    self._store_counts(database, code, owner, since)
            yield sum(people + bots for people, _, bots in counted.values())

    def _counted(
        self, database: Connection, code: UUID, owner: UUID, span: tuple[int, int]
    ) -> dict[Combination, tuple[int, int, int]]:
        text = self._connections.sql(_COUNT.format(slot=_MICROSECONDS))
        rows = database.execute_sql(text, (self._connections.key(code), *span))
        return {
            (owner.hex, code.hex, slot, tuple(known)): (int(people), int(unique), int(bots))
            for slot, *known, people, unique, bots in rows.fetchall()
        }

    def _store_counts(self, database: Connection, code: UUID, owner: UUID, since: int) -> None:
        """Make the counts of all time the sums of all days."""
        key, sql = self._connections.key, self._connections.sql
        ((scans, uniques, bots),) = database.execute_sql(sql(_SUM_OF_DAYS), (key(code),)).fetchall()
        if not scans and not bots:
            database.execute_sql(sql(_REMOVE_COUNTS), (key(code),))
            return
        times = [self._ask(database, _FIRST, key(code)), self._ask(database, _LAST, key(code))]
        if since:
            # The first scan may have been removed since, and with few scans the last one, too.
            for first, last in database.execute_sql(sql(_TIMES), (key(code),)).fetchall():
                times[0] = min((at for at in (first, times[0]) if at is not None), default=None)
                times[1] = max((at for at in (last, times[1]) if at is not None), default=None)
        parameters = (key(code), key(owner), int(scans), int(uniques), int(bots), *times)
        database.execute_sql(sql(_COUNTS), parameters)

    def _organization(self, organization: UUID) -> None:
        """Make the counts of an organisation the sums of those of its codes."""
        key, sql = self._connections.key(organization), self._connections.sql
        day: int | None = 0
        while True:
            with self._connections.transaction() as database:
                self._rollups.lock(database, [organization.hex])
                day = self._ask(database, _NEXT_DAY, key, day, key, day)
                if day is None:
                    return
                days = (day, day + _DAYS)
                self._rollups.clear(database, "organization", organization, days)
                database.execute_sql(sql(_SUM_OF_CODES), (key, key, *days))
                self._rollups.add_to_organization(
                    database,
                    self._of_codes(database, self._quarters, organization, slots_of(days)),
                    self._of_codes(database, self._days, organization, days),
                )
                day += _DAYS

    def _of_codes(
        self, database: Connection, rows: PackedRows[T], organization: UUID, span: tuple[int, int]
    ) -> dict[tuple[str, int], T]:
        """What the codes' packed rows tell, summed up for their organisation."""
        text = _OF_CODES.format(place=rows.place, packed=rows.packed, kind=rows.kind)
        parameters = (self._connections.key(organization), *span)
        summed: dict[tuple[str, int], T] = {}
        for place, packed in database.execute_sql(self._connections.sql(text), parameters):
            told, key = rows.unpack(packed), (organization.hex, place)
            if key in summed:
                rows.merge(summed[key], told)
            else:
                summed[key] = told
        return summed

    def _ask(self, database: Connection, statement: str, *parameters: Any) -> Any:
        row = database.execute_sql(self._connections.sql(statement), parameters).fetchone()
        return None if row is None else row[0]
