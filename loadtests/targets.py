"""The targets of the load tests and of the benchmarks, as `loadtests/targets.toml` states them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

FILE = Path(__file__).with_suffix(".toml")


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one kind of request must reach in a stage; times in milliseconds.

    At least so many `requests` have to be answered, or else the times tell nothing.
    """

    requests: int = 1
    average_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a suite: so many people for so many seconds, and what each kind must reach.

    `people` are the kinds that come, by their names in `loadtests.users`; everybody comes where it
    is empty, but no crowd. `all` is the budget of all requests together.
    """

    users: int
    seconds: int
    spawn_rate: float = 0
    people: tuple[str, ...] = ()
    all: Budget = Budget()
    requests: dict[str, Budget] = {}


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[suites.NAME]`: what is stored before, who comes, and what the service must hold.

    The share `failure_ratio` of the requests may fail. `hits` are shares of what the service has
    looked for in its cache, by namespace. `start_s` are the seconds until it is ready, with a
    database that was made before. `worker_mb` is what a worker may take of memory,
    `growth_mb_per_hour` how much more of it once a third of the last stage is over, and
    `descriptors` how many more open files then.
    """

    codes: int
    scans: int
    failure_ratio: float
    stages: tuple[Stage, ...]
    hits: dict[str, float] = {}
    start_s: float | None = None
    worker_mb: float | None = None
    growth_mb_per_hour: float | None = None
    descriptors: int | None = None


class Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What drawing must reach, in one way or in several.

    `ratio` is how many times faster than segno, `qrcode` than qrcode with Pillow, `libqrencode`
    than the command of libqrencode; `ms` the median, `growth` how many times that of 100 pixels,
    `bytes` the length of an image, or what it costs in the cache, `mb` how much more memory is in
    use at the peak.
    """

    ratio: float | None = None
    qrcode: float | None = None
    libqrencode: float | None = None
    ms: float | None = None
    growth: float | None = None
    bytes: int | None = None
    mb: float | None = None


class Analytics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[analytics]`: what numbers may take, and how much longer with a hundred times the scans."""

    timeline_ms: float
    stats_ms: float
    growth: float
    drained_per_second: int
    seeding_seconds: float


class Shares(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[shares]`: how much of a bare Falcon's speed is left.

    `redirect` is a 302 whose scan is recorded, `image` a 200 from a cache, `unchanged` a 304.
    """

    redirect: float
    image: float
    unchanged: float


class Hits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[hits]`: how much of what is looked for is found, and what it costs while a server is away.

    `under_attack` is of the others' images. While a server is away, the 99th percentile may be
    `away_p99_ms` above what it is otherwise; a server that is back is in use within `back_s`.
    """

    image: float
    stats: float
    timeline: float
    under_attack: float
    away_p99_ms: float
    back_s: float


class Failures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[failures]`: what is left of the service when it is attacked, reloaded, cut off or killed.

    Of `failed` requests and `lost` scans there may be so many at most. 99 of 100 visitors are
    answered within `flood_p99_ms` beside whoever tries passwords, and within `slow_p99_ms` beside
    slow clients, of which the share `slow_attached` has to be there at a time. The medians of
    sign-ins for accounts that there are and for others are less than `sign_in_apart_ms` apart.
    """

    failed: int
    lost: int
    flood_p99_ms: float
    sign_in_apart_ms: float
    slow_p99_ms: float
    slow_attached: float


class Targets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of `loadtests/targets.toml`."""

    suites: dict[str, Suite]
    drawing: dict[str, Bound]
    analytics: Analytics
    shares: Shares
    hits: Hits
    failures: Failures


def read() -> Targets:
    """The targets; raises ValidationError for what is not one."""
    return msgspec.convert(tomllib.loads(FILE.read_text(encoding="utf-8")), Targets)
