"""Codes that are deleted, and removed a little at a time; scans by their age."""

from __future__ import annotations

from typing import Any

from peewee import SQL, BooleanField, Database
from playhouse.migrate import SchemaMigrator


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Add the column, indexes, and the organisation of the codes whose own one is deleted."""
    standing = BooleanField(constraints=[SQL("DEFAULT FALSE")], default=False)
    migrator.migrate(migrator.add_column("codes", "deleted", standing))
    database: Any = db
    database.execute_sql("CREATE INDEX codes_deleted ON codes (deleted) WHERE deleted")
    database.execute_sql("CREATE INDEX scan_at ON scans (at)")
    database.execute_sql(
        "INSERT INTO organizations (id, name, slug, created_at)"
        " VALUES ('00000000000000000000000000000000', '', '~deleted', 0)"
    )
