"""Hashes and checks passwords with Argon2id (RFC 9106), where it holds no request up."""

from __future__ import annotations

import secrets
import string
import unicodedata
from base64 import b64encode
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import argon2
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION

from core.domain.validation import refuse_control_characters
from core.services.offload import Admission, Offload, call_inline
from core.settings import AccountsSettings

MAX_BYTES = 1024
"""Longer passwords are refused: hashing them would only cost time."""


_COMMON = Path(__file__).with_name("common_passwords.txt")
_SERVICE = "quietzone"
_LEAST_DIFFERENT = 5
_RUNS = (string.digits * 20, string.ascii_lowercase * 10, "qwertyuiopasdfghjklzxcvbnm")


class Passwords:
    """One policy for the whole service: which passwords are taken, and how they are hashed."""

    def __init__(self, settings: AccountsSettings, base_url: str) -> None:
        self._minimum = settings.password_min_length
        # What is tried first of all here, whatever is common elsewhere.
        self._own_names = {_SERVICE, (urlsplit(base_url).hostname or "").casefold()}
        self._common: frozenset[str] = frozenset()
        self._hasher = argon2.PasswordHasher(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self._decoy = _decoy(self._hasher)
        self._offload: Offload = call_inline
        self._admission = Admission(settings.max_waiting, "accounts.max_waiting")

    def open(self, offload: Offload) -> None:
        """Get ready: `offload` runs the hashing from now on."""
        self._offload = offload
        self._common = _common()

    def check(self, password: str, email: str = "") -> None:
        """Raise ValueError for a password that cannot be taken for the account of that address.

        It is too short, too long, or cannot be typed; it is one of the commonest, or a name that
        anybody would try first. Case does not matter for that.
        """
        refuse_control_characters(password)
        if len(password) < self._minimum:
            raise ValueError(f"use at least {self._minimum} characters; a phrase is easy to keep")
        if len(password.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            raise ValueError(f"use at most {MAX_BYTES} bytes")
        folded, address = password.strip().casefold(), email.strip().casefold()
        if folded in self._own_names or folded in (address, address.partition("@")[0]):
            raise ValueError("do not use the address or the name of the service; take a phrase")
        if folded in self._common or self._is_guessed(unicodedata.normalize("NFKC", folded)):
            raise ValueError("this is one of the commonest passwords; a phrase is easy to keep")

    def _is_guessed(self, folded: str) -> bool:
        """Whether it is what programs try that guess: runs, and common words that are drawn out."""
        if len(set(folded)) < _LEAST_DIFFERENT:
            return True
        if any(folded in run or folded in run[::-1] for run in _RUNS):
            return True
        word = folded.strip(string.digits + string.punctuation + string.whitespace)
        # The shortest part of which it is a repetition.
        part = word[: (word + word).find(word, 1)] if word else ""
        return part in self._common or part in self._own_names

    def hash(self, password: str) -> str:
        """The hash to store, parameters and salt included; raises Overloaded."""
        with self._admission.one():
            return self._offload(self._hasher.hash, password)

    def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether `password` is the one; takes as long for an unknown account (None).

        Raises Overloaded where too many wait for their turn.
        """
        with self._admission.one():
            is_right = self._offload(self._verify, password_hash or self._decoy, password)
        return is_right and password_hash is not None

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


def _decoy(hasher: argon2.PasswordHasher) -> str:
    """A hash that no password has; to check one against it takes as long as against any other.

    PERF: it is made up, since hashing takes that long as well, whenever a process starts.
    """
    salt, digest = (
        b64encode(secrets.token_bytes(length)).rstrip(b"=").decode()
        for length in (hasher.salt_len, hasher.hash_len)
    )
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${cost}${salt}${digest}"


@cache
def _common() -> frozenset[str]:
    """The commonest passwords, read once in a process."""
    lines = _COMMON.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))
