"""The audit log, and the triggers that keep it as it was written. Frozen."""

# ruff: noqa: D101, D106

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, Database, Model, PostgresqlDatabase, TextField, UUIDField
from playhouse.migrate import SchemaMigrator


class AuditEntry(Model):
    id = UUIDField(primary_key=True)
    organization_id = UUIDField()
    at = BigIntegerField()
    actor_kind = TextField()
    actor_id = UUIDField(null=True)
    actor = TextField()
    action = TextField()
    subject_kind = TextField()
    subject_id = UUIDField(null=True)
    subject = TextField()
    changes = TextField()
    address = TextField()
    request_id = TextField()

    class Meta:
        table_name = "audit_entries"
        indexes = ((("organization_id", "id"), False),)


# 2,592,000 seconds are 30 days. The clock is the database's own.
_SQLITE = (
    (
        "CREATE TRIGGER audit_entries_stay BEFORE UPDATE ON audit_entries"
        " BEGIN SELECT RAISE(ABORT, 'audit entries cannot be changed'); END"
    ),
    (
        "CREATE TRIGGER audit_entries_remain BEFORE DELETE ON audit_entries"
        " WHEN OLD.at > (CAST(strftime('%s', 'now') AS INTEGER) - 2592000) * 1000000"
        " BEGIN SELECT RAISE(ABORT, 'audit entries of 30 days cannot be removed'); END"
    ),
    # What REPLACE replaces is neither updated nor deleted, as far as triggers are asked.
    (
        "CREATE TRIGGER audit_entries_once BEFORE INSERT ON audit_entries"
        " WHEN EXISTS (SELECT 1 FROM audit_entries WHERE id = NEW.id)"
        " BEGIN SELECT RAISE(ABORT, 'audit entries cannot be replaced'); END"
    ),
)
_POSTGRES = (
    (
        "CREATE FUNCTION audit_entries_stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'audit entries cannot be changed' USING ERRCODE = 'restrict_violation';"
        " END $$"
    ),
    (
        "CREATE FUNCTION audit_entries_remain() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF OLD.at > (extract(epoch FROM now()) - 2592000) * 1000000 THEN"
        " RAISE EXCEPTION 'audit entries of 30 days cannot be removed'"
        " USING ERRCODE = 'restrict_violation';"
        " END IF; RETURN OLD; END $$"
    ),
    (
        "CREATE TRIGGER audit_entries_stay BEFORE UPDATE ON audit_entries"
        " FOR EACH ROW EXECUTE FUNCTION audit_entries_stay()"
    ),
    (
        "CREATE TRIGGER audit_entries_remain BEFORE DELETE ON audit_entries"
        " FOR EACH ROW EXECUTE FUNCTION audit_entries_remain()"
    ),
    (
        "CREATE TRIGGER audit_entries_whole BEFORE TRUNCATE ON audit_entries"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_stay()"
    ),
)


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Add the table, without any entry of what was done before."""
    del migrator
    with db.bind_ctx([AuditEntry]):
        db.create_tables([AuditEntry], safe=False)
    database: Any = db
    for statement in _POSTGRES if isinstance(db, PostgresqlDatabase) else _SQLITE:
        database.execute_sql(statement)
