"""Exports: all scans of a code as one CSV file (RFC 4180), however many there are.

It never exists as a whole: a page at a time is fetched, written and handed on.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from core.domain.scans import RecordedScan
from core.ports import ScanStore
from core.services.offload import Offload, call_inline
from core.services.spreadsheets import cell

PAGE = 500
"""Scans that one trip to the scan store fetches: few, since nothing else is answered meanwhile."""

COLUMNS = tuple(name for name in RecordedScan.__struct_fields__ if name != "id")
"""The columns of the file, named as in the JSON list of scans."""

_Position = tuple[datetime, int]
"""Time and id of a scan, after which to go on."""

_TRUTH = ("false", "true")


class Exports:
    """Exports of scans; whoever calls has looked whether the code may be seen."""

    def __init__(self, store: ScanStore) -> None:
        self._store = store
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
        # Fetched at once, so that a database that is away is told by the status of the answer.
        piece, position = self._page(code_id, before)
        return self._pieces(code_id, _written([COLUMNS]) + piece, position)

    def _pieces(self, code_id: UUID, piece: bytes, position: _Position | None) -> Iterator[bytes]:
        yield piece
        while position is not None:
            piece, position = self._page(code_id, position)
            if piece:
                yield piece

    def _page(self, code_id: UUID, before: _Position | None) -> tuple[bytes, _Position | None]:
        """A page, and where the next one begins: None where this is the last one."""
        # Exports take turns, so that they never take all threads from the images that people see.
        with self._fetching:
            # NOTE: connections and their locks belong to greenlets; a thread has no use of them.
            scans = self._store.latest(code_id, before, PAGE)
            piece = self._offload(_page_of, scans)
        position = (scans[-1].at, scans[-1].id) if len(scans) == PAGE else None
        return piece, position


def _page_of(scans: Sequence[RecordedScan]) -> bytes:
    return _written([_row(scan) for scan in scans])


def _row(scan: RecordedScan) -> tuple[str, ...]:
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


def _written(rows: Sequence[Sequence[str]]) -> bytes:
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows(rows)
    return lines.getvalue().encode()
