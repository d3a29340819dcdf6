"""Second factors and their recovery codes. Frozen."""

# ruff: noqa: D101, D106

from __future__ import annotations

from peewee import (
    BigIntegerField,
    BlobField,
    BooleanField,
    Database,
    ForeignKeyField,
    Model,
    UUIDField,
)
from playhouse.migrate import SchemaMigrator


class User(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        table_name = "users"


class SecondFactor(Model):
    user = ForeignKeyField(User, primary_key=True, on_delete="CASCADE", index=False)
    secret = BlobField()
    created_at = BigIntegerField()
    confirmed = BooleanField()
    last_step = BigIntegerField()

    class Meta:
        table_name = "second_factors"


class RecoveryCode(Model):
    code_hash = BlobField(primary_key=True)
    user = ForeignKeyField(User, on_delete="CASCADE")

    class Meta:
        table_name = "recovery_codes"


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Add the tables."""
    del migrator
    tables = [SecondFactor, RecoveryCode]
    with db.bind_ctx([User, *tables]):
        db.create_tables(tables, safe=False)
