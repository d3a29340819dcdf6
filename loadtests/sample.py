"""What there is to be asked for in a service under test.

`loadtests.smoke` fills the service, and tells Locust's people of it in the environment variable
QUIETZONE_LOADTEST.
"""

from __future__ import annotations

import os

import msgspec

ENVIRONMENT = "QUIETZONE_LOADTEST"


class SampleCode(msgspec.Struct, frozen=True):
    """A code that may be asked for."""

    id: str
    slug: str


class Sample(msgspec.Struct, frozen=True):
    """What the service was filled with; every account has the same password."""

    organization: str
    codes: tuple[SampleCode, ...]
    emails: dict[str, str]
    password: str


def sample() -> Sample:
    """What the service was filled with, from the environment."""
    return msgspec.json.decode(os.environ[ENVIRONMENT], type=Sample)
