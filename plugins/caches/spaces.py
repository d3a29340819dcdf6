"""The namespaces that a cache has met, and what it counts of each."""

from __future__ import annotations

from threading import Lock

MOST = 256
"""So many namespaces are told apart: the number of one fits into a byte."""


class Space:
    """What is counted of one namespace, whose number no other one of the cache has."""

    __slots__ = ("entries", "errors", "evictions", "number", "size", "too_large")

    def __init__(self, number: int) -> None:
        self.number = number
        self.entries = 0
        self.size = 0
        self.evictions = 0
        self.errors = 0
        self.too_large = 0


class Spaces(dict[str, Space]):
    """Namespaces by name; one that was not met before is made when it is asked for.

    Only services make up namespaces, and they are few. Should there be more than `MOST`, the later
    ones count for the namespace "", so that nobody fills the memory with names. The number of "" is
    0, whether it was met or not.
    """

    # PERF: a dictionary that makes what it lacks is as fast as any other for what it has.

    def __init__(self) -> None:
        super().__init__()
        self.numbered = [Space(0)]
        self._lock = Lock()

    def __missing__(self, namespace: str) -> Space:
        with self._lock:
            # Another thread may have met it just now.
            space = self.get(namespace)
            if space is None and namespace and len(self.numbered) < MOST:
                space = Space(len(self.numbered))
                # NOTE: in this order, since whoever finds it by name may look for its number.
                self.numbered.append(space)
                self[namespace] = space
            return space or self.setdefault("", self.numbered[0])

    def of(self, key: str) -> Space:
        """The namespace of the key, which is what stands before its first colon."""
        namespace, colon, _ = key.partition(":")
        return self[namespace if colon else ""]

    def met(self) -> list[tuple[str, Space]]:
        """Names and namespaces, in the order in which they were met."""
        with self._lock:
            return list(self.items())

    def count_error(self, space: Space | None) -> None:
        """Count something that was not as it should be; None stands for what belongs to no key."""
        space = space or self[""]
        with self._lock:
            space.errors += 1

    def count_too_large(self, space: Space) -> None:
        """Count a value that is too large to be kept."""
        with self._lock:
            space.too_large += 1
