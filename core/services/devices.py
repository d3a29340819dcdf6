"""Remembers browsers, so that whoever guesses at an account keeps nobody out who has been in.

This is the protocol of device cookies (OWASP, "Slow Down Online Guessing Attacks with Device
Cookies"): a browser in which somebody has signed in to an account gets a token for that account and
its password. What is tried with the token is counted apart from what strangers try.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from core.domain.accounts import User, normalize_email
from core.services.signatures import Signatures
from core.services.tokens import new_token


class Devices:
    """Gives tokens to browsers and knows them again; nothing of it is stored."""

    def __init__(self, signatures: Signatures, token_bytes: Callable[[int], bytes]) -> None:
        self._signatures = signatures
        self._token_bytes = token_bytes

    def token(self, user: User) -> str:
        """A new token, for a browser whose user has proved that the account is his."""
        name = new_token(self._token_bytes)
        return f"{name}.{self._signatures.seal(_message(user, name))}"

    def is_known(self, user: User, token: str) -> bool:
        """Whether we made the token, for that account and the password that it has."""
        name, _, seal = token.partition(".")
        return self._signatures.is_sealed(_message(user, name), seal)

    def subject(self, email: str, user: User | None, token: str = "") -> str:
        """Who is counted where somebody tries to get into an account: the browser, or all others.

        It makes no difference whether there is a `user` of that address.
        """
        if user is not None and token and self.is_known(user, token):
            return f"device:{token.partition('.')[0]}"
        return f"email:{spelled(email)}"


def spelled(email: str) -> str:
    """An address as limits count it, whether it is one or not."""
    try:
        return normalize_email(email)
    except ValueError:
        return email.strip().lower()


def _message(user: User, name: str) -> bytes:
    # The digest is as long for every account, so that no name of a token continues it.
    account = sha256(user.id.bytes + user.password_hash.encode()).digest()
    return b"device:" + account + name.encode("utf-8", "surrogatepass")
