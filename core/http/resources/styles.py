"""Style presets: looks that an organisation keeps under a name."""

from __future__ import annotations

from uuid import UUID

import falcon

from core.http.request import Request
from core.http.resources.base import Resource, put_json
from core.http.schemas import StyleList, StyleView


class Styles(Resource):
    """`/api/organizations/{org_id}/styles`."""

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """List the styles."""
        styles = self.services.styles.list(org_id)
        put_json(resp, StyleList([StyleView.of(style) for style in styles]))

    def on_post(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Create a style."""
        styles = self.services.styles
        style = styles.create(org_id, styles.draft(self.body(req)))
        resp.location = f"{self.settings.base_url}/api/organizations/{org_id}/styles/{style.id}"
        put_json(resp, StyleView.of(style), 201)


class Style(Resource):
    """`/api/organizations/{org_id}/styles/{style_id}`."""

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID, style_id: UUID) -> None:
        """Tell everything about the style."""
        put_json(resp, StyleView.of(self.services.styles.get(org_id, style_id)))

    def on_patch(self, req: Request, resp: falcon.Response, org_id: UUID, style_id: UUID) -> None:
        """Change what is sent, leave the rest."""
        styles = self.services.styles
        style = styles.change(org_id, style_id, styles.changes(self.body(req)))
        put_json(resp, StyleView.of(style))

    def on_delete(self, req: Request, resp: falcon.Response, org_id: UUID, style_id: UUID) -> None:
        """Remove the style, unless codes have it."""
        self.services.styles.delete(org_id, style_id)
        resp.status = 204
