"""Removal: what is left of deleted codes goes a little at a time.

A code may have millions of scans. To delete it hides it at once; its rows are removed afterwards in
short transactions, so that nobody waits for them, and a process that dies leaves right numbers.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from plugins.storage.database import Connection, Connections
from plugins.storage.rollups import Rollups
from plugins.storage.tables import GRAVEYARD, to_uuid

_DAYS = 14
"""The counts of so many days are removed in one transaction."""

_WEIGHT = 50
"""That takes about as long as the removal of so many scans."""

_NEXT_CODE = "SELECT id, organization_id FROM codes WHERE deleted LIMIT 1"
_LOCK_CODE = "SELECT id FROM codes WHERE id = ?"
_REMOVE_SCANS = "DELETE FROM scans WHERE id IN (SELECT id FROM scans WHERE code_id = ? LIMIT ?)"
_REMOVE_VISITORS = (
    "DELETE FROM visitors WHERE (day, code_id, visitor) IN"
    " (SELECT day, code_id, visitor FROM visitors WHERE code_id = ? LIMIT ?)"
)
_FIRST_DAY = "SELECT MIN(day) FROM code_days WHERE subject_id = ?"
_REMOVE_GENERATION = "DELETE FROM generations WHERE subject_id = ?"
_REMOVE_CODE = "DELETE FROM codes WHERE id = ?"


class Removal:
    """Removes deleted codes, one after the other."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._rollups = Rollups(connections)

    def step(self, limit: int) -> bool:
        """Remove up to `limit` rows of each kind; whether there may be more."""
        with self._connections.transaction() as database:
            row = self._execute(database, _NEXT_CODE).fetchone()
            if row is not None:
                code, owner = map(to_uuid, row)
                self._code(database, code, owner, limit)
            return row is not None

    def code(self, code: UUID, owner: UUID, limit: int) -> None:
        """Remove a code that was just deleted, as far as `limit` rows of each kind go."""
        removed = 1
        while removed < limit:
            with self._connections.transaction() as database:
                rows = self._code(database, code, owner, limit)
            if not rows:
                return
            removed += rows

    def _code(self, database: Connection, code: UUID, owner: UUID, limit: int) -> int:
        """One step of removing a code; how many rows that were, none once it is gone."""
        key = self._connections.key(code)
        # As everybody who counts does: first the code, then its organisation.
        lock = " FOR UPDATE" if database.for_update else ""
        if not self._execute(database, _LOCK_CODE + lock, key).fetchall():
            return 0
        # The numbers of the organisation come first: people look at them.
        (first,) = self._execute(database, _FIRST_DAY, key).fetchone()
        if first is not None:
            days = (first, first + _DAYS)
            if owner != GRAVEYARD:
                self._rollups.subtract(database, owner, code, days)
            self._rollups.clear(database, "code", code, days)
            return _WEIGHT
        for statement in (_REMOVE_SCANS, _REMOVE_VISITORS):
            removed: int = self._execute(database, statement, key, limit).rowcount
            if removed:
                return removed
        self._execute(database, _REMOVE_GENERATION, key)
        self._execute(database, _REMOVE_CODE, key)
        return 0

    def _execute(self, database: Connection, statement: str, *parameters: Any) -> Any:
        return database.execute_sql(self._connections.sql(statement), parameters)
