"""The JSON documents that the interface answers with, made from domain objects."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Raw, Struct

from core.domain.accounts import (
    ApiKey,
    Invitation,
    Member,
    Organization,
    Principal,
    Role,
    Session,
    User,
)
from core.domain.audit import Action, Actor, AuditEntry, Change, Subject
from core.domain.codes import BusinessCode, Code, CodeDraft, CodePage, Instant, Tag
from core.domain.contents import Content
from core.domain.hosts import host_of, unicode_host
from core.domain.images import QUIET_ZONE, ErrorCorrection, ImageOptions, Margin, StyleChoice
from core.domain.logos import LogoInfo, LogoType
from core.domain.looks import FinderShape, ModuleShape, Style
from core.domain.scans import Bots
from core.domain.sheets import SheetOptions
from core.services.audit import AuditSelection
from core.services.chart import NARROWEST, WIDEST
from core.services.codes import CodeService
from core.services.statistics import Selection


class OrganizationView(Struct, frozen=True):
    """An organisation, with the caller's role in it."""

    id: UUID
    name: str
    slug: str
    role: Role
    created_at: Instant

    @classmethod
    def of(cls, organization: Organization, role: Role) -> OrganizationView:
        """The document of an organisation for somebody who has that role in it."""
        return cls(
            organization.id, organization.name, organization.slug, role, organization.created_at
        )


class OrganizationList(Struct, frozen=True):
    """The caller's organisations."""

    items: Sequence[OrganizationView]


class UserView(Struct, frozen=True):
    """A person, without anything secret."""

    id: UUID
    email: str
    name: str
    operator: bool

    @classmethod
    def of(cls, user: User) -> UserView:
        """The document of a person."""
        return cls(user.id, user.email, user.name, user.operator)


class ApiKeyView(Struct, frozen=True):
    """An API key, without its token."""

    id: UUID
    name: str
    role: Role
    prefix: str
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None
    operator: bool
    created_by: UUID | None

    @classmethod
    def of(cls, key: ApiKey) -> ApiKeyView:
        """The document of a key."""
        return cls(**{name: getattr(key, name) for name in cls.__struct_fields__})


class NewApiKeyView(Struct, frozen=True):
    """An API key that was just made: the only document that holds its token."""

    token: str
    key: ApiKeyView


class ApiKeyList(Struct, frozen=True):
    """An organisation's API keys."""

    items: Sequence[ApiKeyView]


class SessionView(Struct, frozen=True):
    """Who the caller is: a person or an API key."""

    user: UserView | None
    api_key: ApiKeyView | None
    expires_at: Instant | None
    organizations: Sequence[OrganizationView]

    @classmethod
    def of(
        cls, principal: Principal, organizations: Sequence[tuple[Organization, Role]]
    ) -> SessionView:
        """The document of a principal."""
        user, key, session = principal.user, principal.api_key, principal.session
        return cls(
            user=UserView.of(user) if user else None,
            api_key=ApiKeyView.of(key) if key else None,
            expires_at=session.expires_at if session else key.expires_at if key else None,
            organizations=[OrganizationView.of(*pair) for pair in organizations],
        )


class SessionItem(Struct, frozen=True):
    """One of a person's sessions; `current` is the one that asks."""

    id: UUID
    created_at: Instant
    last_seen_at: Instant
    expires_at: Instant
    current: bool

    @classmethod
    def of(cls, session: Session, current: Session | None) -> SessionItem:
        """The document of a session for somebody who asks by `current`."""
        is_current = current is not None and current.token_hash == session.token_hash
        return cls(
            session.id, session.created_at, session.last_seen_at, session.expires_at, is_current
        )


class SessionList(Struct, frozen=True):
    """The caller's sessions, newest first."""

    items: Sequence[SessionItem]


class SecondFactorView(Struct, frozen=True):
    """Whether a code is asked of the caller, and how many recovery codes are left."""

    enabled: bool
    recovery_codes_left: int


class NewSecondFactor(Struct, frozen=True):
    """A second factor that is not in force yet: the only document that holds its secret.

    `image` is the QR code of `address` as SVG, null where no enabled plugin draws SVG.
    """

    secret: str
    address: str
    image: str | None


class RecoveryCodes(Struct, frozen=True):
    """Codes for whoever has lost the phone, each for one time."""

    recovery_codes: Sequence[str]


class InvitationView(Struct, frozen=True):
    """An invitation, without its link; `invited_by` is null where an API key made it."""

    id: UUID
    email: str
    role: Role
    invited_by: UUID | None
    created_at: Instant
    expires_at: Instant

    @classmethod
    def of(cls, invitation: Invitation) -> InvitationView:
        """The document of an invitation."""
        return cls(**{name: getattr(invitation, name) for name in cls.__struct_fields__})


class InvitationList(Struct, frozen=True):
    """The invitations of an organisation that wait to be accepted, oldest first."""

    items: Sequence[InvitationView]


class MemberList(Struct, frozen=True):
    """An organisation's members."""

    items: Sequence[Member]


class DestinationHost(Struct, frozen=True):
    """The host of a destination, as it is looked up and as people read it.

    Letters of other scripts can look like those of a well-known name: `ascii` tells them apart.
    """

    ascii: str
    unicode: str

    @classmethod
    def of(cls, destination: str) -> DestinationHost | None:
        """The document of a destination's host; None where it names none."""
        name = host_of(destination)
        return cls(name, unicode_host(name)) if name else None


class CodeView(Struct, frozen=True):
    """A code as its organisation sees it; `destination_host` is null where there is none."""

    id: UUID
    slug: str
    short_url: str
    destination: str
    destination_host: DestinationHost | None
    title: str
    tags: Sequence[str]
    active: bool
    valid_from: Instant | None
    valid_until: Instant | None
    max_scans: int | None
    forward_query: bool
    style: UUID | None
    revision: int
    created_at: Instant
    updated_at: Instant
    scans_total: int

    @classmethod
    def of(cls, code: Code, codes: CodeService) -> CodeView:
        """The document of a code."""
        own = {name: getattr(code, name) for name in cls.__struct_fields__ if name in _OWN}
        host = DestinationHost.of(code.destination)
        return cls(short_url=codes.short_url(code), destination_host=host, **own)


_OWN = frozenset(Code.__struct_fields__)


class CodeList(Struct, frozen=True):
    """One page of codes; `total` counts the codes on all pages."""

    items: Sequence[CodeView]
    page: int
    per_page: int
    total: int
    pages: int

    @classmethod
    def of(cls, page: CodePage, codes: CodeService) -> CodeList:
        """The document of a page."""
        return cls(
            items=[CodeView.of(code, codes) for code in page.items],
            page=page.page,
            per_page=page.per_page,
            total=page.total,
            pages=-(-page.total // page.per_page),
        )


class CodesDraft(Struct, frozen=True):
    """The codes that are to be created, all or none."""

    codes: Annotated[Sequence[CodeDraft], Meta(min_length=1)]


class CodesCreated(Struct, frozen=True):
    """The codes that one request created, in the order in which they were sent."""

    items: Sequence[CodeView]


class ArchiveQuery(ImageOptions, frozen=True):
    """Which images an archive holds, and how they are drawn: of all codes, or those with `tag`."""

    tag: Tag | None = None


class SheetQuery(SheetOptions, frozen=True):
    """What is printed onto which labels: `copies` of one `code`, of those with `tag`, or of all."""

    code: UUID | None = None
    tag: Tag | None = None
    copies: Annotated[int, Meta(ge=1, le=10_000)] = 1
    error_correction: ErrorCorrection = ErrorCorrection.M
    margin: Margin = QUIET_ZONE
    style: StyleChoice | None = None


SENT_CONTENT = str | Content
"""What `core.domain.content_reading` reads."""

# Read there and not by msgspec, which could not tell what is wrong: only its description is here.
SentContent = Annotated[Any, Meta(extra_json_schema={"$ref": "#/components/schemas/SentContent"})]


class BusinessCodeDraft(Struct, frozen=True):
    """What the business code is to encode: a text, or a typed content."""

    content: SentContent


class ImageDraft(ImageOptions, frozen=True, kw_only=True):
    """What an image is to encode, a text or a typed content, and how it is drawn."""

    content: SentContent


class BusinessCodeView(Struct, frozen=True):
    """What the business code encodes: as it was sent, and as the text that is in the symbol."""

    content: SentContent
    encoded: str

    @classmethod
    def of(cls, code: BusinessCode) -> BusinessCodeView:
        """The document of a business code."""
        content = code.content if code.document is None else Raw(code.document.encode())
        return cls(content, code.content)


class ImageAddress(Struct, frozen=True):
    """The public address of an image."""

    url: str


class StyleView(Struct, frozen=True):
    """A style preset; `logo` is null where it has none."""

    id: UUID
    name: str
    default: bool
    color: str
    background: str
    shape: ModuleShape
    finder_shape: FinderShape
    logo: UUID | None
    logo_size: int
    caption: str
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, style: Style) -> StyleView:
        """The document of a style."""
        return cls(
            id=style.id,
            name=style.name,
            default=style.is_default,
            **{name: getattr(style.look, name) for name in style.look.__struct_fields__},
            created_at=style.created_at,
            updated_at=style.updated_at,
        )


class StyleList(Struct, frozen=True):
    """An organisation's styles."""

    items: Sequence[StyleView]


class LogoView(Struct, frozen=True):
    """A logo without its picture; width and height are in pixels."""

    id: UUID
    name: str
    media_type: LogoType
    width: float
    height: float
    created_at: Instant

    @classmethod
    def of(cls, logo: LogoInfo) -> LogoView:
        """The document of a logo."""
        return cls(**{name: getattr(logo, name) for name in cls.__struct_fields__})


class LogoList(Struct, frozen=True):
    """An organisation's logos."""

    items: Sequence[LogoView]


class Comparison(enum.StrEnum):
    """With what a timeline is compared."""

    PREVIOUS = "previous"


class TimelineQuery(Selection, frozen=True):
    """Which timeline is wanted; `width` is that of a chart, in pixels."""

    compare: Comparison | None = None
    width: Annotated[int, Meta(ge=NARROWEST, le=WIDEST)] = 640

    @property
    def selection(self) -> Selection:
        """The window alone."""
        return Selection(**{name: getattr(self, name) for name in Selection.__struct_fields__})


class StatsQuery(Struct, frozen=True):
    """Which window the numbers are of; they have no points, and so no interval."""

    period: str | None = None
    start: str | None = None
    end: str | None = None
    timezone: str = "UTC"
    bots: Bots = Bots.EXCLUDE

    @property
    def selection(self) -> Selection:
        """The same as the statistics take it."""
        return Selection(**{name: getattr(self, name) for name in self.__struct_fields__})


class ScansQuery(Struct, frozen=True):
    """Which scans are wanted: those that precede `cursor`, which the page before named."""

    per_page: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: str | None = None


class ScanView(Struct, frozen=True):
    """One scan, without anything that could tell who it was; what is not known of it is empty."""

    at: Instant
    bot: bool
    unique: bool
    country: str
    device: str
    os: str
    browser: str
    language: str
    referrer: str


class ScanList(Struct, frozen=True):
    """Scans, newest first; `next` is the cursor of the page after this one, null on the last."""

    items: Sequence[ScanView]
    next: str | None


class AuditQuery(AuditSelection, frozen=True):
    """Which entries are wanted: of those, the ones that precede `cursor`, which a page named."""

    per_page: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: UUID | None = None


class AuditEntryView(Struct, frozen=True):
    """One change: who did what to what, what each field held before and after, and where from.

    Of what was created or deleted, the fields that held something are there.
    """

    id: UUID
    at: Instant
    actor: Actor
    action: Action
    subject: Subject
    changes: dict[str, Change]
    address: str
    request_id: str

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditEntryView:
        """The document of an entry."""
        return cls(**{name: getattr(entry, name) for name in cls.__struct_fields__})


class AuditEntryList(Struct, frozen=True):
    """Entries, newest first; `next` is the cursor of the page after this one, null on the last."""

    items: Sequence[AuditEntryView]
    next: UUID | None


class Health(Struct, frozen=True):
    """Whether the service works, and each part of it."""

    status: str
    checks: dict[str, str]
