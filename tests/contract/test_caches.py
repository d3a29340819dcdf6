from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from core.api import Cache, Drawing, ErrorCorrection, lay_out
from plugins.caches.memory import (
    ENTRY_OVERHEAD,
    MemoryCache,
    MemorySettings,
    qz_caches,
    qz_settings,
)
from plugins.encoders.segno_encoder import SegnoEncoder
from plugins.renderers.png import PngRenderer


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

    def open(self) -> None:
        pass

    def close(self) -> None:
        self._entries.clear()

    def get(self, key: str) -> bytes | None:
        value, expires_at = self._entries.get(key, (b"", 0.0))
        return value if self._clock() < expires_at else None

    def set(self, key: str, value: bytes, ttl: float) -> None:
        self._entries.pop(key, None)
        if len(value) < self._max_bytes:
            self._entries[key] = (value, self._clock() + ttl)

    def delete(self, key: str) -> None:
        self._entries.pop(key, None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[MemoryCache, DictCache])
def cache(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Cache]:
    cache: Cache = request.param(100_000, clock)
    cache.open()
    yield cache
    cache.close()


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


@pytest.mark.parametrize("value", [b"", b"\x00", bytes(range(256)), b"x" * 50_000])
def test_what_was_set_is_got_back(cache: Cache, value: bytes) -> None:
    assert cache.get("key") is None
    cache.set("key", value, 60)
    assert cache.get("key") == value
    assert cache.get("other") is None


def test_a_later_value_replaces_an_earlier_one(cache: Cache) -> None:
    cache.set("key", b"old", 60)
    cache.set("key", b"new", 60)
    assert cache.get("key") == b"new"


def test_a_value_is_gone_when_its_time_is_over(cache: Cache, clock: Clock) -> None:
    cache.set("key", b"value", 60)
    clock.now += 59.9
    assert cache.get("key") == b"value"
    clock.now += 0.1
    assert cache.get("key") is None


def test_reading_does_not_lengthen_a_value_s_time(cache: Cache, clock: Clock) -> None:
    cache.set("key", b"value", 60)
    clock.now += 40
    cache.get("key")
    clock.now += 40
    assert cache.get("key") is None


@pytest.mark.parametrize("ttl", [0, -1])
def test_a_value_without_time_is_not_kept(cache: Cache, ttl: float) -> None:
    cache.set("key", b"old", 60)
    cache.set("key", b"value", ttl)
    assert cache.get("key") is None


def test_what_was_deleted_is_gone_and_deleting_twice_is_no_error(cache: Cache) -> None:
    cache.set("key", b"value", 60)
    cache.delete("key")
    cache.delete("key")
    assert cache.get("key") is None


def test_a_value_that_is_too_large_is_not_kept_and_takes_its_predecessor_away(
    cache: Cache,
) -> None:
    cache.set("other", b"stays", 60)
    cache.set("key", b"old", 60)
    cache.set("key", b"x" * 100_001, 60)
    assert cache.get("key") is None
    assert cache.get("other") == b"stays"


def test_any_text_may_be_a_key(cache: Cache) -> None:
    keys = ["", " ", "a", "A", "ü", "\ud800", "x" * 500, "\r\n"]
    for number, key in enumerate(keys):
        cache.set(key, str(number).encode(), 60)
    assert [cache.get(key) for key in keys] == [str(n).encode() for n in range(len(keys))]


def test_a_closed_cache_has_forgotten_everything(cache: Cache) -> None:
    cache.set("key", b"value", 60)
    cache.close()
    cache.open()
    assert cache.get("key") is None


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
            key = str((step * 7 + seed) % 90)
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
    for key in map(str, range(90)):
        cache.delete(key)
    assert cache.size == 0
