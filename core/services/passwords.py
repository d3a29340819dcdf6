"""Hashes and checks passwords with Argon2id (RFC 9106), where it holds no request up."""

from __future__ import annotations

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from core.domain.validation import refuse_control_characters
from core.services.offload import Offload, call_inline
from core.settings import AccountsSettings

MAX_BYTES = 1024
"""Longer passwords are refused: hashing them would only cost time."""


class Passwords:
    """One hashing policy for the whole service."""

    def __init__(self, settings: AccountsSettings) -> None:
        self._minimum = settings.password_min_length
        self._hasher = argon2.PasswordHasher(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self._decoy = ""
        self.offload: Offload = call_inline

    def open(self, offload: Offload) -> None:
        """Get ready: `offload` runs the hashing from now on."""
        self.offload = offload
        self._decoy = self._hasher.hash("nobody's password")

    def check(self, password: str) -> None:
        """Raise ValueError for a password that is too short, too long, or cannot be typed."""
        refuse_control_characters(password)
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
