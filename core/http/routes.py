"""The one table of routes: every address, its resource, and who may do what there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache, partial
from uuid import UUID

import falcon
from falcon.routing import BaseConverter, UUIDConverter
from msgspec import Struct

from core.domain.accounts import Role
from core.http import openapi
from core.http.request import Request
from core.http.resources import (
    audit,
    cache,
    codes,
    description,
    downloads,
    health,
    images,
    invitations,
    logos,
    organizations,
    pages,
    password,
    redirect,
    second_factor,
    session,
    statistics,
    styles,
)
from core.http.resources.base import Access, Resource, Rule
from core.http.response import Response
from core.services import Services
from core.settings import Settings

_ORGANIZATION = "/api/organizations/{org_id:uuid}"
_CODE = f"{_ORGANIZATION}/qr-codes/{{qr_id:uuid}}"


class Route(Struct, frozen=True):
    """An address (a Falcon template), its resource, and the access rule of each method."""

    path: str
    resource: type[Resource]
    access: Mapping[str, Rule]


ROUTES: tuple[Route, ...] = (
    Route(
        "/api/session",
        session.Session,
        {"POST": Access.PUBLIC, "GET": Access.SIGNED_IN, "DELETE": Access.PERSON},
    ),
    Route(
        "/api/sessions",
        session.Sessions,
        {"GET": Access.PERSON, "DELETE": Access.PERSON},
    ),
    Route("/api/sessions/{session_id:uuid}", session.OneSession, {"DELETE": Access.PERSON}),
    Route(
        "/api/second-factor",
        second_factor.SecondFactor,
        {"GET": Access.PERSON, "POST": Access.PERSON},
    ),
    Route(
        "/api/second-factor/confirm",
        second_factor.SecondFactorConfirmation,
        {"POST": Access.PERSON},
    ),
    Route("/api/second-factor/disable", second_factor.SecondFactorRemoval, {"POST": Access.PERSON}),
    Route("/api/password", password.Password, {"PUT": Access.PERSON}),
    Route("/api/password-resets", password.PasswordResets, {"POST": Access.PUBLIC}),
    Route("/api/password-resets/redeem", password.PasswordReset, {"POST": Access.PUBLIC}),
    Route("/api/invitations/accept", invitations.InvitationAcceptance, {"POST": Access.ANYBODY}),
    Route(
        "/api/organizations",
        organizations.Organizations,
        {"GET": Access.SIGNED_IN, "POST": Access.PERSON},
    ),
    Route(
        _ORGANIZATION,
        organizations.Organization,
        {"GET": Role.MEMBER, "PATCH": Role.ADMIN, "DELETE": Role.OWNER},
    ),
    Route(
        f"{_ORGANIZATION}/members",
        organizations.Members,
        {"GET": Role.ADMIN},
    ),
    Route(
        f"{_ORGANIZATION}/invitations",
        invitations.Invitations,
        {"GET": Role.ADMIN, "POST": Role.ADMIN},
    ),
    Route(
        f"{_ORGANIZATION}/invitations/{{invitation_id:uuid}}",
        invitations.Invitation,
        {"DELETE": Role.ADMIN},
    ),
    Route(
        f"{_ORGANIZATION}/members/{{user_id:uuid}}",
        organizations.Member,
        {"PATCH": Role.ADMIN, "DELETE": Role.ADMIN},
    ),
    Route(f"{_ORGANIZATION}/membership", organizations.Membership, {"DELETE": Role.MEMBER}),
    Route(
        f"{_ORGANIZATION}/api-keys",
        organizations.ApiKeys,
        {"GET": Role.ADMIN, "POST": Role.ADMIN},
    ),
    Route(
        f"{_ORGANIZATION}/api-keys/{{key_id:uuid}}",
        organizations.ApiKey,
        {"DELETE": Role.ADMIN},
    ),
    Route(
        f"{_ORGANIZATION}/qr-codes",
        codes.Codes,
        {"GET": Role.MEMBER, "POST": Role.EDITOR},
    ),
    Route(f"{_ORGANIZATION}/qr-codes/bulk", codes.BulkCodes, {"POST": Role.EDITOR}),
    Route(f"{_ORGANIZATION}/qr-codes/images.zip", downloads.Archive, {"GET": Role.MEMBER}),
    Route(
        f"{_ORGANIZATION}/qr-codes/sheet.{{sheet_format}}", downloads.Sheet, {"GET": Role.MEMBER}
    ),
    Route(
        _CODE,
        codes.Code,
        {"GET": Role.MEMBER, "PATCH": Role.EDITOR, "DELETE": Role.EDITOR},
    ),
    Route(f"{_CODE}/image", images.Image, {"GET": Role.MEMBER}),
    Route(f"{_CODE}/image-url", images.ImageAddress, {"GET": Role.MEMBER}),
    Route(f"{_ORGANIZATION}/images", images.Images, {"POST": Role.MEMBER}),
    Route(
        f"{_ORGANIZATION}/qr-business",
        images.BusinessCode,
        {"GET": Role.MEMBER, "PUT": Role.ADMIN},
    ),
    Route(f"{_ORGANIZATION}/qr-business/image", images.BusinessImage, {"GET": Role.MEMBER}),
    Route(
        f"{_ORGANIZATION}/styles",
        styles.Styles,
        {"GET": Role.MEMBER, "POST": Role.ADMIN},
    ),
    Route(
        f"{_ORGANIZATION}/styles/{{style_id:uuid}}",
        styles.Style,
        {"GET": Role.MEMBER, "PATCH": Role.ADMIN, "DELETE": Role.ADMIN},
    ),
    Route(
        f"{_ORGANIZATION}/logos",
        logos.Logos,
        {"GET": Role.MEMBER, "POST": Role.ADMIN},
    ),
    Route(
        f"{_ORGANIZATION}/logos/{{logo_id:uuid}}",
        logos.Logo,
        {"GET": Role.MEMBER, "DELETE": Role.ADMIN},
    ),
    Route(f"{_CODE}/timeline", statistics.Timeline, {"GET": Role.ANALYST}),
    Route(f"{_CODE}/stats", statistics.Stats, {"GET": Role.ANALYST}),
    Route(f"{_CODE}/scans", statistics.Scans, {"GET": Role.ANALYST}),
    Route(f"{_ORGANIZATION}/timeline", statistics.OrganizationTimeline, {"GET": Role.ANALYST}),
    Route(f"{_ORGANIZATION}/stats", statistics.OrganizationStats, {"GET": Role.ANALYST}),
    Route(f"{_ORGANIZATION}/audit", audit.AuditLog, {"GET": Role.ADMIN}),
    Route("/api/cache", cache.Cache, {"GET": Access.OPERATOR}),
    Route("/r/{slug:segment}", redirect.Redirect, {"GET": Access.PUBLIC}),
    Route("/R/{slug:segment}", redirect.Redirect, {"GET": Access.PUBLIC}),
    Route("/i/{signature:segment}/{file:segment}", images.SignedImage, {"GET": Access.PUBLIC}),
    Route("/invitations", pages.InvitationPage, {"GET": Access.PUBLIC}),
    Route("/password-resets", pages.PasswordResetPage, {"GET": Access.PUBLIC}),
    Route("/api/openapi.json", description.Description, {"GET": Access.PUBLIC}),
    Route("/health/live", health.Live, {"GET": Access.PUBLIC}),
    Route("/health/ready", health.Ready, {"GET": Access.PUBLIC}),
)

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class SegmentConverter(BaseConverter):
    """A path segment that is not empty: Falcon's plain field would match `/r/` as well."""

    def convert(self, value: str) -> str | None:
        """The segment, or None where there is none, which makes it a 404."""
        return value or None


class IdConverter(UUIDConverter):
    """A UUID, in any of the ways to write it."""

    def convert(self, value: str) -> UUID | None:
        """The UUID, or None for what is none, which makes it a 404."""
        try:
            # PERF: the same few ids come again and again, and reading one takes 1.3 µs.
            return _uuid(value) if len(value) == _USUAL_LENGTH else UUID(value)
        except ValueError:
            return None


# What raises is not remembered, nor what is long: nobody fills the memory with what is no id.
_USUAL_LENGTH = 36
_uuid = lru_cache(4096)(UUID)


def install(app: falcon.App[Request, Response], services: Services, settings: Settings) -> None:
    """Add every route to `app`.

    Refuses a responder without a rule and a rule without responder, and a responder that does not
    declare what it takes and answers.
    """
    app.router_options.converters["segment"] = SegmentConverter
    app.router_options.converters["uuid"] = IdConverter
    for route in ROUTES:
        responders = {m for m in _METHODS if hasattr(route.resource, f"on_{m.lower()}")}
        if responders != set(route.access):
            differing = ", ".join(sorted(responders ^ set(route.access)))
            raise AssertionError(f"{route.path}: rules and responders differ in {differing}")
        undeclared = _undeclared(route.resource, responders)
        if undeclared:
            raise AssertionError(f"{route.path}: not declared are {', '.join(undeclared)}")
        resource = route.resource(services, settings)
        resource.access = route.access
        if isinstance(resource, description.Description):
            resource.make = partial(openapi.document, ROUTES, services, settings)
        app.add_route(route.path, resource)
    # Falcon asks a sink where no route fits; people who mistype a short link get a page there too.
    app.add_sink(redirect.lost, prefix=r"/[rR](?:/|$)")


def _undeclared(resource: type[Resource], methods: Collection[str]) -> list[str]:
    """What the resource does not declare of its responders, or declares of others."""
    sending = {"POST", "PUT", "PATCH"}
    return [
        *(f"the answers of {method}" for method in sorted(resource.answers.keys() ^ methods)),
        *(f"the body of {m}" for m in sorted((sending & set(methods)) - resource.bodies.keys())),
    ]
