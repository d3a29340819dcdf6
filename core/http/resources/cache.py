"""What the cache does for the installation, for its operators."""

from __future__ import annotations

from typing import ClassVar

import falcon

from core.http.request import Request
from core.http.resources.base import Answer, Answers, Resource, put_json
from core.services.monitor import CacheReport


class Cache(Resource):
    """`/api/cache`."""

    answers: ClassVar[Answers] = {"GET": (Answer(CacheReport),)}

    def on_get(self, req: Request, resp: falcon.Response) -> None:
        """Tell the state of the cache, and how often each namespace was found in it."""
        put_json(resp, self.services.monitor.report())
