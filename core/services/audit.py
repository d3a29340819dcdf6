"""Keeps the audit log: what is changed in organisations is recorded where it is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from uuid import UUID, uuid4

from msgspec import Struct

from core.domain.accounts import Invitation
from core.domain.audit import (
    Action,
    ActorKind,
    AuditEntry,
    AuditFilter,
    Changes,
    Origin,
    Subject,
    SubjectKind,
    differences,
    entry_id,
    first_id,
    network_of,
)
from core.domain.periods import parse_point
from core.errors import FieldProblem, InvalidFields
from core.ports import Storage
from core.settings import Addresses, AuditSettings


class AuditSelection(Struct, frozen=True):
    """Which entries are wanted: those that fulfil everything that is given.

    `actor` and `subject` are ids. `start` and `end` are a half-open window, in dates of UTC or in
    times with an offset.
    """

    action: Action | None = None
    actor: UUID | None = None
    actor_kind: ActorKind | None = None
    subject: UUID | None = None
    start: str | None = None
    end: str | None = None


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

    def record_invitation(self, by: Origin, action: Action, invitation: Invitation) -> None:
        """Write down that an invitation was made or withdrawn, and nothing of its token."""
        told = {"role": invitation.role, "expires_at": invitation.expires_at}
        made = action is Action.INVITATION_CREATE
        changes = differences(None, told) if made else differences(told, None)
        subject = Subject(SubjectKind.INVITATION, invitation.id, invitation.email)
        self.record(by, invitation.organization_id, action, subject, changes)

    def matching(self, selection: AuditSelection, cursor: UUID | None = None) -> AuditFilter:
        """What the storage takes; raises InvalidFields.

        `cursor` is the id of the entry after which to go on.
        """
        problems: list[FieldProblem] = []
        first = _bound("start", selection.start, problems)
        end = _bound("end", selection.end, problems)
        if problems:
            raise InvalidFields(problems)
        return AuditFilter(
            action=selection.action,
            actor=selection.actor,
            actor_kind=selection.actor_kind,
            subject=selection.subject,
            first=first,
            before=min((bound for bound in (end, cursor) if bound is not None), default=None),
        )

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


def _bound(field: str, text: str | None, problems: list[FieldProblem]) -> UUID | None:
    """The first id of that moment; None, and one problem more, where it is none."""
    if text is None:
        return None
    try:
        return first_id(_moment(parse_point(text)))
    except ValueError as error:
        problems.append(FieldProblem(field, str(error)))
        return None


def _moment(point: date) -> datetime:
    if not isinstance(point, datetime):
        return datetime.combine(point, time.min, UTC)
    if point.tzinfo is None:
        text = point.isoformat()
        raise ValueError(f"{text} has no offset; write {text}Z for UTC, or a date for a whole day")
    return point
