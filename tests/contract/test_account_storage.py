"""What every storage promises of invitations, links and sessions; each test runs on all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from core.api import (
    ApiKey,
    Conflict,
    Invitation,
    Membership,
    Organization,
    PasswordReset,
    Role,
    SecondFactor,
    Session,
    Storage,
    User,
)
from tests.contract.test_storage import at_the_same_time
from tests.servers import Backend

NOW = datetime(2026, 3, 29, 1, 2, 3, 456789, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def storage(backend: Backend) -> Storage:
    return backend.storage


@pytest.fixture
def organization(storage: Storage) -> Organization:
    return add_organization(storage, "harbour")


@pytest.fixture
def user(storage: Storage) -> User:
    return add_user(storage, "ada@example.com")


def add_organization(storage: Storage, slug: str) -> Organization:
    organization = Organization(uuid4(), slug, slug, NOW)
    storage.organizations.add(organization)
    return organization


def add_user(storage: Storage, email: str) -> User:
    user = User(uuid4(), email, "", "$argon2id$", NOW)
    storage.users.add(user)
    return user


def invitation(organization: Organization, token: bytes = b"\x00\xff", **values: Any) -> Invitation:
    made = Invitation(
        uuid4(), organization.id, "bob@example.com", Role.EDITOR, None, token, NOW, LATER
    )
    return replace(made, **values)


def session(user: User, token: bytes, **values: Any) -> Session:
    return replace(Session(token, user.id, NOW, NOW, LATER), **values)


# Invitations


def test_an_invitation_comes_back_as_it_was_stored(
    storage: Storage, organization: Organization, user: User
) -> None:
    by_key = invitation(organization)
    by_user = invitation(organization, b"user", invited_by=user.id, email="c@example.com")
    for made in (by_key, by_user):
        storage.invitations.put(made)
        assert storage.invitations.by_hash(made.token_hash) == made
    assert storage.invitations.by_hash(b"other") is None


def test_invitations_are_listed_oldest_first_and_by_organization(
    storage: Storage, organization: Organization
) -> None:
    young = invitation(organization, b"1", created_at=LATER, email="a@example.com")
    old = invitation(organization, b"2", email="z@example.com", expires_at=NOW)
    foreign = invitation(add_organization(storage, "other"), b"3")
    for made in (young, old, foreign):
        storage.invitations.put(made)
    assert storage.invitations.of_organization(organization.id) == [old, young]
    assert storage.invitations.of_organization(uuid4()) == []


def test_a_second_invitation_takes_the_place_of_the_first(
    storage: Storage, organization: Organization, user: User
) -> None:
    storage.invitations.put(invitation(organization, b"first", invited_by=user.id))
    second = invitation(
        organization, b"second", role=Role.OWNER, created_at=LATER, expires_at=LATER
    )
    storage.invitations.put(second)
    elsewhere = invitation(add_organization(storage, "other"), b"third")
    storage.invitations.put(elsewhere)
    assert storage.invitations.of_organization(organization.id) == [second]
    assert storage.invitations.by_hash(b"first") is None
    assert storage.invitations.by_hash(b"third") == elsewhere


def test_nobody_is_invited_to_an_organization_that_was_deleted(
    storage: Storage, organization: Organization
) -> None:
    storage.organizations.delete(organization.id)
    with pytest.raises(Conflict, match="deleted"):
        storage.invitations.put(invitation(organization))


def test_of_many_who_take_an_invitation_one_has_it(
    storage: Storage, organization: Organization
) -> None:
    storage.invitations.put(invitation(organization, b"token"))
    other = add_organization(storage, "other")
    assert storage.invitations.delete(other.id, b"token") is False

    outcomes = at_the_same_time(
        *[lambda: storage.invitations.delete(organization.id, b"token")] * 4
    )
    assert sorted(outcomes) == [False, False, False, True]


def test_keys_know_who_made_them_and_are_handed_over(
    storage: Storage, organization: Organization, user: User
) -> None:
    def made(number: int, created_by: UUID | None) -> ApiKey:
        key = ApiKey(
            id=uuid4(),
            organization_id=organization.id,
            name=f"{number}",
            role=Role.ADMIN,
            prefix="qz_abcdef",
            token_hash=bytes([number]),
            created_at=NOW + timedelta(seconds=number),
            created_by=created_by,
        )
        storage.api_keys.add(key)
        return key

    keys = [made(1, user.id), made(2, None), made(3, user.id)]
    assert storage.api_keys.of_organization(organization.id) == keys
    assert [storage.api_keys.by_hash(key.token_hash) for key in keys] == keys
    assert [storage.api_keys.get(key.id) for key in keys] == keys

    heir = add_user(storage, "heir@example.com")
    storage.api_keys.hand_over([keys[0].id, keys[1].id], heir.id)
    makers = [key.created_by for key in storage.api_keys.of_organization(organization.id)]
    assert makers == [heir.id, heir.id, user.id]
    storage.api_keys.hand_over([keys[0].id], None)
    storage.api_keys.hand_over([], heir.id)
    makers = [key.created_by for key in storage.api_keys.of_organization(organization.id)]
    assert makers == [None, heir.id, user.id]


def test_expired_invitations_are_removed(storage: Storage, organization: Organization) -> None:
    storage.invitations.put(invitation(organization, b"now", expires_at=NOW))
    soon = invitation(
        organization, b"soon", expires_at=NOW + timedelta(microseconds=1), email="a@example.com"
    )
    storage.invitations.put(soon)
    storage.invitations.delete_expired(NOW)
    assert storage.invitations.of_organization(organization.id) == [soon]


# Links that set a new password


def test_a_link_comes_with_its_user(storage: Storage, user: User) -> None:
    reset = PasswordReset(b"\x00\xff", user.id, NOW, LATER)
    storage.password_resets.add(reset)
    assert storage.password_resets.get(b"\x00\xff") == (reset, user)
    assert storage.password_resets.get(b"other") is None


def test_links_are_counted_while_they_hold_and_removed_later(storage: Storage, user: User) -> None:
    other = add_user(storage, "bob@example.com")
    for number, (owner, expires) in enumerate([(user, NOW), (user, LATER), (other, LATER)]):
        storage.password_resets.add(PasswordReset(bytes([number]), owner.id, NOW, expires))
    assert storage.password_resets.count(user.id, NOW) == 1
    storage.password_resets.delete_expired(NOW)
    assert storage.password_resets.get(b"\0") is None
    assert storage.password_resets.get(b"\1") is not None

    storage.password_resets.delete_of_user(user.id)
    assert storage.password_resets.count(user.id, NOW) == 0
    assert storage.password_resets.count(other.id, NOW) == 1


def test_of_many_who_use_a_link_one_may(storage: Storage, user: User) -> None:
    storage.password_resets.add(PasswordReset(b"token", user.id, NOW, LATER))
    outcomes = at_the_same_time(*[lambda: storage.password_resets.delete(b"token")] * 4)
    assert sorted(outcomes) == [False, False, False, True]


# Sessions and people


def test_sessions_of_one_person_are_listed_and_ended_but_for_one(
    storage: Storage, user: User
) -> None:
    other = session(add_user(storage, "bob@example.com"), b"bob")
    old, young = session(user, b"old"), session(user, b"young", created_at=LATER)
    gone = session(user, b"gone", expires_at=NOW, created_at=NOW - timedelta(days=1))
    for made in (other, old, young, gone):
        storage.sessions.add(made)
    assert storage.sessions.of_user(user.id) == [young, old, gone]

    storage.sessions.delete_of_user(user.id, keep=b"old")
    assert storage.sessions.of_user(user.id) == [old]
    storage.sessions.delete_of_user(user.id)
    assert storage.sessions.of_user(user.id) == []
    assert storage.sessions.of_user(other.user_id) == [other]


def test_whoever_locks_a_person_sees_what_the_one_before_has_changed(
    storage: Storage, user: User
) -> None:
    def count_on() -> None:
        with storage.transaction():
            locked = storage.users.lock(user.id)
            assert locked is not None
            number = int(locked.password_hash.rpartition("$")[2] or 0)
            storage.users.set_password_hash(user.id, f"$argon2id${number + 1}")

    assert at_the_same_time(*[count_on] * 4) == [None] * 4
    found = storage.users.get(user.id)
    assert found is not None
    assert found.password_hash == "$argon2id$4"
    assert storage.users.lock(uuid4()) is None


def test_a_locked_person_may_join_meanwhile(
    storage: Storage, organization: Organization, user: User
) -> None:
    with storage.transaction():
        storage.users.lock(user.id)
        storage.memberships.add(Membership(organization.id, user.id, Role.MEMBER, NOW))
    assert storage.memberships.role(organization.id, user.id) is Role.MEMBER


# Second factors


def test_a_second_factor_comes_back_as_it_was_stored_and_is_replaced(
    storage: Storage, user: User
) -> None:
    assert storage.second_factors.get(user.id) is None
    for secret in (b"\x00\xff" * 10, b"another"):
        factor = SecondFactor(user.id, secret, NOW)
        storage.second_factors.put(factor)
        assert storage.second_factors.get(user.id) == factor
    storage.second_factors.confirm(user.id, 7, [b"1", b"2"])
    assert storage.second_factors.get(user.id) == replace(factor, confirmed=True, last_step=7)
    assert storage.second_factors.recovery_codes(user.id) == 2
    storage.second_factors.put(factor)
    assert storage.second_factors.get(user.id) == factor
    assert storage.second_factors.recovery_codes(user.id) == 0


def test_a_code_is_used_once_and_none_from_before(storage: Storage, user: User) -> None:
    assert storage.second_factors.advance(user.id, 8) is False
    storage.second_factors.put(SecondFactor(user.id, b"secret", NOW))
    storage.second_factors.confirm(user.id, 7, [])
    outcomes = at_the_same_time(*[lambda: storage.second_factors.advance(user.id, 9)] * 4)
    assert sorted(outcomes) == [False, False, False, True]
    assert storage.second_factors.advance(user.id, 8) is False
    assert storage.second_factors.advance(user.id, 10) is True


def test_a_recovery_code_is_used_once_and_by_its_owner(storage: Storage, user: User) -> None:
    other = add_user(storage, "bob@example.com")
    for number, owner in enumerate((user, other)):
        storage.second_factors.put(SecondFactor(owner.id, b"secret", NOW))
        storage.second_factors.confirm(owner.id, 7, [bytes([number]), bytes([number, 1])])
    assert storage.second_factors.take_recovery_code(user.id, b"\1") is False
    outcomes = at_the_same_time(
        *[lambda: storage.second_factors.take_recovery_code(user.id, b"\0")] * 4
    )
    assert sorted(outcomes) == [False, False, False, True]
    assert storage.second_factors.recovery_codes(user.id) == 1
    assert storage.second_factors.recovery_codes(other.id) == 2


def test_a_second_factor_is_removed_with_its_recovery_codes(storage: Storage, user: User) -> None:
    storage.second_factors.put(SecondFactor(user.id, b"secret", NOW))
    storage.second_factors.confirm(user.id, 7, [b"1"])
    assert storage.second_factors.delete(user.id) is True
    assert storage.second_factors.delete(user.id) is False
    assert storage.second_factors.get(user.id) is None
    assert storage.second_factors.recovery_codes(user.id) == 0
