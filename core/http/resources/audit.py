"""The audit log of an organisation: who changed what, when and from where."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

import falcon

from core.errors import InvalidFields
from core.http.negotiation import CSV, meaningless, preferred
from core.http.request import Request
from core.http.resources.base import Answer, Answers, Queries, Resource, put_json
from core.http.schemas import AuditEntryList, AuditEntryView, AuditQuery


class AuditLog(Resource):
    """`/api/organizations/{org_id}/audit`."""

    queries: ClassVar[Queries] = {"GET": AuditQuery}
    answers: ClassVar[Answers] = {
        "GET": (Answer(AuditEntryList, media=("text/csv",), headers=("Content-Disposition",)),)
    }

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """List what was changed, newest first: a page as JSON, or all of it as CSV."""
        query: AuditQuery = req.context.query
        matching = self.services.audit.matching(query, query.cursor)
        if preferred(req, resp, "application/json", "text/csv") == "text/csv":
            problems = meaningless(req, "text/csv", {"per_page": ("application/json",)})
            if problems:
                raise InvalidFields(problems)
            organization = self.services.organizations.get(org_id)
            resp.stream = self.while_allowed(req, self.services.exports.audit(org_id, matching))
            resp.content_type = CSV
            resp.downloadable_as = f"{organization.slug}-audit.csv"
            return
        entries = self.services.audit.entries(org_id, matching, query.per_page + 1)
        page = entries[: query.per_page]
        last = page[-1].id if len(entries) > len(page) else None
        put_json(resp, AuditEntryList([AuditEntryView.of(entry) for entry in page], last))
