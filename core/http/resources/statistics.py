"""Timelines and totals of one code or of all of an organisation's codes."""

from __future__ import annotations

import csv
import io
from typing import ClassVar
from uuid import UUID

import falcon

from core.http.request import Request
from core.http.resources.base import Queries, Resource, put_json
from core.http.schemas import StatsView, TimelineQuery
from core.services.statistics import Timeline as TimelineDocument


class _Timeline(Resource):
    """Answers with a timeline, as JSON or CSV; of what, the subclasses know."""

    queries: ClassVar[Queries] = {"GET": TimelineQuery}

    def answer(self, req: Request, resp: falcon.Response, org_id: UUID, qr_id: UUID | None) -> None:
        """Send the timeline in the form that the client prefers."""
        query: TimelineQuery = req.context.query
        timeline = self.services.statistics.timeline(
            org_id, qr_id, query.period, query.timezone, query.bots
        )
        resp.append_header("Vary", "Accept")
        if req.client_prefers(("application/json", "text/csv")) == "text/csv":
            resp.text = _csv(timeline)
            resp.content_type = "text/csv; charset=utf-8"
        else:
            put_json(resp, timeline)


class Timeline(_Timeline):
    """`/api/organizations/{org_id}/qr-codes/{qr_id}/timeline`."""

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID, qr_id: UUID) -> None:
        """Send the timeline of one code."""
        self.services.codes.get(org_id, qr_id)
        self.answer(req, resp, org_id, qr_id)


class OrganizationTimeline(_Timeline):
    """`/api/organizations/{org_id}/timeline`."""

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Send the timeline of all codes together."""
        self.answer(req, resp, org_id, None)


class _Stats(Resource):
    """Answers with totals; of what, the subclasses know."""

    def answer(self, resp: falcon.Response, org_id: UUID, qr_id: UUID | None) -> None:
        """Send the totals."""
        totals = self.services.statistics.totals(org_id, qr_id)
        put_json(
            resp,
            StatsView(
                code=qr_id,
                scans=totals.scans,
                unique=totals.unique,
                bots=totals.bots,
                first_scan_at=totals.first_scan_at,
                last_scan_at=totals.last_scan_at,
                updated_at=self.services.clock(),
            ),
        )


class Stats(_Stats):
    """`/api/organizations/{org_id}/qr-codes/{qr_id}/stats`."""

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID, qr_id: UUID) -> None:
        """Send the totals of one code."""
        self.services.codes.get(org_id, qr_id)
        self.answer(resp, org_id, qr_id)


class OrganizationStats(_Stats):
    """`/api/organizations/{org_id}/stats`."""

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Send the totals of all codes together."""
        self.answer(resp, org_id, None)


def _csv(timeline: TimelineDocument) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(("start", "scans", "unique"))
    writer.writerows((p.start.isoformat(), p.scans, p.unique) for p in timeline.points)
    return lines.getvalue()
