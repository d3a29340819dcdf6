"""The quarter hours of a day in one row, and what is known of its scans by the day. Frozen."""

# ruff: noqa: D101, D106

from __future__ import annotations

from itertools import groupby
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


class CodeValue(Model):
    subject = ForeignKeyField(Code, on_delete="CASCADE", index=False)
    dimension = IntegerField()
    day = IntegerField()
    value = TextField()
    scans = BigIntegerField()
    uniques = BigIntegerField()
    bots = BigIntegerField()

    class Meta:
        table_name = "code_values"
        primary_key = CompositeKey("subject", "dimension", "day", "value")


class OrganizationValue(Model):
    subject = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    dimension = IntegerField()
    day = IntegerField()
    value = TextField()
    scans = BigIntegerField()
    uniques = BigIntegerField()
    bots = BigIntegerField()

    class Meta:
        table_name = "organization_values"
        primary_key = CompositeKey("subject", "dimension", "day", "value")


class CodeDay(Model):
    subject = ForeignKeyField(Code, on_delete="CASCADE", index=False)
    day = IntegerField()
    scans = BigIntegerField()
    uniques = BigIntegerField()
    bots = BigIntegerField()
    quarters = BlobField()

    class Meta:
        table_name = "code_days"
        primary_key = CompositeKey("subject", "day")


class OrganizationDay(Model):
    subject = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    day = IntegerField()
    scans = BigIntegerField()
    uniques = BigIntegerField()
    bots = BigIntegerField()
    quarters = BlobField()

    class Meta:
        table_name = "organization_days"
        primary_key = CompositeKey("subject", "day")


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Move the counts from the rows of quarter hours, hours and days."""
    del migrator
    models = [CodeValue, OrganizationValue, CodeDay, OrganizationDay]
    for model in models:
        # PERF: the rows lie in the order of their key, and are read by ranges of it.
        model._meta.without_rowid = isinstance(db, SqliteDatabase)
    with db.bind_ctx([Organization, Code, *models]):
        db.create_tables(models, safe=False)
        for name, model in (("code", CodeDay), ("organization", OrganizationDay)):
            _move(db, name, model)


def _move(database: Any, name: str, model: Any) -> None:
    columns = "subject_id, dimension, day, value, scans, uniques, bots"
    database.execute_sql(
        f"INSERT INTO {name}_values ({columns})"  # noqa: S608
        f" SELECT {columns.replace('day', 'slot / 96')} FROM {name}_rollups"
        " WHERE dimension > 0 AND size = 96"
    )
    subjects = database.execute_sql(f"SELECT DISTINCT subject_id FROM {name}_rollups")  # noqa: S608
    for (subject,) in subjects.fetchall():
        rows = database.execute_sql(
            f"SELECT slot, scans, uniques, bots FROM {name}_rollups"  # noqa: S608
            f" WHERE subject_id = {database.param} AND dimension = 0 AND size = 1 ORDER BY slot",
            (subject,),
        )
        days = [
            (subject, day, *_packed(list(quarters)))
            for day, quarters in groupby(rows.fetchall(), key=lambda row: row[0] // 96)
        ]
        fields = [model.subject, model.day, model.scans, model.uniques, model.bots, model.quarters]
        for start in range(0, len(days), 1000):
            model.insert_many(days[start : start + 1000], fields=fields).execute()
    database.execute_sql(f"DROP TABLE {name}_rollups")


def _packed(quarters: list[tuple[int, int, int, int]]) -> tuple[int, int, int, bytes]:
    """The sums of a day, and its numbers from the first quarter hour on that has any."""
    first, last = quarters[0][0], quarters[-1][0]
    numbers = [[0] * (last - first + 1) for _ in range(3)]
    for slot, *counts in quarters:
        for own, count in zip(numbers, counts, strict=True):
            own[slot - first] = count
    packed = msgspec.msgpack.encode((first % 96, *numbers))
    return sum(numbers[0]), sum(numbers[1]), sum(numbers[2]), packed
