"""Invitations to an organisation, and how they are accepted."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

import falcon

from core.domain.accounts import Acceptance, InvitationDraft, Principal, User, check_email
from core.domain.audit import Origin
from core.domain.validation import field_rules, read
from core.http.request import Request
from core.http.resources.base import Answer, Answers, Bodies, EventNames, Resource, put_json
from core.http.resources.session import device_cookie_name
from core.http.schemas import InvitationList, InvitationView, OrganizationView

_rules = field_rules(email=check_email)


class Invitations(Resource):
    """`/api/organizations/{org_id}/invitations`."""

    events: ClassVar[EventNames] = {"POST": "invitation.create"}
    bodies: ClassVar[Bodies] = {"POST": InvitationDraft}
    answers: ClassVar[Answers] = {
        "GET": (Answer(InvitationList),),
        "POST": (Answer(InvitationView, 201), 409),
    }

    def on_get(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """List the invitations that wait to be accepted, without their links."""
        found = self.services.invitations.list(org_id)
        put_json(resp, InvitationList([InvitationView.of(invitation) for invitation in found]))

    def on_post(self, req: Request, resp: falcon.Response, org_id: UUID) -> None:
        """Invite somebody: a letter brings a link that works once.

        A second invitation to the same address takes the place of the first.
        """
        draft = read(InvitationDraft, self.body(req), _rules)
        invitation = self.services.invitations.invite(org_id, draft, by=self.origin(req))
        put_json(resp, InvitationView.of(invitation), 201)


class Invitation(Resource):
    """`/api/organizations/{org_id}/invitations/{invitation_id}`."""

    events: ClassVar[EventNames] = {"DELETE": "invitation.withdraw"}
    answers: ClassVar[Answers] = {"DELETE": (Answer(status=204),)}

    def on_delete(
        self, req: Request, resp: falcon.Response, org_id: UUID, invitation_id: UUID
    ) -> None:
        """Withdraw the invitation: its link works no longer."""
        self.services.invitations.withdraw(org_id, invitation_id, by=self.origin(req))
        resp.status = 204


class InvitationAcceptance(Resource):
    """`/api/invitations/accept`."""

    events: ClassVar[EventNames] = {"POST": "invitation.accept"}
    bodies: ClassVar[Bodies] = {"POST": Acceptance}
    answers: ClassVar[Answers] = {"POST": (Answer(OrganizationView, 201), 404, 409)}

    def on_post(self, req: Request, resp: falcon.Response) -> None:
        """Accept an invitation by the token of its link.

        An address without an account gets one, with the password that is sent. An account that
        exists joins if its password is sent, or if it is signed in and no password is sent; its
        other sessions end.
        """
        sent = read(Acceptance, self.body(req))

        def origin(user: User) -> Origin:
            # Whoever is signed in meanwhile, the one who is invited accepts.
            accepting = Principal(user=user)
            if req.context.principal.user is None:
                req.context.principal = accepting
            return self.origin(req, accepting)

        organization, role = self.services.invitations.accept(
            sent,
            req.context.principal,
            req.cookies.get(device_cookie_name(self.settings.base_url), ""),
            by=origin,
        )
        put_json(resp, OrganizationView.of(organization, role), 201)
