"""That tests get databases in which other tests have left nothing."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.servers import Copies, Postgres


def contents(server: Postgres, database: str) -> dict[str, Any]:
    with psycopg.connect(server.dsn(database), autocommit=True) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = {
            name: sorted(map(str, connection.execute(f"SELECT * FROM {name}").fetchall()))
            for (name,) in names.fetchall()
        }
        found = connection.execute("SELECT sequencename, last_value FROM pg_sequences")
        return {"rows": rows, "sequences": sorted(map(str, found.fetchall()))}


def test_a_database_that_is_used_again_has_what_migrations_put_there_and_nothing_else(
    postgres_server: Postgres, migrated_copies: Copies, migrated_template: str
) -> None:
    fresh = contents(postgres_server, migrated_template)
    assert any(fresh["rows"].values())
    assert not all(fresh["rows"].values())
    name = migrated_copies.take()
    with psycopg.connect(postgres_server.dsn(name)) as connection:
        connection.execute("SET session_replication_role = replica")
        for table, rows in fresh["rows"].items():
            if rows:
                connection.execute(f"DELETE FROM {table}")
        connection.execute("INSERT INTO cache_epochs VALUES ('image', 17)")
        connection.execute("SELECT nextval('scans_id_seq')")
        connection.commit()
        assert contents(postgres_server, name) != fresh
        # Somebody who is still connected, and holds a table.
        connection.execute("LOCK TABLE organizations")
        migrated_copies.give_back(name)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert contents(postgres_server, name) == fresh
    assert migrated_copies.take() == name
    migrated_copies.give_back(name)


@pytest.mark.parametrize(
    "change", ["ALTER TABLE codes ADD COLUMN more text", "CREATE INDEX more ON codes (title)"]
)
def test_a_database_whose_tables_were_changed_is_not_used_again(
    postgres_server: Postgres, migrated_copies: Copies, change: str
) -> None:
    name = migrated_copies.take()
    with psycopg.connect(postgres_server.dsn(name)) as connection:
        connection.execute(change)
    migrated_copies.give_back(name)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(postgres_server.dsn(name))
