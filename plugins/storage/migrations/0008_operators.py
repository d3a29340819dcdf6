"""Who may look after the installation, and the numbers in the keys of caches. Frozen."""

# ruff: noqa: D101, D106

from __future__ import annotations

from peewee import SQL, BigIntegerField, BooleanField, Database, Model, TextField
from playhouse.migrate import SchemaMigrator


class CacheEpoch(Model):
    namespace = TextField(primary_key=True)
    number = BigIntegerField()

    class Meta:
        table_name = "cache_epochs"


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Add the columns, which make nobody an operator, and the table, where a missing row is 0."""
    for table in ("users", "api_keys"):
        operator = BooleanField(constraints=[SQL("DEFAULT FALSE")], default=False)
        # The default stands in the column itself: no database has to write the rows anew.
        migrator.migrate(migrator.add_column(table, "operator", operator, allow_not_null=True))
    with db.bind_ctx([CacheEpoch]):
        db.create_tables([CacheEpoch], safe=False)
