"""What there is to be asked for in a service under load.

`loadtests.seed` fills the service; Locust's people read what there is from the file that the
environment variable QUIETZONE_LOADTEST names.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import msgspec

ENVIRONMENT = "QUIETZONE_LOADTEST"


class SampleCode(msgspec.Struct, frozen=True):
    """A code that may be asked for; `image` is the signed address of its image."""

    id: str
    slug: str
    image: str


class Sample(msgspec.Struct, frozen=True):
    """What the service was filled with: codes, the most popular first, and an account a role.

    Every account has the same password.
    """

    organization: str
    codes: tuple[SampleCode, ...]
    emails: dict[str, str]
    password: str

    def write(self, file: Path) -> None:
        """Keep it in a file."""
        file.write_bytes(msgspec.json.encode(self))


@cache
def sample() -> Sample:
    """What the service was filled with, from the environment."""
    # PERF: whoever simulates people must not keep others waiting while one more comes.
    return msgspec.json.decode(Path(os.environ[ENVIRONMENT]).read_bytes(), type=Sample)
