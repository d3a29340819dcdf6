"""How fast the caches are, and what a memcached server costs that is dead, stopped or dripping.

Everything runs as in a worker of the service: one process with greenlets. Servers are started for
the measurement, on the loopback interface. Run it from the root of the repository:

    .venv/bin/python -m loadtests.caches
"""

from __future__ import annotations

# As in gunicorn.conf.py, this must stay the first thing that happens.
from gevent import monkey

monkey.patch_all()

import signal  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402

from core.api import Cache, PluginContext  # noqa: E402
from loadtests.programs import dripping, memcached  # noqa: E402
from loadtests.service import ROOT  # noqa: E402
from plugins.caches.memcached import MemcachedSettings, qz_caches  # noqa: E402
from plugins.caches.memory import MemoryCache  # noqa: E402
from plugins.caches.shared_memory import SharedMemoryCache  # noqa: E402

TIMES = 10_000
KEYS = 1000
IMAGE = bytes(range(256)) * 2
"""Of the size of a PNG of 300 pixels."""

OPEN_SECONDS = 4.5


def timed(operation: Callable[[], object]) -> float:
    """How long it takes, in seconds."""
    began = time.perf_counter()
    operation()
    return time.perf_counter() - began


def quantile(seconds: list[float], share: float) -> float:
    """The time within which this share of all was done."""
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))]


def microseconds(seconds: list[float]) -> str:
    """The median and the 99th of 100, as a row shows them."""
    return f"{quantile(seconds, 0.5) * 1e6:.1f} | {quantile(seconds, 0.99) * 1e6:.1f}"


def shared(port: int) -> dict[str, Cache]:
    """The caches of the plugin memcached, opened, with its default settings."""
    context = PluginContext(data=ROOT, base_url="http://localhost")
    settings = MemcachedSettings(servers=(f"127.0.0.1:{port}",))
    caches = dict(qz_caches(settings=settings, context=context))
    for cache in caches.values():
        cache.open()
    return caches


def speed(name: str, cache: Cache) -> None:
    """A row for each operation."""
    keys = [f"image:{number:032x}" for number in range(KEYS)]
    twenty = keys[:20]
    operations: dict[str, Callable[[str], object]] = {
        "set": lambda key: cache.set(key, IMAGE, 60),
        "get": cache.get,
        "get_many of 20": lambda _: cache.get_many(twenty),
        "add, taken": lambda key: cache.add(key, IMAGE, 60),
        "increment": lambda key: cache.increment(f"counter {key}", 60),
        "delete": cache.delete,
    }
    for title, operation in operations.items():
        times = [timed(partial(operation, keys[number % KEYS])) for number in range(TIMES)]
        print(f"| {name} | {title} | {microseconds(times)} |")


def failure(name: str, port: int, fail: Callable[[], object], mend: Callable[[], object]) -> None:
    """A row: the first failing call, those that follow for some seconds, and the return."""
    cache = shared(port)["memcached"]
    cache.set("key", IMAGE, 3600)
    fail()
    first = timed(lambda: cache.get("key"))
    times = []
    until = time.monotonic() + OPEN_SECONDS
    while time.monotonic() < until:
        times.append(timed(lambda: cache.get("key")))
        # Other greenlets, such as the one that tries the server again, have their turn.
        gevent.sleep(0.0001)
    if not cache.figures().aside:
        sys.exit(f"the cache did not notice that the server is {name}")
    mend()
    began = time.monotonic()
    while cache.figures().aside:
        cache.get("key")
        gevent.sleep(0.01)
    back = time.monotonic() - began
    cache.close()
    worst = max(times) * 1e6
    print(f"| {name} | {first * 1000:.1f} | {microseconds(times)} | {worst:.0f} | {back:.1f} |")


def main() -> None:
    """Print both tables."""
    with memcached() as server, dripping(server.port) as drip:
        print("| cache | operation | p50 µs | p99 µs |")
        print("| --- | --- | ---: | ---: |")
        speed("memory", MemoryCache(64 * 1024 * 1024))
        with tempfile.TemporaryDirectory(prefix="quietzone-load-") as folder:
            mapped = SharedMemoryCache(Path(folder) / "cache.shared", 64 * 1024 * 1024, "")
            mapped.open()
            speed("shared_memory", mapped)
            mapped.close()
        for name, cache in shared(server.port).items():
            speed(name, cache)
            cache.close()
        print()
        print("| server | first call ms | then p50 µs | p99 µs | worst µs | back after s |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        failure("dead", server.port, server.kill, server.start)
        failure(
            "stopped",
            server.port,
            lambda: server.send(signal.SIGSTOP),
            lambda: server.send(signal.SIGCONT),
        )
        failure(
            "dripping",
            drip.port,
            lambda: drip.send(signal.SIGUSR1),
            lambda: drip.send(signal.SIGUSR1),
        )


if __name__ == "__main__":
    main()
