"""Style presets, logos, and what a business code was made of. Frozen, as the first tables are."""

# ruff: noqa: D101, D106

from __future__ import annotations

from peewee import (
    SQL,
    BigIntegerField,
    BlobField,
    BooleanField,
    Database,
    DoubleField,
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


class Logo(Model):
    id = UUIDField(primary_key=True)
    organization = ForeignKeyField(Organization, on_delete="CASCADE")
    name = TextField()
    media_type = TextField()
    width = DoubleField()
    height = DoubleField()
    created_at = BigIntegerField()
    data = BlobField()

    class Meta:
        table_name = "logos"


class Style(Model):
    id = UUIDField(primary_key=True)
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    name = TextField()
    look = TextField()
    is_default = BooleanField()
    created_at = BigIntegerField()
    updated_at = BigIntegerField()
    name_key = TextField()
    logo = ForeignKeyField(Logo, null=True)

    class Meta:
        table_name = "styles"
        indexes = ((("organization", "name_key"), True),)


Style.add_index(
    Style.index(Style.organization, unique=True, where=SQL("is_default"), name="styles_default")
)


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Create both tables and add the column."""
    with db.bind_ctx([Organization, Logo, Style]):
        db.create_tables([Logo, Style], safe=False)
    document = TextField(null=True)
    migrator.migrate(migrator.add_column("business_codes", "document", document))
