"""The request as resources see it: Falcon's, with a typed context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon

from core.domain.accounts import Principal, Role


class Context(falcon.Context):
    """What the middleware found out before a resource is called.

    `query` holds the query parameters as the type that the resource names; `role` is the
    principal's role in the organisation of the address, where the address has one. `renew` looks
    both up again, and raises where the caller may not do this any more; None for public routes.
    """

    request_id: str
    started: float
    principal: Principal
    role: Role
    query: Any
    renew: Callable[[Request], None] | None = None


class Request(falcon.Request):
    """A request whose `context` is ours."""

    context_type = Context
    context: Context
