"""Codes: one, a page of them, or many at once."""

from __future__ import annotations

from typing import Annotated, ClassVar
from uuid import UUID

import falcon
from msgspec import Meta

from core.domain.codes import CodeChanges, CodeDraft, CodeQuery
from core.errors import InvalidFields
from core.http.request import Request
from core.http.resources.base import (
    Answer,
    Answers,
    Bodies,
    Headers,
    Policies,
    Queries,
    Resource,
    put_json,
)
from core.http.schemas import CodeList, CodesCreated, CodesDraft, CodeView
from core.services.limits import Policy


class Codes(Resource):
    """`/api/organizations/{org_id}/qr-codes`."""

    queries: ClassVar[Queries] = {"GET": CodeQuery}
    bodies: ClassVar[Bodies] = {"POST": CodeDraft}
    answers: ClassVar[Answers] = {
        "GET": (Answer(CodeList),),
        "POST": (Answer(CodeView, 201, headers=("Location",)), 409),
    }

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """List a page of codes."""
        codes = self.services.codes
        put_json(resp, CodeList.of(codes.list(org_id, req.context.query), codes))

    def on_post(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Create a code."""
        codes = self.services.codes
        code = codes.create(org_id, codes.draft(self.body(req)), by=self.origin(req))
        resp.location = f"{self.settings.base_url}/api/organizations/{org_id}/qr-codes/{code.id}"
        put_json(resp, CodeView.of(code, codes), 201)


class BulkCodes(Resource):
    """`/api/organizations/{org_id}/qr-codes/bulk`."""

    policies: ClassVar[Policies] = {"POST": Policy.BULK}
    bodies: ClassVar[Bodies] = {"POST": CodesDraft}
    answers: ClassVar[Answers] = {"POST": (Answer(CodesCreated, 201), 409)}
    headers: ClassVar[Headers] = {
        "POST": {
            "Idempotency-Key": Annotated[
                str,
                Meta(
                    description="Within a day, the same codes under the same key are created once.",
                    min_length=1,
                    max_length=255,
                    extra_json_schema={"pattern": "^[!-~]+$"},
                ),
            ]
        }
    }

    def on_post(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Create many codes, all or none; an Idempotency-Key makes a repetition harmless."""
        codes = self.services.codes
        key = _idempotency_key(req)
        drafts = codes.drafts(self.body(req))
        created = codes.create_many(org_id, drafts, key, by=self.origin(req))
        put_json(resp, CodesCreated([CodeView.of(code, codes) for code in created]), 201)


class Code(Resource):
    """`/api/organizations/{org_id}/qr-codes/{qr_id}`."""

    bodies: ClassVar[Bodies] = {"PATCH": CodeChanges}
    answers: ClassVar[Answers] = {
        "GET": (Answer(CodeView),),
        "PATCH": (Answer(CodeView), 409),
        "DELETE": (Answer(status=204),),
    }

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID, qr_id: UUID) -> None:
        """Tell everything about the code."""
        codes = self.services.codes
        put_json(resp, CodeView.of(codes.get(org_id, qr_id), codes))

    def on_patch(self, req: Request, resp: falcon.Response, org_id: UUID, qr_id: UUID) -> None:
        """Change what is sent, leave the rest."""
        codes = self.services.codes
        code = codes.change(org_id, qr_id, codes.changes(self.body(req)), by=self.origin(req))
        put_json(resp, CodeView.of(code, codes))

    def on_delete(self, req: Request, resp: falcon.Response, org_id: UUID, qr_id: UUID) -> None:
        """Remove the code and its scans."""
        self.services.codes.delete(org_id, qr_id, by=self.origin(req))
        resp.status = 204


def _idempotency_key(req: Request) -> str | None:
    key = req.get_header("Idempotency-Key")
    if key is None:
        return None
    # A structured-field string comes in quotes (RFC 9651); many clients leave them out.
    key = key.strip().removeprefix('"').removesuffix('"')
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise InvalidFields.of("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
    return key
