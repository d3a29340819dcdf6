"""Tokens that nobody guesses, and what is stored of them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from hashlib import sha256


def new_token(token_bytes: Callable[[int], bytes]) -> str:
    """A token for addresses and cookies: 256 random bits."""
    return base64.urlsafe_b64encode(token_bytes(32)).decode().rstrip("=")


def token_hash(token: str) -> bytes:
    """What is stored of a token: they hold 80 random bits or more, so a plain hash suffices."""
    return sha256(token.encode("utf-8", "replace")).digest()
