"""The tables, as peewee models that belong to no database.

Two databases of different kinds may live in one process, so nothing here is bound: a query is run
with `database.execute(query)` or `query.execute(database)`. What is in force in a database is made
by `migrations`, never from here; a test holds both equal.
"""

# ruff: noqa: D106

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from peewee import (
    SQL,
    BigAutoField,
    BigIntegerField,
    BlobField,
    BooleanField,
    CompositeKey,
    DateField,
    DoubleField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
    UUIDField,
)

from core.api import LogoType, Look, Role

GRAVEYARD = UUID(int=0)
"""The organisation of the codes that are still to be removed after their own one was deleted."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """A point in time as it is stored: microseconds since 1970 in UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def to_moment(microseconds: int) -> datetime:
    """The aware datetime, in UTC, of a stored point in time."""
    return _EPOCH + timedelta(microseconds=microseconds)


def to_tags(text: str) -> tuple[str, ...]:
    """The tags of a stored JSON array."""
    return tuple(json.loads(text))


def to_look(text: str) -> Look:
    """The look of a stored JSON object."""
    return msgspec.json.decode(text, type=Look)


def to_uuid(value: str | UUID) -> UUID:
    """A UUID as any of the drivers gives it."""
    return value if isinstance(value, UUID) else UUID(hex=value)


class InstantField(BigIntegerField):
    """A point in time, which every database compares and divides as the number that it is."""

    def db_value(self, value: Any) -> Any:
        """Take an aware datetime."""
        return to_microseconds(value) if isinstance(value, datetime) else value

    def python_value(self, value: Any) -> Any:
        """Give an aware datetime in UTC."""
        return None if value is None else to_moment(value)


class RoleField(TextField):
    """A role, by its name."""

    def db_value(self, value: Any) -> Any:
        """Take a role."""
        return value.value if isinstance(value, Role) else value

    def python_value(self, value: Any) -> Any:
        """Give a role."""
        return Role(value)


class TagsField(TextField):
    """The tags in their order and spelling, as a JSON array; `CodeTag` is for finding them."""

    def db_value(self, value: Any) -> Any:
        """Take a tuple of texts."""
        return json.dumps(value, ensure_ascii=False) if isinstance(value, tuple) else value

    def python_value(self, value: Any) -> Any:
        """Give a tuple of texts."""
        return to_tags(value)


class UuidTextField(TextField):
    """A UUID in the spelling that people see."""

    def db_value(self, value: Any) -> Any:
        """Take a UUID."""
        return str(value) if isinstance(value, UUID) else value

    def python_value(self, value: Any) -> Any:
        """Give a UUID."""
        return None if value is None else UUID(value)


class LookField(TextField):
    """A look, as a JSON object that names every field: defaults may change, stored looks do not."""

    def db_value(self, value: Any) -> Any:
        """Take a look."""
        return msgspec.json.encode(value).decode() if isinstance(value, Look) else value

    def python_value(self, value: Any) -> Any:
        """Give a look."""
        return to_look(value)


class LogoTypeField(TextField):
    """The media type of a logo."""

    def db_value(self, value: Any) -> Any:
        """Take a media type."""
        return value.value if isinstance(value, LogoType) else value

    def python_value(self, value: Any) -> Any:
        """Give a media type."""
        return LogoType(value)


def _belongs_to(model: type[Model], *, index: bool = False) -> Any:
    # An index is needed only where no other one begins with the column.
    return ForeignKeyField(model, on_delete="CASCADE", backref="+", index=index)


def _known_as(default: str) -> Any:
    return TextField(default=default, constraints=[SQL(f"DEFAULT '{default}'")])


def _off_at_first() -> Any:
    return BooleanField(default=False, constraints=[SQL("DEFAULT FALSE")])


class Organization(Model):
    """The organisations, and one of the id GRAVEYARD, which nobody sees."""

    id = UUIDField(primary_key=True)
    name = TextField()
    slug = TextField(unique=True)
    created_at = InstantField()

    class Meta:
        table_name = "organizations"


class BusinessCode(Model):
    """What each organisation's business code encodes, where it was set.

    `document` is the typed content, as JSON, that `content` was made of.
    """

    organization = ForeignKeyField(
        Organization, primary_key=True, on_delete="CASCADE", backref="+", index=False
    )
    content = TextField()
    updated_at = InstantField()
    document = TextField(null=True)

    class Meta:
        table_name = "business_codes"


class User(Model):
    """The people; `email` is in lower case already."""

    id = UUIDField(primary_key=True)
    email = TextField(unique=True)
    name = TextField()
    password_hash = TextField()
    created_at = InstantField()
    operator = _off_at_first()

    class Meta:
        table_name = "users"


class Membership(Model):
    """Who belongs where."""

    organization = _belongs_to(Organization)
    user = _belongs_to(User, index=True)
    role = RoleField()
    created_at = InstantField()

    class Meta:
        table_name = "memberships"
        primary_key = CompositeKey("organization", "user")


class Session(Model):
    """The sign-ins."""

    token_hash = BlobField(primary_key=True)
    user = _belongs_to(User, index=True)
    created_at = InstantField()
    last_seen_at = InstantField()
    expires_at = InstantField(index=True)

    class Meta:
        table_name = "sessions"


class ApiKey(Model):
    """The API keys."""

    id = UUIDField(primary_key=True)
    organization = _belongs_to(Organization, index=True)
    name = TextField()
    role = RoleField()
    prefix = TextField()
    token_hash = BlobField(unique=True)
    created_at = InstantField()
    expires_at = InstantField(null=True)
    last_used_at = InstantField(null=True)
    operator = _off_at_first()
    created_by = ForeignKeyField(User, null=True, on_delete="SET NULL", backref="+", index=False)

    class Meta:
        table_name = "api_keys"


class Invitation(Model):
    """The invitations that are still to be accepted, one to each address in an organisation."""

    id = UUIDField(primary_key=True)
    organization = _belongs_to(Organization)
    email = TextField()
    role = RoleField()
    invited_by = ForeignKeyField(User, null=True, on_delete="SET NULL", backref="+")
    token_hash = BlobField(unique=True)
    created_at = InstantField()
    expires_at = InstantField(index=True)

    class Meta:
        table_name = "invitations"
        indexes = ((("organization", "email"), True),)


class PasswordReset(Model):
    """The links that set a new password."""

    token_hash = BlobField(primary_key=True)
    user = _belongs_to(User, index=True)
    created_at = InstantField()
    expires_at = InstantField(index=True)

    class Meta:
        table_name = "password_resets"


class SecondFactor(Model):
    """The second factors, each of one person; one that is not `confirmed` is asked of nobody."""

    user = ForeignKeyField(User, primary_key=True, on_delete="CASCADE", backref="+", index=False)
    secret = BlobField()
    created_at = InstantField()
    confirmed = BooleanField()
    last_step = BigIntegerField()

    class Meta:
        table_name = "second_factors"


class RecoveryCode(Model):
    """The recovery codes that were not used yet."""

    code_hash = BlobField(primary_key=True)
    user = _belongs_to(User, index=True)

    class Meta:
        table_name = "recovery_codes"


class Code(Model):
    """The codes, each followed by what it is found and sorted by.

    `search_text` is title, slug, destination and tags on a line each, and `title_key` the title,
    both casefolded, because databases differ in what they take for the same letter. One that is
    `deleted` is there for no one but `removal.py`.
    """

    id = UUIDField(primary_key=True)
    organization = _belongs_to(Organization)
    slug = TextField()
    destination = TextField()
    title = TextField()
    tags = TagsField()
    active = BooleanField()
    valid_from = InstantField(null=True)
    valid_until = InstantField(null=True)
    max_scans = BigIntegerField(null=True)
    forward_query = BooleanField()
    style = UuidTextField(null=True)
    revision = IntegerField()
    created_at = InstantField()
    updated_at = InstantField()
    slug_key = TextField(unique=True)
    title_key = TextField()
    search_text = TextField()
    deleted = _off_at_first()

    class Meta:
        table_name = "codes"
        indexes = ((("organization", "created_at"), False),)


Code.add_index(Code.index(Code.organization, where=SQL("deleted"), name="codes_deleted"))


class Logo(Model):
    """The logos."""

    id = UUIDField(primary_key=True)
    organization = _belongs_to(Organization, index=True)
    name = TextField()
    media_type = LogoTypeField()
    width = DoubleField()
    height = DoubleField()
    created_at = InstantField()
    data = BlobField()

    class Meta:
        table_name = "logos"


class Style(Model):
    """The style presets; `name_key` is the casefolded name.

    `logo` is the one that `look` names, here so that the database refuses to delete it.
    """

    id = UUIDField(primary_key=True)
    organization = _belongs_to(Organization)
    name = TextField()
    look = LookField()
    is_default = BooleanField()
    created_at = InstantField()
    updated_at = InstantField()
    name_key = TextField()
    logo = ForeignKeyField(Logo, null=True, backref="+")

    class Meta:
        table_name = "styles"
        indexes = ((("organization", "name_key"), True),)


# At most one style of an organisation is its default, whoever writes at the same time.
Style.add_index(
    Style.index(Style.organization, unique=True, where=SQL("is_default"), name="styles_default")
)


class CodeTag(Model):
    """Which codes carry a tag; `tag` is casefolded."""

    code = _belongs_to(Code)
    organization = _belongs_to(Organization)
    tag = TextField()

    class Meta:
        table_name = "code_tags"
        primary_key = CompositeKey("code", "tag")
        indexes = ((("organization", "tag"), False),)


class CodeCount(Model):
    """What has been counted of each code: a code without scans has no row.

    All but `bots` leave the scans of bots out.
    """

    code = ForeignKeyField(Code, primary_key=True, on_delete="CASCADE", backref="+", index=False)
    organization = _belongs_to(Organization, index=True)
    scans = BigIntegerField()
    uniques = BigIntegerField()
    bots = BigIntegerField()
    first_at = InstantField(null=True)
    last_at = InstantField(null=True)

    class Meta:
        table_name = "code_counts"


class IdempotencyKey(Model):
    """The answers that are kept for their Idempotency-Key; `body` is missing until it is known."""

    organization = _belongs_to(Organization)
    key = TextField()
    request_digest = BlobField()
    body = BlobField(null=True)
    claimed_at = InstantField(index=True)

    class Meta:
        table_name = "idempotency_keys"
        primary_key = CompositeKey("organization", "key")


class CacheEpoch(Model):
    """The numbers in the keys of caches, by namespace; one that was never advanced has no row."""

    namespace = TextField(primary_key=True)
    number = BigIntegerField()

    class Meta:
        table_name = "cache_epochs"


class AuditEntry(Model):
    """The audit log: nothing is changed here, nothing removed within 30 days; triggers see to it.

    The organisation has no foreign key, because entries outlive it. Ids follow each other in time.
    """

    id = UUIDField(primary_key=True)
    organization_id = UUIDField()
    at = InstantField()
    actor_kind = TextField()
    actor_id = UUIDField(null=True)
    actor = TextField()
    action = TextField()
    subject_kind = TextField()
    subject_id = UUIDField(null=True)
    subject = TextField()
    changes = TextField()
    address = TextField()
    request_id = TextField()

    class Meta:
        table_name = "audit_entries"
        indexes = ((("organization_id", "id"), False),)


class Scan(Model):
    """The scans. They go with their code, so the organisation needs no foreign key of its own."""

    id = BigAutoField()
    code = _belongs_to(Code)
    organization_id = UUIDField()
    at = InstantField()
    bot = BooleanField()
    is_unique = BooleanField()
    country = _known_as("")
    device = _known_as("")
    os = _known_as("")
    browser = _known_as("")
    language = _known_as("")
    referrer = _known_as("")

    class Meta:
        table_name = "scans"
        indexes = ((("code", "at"), False), (("at",), False))


class CodeValue(Model):
    """The counts of each code, by the day in UTC (days since 1970) and a dimension's value."""

    subject = ForeignKeyField(Code, on_delete="CASCADE", backref="+", index=False)
    dimension = IntegerField()
    day = IntegerField()
    value = TextField()
    scans = BigIntegerField()
    uniques = BigIntegerField()
    bots = BigIntegerField()

    class Meta:
        table_name = "code_values"
        primary_key = CompositeKey("subject", "dimension", "day", "value")


class OrganizationValue(Model):
    """The same of each organisation: the sums of the rows of its codes."""

    subject = ForeignKeyField(Organization, on_delete="CASCADE", backref="+", index=False)
    dimension = IntegerField()
    day = IntegerField()
    value = TextField()
    scans = BigIntegerField()
    uniques = BigIntegerField()
    bots = BigIntegerField()

    class Meta:
        table_name = "organization_values"
        primary_key = CompositeKey("subject", "dimension", "day", "value")


class CodeDay(Model):
    """The counts of each code by the day in UTC, and of its quarter hours; `days.py` packs them."""

    subject = ForeignKeyField(Code, on_delete="CASCADE", backref="+", index=False)
    day = IntegerField()
    scans = BigIntegerField()
    uniques = BigIntegerField()
    bots = BigIntegerField()
    quarters = BlobField()

    class Meta:
        table_name = "code_days"
        primary_key = CompositeKey("subject", "day")


class OrganizationDay(Model):
    """The same of each organisation: the sums of the rows of its codes."""

    subject = ForeignKeyField(Organization, on_delete="CASCADE", backref="+", index=False)
    day = IntegerField()
    scans = BigIntegerField()
    uniques = BigIntegerField()
    bots = BigIntegerField()
    quarters = BlobField()

    class Meta:
        table_name = "organization_days"
        primary_key = CompositeKey("subject", "day")


class CodeQuarter(Model):
    """What is known of the scans of each code in each quarter hour; `quarters.py` packs it."""

    subject = ForeignKeyField(Code, on_delete="CASCADE", backref="+", index=False)
    slot = BigIntegerField()
    parts = BlobField()

    class Meta:
        table_name = "code_quarters"
        primary_key = CompositeKey("subject", "slot")


class OrganizationQuarter(Model):
    """The same of each organisation: the sums of the rows of its codes."""

    subject = ForeignKeyField(Organization, on_delete="CASCADE", backref="+", index=False)
    slot = BigIntegerField()
    parts = BlobField()

    class Meta:
        table_name = "organization_quarters"
        primary_key = CompositeKey("subject", "slot")


class Generation(Model):
    """How often the counts of a code, or of an organisation, have changed."""

    subject_id = UUIDField(primary_key=True)
    number = BigIntegerField()
    changed_at = InstantField(null=True)

    class Meta:
        table_name = "generations"


class KeptScans(Model):
    """One row: scans before `since` may have been removed for their age."""

    id = IntegerField(primary_key=True)
    since = InstantField()

    class Meta:
        table_name = "kept_scans"


class Visitor(Model):
    """Who has scanned which code on which day (days since 1970 in UTC), for two days."""

    day = IntegerField()
    code = ForeignKeyField(Code, on_delete="CASCADE", backref="+")
    visitor = BlobField()

    class Meta:
        table_name = "visitors"
        primary_key = CompositeKey("day", "code", "visitor")


class JournalPosition(Model):
    """How far each journal file is stored."""

    source = TextField(primary_key=True)
    position = BigIntegerField()

    class Meta:
        table_name = "journal_positions"


class ScanTally(Model):
    """What is only counted, by day: scans of unknown slugs, and scans that were not recorded."""

    day = DateField(primary_key=True)
    misses = BigIntegerField()
    dropped = BigIntegerField()

    class Meta:
        table_name = "scan_tallies"


class Salt(Model):
    """The salt with which the visitors of a day are hashed."""

    day = DateField(primary_key=True)
    salt = BlobField()

    class Meta:
        table_name = "salts"


ALL: tuple[type[Model], ...] = (
    Organization,
    BusinessCode,
    User,
    Membership,
    Session,
    Invitation,
    PasswordReset,
    SecondFactor,
    RecoveryCode,
    ApiKey,
    Code,
    Logo,
    Style,
    CodeTag,
    CodeCount,
    IdempotencyKey,
    CacheEpoch,
    AuditEntry,
    Scan,
    CodeValue,
    OrganizationValue,
    CodeDay,
    OrganizationDay,
    CodeQuarter,
    OrganizationQuarter,
    Generation,
    KeptScans,
    Visitor,
    JournalPosition,
    ScanTally,
    Salt,
)
