"""What every storage promises of its audit log; each test runs on all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import peewee
import pytest
from msgspec.structs import replace

from core.api import (
    Action,
    Actor,
    ActorKind,
    AuditEntry,
    AuditFilter,
    Change,
    Organization,
    Storage,
    StorageUnavailable,
    Subject,
    SubjectKind,
)
from core.domain.audit import entry_id, first_id
from tests.servers import Backend

NOW = datetime(2026, 3, 29, 1, 2, 3, 456789, tzinfo=UTC)
LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
ORGANIZATION, OTHER = UUID(int=1), UUID(int=2)
EVERYTHING = AuditFilter()


@pytest.fixture
def storage(backend: Backend) -> Storage:
    return backend.storage


def make_entry(at: datetime = NOW, number: int = 0, **values: Any) -> AuditEntry:
    entry = AuditEntry(
        id=entry_id(at, number, b"chance"),
        organization_id=ORGANIZATION,
        at=at,
        actor=Actor(ActorKind.USER, UUID(int=7), "ada@example.com"),
        action=Action.CODE_CHANGE,
        subject=Subject(SubjectKind.CODE, UUID(int=8), "menu"),
        changes={"title": Change("", "Speisekarte 🍽"), "max_scans": Change(None, 5)},
        address="203.0.113.0/24",
        request_id="0123456789abcdef",
    )
    return replace(entry, **values)


def append(storage: Storage, *entries: AuditEntry) -> None:
    for entry in entries:
        storage.audit.append(entry)


def test_entries_come_back_as_they_were_written_the_newest_first(storage: Storage) -> None:
    whole = make_entry()
    bare = make_entry(
        NOW + timedelta(microseconds=1),
        actor=Actor(ActorKind.OPERATOR, None, ""),
        subject=Subject(SubjectKind.CODE, None, "1000 codes"),
        changes={"tags": Change(None, ["a", "b"])},
        address="",
        request_id="",
    )
    elsewhere = make_entry(organization_id=OTHER, number=3)
    append(storage, bare, elsewhere, whole)

    assert list(storage.audit.entries(ORGANIZATION, EVERYTHING, 10)) == [bare, whole]
    assert list(storage.audit.entries(OTHER, EVERYTHING, 10)) == [elsewhere]
    assert list(storage.audit.entries(ORGANIZATION, EVERYTHING, 1)) == [bare]


def test_a_filter_holds_entries_to_everything_that_it_names(storage: Storage) -> None:
    key = Actor(ActorKind.API_KEY, UUID(int=9), "till")
    entries = [
        make_entry(NOW + timedelta(seconds=n), actor=actor, action=action, subject=subject)
        for n, (actor, action, subject) in enumerate(
            (actor, action, Subject(SubjectKind.CODE, code, ""))
            for actor in (key, make_entry().actor)
            for action in (Action.CODE_CHANGE, Action.CODE_DELETE)
            for code in (UUID(int=8), None)
        )
    ]
    append(storage, *entries)

    def found(**wanted: Any) -> set[int]:
        return {
            entries.index(entry)
            for entry in storage.audit.entries(ORGANIZATION, AuditFilter(**wanted), 100)
        }

    assert found() == set(range(8))
    assert found(actor=key.id) == found(actor_kind=ActorKind.API_KEY) == {0, 1, 2, 3}
    assert found(action=Action.CODE_DELETE) == {2, 3, 6, 7}
    assert found(subject=UUID(int=8)) == {0, 2, 4, 6}
    assert found(first=entries[2].id) == {2, 3, 4, 5, 6, 7}
    assert found(before=entries[2].id) == {0, 1}
    assert found(first=first_id(entries[2].at), before=first_id(entries[4].at)) == {2, 3}
    assert found(actor=key.id, action=Action.CODE_DELETE, subject=UUID(int=8)) == {2}
    assert found(actor=uuid4()) == set()


def test_an_entry_shares_the_fate_of_its_transaction(storage: Storage) -> None:
    organization = Organization(ORGANIZATION, "Harbour", "harbour", NOW)

    def write(entry: AuditEntry, *, fail: bool = False) -> None:
        with storage.transaction():
            storage.organizations.add(organization)
            storage.audit.append(entry)
            if fail:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        write(make_entry(), fail=True)
    assert storage.audit.entries(ORGANIZATION, EVERYTHING, 10) == []

    append(storage, make_entry())
    with pytest.raises(peewee.IntegrityError):
        write(make_entry())
    assert storage.organizations.get(ORGANIZATION) is None

    write(make_entry(number=1))
    assert storage.organizations.get(ORGANIZATION) == organization
    assert len(storage.audit.entries(ORGANIZATION, EVERYTHING, 10)) == 2


def test_entries_outlive_their_organization(storage: Storage) -> None:
    storage.organizations.add(Organization(ORGANIZATION, "Harbour", "harbour", NOW))
    append(storage, make_entry())
    storage.organizations.delete(ORGANIZATION)
    assert len(storage.audit.entries(ORGANIZATION, EVERYTHING, 10)) == 1


def test_the_oldest_entries_of_all_organizations_are_pruned_a_few_at_a_time(
    storage: Storage,
) -> None:
    old = [
        make_entry(LONG_AGO + timedelta(days=n), organization_id=(ORGANIZATION, OTHER)[n % 2])
        for n in range(6)
    ]
    append(storage, *old)
    before = first_id(old[5].at)

    assert storage.audit.prune(before, 3) == 3
    left = storage.audit.entries(ORGANIZATION, EVERYTHING, 10)
    assert list(left) == [old[4]]
    assert storage.audit.prune(before, 3) == 2
    assert storage.audit.prune(before, 3) == 0
    assert list(storage.audit.entries(OTHER, EVERYTHING, 10)) == [old[5]]


def test_young_entries_are_not_pruned_whatever_the_clock_says(storage: Storage) -> None:
    young = make_entry(datetime.now(UTC) - timedelta(days=29))
    append(storage, young)
    with pytest.raises(StorageUnavailable, match="clocks"):
        storage.audit.prune(first_id(datetime.now(UTC) + timedelta(days=999)), 10)
    assert list(storage.audit.entries(ORGANIZATION, EVERYTHING, 10)) == [young]


def test_the_log_offers_nothing_that_changes_it(storage: Storage) -> None:
    offered = {name for name in dir(storage.audit) if not name.startswith("_")}
    assert offered == {"append", "entries", "prune"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET actor = 'somebody else'",
        "UPDATE audit_entries SET changes = '{}' WHERE action = 'code.change'",
        "DELETE FROM audit_entries",
    ],
)
def test_the_database_refuses_to_change_or_remove_entries(backend: Backend, statement: str) -> None:
    storage: Any = backend.storage
    entry = make_entry(datetime.now(UTC))
    append(storage, entry)
    with (
        pytest.raises(peewee.IntegrityError, match="cannot be"),
        storage._connections.transaction() as database,
    ):
        database.execute_sql(statement)
    assert list(storage.audit.entries(ORGANIZATION, EVERYTHING, 10)) == [entry]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_sqlite_refuses_to_replace_entries(backend: Backend) -> None:
    storage: Any = backend.storage
    entry = make_entry()
    append(storage, entry)
    with (
        pytest.raises(peewee.IntegrityError, match="cannot be"),
        storage._connections.transaction() as database,
    ):
        database.execute_sql(
            "INSERT OR REPLACE INTO audit_entries SELECT id, organization_id, at, actor_kind,"
            " actor_id, 'somebody else', action, subject_kind, subject_id, subject, changes,"
            " address, request_id FROM audit_entries"
        )
    assert list(storage.audit.entries(ORGANIZATION, EVERYTHING, 10)) == [entry]


def test_postgresql_refuses_to_empty_the_table(postgres_dsn: str) -> None:
    storage: Any = Backend.at("postgres", postgres_dsn).storage
    storage.open()
    append(storage, make_entry(LONG_AGO))
    with (
        pytest.raises(peewee.IntegrityError, match="cannot be"),
        storage._connections.transaction() as database,
    ):
        database.execute_sql("TRUNCATE audit_entries")
    assert len(storage.audit.entries(ORGANIZATION, EVERYTHING, 10)) == 1
    storage.close()
