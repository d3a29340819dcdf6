"""The counts of scans by time and by what is known of them. Frozen, as the first tables are."""

# ruff: noqa: D101, D106

from __future__ import annotations

from peewee import (
    SQL,
    BigIntegerField,
    BlobField,
    CompositeKey,
    Database,
    DateField,
    ForeignKeyField,
    IntegerField,
    Model,
    SqliteDatabase,
    TextField,
    UUIDField,
)
from playhouse.migrate import SchemaMigrator


class Organization(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        table_name = "organizations"


class Code(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        table_name = "codes"


class CodeRollup(Model):
    subject = ForeignKeyField(Code, on_delete="CASCADE", index=False)
    dimension = IntegerField()
    size = IntegerField()
    slot = BigIntegerField()
    value = TextField()
    scans = BigIntegerField()
    uniques = BigIntegerField()
    bots = BigIntegerField()

    class Meta:
        table_name = "code_rollups"
        primary_key = CompositeKey("subject", "dimension", "size", "slot", "value")


class OrganizationRollup(Model):
    subject = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    dimension = IntegerField()
    size = IntegerField()
    slot = BigIntegerField()
    value = TextField()
    scans = BigIntegerField()
    uniques = BigIntegerField()
    bots = BigIntegerField()

    class Meta:
        table_name = "organization_rollups"
        primary_key = CompositeKey("subject", "dimension", "size", "slot", "value")


class Visitor(Model):
    day = IntegerField()
    code = ForeignKeyField(Code, on_delete="CASCADE")
    visitor = BlobField()

    class Meta:
        table_name = "visitors"
        primary_key = CompositeKey("day", "code", "visitor")


class JournalPosition(Model):
    source = TextField(primary_key=True)
    position = BigIntegerField()

    class Meta:
        table_name = "journal_positions"


class ScanTally(Model):
    day = DateField(primary_key=True)
    misses = BigIntegerField()
    dropped = BigIntegerField()

    class Meta:
        table_name = "scan_tallies"


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Create the tables; scans tell more, and no longer who scanned."""
    models = [CodeRollup, OrganizationRollup, Visitor, JournalPosition, ScanTally]
    for model in (CodeRollup, OrganizationRollup, Visitor):
        # PERF: the rows lie in the order of their key, and are read by ranges of it.
        model._meta.without_rowid = isinstance(db, SqliteDatabase)
    with db.bind_ctx([Organization, Code, *models]):
        db.create_tables(models, safe=False)
    migrator.migrate(migrator.drop_index("scans", "scan_code_id_visitor"))
    migrator.migrate(migrator.drop_index("scans", "scan_organization_id_at"))
    migrator.migrate(migrator.drop_column("scans", "visitor"))
    for name in ("country", "device", "os", "browser", "language", "referrer"):
        empty = TextField(constraints=[SQL("DEFAULT ''")], default="")
        migrator.migrate(migrator.add_column("scans", name, empty))
