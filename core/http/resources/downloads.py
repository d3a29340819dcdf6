"""Downloads of many codes at once: an archive of images, and sheets of labels."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

import falcon

from core.domain.images import ImageOptions
from core.domain.sheets import SheetOptions, sheet_of
from core.http.request import Request
from core.http.resources.base import Answer, Answers, Policies, Queries, Resource
from core.http.schemas import ArchiveQuery, SheetQuery
from core.services.limits import Policy


class Archive(Resource):
    """`/api/organizations/{org_id}/qr-codes/images.zip`."""

    policies: ClassVar[Policies] = {"GET": Policy.BULK}
    queries: ClassVar[Queries] = {"GET": ArchiveQuery}
    answers: ClassVar[Answers] = {
        "GET": (Answer(media=("application/zip",), headers=("Content-Disposition",)),)
    }

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Send the images of the organisation's codes, as they are drawn."""
        query: ArchiveQuery = req.context.query
        resp.content_type = "application/zip"
        resp.downloadable_as = "qr-codes.zip"
        pieces = self.services.archives.stream(org_id, query, query.tag)
        resp.stream = self.while_allowed(req, pieces)


class Sheet(Resource):
    """`/api/organizations/{org_id}/qr-codes/sheet.{sheet_format}`."""

    policies: ClassVar[Policies] = {"GET": Policy.BULK}
    queries: ClassVar[Queries] = {"GET": SheetQuery}
    answers: ClassVar[Answers] = {
        "GET": (
            Answer(
                media=lambda services: services.sheets.formats.values(),
                headers=("Content-Disposition",),
            ),
        )
    }

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID, sheet_format: str) -> None:
        """Send the organisation's codes as labels to print."""
        query: SheetQuery = req.context.query
        sheets = self.services.sheets
        printer = sheets.printer(sheet_format)
        own = {name: getattr(query, name) for name in SheetOptions.__struct_fields__}
        sheet = sheet_of(SheetOptions(**own))
        options = ImageOptions(
            error_correction=query.error_correction, margin=query.margin, style=query.style
        )
        resp.data = sheets.print(
            printer, org_id, sheet, options, (query.code, query.tag), query.copies
        )
        resp.content_type = printer.media_type
        resp.downloadable_as = f"qr-codes.{printer.extension}"
