"""Conditional requests (RFC 9110, section 13): whether the client's copy is still the right one."""

from __future__ import annotations

import falcon


def not_modified(req: falcon.Request, entity_tag: str) -> bool:
    """Whether `If-None-Match` names `entity_tag` (with its quotes), or is `*`.

    Tags are compared weakly, as RFC 9110 (13.1.2) asks: `W/` makes no difference.
    """
    known = req.if_none_match
    if known is None:
        return False
    opaque = entity_tag.removeprefix("W/").strip('"')
    return any(str(tag) in (opaque, "*") for tag in known)


def put_entity_tag(resp: falcon.Response, entity_tag: str) -> None:
    """Send `entity_tag`, which is quoted already."""
    resp.set_header("ETag", entity_tag)
