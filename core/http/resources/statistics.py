"""Timelines and totals of one code or of all of an organisation's codes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from uuid import UUID

import falcon
import msgspec

from core.domain.scans import RecordedScan
from core.errors import InvalidFields
from core.http.conditional import not_modified
from core.http.negotiation import CSV, meaningless, preferred
from core.http.request import Request
from core.http.resources.base import Answer as Sent
from core.http.resources.base import Answers, Queries, Resource, put_json
from core.http.schemas import ScanList, ScansQuery, ScanView, StatsQuery, TimelineQuery
from core.services.answers import Answer
from core.services.chart import draw
from core.services.meters import Namespace
from core.services.statistics import Stats as StatsDocument
from core.services.statistics import Timeline as TimelineDocument

_CONTENT_SECURITY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = ScanView.__struct_fields__
_ONLY_IN = {"compare": ("application/json", "image/svg+xml"), "width": ("image/svg+xml",)}
"""Parameters of a timeline that not every representation of it can show."""
_CURSOR = re.compile(r"([0-9]{1,17})-([0-9]{1,18})")


class _Timeline(Resource):
    """Answers with a timeline, as JSON, CSV or a chart; of what, the subclasses know."""

    queries: ClassVar[Queries] = {"GET": TimelineQuery}
    answers: ClassVar[Answers] = {
        "GET": (Sent(TimelineDocument, media=("text/csv", "image/svg+xml"), tagged=True),)
    }

    def answer(
        self,
        req: Request,
        resp: falcon.Response,
        org_id: UUID,
        qr_id: UUID | None,
        title: Callable[[], str],
    ) -> None:
        """Send the timeline in the form that the client prefers; a chart has the title."""
        query: TimelineQuery = req.context.query
        media_type = preferred(req, resp, "application/json", "text/csv", "image/svg+xml")
        problems = meaningless(req, media_type, _ONLY_IN)
        name = title() if media_type == "image/svg+xml" else ""

        def make() -> bytes:
            try:
                timeline = self.services.statistics.timeline(
                    org_id, qr_id, query, compare=query.compare is not None
                )
            except InvalidFields as error:
                raise InvalidFields([*error.problems, *problems]) from None
            if problems:
                raise InvalidFields(problems)
            match media_type:
                case "text/csv":
                    return _csv(timeline).encode()
                case "image/svg+xml":
                    return draw(timeline, name, query.width).encode()
            return msgspec.json.encode(timeline)

        asked = self.services.statistics.as_of_now(query.selection)
        what = (media_type, tuple(problems), asked, query.compare, query.width, name)
        answer = self.services.answers.fetch(Namespace.TIMELINE, org_id, qr_id, what, make)
        if media_type == "image/svg+xml":
            resp.set_header("Content-Security-Policy", _CONTENT_SECURITY)
        _send(req, resp, answer, media_type)


class Timeline(_Timeline):
    """`/api/organizations/{org_id}/qr-codes/{qr_id}/timeline`."""

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID, qr_id: UUID) -> None:
        """Send the timeline of one code."""
        code = self.services.codes.glimpse(org_id, qr_id)
        self.answer(req, resp, org_id, qr_id, lambda: code.title or code.slug)


class OrganizationTimeline(_Timeline):
    """`/api/organizations/{org_id}/timeline`."""

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Send the timeline of all codes together."""
        self.answer(req, resp, org_id, None, lambda: self.services.organizations.get(org_id).name)


class Scans(Resource):
    """`/api/organizations/{org_id}/qr-codes/{qr_id}/scans`."""

    queries: ClassVar[Queries] = {"GET": ScansQuery}
    answers: ClassVar[Answers] = {
        "GET": (Sent(ScanList, media=("text/csv",), headers=("Content-Disposition",)),)
    }

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID, qr_id: UUID) -> None:
        """List the scans of one code, newest first: a page as JSON, or all of them as CSV."""
        query: ScansQuery = req.context.query
        before = _position(query.cursor) if query.cursor is not None else None
        code = self.services.codes.get(org_id, qr_id)
        if preferred(req, resp, "application/json", "text/csv") == "text/csv":
            problems = meaningless(req, "text/csv", {"per_page": ("application/json",)})
            if problems:
                raise InvalidFields(problems)
            resp.stream = self.while_allowed(req, self.services.exports.scans(qr_id, before))
            resp.content_type = CSV
            resp.downloadable_as = f"{code.slug}-scans.csv"
            return
        scans = self.services.statistics.latest(qr_id, before, query.per_page + 1)
        page = scans[: query.per_page]
        last = _cursor(page[-1]) if len(scans) > len(page) else None
        put_json(resp, ScanList([ScanView(*(getattr(s, n) for n in _SHOWN)) for s in page], last))


class _Stats(Resource):
    """Answers with numbers; of what, the subclasses know."""

    queries: ClassVar[Queries] = {"GET": StatsQuery}
    answers: ClassVar[Answers] = {"GET": (Sent(StatsDocument, tagged=True),)}

    def answer(self, req: Request, resp: falcon.Response, org_id: UUID, qr_id: UUID | None) -> None:
        """Send the numbers."""
        selection = req.context.query.selection

        def make() -> bytes:
            return msgspec.json.encode(self.services.statistics.stats(org_id, qr_id, selection))

        what = (self.services.statistics.as_of_now(selection),)
        answer = self.services.answers.fetch(Namespace.STATS, org_id, qr_id, what, make)
        _send(req, resp, answer, "application/json")


class Stats(_Stats):
    """`/api/organizations/{org_id}/qr-codes/{qr_id}/stats`."""

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID, qr_id: UUID) -> None:
        """Send the totals of one code."""
        self.services.codes.glimpse(org_id, qr_id)
        self.answer(req, resp, org_id, qr_id)


class OrganizationStats(_Stats):
    """`/api/organizations/{org_id}/stats`."""

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Send the totals of all codes together."""
        self.answer(req, resp, org_id, None)


def _send(req: Request, resp: falcon.Response, answer: Answer, media_type: str) -> None:
    """Send a document, or 304 where the client has it."""
    resp.set_header("ETag", answer.entity_tag)
    if not_modified(req, answer.entity_tag):
        resp.status = 304
        return
    resp.data = answer.body
    resp.content_type = CSV if media_type == "text/csv" else media_type


def _cursor(scan: RecordedScan) -> str:
    return f"{(scan.at - _EPOCH) // timedelta(microseconds=1)}-{scan.id}"


def _position(cursor: str) -> tuple[datetime, int]:
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise InvalidFields.of("cursor", f"{cursor!r} is none; take it from `next` of a page")
    return _EPOCH + timedelta(microseconds=int(match[1])), int(match[2])


def _csv(timeline: TimelineDocument) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(("start", "scans", "unique"))
    writer.writerows((p.start.isoformat(), p.scans, p.unique) for p in timeline.points)
    return lines.getvalue()
