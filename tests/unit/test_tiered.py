"""The near level never shows what its own process has changed, whatever comes in between."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import pytest

from plugins.caches.memory import MemoryCache
from plugins.caches.tiered import TieredCache


class Far(MemoryCache):
    """A shared level in this process; `meanwhile` happens between its reading and its answer."""

    def __init__(self) -> None:
        super().__init__(1_000_000, lambda: 0.0)
        self.meanwhile: Callable[[], object] = lambda: None
        self.asked = 0

    def read_many(self, keys: Collection[str]) -> Mapping[str, tuple[bytes, float]]:
        self.asked += 1
        found = {key: (value, 60.0) for key, value in self.get_many(keys).items()}
        self.meanwhile()
        return found


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
def cache(far: Far) -> TieredCache:
    return TieredCache(MemoryCache(1_000_000, lambda: 0.0), far, 1.0)


def test_what_was_seen_is_not_asked_for_again(cache: TieredCache, far: Far) -> None:
    far.set("a", b"value", 60)
    assert cache.get("a") == b"value"
    assert cache.get("a") == b"value"
    assert far.asked == 1
    assert dict(cache.get_many(["a", "b"])) == {"a": b"value"}
    assert far.asked == 2
    assert dict(cache.get_many(["a"])) == {"a": b"value"}
    assert far.asked == 2


@pytest.mark.parametrize(
    ("change", "after"),
    [
        (lambda cache: cache.delete("key"), None),
        (lambda cache: cache.set("key", b"new", 60), b"new"),
        (lambda cache: cache.set("key", b"x" * 1_000_001, 60), None),
    ],
    ids=["deleted", "replaced", "replaced by what is too large"],
)
def test_a_value_that_was_on_its_way_while_it_was_changed_is_not_kept(
    cache: TieredCache,
    far: Far,
    change: Callable[[TieredCache], object],
    after: bytes | None,
) -> None:
    far.set("key", b"old", 60)
    far.meanwhile = lambda: change(cache)
    assert cache.get("key") == b"old"
    far.meanwhile = lambda: None
    assert cache.get("key") == after


def test_what_is_added_shows_at_once_though_an_older_value_is_near(
    cache: TieredCache, far: Far
) -> None:
    cache.set("key", b"old", 60)
    far.delete("key")
    assert cache.get("key") == b"old"
    assert cache.add("key", b"new", 60) is True
    assert cache.get("key") == b"new"


def test_traits_and_figures_are_those_of_the_shared_level_with_a_lag(
    cache: TieredCache, far: Far
) -> None:
    assert cache.traits.lag == 1.0
    assert cache.traits.max_value == far.traits.max_value
    cache.set("key", b"value", 60)
    assert cache.figures() == far.figures()
    cache.set("image:key", b"value", 60)
    assert cache.get("image:key") == b"value"
    assert dict(cache.spaces()) == dict(far.spaces())
    assert [*cache.spaces()] == ["", "image"]
