"""How often the counts of a code or organisation have changed. Frozen."""

# ruff: noqa: D101, D106

from __future__ import annotations

from peewee import BigIntegerField, Database, Model, SqliteDatabase, UUIDField
from playhouse.migrate import SchemaMigrator


class Generation(Model):
    subject_id = UUIDField(primary_key=True)
    number = BigIntegerField()

    class Meta:
        table_name = "generations"


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Create the table; what has no row has not changed since."""
    del migrator
    Generation._meta.without_rowid = isinstance(db, SqliteDatabase)
    with db.bind_ctx([Generation]):
        db.create_tables([Generation], safe=False)
