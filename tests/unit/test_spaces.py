"""The cache as services see it: keys that differ, looks that are counted, and clearing."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from core.errors import StorageUnavailable
from core.ports import CacheTraits
from core.services.allowance import Allowance
from core.services.meters import Looks, Meters, Namespace
from core.services.spaces import Epochs, Space, Spaces, digest
from plugins.caches.memory import MemoryCache

ONE, OTHER = UUID(int=1), UUID(int=2)


class Shared(MemoryCache):
    """A cache that many processes would share, and how often it was asked."""

    def __init__(self) -> None:
        super().__init__(1_000_000)
        self.asked = 0

    @property
    def traits(self) -> CacheTraits:
        return CacheTraits(shared=True)

    def get(self, key: str) -> bytes | None:
        self.asked += 1
        return super().get(key)


class Numbers:
    """A storage of nothing but epochs."""

    def __init__(self) -> None:
        self.cache_epochs = self
        self.numbers: dict[str, int] = {}
        self.asked = 0
        self.away = False

    def all(self) -> dict[str, int]:
        self.asked += 1
        if self.away:
            raise StorageUnavailable("away")
        return dict(self.numbers)

    def advance(self, namespace: str) -> int:
        self.numbers[namespace] = self.numbers.get(namespace, 0) + 1
        return self.numbers[namespace]


class Desk:
    def __init__(self, folder: Path) -> None:
        self.now = 100.0
        self.numbers = Numbers()
        self.cache = Shared()
        self.meters = Meters(folder / "none")
        storage: Any = self.numbers
        self.epochs = Epochs(storage, lambda: self.now)
        self.spaces = Spaces(self.cache, self.meters, self.epochs, self.allowance, 2)

    def allowance(self) -> Allowance:
        return Allowance(100_000, lambda: self.now)

    @property
    def images(self) -> Space:
        return self.spaces[Namespace.IMAGE]

    def looks(self, namespace: Namespace) -> Looks:
        return self.meters.read().namespaces[namespace].since_start


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def whole(data: bytes) -> bytes:
    return data


def test_keys_differ_by_namespace_organization_and_what_they_depend_on(desk: Desk) -> None:
    digests = [digest(), digest(""), digest("a", "b"), digest("ab"), digest(ONE), digest(1, None)]
    keys = {
        desk.spaces[namespace].key(organization, one)
        for namespace in Namespace
        for organization in (ONE, OTHER)
        for one in digests
    }
    assert len(keys) == len(Namespace) * 2 * len(digests)
    assert all(key.partition(":")[0] in set(Namespace) for key in keys)


def test_looks_are_counted_by_what_came_of_them(desk: Desk) -> None:
    stats = desk.spaces[Namespace.STATS]
    key = stats.key(ONE, digest("a"))
    assert stats.find(key, whole) is None
    assert stats.peek(key, whole) is None
    stats.keep(ONE, key, b"four", 60)
    assert stats.find(key, whole) == b"four"
    assert stats.peek(key, whole) == b"four"
    # What is there and of no use is as good as nothing.
    assert stats.find(key, lambda _: None) is None
    looks = desk.looks(Namespace.STATS)
    assert (looks.hits, looks.misses, looks.errors) == (1, 2, 0)
    assert (looks.bytes_read, looks.bytes_written) == (4, 4)
    readings = desk.meters.read().namespaces[Namespace.STATS]
    assert readings.entries == 1
    assert readings.size == desk.cache.size
    assert desk.looks(Namespace.TIMELINE).hits == 0


def test_what_another_version_has_put_there_is_an_error_and_a_miss(desk: Desk) -> None:
    def read(data: bytes) -> bytes:
        raise ValueError(data)

    stats = desk.spaces[Namespace.STATS]
    key = stats.key(ONE, digest("a"))
    stats.keep(ONE, key, b"junk", 60)
    assert stats.find(key, read) is None
    looks = desk.looks(Namespace.STATS)
    assert (looks.hits, looks.misses, looks.errors) == (0, 1, 1)


def test_what_was_cleared_is_not_found_within_a_second(desk: Desk) -> None:
    other = desk.spaces[Namespace.PROOF]
    for space in (desk.images, other):
        space.keep(ONE, space.key(ONE, "x"), b"old", 60)

    def find(space: Space) -> bytes | None:
        return space.find(space.key(ONE, "x"), whole)

    assert find(desk.images) == b"old"
    desk.numbers.advance("image")
    desk.now += 0.81
    assert find(desk.images) is None
    assert find(other) == b"old"
    # The process that clears notices it at once.
    desk.epochs.advance("proof")
    assert find(other) is None


def test_the_storage_is_asked_for_epochs_once_in_a_while_and_need_not_answer(desk: Desk) -> None:
    desk.numbers.advance("image")
    keys = {desk.images.key(ONE, "x") for _ in range(5)}
    assert desk.numbers.asked == 1
    desk.numbers.away = True
    desk.now += 0.81
    keys |= {desk.images.key(ONE, "x") for _ in range(5)}
    assert desk.numbers.asked == 2
    assert len(keys) == 1


def test_hot_images_are_kept_in_the_process_once_they_were_found(desk: Desk) -> None:
    keys = [desk.images.key(ONE, name) for name in "abc"]
    for key in keys:
        desk.images.keep(ONE, key, b"image", 60)
    for _ in range(3):
        assert desk.images.find(keys[0], whole) == b"image"
    assert desk.cache.asked == 1
    for key in keys[1:]:
        desk.images.find(key, whole)
    # There is room for two.
    desk.images.find(keys[0], whole)
    assert desk.cache.asked == 4
    looks = desk.looks(Namespace.IMAGE)
    assert (looks.hits, looks.misses) == (6, 0)


def test_large_images_and_answers_are_not_kept_in_the_process(desk: Desk) -> None:
    large = desk.images.key(ONE, "large")
    desk.images.keep(ONE, large, bytes(16_385), 60)
    stats = desk.spaces[Namespace.STATS]
    answer = stats.key(ONE, "a")
    stats.keep(ONE, answer, b"answer", 60)
    for _ in range(3):
        desk.images.find(large, whole)
        stats.find(answer, whole)
    assert desk.cache.asked == 6


def test_in_front_of_a_cache_in_the_process_there_is_no_other_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    cache = MemoryCache(1_000_000)
    images = Spaces(cache, desk.meters, desk.epochs, desk.allowance, 2)[Namespace.IMAGE]
    key = images.key(ONE, "a")
    images.keep(ONE, key, b"image", 60)
    assert images.find(key, whole) == b"image"
    cache.delete(key)
    assert images.find(key, whole) is None


def test_an_organization_adds_no_more_than_its_allowance(desk: Desk) -> None:
    def kept(organization: UUID, name: str, *, new: bool = True) -> bool:
        key = desk.images.key(organization, name)
        desk.images.keep(organization, key, bytes(10_000), 60, new=new)
        return desk.images.find(key, whole) is not None

    assert [kept(ONE, str(n)) for n in range(12)] == [True] * 9 + [False] * 3
    # Others have theirs, and what is replaced is none more.
    assert kept(OTHER, "first")
    assert kept(ONE, "again", new=False)
    assert desk.looks(Namespace.IMAGE).refused == 3
    # What was taken is given back evenly within ten minutes.
    desk.now += 62
    assert [kept(ONE, name) for name in ("later", "too soon")] == [True, False]
    stats = desk.spaces[Namespace.STATS]
    stats.keep(ONE, stats.key(ONE, "other things"), b"", 60)
    assert desk.looks(Namespace.STATS).refused == 0
