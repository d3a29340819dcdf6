"""One-time passwords by the clock (TOTP, RFC 6238), as authenticator apps on phones show them."""

from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

SECRET_BYTES = 20
"""As long as a SHA-1, which RFC 4226 (section 4, R6) recommends."""

DIGITS = 6
PERIOD = 30
"""Digits of a code, and how many seconds it is shown: what every app can do."""

_WINDOW = (0, -1, 1)
"""The clock of a phone may be one period behind or ahead (RFC 6238, 5.2); steps from now."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def step_of(moment: datetime) -> int:
    """The number of the period that a point in time lies in."""
    return (moment - _EPOCH) // timedelta(seconds=PERIOD)


def code(secret: bytes, step: int, digits: int = DIGITS) -> str:
    """The code of one period (RFC 4226, 5.3)."""
    digest = hmac.digest(secret, step.to_bytes(8), "sha1")
    offset = digest[-1] & 0xF
    number = int.from_bytes(digest[offset : offset + 4]) & 0x7FFF_FFFF
    return str(number % 10**digits).zfill(digits)


def matching_step(secret: bytes, given: str, moment: datetime) -> int | None:
    """The period, about that of `moment`, whose code was given; None where it is none of them."""
    now, found = step_of(moment), None
    for offset in _WINDOW:
        if hmac.compare_digest(code(secret, now + offset).encode(), given.encode()):
            found = now + offset if found is None else found
    return found


def readable(secret: bytes) -> str:
    """The secret as people type it into an app: base 32 without padding."""
    return base64.b32encode(secret).decode().rstrip("=")


def address(secret: bytes, issuer: str, account: str) -> str:
    """The `otpauth:` address that apps read from a QR code."""
    label = f"{quote(issuer, safe='')}:{quote(account, safe='@')}"
    query = {
        "secret": readable(secret),
        "issuer": issuer,
        "algorithm": "SHA1",
        "digits": DIGITS,
        "period": PERIOD,
    }
    return f"otpauth://totp/{label}?{urlencode(query, quote_via=quote)}"
