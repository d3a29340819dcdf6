"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

from datetime import timedelta

import falcon

from core.errors import StorageUnavailable
from core.http.request import Request
from core.http.resources.base import Resource, put_json
from core.http.schemas import Health
from core.services.journal.drainer import status


class Live(Resource):
    """`/health/live`: 200 as long as the process answers at all."""

    def on_get(self, req: Request, resp: falcon.Response) -> None:
        """Say so."""
        resp.set_header("Cache-Control", "no-store")
        put_json(resp, Health("ok", {}))


_STALLED = timedelta(seconds=30)
"""A drainer that has said nothing for so long is not running, although somebody should be."""


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
        # Told, and no failure: redirects go on, and a proxy must not turn scans away for it.
        checks["scans"] = self._scans()
        resp.set_header("Cache-Control", "no-store")
        put_json(resp, Health("ok" if healthy else "failing", checks), 200 if healthy else 503)

    def _scans(self) -> str:
        """How far the scans of this machine are stored."""
        if self.services.journal.dropped:
            return f"{self.services.journal.dropped} not recorded: the journal or its disk is full"
        known = status(self.settings.journal)
        if known is None:
            return "ok"
        if known.error:
            return f"{known.backlog} bytes wait in the journal: {known.error}"
        if self.services.clock() - known.at > _STALLED:
            return f"the drainer was last seen at {known.at:%Y-%m-%d %H:%M:%S} UTC"
        return "ok"
