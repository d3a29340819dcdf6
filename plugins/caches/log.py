"""A log of entries in memory that several processes map, with an index by the digests of keys.

The memory is a head, an index, and two rings, to which entries are appended:

* What is new goes to the first *ring*, of a fifth of the room. When its turn comes to make room, it
  goes on to the second one if it was read meanwhile, or if there is room left. At the tail of the
  second ring what was read since it came is appended anew, and the rest goes. (So does S3-FIFO, of
  Yang and others, SOSP 2023.) Whoever keeps thousands of things that nobody asks for pushes out
  what is new, and nothing else.
* A position in a ring counts on without end, and its place is the remainder by the ring's size, so
  that no two entries ever have the same position.
* The *index* has buckets of `_WAYS` slots. A slot holds the beginning of a digest, the position of
  the entry, its size, and whether it was read since it was appended.

One process changes it at a time, for which those who use it have to see. Readers need not wait: an
entry carries the whole digest and a checksum, so that whatever is read while somebody else writes
is either what was kept under that very key, or known to be something else. A process may be killed
at any moment: an entry is complete before the head counts it, and counted before a slot tells of
it.
"""

from __future__ import annotations

import mmap
import struct
import sys
from collections import deque
from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

HEAD = 4096
"""Bytes; those who use the log may write into the first `OWN` of them what they like."""

OWN = 64

_NEW, _PROVEN = 0, 1
_HEAD_AT, _TAIL_AT = (8, 10), (9, 11)
_ENTRIES, _SIZE, _EVICTIONS = 12, 13, 14
"""The words of 64 bits in the head: where is appended to each ring, where is made room in it, and
what is counted."""

_NEW_SHARE = 0.2

_WAYS = 8
_HASH, _POSITION, _TAKES, _WAS_READ = range(4)
"""The words of a slot. The position is one more than it is, for 0 marks an empty slot, and that in
the second ring is beyond `_END`."""

_END = 2**62
"""No ring gets so far: that would be a gigabyte a second for a hundred years."""

_SLOT_WORDS = 4
_BUCKET_WORDS = _WAYS * _SLOT_WORDS
_SLOT = 8 * _SLOT_WORDS

_ENTRY = struct.Struct("=IIIHxx16sd")
"""What an entry begins with: what it takes in the log, a checksum of all that follows, the lengths
of the value and of the namespace, the digest, and when it expires. Namespace and value follow."""

_LENGTH = _CHECKSUM = struct.Struct("=I")
_CHECKED = 8
"""The checksum is over what comes after so many bytes."""

_DIGEST_AT = 16

_EXPECTED = 256
"""There is a slot for so many bytes of the log: images of some hundred bytes are the many, and
counters of less than a hundred are among them."""

_SECOND_CHANCES = 16
"""So many entries are appended anew at most for the sake of one, so that it takes no time."""

_LOOKS = 4
"""Somebody else may write where is read, or move the entry; never for as long as that."""

DIGEST = 16
"""The bytes of a digest: so many never clash."""

OVERHEAD = _ENTRY.size + _SLOT
"""What an entry takes beyond its namespace and its value, in bytes, but for rounding to 8."""


class Damaged(Exception):
    """The memory holds what nobody has written there who keeps to its rules."""


class Entry(NamedTuple):
    """What was kept; `expires_at` is in seconds, of whichever clock."""

    value: bytes
    expires_at: float


class LogFigures(NamedTuple):
    """How many entries there are, their bytes, and how many have made room for others."""

    entries: int
    size: int
    evictions: int


class Log:
    """A log that fills `memory`, which begins as zeros and is a multiple of 4,096 bytes long.

    `evicted` is told the namespace of each entry that had to make room, but not of those that have
    expired by `clock`.
    """

    def __init__(
        self, memory: mmap.mmap, clock: Callable[[], float], evicted: Callable[[str], None]
    ) -> None:
        self._memory = memory
        self._clock = clock
        self._evicted = evicted
        self._buckets = max(1, (len(memory) - HEAD) // (_EXPECTED + _SLOT) // _WAYS)
        self._log_at = HEAD + self._buckets * _WAYS * _SLOT
        room = (len(memory) - self._log_at) // 8
        new = int(_NEW_SHARE * room)
        self._capacity = (8 * new, 8 * (room - new))
        self._starts = (self._log_at, self._log_at + 8 * new)
        self._words = memoryview(memory)[: self._log_at].cast("Q")

    @property
    def figures(self) -> LogFigures:
        """What is there now; after a process was killed while it wrote, it may be one entry off."""
        entries, size, evictions = (self._words[word] for word in (_ENTRIES, _SIZE, _EVICTIONS))
        return LogFigures(entries, size, evictions)

    def read(self, digest: bytes) -> Entry | None:
        """The entry, expired or not; None where there is none.

        Raises Damaged where what is told of it is not there.
        """
        for _ in range(_LOOKS):
            slot = self._find(digest)
            if slot is None:
                return None
            data = self._entry(slot)
            if _is_whole(data, digest):
                if not self._words[slot + _WAS_READ]:
                    # NOTE: should the slot be another's by now, that one gets a second chance.
                    self._words[slot + _WAS_READ] = 1
                _, _, length, name, _, expires_at = _ENTRY.unpack_from(data)
                start = _ENTRY.size + name
                return Entry(data[start : start + length], expires_at)
        raise Damaged("an entry is not where the index has it")

    def put(
        self, digest: bytes, namespace: str, value: bytes, expires_at: float, room: int = 0
    ) -> None:
        """Keep the value in place of the one before, with room for one of so many bytes."""
        data = _pack(digest, namespace.encode(), value, expires_at, room)
        try:
            slot, ring = self._find(digest), _NEW
            if slot is not None:
                told = self._words[slot + _POSITION]
                if (
                    room
                    and self._words[slot + _TAKES] == len(data)
                    and _is_whole(self._entry(slot), digest)
                ):
                    # Counters go on where they are. Who reads meanwhile has to look again.
                    self._words[slot + _WAS_READ] = 1
                    self._write(told, data)
                    return
                if told > _END or self._words[slot + _WAS_READ]:
                    ring = _PROVEN
                self._forget(slot)
            self._append(data, ring)
        except Damaged:
            self._begin_anew()
            self._append(data, _NEW)

    def remove(self, digest: bytes) -> None:
        """Forget the entry, if there is one."""
        slot = self._find(digest)
        if slot is not None:
            self._forget(slot)

    def _find(self, digest: bytes) -> int | None:
        """The first word of the slot that tells of the digest."""
        start = self._bucket(digest)
        # PERF: a list of the whole bucket is searched in C.
        words = self._words[start : start + _BUCKET_WORDS].tolist()
        hashes = words[_HASH::_SLOT_WORDS]
        wanted = _hash(digest)
        if wanted not in hashes:
            return None
        for way, told in enumerate(hashes):
            if told == wanted and words[way * _SLOT_WORDS + _POSITION]:
                return start + way * _SLOT_WORDS
        return None

    def _bucket(self, digest: bytes) -> int:
        number = int.from_bytes(digest[8:], sys.byteorder) % self._buckets
        return HEAD // 8 + number * _BUCKET_WORDS

    def _entry(self, slot: int) -> bytes:
        """The bytes that the slot tells of, whatever they are."""
        return self._bytes(self._words[slot + _POSITION], self._words[slot + _TAKES])

    def _bytes(self, told: int, number: int) -> bytes:
        start = self._place(told)
        return self._memory[start : start + number]

    def _write(self, told: int, data: bytes) -> None:
        start = self._place(told)
        self._memory[start : start + len(data)] = data

    def _place(self, told: int) -> int:
        """Where in the memory the entry is of which a slot tells so."""
        ring = _PROVEN if told > _END else _NEW
        return self._starts[ring] + (told - _told(ring, 0)) % self._capacity[ring]

    def _append(self, data: bytes, ring: int) -> None:
        """Append the entry, and before it those of which it takes the room and that were read."""
        for each in (_NEW, _PROVEN):
            head, tail = self._words[_HEAD_AT[each]], self._words[_TAIL_AT[each]]
            if not tail <= head <= min(tail + self._capacity[each], _END):
                raise Damaged("the head of a ring is not where it can be")
        staying = deque[bytes]()
        chances = _SECOND_CHANCES
        while True:
            # Those that stay come first, or what is new might have to make room for them.
            next_one, to = (staying[0], _PROVEN) if staying else (data, ring)
            head, position = self._words[_HEAD_AT[to]], self._next(to, len(next_one))
            if position is None:
                oldest = self._take_oldest(to, chances > 0)
                if oldest is not None:
                    chances -= 1
                    staying.append(oldest)
                continue
            if position > head:
                self._write(_told(to, head), _LENGTH.pack(position - head))
            told = _told(to, position)
            self._write(told, next_one)
            self._words[_HEAD_AT[to]] = position + len(next_one)
            self._tell(next_one, told)
            if not staying:
                return
            staying.popleft()

    def _next(self, ring: int, takes: int) -> int | None:
        """The position of an entry that is appended now; None where room has to be made first."""
        head, capacity = self._words[_HEAD_AT[ring]], self._capacity[ring]
        # An entry is in one piece: where it does not fit any more, a blank is in between.
        left = capacity - head % capacity
        position = head if takes <= left else head + left
        has_room = position + takes - self._words[_TAIL_AT[ring]] <= capacity
        return position if has_room else None

    def _take_oldest(self, ring: int, may_stay: bool) -> bytes | None:
        """Make room at the tail; the entry that was there, if it is to be appended anew."""
        words = self._words
        tail = words[_TAIL_AT[ring]]
        told = _told(ring, tail)
        (takes,) = _LENGTH.unpack(self._bytes(told, _LENGTH.size))
        if not 0 < takes <= self._capacity[ring] - tail % self._capacity[ring] or takes % 8:
            raise Damaged("a ring has something else at its tail than an entry")
        data = self._bytes(told, takes)
        slot = self._find(_digest(data)) if takes >= _ENTRY.size else None
        stays = False
        if slot is not None and words[slot + _POSITION] == told:
            is_wanted = words[slot + _WAS_READ] or (
                ring == _NEW and self._next(_PROVEN, takes) is not None
            )
            stays = may_stay and bool(is_wanted) and self._is_live(data)
            if not stays:
                self._evict(data)
            self._forget(slot)
        words[_TAIL_AT[ring]] = tail + takes
        return data if stays else None

    def _tell(self, data: bytes, told: int) -> None:
        """Have a slot tell of the entry; where all are taken, that of the oldest unread one."""
        digest = _digest(data)
        start = self._bucket(digest)
        words = self._words
        slot = min(
            range(start, start + _BUCKET_WORDS, _SLOT_WORDS),
            # An empty one, which a late reader may have marked, or else the oldest unread one.
            key=lambda slot: (
                bool(words[slot + _POSITION]),
                words[slot + _WAS_READ],
                words[slot + _POSITION],
            ),
        )
        if words[slot + _POSITION]:
            self._evict(self._entry(slot))
            self._forget(slot)
        words[slot + _HASH] = _hash(digest)
        words[slot + _TAKES] = len(data)
        words[slot + _WAS_READ] = 0
        words[slot + _POSITION] = told
        words[_ENTRIES] = min(words[_ENTRIES] + 1, _END)
        words[_SIZE] = min(words[_SIZE] + len(data) + _SLOT, _END)

    def _forget(self, slot: int) -> None:
        words = self._words
        words[slot + _POSITION] = words[slot + _WAS_READ] = 0
        # NOTE: a process that was killed may have left the counts a little too low.
        words[_ENTRIES] = max(0, words[_ENTRIES] - 1)
        words[_SIZE] = max(0, words[_SIZE] - words[slot + _TAKES] - _SLOT)

    def _is_live(self, data: bytes) -> bool:
        return len(data) >= _ENTRY.size and _ENTRY.unpack_from(data)[-1] > self._clock()

    def _evict(self, data: bytes) -> None:
        """Count that the entry has to go, if it still had time."""
        if not self._is_live(data):
            return
        self._words[_EVICTIONS] = min(self._words[_EVICTIONS] + 1, _END)
        name = _ENTRY.unpack_from(data)[3]
        self._evicted(data[_ENTRY.size : _ENTRY.size + name].decode(errors="replace"))

    def _begin_anew(self) -> None:
        """Forget everything, since nothing in the memory can be relied on."""
        self._memory[OWN : self._log_at] = bytes(self._log_at - OWN)


def _told(ring: int, position: int) -> int:
    """How a slot tells of the position."""
    return position + 1 + (_END if ring == _PROVEN else 0)


def _pack(digest: bytes, name: bytes, value: bytes, expires_at: float, room: int) -> bytes:
    length = len(value)
    takes = -(-(_ENTRY.size + len(name) + max(length, room)) // 8) * 8
    data = bytearray(takes)
    _ENTRY.pack_into(data, 0, takes, 0, length, len(name), digest, expires_at)
    data[_ENTRY.size : _ENTRY.size + len(name) + length] = name + value
    _CHECKSUM.pack_into(data, _LENGTH.size, crc32(memoryview(data)[_CHECKED:]))
    return bytes(data)


def _is_whole(data: bytes, digest: bytes) -> bool:
    if len(data) < _ENTRY.size or _digest(data) != digest:
        return False
    (told,) = _CHECKSUM.unpack_from(data, _LENGTH.size)
    return bool(told == crc32(memoryview(data)[_CHECKED:]))


def _digest(data: bytes) -> bytes:
    return data[_DIGEST_AT : _DIGEST_AT + DIGEST]


def _hash(digest: bytes) -> int:
    return int.from_bytes(digest[:8], sys.byteorder)
