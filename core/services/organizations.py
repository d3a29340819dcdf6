"""Organisations, their members, keys and business code, and who may grant what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from core.domain.accounts import (
    ApiKey,
    ApiKeyDraft,
    Member,
    Membership,
    Organization,
    OrganizationChanges,
    OrganizationDraft,
    Role,
    Session,
    User,
    organization_slug,
)
from core.domain.audit import (
    Action,
    ActorKind,
    Change,
    Changes,
    Origin,
    Subject,
    SubjectKind,
    differences,
)
from core.domain.codes import BusinessCode
from core.errors import (
    Conflict,
    FieldProblem,
    Forbidden,
    InvalidFields,
    NotFound,
    Unauthenticated,
)
from core.ports import Storage
from core.services.accounts import Accounts
from core.services.audit import Audit
from core.services.lookups import Lookups
from core.settings import AccountsSettings

_SLUG_TRIES = 50
_HIDDEN = "(hidden)"


class OrganizationService:
    """Founds, changes and ends organisations, and keeps their members and keys."""

    def __init__(
        self,
        storage: Storage,
        audit: Audit,
        accounts: Accounts,
        lookups: Lookups,
        settings: AccountsSettings,
        clock: Callable[[], datetime],
    ) -> None:
        self._storage = storage
        self._audit = audit
        self._accounts = accounts
        self._lookups = lookups
        self._most = settings.max_organizations
        self._clock = clock

    def found(self, draft: OrganizationDraft, owner: User | None, *, by: Origin) -> Organization:
        """Create an organisation whose first owner is `owner`.

        Raises Conflict for a taken slug, and Forbidden where he owns as many as he may.
        """
        for attempt in range(_SLUG_TRIES):
            slug = draft.slug or self._free_slug(draft.name)
            organization = Organization(uuid4(), draft.name, slug, self._clock())
            try:
                with self._storage.transaction():
                    self._storage.organizations.add(organization)
                    made = differences(None, _told(organization))
                    self._record(by, Action.ORGANIZATION_CREATE, organization, made)
                    if owner is not None:
                        self.add_membership(organization.id, owner, Role.OWNER, by=by)
            except Conflict:
                # Somebody else may have taken the slug that was free a moment ago.
                if draft.slug or attempt == _SLUG_TRIES - 1:
                    raise
            else:
                return organization
        raise AssertionError("the loop above returns or raises")

    def get(self, organization_id: UUID) -> Organization:
        """The organisation; raises NotFound."""
        organization = self._storage.organizations.get(organization_id)
        if organization is None:
            raise NotFound("There is no such organization.")
        return organization

    def change(
        self, organization_id: UUID, changes: OrganizationChanges, *, by: Origin
    ) -> Organization:
        """Change name or slug; raises Conflict for a taken slug."""
        with self._storage.transaction():
            organization = before = self.get(organization_id)
            if changes.name is not UNSET:
                organization = replace(organization, name=changes.name)
            if changes.slug is not UNSET:
                organization = replace(organization, slug=changes.slug)
            self._storage.organizations.update(organization)
            differing = differences(_told(before), _told(organization))
            self._record(by, Action.ORGANIZATION_CHANGE, before, differing)
        return organization

    def delete(self, organization_id: UUID, *, by: Origin) -> None:
        """End the organisation, with its codes, scans, keys and memberships; raises NotFound.

        Its audit log stays for the operators of the installation.
        """
        organization = self.get(organization_id)
        with self._storage.transaction():
            self._storage.organizations.delete(organization_id)
            ended = differences(_told(organization), None)
            self._record(by, Action.ORGANIZATION_DELETE, organization, ended)
        self._lookups.clear()
        self._accounts.recent.keys.clear()
        self._accounts.recent.roles.clear()

    def members(self, organization_id: UUID) -> Sequence[Member]:
        """Everybody in the organisation."""
        return self._storage.memberships.members(organization_id)

    def member(self, organization_id: UUID, user_id: UUID) -> Member:
        """One member; raises NotFound."""
        for member in self.members(organization_id):
            if member.user_id == user_id:
                return member
        raise NotFound("There is no such member.")

    def add_membership(self, organization_id: UUID, user: User, role: Role, *, by: Origin) -> None:
        """Make the user a member; raises Conflict where he is one.

        Raises Forbidden where he would own more organisations than one may.
        """
        membership = Membership(organization_id, user.id, role, self._clock())
        with self._storage.transaction():
            self._check_owned(user.id, role, by)
            self._storage.memberships.add(membership)
            subject = Subject(SubjectKind.MEMBER, user.id, user.email)
            added = differences(None, {"role": role})
            self._audit.record(by, organization_id, Action.MEMBER_ADD, subject, added)
        # He may have been one a moment ago, of another role, until others removed him.
        self._accounts.recent.roles.forget((organization_id, user.id))

    def change_role(
        self,
        organization_id: UUID,
        user_id: UUID,
        role: Role,
        session: Session | None = None,
        *,
        by: Origin,
    ) -> Member:
        """Give a member another role; raises NotFound, Forbidden or Conflict (the last owner).

        The member's sessions end, so that one that was stolen does not grow with him; only the
        `session` that asks for this goes on. What he has invited others to is withdrawn, and so are
        API keys that he has made of a role that is above his own now.
        """
        ended: Sequence[bytes] = ()
        keys: Sequence[ApiKey] = ()
        with self._storage.transaction():
            granter = self.role_of(organization_id, by)
            may_grant(granter, role)
            before = self._may_touch(
                organization_id, user_id, granter, leaves=role is not Role.OWNER
            )
            if role is not before:
                self._check_owned(user_id, role, by)
                self._storage.memberships.set_role(organization_id, user_id, role)
                self._withdraw_invitations(organization_id, user_id, by)
                above = [
                    k for k in self._keys_of(organization_id, user_id) if not role.includes(k.role)
                ]
                keys = self._end_keys(above, by)
                keep = session.token_hash if session is not None else None
                ended = self._accounts.delete_sessions(user_id, keep)
            member = self.member(organization_id, user_id)
            subject = Subject(SubjectKind.MEMBER, user_id, member.email)
            differing = differences({"role": before}, {"role": role})
            self._audit.record(by, organization_id, Action.MEMBER_CHANGE, subject, differing)
        self._accounts.recent.roles.forget((organization_id, user_id))
        self._accounts.recent.sessions.forget(*ended)
        self._accounts.recent.keys.forget(*(key.token_hash for key in keys))
        return member

    def remove_member(
        self,
        organization_id: UUID,
        user_id: UUID,
        *,
        by: Origin,
        keep_keys: bool = False,
    ) -> None:
        """Remove a member; raises NotFound, Forbidden or Conflict (the last owner).

        Everybody may remove himself, others only with a role that is no smaller than theirs.
        What he has invited others to, or is invited to himself, is withdrawn, and the API keys that
        he has made end, unless whoever removes him wants to `keep_keys`, and answers for them from
        then on.
        """
        with self._storage.transaction():
            remover = self.role_of(organization_id, by)
            self._may_touch(organization_id, user_id, remover, leaves=True)
            member = self.member(organization_id, user_id)
            self._storage.memberships.remove(organization_id, user_id)
            self._withdraw_invitations(organization_id, user_id, by, member.email)
            keys = self._keys_of(organization_id, user_id)
            if keep_keys and keys:
                self._hand_over(keys, user_id, by)
            else:
                keys = self._end_keys(keys, by)
            subject = Subject(SubjectKind.MEMBER, user_id, member.email)
            removed = differences({"role": member.role}, None)
            self._audit.record(by, organization_id, Action.MEMBER_REMOVE, subject, removed)
        self._accounts.recent.roles.forget((organization_id, user_id))
        self._accounts.recent.keys.forget(*(key.token_hash for key in keys))

    def _withdraw_invitations(
        self, organization_id: UUID, user_id: UUID, by: Origin, email: str = ""
    ) -> None:
        """End what the member has invited others to, and what `email` is invited to itself."""
        for invitation in self._storage.invitations.of_organization(organization_id):
            if invitation.invited_by == user_id or invitation.email == email:
                self._storage.invitations.delete(organization_id, invitation.token_hash)
                self._audit.record_invitation(by, Action.INVITATION_WITHDRAW, invitation)

    def keys(self, organization_id: UUID) -> Sequence[ApiKey]:
        """The organisation's API keys, oldest first."""
        return self._storage.api_keys.of_organization(organization_id)

    def _keys_of(self, organization_id: UUID, user_id: UUID) -> Sequence[ApiKey]:
        """Those of them that the person has made, by himself or with another key of his."""
        return [key for key in self.keys(organization_id) if key.created_by == user_id]

    def maker(self, by: Origin) -> UUID | None:
        """The person who answers for what comes from `by`; None where nobody knows.

        Raises Unauthenticated for an API key that has ended.
        """
        key = self._key(by)
        return by.actor.id if key is None else key.created_by

    def role_of(self, organization_id: UUID, by: Origin) -> Role:
        """In a transaction: the role of whoever asks, which is his until the transaction ends.

        Who may change roles, members and keys waits meanwhile, for all of them ask this first: what
        somebody does while he is removed is either refused, or found by whoever removes him. An
        operator at a terminal may do everything. Raises NotFound for who is no member any more,
        Unauthenticated for an API key that has ended.
        """
        self._storage.memberships.owners(organization_id)
        if by.actor.kind is ActorKind.OPERATOR:
            return Role.OWNER
        key = self._key(by)
        if key is not None:
            role = key.role if key.organization_id == organization_id else None
        else:
            assert by.actor.id is not None
            role = self._storage.memberships.role(organization_id, by.actor.id)
        if role is None:
            raise NotFound("There is no such organization.")
        return role

    def _key(self, by: Origin) -> ApiKey | None:
        """The API key that asks, if one does; raises Unauthenticated where it has ended."""
        if by.actor.kind is not ActorKind.API_KEY:
            return None
        assert by.actor.id is not None
        key = self._storage.api_keys.get(by.actor.id)
        if key is None:
            raise Unauthenticated("The API key is unknown, deleted or expired.")
        return key

    def _hand_over(self, keys: Sequence[ApiKey], user_id: UUID, by: Origin) -> None:
        """Have whoever asks answer for the keys of the person from now on."""
        heir = self.maker(by)
        if heir == user_id:
            raise Forbidden(
                "Your API keys end with you; somebody else may remove you without them."
            )
        if heir is None:
            raise Forbidden(
                "Nobody is known to answer for this API key, and so nobody would answer for those "
                "that it keeps; have a person remove the member."
            )
        self._storage.api_keys.hand_over([key.id for key in keys], heir)
        for key in keys:
            changes = differences({"created_by": user_id}, {"created_by": heir})
            self._record_key(by, Action.API_KEY_CHANGE, key, changes)

    def add_key(
        self, organization_id: UUID, draft: ApiKeyDraft, *, by: Origin
    ) -> tuple[str, ApiKey]:
        """Make an API key; its token is returned this once.

        Raises Forbidden for a role above that of whoever asks, InvalidFields for a key that would
        never work.
        """
        with self._storage.transaction():
            may_grant(self.role_of(organization_id, by), draft.role)
            if draft.expires_at is not None and draft.expires_at <= self._clock():
                raise InvalidFields.of("expires_at", "lies in the past; the key would never work")
            token, key = self._accounts.new_key(
                organization_id, draft.name, draft.role, draft.expires_at, self.maker(by)
            )
            self._record_key(by, Action.API_KEY_CREATE, key, differences(None, _told_of_key(key)))
        return token, key

    def delete_key(self, organization_id: UUID, key_id: UUID, *, by: Origin) -> None:
        """End an API key at once; raises NotFound, or Forbidden for a key with a larger role."""
        with self._storage.transaction():
            remover = self.role_of(organization_id, by)
            key = next((key for key in self.keys(organization_id) if key.id == key_id), None)
            if key is None:
                raise NotFound("There is no such API key.")
            if not remover.includes(key.role):
                raise Forbidden(f"The role {remover} may not delete a key of the role {key.role}.")
            self._end_keys([key], by)
        self._accounts.recent.keys.forget(key.token_hash)

    def _end_keys(self, keys: Sequence[ApiKey], by: Origin) -> Sequence[ApiKey]:
        """In a transaction: those that were ended, to be forgotten afterwards."""
        for key in keys:
            self._storage.api_keys.delete(key.organization_id, key.id)
            self._record_key(by, Action.API_KEY_DELETE, key, differences(_told_of_key(key), None))
        return keys

    def business_code(self, organization_id: UUID) -> BusinessCode:
        """What the business code encodes; raises NotFound where it was never set."""
        code = self._storage.organizations.business_code(organization_id)
        if code is None:
            raise NotFound("The organization has no business code yet; set it with PUT.")
        return code

    def set_business_code(self, organization_id: UUID, code: BusinessCode, *, by: Origin) -> None:
        """Set what the business code encodes."""
        subject = Subject(SubjectKind.BUSINESS_CODE, None, "")
        with self._storage.transaction():
            before = self._storage.organizations.business_code(organization_id)
            self._storage.organizations.set_business_code(organization_id, code, self._clock())
            old = None if before is None else {"content": _content(before)}
            # Compared first: a new password is a change, even though it is not shown.
            changes = {
                name: Change(_without_passwords(change.before), _without_passwords(change.after))
                for name, change in differences(old, {"content": _content(code)}).items()
            }
            self._audit.record(by, organization_id, Action.BUSINESS_CODE_SET, subject, changes)

    def _record(
        self, by: Origin, action: Action, organization: Organization, changes: Changes
    ) -> None:
        subject = Subject(SubjectKind.ORGANIZATION, organization.id, organization.slug)
        self._audit.record(by, organization.id, action, subject, changes)

    def _record_key(self, by: Origin, action: Action, key: ApiKey, changes: Changes) -> None:
        subject = Subject(SubjectKind.API_KEY, key.id, key.name)
        self._audit.record(by, key.organization_id, action, subject, changes)

    def _free_slug(self, name: str) -> str:
        base = organization_slug(name)
        for number in range(1, _SLUG_TRIES + 1):
            slug = base if number == 1 else f"{base}-{number}"
            if self._storage.organizations.by_slug(slug) is None:
                return slug
        raise Conflict(
            f"No slug like {base!r} is free.", [FieldProblem("slug", "give one of your own")]
        )

    def _check_owned(self, user_id: UUID, role: Role, by: Origin) -> None:
        """In a transaction: raise Forbidden where one owns as many organisations as one may."""
        if role is not Role.OWNER or by.actor.kind is ActorKind.OPERATOR:
            return
        # Two who would make him an owner at the same time wait for each other here.
        person = self._storage.users.lock(user_id)
        owned = [role for _, role in self._storage.memberships.of_user(user_id)].count(Role.OWNER)
        if owned >= self._most and not (person is not None and person.operator):
            raise Forbidden(
                f"A person may own {self._most} organizations (setting "
                "accounts.max_organizations), and this would be one more; delete one, or ask an "
                "operator."
            )

    def _may_touch(
        self, organization_id: UUID, user_id: UUID, actor: Role, *, leaves: bool
    ) -> Role:
        """The member's role; raises NotFound, Forbidden or Conflict."""
        owners = self._storage.memberships.owners(organization_id)
        role = self._storage.memberships.role(organization_id, user_id)
        if role is None:
            raise NotFound("There is no such member.")
        if not actor.includes(role):
            raise Forbidden(f"The role {actor} may not change a member with the role {role}.")
        if role is Role.OWNER and leaves and owners == 1:
            raise Conflict("This is the last owner; make somebody else an owner first.")
        return role


def may_grant(granter: Role, role: Role) -> None:
    """Raise Forbidden for a role above one's own."""
    if not granter.includes(role):
        raise Forbidden(f"The role {granter} may not grant the role {role}.")


def _told(organization: Organization) -> dict[str, object]:
    """What the audit log tells of an organisation."""
    return {"name": organization.name, "slug": organization.slug}


def _told_of_key(key: ApiKey) -> dict[str, object]:
    """What the audit log tells of an API key: nothing of its token."""
    return {"name": key.name, "role": key.role, "expires_at": key.expires_at}


def _content(code: BusinessCode) -> Any:
    """What a business code encodes, as it was sent."""
    return code.content if code.document is None else msgspec.json.decode(code.document)


def _without_passwords(content: Any) -> Any:
    """A content without the password of a Wi-Fi network, in either way to write one."""
    if isinstance(content, dict):
        return {
            name: _HIDDEN if name == "password" else _without_passwords(value)
            for name, value in content.items()
        }
    if isinstance(content, str) and content.lstrip()[:5].upper() == "WIFI:":
        return f"WIFI:{_HIDDEN}"
    return content
