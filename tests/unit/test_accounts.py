from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.domain.accounts import (
    ApiKey,
    ApiKeyDraft,
    OrganizationDraft,
    Principal,
    Role,
    User,
    check_organization_slug,
    normalize_email,
    organization_slug,
)
from core.domain.validation import collect
from tests.unit.zones import PROFILE

NOW = datetime(2026, 5, 6, 12, 0, tzinfo=UTC)


def test_each_role_includes_the_ones_before_it_and_none_after_it() -> None:
    order = [Role.MEMBER, Role.ANALYST, Role.EDITOR, Role.ADMIN, Role.OWNER]
    assert order == list(Role)
    for rank, role in enumerate(order):
        assert [role.includes(other) for other in order] == [n <= rank for n in range(5)]


def test_a_principal_is_an_operator_as_the_user_or_the_key_is() -> None:
    user = User(uuid4(), "ada@example.com", "Ada", "hash", NOW)
    key = ApiKey(uuid4(), uuid4(), "till", Role.OWNER, "qz_abc", b"hash", NOW)
    assert not Principal().operator
    for flag in (False, True):
        assert Principal(user=replace(user, operator=flag)).operator is flag
        assert Principal(api_key=replace(key, operator=flag)).operator is flag


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("someone@example.com", "someone@example.com"),
        ("  Some.One+tag@Example.COM\n", "some.one+tag@example.com"),
        ("root@localhost", "root@localhost"),
        ("jürgen@bücher.example", "jürgen@bücher.example"),
    ],
)
def test_an_address_is_kept_in_one_spelling(written: str, kept: str) -> None:
    assert normalize_email(written) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "someone",
        "someone@",
        "@example.com",
        "some one@example.com",
        "a@b@c",
        "a@.com",
        "a@b..c",
        "a@b.",
        "a\x00b@example.com",
        "a@b\r\nBcc: c",
        "x" * 65 + "@example.com",
        "a@" + "x." * 130 + "com",
    ],
)
def test_what_cannot_be_an_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it as name@example\.com"):
        normalize_email(text)


@PROFILE
@given(st.emails())
def test_every_address_of_the_mail_standards_has_a_spelling_that_stays(address: str) -> None:
    kept = normalize_email(address)
    assert normalize_email(kept) == kept
    assert normalize_email(address.upper()) == kept


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Café Léon", "cafe-leon"),
        ("  ACME, Inc.  ", "acme-inc"),
        ("Ｆｕｌｌ", "full"),
        ("日本", "organization"),
        ("X", "organization"),
        ("a" * 47 + " b", "a" * 47),
    ],
)
def test_a_slug_is_made_from_a_name(name: str, slug: str) -> None:
    assert organization_slug(name) == slug


@PROFILE
@given(st.text(max_size=200))
@example("-" * 60)
@example("a-" * 40)
def test_every_name_gives_a_slug_that_is_accepted(name: str) -> None:
    slug = organization_slug(name)
    check_organization_slug(slug)
    assert 2 <= len(slug) <= 48


@pytest.mark.parametrize(
    "slug", ["", "A", "a b", "-a", "a-", "a--b", "a_b", "ä", "a\n", "../a", "a/b"]
)
def test_what_cannot_stand_in_an_address_is_no_slug(slug: str) -> None:
    with pytest.raises(ValueError, match="lower-case letters, digits and single hyphens"):
        check_organization_slug(slug)


@pytest.mark.parametrize("name", ["", " ", "\t\n", "x" * 201, 5, None])
def test_a_name_says_something(name: object) -> None:
    _, problems = collect(OrganizationDraft, {"name": name})
    assert [problem.field for problem in problems] == ["name"]


@pytest.mark.parametrize("role", ["Owner", "", "root", 5, None])
def test_a_role_is_one_of_the_five(role: object) -> None:
    _, problems = collect(ApiKeyDraft, {"name": "till", "role": role})
    assert [problem.field for problem in problems] == ["role"]


@pytest.mark.parametrize("moment", ["2026-05-06T12:00:00", "2026-05-06", "soon", "", True])
def test_a_point_in_time_names_its_offset(moment: object) -> None:
    _, problems = collect(ApiKeyDraft, {"name": "till", "role": "editor", "expires_at": moment})
    assert [problem.field for problem in problems] == ["expires_at"]
