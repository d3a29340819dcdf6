"""When the counts of a code or organisation have changed. Frozen."""

from __future__ import annotations

from peewee import BigIntegerField, Database
from playhouse.migrate import SchemaMigrator


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Add the column; of what has changed before, nobody knows when."""
    del db
    migrator.migrate(migrator.add_column("generations", "changed_at", BigIntegerField(null=True)))
