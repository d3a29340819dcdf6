"""What every storage promises; each test runs on all of them."""

# ruff: noqa: PT012 - what is tested is an exception that leaves a block.

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace
from peewee import Database

from core.api import (
    ApiKey,
    BusinessCode,
    Code,
    CodeQuery,
    CodeSort,
    Conflict,
    FinderShape,
    Invitation,
    Logo,
    LogoInfo,
    LogoType,
    Look,
    Membership,
    ModuleShape,
    Organization,
    Role,
    Scan,
    Session,
    SlugTaken,
    Storage,
    StorageUnavailable,
    Style,
    User,
)
from plugins.storage import tables
from tests import samples
from tests.servers import Backend, Children

MIGRATIONS = [
    "0001_initial",
    "0002_looks",
    "0003_scans",
    "0004_quarters",
    "0005_days",
    "0006_removal",
    "0007_generations",
    "0008_operators",
    "0009_generation_times",
    "0010_links",
    "0011_second_factors",
    "0012_audit",
    "0013_key_makers",
    "0014_deleted_codes",
]
NOW = datetime(2026, 3, 29, 1, 2, 3, 456789, tzinfo=UTC)


@pytest.fixture
def storage(backend: Backend) -> Storage:
    return backend.storage


@pytest.fixture
def organization(storage: Storage) -> Organization:
    return add_organization(storage)


def add_organization(
    storage: Storage, name: str = "Harbour", slug: str = "harbour"
) -> Organization:
    organization = Organization(id=uuid4(), name=name, slug=slug, created_at=NOW)
    storage.organizations.add(organization)
    return organization


def add_user(storage: Storage, email: str = "ada@example.com") -> User:
    user = User(id=uuid4(), email=email, name="Ada", password_hash="$argon2id$", created_at=NOW)
    storage.users.add(user)
    return user


def add_member(storage: Storage, organization: Organization, email: str, role: Role) -> User:
    user = add_user(storage, email)
    storage.memberships.add(Membership(organization.id, user.id, role, NOW))
    return user


def make_code(organization: Organization, slug: str, **values: Any) -> Code:
    moments = {"created_at": NOW, "updated_at": NOW}
    return samples.make_code(organization.id, slug=slug, **(moments | values))


def add_style(
    storage: Storage, organization: Organization, name: str = "Dark", **values: Any
) -> Style:
    fields = {"look": Look(color="#0a3d62"), "is_default": False} | values
    style = Style(
        id=uuid4(),
        organization_id=organization.id,
        name=name,
        created_at=NOW,
        updated_at=NOW,
        **fields,
    )
    storage.styles.add(style)
    return style


def add_logo(storage: Storage, organization: Organization, name: str = "Anchor") -> Logo:
    info = LogoInfo(uuid4(), organization.id, name, LogoType.SVG, 24.5, 1 / 3, NOW)
    logo = Logo(info, b"\x00<svg/>\xff")
    storage.logos.add(logo)
    return logo


def slugs(storage: Storage, organization: Organization, **query: Any) -> list[str]:
    return [c.slug for c in storage.codes.list(organization.id, CodeQuery(**query)).items]


def at_the_same_time(*calls: Callable[[], Any]) -> list[Any]:
    """Run the calls in a thread each, let loose together; results or exceptions, in order."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - the caller looks at it
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@contextmanager
def counted_statements(storage: Any) -> Iterator[list[str]]:
    database: Database = storage._connections.database
    statements: list[str] = []
    hook = lambda event: statements.append(event.sql)  # noqa: E731
    database.query_hooks.append(hook)
    yield statements
    database.query_hooks.remove(hook)


# Organisations


def test_an_organization_comes_back_as_it_was_stored(storage: Storage) -> None:
    organization = add_organization(storage)

    assert storage.organizations.get(organization.id) == organization
    assert storage.organizations.by_slug("harbour") == organization


def test_an_unknown_organization_is_none(storage: Storage) -> None:
    assert storage.organizations.get(uuid4()) is None
    assert storage.organizations.by_slug("nobody") is None


def test_organizations_are_listed_by_name_without_regard_to_case(storage: Storage) -> None:
    for name in ("banana", "Cherry", "Apple"):
        add_organization(storage, name=name, slug=name.lower())

    assert [o.name for o in storage.organizations.all()] == ["Apple", "banana", "Cherry"]


def test_an_organization_slug_is_taken_once(storage: Storage, organization: Organization) -> None:
    with pytest.raises(Conflict, match="harbour"):
        add_organization(storage, name="Other")

    assert storage.organizations.all() == [organization]


def test_an_organization_takes_a_new_name_and_slug(
    storage: Storage, organization: Organization
) -> None:
    changed = replace(organization, name="Port", slug="port")
    storage.organizations.update(changed)

    assert storage.organizations.get(organization.id) == changed


def test_an_organization_cannot_take_the_slug_of_another(
    storage: Storage, organization: Organization
) -> None:
    other = add_organization(storage, slug="other")

    with pytest.raises(Conflict, match="harbour"):
        storage.organizations.update(replace(other, slug="harbour"))

    assert storage.organizations.get(other.id) == other


def test_a_deleted_organization_takes_everything_with_it(
    backend: Backend, storage: Storage, organization: Organization
) -> None:
    user = add_member(storage, organization, "ada@example.com", Role.OWNER)
    code = make_code(organization, "MENU", tags=("food",))
    storage.codes.add([code])
    storage.api_keys.add(make_key(organization))
    storage.idempotency.claim(organization.id, "key", b"digest", NOW)
    storage.organizations.set_business_code(
        organization.id, BusinessCode("https://example.com"), NOW
    )
    later = NOW + timedelta(days=7)
    storage.invitations.put(
        Invitation(
            uuid4(), organization.id, "b@b.example", Role.ADMIN, user.id, b"token", NOW, later
        )
    )
    logo = add_logo(storage, organization)
    add_style(storage, organization, look=Look(logo=logo.info.id))
    backend.scans.append([Scan(code.id, organization.id, NOW, b"v", False)])
    other = add_organization(storage, slug="other")
    kept = make_code(other, "KEPT")
    storage.codes.add([kept])

    storage.organizations.delete(organization.id)
    while backend.scans.tidy(NOW.date(), None, 10) == 10:
        pass

    assert storage.organizations.all() == [other]
    assert storage.codes.by_slug("MENU") is None
    assert storage.codes.by_slug("KEPT") == kept
    assert storage.memberships.of_user(user.id) == []
    assert storage.users.get(user.id) == user
    with storage._connections.connection() as database:  # type: ignore[attr-defined]
        for table in (
            "memberships", "invitations", "api_keys", "idempotency_keys", "business_codes",
            "code_tags", "code_counts", "scans", "visitors", "styles", "logos", "organization_days",
        ):  # fmt: skip
            (count,) = database.execute_sql(f"SELECT COUNT(*) FROM {table}").fetchone()
            assert count == 0, table


def test_a_business_code_is_unset_set_and_replaced(
    storage: Storage, organization: Organization
) -> None:
    assert storage.organizations.business_code(organization.id) is None

    for code in (BusinessCode("Café 🍵", '{"type": "text"}'), BusinessCode("other")):
        storage.organizations.set_business_code(organization.id, code, NOW)
        assert storage.organizations.business_code(organization.id) == code


def test_a_business_code_of_a_deleted_organization_is_a_conflict(storage: Storage) -> None:
    with pytest.raises(Conflict, match="deleted"):
        storage.organizations.set_business_code(uuid4(), BusinessCode("text"), NOW)


# Users


def test_a_user_is_found_by_id_and_address(storage: Storage) -> None:
    user = add_user(storage)

    assert storage.users.get(user.id) == user
    assert storage.users.by_email("ada@example.com") == user
    assert storage.users.by_email("Ada@example.com") is None
    assert storage.users.get(uuid4()) is None


def test_an_address_has_one_account(storage: Storage) -> None:
    add_user(storage)

    with pytest.raises(Conflict, match="ada@example"):
        add_user(storage)


def test_a_password_hash_is_replaced_for_one_user_only(storage: Storage) -> None:
    user, other = add_user(storage), add_user(storage, "bob@example.com")

    storage.users.set_password_hash(user.id, "new")

    assert storage.users.get(user.id) == replace(user, password_hash="new")
    assert storage.users.get(other.id) == other


def test_a_user_becomes_an_operator_and_is_one_no_more(storage: Storage) -> None:
    bob, ada = add_user(storage, "bob@example.com"), add_user(storage)
    add_user(storage, "eve@example.com")
    assert ada.operator is False
    assert storage.users.operators() == []

    for user in (bob, ada):
        assert storage.users.set_operator(user.id, True) is True
        assert storage.users.set_operator(user.id, True) is True
    bob, ada = replace(bob, operator=True), replace(ada, operator=True)
    assert storage.users.operators() == [ada, bob]
    assert storage.users.get(ada.id) == storage.users.by_email(ada.email) == ada

    assert storage.users.set_operator(bob.id, False) is True
    assert storage.users.operators() == [ada]
    assert storage.users.get(bob.id) == replace(bob, operator=False)
    assert storage.users.set_operator(uuid4(), True) is False


def test_what_changes_of_an_operator_leaves_him_one(storage: Storage) -> None:
    user = replace(add_user(storage), operator=True)
    storage.users.set_operator(user.id, True)

    storage.users.set_password_hash(user.id, "new")

    assert storage.users.operators() == [replace(user, password_hash="new")]


# Memberships


def test_a_member_has_a_role_in_his_organization_alone(
    storage: Storage, organization: Organization
) -> None:
    user = add_member(storage, organization, "ada@example.com", Role.EDITOR)
    other = add_organization(storage, slug="other")

    assert storage.memberships.role(organization.id, user.id) is Role.EDITOR
    assert storage.memberships.role(other.id, user.id) is None


def test_nobody_is_a_member_twice(storage: Storage, organization: Organization) -> None:
    user = add_member(storage, organization, "ada@example.com", Role.EDITOR)

    with pytest.raises(Conflict, match="member already"):
        storage.memberships.add(Membership(organization.id, user.id, Role.OWNER, NOW))

    assert storage.memberships.role(organization.id, user.id) is Role.EDITOR


def test_a_membership_of_nobody_is_a_conflict(storage: Storage, organization: Organization) -> None:
    with pytest.raises(Conflict, match="deleted"):
        storage.memberships.add(Membership(organization.id, uuid4(), Role.OWNER, NOW))


def test_members_are_listed_by_address(storage: Storage, organization: Organization) -> None:
    bob = add_member(storage, organization, "bob@example.com", Role.MEMBER)
    ada = add_member(storage, organization, "ada@example.com", Role.OWNER)
    add_user(storage, "stranger@example.com")

    members = storage.memberships.members(organization.id)

    assert [(m.user_id, m.email, m.role, m.created_at) for m in members] == [
        (ada.id, "ada@example.com", Role.OWNER, NOW),
        (bob.id, "bob@example.com", Role.MEMBER, NOW),
    ]


def test_a_users_organizations_are_listed_by_name(storage: Storage) -> None:
    zoo, abbey = add_organization(storage, "Zoo", "zoo"), add_organization(storage, "abbey", "abb")
    user = add_member(storage, zoo, "ada@example.com", Role.OWNER)
    storage.memberships.add(Membership(abbey.id, user.id, Role.MEMBER, NOW))

    assert storage.memberships.of_user(user.id) == [(abbey, Role.MEMBER), (zoo, Role.OWNER)]


def test_roles_change_and_members_leave(storage: Storage, organization: Organization) -> None:
    user = add_member(storage, organization, "ada@example.com", Role.MEMBER)

    assert storage.memberships.set_role(organization.id, user.id, Role.ADMIN) is True
    assert storage.memberships.role(organization.id, user.id) is Role.ADMIN
    assert storage.memberships.set_role(organization.id, uuid4(), Role.ADMIN) is False
    assert storage.memberships.remove(organization.id, user.id) is True
    assert storage.memberships.remove(organization.id, user.id) is False
    assert storage.memberships.members(organization.id) == []


def test_two_owners_who_leave_at_once_leave_one_behind(
    storage: Storage, organization: Organization
) -> None:
    owners = [
        add_member(storage, organization, f"{name}@example.com", Role.OWNER) for name in "abcd"
    ]

    def leave(user: User) -> bool:
        with storage.transaction():
            if storage.memberships.owners(organization.id) == 1:
                return False
            return storage.memberships.remove(organization.id, user.id)

    outcomes = at_the_same_time(*(lambda user=user: leave(user) for user in owners))

    assert sorted(outcomes) == [False, True, True, True]
    assert storage.memberships.owners(organization.id) == 1


# Sessions and keys


def make_session(user: User, token: bytes = b"\x00\xff" * 16, **values: Any) -> Session:
    session = Session(token, user.id, NOW, NOW, NOW + timedelta(days=14))
    return replace(session, **values)


def make_key(organization: Organization, token: bytes = b"\x00\xfe" * 16, **values: Any) -> ApiKey:
    key = ApiKey(
        id=uuid4(),
        organization_id=organization.id,
        name="till",
        role=Role.ANALYST,
        prefix="qz_abc",
        token_hash=token,
        created_at=NOW,
    )
    return replace(key, **values)


def test_a_session_comes_with_its_user(storage: Storage) -> None:
    user = add_user(storage)
    session = make_session(user)
    storage.sessions.add(session)

    assert storage.sessions.get(session.token_hash) == (session, user)
    assert storage.sessions.get(b"other") is None

    storage.users.set_operator(user.id, True)
    assert storage.sessions.get(session.token_hash) == (session, replace(user, operator=True))


def test_a_used_session_lives_on_and_a_deleted_one_does_not(storage: Storage) -> None:
    session = make_session(add_user(storage))
    storage.sessions.add(session)
    later = NOW + timedelta(hours=1)

    storage.sessions.touch(session.token_hash, later, later + timedelta(days=1))
    found = storage.sessions.get(session.token_hash)
    assert found is not None
    assert found[0] == replace(session, last_seen_at=later, expires_at=later + timedelta(days=1))

    storage.sessions.delete(session.token_hash)
    assert storage.sessions.get(session.token_hash) is None


def test_expired_sessions_are_counted_and_removed(storage: Storage) -> None:
    user = add_user(storage)
    storage.sessions.add(make_session(user, b"past", expires_at=NOW - timedelta(seconds=1)))
    storage.sessions.add(make_session(user, b"now", expires_at=NOW))
    storage.sessions.add(make_session(user, b"soon", expires_at=NOW + timedelta(microseconds=1)))

    assert storage.sessions.delete_expired(NOW) == 2
    assert storage.sessions.get(b"past") is None
    assert storage.sessions.get(b"soon") is not None


def test_a_key_comes_back_as_it_was_stored(storage: Storage, organization: Organization) -> None:
    plain = make_key(organization)
    full = make_key(organization, b"full", expires_at=NOW, last_used_at=NOW)
    storage.api_keys.add(plain)
    storage.api_keys.add(full)

    assert storage.api_keys.by_hash(plain.token_hash) == plain
    assert storage.api_keys.by_hash(b"full") == full
    assert storage.api_keys.by_hash(b"none") is None
    assert storage.api_keys.get(plain.id) == plain
    assert storage.api_keys.get(full.id) == full
    assert storage.api_keys.get(uuid4()) is None


def test_a_key_becomes_an_operators_and_is_one_no_more(
    storage: Storage, organization: Organization
) -> None:
    other = add_organization(storage, slug="other")
    young = make_key(organization, b"young", created_at=NOW + timedelta(seconds=1))
    old, never = make_key(other, b"old"), make_key(other, b"never")
    for key in (young, old, never):
        storage.api_keys.add(key)
    assert storage.api_keys.operators() == []

    for key in (young, old):
        assert storage.api_keys.set_operator(key.id, True) is True
        assert storage.api_keys.set_operator(key.id, True) is True
    young, old = replace(young, operator=True), replace(old, operator=True)
    assert storage.api_keys.operators() == [old, young]
    assert storage.api_keys.by_hash(b"young") == storage.api_keys.get(young.id) == young
    assert storage.api_keys.of_organization(organization.id) == [young]
    assert storage.api_keys.by_hash(b"never") == never

    assert storage.api_keys.set_operator(young.id, False) is True
    assert storage.api_keys.operators() == [old]
    assert storage.api_keys.by_hash(b"young") == replace(young, operator=False)
    assert storage.api_keys.set_operator(uuid4(), True) is False
    storage.api_keys.delete(other.id, old.id)
    assert storage.api_keys.operators() == []


def test_keys_are_listed_oldest_first_used_and_deleted(
    storage: Storage, organization: Organization
) -> None:
    young = make_key(organization, b"young", created_at=NOW + timedelta(seconds=1))
    old = make_key(organization, b"old")
    other = add_organization(storage, slug="other")
    for key in (young, old, make_key(other, b"foreign")):
        storage.api_keys.add(key)

    storage.api_keys.touch(old.id, NOW)
    used = replace(old, last_used_at=NOW)

    assert storage.api_keys.of_organization(organization.id) == [used, young]
    assert storage.api_keys.delete(other.id, young.id) is False
    assert storage.api_keys.delete(organization.id, young.id) is True
    assert storage.api_keys.of_organization(organization.id) == [used]


# Codes


def test_a_code_comes_back_as_it_was_stored(storage: Storage, organization: Organization) -> None:
    full = make_code(
        organization,
        "Menu-1",
        destination="https://example.com/ä?q=%20#x",
        title="Ménü\twith 🍵",
        tags=("zeta", "Alpha"),
        active=False,
        valid_from=NOW,
        valid_until=NOW + timedelta(microseconds=1),
        max_scans=2**31 - 1,
        forward_query=True,
        style=add_style(storage, organization).id,
        revision=7,
        updated_at=NOW + timedelta(days=1),
    )
    plain = make_code(organization, "PLAIN")
    storage.codes.add([full, plain])

    for code in (full, plain):
        assert storage.codes.get(organization.id, code.id) == code
        assert storage.codes.by_slug(code.slug) == code
    found = storage.codes.by_slug("menu-1")
    assert found is not None
    assert found.created_at.tzinfo is UTC
    assert type(found.active) is type(found.forward_query) is bool


def test_a_slug_is_found_without_regard_to_case(
    storage: Storage, organization: Organization
) -> None:
    code = make_code(organization, "Menu-1")
    storage.codes.add([code])

    assert storage.codes.by_slug("mENU-1") == code
    assert storage.codes.by_slug("MENU") is None
    assert storage.codes.taken(["menu-1", "MENU-1", "free"]) == {"menu-1", "MENU-1"}
    assert storage.codes.taken([]) == frozenset()


def test_a_code_is_not_seen_by_another_organization(
    storage: Storage, organization: Organization
) -> None:
    code = make_code(organization, "MENU")
    storage.codes.add([code])
    other = add_organization(storage, slug="other")

    assert storage.codes.get(other.id, code.id) is None
    assert storage.codes.delete(other.id, code.id) is False
    assert storage.codes.update(replace(code, organization_id=other.id, revision=2), 1) is False
    assert slugs(storage, other) == []
    assert storage.codes.by_slug("MENU") == code


def test_a_taken_slug_is_named_and_nothing_is_stored(
    storage: Storage, organization: Organization
) -> None:
    other = add_organization(storage, slug="other")
    storage.codes.add([make_code(other, "bbb"), make_code(other, "ccc")])
    codes = [make_code(organization, slug, tags=("t",)) for slug in ("AAA", "CCC", "BBB")]

    with pytest.raises(SlugTaken) as caught:
        storage.codes.add(codes)

    assert caught.value.slug == "CCC"
    assert slugs(storage, organization) == []


def test_a_slug_that_is_repeated_in_one_call_is_taken(
    storage: Storage, organization: Organization
) -> None:
    with pytest.raises(SlugTaken) as caught:
        storage.codes.add([make_code(organization, "same"), make_code(organization, "SAME")])

    assert caught.value.slug == "SAME"
    assert slugs(storage, organization) == []


def test_a_code_of_a_deleted_organization_is_a_conflict(
    storage: Storage, organization: Organization
) -> None:
    storage.organizations.delete(organization.id)

    with pytest.raises(Conflict, match="deleted"):
        storage.codes.add([make_code(organization, "MENU")])


def test_a_taken_slug_leaves_the_transaction_around_it_usable(
    storage: Storage, organization: Organization
) -> None:
    storage.codes.add([make_code(organization, "TAKEN")])

    with storage.transaction():
        with pytest.raises(SlugTaken):
            storage.codes.add([make_code(organization, "TAKEN")])
        storage.codes.add([make_code(organization, "FREE")])

    assert sorted(slugs(storage, organization)) == ["FREE", "TAKEN"]


def test_a_slug_that_many_want_at_once_goes_to_one(
    storage: Storage, organization: Organization
) -> None:
    add = [
        lambda spelling=spelling: storage.codes.add([make_code(organization, spelling)])
        for spelling in ("menu", "Menu", "MENU", "mEnU")
    ]

    outcomes = at_the_same_time(*add)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        "NoneType",
        "SlugTaken",
        "SlugTaken",
        "SlugTaken",
    ]
    assert len(slugs(storage, organization)) == 1


def test_lists_with_the_same_slugs_in_opposite_orders_do_not_block_each_other(
    storage: Storage, organization: Organization
) -> None:
    names = [f"code-{n:04}" for n in range(400)]

    def add(order: list[str]) -> None:
        storage.codes.add([make_code(organization, slug) for slug in order])

    outcomes = at_the_same_time(lambda: add(names), lambda: add(names[::-1]))

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "SlugTaken"]


def test_a_thousand_codes_are_stored_in_few_statements(
    storage: Storage, organization: Organization
) -> None:
    codes = [make_code(organization, f"code-{n}", tags=("a", "b")) for n in range(1000)]

    with counted_statements(storage) as statements:
        storage.codes.add(codes)

    assert len(statements) <= 8
    assert storage.codes.list(organization.id, CodeQuery(per_page=1)).total == 1000


def test_a_list_takes_the_same_statements_for_any_length(
    storage: Storage, organization: Organization
) -> None:
    storage.codes.add([make_code(organization, f"c-{n}", tags=("a",)) for n in range(50)])

    counts = []
    for per_page in (1, 50):
        with counted_statements(storage) as statements:
            page = storage.codes.list(organization.id, CodeQuery(per_page=per_page, tag="a"))
        assert len(page.items) == per_page
        counts.append(len(statements))

    assert counts[0] == counts[1] <= 2


def test_pages_hold_every_code_once_although_all_are_as_old(
    storage: Storage, organization: Organization
) -> None:
    storage.codes.add([make_code(organization, f"code-{n}") for n in range(23)])

    pages = [
        storage.codes.list(organization.id, CodeQuery(page=page, per_page=10))
        for page in (1, 2, 3, 4)
    ]

    assert [len(page.items) for page in pages] == [10, 10, 3, 0]
    assert {page.total for page in pages} == {23}
    ids = [code.id for page in pages for code in page.items]
    assert ids == sorted(ids)
    assert len(set(ids)) == 23


@pytest.mark.parametrize("sort", list(CodeSort))
def test_every_order_sorts_and_breaks_ties_by_id(
    backend: Backend, organization: Organization, sort: CodeSort
) -> None:
    titles = ["b", "B", "a", "Z", "é", "_"]
    codes = [
        make_code(
            organization,
            f"{'xX'[n % 2]}-{6 - n}",
            title=title,
            created_at=NOW + timedelta(microseconds=n // 2),
            updated_at=NOW - timedelta(seconds=n // 3),
            id=UUID(int=100 - n),
        )
        for n, title in enumerate(titles)
    ]
    backend.storage.codes.add(codes)
    scans = [Scan(codes[2].id, organization.id, NOW, None, False)] * 2
    backend.scans.append([*scans, Scan(codes[4].id, organization.id, NOW, None, False)])
    keys: dict[str, Callable[[Code], Any]] = {
        "created_at": lambda code: code.created_at,
        "updated_at": lambda code: code.updated_at,
        "title": lambda code: code.title.casefold(),
        "slug": lambda code: code.slug.upper(),
        "scans_total": lambda code: {codes[2].id: 2, codes[4].id: 1}.get(code.id, 0),
    }
    name = sort.value.lstrip("-")
    expected = sorted(codes, key=lambda code: code.id)
    expected.sort(key=keys[name], reverse=sort.value.startswith("-"))

    assert slugs(backend.storage, organization, sort=sort) == [code.slug for code in expected]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("HARBOUR", ["A-1"]),
        ("straSSe", ["A-2"]),
        ("a-1", ["A-1"]),
        ("EXAMPLE.COM/ÄPFEL", ["A-2"]),
        ("Fünf", ["A-3"]),
        ("100%", ["A-3"]),
        ("%", ["A-3"]),
        ("_", ["A-4"]),
        ("\\", ["A-4"]),
        ("*", []),
        ("[a", []),
        ("'; DROP TABLE codes; --", []),
        ("a-", ["A-1", "A-2", "A-3", "A-4"]),
    ],
)
def test_a_search_finds_its_text_anywhere_and_nothing_else(
    storage: Storage, organization: Organization, search: str, found: list[str]
) -> None:
    storage.codes.add(
        [
            make_code(organization, "A-1", title="The harbour bar"),
            make_code(organization, "A-2", title="Straße", destination="https://example.com/äpfel"),
            make_code(organization, "A-3", tags=("fünf", "100%")),
            make_code(organization, "A-4", title="snake_case \\ slash"),
        ]
    )

    assert slugs(storage, organization, search=search, sort=CodeSort.SLUG) == found
    page = storage.codes.list(organization.id, CodeQuery(search=search))
    assert page.total == len(found)


def test_codes_follow_one_another_from_the_oldest_on(
    storage: Storage, organization: Organization
) -> None:
    other = add_organization(storage, "Other", "other")
    codes = [
        # Several of one moment, as a bulk request makes them: their ids decide.
        samples.make_code(
            organization.id,
            created_at=NOW + timedelta(seconds=n // 4),
            tags=("Even",) if n % 2 == 0 else ("Odd",),
        )
        for n in range(11)
    ]
    storage.codes.add([*reversed(codes), samples.make_code(other.id)])
    expected = sorted(codes, key=lambda code: (code.created_at, code.id))

    def walk(tag: str | None) -> list[Code]:
        found: list[Code] = []
        while page := storage.codes.following(
            organization.id, found[-1] if found else None, 3, tag
        ):
            assert len(page) <= 3
            found += page
        return found

    assert walk(None) == expected
    assert walk("even") == [code for code in expected if code.tags == ("Even",)]
    assert walk("none") == []


def test_a_deleted_code_is_still_followed_by_the_next(
    storage: Storage, organization: Organization
) -> None:
    codes = sorted((samples.make_code(organization.id) for _ in range(3)), key=lambda c: c.id)
    storage.codes.add(codes)
    storage.codes.delete(organization.id, codes[0].id)
    storage.codes.delete(organization.id, codes[1].id)
    assert [*storage.codes.following(organization.id, codes[0], 5)] == codes[2:]


def test_lists_are_narrowed_by_tag_and_state(storage: Storage, organization: Organization) -> None:
    other = add_organization(storage, slug="other")
    storage.codes.add(
        [
            make_code(organization, "A-1", tags=("Food", "summer")),
            make_code(organization, "A-2", tags=("food",), active=False),
            make_code(organization, "A-3", tags=("foodie",)),
            make_code(other, "A-4", tags=("food",)),
        ]
    )
    by_slug = CodeSort.SLUG

    assert slugs(storage, organization, tag="FOOD", sort=by_slug) == ["A-1", "A-2"]
    assert slugs(storage, organization, tag="food", active=True) == ["A-1"]
    assert slugs(storage, organization, active=False) == ["A-2"]
    assert slugs(storage, organization, tag="food", search="summer") == ["A-1"]
    assert slugs(storage, organization, tag="none") == []


def test_an_update_stores_everything_but_the_slug(
    backend: Backend, organization: Organization
) -> None:
    storage = backend.storage
    code = make_code(organization, "MENU", title="old", tags=("old", "both"))
    storage.codes.add([code])
    backend.scans.append([Scan(code.id, organization.id, NOW, None, False)])
    changed = replace(
        code,
        destination="https://example.com/new",
        title="New",
        tags=("both", "New"),
        active=False,
        valid_from=NOW,
        valid_until=NOW + timedelta(days=1),
        max_scans=3,
        forward_query=True,
        style=add_style(storage, organization).id,
        revision=2,
        updated_at=NOW + timedelta(seconds=1),
        scans_total=1,
    )

    assert storage.codes.update(replace(changed, slug="OTHER", scans_total=99), 1) is True

    assert storage.codes.by_slug("MENU") == changed
    assert slugs(storage, organization, search="new", tag="new") == ["MENU"]
    assert slugs(storage, organization, search="old") == []
    assert slugs(storage, organization, tag="old") == []


def test_an_update_of_another_revision_changes_nothing(
    storage: Storage, organization: Organization
) -> None:
    code = make_code(organization, "MENU", tags=("a",), revision=3)
    storage.codes.add([code])

    assert storage.codes.update(replace(code, title="x", tags=("b",), revision=4), 2) is False
    assert storage.codes.by_slug("MENU") == code
    assert slugs(storage, organization, tag="a") == ["MENU"]


def test_of_concurrent_updates_of_one_revision_one_wins(
    storage: Storage, organization: Organization
) -> None:
    code = make_code(organization, "MENU")
    storage.codes.add([code])
    updates = [
        lambda n=n: storage.codes.update(replace(code, title=f"{n}", tags=(f"{n}",), revision=2), 1)
        for n in range(4)
    ]

    outcomes = at_the_same_time(*updates)

    assert sorted(outcomes) == [False, False, False, True]
    winner = str(outcomes.index(True))
    found = storage.codes.by_slug("MENU")
    assert found is not None
    assert (found.title, found.tags) == (winner, (winner,))


def test_a_deleted_code_is_gone_and_its_slug_free(
    storage: Storage, organization: Organization
) -> None:
    code = make_code(organization, "MENU", tags=("a",))
    storage.codes.add([code])

    assert storage.codes.delete(organization.id, code.id) is True
    assert storage.codes.delete(organization.id, code.id) is False
    assert storage.codes.by_slug("MENU") is None
    storage.codes.add([make_code(organization, "menu")])


def test_scans_are_counted_in_what_is_read_bots_left_out(
    backend: Backend, organization: Organization
) -> None:
    storage = backend.storage
    code = make_code(organization, "MENU")
    storage.codes.add([code])
    scan = Scan(code.id, organization.id, NOW, None, False)
    backend.scans.append([scan, scan, replace(scan, bot=True)])

    by_slug, by_id = storage.codes.by_slug("MENU"), storage.codes.get(organization.id, code.id)
    (listed,) = storage.codes.list(organization.id, CodeQuery()).items

    assert by_slug == by_id == listed == replace(code, scans_total=2)


# Idempotency


def test_a_key_is_claimed_once_for_each_organization(
    storage: Storage, organization: Organization
) -> None:
    other = add_organization(storage, slug="other")

    assert storage.idempotency.claim(organization.id, "k", b"\x00d", NOW) is True
    assert storage.idempotency.claim(organization.id, "k", b"other", NOW) is False
    assert storage.idempotency.claim(other.id, "k", b"d", NOW) is True


def test_an_answer_is_kept_for_its_key(storage: Storage, organization: Organization) -> None:
    storage.idempotency.claim(organization.id, "k", b"\x00d", NOW)
    assert storage.idempotency.get(organization.id, "k") is None

    storage.idempotency.record(organization.id, "k", b"\xffbody")

    answer = storage.idempotency.get(organization.id, "k")
    assert answer is not None
    assert (answer.request_digest, answer.body) == (b"\x00d", b"\xffbody")
    assert storage.idempotency.get(organization.id, "other") is None


def test_a_claim_ends_with_the_transaction_that_failed(
    storage: Storage, organization: Organization
) -> None:
    with pytest.raises(ZeroDivisionError), storage.transaction():
        storage.idempotency.claim(organization.id, "k", b"d", NOW)
        raise ZeroDivisionError

    assert storage.idempotency.claim(organization.id, "k", b"d", NOW) is True


def test_old_keys_are_forgotten(storage: Storage, organization: Organization) -> None:
    storage.idempotency.claim(organization.id, "old", b"d", NOW - timedelta(days=1))
    storage.idempotency.claim(organization.id, "new", b"d", NOW)

    storage.idempotency.delete_before(NOW)

    assert storage.idempotency.claim(organization.id, "old", b"d", NOW) is True
    assert storage.idempotency.claim(organization.id, "new", b"d", NOW) is False


def test_a_second_claim_waits_and_then_finds_the_answer(
    storage: Storage, organization: Organization
) -> None:
    claimed = threading.Event()

    def second() -> Any:
        claimed.wait()
        with storage.transaction():
            if storage.idempotency.claim(organization.id, "k", b"d", NOW):
                return "claimed twice"
            return storage.idempotency.get(organization.id, "k")

    with ThreadPoolExecutor(1) as pool:
        with storage.transaction():
            assert storage.idempotency.claim(organization.id, "k", b"d", NOW) is True
            waiting = pool.submit(second)
            claimed.set()
            assert not waiting.done()
            storage.idempotency.record(organization.id, "k", b"answer")
        answer = waiting.result(30)

    assert answer.body == b"answer"


def test_of_many_claims_one_holds(storage: Storage, organization: Organization) -> None:
    outcomes = at_the_same_time(
        *[lambda: storage.idempotency.claim(organization.id, "k", b"d", NOW)] * 6
    )

    assert sorted(outcomes) == [False] * 5 + [True]


# Styles and logos


def test_a_style_comes_back_as_it_was_stored(storage: Storage, organization: Organization) -> None:
    logo = add_logo(storage, organization)
    full = Look(
        color="#0a3d62",
        background="transparent",
        shape=ModuleShape.DOT,
        finder_shape=FinderShape.CIRCLE,
        logo=logo.info.id,
        logo_size=33,
        caption="Scan 🍵 'me'",
    )
    styles = [
        add_style(storage, organization, "Zebra", look=full, is_default=True),
        add_style(storage, organization, "apple", look=Look()),
    ]

    for style in styles:
        found = storage.styles.get(organization.id, style.id)
        assert found == style
        assert type(found.is_default) is bool
    assert storage.styles.of_organization(organization.id) == styles[::-1]
    assert storage.styles.default(organization.id) == styles[0]


def test_styles_and_logos_of_others_are_not_there(
    storage: Storage, organization: Organization
) -> None:
    style = add_style(storage, organization, is_default=True)
    logo = add_logo(storage, organization)
    other = add_organization(storage, slug="other")

    assert storage.styles.get(other.id, style.id) is None
    assert storage.styles.default(other.id) is None
    assert storage.styles.of_organization(other.id) == []
    assert storage.styles.update(replace(style, organization_id=other.id, name="mine")) is False
    assert storage.styles.delete(other.id, style.id) is False
    assert storage.logos.get(other.id, logo.info.id) is None
    assert storage.logos.of_organization(other.id) == []
    assert storage.logos.delete(other.id, logo.info.id) is False
    assert storage.styles.get(organization.id, style.id) == style
    assert storage.logos.get(organization.id, logo.info.id) == logo


def test_a_style_name_is_taken_once_without_regard_to_case(
    storage: Storage, organization: Organization
) -> None:
    style = add_style(storage, organization, "Straße")
    other = add_style(storage, organization, "other")

    with pytest.raises(Conflict, match="STRASSE"):
        add_style(storage, organization, "STRASSE", is_default=True)
    with pytest.raises(Conflict, match="strasse"):
        storage.styles.update(replace(other, name="strasse"))

    assert storage.styles.of_organization(organization.id) == [other, style]
    add_style(storage, add_organization(storage, slug="other"), "Straße")


def test_a_style_takes_whatever_may_change(storage: Storage, organization: Organization) -> None:
    logo = add_logo(storage, organization)
    style = add_style(storage, organization)
    changed = replace(
        style,
        name="DARK",
        look=Look(caption="menu", logo=logo.info.id),
        is_default=True,
        updated_at=NOW + timedelta(seconds=1),
    )

    moved = replace(changed, created_at=NOW + timedelta(days=1))
    assert storage.styles.update(moved) is True
    assert storage.styles.get(organization.id, style.id) == changed
    assert storage.styles.update(replace(style, id=uuid4(), name="none")) is False


def test_a_default_takes_the_place_of_the_one_before(
    storage: Storage, organization: Organization
) -> None:
    elsewhere = add_style(storage, add_organization(storage, slug="o"), is_default=True)
    first = add_style(storage, organization, "first", is_default=True)
    second = add_style(storage, organization, "second", is_default=True)
    assert storage.styles.default(organization.id) == second

    storage.styles.update(first)
    assert storage.styles.default(organization.id) == first
    assert storage.styles.get(organization.id, second.id) == replace(second, is_default=False)

    storage.styles.update(replace(first, is_default=False))
    assert storage.styles.default(organization.id) is None
    assert storage.styles.default(elsewhere.organization_id) == elsewhere


def test_of_defaults_that_are_added_at_the_same_time_one_stays(storage: Storage) -> None:
    def add(organization: Organization, name: str) -> Callable[[], Style]:
        return lambda: add_style(storage, organization, name, is_default=True)

    # Often enough for those who wait for each other to meet.
    for n in range(20):
        organization = add_organization(storage, slug=f"o{n}")
        outcomes = at_the_same_time(*(add(organization, name) for name in "abcd"))

        assert all(isinstance(outcome, Style) for outcome in outcomes), outcomes
        styles = storage.styles.of_organization(organization.id)
        assert sum(style.is_default for style in styles) == 1
        assert len(styles) == 4


def test_organizations_are_deleted_while_scans_arrive_and_styles_change(backend: Backend) -> None:
    storage = backend.storage

    def rush(number: int) -> list[Any]:
        organization = add_organization(storage, slug=f"o{number}")
        codes = [make_code(organization, f"code-{number}-{n}") for n in range(4)]
        storage.codes.add(codes)
        styles = [add_style(storage, organization, name, is_default=True) for name in "ab"]
        batch = [Scan(code.id, organization.id, NOW, None, False) for code in codes]
        return at_the_same_time(
            *[lambda: backend.scans.append(batch)] * 2,
            *[lambda style=style: storage.styles.update(style) for style in styles],  # type: ignore[misc]
            lambda: storage.organizations.delete(organization.id),
        )

    for number in range(10):
        for outcome in rush(number):
            assert outcome in (None, True, False) or isinstance(outcome, Conflict), outcome
    assert storage.organizations.all() == []


def test_a_failed_default_leaves_the_one_before(
    storage: Storage, organization: Organization
) -> None:
    style = add_style(storage, organization, is_default=True)

    with pytest.raises(Conflict):
        add_style(storage, organization, style.name, is_default=True)
    with pytest.raises(Conflict, match="deleted"):
        add_style(storage, organization, "x", is_default=True, look=Look(logo=uuid4()))

    assert storage.styles.of_organization(organization.id) == [style]


def test_a_style_that_codes_have_is_not_deleted(
    storage: Storage, organization: Organization
) -> None:
    style = add_style(storage, organization)
    codes = [make_code(organization, slug, style=style.id) for slug in ("ONE", "TWO")]
    storage.codes.add(codes)

    with pytest.raises(Conflict, match="2 codes have"):
        storage.styles.delete(organization.id, style.id)
    storage.codes.delete(organization.id, codes[0].id)
    with pytest.raises(Conflict, match="1 code has"):
        storage.styles.delete(organization.id, style.id)
    storage.codes.update(replace(codes[1], style=None, revision=2), 1)

    assert storage.styles.delete(organization.id, style.id) is True
    assert storage.styles.delete(organization.id, style.id) is False
    assert storage.styles.of_organization(organization.id) == []


def test_a_code_cannot_take_a_style_that_is_not_there(
    storage: Storage, organization: Organization
) -> None:
    foreign = add_style(storage, add_organization(storage, slug="other"))
    code = make_code(organization, "MENU")
    storage.codes.add([code])

    for style in (uuid4(), foreign.id):
        with pytest.raises(Conflict, match="style"):
            storage.codes.add([make_code(organization, "NEW", style=style)])
        with pytest.raises(Conflict, match="style"):
            storage.codes.update(replace(code, style=style, revision=2), 1)

    assert storage.codes.by_slug("NEW") is None
    assert storage.codes.by_slug("MENU") == code


def test_a_style_is_given_and_deleted_at_the_same_time(
    storage: Storage, organization: Organization
) -> None:
    for n in range(8):
        style = add_style(storage, organization)
        code = make_code(organization, f"CODE-{n}", style=style.id)

        at_the_same_time(
            lambda code=code: storage.codes.add([code]),  # type: ignore[misc]
            lambda style=style: storage.styles.delete(organization.id, style.id),  # type: ignore[misc]
        )

        stored = storage.codes.by_slug(code.slug) is not None
        kept = storage.styles.get(organization.id, style.id) is not None
        assert stored is kept
        storage.codes.delete(organization.id, code.id)
        storage.styles.delete(organization.id, style.id)


def test_a_logo_comes_back_as_it_was_stored(storage: Storage, organization: Organization) -> None:
    logos = [add_logo(storage, organization, name) for name in ("b", "A", "b")]

    for logo in logos:
        found = storage.logos.get(organization.id, logo.info.id)
        assert found == logo
        assert type(found.data) is bytes
    listed = storage.logos.of_organization(organization.id)
    assert [info.name for info in listed] == ["A", "b", "b"]
    assert {info.id for info in listed} == {logo.info.id for logo in logos}


def test_a_logo_that_styles_have_is_not_deleted(
    storage: Storage, organization: Organization
) -> None:
    logo = add_logo(storage, organization)
    look = Look(logo=logo.info.id)
    styles = [add_style(storage, organization, f"S{n}", look=look) for n in range(7)]

    with pytest.raises(Conflict, match="'S0', 'S1', 'S2', 'S3', 'S4' and 2 more"):
        storage.logos.delete(organization.id, logo.info.id)
    for style in styles[1:]:
        storage.styles.delete(organization.id, style.id)
    with pytest.raises(Conflict, match="'S0';"), storage.transaction():
        storage.logos.delete(organization.id, logo.info.id)
    storage.styles.update(replace(styles[0], look=Look()))

    assert storage.logos.delete(organization.id, logo.info.id) is True
    assert storage.logos.delete(organization.id, logo.info.id) is False
    assert storage.logos.of_organization(organization.id) == []


def test_styles_and_logos_of_a_deleted_organization_are_a_conflict(storage: Storage) -> None:
    gone = Organization(uuid4(), "Gone", "gone", NOW)
    with pytest.raises(Conflict, match="deleted"):
        add_style(storage, gone)
    with pytest.raises(Conflict, match="deleted"):
        add_logo(storage, gone)


# Cache epochs


def test_an_epoch_begins_at_1_and_each_namespace_has_its_own(storage: Storage) -> None:
    assert storage.cache_epochs.all() == {}

    assert storage.cache_epochs.advance("images") == 1
    assert storage.cache_epochs.advance("images") == 2
    assert storage.cache_epochs.advance("answers") == 1
    assert storage.cache_epochs.advance("Images 'é'") == 1

    assert storage.cache_epochs.all() == {"images": 2, "answers": 1, "Images 'é'": 1}


def test_epochs_that_many_advance_at_once_skip_and_repeat_nothing(backend: Backend) -> None:
    other = backend.again()
    other.storage.open()

    def advance(storage: Storage) -> list[int]:
        return [storage.cache_epochs.advance("images") for _ in range(10)]

    told = at_the_same_time(
        *(lambda s=storage: advance(s) for storage in (backend.storage, other.storage) * 4)
    )
    other.storage.close()

    assert all(numbers == sorted(numbers) for numbers in told)
    assert sorted(number for numbers in told for number in numbers) == list(range(1, 81))
    assert backend.storage.cache_epochs.all() == {"images": 80}


def test_an_epoch_is_advanced_with_its_transaction_or_not_at_all(storage: Storage) -> None:
    with pytest.raises(ZeroDivisionError), storage.transaction():
        assert storage.cache_epochs.advance("images") == 1
        raise ZeroDivisionError
    assert storage.cache_epochs.all() == {}

    with storage.transaction():
        storage.cache_epochs.advance("images")
        (seen,) = at_the_same_time(storage.cache_epochs.all)
    assert seen == {}
    assert storage.cache_epochs.all() == {"images": 1}


# Transactions, connections, migrations


def test_a_failed_transaction_leaves_nothing(storage: Storage) -> None:
    with pytest.raises(ZeroDivisionError), storage.transaction():
        add_organization(storage)
        assert len(storage.organizations.all()) == 1
        raise ZeroDivisionError

    assert storage.organizations.all() == []


def test_an_inner_transaction_ends_with_the_outer_one(storage: Storage) -> None:
    with pytest.raises(ZeroDivisionError), storage.transaction():
        with storage.transaction():
            add_organization(storage)
        raise ZeroDivisionError

    assert storage.organizations.all() == []


def test_what_is_not_committed_is_not_seen_by_others(storage: Storage) -> None:
    with storage.transaction():
        add_organization(storage)
        (seen,) = at_the_same_time(storage.organizations.all)

    assert seen == []
    assert len(storage.organizations.all()) == 1


def test_an_outage_inside_a_transaction_stays_an_outage(storage: Storage) -> None:
    outage = StorageUnavailable("away")

    with pytest.raises(StorageUnavailable) as caught, storage.transaction():
        raise outage

    assert caught.value is outage


def test_connections_go_back_after_every_call(storage: Any, organization: Organization) -> None:
    with pytest.raises(SlugTaken):
        storage.codes.add([make_code(organization, "AAA"), make_code(organization, "AAA")])
    storage.codes.add([make_code(organization, "AAA")])
    with pytest.raises(SlugTaken):
        storage.codes.add([make_code(organization, "AAA")])
    storage.codes.list(organization.id, CodeQuery())

    assert storage._connections.database.is_closed()
    assert len(storage._connections.database._in_use) == 0


def test_storage_and_scan_store_close_when_both_have_closed(backend: Backend) -> None:
    pool = backend.storage._connections.database  # type: ignore[attr-defined]
    backend.storage.ping()

    backend.storage.close()
    assert len(pool._connections) == 1
    backend.scans.close()
    assert len(pool._connections) == 0
    backend.storage.open()
    backend.scans.open()
    backend.storage.ping()


def test_a_pool_that_is_used_up_is_an_outage(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugins.storage.sqlite.POOL_WAIT", 0.05)
    monkeypatch.setattr("plugins.storage.postgres.POOL_WAIT", 0.05)
    backend.settings = replace(backend.settings, max_connections=1)
    other = backend.again()
    other.storage.open()
    with other.storage._connections.connection():  # type: ignore[attr-defined]
        (outcome,) = at_the_same_time(other.storage.ping)
    other.storage.ping()
    other.storage.close()

    assert isinstance(outcome, StorageUnavailable)
    assert "in use" in str(outcome)


def test_pending_migrations_are_told_without_making_anything(empty_backend: Backend) -> None:
    storage: Any = empty_backend.storage
    storage.open()

    assert list(storage.pending_migrations()) == MIGRATIONS
    assert list(storage.pending_migrations()) == MIGRATIONS
    with storage._connections.connection() as database:
        assert database.get_tables() == []
    assert list(storage.migrate()) == MIGRATIONS
    assert list(storage.pending_migrations()) == []
    assert list(storage.migrate()) == []
    storage.close()


MIGRATE = """
from tests import samples
from tests.servers import Backend
storage = Backend.at(*sys.argv[1:]).storage
storage.open()
start()
print(*storage.migrate())
assert storage.organizations.all() == []
storage.close()
"""


def test_of_several_starting_processes_one_migrates(empty_backend: Backend) -> None:
    empty_backend.storage.open()
    place = [empty_backend.name, empty_backend.place]

    with Children(MIGRATE, [place] * 4) as children:
        children.go()
        applied = children.lines()

    assert sorted(applied) == ["", "", "", " ".join(MIGRATIONS)]
    assert list(empty_backend.storage.pending_migrations()) == []
    empty_backend.storage.close()


def schema(database: Any) -> dict[str, Any]:
    names = [name for name in database.get_tables() if name != "schema_migration"]
    return {
        name: {
            "columns": [
                (c.name, c.full_type, c.null, c.default) for c in database.get_columns(name)
            ],
            "primary key": database.get_primary_keys(name),
            # The key of a table that SQLite keeps in its order is no index besides.
            "indexes": sorted(
                (i.name, i.columns, i.unique)
                for i in database.get_indexes(name)
                if i.columns != database.get_primary_keys(name)
            ),
            "foreign keys": sorted(
                (f.column, f.dest_table, f.dest_column, f.on_delete)
                for f in database.get_foreign_keys(name)
            ),
        }
        for name in names
    }


def test_migrations_make_what_the_tables_say(empty_backend: Backend) -> None:
    storage: Any = empty_backend.storage
    storage.open()
    with storage._connections.connection() as database:
        with database.bind_ctx(tables.ALL):
            database.create_tables(tables.ALL)
            wanted = schema(database)
            database.drop_tables(tables.ALL)
        assert schema(database) == {}
    storage.migrate()

    with storage._connections.connection() as database:
        made = schema(database)
    storage.close()

    assert len(wanted) == len(tables.ALL)
    assert made == wanted


def test_missing_tables_are_an_outage_that_names_the_command(empty_backend: Backend) -> None:
    storage = empty_backend.storage
    storage.open()

    with pytest.raises(StorageUnavailable, match="quietzone migrate"):
        storage.codes.by_slug("MENU")
    with pytest.raises(StorageUnavailable, match="quietzone migrate"):
        storage.organizations.all()
    storage.close()


def test_a_description_tells_versions_and_no_secret(backend: Backend) -> None:
    description = backend.storage.describe()

    assert description["driver"]
    assert any(text[0].isdigit() for text in description.values())
    assert all(isinstance(text, str) for text in description.values())


def test_the_sessions_of_one_person_end_together(storage: Storage) -> None:
    users = [User(uuid4(), f"{n}@example.com", "", "hash", NOW) for n in range(2)]
    for user in users:
        storage.users.add(user)
        for n in range(2):
            token = user.id.bytes + bytes([n])
            storage.sessions.add(Session(token, user.id, NOW, NOW, NOW + timedelta(days=1)))

    storage.sessions.delete_of_user(users[0].id)

    left = [storage.sessions.get(user.id.bytes + bytes([n])) for user in users for n in range(2)]
    assert [found is not None for found in left] == [False, False, True, True]
