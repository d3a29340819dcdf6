"""What is known of a quarter hour, in one row; and since when scans are kept. Frozen as well."""

# ruff: noqa: D101, D106

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec
from peewee import (
    BigIntegerField,
    BlobField,
    CompositeKey,
    Database,
    ForeignKeyField,
    IntegerField,
    Model,
    SqliteDatabase,
    UUIDField,
)
from playhouse.migrate import SchemaMigrator

_DAY = 86_400_000_000


class Organization(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        table_name = "organizations"


class Code(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        table_name = "codes"


class CodeQuarter(Model):
    subject = ForeignKeyField(Code, on_delete="CASCADE", index=False)
    slot = BigIntegerField()
    parts = BlobField()

    class Meta:
        table_name = "code_quarters"
        primary_key = CompositeKey("subject", "slot")


class OrganizationQuarter(Model):
    subject = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    slot = BigIntegerField()
    parts = BlobField()

    class Meta:
        table_name = "organization_quarters"
        primary_key = CompositeKey("subject", "slot")


class KeptScans(Model):
    id = IntegerField(primary_key=True)
    since = BigIntegerField()

    class Meta:
        table_name = "kept_scans"


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Pack the rows of quarter hours, and note from which day on all scans are there."""
    del migrator
    database: Any = db
    tables = [("code", CodeQuarter), ("organization", OrganizationQuarter)]
    for _, model in tables:
        model._meta.without_rowid = isinstance(db, SqliteDatabase)
    with db.bind_ctx([Organization, Code, CodeQuarter, OrganizationQuarter, KeptScans]):
        db.create_tables([CodeQuarter, OrganizationQuarter, KeptScans], safe=False)
        for name, model in tables:
            _pack(database, name, model)
        oldest_scan = database.execute_sql("SELECT MIN(at) FROM scans").fetchone()[0]
        counted = "SELECT MIN(slot) FROM code_rollups WHERE size = 96"
        oldest_day = database.execute_sql(counted).fetchone()[0]
        since = 0
        if oldest_scan is not None and oldest_day is not None:
            day = oldest_scan // _DAY
            # Days that are counted, but have no scans any more, have lost them to their age; the
            # oldest day with scans may have lost some.
            since = (day + 1) * _DAY if oldest_day // 96 < day else 0
        KeptScans.insert(id=1, since=since).execute()


def _pack(database: Any, name: str, model: Any) -> None:
    rows = database.execute_sql(
        "SELECT subject_id, slot, dimension, value, scans, uniques, bots"  # noqa: S608
        f" FROM {name}_rollups WHERE dimension > 0 AND size = 1 ORDER BY subject_id, slot"
    )
    packed = []
    for (subject, slot), values in groupby(rows.fetchall(), key=itemgetter(0, 1)):
        parts: dict[int, dict[str, list[int]]] = {}
        for _, _, dimension, value, *sums in values:
            parts.setdefault(dimension, {})[value] = sums
        packed.append((subject, slot, msgspec.msgpack.encode(parts)))
    for start in range(0, len(packed), 1000):
        fields = [model.subject, model.slot, model.parts]
        model.insert_many(packed[start : start + 1000], fields=fields).execute()
    database.execute_sql(f"DELETE FROM {name}_rollups WHERE dimension > 0 AND size = 1")  # noqa: S608
