"""The contract of caches, held by every one of them; and what is particular to `memory`."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from core.api import (
    Cache,
    CacheFigures,
    CacheTraits,
    Drawing,
    ErrorCorrection,
    SpaceFigures,
    lay_out,
)
from plugins.caches.memcached import MemcachedCache, MemcachedSettings
from plugins.caches.memory import (
    _BEYOND,
    ENTRY_OVERHEAD,
    MemoryCache,
    MemorySettings,
    _digest,
    qz_caches,
    qz_settings,
)
from plugins.caches.shared_memory import SharedMemoryCache
from plugins.caches.tiered import TieredCache
from plugins.encoders.segno_encoder import SegnoEncoder
from plugins.renderers.png import PngRenderer
from tests.servers import Memcached

MAX_VALUE = 100_000
NEAR_SECONDS = 1.0


class Clock:
    """A clock that goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class DictCache:
    """A second cache, the simplest that keeps the contract."""

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        self._max_bytes, self._clock = max_bytes, clock
        self._entries: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.RLock()

    @property
    def traits(self) -> CacheTraits:
        return CacheTraits(shared=False, max_value=self._max_bytes)

    def open(self) -> None:
        pass

    def close(self) -> None:
        self._entries.clear()

    def get(self, key: str) -> bytes | None:
        value, expires_at = self._entries.get(key, (b"", 0.0))
        return value if self._clock() < expires_at else None

    def get_many(self, keys: Collection[str]) -> Mapping[str, bytes]:
        return {key: value for key in keys if (value := self.get(key)) is not None}

    def set(self, key: str, value: bytes, ttl: float) -> None:
        with self._lock:
            self._entries.pop(key, None)
            if len(value) <= self._max_bytes:
                self._entries[key] = (value, self._clock() + ttl)

    def delete(self, key: str) -> None:
        self._entries.pop(key, None)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        with self._lock:
            if self.get(key) is not None:
                return False
            self.set(key, value, ttl)
            return True

    def increment(self, key: str, ttl: float, by: int = 1) -> int | None:
        if ttl <= 0 or by < 0:
            return None
        with self._lock:
            count = by + int(self.get(key) or b"0")
            until = self._clock() + ttl if self.get(key) is None else self._entries[key][1]
            self._entries[key] = (str(count).encode(), until)
            return count

    def figures(self) -> CacheFigures:
        return CacheFigures(entries=len(self._entries))

    def spaces(self) -> Mapping[str, SpaceFigures]:
        entries = Counter(key.partition(":")[0] if ":" in key else "" for key in self._entries)
        return {name: SpaceFigures(entries=count) for name, count in entries.items()}


@pytest.fixture
def clock() -> Clock:
    return Clock()


def memcached(server: Memcached, clock: Clock, scope: str) -> MemcachedCache:
    """A cache on the server, with patience enough for a busy machine."""
    patient = MemcachedSettings(
        servers=(server.name,), connect_timeout_ms=5000, timeout_ms=5000, max_value=MAX_VALUE
    )
    return MemcachedCache(patient, scope, clock=time.monotonic, now=clock, spawn=call)


def call(task: Callable[[], None]) -> None:
    """Do here and now what would be done in the background."""
    task()


KINDS = ["memory", "dict", "shared_memory", "memcached", "tiered"]
SHARED = ["shared_memory", "memcached", "tiered"]


@dataclass
class Maker:
    """Makes caches of one kind; those that are shared share what they keep."""

    kind: str
    clock: Clock
    server: Callable[[], Memcached]
    scope: str
    folder: Path

    def __call__(self) -> Cache:
        match self.kind:
            case "memory":
                return MemoryCache(MAX_VALUE, self.clock)
            case "dict":
                return DictCache(MAX_VALUE, self.clock)
            case "shared_memory":
                path = self.folder / "cache.shared"
                return SharedMemoryCache(path, 128 * MAX_VALUE, self.scope, self.clock)
            case "memcached":
                return memcached(self.server(), self.clock, self.scope)
            case "tiered":
                far = memcached(self.server(), self.clock, self.scope)
                return TieredCache(MemoryCache(10 * MAX_VALUE, self.clock), far, NEAR_SECONDS)
        raise ValueError(self.kind)


@pytest.fixture
def make(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Maker:
    return Maker(
        request.param,
        clock,
        lambda: request.getfixturevalue("memcached_server"),
        uuid4().hex,
        tmp_path,
    )


@pytest.fixture
def cache(make: Maker) -> Iterator[Cache]:
    cache = make()
    cache.open()
    yield cache
    cache.close()


of_every_kind = pytest.mark.parametrize("make", KINDS, indirect=True)
of_shared_kinds = pytest.mark.parametrize("make", SHARED, indirect=True)


def test_the_plugin_offers_the_cache_with_its_bound_from_the_settings() -> None:
    assert qz_settings() is MemorySettings
    assert MemorySettings().max_bytes == 64 * 1024 * 1024
    offered = qz_caches(MemorySettings(max_bytes=ENTRY_OVERHEAD + 1))
    assert list(offered) == ["memory"]
    cache = offered["memory"]
    assert isinstance(cache, Cache)
    cache.set("a", b"xx", 60)
    cache.set("b", b"x", 60)
    assert (cache.get("a"), cache.get("b")) == (None, b"x")


@of_every_kind
@pytest.mark.parametrize("value", [b"", b"\x00", bytes(range(256)), b"x" * 50_000])
def test_what_was_set_is_got_back(cache: Cache, value: bytes) -> None:
    assert cache.get("key") is None
    cache.set("key", value, 60)
    assert cache.get("key") == value
    assert cache.get("other") is None


@of_every_kind
def test_a_later_value_replaces_an_earlier_one(cache: Cache) -> None:
    cache.set("key", b"old", 60)
    cache.set("key", b"new", 60)
    assert cache.get("key") == b"new"


@of_every_kind
def test_a_value_is_gone_when_its_time_is_over(cache: Cache, clock: Clock) -> None:
    cache.set("key", b"value", 60)
    clock.now += 59.9
    assert cache.get("key") == b"value"
    clock.now += 0.1
    assert cache.get("key") is None


@of_every_kind
def test_reading_does_not_lengthen_a_value_s_time(cache: Cache, clock: Clock) -> None:
    cache.set("key", b"value", 60)
    clock.now += 40
    cache.get("key")
    clock.now += 40
    assert cache.get("key") is None


@of_every_kind
@pytest.mark.parametrize("ttl", [0, -1])
def test_a_value_without_time_is_not_kept(cache: Cache, ttl: float) -> None:
    cache.set("key", b"old", 60)
    cache.set("key", b"value", ttl)
    assert cache.get("key") is None


@of_every_kind
def test_what_was_deleted_is_gone_and_deleting_twice_is_no_error(cache: Cache) -> None:
    cache.set("key", b"value", 60)
    cache.delete("key")
    cache.delete("key")
    assert cache.get("key") is None


@of_every_kind
def test_a_value_that_is_too_large_is_not_kept_and_takes_its_predecessor_away(
    cache: Cache,
) -> None:
    cache.set("other", b"stays", 60)
    cache.set("key", b"old", 60)
    cache.set("key", b"x" * 100_001, 60)
    assert cache.get("key") is None
    assert cache.get("other") == b"stays"


@of_every_kind
def test_any_text_may_be_a_key(cache: Cache) -> None:
    keys = ["", " ", "a", "A", "ü", "\ud800", "x" * 500, "\r\n"]
    for number, key in enumerate(keys):
        cache.set(key, str(number).encode(), 60)
    assert [cache.get(key) for key in keys] == [str(n).encode() for n in range(len(keys))]


@of_every_kind
def test_a_closed_cache_has_forgotten_everything_unless_it_is_shared(cache: Cache) -> None:
    cache.set("key", b"value", 60)
    cache.close()
    cache.open()
    assert cache.get("key") == (b"value" if cache.traits.shared else None)


@of_every_kind
def test_a_cache_may_be_closed_twice_and_before_it_was_opened(make: Maker) -> None:
    cache = make()
    cache.close()
    cache.open()
    cache.close()
    cache.close()


@of_every_kind
def test_a_value_without_time_takes_its_predecessor_away(cache: Cache) -> None:
    cache.set("key", b"old", 60)
    cache.set("key", b"new", 0)
    assert cache.get("key") is None


@of_every_kind
@pytest.mark.parametrize("ttl", [30 * 86400.0 + 1, 1e9, float("inf")])
def test_a_value_may_have_more_time_than_anybody_needs(cache: Cache, ttl: float) -> None:
    cache.set("key", b"value", ttl)
    assert cache.get("key") == b"value"
    assert cache.add("added", b"value", ttl)
    assert cache.get("added") == b"value"
    assert cache.increment("counter", ttl) == 1


@of_every_kind
def test_the_largest_value_is_kept_if_the_cache_names_one(cache: Cache) -> None:
    most = cache.traits.max_value
    assert most is not None
    if cache.traits.shared:  # The memory of a process has to hold what else an entry costs.
        cache.set("key", b"x" * most, 60)
        assert cache.get("key") == b"x" * most
    cache.set("key", b"x" * (most + 1), 60)
    assert cache.get("key") is None


@of_every_kind
def test_many_are_got_at_once_and_those_that_are_missing_left_out(cache: Cache) -> None:
    for number in range(0, 300, 2):
        cache.set(f"key {number}", str(number).encode(), 60)
    keys = [f"key {number}" for number in range(300)]
    found = cache.get_many(keys)
    assert dict(found) == {f"key {n}": str(n).encode() for n in range(0, 300, 2)}
    assert dict(cache.get_many(keys)) == dict(found)
    assert dict(cache.get_many([])) == {}
    assert dict(cache.get_many({"key 2": None, "key 3": None}.keys())) == {"key 2": b"2"}
    assert dict(cache.get_many(["key 2", "key 2"])) == {"key 2": b"2"}


@of_every_kind
def test_many_are_never_got_after_their_time(cache: Cache, clock: Clock) -> None:
    cache.set("short", b"1", 10)
    cache.set("long", b"2", 20)
    clock.now += 10
    assert dict(cache.get_many(["short", "long"])) == {"long": b"2"}


@of_every_kind
def test_only_the_first_adds(cache: Cache) -> None:
    assert cache.add("key", b"first", 60) is True
    assert cache.add("key", b"second", 60) is False
    assert cache.get("key") == b"first"
    cache.delete("key")
    assert cache.add("key", b"third", 60) is True
    assert cache.get("key") == b"third"


@of_every_kind
def test_what_was_set_keeps_others_from_adding_until_its_time_is_over(
    cache: Cache, clock: Clock
) -> None:
    cache.set("key", b"set", 10)
    assert cache.add("key", b"added", 60) is False
    clock.now += 9.5
    assert cache.add("key", b"added", 60) is False
    clock.now += 0.5
    assert cache.add("key", b"added", 0.5) is True
    assert cache.get("key") == b"added"
    clock.now += 0.5
    assert cache.get("key") is None
    assert cache.add("key", b"again", 60) is True


@of_every_kind
@pytest.mark.parametrize("value", [(b"new", 0.0), (b"x" * (MAX_VALUE + 1), 60.0)])
def test_adding_what_cannot_be_kept_goes_on_without_keeping(
    cache: Cache, value: tuple[bytes, float]
) -> None:
    assert cache.add("key", *value) is True
    assert cache.get("key") is None
    cache.set("key", b"old", 60)
    assert cache.add("key", *value) is False
    assert cache.get("key") == b"old"


@of_every_kind
def test_a_counter_begins_with_what_is_counted(cache: Cache) -> None:
    assert cache.increment("counter", 60) == 1
    assert cache.increment("counter", 60) == 2
    assert cache.increment("counter", 60, by=40) == 42
    assert cache.increment("counter", 60, by=0) == 42
    assert cache.increment("other", 60, by=7) == 7
    assert cache.increment("still", 60, by=0) == 0
    assert cache.get("counter") == b"42"
    assert dict(cache.get_many(["counter", "other"])) == {"counter": b"42", "other": b"7"}
    cache.delete("counter")
    assert cache.get("counter") is None
    assert cache.increment("counter", 60) == 1


@of_every_kind
def test_a_counter_is_in_the_way_of_those_who_add(cache: Cache) -> None:
    cache.increment("counter", 60)
    assert cache.add("counter", b"value", 60) is False
    assert cache.increment("counter", 60) == 2


@of_every_kind
@pytest.mark.parametrize(("ttl", "by"), [(0, 1), (-1, 1), (60, -1)])
def test_what_cannot_be_counted_is_not(cache: Cache, ttl: float, by: int) -> None:
    assert cache.increment("counter", ttl, by=by) is None
    assert cache.get("counter") is None


@pytest.mark.parametrize("make", ["memory", "dict", "shared_memory"], indirect=True)
def test_counting_does_not_lengthen_a_counter_s_life(cache: Cache, clock: Clock) -> None:
    assert cache.increment("counter", 60) == 1
    clock.now += 59
    assert cache.increment("counter", 60) == 2
    clock.now += 1
    assert cache.increment("counter", 60) == 1


@of_every_kind
def test_of_several_who_add_at_a_time_one_has_added(cache: Cache) -> None:
    def lease(_: int) -> int:
        return sum(cache.add(f"lease {number}", b"mine", 60) for number in range(50))

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(lease, range(4))) == 50


@of_every_kind
def test_of_several_who_count_at_a_time_nobody_is_told_another_s_value(cache: Cache) -> None:
    def count(_: int) -> list[int | None]:
        return [cache.increment("counter", 60) for _ in range(100)]

    with ThreadPoolExecutor(4) as threads:
        told = [value for values in threads.map(count, range(4)) for value in values]
    assert sorted(told) == list(range(1, 401))  # type: ignore[type-var]


@of_every_kind
def test_the_figures_can_be_had_at_any_time(cache: Cache) -> None:
    cache.set("key", b"value", 60)
    cache.set("key too large", b"x" * (MAX_VALUE + 1), 60)
    figures = cache.figures()
    assert figures.entries is not None
    assert figures.entries >= 1
    assert figures.errors == 0
    assert figures.aside == ()
    cache.close()
    cache.figures()


@of_every_kind
def test_the_figures_are_told_by_what_is_before_the_first_colon_of_a_key(cache: Cache) -> None:
    for key in ("image:a", "image:b:c", "answer:a", "answer", ":a"):
        cache.set(key, b"value", 60)
    assert cache.increment("counter:a", 60) == 1
    assert cache.add("lease:image:a", b"", 60) is True
    spaces = cache.spaces()
    assert set(spaces) == {"image", "answer", "", "counter", "lease"}
    entries = {name: space.entries for name, space in spaces.items()}
    if not cache.traits.shared:
        assert entries == {"image": 2, "answer": 1, "": 2, "counter": 1, "lease": 1}
    else:
        assert set(entries.values()) == {None}


@of_every_kind
def test_the_namespaces_together_are_the_whole(cache: Cache) -> None:
    for number in range(30):
        cache.set(f"{number % 4}:{number}", bytes(number), 60)
    cache.set("0:large", bytes(MAX_VALUE + 1), 60)
    cache.add("1:large", bytes(MAX_VALUE + 1), 60)
    cache.add("", bytes(MAX_VALUE + 1), 60)
    spaces, figures = cache.spaces().values(), cache.figures()
    assert sum(space.errors for space in spaces) == figures.errors == 0
    assert sum(space.too_large for space in spaces) == figures.too_large
    if not cache.traits.shared:
        assert sum(space.entries or 0 for space in spaces) == figures.entries == 30


@pytest.mark.parametrize("make", ["memory", "shared_memory", "memcached", "tiered"], indirect=True)
def test_what_is_too_large_is_counted_for_its_namespace(cache: Cache) -> None:
    cache.set("image:small", b"value", 60)
    cache.set("image:large", bytes(MAX_VALUE + 1), 60)
    cache.add("image:large", bytes(MAX_VALUE + 1), 60)
    cache.set("answer:large", bytes(MAX_VALUE + 1), 60)
    cache.set("other:small", b"value", 60)
    told = {name: space.too_large for name, space in cache.spaces().items()}
    assert told == {"image": 2, "answer": 1, "other": 0}


@of_every_kind
def test_namespaces_can_be_asked_for_at_any_time_and_before_a_cache_is_opened(make: Maker) -> None:
    cache = make()
    assert dict(cache.spaces()) == {}
    cache.open()
    assert dict(cache.spaces()) == {}
    cache.set("image:a", b"value", 60)
    assert "image" in cache.spaces()
    cache.close()
    assert sum(space.entries or 0 for space in cache.spaces().values()) == 0


@of_shared_kinds
def test_what_one_process_changes_another_one_sees(make: Maker, clock: Clock) -> None:
    one, other = make(), make()
    one.open()
    other.open()
    lag = one.traits.lag
    one.set("key", b"first", 60)
    assert other.get("key") == b"first"
    one.set("key", b"second", 60)
    clock.now += lag
    assert other.get("key") == b"second"
    one.delete("key")
    clock.now += lag
    assert other.get("key") is None
    assert dict(other.get_many(["key"])) == {}
    assert one.increment("counter", 60) == 1
    assert other.increment("counter", 60) == 2
    assert one.get("counter") == b"2"
    assert other.increment("counter", 60) == 3
    assert one.get("counter") == b"3"
    assert one.add("lease", b"mine", 60) is True
    assert other.add("lease", b"mine", 60) is False
    one.close()
    other.close()


@of_shared_kinds
def test_what_this_process_changes_it_sees_at_once(make: Maker) -> None:
    one, other = make(), make()
    one.open()
    other.open()
    one.set("key", b"first", 60)
    assert other.get("key") == b"first"
    other.set("key", b"second", 60)
    assert other.get("key") == b"second"
    other.delete("key")
    assert other.get("key") is None
    one.delete("key")
    assert one.add("key", b"third", 60) is True
    assert one.get("key") == b"third"
    one.close()
    other.close()


@of_shared_kinds
def test_services_that_share_a_server_do_not_see_each_other_s_values(make: Maker) -> None:
    one, other = make(), replace(make, scope="another service")()
    one.open()
    other.open()
    one.set("key", b"value", 60)
    assert other.get("key") is None
    one.close()
    other.close()


class Model(RuleBasedStateMachine):
    """Two processes that use one cache, against a dictionary; only what may be told is told.

    A cache may forget at any time, but what it tells must be true.
    """

    maker: Maker

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        make = replace(self.maker, clock=self.clock, scope=uuid4().hex)
        self.caches = [make(), make()] if self.maker.kind in SHARED else [make()]
        for cache in self.caches:
            cache.open()
        self.lag = self.caches[0].traits.lag
        # What each key held, and until when this could be told by whom: (value, process, until).
        self.told: dict[str, list[tuple[bytes, int | None, float]]] = {}

    def teardown(self) -> None:
        for cache in self.caches:
            cache.close()

    def replaced(self, key: str, who: int) -> None:
        """From now on nobody may be told what the key held, but others for as long as they lag."""
        now = self.clock.now
        self.told[key] = [
            (value, other, min(until, now + self.lag))
            for value, owner, until in self.told.get(key, [])
            for other in range(len(self.caches))
            if other != who and owner in (None, other) and until > now and self.lag
        ]

    def check(self, key: str, value: bytes | None, who: int) -> None:
        if value is not None:
            allowed = [
                held
                for held, owner, until in self.told.get(key, [])
                if owner in (None, who) and self.clock.now < until
            ]
            assert value in allowed

    keys = st.sampled_from(["a", "b", "\ud800 long" * 30])
    processes = st.sampled_from([0, 1])
    lives = st.sampled_from([0.0, 0.5, 1.0, 60.0])

    @rule(key=keys, value=st.binary(max_size=20), ttl=lives, who=processes)
    def set(self, key: str, value: bytes, ttl: float, who: int) -> None:
        who %= len(self.caches)
        self.caches[who].set(key, value, ttl)
        self.replaced(key, who)
        self.told[key].append((value, None, self.clock.now + ttl))

    @rule(key=keys, who=processes)
    def delete(self, key: str, who: int) -> None:
        who %= len(self.caches)
        self.caches[who].delete(key)
        self.replaced(key, who)

    @rule(key=keys, value=st.binary(max_size=20), ttl=lives, who=processes)
    def add(self, key: str, value: bytes, ttl: float, who: int) -> None:
        who %= len(self.caches)
        if self.caches[who].add(key, value, ttl):
            self.replaced(key, who)
            self.told[key].append((value, None, self.clock.now + ttl))

    @rule(key=keys, who=processes)
    def get(self, key: str, who: int) -> None:
        who %= len(self.caches)
        self.check(key, self.caches[who].get(key), who)

    @rule(who=processes)
    def get_many(self, who: int) -> None:
        who %= len(self.caches)
        for key, value in self.caches[who].get_many(list(self.told)).items():
            self.check(key, value, who)

    @rule(seconds=st.sampled_from([0.25, 1.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds


@of_every_kind
def test_whatever_is_done_nothing_untrue_is_told(make: Maker) -> None:
    class OfThisKind(Model):
        maker = make

    run_state_machine_as_test(
        OfThisKind,
        settings=settings(max_examples=60, stateful_step_count=30, deadline=None),
    )


def test_the_least_recently_used_goes_first(clock: Clock) -> None:
    cache = MemoryCache(3 * (ENTRY_OVERHEAD + 1), clock)
    for key in "abc":
        cache.set(key, b"x", 60)
    cache.get("a")
    cache.set("d", b"x", 60)
    assert [key for key in "abcd" if cache.get(key)] == ["a", "c", "d"]


def test_replacing_counts_as_use(clock: Clock) -> None:
    cache = MemoryCache(3 * (ENTRY_OVERHEAD + 1), clock)
    for key in "abcad":
        cache.set(key, b"x", 60)
    assert [key for key in "abcd" if cache.get(key)] == ["a", "c", "d"]


def test_what_is_asked_for_once_pushes_out_nothing_that_is_used(clock: Clock) -> None:
    cache = MemoryCache(100 * (ENTRY_OVERHEAD + 10), clock)
    used = [f"used {n}" for n in range(80)]
    for key in used:
        cache.set(key, bytes(10), 60)
        assert cache.get(key)
    for n in range(5000):
        cache.set(f"once {n}", bytes(10), 60)
    assert all(cache.get(key) for key in used)
    assert cache.size <= 100 * (ENTRY_OVERHEAD + 10)


def test_what_is_used_no_more_makes_room_for_what_is(clock: Clock) -> None:
    cache = MemoryCache(10 * (ENTRY_OVERHEAD + 1), clock)
    for key in "abcdefghijklmnop":
        cache.set(key, b"x", 60)
        assert cache.get(key)
    # Eight are proven; the two before them are new again, and go first.
    assert [key for key in "ghijklmnop" if cache.get(key)] == [*"ghijklmnop"]
    cache.set("y", b"x", 60)
    cache.set("z", b"x", 60)
    assert sum(cache.get(key) is not None for key in "ghijklmnop") == 8


@given(st.lists(st.tuples(st.sampled_from("sgad"), st.integers(0, 12), st.integers(0, 300))))
def test_the_bounds_hold_whatever_is_done(steps: list[tuple[str, int, int]]) -> None:
    most = 4 * (ENTRY_OVERHEAD + 100)
    cache = MemoryCache(most, Clock())
    for step, key, size in steps:
        match step:
            case "s":
                cache.set(str(key), bytes(size), 60)
            case "g":
                cache.get(str(key))
            case "a":
                cache.add(str(key), bytes(size), 60)
            case "d":
                cache.delete(str(key))
        entries = [*cache._new.values(), *cache._proven.values()]
        assert cache.size == sum(len(entry) + _BEYOND for entry in entries) <= most
        proven = sum(len(entry) + _BEYOND for entry in cache._proven.values())
        assert cache._proven_size == proven <= 0.8 * most


def held(cache: MemoryCache, keys: Collection[str]) -> dict[str, int]:
    """What the cache keeps of the keys, in bytes, without a change to what it will forget first."""
    entries = {key: {**cache._new, **cache._proven}.get(_digest(key)) for key in keys}
    return {key: len(entry) + _BEYOND for key, entry in entries.items() if entry is not None}


@given(
    st.lists(
        st.tuples(
            st.sampled_from("sgadiwc"),
            st.sampled_from("abcd"),
            st.integers(0, 3),
            st.integers(0, 600),
        ),
        max_size=80,
    )
)
def test_the_figures_of_every_namespace_are_right_whatever_is_done(
    steps: list[tuple[str, str, int, int]],
) -> None:
    most, clock = 4 * (ENTRY_OVERHEAD + 100), Clock()
    cache = MemoryCache(most, clock)
    keys = [f"{name}:{number}" for name in "abc" for number in range(4)]
    keys += [f"d{number}" for number in range(4)]
    evictions: Counter[str] = Counter()
    too_large: Counter[str] = Counter()
    for step, name, number, size in steps:
        key = f"d{number}" if name == "d" else f"{name}:{number}"
        before = held(cache, keys)
        match step:
            case "s":
                cache.set(key, bytes(size), 60)
            case "g":
                cache.get(key)
            case "a":
                size = 0 if cache.get(key) is not None else size
                cache.add(key, bytes(size), 60)
            case "d":
                cache.delete(key)
            case "i":
                cache.increment(key, 60)
            case "w":
                clock.now += 25
            case "c":
                cache.close()
        kept = held(cache, keys)
        if step in "sai":
            evictions.update(space_of(each) for each in before.keys() - kept.keys() - {key})
            too_large[space_of(key)] += step in "sa" and size + ENTRY_OVERHEAD > most
        spaces, figures = cache.spaces(), cache.figures()
        assert {space_of(each) for each in kept} <= set(spaces)
        for space, told in spaces.items():
            sizes = [size for each, size in kept.items() if space_of(each) == space]
            assert told == SpaceFigures(
                entries=len(sizes),
                size=sum(sizes),
                evictions=evictions[space],
                too_large=too_large[space],
            )
        assert figures.entries == sum(space.entries or 0 for space in spaces.values())
        assert figures.evictions == sum(space.evictions or 0 for space in spaces.values())
        assert figures.too_large == sum(space.too_large for space in spaces.values())
        assert figures.size == sum(space.size or 0 for space in spaces.values()) == cache.size
        assert cache.size <= most


def space_of(key: str) -> str:
    return key.split(":")[0] if ":" in key else ""


def test_an_expired_entry_counts_until_it_is_removed(clock: Clock) -> None:
    cache = MemoryCache(5000, clock)
    cache.set("image:a", bytes(100), 60)
    clock.now += 60
    kept = SpaceFigures(entries=1, size=ENTRY_OVERHEAD + 100, evictions=0)
    assert dict(cache.spaces()) == {"image": kept}
    cache.get("image:a")
    assert dict(cache.spaces()) == {"image": SpaceFigures(entries=0, size=0, evictions=0)}


def test_an_eviction_is_counted_for_who_had_to_go(clock: Clock) -> None:
    cache = MemoryCache(2 * (ENTRY_OVERHEAD + 1), clock)
    for key in ("image:a", "image:b", "answer:a"):
        cache.set(key, b"x", 60)
    evictions = {name: space.evictions for name, space in cache.spaces().items()}
    assert evictions == {"image": 1, "answer": 0}


def test_a_cache_tells_256_namespaces_apart_and_keeps_the_values_of_more() -> None:
    cache = MemoryCache(2**20)
    for number in range(300):
        cache.set(f"{number}:key", str(number).encode(), 60)
    assert all(cache.get(f"{number}:key") == str(number).encode() for number in range(300))
    spaces = cache.spaces()
    assert len(spaces) == 256
    assert (spaces["0"].entries, spaces["254"].entries, spaces[""].entries) == (1, 1, 45)
    for number in range(300):
        cache.delete(f"{number}:key")
    assert sum(space.size or 0 for space in cache.spaces().values()) == cache.size == 0
    assert all(space.entries == 0 for space in cache.spaces().values())


def test_a_large_value_makes_as_much_room_as_it_needs(clock: Clock) -> None:
    cache = MemoryCache(10 * (ENTRY_OVERHEAD + 10), clock)
    for number in range(10):
        cache.set(str(number), bytes(10), 60)
    cache.set("large", bytes(5 * (ENTRY_OVERHEAD + 10) - ENTRY_OVERHEAD), 60)
    assert [n for n in range(10) if cache.get(str(n))] == [5, 6, 7, 8, 9]
    assert cache.get("large")


def test_the_size_is_that_of_the_entries_through_every_change(clock: Clock) -> None:
    cache = MemoryCache(5000, clock)
    cache.set("a", bytes(100), 60)
    assert cache.size == ENTRY_OVERHEAD + 100
    cache.set("a", bytes(10), 60)
    assert cache.size == ENTRY_OVERHEAD + 10
    cache.set("b", bytes(20), 30)
    assert cache.size == 2 * ENTRY_OVERHEAD + 30
    clock.now += 30
    cache.get("b")
    assert cache.size == ENTRY_OVERHEAD + 10
    cache.delete("a")
    assert cache.size == 0
    cache.set("c", bytes(5001), 60)
    assert cache.size == 0
    cache.set("d", bytes(1), 60)
    cache.close()
    assert cache.size == 0


@pytest.mark.parametrize("entries", [100, 1366, 5000, 43_691])
def test_the_memory_taken_stays_within_what_is_accounted_for(entries: int) -> None:
    cache = MemoryCache(2**30)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(entries):
            cache.set(f"image:{number:032x}", bytes(446), 60)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.8 * cache.size < after - before <= cache.size


def test_a_cached_png_of_the_usual_size_costs_less_than_700_bytes() -> None:
    symbol = SegnoEncoder().encode("HTTPS://QR.EXAMPLE/R/7KQ2VX9B", ErrorCorrection.M)
    image = bytearray(PngRenderer().render(Drawing(symbol, lay_out(symbol, 300, 4))))
    cache, entries = MemoryCache(2**30), 43_691  # So many make the tables grow.
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(entries):
            cache.set(f"image:{number:032x}", bytes(image), 60)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 400 < (after - before) / entries < 700


def test_threads_never_break_the_bound_nor_get_another_key_s_value() -> None:
    bound = 50 * (ENTRY_OVERHEAD + 40)
    cache = MemoryCache(bound)
    wrong: list[object] = []
    gate = threading.Barrier(4)

    def work(seed: int) -> None:
        gate.wait()
        for step in range(5000):
            number = (step * 7 + seed) % 90
            key = f"{number % 7}:{number}"
            value = cache.get(key)
            if value is not None and not value.startswith(key.encode() + b":"):
                wrong.append((key, value))
            if cache.size > bound:
                wrong.append(cache.size)
            if step % 11 == 0:
                cache.delete(key)
            else:
                cache.set(key, key.encode() + b":" + bytes(step % 37), 60)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(space.size or 0 for space in cache.spaces().values()) == cache.size
    for number in range(90):
        cache.delete(f"{number % 7}:{number}")
    assert cache.size == 0
    assert all(space.entries == space.size == 0 for space in cache.spaces().values())
