"""Logos: small pictures that are drawn into codes."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

import falcon
from msgspec import Struct

from core.domain.logos import LogoName, LogoType
from core.http.conditional import not_modified
from core.http.request import Request
from core.http.resources.base import (
    Answer,
    Answers,
    Bodies,
    Body,
    Queries,
    Resource,
    put_json,
)
from core.http.schemas import LogoList, LogoView

# A picture that is opened by itself is a document: it may run and load nothing.
_CONTENT_SECURITY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_FOR_EVER = "private, max-age=31536000, immutable"
_TYPES = tuple(kind.value for kind in LogoType)


class LogoQuery(Struct, frozen=True):
    """What is told of an uploaded logo beside its picture."""

    name: LogoName


class Logos(Resource):
    """`/api/organizations/{org_id}/logos`."""

    queries: ClassVar[Queries] = {"POST": LogoQuery}
    bodies: ClassVar[Bodies] = {"POST": Body(_TYPES)}
    answers: ClassVar[Answers] = {
        "GET": (Answer(LogoList),),
        "POST": (Answer(LogoView, 201, headers=("Location",)), 409),
    }

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """List the logos."""
        logos = self.services.logos.list(org_id)
        put_json(resp, LogoList([LogoView.of(logo) for logo in logos]))

    def on_post(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Take in the picture in the body, checked and written anew."""
        media_type = _media_type(req)
        limit = self.settings.images.max_logo_bytes
        data = self.picture(req, limit, "images.max_logo_bytes")
        name = req.context.query.name
        logo = self.services.logos.add(org_id, name, media_type, data, by=self.origin(req))
        resp.location = f"{self.settings.base_url}/api/organizations/{org_id}/logos/{logo.id}"
        put_json(resp, LogoView.of(logo), 201)


class Logo(Resource):
    """`/api/organizations/{org_id}/logos/{logo_id}`."""

    answers: ClassVar[Answers] = {
        "GET": (Answer(media=_TYPES, headers=("Content-Security-Policy",), tagged=True),),
        "DELETE": (Answer(status=204), 409),
    }

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID, logo_id: UUID) -> None:
        """Send the picture itself, which never changes."""
        logo = self.services.logos.get(org_id, logo_id)
        entity_tag = f'"{logo_id}"'
        resp.set_header("ETag", entity_tag)
        resp.set_header("Cache-Control", _FOR_EVER)
        resp.set_header("Content-Security-Policy", _CONTENT_SECURITY)
        if not_modified(req, entity_tag):
            resp.status = 304
            return
        resp.data = logo.data
        resp.content_type = logo.info.media_type.value

    def on_delete(self, req: Request, resp: falcon.Response, org_id: UUID, logo_id: UUID) -> None:
        """Remove the logo, unless styles have it."""
        self.services.logos.delete(org_id, logo_id, by=self.origin(req))
        resp.status = 204


def _media_type(req: Request) -> LogoType:
    try:
        return LogoType((req.content_type or "").partition(";")[0].strip().lower())
    except ValueError:
        allowed = ", ".join(_TYPES)
        raise falcon.HTTPUnsupportedMediaType(
            description=f"Send the picture itself as the body, with one of the types {allowed}.",
            headers={"Accept": allowed},
        ) from None
