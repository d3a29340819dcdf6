"""The log of entries that processes share: whatever is read was kept under that very digest."""

from __future__ import annotations

import mmap
import random
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.caches.log import DIGEST, HEAD, OVERHEAD, OWN, Damaged, Log

SIZE = 16 * 4096
FOREVER = 1e12


class Clock:
    """Stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Kept:
    """A log, and what it tells of those that had to go."""

    def __init__(self, size: int = SIZE) -> None:
        self.memory = mmap.mmap(-1, size)
        self.clock = Clock()
        self.evicted: list[str] = []
        self.log = Log(self.memory, self.clock, self.evicted.append)

    def put(self, key: object, value: bytes, namespace: str = "image", until: float = 1e12) -> None:
        self.log.put(digest(key), namespace, value, until)

    def get(self, key: object) -> bytes | None:
        entry = self.log.read(digest(key))
        return None if entry is None else entry.value


@pytest.fixture
def kept() -> Kept:
    return Kept()


def digest(key: object) -> bytes:
    return blake2b(str(key).encode(), digest_size=DIGEST).digest()


def test_an_entry_comes_back_with_its_expiry_and_two_logs_of_one_memory_are_one(kept: Kept) -> None:
    kept.put("a", b"value", until=17.5)
    other = Log(kept.memory, kept.clock, kept.evicted.append)
    assert other.read(digest("a")) == (b"value", 17.5)
    assert other.read(digest("b")) is None
    other.remove(digest("a"))
    assert kept.get("a") is None
    assert kept.log.figures == (0, 0, 0)


def test_what_nobody_asked_for_makes_room_and_what_was_read_stays(kept: Kept) -> None:
    for number in range(3000):
        if number == 500:
            kept.put("read", b"x" * 400)
            kept.put("unread", b"x" * 400)
        kept.put(number, b"y" * 400, "flood")
        if number >= 500 and number % 20 == 0:
            assert kept.get("read") == b"x" * 400
    assert kept.get("unread") is None
    assert kept.get(2999) == b"y" * 400
    entries, size, evictions = kept.log.figures
    assert entries + evictions == 3002
    assert (
        size == entries * (OVERHEAD + 408) <= SIZE
    )  # 405 bytes with the namespace, rounded up to 8.
    assert len(kept.evicted) == evictions
    assert set(kept.evicted) == {"image", "flood"}
    assert kept.evicted.count("image") == 1


def test_what_was_read_goes_once_enough_others_were_read(kept: Kept) -> None:
    kept.put("read", b"x" * 400)
    assert kept.get("read") == b"x" * 400
    for number in range(3000):
        kept.put(number, b"y" * 400)
    assert kept.get("read") == b"x" * 400
    for number in range(1000):
        kept.put(number, b"z" * 400)
        assert kept.get(number) == b"z" * 400
    assert kept.get("read") is None


def test_what_takes_the_place_of_something_proven_is_proven(kept: Kept) -> None:
    kept.put("answer", b"old")
    assert kept.get("answer") == b"old"
    kept.put("answer", b"new")
    for number in range(3000):
        kept.put(number, b"y" * 400)
    assert kept.get("answer") == b"new"


def test_where_everything_was_read_something_goes_all_the_same(kept: Kept) -> None:
    for number in range(3000):
        kept.put(number, b"y" * 400)
        assert kept.get(number) == b"y" * 400
    entries, _, evictions = kept.log.figures
    assert entries + evictions == 3000
    assert entries > 90


def test_what_has_expired_goes_without_being_counted_as_evicted(kept: Kept) -> None:
    for number in range(100):
        kept.put(number, b"x" * 400, until=10.0)
    kept.clock.now = 10.0
    for number in range(100, 170):
        kept.put(number, b"x" * 400)
        assert kept.get(number) == b"x" * 400
    assert kept.get(0) is None
    assert kept.evicted == []


def test_a_counter_stands_where_it_stood(kept: Kept) -> None:
    for count in range(5000):
        kept.log.put(digest("counter"), "limit", b"%d" % count, FOREVER, room=20)
    kept.put("other", b"value")
    assert kept.get("counter") == b"4999"
    assert kept.log.figures.entries == 2
    assert kept.memory[HEAD:].count(digest("counter")) == 1


@given(seed=st.integers(0, 2**32), most=st.sampled_from([30, 300, 3000]))
@settings(max_examples=40, deadline=None)
def test_whatever_is_done_an_entry_is_the_last_one_or_none(seed: int, most: int) -> None:
    chance, kept, last = random.Random(seed), Kept(), dict[int, bytes]()
    for _ in range(600):
        key = chance.randrange(60)
        match chance.randrange(4):
            case 0 | 1:
                last[key] = chance.randbytes(chance.randrange(most))
                kept.put(key, last[key])
            case 2:
                assert kept.get(key) in (last.get(key), None)
            case _:
                kept.log.remove(digest(key))
                last.pop(key, None)
                assert kept.get(key) is None
    held = {key: value for key in range(60) if (value := kept.get(key)) is not None}
    assert held.items() <= last.items()
    assert kept.log.figures.entries == len(held)
    if most < 1000:
        # 60 of them have room.
        assert held == last


@given(
    seed=st.integers(0, 2**32),
    where=st.sampled_from(["head", "index", "log", "anywhere"]),
    length=st.sampled_from([1, 8, 64, 4096]),
)
@settings(max_examples=25, deadline=None)
def test_a_damaged_memory_tells_nothing_untrue_and_is_used_again(
    seed: int, where: str, length: int
) -> None:
    chance, kept, ever = random.Random(seed), Kept(), set[bytes]()

    def use() -> None:
        for _ in range(300):
            key = chance.randrange(200)
            value = b"%d:%d" % (key, chance.randrange(1000)) * chance.randrange(1, 30)
            ever.add(value)
            kept.put(key, value)
            kept.log.put(digest(f"counter {key % 20}"), "limit", b"7", FOREVER, room=20)
            try:
                found = kept.get(chance.randrange(200))
            except Damaged:
                continue
            assert found is None or found in ever

    use()
    begin, end = {
        "head": (OWN, OWN + 56),
        "index": (HEAD, HEAD + 2048),
        "log": (HEAD + 8192, SIZE),
        "anywhere": (OWN, SIZE),
    }[where]
    start = chance.randrange(begin, end)
    damage = chance.choice([chance.randbytes(length), b"\xff" * length, bytes(length)])
    stop = min(start + length, end)
    kept.memory[start:stop] = damage[: stop - start]
    for _ in range(5):
        use()
    kept.put("last", b"value")
    assert kept.get("last") == b"value"
    assert kept.log.figures.entries >= 1
