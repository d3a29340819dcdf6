"""TOTP against the vectors of RFC 6238 (appendix B) and RFC 4226 (appendix D)."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from core.domain import totp

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    assert totp.code(SECRET, totp.step_of(moment), digits=8) == code
    assert totp.matching_step(SECRET, code[2:], moment) == seconds // 30


@pytest.mark.parametrize(
    ("step", "code"), list(enumerate(["755224", "287082", "359152", "969429", "338314", "254676"]))
)
def test_the_codes_are_those_of_rfc_4226(step: int, code: str) -> None:
    assert totp.code(SECRET, step) == code


def test_the_clock_may_be_one_period_off_and_no_more() -> None:
    now = datetime(2026, 5, 6, 12, 0, 29, 999999, tzinfo=UTC)
    step = totp.step_of(now)
    assert totp.step_of(now + timedelta(microseconds=1)) == step + 1
    for offset in range(-4, 5):
        found = totp.matching_step(SECRET, totp.code(SECRET, step + offset), now)
        assert found == (step + offset if abs(offset) <= 1 else None)


@pytest.mark.parametrize("given", ["", "0", "9428708", "94287082", "²²²²²²", "94 287", "abcdef"])
def test_what_is_no_code_matches_nothing(given: str) -> None:
    assert totp.matching_step(SECRET, given, datetime.fromtimestamp(59, UTC)) is None


def test_an_app_reads_the_secret_from_the_address() -> None:
    address = totp.address(SECRET, "qr.example.com", "ada+tag:x@bücher.example")
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert parts.path == "/qr.example.com:ada%2Btag%3Ax@b%C3%BCcher.example"
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert base64.b32decode(query.pop("secret")) == SECRET
    assert query == {
        "issuer": "qr.example.com", "algorithm": "SHA1", "digits": "6", "period": "30",
    }  # fmt: skip
