"""Which representation is sent (RFC 9110, section 12): the one that `Accept` prefers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import falcon

from core.errors import FieldProblem
from core.http.request import Request

CSV = "text/csv; charset=utf-8"
"""The Content-Type of what is sent as text/csv."""


def preferred(req: Request, resp: falcon.Response, *types: str) -> str:
    """The type that the client prefers; caches are told that the answer depends on it."""
    resp.append_header("Vary", "Accept")
    # Names of media types know no case (RFC 9110, 8.3.1), which Falcon does not mind.
    try:
        return falcon.mediatypes.best_match(types, req.accept.lower()) or types[0]
    except ValueError:
        # The header says nothing that can be understood.
        return types[0]


def meaningless(
    req: Request, media_type: str, only_in: Mapping[str, Sequence[str]]
) -> list[FieldProblem]:
    """A problem for each parameter that was sent and means nothing to this representation."""
    return [
        FieldProblem(
            name, f"means nothing to {media_type}; leave it out, or accept {' or '.join(types)}"
        )
        for name, types in only_in.items()
        if name in req.params and media_type not in types
    ]
