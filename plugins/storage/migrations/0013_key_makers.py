"""Who made an API key. Frozen."""

# ruff: noqa: D101, D106

from __future__ import annotations

from typing import Any

from peewee import Database, ForeignKeyField, Model, UUIDField
from playhouse.migrate import SchemaMigrator


class User(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        table_name = "users"


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Add the column, and fill it for those of whom the audit log knows; members alone count."""
    made_by = ForeignKeyField(User, field=User.id, null=True, on_delete="SET NULL", index=False)
    migrator.migrate(migrator.add_column("api_keys", "created_by_id", made_by))
    database: Any = db
    database.execute_sql(
        "UPDATE api_keys SET created_by_id = ("
        "SELECT m.user_id FROM memberships AS m"
        " JOIN audit_entries AS a ON a.actor_id = m.user_id"
        " WHERE a.action = 'api_key.create' AND a.actor_kind = 'user'"
        " AND a.organization_id = api_keys.organization_id AND a.subject_id = api_keys.id"
        " AND m.organization_id = api_keys.organization_id LIMIT 1)"
    )
