"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import ClassVar

import falcon

from core.errors import StorageUnavailable
from core.http.request import Request
from core.http.resources.base import Answer, Answers, Resource, put_json
from core.http.schemas import Health
from core.services.journal.drainer import status


class Live(Resource):
    """`/health/live`: 200 as long as the process answers at all."""

    answers: ClassVar[Answers] = {"GET": (Answer(Health),)}

    def on_get(self, req: Request, resp: falcon.Response) -> None:
        """Say so."""
        resp.set_header("Cache-Control", "no-store")
        put_json(resp, Health("ok", {}))


_STALLED = timedelta(seconds=30)
"""A drainer that has said nothing for so long is not running, although somebody should be; one that
has not stored a scan for so long is behind."""


class Ready(Resource):
    """`/health/ready`: 200 once requests can be served, 503 with the reason until then."""

    answers: ClassVar[Answers] = {"GET": (Answer(Health), Answer(Health, 503))}

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
        """How far the scans of this machine are stored, and what could not be recorded."""
        told = [*self._lost(), *self._behind()]
        return "; ".join(told) or "ok"

    def _lost(self) -> Iterator[str]:
        losses = self.services.journal.losses
        if losses.dropped:
            yield (
                f"{losses.dropped} not recorded since {_time(losses.since)}, the last one at "
                f"{_time(losses.last_at)}: the journal or its disk was full"
            )
        if losses.unsynced:
            yield (
                f"{losses.unsynced} times since {_time(losses.since)} the disk did not confirm "
                "that it has the journal"
            )

    def _behind(self) -> Iterator[str]:
        known = status(self.settings.journal)
        if known is None:
            return
        now = self.services.clock()
        if now - known.at > _STALLED:
            yield f"the drainer was last seen at {_time(known.at)}"
        if known.error:
            yield f"{known.backlog} bytes wait in the journal: {known.error}"
        elif known.oldest_at is not None and now - known.oldest_at > _STALLED:
            yield f"{known.backlog} bytes wait in the journal, since {_time(known.oldest_at)}"
        if known.stuck:
            yield f"of the files of the journal {known.stuck}"


def _time(moment: datetime | None) -> str:
    return "an unknown time" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"
