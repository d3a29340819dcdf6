"""Organisations, their members and their API keys."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

import falcon
from msgspec import Struct

from core.domain.accounts import (
    ApiKeyDraft,
    MemberChanges,
    OrganizationChanges,
    OrganizationDraft,
    Role,
    check_organization_slug,
)
from core.domain.accounts import Member as MemberView
from core.domain.validation import field_rules, read
from core.errors import Forbidden
from core.http.request import Request
from core.http.resources.base import (
    Answer,
    Answers,
    Bodies,
    EventNames,
    Queries,
    Resource,
    put_json,
)
from core.http.schemas import (
    ApiKeyList,
    ApiKeyView,
    MemberList,
    NewApiKeyView,
    OrganizationList,
    OrganizationView,
)

_slug_rules = field_rules(slug=check_organization_slug)


class Organizations(Resource):
    """`/api/organizations`."""

    events: ClassVar[EventNames] = {"POST": "organization.create"}
    bodies: ClassVar[Bodies] = {"POST": OrganizationDraft}
    answers: ClassVar[Answers] = {
        "GET": (Answer(OrganizationList),),
        "POST": (Answer(OrganizationView, 201, headers=("Location",)), 409),
    }

    def on_get(self, req: Request, resp: falcon.Response) -> None:
        """List the caller's organisations."""
        pairs = self.services.accounts.organizations(req.context.principal)
        put_json(resp, OrganizationList([OrganizationView.of(*pair) for pair in pairs]))

    def on_post(self, req: Request, resp: falcon.Response) -> None:
        """Found an organisation; the caller is its owner."""
        draft = read(OrganizationDraft, self.body(req), _slug_rules)
        owner = req.context.principal.user
        organization = self.services.organizations.found(draft, owner, by=self.origin(req))
        resp.location = f"{self.settings.base_url}/api/organizations/{organization.id}"
        put_json(resp, OrganizationView.of(organization, Role.OWNER), 201)


class Organization(Resource):
    """`/api/organizations/{org_id}`."""

    events: ClassVar[EventNames] = {"PATCH": "organization.change", "DELETE": "organization.delete"}
    bodies: ClassVar[Bodies] = {"PATCH": OrganizationChanges}
    answers: ClassVar[Answers] = {
        "GET": (Answer(OrganizationView),),
        "PATCH": (Answer(OrganizationView), 409),
        "DELETE": (Answer(status=204),),
    }

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Tell name and slug."""
        organization = self.services.organizations.get(org_id)
        put_json(resp, OrganizationView.of(organization, req.context.role))

    def on_patch(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Change name or slug."""
        changes = read(OrganizationChanges, self.body(req), _slug_rules)
        organization = self.services.organizations.change(org_id, changes, by=self.origin(req))
        put_json(resp, OrganizationView.of(organization, req.context.role))

    def on_delete(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """End the organisation with everything in it."""
        self.services.organizations.delete(org_id, by=self.origin(req))
        resp.status = 204


class Members(Resource):
    """`/api/organizations/{org_id}/members`."""

    answers: ClassVar[Answers] = {"GET": (Answer(MemberList),)}

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """List the members; others join by accepting an invitation."""
        put_json(resp, MemberList(self.services.organizations.members(org_id)))


class MemberRemoval(Struct, frozen=True):
    """How a member is removed."""

    keep_keys: bool = False


class Member(Resource):
    """`/api/organizations/{org_id}/members/{user_id}`."""

    queries: ClassVar[Queries] = {"DELETE": MemberRemoval}
    events: ClassVar[EventNames] = {"PATCH": "member.change", "DELETE": "member.remove"}
    bodies: ClassVar[Bodies] = {"PATCH": MemberChanges}
    answers: ClassVar[Answers] = {
        "PATCH": (Answer(MemberView), 409),
        "DELETE": (Answer(status=204), 409),
    }

    def on_patch(self, req: Request, resp: falcon.Response, org_id: UUID, user_id: UUID) -> None:
        """Give the member another role.

        The member's sessions end, but for the one that asks for this. So do API keys that he has
        made of a larger role than his new one.
        """
        changes = read(MemberChanges, self.body(req))
        member = self.services.organizations.change_role(
            org_id,
            user_id,
            changes.role,
            req.context.principal.session,
            by=self.origin(req),
        )
        put_json(resp, member)

    def on_delete(self, req: Request, resp: falcon.Response, org_id: UUID, user_id: UUID) -> None:
        """Remove the member, and the API keys that he has made, unless they are to be kept.

        The account stays.
        """
        removal: MemberRemoval = req.context.query
        self.services.organizations.remove_member(
            org_id,
            user_id,
            by=self.origin(req),
            keep_keys=removal.keep_keys,
        )
        resp.status = 204


class Membership(Resource):
    """`/api/organizations/{org_id}/membership`."""

    events: ClassVar[EventNames] = {"DELETE": "member.leave"}
    answers: ClassVar[Answers] = {"DELETE": (Answer(status=204), 409)}

    def on_delete(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Leave the organisation; the API keys that one has made there end."""
        user = req.context.principal.user
        if user is None:
            raise Forbidden("An API key cannot leave; delete it instead.")
        self.services.organizations.remove_member(org_id, user.id, by=self.origin(req))
        resp.status = 204


class ApiKeys(Resource):
    """`/api/organizations/{org_id}/api-keys`."""

    events: ClassVar[EventNames] = {"POST": "api_key.create"}
    bodies: ClassVar[Bodies] = {"POST": ApiKeyDraft}
    answers: ClassVar[Answers] = {
        "GET": (Answer(ApiKeyList),),
        "POST": (Answer(NewApiKeyView, 201),),
    }

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """List the keys, without their tokens."""
        keys = self.services.organizations.keys(org_id)
        put_json(resp, ApiKeyList([ApiKeyView.of(key) for key in keys]))

    def on_post(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Make a key and show its token, this once."""
        draft = read(ApiKeyDraft, self.body(req))
        token, key = self.services.organizations.add_key(org_id, draft, by=self.origin(req))
        resp.set_header("Cache-Control", "no-store")
        put_json(resp, NewApiKeyView(token, ApiKeyView.of(key)), 201)


class ApiKey(Resource):
    """`/api/organizations/{org_id}/api-keys/{key_id}`."""

    events: ClassVar[EventNames] = {"DELETE": "api_key.delete"}
    answers: ClassVar[Answers] = {"DELETE": (Answer(status=204),)}

    def on_delete(self, req: Request, resp: falcon.Response, org_id: UUID, key_id: UUID) -> None:
        """End the key at once."""
        self.services.organizations.delete_key(org_id, key_id, by=self.origin(req))
        resp.status = 204
