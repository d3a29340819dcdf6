"""Keeps the audit log: what is changed in organisations is recorded where it is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import count
from uuid import UUID, uuid4

from core.domain.accounts import Invitation
from core.domain.audit import (
    Action,
    AuditEntry,
    AuditFilter,
    Changes,
    Origin,
    Subject,
    SubjectKind,
    entry_id,
    first_id,
    network_of,
)
from core.ports import Storage
from core.settings import Addresses, AuditSettings


def subject_of(invitation: Invitation) -> Subject:
    """An invitation, by the address that it is for."""
    return Subject(SubjectKind.INVITATION, invitation.id, invitation.email)


def told_of(invitation: Invitation) -> dict[str, object]:
    """What the audit log tells of an invitation: nothing of its token."""
    return {"role": invitation.role, "expires_at": invitation.expires_at}


class Audit:
    """The audit logs of all organisations; every method names the one that it is for."""

    def __init__(
        self, storage: Storage, settings: AuditSettings, clock: Callable[[], datetime]
    ) -> None:
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._numbers = count()

    def record(
        self,
        by: Origin,
        organization_id: UUID,
        action: Action,
        subject: Subject,
        changes: Changes,
    ) -> None:
        """Write down what `by` has done; where nothing has changed, there is nothing to write.

        To be called in the transaction that makes the change, so that neither is without the other.
        No secret may be among the changes: neither a token nor its hash, nor a password.
        """
        if not changes:
            return
        now = self._clock()
        entry = AuditEntry(
            id=entry_id(now, next(self._numbers), uuid4().bytes),
            organization_id=organization_id,
            at=now,
            actor=by.actor,
            action=action,
            subject=subject,
            changes=changes,
            address=self._kept(by.address),
            request_id=by.request_id,
        )
        self._storage.audit.append(entry)

    def entries(
        self, organization_id: UUID, matching: AuditFilter, limit: int
    ) -> Sequence[AuditEntry]:
        """Up to `limit` entries of the organisation, newest first."""
        return self._storage.audit.entries(organization_id, matching, limit)

    def prune(self, limit: int) -> int:
        """Remove up to `limit` entries that are older than they are to be; how many it were."""
        days = self._settings.keep_days
        if not days:
            return 0
        return self._storage.audit.prune(first_id(self._clock() - timedelta(days=days)), limit)

    def _kept(self, address: str) -> str:
        match self._settings.addresses:
            case Addresses.FULL:
                return address
            case Addresses.NETWORK:
                return network_of(address)
            case Addresses.NONE:
                return ""
