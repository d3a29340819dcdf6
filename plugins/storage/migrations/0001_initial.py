"""The first tables. Frozen: later changes are migrations of their own."""

# ruff: noqa: D101, D106

from __future__ import annotations

from peewee import (
    BigAutoField,
    BigIntegerField,
    BlobField,
    BooleanField,
    CompositeKey,
    Database,
    DateField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
    UUIDField,
)
from playhouse.migrate import SchemaMigrator


class Organization(Model):
    id = UUIDField(primary_key=True)
    name = TextField()
    slug = TextField(unique=True)
    created_at = BigIntegerField()

    class Meta:
        table_name = "organizations"


class BusinessCode(Model):
    organization = ForeignKeyField(Organization, primary_key=True, on_delete="CASCADE", index=False)
    content = TextField()
    updated_at = BigIntegerField()

    class Meta:
        table_name = "business_codes"


class User(Model):
    id = UUIDField(primary_key=True)
    email = TextField(unique=True)
    name = TextField()
    password_hash = TextField()
    created_at = BigIntegerField()

    class Meta:
        table_name = "users"


class Membership(Model):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    user = ForeignKeyField(User, on_delete="CASCADE")
    role = TextField()
    created_at = BigIntegerField()

    class Meta:
        table_name = "memberships"
        primary_key = CompositeKey("organization", "user")


class Session(Model):
    token_hash = BlobField(primary_key=True)
    user = ForeignKeyField(User, on_delete="CASCADE")
    created_at = BigIntegerField()
    last_seen_at = BigIntegerField()
    expires_at = BigIntegerField(index=True)

    class Meta:
        table_name = "sessions"


class ApiKey(Model):
    id = UUIDField(primary_key=True)
    organization = ForeignKeyField(Organization, on_delete="CASCADE")
    name = TextField()
    role = TextField()
    prefix = TextField()
    token_hash = BlobField(unique=True)
    created_at = BigIntegerField()
    expires_at = BigIntegerField(null=True)
    last_used_at = BigIntegerField(null=True)

    class Meta:
        table_name = "api_keys"


class Code(Model):
    id = UUIDField(primary_key=True)
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    slug = TextField()
    destination = TextField()
    title = TextField()
    tags = TextField()
    active = BooleanField()
    valid_from = BigIntegerField(null=True)
    valid_until = BigIntegerField(null=True)
    max_scans = BigIntegerField(null=True)
    forward_query = BooleanField()
    style = TextField(null=True)
    revision = IntegerField()
    created_at = BigIntegerField()
    updated_at = BigIntegerField()
    slug_key = TextField(unique=True)
    title_key = TextField()
    search_text = TextField()

    class Meta:
        table_name = "codes"
        indexes = ((("organization", "created_at"), False),)


class CodeTag(Model):
    code = ForeignKeyField(Code, on_delete="CASCADE", index=False)
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    tag = TextField()

    class Meta:
        table_name = "code_tags"
        primary_key = CompositeKey("code", "tag")
        indexes = ((("organization", "tag"), False),)


class CodeCount(Model):
    code = ForeignKeyField(Code, primary_key=True, on_delete="CASCADE", index=False)
    organization = ForeignKeyField(Organization, on_delete="CASCADE")
    scans = BigIntegerField()
    uniques = BigIntegerField()
    bots = BigIntegerField()
    first_at = BigIntegerField(null=True)
    last_at = BigIntegerField(null=True)

    class Meta:
        table_name = "code_counts"


class IdempotencyKey(Model):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    key = TextField()
    request_digest = BlobField()
    body = BlobField(null=True)
    claimed_at = BigIntegerField(index=True)

    class Meta:
        table_name = "idempotency_keys"
        primary_key = CompositeKey("organization", "key")


class Scan(Model):
    id = BigAutoField()
    code = ForeignKeyField(Code, on_delete="CASCADE", index=False)
    organization_id = UUIDField()
    at = BigIntegerField()
    visitor = BlobField(null=True)
    bot = BooleanField()
    is_unique = BooleanField()

    class Meta:
        table_name = "scans"
        indexes = (
            (("code", "at"), False),
            (("organization_id", "at"), False),
            (("code", "visitor"), False),
        )


class Salt(Model):
    day = DateField(primary_key=True)
    salt = BlobField()

    class Meta:
        table_name = "salts"


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Create every table."""
    models = [
        Organization,
        BusinessCode,
        User,
        Membership,
        Session,
        ApiKey,
        Code,
        CodeTag,
        CodeCount,
        IdempotencyKey,
        Scan,
        Salt,
    ]
    # The file is loaded anew for each run, so binding these classes binds nobody else's.
    with db.bind_ctx(models):
        db.create_tables(models, safe=False)
