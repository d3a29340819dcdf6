"""Style presets: looks that an organisation keeps under a name."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

import falcon

from core.http.request import Request
from core.http.resources.base import Answer, Answers, Bodies, Resource, put_json
from core.http.schemas import StyleList, StyleView
from core.services.styles import StyleChanges, StyleDraft


class Styles(Resource):
    """`/api/organizations/{org_id}/styles`."""

    bodies: ClassVar[Bodies] = {"POST": StyleDraft}
    answers: ClassVar[Answers] = {
        "GET": (Answer(StyleList),),
        "POST": (Answer(StyleView, 201, headers=("Location",)), 409),
    }

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """List the styles."""
        styles = self.services.styles.list(org_id)
        put_json(resp, StyleList([StyleView.of(style) for style in styles]))

    def on_post(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Create a style."""
        styles = self.services.styles
        style = styles.create(org_id, styles.draft(self.body(req)), by=self.origin(req))
        resp.location = f"{self.settings.base_url}/api/organizations/{org_id}/styles/{style.id}"
        put_json(resp, StyleView.of(style), 201)


class Style(Resource):
    """`/api/organizations/{org_id}/styles/{style_id}`."""

    bodies: ClassVar[Bodies] = {"PATCH": StyleChanges}
    answers: ClassVar[Answers] = {
        "GET": (Answer(StyleView),),
        "PATCH": (Answer(StyleView), 409),
        "DELETE": (Answer(status=204), 409),
    }

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID, style_id: UUID) -> None:
        """Tell everything about the style."""
        put_json(resp, StyleView.of(self.services.styles.get(org_id, style_id)))

    def on_patch(self, req: Request, resp: falcon.Response, org_id: UUID, style_id: UUID) -> None:
        """Change what is sent, leave the rest."""
        styles = self.services.styles
        changes = styles.changes(self.body(req))
        style = styles.change(org_id, style_id, changes, by=self.origin(req))
        put_json(resp, StyleView.of(style))

    def on_delete(self, req: Request, resp: falcon.Response, org_id: UUID, style_id: UUID) -> None:
        """Remove the style, unless codes have it."""
        self.services.styles.delete(org_id, style_id, by=self.origin(req))
        resp.status = 204
