"""Organisations, the people and keys that act for them, and the roles that say what each may do."""

from __future__ import annotations

import enum
import re
import unicodedata
from datetime import datetime
from hashlib import sha256
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from core.domain.validation import Secret


class Role(enum.StrEnum):
    """What a member may do; each role includes the ones before it."""

    MEMBER = "member"
    ANALYST = "analyst"
    EDITOR = "editor"
    ADMIN = "admin"
    OWNER = "owner"

    def includes(self, other: Role) -> bool:
        """Whether somebody with this role may do what `other` may do."""
        return _RANK[self] >= _RANK[other]


_RANK = {role: rank for rank, role in enumerate(Role)}


class Organization(Struct, frozen=True):
    """A tenant: codes, members and keys belong to exactly one."""

    id: UUID
    name: str
    slug: str
    created_at: datetime


class User(Struct, frozen=True):
    """A person who can sign in; `email` is kept in lower case and is unique.

    An `operator` may look after the installation itself, whatever his role in an organisation.
    """

    id: UUID
    email: str
    name: str
    password_hash: str
    created_at: datetime
    operator: bool = False


class Membership(Struct, frozen=True):
    """One user's role in one organisation."""

    organization_id: UUID
    user_id: UUID
    role: Role
    created_at: datetime


class Member(Struct, frozen=True):
    """A membership together with the person, as lists of members show it."""

    user_id: UUID
    email: str
    name: str
    role: Role
    created_at: Instant


class Session(Struct, frozen=True):
    """A sign-in; only the SHA-256 of its token is known here (32 bytes)."""

    token_hash: bytes
    user_id: UUID
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime

    @property
    def id(self) -> UUID:
        """What the sign-in is called: it follows from the hash, and nothing follows from it."""
        return UUID(bytes=sha256(b"session " + self.token_hash).digest()[:16])


class ApiKey(Struct, frozen=True):
    """A program's credential for one organisation; only the SHA-256 of its token is known here.

    With that of an `operator` a program may look after the installation itself. `created_by` is the
    person who made it, or who made the key that did; None where nobody knows.
    """

    id: UUID
    organization_id: UUID
    name: str
    role: Role
    prefix: str
    token_hash: bytes
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    operator: bool = False
    created_by: UUID | None = None


class Invitation(Struct, frozen=True):
    """An offer to join an organisation, made to an address; only the hash of its token is known.

    `invited_by` is the member who made it, or whose API key did; None where nobody knows.
    """

    id: UUID
    organization_id: UUID
    email: str
    role: Role
    invited_by: UUID | None
    token_hash: bytes
    created_at: datetime
    expires_at: datetime


class PasswordReset(Struct, frozen=True):
    """A link that sets a new password; only the SHA-256 of its token is known here (32 bytes)."""

    token_hash: bytes
    user_id: UUID
    created_at: datetime
    expires_at: datetime


class SecondFactor(Struct, frozen=True):
    """What a person's app makes its codes of (RFC 6238).

    It is in force once it is `confirmed`. `last_step` is the period of the last code that was used.
    """

    user_id: UUID
    secret: bytes
    created_at: datetime
    confirmed: bool = False
    last_step: int = 0


class Principal(Struct, frozen=True):
    """Who is asking: a signed-in user (`user`, `session`) or an API key (`api_key`), never both."""

    user: User | None = None
    session: Session | None = None
    api_key: ApiKey | None = None

    @property
    def subject(self) -> int:
        """What limits count by: the key, or the person, whichever session he uses."""
        who = self.user or self.api_key
        return who.id.int if who is not None else 0

    @property
    def operator(self) -> bool:
        """Whether he may look after the installation itself."""
        who = self.user or self.api_key
        return who is not None and who.operator


EMAIL_MAX = 254
_PART = r"[^@\s\x00-\x20\x7f\ud800-\udfff.]+"
_EMAIL = re.compile(rf"[^@\s\x00-\x20\x7f\ud800-\udfff]{{1,64}}@{_PART}(\.{_PART})*")
_ORGANIZATION_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Email = Annotated[
    str, Meta(min_length=1, max_length=EMAIL_MAX, extra_json_schema={"format": "email"})
]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S")]
Instant = Annotated[datetime, Meta(tz=True)]
OrganizationSlug = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=64,
        extra_json_schema={"pattern": f"^{_ORGANIZATION_SLUG.pattern}$"},
    ),
]


class Credentials(Struct, frozen=True):
    """What a person signs in with; `code` is that of the second factor, where there is one."""

    email: Email
    password: Secret
    code: Secret | UnsetType = UNSET


class UserDraft(Struct, frozen=True):
    """What is needed to create an account."""

    email: Email
    password: Secret
    name: Annotated[str, Meta(max_length=200)] = ""


class Acceptance(Struct, frozen=True):
    """What an invitation is accepted with.

    `password` is that of the account of the invited address, or of the one that is made; whoever is
    signed in as the one who is invited leaves it out. `code` is that of the account's second
    factor, where there is one; `name` is for an account that is made.
    """

    token: Secret
    password: Secret | UnsetType = UNSET
    code: Secret | UnsetType = UNSET
    name: Annotated[str, Meta(max_length=200)] = ""


class ResetRequest(Struct, frozen=True):
    """Whose password is lost."""

    email: Email


class NewPassword(Struct, frozen=True):
    """What a link sets a new password with."""

    token: Secret
    password: Secret


class PasswordChange(Struct, frozen=True):
    """What a person's own password is changed with."""

    current: Secret
    new: Secret


class SecondFactorRequest(Struct, frozen=True):
    """What a second factor is begun with: the person's own password."""

    password: Secret


class SecondFactorCode(Struct, frozen=True):
    """A code that the person's app shows."""

    code: Secret


class SecondFactorEnd(Struct, frozen=True):
    """What a second factor is disabled with: the password, and a code or a recovery code."""

    password: Secret
    code: Secret


class OrganizationDraft(Struct, frozen=True):
    """What is needed to found an organisation; without a slug one is made from the name."""

    name: Name
    slug: OrganizationSlug | None = None


class OrganizationChanges(Struct, frozen=True):
    """What may be changed of an organisation; what is left out stays."""

    name: Name | UnsetType = UNSET
    slug: OrganizationSlug | UnsetType = UNSET


class InvitationDraft(Struct, frozen=True):
    """Whom to invite to an organisation, and for which role."""

    email: Email
    role: Role


class MemberChanges(Struct, frozen=True):
    """What may be changed of a member."""

    role: Role


class ApiKeyDraft(Struct, frozen=True):
    """What is needed to make an API key; without `expires_at` it holds until it is deleted."""

    name: Name
    role: Role
    expires_at: Instant | None = None


def normalize_email(email: str) -> str:
    """The one spelling of an address that is stored and looked up.

    Raises ValueError for what cannot be an address; whether it exists, only a letter could tell.
    """
    email = email.strip().lower()
    if len(email) > EMAIL_MAX or not _EMAIL.fullmatch(email):
        raise ValueError("not an e-mail address; write it as name@example.com")
    return email


def check_email(email: str) -> None:
    """Raise ValueError for what cannot be an e-mail address."""
    normalize_email(email)


def check_organization_slug(slug: str) -> None:
    """Raise ValueError unless `slug` can stand in a command line and an address."""
    if not _ORGANIZATION_SLUG.fullmatch(slug):
        raise ValueError("use lower-case letters, digits and single hyphens between them")


def organization_slug(name: str) -> str:
    """A slug made from a name: "Café Léon" gives "cafe-leon", no usable letter "organization"."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = "-".join(re.findall(r"[a-z0-9]+", ascii_name))[:48].strip("-")
    return slug if len(slug) >= 2 else "organization"
