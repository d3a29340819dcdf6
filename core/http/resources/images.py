"""Images of codes and of the business code."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

import falcon

from core.domain.images import ImageOptions
from core.domain.validation import read
from core.http.conditional import not_modified
from core.http.request import Request
from core.http.resources.base import Queries, Resource, put_json
from core.http.schemas import BusinessCode as BusinessCodeDocument


class _Image(Resource):
    """Answers with an image; what it encodes, the subclasses know."""

    queries: ClassVar[Queries] = {"GET": ImageOptions}

    def answer(self, req: Request, resp: falcon.Response, content: str, file_name: str) -> None:
        """Send the image of `content`, or 304 where the client has it."""
        images = self.services.images
        options: ImageOptions = req.context.query
        images.check(options)
        entity_tag = images.entity_tag(content, options)
        resp.set_header("ETag", entity_tag)
        if not_modified(req, entity_tag):
            resp.status = 304
            return
        picture = images.picture(content, options)
        resp.data = picture.data
        resp.content_type = picture.media_type
        if options.download:
            resp.downloadable_as = f"{file_name}.{options.format}"


class Image(_Image):
    """`/api/organizations/{org_id}/qr-codes/{qr_id}/image`."""

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID, qr_id: UUID) -> None:
        """Send the image of the code's short link."""
        codes = self.services.codes
        code = codes.get(org_id, qr_id)
        self.answer(req, resp, codes.short_url(code), code.slug)


class BusinessImage(_Image):
    """`/api/organizations/{org_id}/qr-business/image`."""

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Send the image of the business code."""
        content = self.services.organizations.business_content(org_id)
        self.answer(req, resp, content, "business")


class BusinessCode(Resource):
    """`/api/organizations/{org_id}/qr-business`."""

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Tell what the business code encodes."""
        content = self.services.organizations.business_content(org_id)
        put_json(resp, BusinessCodeDocument(content))

    def on_put(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Set what the business code encodes."""
        document = read(BusinessCodeDocument, self.body(req))
        self.services.images.check_content(document.content)
        self.services.organizations.set_business_content(org_id, document.content)
        put_json(resp, document)
