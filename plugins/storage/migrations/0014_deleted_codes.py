"""Deleted codes that are still there, by their organisations. Frozen."""

from __future__ import annotations

from typing import Any

from peewee import Database
from playhouse.migrate import SchemaMigrator


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Replace the index: those of one organisation are counted, whatever others have deleted."""
    del migrator
    database: Any = db
    database.execute_sql("DROP INDEX codes_deleted")
    database.execute_sql("CREATE INDEX codes_deleted ON codes (organization_id) WHERE deleted")
