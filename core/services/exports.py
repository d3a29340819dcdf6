"""Exports: all scans of a code, or a whole audit log, as one CSV file (RFC 4180).

It never exists as a whole, however long it is: a page at a time is fetched, written and handed on.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.domain.audit import AuditEntry, AuditFilter
from core.domain.scans import RecordedScan
from core.ports import ScanStore
from core.services.audit import Audit
from core.services.offload import Offload, call_inline
from core.services.spreadsheets import cell

PAGE = 500
"""Rows that one trip to the database fetches: few, since nothing else is answered meanwhile."""

COLUMNS = tuple(name for name in RecordedScan.__struct_fields__ if name != "id")
"""The columns of a file of scans, named as in the JSON list of scans."""

AUDIT_COLUMNS = (
    *("id", "at", "actor_kind", "actor_id", "actor_name", "action"),
    *("subject_kind", "subject_id", "subject_label", "changes", "address", "request_id"),
)
"""The columns of an audit log, named as in its JSON; `changes` is the JSON itself."""

_Item = TypeVar("_Item")

_Position = tuple[datetime, int]
"""Time and id of a scan, after which to go on."""

_TRUTH = ("false", "true")


class _Table(Struct, Generic[_Item], frozen=True):
    """What is exported: `fetch` gives the page that follows an item, or the first one."""

    columns: Sequence[str]
    fetch: Callable[[_Item | None], Sequence[_Item]]
    row: Callable[[_Item], Sequence[str]]


class Exports:
    """Exports; whoever calls has looked whether they may be seen."""

    def __init__(self, store: ScanStore, audit: Audit) -> None:
        self._store = store
        self._audit = audit
        self._offload: Offload = call_inline
        self._fetching = threading.Lock()

    def open(self, offload: Offload) -> None:
        """Get ready: `offload` writes from now on, and lets others be answered meanwhile."""
        self._offload = offload

    def scans(self, code_id: UUID, before: _Position | None = None) -> Iterator[bytes]:
        """The scans of a code, newest first, or those that precede a certain one, piece by piece.

        No scan that was stored when the export began is left out or comes twice; those that are
        stored meanwhile may be among them where they come late. Raises StorageUnavailable, before
        the first piece too. Nothing is held between two pieces, and whoever wants no more just
        stops.
        """

        def fetch(last: RecordedScan | None) -> Sequence[RecordedScan]:
            position = before if last is None else (last.at, last.id)
            return self._store.latest(code_id, position, PAGE)

        return self._export(_Table(COLUMNS, fetch, _row_of_scan))

    def audit(self, organization_id: UUID, matching: AuditFilter) -> Iterator[bytes]:
        """The entries of an organisation's audit log, newest first; as `scans` otherwise."""

        def fetch(last: AuditEntry | None) -> Sequence[AuditEntry]:
            rest = matching if last is None else replace(matching, before=last.id)
            return self._audit.entries(organization_id, rest, PAGE)

        return self._export(_Table(AUDIT_COLUMNS, fetch, _row_of_entry))

    def _export(self, table: _Table[_Item]) -> Iterator[bytes]:
        # Fetched at once, so that a database that is away is told by the status of the answer.
        page = self._page(table, None)
        return self._pieces(table, _written([table.columns]), page)

    def _pieces(
        self, table: _Table[_Item], head: bytes, page: tuple[bytes, _Item | None]
    ) -> Iterator[bytes]:
        yield head + page[0]
        last = page[1]
        while last is not None:
            following = self._page(table, last)
            if following[0]:
                yield following[0]
            last = following[1]

    def _page(self, table: _Table[_Item], last: _Item | None) -> tuple[bytes, _Item | None]:
        """A page, and the item that the next one follows: None where this is the last one."""
        # Exports take turns, so that they never take all threads from the images that people see.
        with self._fetching:
            # NOTE: connections and their locks belong to greenlets; a thread has no use of them.
            items = table.fetch(last)
            piece = self._offload(_page_of, table.row, items)
        return piece, items[-1] if len(items) == PAGE else None


def _page_of(row: Callable[[_Item], Sequence[str]], items: Sequence[_Item]) -> bytes:
    return _written([row(item) for item in items])


def _row_of_scan(scan: RecordedScan) -> tuple[str, ...]:
    return (
        # Always with microseconds: readers that guess the format from one line fail at the others.
        scan.at.isoformat(timespec="microseconds"),
        _TRUTH[scan.bot],
        _TRUTH[scan.unique],
        cell(scan.country),
        cell(scan.device),
        cell(scan.os),
        cell(scan.browser),
        cell(scan.language),
        cell(scan.referrer),
    )


def _row_of_entry(entry: AuditEntry) -> tuple[str, ...]:
    actor, subject = entry.actor, entry.subject
    return (
        str(entry.id),
        entry.at.isoformat(timespec="microseconds"),
        actor.kind.value,
        "" if actor.id is None else str(actor.id),
        cell(actor.name),
        entry.action.value,
        subject.kind.value,
        "" if subject.id is None else str(subject.id),
        cell(subject.label),
        msgspec.json.encode(entry.changes).decode(),
        cell(entry.address),
        cell(entry.request_id),
    )


def _written(rows: Sequence[Sequence[str]]) -> bytes:
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows(rows)
    return lines.getvalue().encode()
