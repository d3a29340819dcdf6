"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

import falcon

from core.errors import StorageUnavailable
from core.http.request import Request
from core.http.resources.base import Resource, put_json
from core.http.schemas import Health


class Live(Resource):
    """`/health/live`: 200 as long as the process answers at all."""

    def on_get(self, req: Request, resp: falcon.Response) -> None:
        """Say so."""
        resp.set_header("Cache-Control", "no-store")
        put_json(resp, Health("ok", {}))


class Ready(Resource):
    """`/health/ready`: 200 once requests can be served, 503 with the reason until then."""

    def on_get(self, req: Request, resp: falcon.Response) -> None:
        """Ask the storage, and whether its schema is the one that this version needs."""
        storage = self.services.storage
        checks = {"storage": "ok", "migrations": "ok"}
        try:
            storage.ping()
            pending = storage.pending_migrations()
            if pending:
                checks["migrations"] = f"pending: {', '.join(pending)}; run 'quietzone migrate'"
        except StorageUnavailable:
            checks = {"storage": "unavailable", "migrations": "unknown"}
        healthy = all(state == "ok" for state in checks.values())
        resp.set_header("Cache-Control", "no-store")
        put_json(resp, Health("ok" if healthy else "failing", checks), 200 if healthy else 503)
