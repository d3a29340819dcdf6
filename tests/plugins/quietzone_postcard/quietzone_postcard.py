"""Symbols as text, a fortnight, and a cache that forgets.

This package stands for all those that other people write: it lives outside of Quietzone, is
installed with pip, and knows nothing of it but `core.api`.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from threading import Lock
from typing import Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta

from core.api import (
    CacheFigures,
    CacheTraits,
    Drawing,
    Interval,
    Layout,
    PluginSettings,
    SpaceFigures,
    Symbol,
    Window,
    hookimpl,
)


class PostcardSettings(PluginSettings, frozen=True, kw_only=True):
    """`[plugin.postcard]`: how the text looks, and how little the cache keeps."""

    dark: Annotated[str, Meta(pattern="^(ink|paper)$")] = "ink"
    keep: Annotated[int, Meta(ge=0)] = 8


class HalfBlocks:
    """Draws two pixels a character, one above the other, with the half blocks of Unicode."""

    media_type = "text/plain; charset=utf-8"
    extension = "txt"

    def __init__(self, inverted: bool) -> None:
        self._glyphs = "█▄▀ " if inverted else " ▀▄█"
        # The options change the text, so they belong to the fingerprint.
        self.fingerprint = f"postcard-1-{'paper' if inverted else 'ink'}"

    def render(self, drawing: Drawing) -> bytes:
        symbol, layout = drawing.symbol, drawing.layout
        rows = [self._row(symbol, layout, y) for y in range(layout.size)]
        if len(rows) % 2:
            rows.append(bytes(layout.size))
        lines = (
            "".join(self._glyphs[above | below << 1] for above, below in zip(*pair, strict=True))
            for pair in zip(rows[::2], rows[1::2], strict=True)
        )
        return "".join(f"{line}\n" for line in lines).encode()

    def _row(self, symbol: Symbol, layout: Layout, y: int) -> bytes:
        module = (y - layout.top) // layout.scale
        if not 0 <= module < symbol.size:
            return bytes(layout.size)
        dark = b"".join(bytes([bit]) * layout.scale for bit in symbol.row(module))
        return (bytes(layout.left) + dark).ljust(layout.size, b"\0")


class Fortnight:
    """Today and the thirteen days before it."""

    intervals = (Interval.DAY, Interval.WEEK)

    def window(
        self,
        now: datetime,
        timezone: ZoneInfo,
        first: datetime | None,
        interval: Interval | None = None,
    ) -> Window:
        tomorrow = now.astimezone(timezone).date() + timedelta(days=1)
        begin = tomorrow - timedelta(days=14)
        return Window.days(begin, tomorrow, timezone, interval or self.intervals[0])

    def previous(self, window: Window) -> Window:
        return window.previous()


class Forgetful:
    """Keeps the newest few values of this process, until their time is up."""

    def __init__(self, keep: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep = keep
        self._clock = clock
        self._lock = Lock()
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def open(self) -> None:
        self._values.clear()

    def close(self) -> None:
        self._values.clear()

    def get(self, key: str) -> bytes | None:
        with self._lock:
            until, value = self._values.get(key, (0.0, None))
        return value if value is not None and self._clock() < until else None

    def set(self, key: str, value: bytes, ttl: float) -> None:
        with self._lock:
            self._values.pop(key, None)
            self._values[key] = (self._clock() + ttl, value)
            while len(self._values) > self._keep:
                self._values.popitem(last=False)

    def delete(self, key: str) -> None:
        with self._lock:
            self._values.pop(key, None)

    @property
    def traits(self) -> CacheTraits:
        return CacheTraits(shared=False)

    def get_many(self, keys: Collection[str]) -> Mapping[str, bytes]:
        found = {key: self.get(key) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        # What forgets this fast leases nothing: whoever asks may go on.
        if self.get(key) is not None:
            return False
        self.set(key, value, ttl)
        return True

    def increment(self, key: str, ttl: float, by: int = 1) -> int | None:
        return None

    def figures(self) -> CacheFigures:
        return CacheFigures(entries=len(self))

    def spaces(self) -> Mapping[str, SpaceFigures]:
        with self._lock:
            entries = Counter(key.partition(":")[0] if ":" in key else "" for key in self._values)
        return {namespace: SpaceFigures(entries=count) for namespace, count in entries.items()}


@hookimpl
def qz_settings() -> type[PluginSettings]:
    return PostcardSettings


@hookimpl
def qz_renderers(settings: PostcardSettings) -> Mapping[str, HalfBlocks]:
    return {"txt": HalfBlocks(inverted=settings.dark == "paper")}


@hookimpl
def qz_periods() -> Mapping[str, Fortnight]:
    return {"14d": Fortnight()}


@hookimpl
def qz_caches(settings: PostcardSettings) -> Mapping[str, Forgetful]:
    return {"forgetful": Forgetful(settings.keep)}
