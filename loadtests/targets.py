"""The targets of the load test and of the benchmark, as `loadtests/targets.toml` states them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

FILE = Path(__file__).with_suffix(".toml")


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[load]`: how much is asked for, and how much may fail."""

    users: int
    seconds: int
    failure_ratio: float


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one kind of request must reach."""

    requests: int
    p95_ms: float


class Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What drawing must reach: a ratio to segno, a median, a growth with size, or several."""

    ratio: float | None = None
    ms: float | None = None
    growth: float | None = None


class Analytics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[analytics]`: what numbers may take, and how much longer with a hundred times the scans."""

    timeline_ms: float
    stats_ms: float
    growth: float
    drained_per_second: int
    seeding_seconds: float


class Targets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of `loadtests/targets.toml`."""

    load: Load
    targets: dict[str, Target]
    drawing: dict[str, Bound]
    analytics: Analytics


def read() -> Targets:
    """The targets; raises ValidationError for what is not one."""
    return msgspec.convert(tomllib.loads(FILE.read_text(encoding="utf-8")), Targets)
