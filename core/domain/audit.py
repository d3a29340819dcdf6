"""The audit log: who changed what in an organisation, when and from where."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from core.domain.accounts import Instant, Principal

LEAST_DAYS = 31
"""So many days every entry is kept at least; databases refuse to delete those of the last 30."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PREFIXES = {4: 24, 6: 48}


class ActorKind(enum.StrEnum):
    """What kind of actor has changed something; an operator is one who uses the command."""

    USER = "user"
    API_KEY = "api_key"
    OPERATOR = "operator"


class Actor(Struct, frozen=True):
    """Who has changed something, as he was called then.

    `name` is a person's e-mail address, the name of an API key, or the name that the system knows
    an operator by, where it knows one; he has no id.
    """

    kind: ActorKind
    id: UUID | None
    name: str

    @classmethod
    def of(cls, principal: Principal) -> Actor:
        """The actor who asks for something over HTTP."""
        if principal.user is not None:
            return cls(ActorKind.USER, principal.user.id, principal.user.email)
        assert principal.api_key is not None
        return cls(ActorKind.API_KEY, principal.api_key.id, principal.api_key.name)


class Origin(Struct, frozen=True):
    """Where a change comes from: who asks for it, from which address, in which request."""

    actor: Actor
    address: str = ""
    request_id: str = ""


OPERATOR = Origin(Actor(ActorKind.OPERATOR, None, ""))
"""The origin of what is done by a command whose user has no name."""


class Action(enum.StrEnum):
    """What was done."""

    ORGANIZATION_CREATE = "organization.create"
    ORGANIZATION_CHANGE = "organization.change"
    ORGANIZATION_DELETE = "organization.delete"
    MEMBER_ADD = "member.add"
    MEMBER_CHANGE = "member.change"
    MEMBER_REMOVE = "member.remove"
    INVITATION_CREATE = "invitation.create"
    INVITATION_WITHDRAW = "invitation.withdraw"
    API_KEY_CREATE = "api_key.create"
    API_KEY_CHANGE = "api_key.change"
    API_KEY_DELETE = "api_key.delete"
    CODE_CREATE = "code.create"
    CODE_CREATE_MANY = "code.create_many"
    CODE_CHANGE = "code.change"
    CODE_DELETE = "code.delete"
    BUSINESS_CODE_SET = "business_code.set"
    STYLE_CREATE = "style.create"
    STYLE_CHANGE = "style.change"
    STYLE_DELETE = "style.delete"
    LOGO_CREATE = "logo.create"
    LOGO_DELETE = "logo.delete"


class SubjectKind(enum.StrEnum):
    """What kind of thing was changed."""

    ORGANIZATION = "organization"
    MEMBER = "member"
    INVITATION = "invitation"
    API_KEY = "api_key"
    CODE = "code"
    BUSINESS_CODE = "business_code"
    STYLE = "style"
    LOGO = "logo"


class Subject(Struct, frozen=True):
    """What was changed, as it was called then; many codes at once have no id."""

    kind: SubjectKind
    id: UUID | None
    label: str


class Change(Struct, frozen=True):
    """What a field held before and after, as in JSON; null where there was nothing."""

    before: Any
    after: Any


Changes = Mapping[str, Change]


class AuditEntry(Struct, frozen=True):
    """One change in an organisation.

    Of what was created or deleted, `changes` has every field that held something. `address` and
    `request_id` are empty where there was none, or none is kept. Ids follow each other in time.
    """

    id: UUID
    organization_id: UUID
    at: Instant
    actor: Actor
    action: Action
    subject: Subject
    changes: Changes
    address: str
    request_id: str


class AuditFilter(Struct, frozen=True):
    """Which entries are wanted: those that fulfil everything that is not None.

    `actor` and `subject` are ids. `first` is the smallest id, `before` is larger than all.
    """

    action: Action | None = None
    actor: UUID | None = None
    actor_kind: ActorKind | None = None
    subject: UUID | None = None
    first: UUID | None = None
    before: UUID | None = None


def entry_id(at: datetime, number: int, chance: bytes) -> UUID:
    """The id of an entry that was made `at`: a UUID of version 7 (RFC 9562, 5.7).

    It holds the time to the microsecond, then `number` modulo 65,536, which tells entries of one
    moment apart that a process has made, then the first 46 bits of `chance`.
    """
    return _uuid(at, (number & 0xFFFF) << 46 | int.from_bytes(chance[:6]) >> 2)


def first_id(at: datetime) -> UUID:
    """What no id of an entry of that moment, or of a later one, is smaller than."""
    return _uuid(max(at, _EPOCH), 0)


def _uuid(at: datetime, rest: int) -> UUID:
    milliseconds, microseconds = divmod((at - _EPOCH) // _MICROSECOND, 1000)
    return UUID(int=milliseconds << 80 | 7 << 76 | microseconds << 64 | 2 << 62 | rest)


def differences(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Changes:
    """The fields that differ, with both their values as JSON has them; None is a thing without any.

    What holds a Secret is refused.
    """
    old, new = msgspec.to_builtins(before or {}), msgspec.to_builtins(after or {})
    return {
        name: Change(old.get(name), new.get(name))
        for name in old | new
        if old.get(name) != new.get(name)
    }


def network_of(address: str) -> str:
    """The network of an address, 203.0.113.0/24 or 2001:db8:1::/48; "" for what is no address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    # A socket for both families shows an IPv4 peer as ::ffff:10.0.0.1.
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return str(ipaddress.ip_network((int(ip), _PREFIXES[ip.version]), strict=False))
