"""Hashes and checks passwords with Argon2id (RFC 9106), where it holds no request up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from core.settings import AccountsSettings

T = TypeVar("T")

MAX_BYTES = 1024
"""Longer passwords are refused: hashing them would only cost time."""


class Offload(Protocol):
    """Runs a function that needs tens of milliseconds of CPU where it holds nobody up."""

    def __call__(self, function: Callable[..., T], *args: object) -> T:
        """The function's result."""


def call_inline(function: Callable[..., T], *args: object) -> T:
    """The offload of a process that answers one request at a time."""
    return function(*args)


class Passwords:
    """One hashing policy for the whole service."""

    def __init__(self, settings: AccountsSettings) -> None:
        self._minimum = settings.password_min_length
        self._hasher = argon2.PasswordHasher(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self._decoy = self._hasher.hash("nobody's password")
        self.offload: Offload = call_inline

    def check(self, password: str) -> None:
        """Raise ValueError for a password that is too short or too long."""
        if len(password) < self._minimum:
            raise ValueError(f"use at least {self._minimum} characters; a phrase is easy to keep")
        if len(password.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            raise ValueError(f"use at most {MAX_BYTES} bytes")

    def hash(self, password: str) -> str:
        """The hash to store, parameters and salt included."""
        return self.offload(self._hasher.hash, password)

    def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether `password` is the one; takes as long for an unknown account (None)."""
        if password_hash is None:
            self.offload(self._verify, self._decoy, password)
            return False
        return self.offload(self._verify, password_hash, password)

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than the ones that are set now."""
        return self._hasher.check_needs_rehash(password_hash)

    def _verify(self, password_hash: str, password: str) -> bool:
        if len(password.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            return False
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False
