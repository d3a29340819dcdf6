"""Which passwords are taken, and that an unknown account costs what a known one does."""

from __future__ import annotations

from typing import Any

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from core.services.passwords import MAX_BYTES, Passwords
from core.settings import AccountsSettings

QUICK = {"argon2_memory_kib": 8192, "argon2_time_cost": 1}


def opened(**settings: Any) -> Passwords:
    passwords = Passwords(
        AccountsSettings(**QUICK, **settings), "https://quick-response.example.com:8443"
    )
    passwords.open(lambda function, *args: function(*args))
    return passwords


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return opened(password_min_length=8)


@pytest.mark.parametrize(
    "password", ["a phrase is easy", ("a quiet phrase " * 80)[:MAX_BYTES], "пароль-длинный"]
)
def test_a_phrase_is_taken(passwords: Passwords, password: str) -> None:
    passwords.check(password, "ada.lovelace@example.com")


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("7letter", "at least 8 characters"),
        ("x" * (MAX_BYTES + 1), "at most 1024 bytes"),
        ("é" * (MAX_BYTES // 2 + 1), "at most 1024 bytes"),
        ("with\0control", "control character"),
        ("password", "commonest"),
        ("PassWord", "commonest"),
        (" iloveyou ", "commonest"),
        ("aaaaaaaaaaaa", "commonest"),
        ("123456789012", "commonest"),
        ("210987654321", "commonest"),
        ("abcdefghijkl", "commonest"),
        ("passwordpassword", "commonest"),
        ("Password1234!", "commonest"),
        ("\uff30assword1234!", "commonest"),
        ("quietzone1234", "commonest"),
        ("            ", "commonest"),
        ("1qaz2wsx3edc", "commonest"),
        ("Ada.Lovelace@Example.com", "address"),
        ("ADA.LOVELACE", "address"),
        ("QuietZone", "name of the service"),
        ("quick-response.example.com", "name of the service"),
    ],
)
def test_what_anybody_would_try_is_refused(
    passwords: Passwords, password: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        passwords.check(password, "ada.lovelace@example.com")


def test_the_shortest_password_is_a_setting() -> None:
    passwords = opened(password_min_length=20)
    with pytest.raises(ValueError, match="at least 20 characters"):
        passwords.check("nineteen characters")
    passwords.check("twenty characters at")


def test_the_list_is_bundled_folded_and_has_nothing_that_is_too_short() -> None:
    common = opened()._common
    assert len(common) > 10_000
    assert all(len(password) >= 8 and password == password.casefold() for password in common)


def test_an_unknown_account_is_hashed_for_as_well() -> None:
    passwords = Passwords(AccountsSettings(**QUICK), "https://qr.example.com")
    hashed: list[str] = []

    def noting(function: Any, *args: Any) -> Any:
        hashed.append(args[0])
        return function(*args)

    passwords.open(noting)
    known = passwords.hash("a phrase is easy")
    hashed.clear()
    assert passwords.matches(known, "a phrase is easy")
    assert not passwords.matches(known, "another phrase")
    assert not passwords.matches(None, "another phrase")
    assert len(hashed) == 3
    # With the same parameters, so in the same time.
    made_up, real = hashed[2].split("$"), known.split("$")
    assert made_up[:-2] == real[:-2]
    assert [len(part) for part in made_up] == [len(part) for part in real]
    # One that cannot be read would be refused without any work.
    with pytest.raises(VerifyMismatchError):
        PasswordHasher().verify(hashed[2], "another phrase")
