"""Rows of counts that hold much in one value: of each code, and summed up for its organisation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from plugins.storage.database import Connection, Connections
from plugins.storage.tables import to_uuid

T = TypeVar("T")


class PackedRows(ABC, Generic[T]):
    """The rows of `code_KIND` and `organization_KIND`, by subject and by a number in time.

    They are read, changed and written back: whoever does that holds the lock of the subject.
    """

    kind: str
    place: str
    """The column with the number in time."""

    packed: str
    """The column of which `unpack` makes all that the row tells."""

    columns: ClassVar[Mapping[str, str]]
    """All columns with their PostgreSQL types, `subject_id` and the place first."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._key = {name: self.columns[name] for name in ("subject_id", self.place)}
        values = [name for name in self.columns if name not in self._key]
        self._replace = (
            f"ON CONFLICT (subject_id, {self.place}) DO UPDATE SET"
            f" {', '.join(f'{name} = EXCLUDED.{name}' for name in values)}"
        )
        self._of_code = connections.sql(
            f"SELECT {self.place}, {self.packed} FROM code_{self.kind}"  # noqa: S608
            f" WHERE subject_id = ? AND {self.place} >= ? AND {self.place} < ?"
        )
        self._remove = connections.sql(
            f"DELETE FROM organization_{self.kind}"  # noqa: S608
            f" WHERE subject_id = ? AND {self.place} = ?"
        )

    @abstractmethod
    def unpack(self, data: bytes) -> T:
        """What a row tells."""

    @abstractmethod
    def values(self, told: T) -> tuple[Any, ...]:
        """The columns behind the key."""

    @abstractmethod
    def merge(self, told: T, other: T, sign: int = 1) -> None:
        """Add `other` to `told`, or subtract it."""

    @abstractmethod
    def rest(self, told: T) -> T | None:
        """What is left of it without zeros."""

    def add(self, database: Connection, table: str, rows: Mapping[tuple[str, int], T]) -> None:
        """Add to the rows of each subject (hexadecimal); `table` is `code` or `organization`."""
        found = self._find(database, table, rows)
        for key, told in found.items():
            self.merge(told, rows[key])
        self._store(database, table, {**rows, **found})

    def subtract(
        self, database: Connection, organization_id: UUID, code_id: UUID, span: tuple[int, int]
    ) -> None:
        """Take a code's rows out of its organisation's, whose lock is held."""
        key, owner = self._connections.key(organization_id), organization_id.hex
        rows = database.execute_sql(self._of_code, (self._connections.key(code_id), *span))
        wanted = {(owner, place): self.unpack(packed) for place, packed in rows.fetchall()}
        left: dict[tuple[str, int], T] = {}
        for place, told in self._find(database, "organization", wanted).items():
            self.merge(told, wanted[place], -1)
            rest = self.rest(told)
            if rest is None:
                database.execute_sql(self._remove, (key, place[1]))
            else:
                left[place] = rest
        self._store(database, "organization", left)

    def _find(
        self, database: Connection, table: str, wanted: Mapping[tuple[str, int], T]
    ) -> dict[tuple[str, int], T]:
        rows = self._connections.pick(
            database,
            f"{table}_{self.kind}",
            f"r.subject_id, r.{self.place}, r.{self.packed}",
            self._key,
            sorted(wanted),
        )
        return {
            (to_uuid(subject).hex, place): self.unpack(packed) for subject, place, packed in rows
        }

    def _store(self, database: Connection, table: str, rows: Mapping[tuple[str, int], T]) -> None:
        # In one order everywhere, lest two nodes wait for each other's rows.
        ordered = ((*key, *self.values(told)) for key, told in sorted(rows.items()))
        name = f"{table}_{self.kind}"
        self._connections.insert_many(database, name, self.columns, ordered, self._replace)
