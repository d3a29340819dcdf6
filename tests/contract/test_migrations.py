"""What a migration makes of the rows that it finds; each test runs on both databases."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from playhouse.migrations import Runner

from core.api import Count, DayCounts, Dimension, Role
from plugins.storage.database import MIGRATIONS
from tests.servers import Backend

DAY = 96
TODAY = (datetime(2026, 3, 29, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(days=1)


def rollups(quarters: dict[int, Count]) -> list[tuple[int, int, int, str, int, int, int]]:
    """The rows that counted these quarter hours of one subject until days had one row each."""
    rows: dict[tuple[int, int, int, str], list[int]] = {}
    for slot, count in quarters.items():
        for dimension, sizes in ((0, (1, 4, DAY)), (1, (DAY,))):
            for size in sizes:
                key = (dimension, size, slot // size * size, "DE" if dimension else "")
                sums = rows.setdefault(key, [0, 0, 0])
                for n, number in enumerate((count.scans, count.unique, count.bots)):
                    sums[n] += number
    return [(*key, *sums) for key, sums in rows.items()]


def test_the_counts_of_quarter_hours_and_hours_move_into_days(empty_backend: Backend) -> None:
    storage: Any = empty_backend.storage
    storage.open()
    connections, chance = storage._connections, random.Random(3)
    organization, code = uuid4(), uuid4()
    quarters = {
        (TODAY - day) * DAY + slot: Count(chance.randrange(5), 0, chance.randrange(1, 5))
        for day in (0, 3)
        for slot in chance.sample(range(DAY), 20)
    }
    with connections.connection() as database:
        Runner(database, str(MIGRATIONS)).up("0004_quarters")
        database.execute_sql(
            connections.sql(
                "INSERT INTO organizations (id, name, slug, created_at) VALUES (?, 'Q', 'quay', 0)"
            ),
            (connections.key(organization),),
        )
        database.execute_sql(
            connections.sql(
                "INSERT INTO codes (id, organization_id, slug, slug_key, destination, title,"
                " title_key, search_text, tags, active, forward_query, revision, created_at,"
                " updated_at) VALUES (?, ?, 'menu', 'menu', 'https://a.example', '', '', '', '[]',"
                " TRUE, FALSE, 1, 0, 0)"
            ),
            (connections.key(code), connections.key(organization)),
        )
        for name, subject in (("code", code), ("organization", organization)):
            insert = f"INSERT INTO {name}_rollups VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            for row in rollups(quarters):
                parameters = (connections.key(subject), *row)
                database.execute_sql(connections.sql(insert), parameters)

    storage.migrate()

    span = ((TODAY - 5) * DAY, (TODAY + 1) * DAY)
    for code_id in (code, None):
        found = empty_backend.scans.days(organization, code_id, span)
        assert as_quarters(found) == quarters
        spans = [(slot, slot + 30) for slot in range(*span, 30)]
        for (first, past), count in zip(
            spans, empty_backend.scans.counts(organization, code_id, spans), strict=True
        ):
            within = [one for slot, one in quarters.items() if first <= slot < past]
            assert count.scans == sum(one.scans for one in within)
            assert count.bots == sum(one.bots for one in within)
        by_country = empty_backend.scans.breakdowns(organization, code_id, span)
        assert by_country[Dimension.COUNTRY]["DE"].bots == sum(c.bots for c in quarters.values())
    storage.close()


def test_nobody_becomes_an_operator_by_an_upgrade_and_nothing_is_lost(
    empty_backend: Backend,
) -> None:
    storage: Any = empty_backend.storage
    storage.open()
    connections = storage._connections
    organization, user, key = uuid4(), uuid4(), uuid4()
    rows: list[tuple[str, tuple[Any, ...]]] = [
        ("organizations (id, name, slug, created_at)", (organization, "Q", "quay", 1)),
        (
            "users (id, email, name, password_hash, created_at)",
            (user, "ada@example.com", "Ada", "hash", 1),
        ),
        (
            "memberships (organization_id, user_id, role, created_at)",
            (organization, user, "owner", 1),
        ),
        (
            "sessions (token_hash, user_id, created_at, last_seen_at, expires_at)",
            (b"session", user, 1, 1, 1),
        ),
        (
            "api_keys (id, organization_id, name, role, prefix, token_hash, created_at)",
            (key, organization, "till", "admin", "qz_abc", b"key", 1),
        ),
    ]
    with connections.connection() as database:
        Runner(database, str(MIGRATIONS)).up("0007_generations")
        for columns, values in rows:
            marks = ", ".join("?" * len(values))
            parameters = [connections.key(v) if isinstance(v, UUID) else v for v in values]
            database.execute_sql(
                connections.sql(f"INSERT INTO {columns} VALUES ({marks})"), parameters
            )

    assert "0008_operators" in storage.migrate()

    assert storage.users.operators() == storage.api_keys.operators() == []
    found, person = storage.sessions.get(b"session")
    assert (found.user_id, person.email, person.operator) == (user, "ada@example.com", False)
    assert storage.users.get(user) == person
    assert storage.memberships.role(organization, user) == Role.OWNER
    assert storage.api_keys.by_hash(b"key") == storage.api_keys.get(key)
    assert storage.api_keys.get(key).operator is False
    assert storage.cache_epochs.all() == {}
    storage.close()


def as_quarters(found: Any) -> dict[int, Count]:
    days: list[DayCounts] = list(found)
    return {
        slot: count
        for day in days
        for slot, count in enumerate(map(Count, day.scans, day.unique, day.bots), day.slot)
        if count != Count()
    }


def test_keys_belong_to_the_members_who_have_made_them(empty_backend: Backend) -> None:
    storage: Any = empty_backend.storage
    storage.open()
    connections, people, keys = storage._connections, [uuid4() for _ in range(2)], {}
    organization = uuid4()

    def insert(database: Any, table: str, **values: Any) -> None:
        places = ", ".join("?" * len(values))
        row = [connections.key(v) if isinstance(v, UUID) else v for v in values.values()]
        statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})"
        database.execute_sql(connections.sql(statement), row)

    with connections.connection() as database:
        Runner(database, str(MIGRATIONS)).up("0012_audit")
        insert(database, "organizations", id=organization, name="Q", slug="quay", created_at=0)
        for number, person in enumerate(people):
            insert(
                *(database, "users"),
                id=person,
                email=f"{number}@a.example",
                name="",
                password_hash="",
                created_at=0,
            )
        member, gone = people
        insert(
            *(database, "memberships"),
            organization_id=organization,
            user_id=member,
            role=Role.ADMIN.value,
            created_at=0,
        )
        for name, kind, actor in (
            ("of a member", "user", member),
            ("of one who has left", "user", gone),
            ("of a key", "api_key", member),
            ("of nobody", "", None),
        ):
            keys[name] = key = uuid4()
            insert(
                *(database, "api_keys"),
                id=key,
                organization_id=organization,
                name=name,
                role="admin",
                prefix="qz_",
                token_hash=name.encode(),
                created_at=0,
            )
            if actor is not None:
                insert(
                    *(database, "audit_entries"),
                    id=uuid4(),
                    organization_id=organization,
                    at=0,
                    actor_kind=kind,
                    actor_id=actor,
                    actor="",
                    action="api_key.create",
                    subject_kind="api_key",
                    subject_id=key,
                    subject="",
                    changes="{}",
                    address="",
                    request_id="",
                )

    storage.migrate()

    makers = {key.name: key.created_by for key in storage.api_keys.of_organization(organization)}
    assert makers == {**dict.fromkeys(keys), "of a member": member}
    storage.close()
