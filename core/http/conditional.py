"""Conditional requests (RFC 9110, section 13): whether the client's copy is still the right one."""

from __future__ import annotations

import falcon


def not_modified(req: falcon.Request, entity_tag: str) -> bool:
    """Whether `If-None-Match` names `entity_tag` (with its quotes), or is `*`.

    Tags are compared weakly, as RFC 9110 (13.1.2) asks: `W/` makes no difference.
    """
    if names_any(req):
        return True
    if req.get_header("If-None-Match") is None:
        return False
    opaque = entity_tag.strip('"')
    return any(str(tag) == opaque for tag in req.if_none_match or ())


def names_any(req: falcon.Request) -> bool:
    """Whether `If-None-Match` is `*`, which any representation fulfils that there is."""
    header = req.get_header("If-None-Match")
    return header is not None and header.strip() == "*"
