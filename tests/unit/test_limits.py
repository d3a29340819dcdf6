"""Limits hold for every span of their length, over all processes that share a cache."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.api import Cache
from core.errors import TooMany
from core.services.limits import Limits, Policy
from core.settings import Limit
from plugins.caches.memory import MemoryCache


class Clock:
    """A clock that goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Away(MemoryCache):
    """A cache that can be away, as one is whose server is."""

    is_away = False

    def get(self, key: str) -> bytes | None:
        return None if self.is_away else super().get(key)

    def increment(self, key: str, ttl: float, by: int = 1) -> int | None:
        return None if self.is_away else super().increment(key, ttl, by)


def limits(cache: Cache, clock: Callable[[], float], *given: tuple[int, int]) -> Limits:
    chosen = {policy: [Limit(*one) for one in given] for policy in Policy}
    return Limits(chosen, cache, clock)


def taken(limits: Limits, times: int, subject: str = "somebody") -> int:
    """How many of so many were allowed."""
    allowed = 0
    for _ in range(times):
        try:
            limits.take(Policy.READS, subject)
        except TooMany:
            continue
        allowed += 1
    return allowed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> Away:
    return Away(64 * 1024 * 1024, clock)


def test_as_many_as_the_limit_says_are_allowed_and_then_none_is(cache: Away, clock: Clock) -> None:
    own = limits(cache, clock, (100, 60))
    assert taken(own, 150) == 100
    assert taken(own, 150, "somebody else") == 100
    clock.now += 30
    assert taken(own, 10) == 0


def test_whoever_is_refused_is_told_when_he_may_again_and_may_then(
    cache: Away, clock: Clock
) -> None:
    own = limits(cache, clock, (5, 60))
    for _ in range(5):
        own.take(Policy.READS, "somebody")
        clock.now += 7
    with pytest.raises(TooMany, match=r"At most 5 in 60 seconds .*limits\.reads.* in \d+ sec") as e:
        own.take(Policy.READS, "somebody")
    assert 60 - 35 <= e.value.wait <= 60 - 35 + 6
    clock.now += e.value.wait
    own.take(Policy.READS, "somebody")
    with pytest.raises(TooMany):
        own.take(Policy.READS, "somebody")


def test_what_was_refused_does_not_count(cache: Away, clock: Clock) -> None:
    own = limits(cache, clock, (10, 60))
    assert taken(own, 10) == 10
    for _ in range(30):
        clock.now += 2
        taken(own, 50)
    # The first ten are 60 seconds old.
    clock.now += 6
    assert taken(own, 50) == 10


def test_the_standing_counts_down_and_of_several_limits_the_tightest_is_told(
    cache: Away, clock: Clock
) -> None:
    own = limits(cache, clock, (100, 60), (20, 3600))
    told = [own.take(Policy.READS, "somebody") for _ in range(20)]
    assert [standing.left for standing in told if standing is not None] == list(range(19, -1, -1))
    with pytest.raises(TooMany, match="At most 20 in 3600"):
        own.take(Policy.READS, "somebody")


def test_where_there_is_no_limit_everything_is_allowed(cache: Away, clock: Clock) -> None:
    own = limits(cache, clock)
    assert own.take(Policy.READS, "somebody") is None
    assert taken(own, 10_000) == 10_000


def test_policies_and_subjects_are_counted_apart(cache: Away, clock: Clock) -> None:
    own = limits(cache, clock, (1, 60))
    own.take(Policy.READS, "somebody")
    own.take(Policy.WRITES, "somebody")
    own.take(Policy.READS, "somebody\ud800")
    with pytest.raises(TooMany):
        own.take(Policy.WRITES, "somebody")


def test_processes_that_share_a_cache_have_one_limit(cache: Away, clock: Clock) -> None:
    processes = [limits(cache, clock, (1000, 60)) for _ in range(4)]
    allowed = sum(taken(process, 100) for _ in range(10) for process in processes)
    # What a process has taken from the counter and not given out is lost, and that is little.
    assert 990 <= allowed <= 1000


def test_while_the_cache_is_away_each_process_goes_on_from_what_it_knows(
    cache: Away, clock: Clock
) -> None:
    one, other = limits(cache, clock, (100, 60)), limits(cache, clock, (100, 60))
    assert taken(one, 40) == 40
    assert taken(other, 20) == 20
    cache.is_away = True
    assert taken(one, 100) <= 60
    assert 40 <= taken(other, 100) <= 60
    clock.now += 30
    assert taken(one, 100) == 0
    newcomer = limits(cache, clock, (100, 60))
    assert taken(newcomer, 200) == 100


def test_many_at_a_time_are_allowed_no_more_while_the_cache_is_away(clock: Clock) -> None:
    together = Barrier(20)

    class Slow(Away):
        """Answers nobody before all have asked, as a server does that has just stalled."""

        def increment(self, key: str, ttl: float, by: int = 1) -> int | None:
            with suppress(BrokenBarrierError):
                together.wait(0.5)
            return None

    own = limits(Slow(1_000_000), clock, (10, 60))

    def take(_: int) -> int:
        return taken(own, 1)

    with ThreadPoolExecutor(20) as threads:
        assert sum(threads.map(take, range(60))) == 10


@pytest.mark.parametrize("how", ["away", "emptied"])
def test_a_cache_that_has_lost_its_counters_allows_nobody_twice_as_much(
    cache: Away, clock: Clock, how: str
) -> None:
    own = limits(cache, clock, (100, 60))
    cache.is_away = how == "away"
    assert taken(own, 95) == 95
    cache.is_away = False
    cache.close()
    assert taken(own, 300) == 5


def test_the_order_of_limits_makes_no_difference(cache: Away, clock: Clock) -> None:
    own = limits(cache, clock, (1000, 3600), (10, 60))
    allowed = 0
    for _ in range(600):
        allowed += taken(own, 2)
        clock.now += 1
    assert allowed >= 90


def test_what_a_process_still_has_it_gives_out_when_all_is_gone(cache: Away, clock: Clock) -> None:
    one, other = limits(cache, clock, (1000, 60)), limits(cache, clock, (1000, 60))
    clock.now = 1_000_002.0
    assert taken(one, 1) == 1
    assert taken(other, 2000) == 1000 - 31
    clock.now += 1.5
    assert [taken(one, 1) for _ in range(31)] == [1] * 30 + [0]


def test_one_who_is_late_at_the_end_of_a_part_is_counted_all_the_same(
    cache: Away, clock: Clock
) -> None:
    late_clock = Clock()
    prompt, late = limits(cache, clock, (100, 60)), limits(cache, late_clock, (100, 60))
    clock.now = 1_000_002.0  # A part of six seconds begins.
    assert taken(prompt, 1) == 1
    late_clock.now = 1_000_001.9
    assert taken(late, 90) == 90
    clock.now += 1.0
    assert taken(prompt, 100) <= 9


@given(
    seed=st.integers(0, 2**32),
    most=st.sampled_from([1, 7, 100, 300]),
    seconds=st.sampled_from([1, 10, 60]),
    processes=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_no_span_of_the_window_s_length_has_more_than_the_limit(
    seed: int, most: int, seconds: int, processes: int
) -> None:
    chance, clock = random.Random(seed), Clock()
    cache = MemoryCache(64 * 1024 * 1024, clock)
    all_of_them = [limits(cache, clock, (most, seconds)) for _ in range(processes)]
    allowed: list[float] = []
    for _ in range(40):
        clock.now += chance.choice([0.0, 0.01, 0.1, 0.5, 1.1]) * chance.random() * seconds
        times = chance.choice([1, 3, most // 5, most])
        allowed += [clock.now] * sum(taken(chance.choice(all_of_them), 1) for _ in range(times))
    for number, at in enumerate(allowed):
        assert number + 1 - bisect_right(allowed, at - seconds) <= most


def test_many_at_a_time_are_allowed_no_more_than_one_after_the_other(
    cache: Away, clock: Clock
) -> None:
    processes = [limits(cache, clock, (500, 60)) for _ in range(3)]
    with ThreadPoolExecutor(6) as threads:
        allowed = list(threads.map(lambda number: taken(processes[number % 3], 300), range(6)))
    assert 490 <= sum(allowed) <= 500
