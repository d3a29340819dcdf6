"""The description of the interface, for programs: OpenAPI."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from hashlib import blake2b
from typing import Any, ClassVar

import falcon
import msgspec

from core.http.conditional import not_modified
from core.http.request import Request
from core.http.resources.base import Answer, Answers, Resource


class Description(Resource):
    """`/api/openapi.json`: made when it is first asked for, and the same until the process ends."""

    answers: ClassVar[Answers] = {"GET": (Answer(dict[str, Any], tagged=True),)}
    make: Callable[[], dict[str, Any]]
    """Makes the document; comes from the route table, which the document describes."""

    def on_get(self, req: Request, resp: falcon.Response) -> None:
        """Describe the interface as an OpenAPI document."""
        body, entity_tag = self._sent
        resp.set_header("ETag", entity_tag)
        # It is another one after an upgrade, or where the settings have changed.
        resp.set_header("Cache-Control", "no-cache")
        if not_modified(req, entity_tag):
            resp.status = 304
            return
        resp.data = body
        resp.content_type = "application/json"

    @cached_property
    def _sent(self) -> tuple[bytes, str]:
        body = msgspec.json.encode(self.make())
        return body, f'"{blake2b(body, digest_size=16).hexdigest()}"'
