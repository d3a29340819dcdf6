"""Invitations: how people join an organisation, by a link that works once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from msgspec import UNSET

from core.domain.accounts import (
    Acceptance,
    Invitation,
    InvitationDraft,
    Organization,
    Principal,
    Role,
    User,
    normalize_email,
)
from core.domain.audit import Action, Origin
from core.domain.letters import Letter
from core.errors import Conflict, Forbidden, NotFound, Unauthenticated
from core.ports import Storage
from core.services.accounts import Accounts, no_link
from core.services.audit import Audit
from core.services.devices import spelled
from core.services.limits import Limits, Policy
from core.services.links import letter, link, one_line
from core.services.organizations import OrganizationService, may_grant
from core.services.outbox import Outbox
from core.services.tokens import new_token, token_hash
from core.settings import Settings

PAGE = "invitations"


class Invitations:
    """Invites, withdraws, and lets people in; whether there is an account is told to nobody."""

    def __init__(
        self,
        storage: Storage,
        accounts: Accounts,
        organizations: OrganizationService,
        audit: Audit,
        outbox: Outbox,
        limits: Limits,
        settings: Settings,
        clock: Callable[[], datetime],
        token_bytes: Callable[[int], bytes],
    ) -> None:
        self._storage = storage
        self._accounts = accounts
        self._organizations = organizations
        self._audit = audit
        self._outbox = outbox
        self._limits = limits
        self._base = settings.link_base
        self._lifetime = timedelta(seconds=settings.accounts.invitation_lifetime)
        self._most = settings.accounts.max_invitations
        self._clock = clock
        self._token_bytes = token_bytes

    def invite(self, organization_id: UUID, draft: InvitationDraft, *, by: Origin) -> Invitation:
        """Invite an address; an older invitation to it holds no longer.

        Raises Forbidden for a role above one's own, Conflict for a member and where too many wait
        already, and TooMany where too many letters were sent to the address lately.
        """
        if by.actor.id is not None:
            self._limits.take(Policy.LETTERS_SENDER, by.actor.id.int)
        self._limits.take(Policy.LETTERS, f"invitation:{spelled(draft.email)}")
        organization = self._organizations.get(organization_id)
        now, token = self._clock(), new_token(self._token_bytes)
        with self._storage.transaction():
            granter = self._organizations.role_of(organization_id, by)
            may_grant(granter, draft.role)
            invitation = Invitation(
                id=uuid4(),
                organization_id=organization_id,
                email=normalize_email(draft.email),
                role=draft.role,
                invited_by=self._organizations.maker(by),
                token_hash=token_hash(token),
                created_at=now,
                expires_at=now + self._lifetime,
            )
            self._storage.invitations.delete_expired(now)
            members = self._storage.memberships.members(organization_id)
            if any(member.email == invitation.email for member in members):
                raise Conflict(f"{invitation.email} is a member already; change the role instead.")
            waiting = self._storage.invitations.of_organization(organization_id)
            others = [other for other in waiting if other.email != invitation.email]
            if len(others) >= self._most:
                raise Conflict(
                    f"As many invitations wait to be accepted as may, {self._most} (setting "
                    "accounts.max_invitations); withdraw one first."
                )
            for older in waiting:
                if older.email == invitation.email:
                    _may_withdraw(granter, older)
            self._storage.invitations.put(invitation)
            self._audit.record_invitation(by, Action.INVITATION_CREATE, invitation)
        written = self._letter(organization, invitation, token)
        self._outbox.put(lambda: written)
        return invitation

    def list(self, organization_id: UUID) -> Sequence[Invitation]:
        """Those that still wait to be accepted, oldest first."""
        now = self._clock()
        found = self._storage.invitations.of_organization(organization_id)
        return [invitation for invitation in found if invitation.expires_at > now]

    def withdraw(self, organization_id: UUID, invitation_id: UUID, *, by: Origin) -> None:
        """End an invitation at once; raises NotFound, or Forbidden for a larger role's."""
        with self._storage.transaction():
            remover = self._organizations.role_of(organization_id, by)
            for invitation in self.list(organization_id):
                if invitation.id == invitation_id:
                    _may_withdraw(remover, invitation)
                    if self._storage.invitations.delete(organization_id, invitation.token_hash):
                        self._audit.record_invitation(by, Action.INVITATION_WITHDRAW, invitation)
                        return
        raise NotFound("There is no such invitation.")

    def accept(
        self,
        sent: Acceptance,
        principal: Principal,
        device: str = "",
        *,
        by: Callable[[User], Origin],
    ) -> tuple[Organization, Role]:
        """Make the one who is invited a member; `by` tells where that comes from, once he is known.

        `device` is the token of the browser, if it has one. The person's other sessions end, as
        they do with every new role.
        Whoever has the link may make the account of that address, if there is none. One that
        exists is joined only by him whose it is: by its password, or by being signed in.

        Raises NotFound for a link that does not hold, Unauthenticated for a wrong password,
        InvalidFields for a new one that cannot be taken, Forbidden for another account, and
        Conflict for a member.
        """
        invitation = self._storage.invitations.by_hash(token_hash(sent.token.reveal()))
        if invitation is None or invitation.expires_at <= self._clock():
            raise no_link()
        if sent.password is UNSET:
            user = _signed_in(invitation, principal)
            with self._storage.transaction():
                self._join(invitation, user, by(user))
                ended = self._accounts.delete_sessions(user.id, _own(principal, user))
        elif self._accounts.find(invitation.email) is not None:
            with self._accounts.proven(
                invitation.email, sent.password, sent.code, device=device
            ) as user:
                self._join(invitation, user, by(user))
                ended = self._accounts.delete_sessions(user.id, _own(principal, user))
        else:
            user = self._accounts.new_user(invitation.email, sent.password.reveal(), sent.name)
            with self._storage.transaction():
                self._join(invitation, user, by(user), is_new=True)
            ended = ()
        self._accounts.recent.sessions.forget(*ended)
        return self._organizations.get(invitation.organization_id), invitation.role

    def _join(
        self, invitation: Invitation, user: User, by: Origin, *, is_new: bool = False
    ) -> None:
        organization_id = invitation.organization_id
        # Of several who use the link at a time, one may.
        if not self._storage.invitations.delete(organization_id, invitation.token_hash):
            raise no_link()
        if is_new:
            self._storage.users.add(user)
        self._organizations.add_membership(organization_id, user, invitation.role, by=by)

    def _letter(self, organization: Organization, invitation: Invitation, token: str) -> Letter:
        name = one_line(organization.name)
        return letter(
            invitation.email,
            f"Invitation to {name}",
            f"You are invited to join {name} as {invitation.role}. To accept, open this link:",
            link(self._base, PAGE, token),
            invitation.expires_at,
        )


def _signed_in(invitation: Invitation, principal: Principal) -> User:
    """Who accepts without a password; raises Unauthenticated or Forbidden."""
    if principal.user is None:
        raise Unauthenticated(
            "Send the password of the invited address, or a new one if it has no account here; or "
            "sign in first."
        )
    if principal.user.email != invitation.email:
        raise Forbidden(
            "The invitation is for another address than the one that is signed in here; send the "
            "password of that one."
        )
    return principal.user


def _own(principal: Principal, user: User) -> bytes | None:
    """The session that accepts, where it is the person's own."""
    session = principal.session
    return session.token_hash if session is not None and session.user_id == user.id else None


def _may_withdraw(role: Role, invitation: Invitation) -> None:
    if not role.includes(invitation.role):
        raise Forbidden(
            f"The role {role} may not withdraw an invitation for the role {invitation.role}."
        )
