"""Remembers browsers, so that whoever guesses at an account keeps nobody out who has been in.

This is the protocol of device cookies (OWASP, "Slow Down Online Guessing Attacks with Device
Cookies"): a browser in which somebody has signed in to an account gets a token for that account.
What is tried with the token is counted apart from what strangers try.
"""

from __future__ import annotations

from collections.abc import Callable

from core.services.signatures import Signatures
from core.services.tokens import new_token


class Devices:
    """Gives tokens to browsers and knows them again; nothing of it is stored."""

    def __init__(self, signatures: Signatures, token_bytes: Callable[[int], bytes]) -> None:
        self._signatures = signatures
        self._token_bytes = token_bytes

    def token(self, email: str) -> str:
        """A new token, for a browser whose user has proved that the account is his."""
        name = new_token(self._token_bytes)
        return f"{name}.{self._signatures.seal(_message(email, name))}"

    def is_known(self, email: str, token: str) -> bool:
        """Whether we made the token, and for that account."""
        name, _, seal = token.partition(".")
        return self._signatures.is_sealed(_message(email, name), seal)

    def subject(self, email: str, token: str = "") -> str:
        """Who is counted where somebody tries to get into the account: the browser, or all others.

        It makes no difference whether there is such an account.
        """
        if token and self.is_known(email, token):
            return f"device:{token.partition('.')[0]}"
        return spelled(email)


def spelled(email: str) -> str:
    """An address as limits count it, whether it is one or not."""
    return email.strip().casefold()


def _message(email: str, name: str) -> bytes:
    return f"device:{name}:{spelled(email)}".encode("utf-8", "surrogatepass")
