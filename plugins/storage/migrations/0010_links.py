"""Invitations, and links that set a new password. Frozen."""

# ruff: noqa: D101, D106

from __future__ import annotations

from peewee import (
    BigIntegerField,
    BlobField,
    Database,
    ForeignKeyField,
    Model,
    TextField,
    UUIDField,
)
from playhouse.migrate import SchemaMigrator


class Organization(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        table_name = "organizations"


class User(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        table_name = "users"


class Invitation(Model):
    id = UUIDField(primary_key=True)
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    email = TextField()
    role = TextField()
    invited_by = ForeignKeyField(User, null=True, on_delete="SET NULL")
    token_hash = BlobField(unique=True)
    created_at = BigIntegerField()
    expires_at = BigIntegerField(index=True)

    class Meta:
        table_name = "invitations"
        indexes = ((("organization", "email"), True),)


class PasswordReset(Model):
    token_hash = BlobField(primary_key=True)
    user = ForeignKeyField(User, on_delete="CASCADE")
    created_at = BigIntegerField()
    expires_at = BigIntegerField(index=True)

    class Meta:
        table_name = "password_resets"


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Add the tables."""
    del migrator
    tables = [Invitation, PasswordReset]
    with db.bind_ctx([Organization, User, *tables]):
        db.create_tables(tables, safe=False)
