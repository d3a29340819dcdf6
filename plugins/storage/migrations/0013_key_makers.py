"""Who made an API key. Frozen."""

# ruff: noqa: D101, D106

from __future__ import annotations

from peewee import Database, ForeignKeyField, Model, UUIDField
from playhouse.migrate import SchemaMigrator


class User(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        table_name = "users"


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Add the column; of keys that there are already nobody knows who made them."""
    del db
    made_by = ForeignKeyField(User, field=User.id, null=True, on_delete="SET NULL", index=False)
    migrator.migrate(migrator.add_column("api_keys", "created_by_id", made_by))
