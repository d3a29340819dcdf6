"""memcached that is away, slow, full or lying costs speed, and never a wrong answer."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from core.api import Cache, ConfigurationError, PluginContext, Secret
from plugins.caches import breaker, connections
from plugins.caches.framing import Keys, pack
from plugins.caches.memcached import MemcachedCache, MemcachedSettings, qz_caches
from plugins.caches.memory import MemoryCache
from plugins.caches.tiered import TieredCache
from tests.proxy import Mode, Proxy
from tests.servers import ROOT, Memcached, free_port

SCOPE = "https://qr.example.com"
PATIENCE = 0.5
"""The deadline, in seconds: long enough for a busy machine to answer in."""


class Clock:
    """The real one, which can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


def call(task: Callable[[], None]) -> None:
    """Do here and now what would be done in the background."""
    task()


def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.01)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Iterator[Memcached]:
    server = Memcached()
    yield server
    server.stop()


@pytest.fixture
def proxy(server: Memcached) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", server.port)) as proxy:
        yield proxy


@pytest.fixture
def make(clock: Clock) -> Iterator[Callable[..., MemcachedCache]]:
    """Makes opened caches, and closes them at the end."""
    made: list[Cache] = []

    def make(*servers: str, spawn: Any = call, **options: Any) -> MemcachedCache:
        options = {
            "connect_timeout_ms": int(PATIENCE * 1000),
            "timeout_ms": int(PATIENCE * 1000),
            "retry_after": 1.0,
            **options,
        }
        settings = MemcachedSettings(servers=servers, **options)
        cache = MemcachedCache(settings, SCOPE, clock, spawn=spawn)
        cache.open()
        made.append(cache)
        return cache

    yield make
    for cache in made:
        cache.close()


def use(cache: Cache, key: str = "key") -> None:
    """Whatever a cache can be asked, of one that is away."""
    assert cache.get(key) is None
    assert dict(cache.get_many([key])) == {}
    assert cache.add(key, b"value", 60) is True
    assert cache.increment(f"counter {key}", 60) is None


def come_back(cache: MemcachedCache, clock: Clock) -> None:
    """Let the time pass after which a server is tried again, and somebody come along."""
    clock.ahead += 1.1
    assert cache.get("whatever") is None
    assert cache.figures().aside == ()


FAILURES = [mode for mode in Mode if mode is not Mode.PASS]


@pytest.mark.parametrize("mode", FAILURES, ids=lambda mode: mode.name.lower())
def test_a_server_that_fails_is_asked_once_and_used_again_when_it_is_back(
    make: Callable[..., MemcachedCache], proxy: Proxy, clock: Clock, mode: Mode
) -> None:
    cache = make(proxy.name)
    cache.set("key", b"value", 60)
    assert cache.get("key") == b"value"

    if mode is Mode.DELAY:
        proxy.delay = 2 * PATIENCE
    if mode is Mode.HANG_UP:
        # It is met by new connections only.
        cache.close()
        cache.open()
    connections, commands = proxy.seen
    proxy.mode = mode
    assert cache.get("key") is None
    assert cache.figures().aside == (proxy.name,)
    assert cache.figures().errors == 1

    for _ in range(50):
        use(cache)
    seen_connections, seen_commands = proxy.seen
    assert seen_connections - connections <= 1
    assert seen_commands - commands <= 1

    # The trial fails as well, and nobody else is held up.
    clock.ahead += 1.1
    for _ in range(50):
        use(cache)
    seen_connections, seen_commands = proxy.seen
    assert seen_connections - connections <= 2
    assert seen_commands - commands <= 4
    assert cache.figures().aside == (proxy.name,)

    proxy.mode = Mode.PASS
    come_back(cache, clock)
    assert cache.get("key") == b"value"
    cache.set("key", b"another value", 60)
    assert cache.get("key") == b"another value"


OPERATIONS: dict[str, Callable[[Cache], object]] = {
    "get": lambda cache: cache.get("key"),
    "get_many": lambda cache: dict(cache.get_many(["key", "other"])) or None,
    "set": lambda cache: cache.set("key", b"new", 60),
    "delete": lambda cache: cache.delete("key"),
    "add": lambda cache: None if cache.add("added", b"new", 60) is True else "not added",
    "increment": lambda cache: cache.increment("counter", 60),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", FAILURES, ids=lambda mode: mode.name.lower())
def test_no_operation_raises_and_each_finds_the_failure(
    make: Callable[..., MemcachedCache], proxy: Proxy, clock: Clock, mode: Mode, operation: str
) -> None:
    cache = make(proxy.name, timeout_ms=200, connect_timeout_ms=200)
    proxy.mode, proxy.delay = mode, 0.4 if mode is Mode.DELAY else 0.1
    assert OPERATIONS[operation](cache) is None
    assert cache.figures().aside == (proxy.name,)
    proxy.mode = Mode.PASS
    until(lambda: _returns(cache, clock))
    assert cache.get("key") is None


def _returns(cache: MemcachedCache, clock: Clock) -> bool:
    """Whether the server is used again; a busy machine may miss the short deadline."""
    clock.ahead += 1.1
    cache.get("whatever")
    return cache.figures().aside == ()


def test_a_dripping_server_meets_the_deadline_of_the_whole_operation(
    make: Callable[..., MemcachedCache], proxy: Proxy
) -> None:
    cache = make(proxy.name)
    cache.set("key", b"x" * 10_000, 60)
    proxy.mode, proxy.delay = Mode.DRIP, 0.05
    assert cache.get("key") is None
    # A byte each 50 ms for 500 ms, and those that were on their way; the answer has 10,000.
    assert proxy.dripped <= 15


def test_a_server_that_drips_fast_enough_for_small_values_alone_passes_no_trial(
    make: Callable[..., MemcachedCache], proxy: Proxy, clock: Clock
) -> None:
    cache = make(proxy.name, timeout_ms=1500)
    cache.set("small", b"x" * 100, 60)
    cache.set("large", b"x" * 4000, 60)
    proxy.mode, proxy.piece, proxy.delay = Mode.DRIP, 100, 0.1
    assert cache.get("small") == b"x" * 100
    assert cache.get("large") is None
    # The first one sets off the trial.
    clock.ahead += 1.1
    assert cache.get("small") is None
    assert cache.get("small") is None
    proxy.mode = Mode.PASS
    come_back(cache, clock)
    assert cache.get("large") == b"x" * 4000


def test_a_server_that_passes_its_trials_and_answers_to_nobody_is_asked_less_and_less(
    make: Callable[..., MemcachedCache], clock: Clock
) -> None:
    asked = []

    def answer(command: bytes) -> bytes:
        if command.startswith(b"set "):
            return b"SERVER_ERROR out of memory storing object\r\n"
        asked.append(command)
        return b""

    with scripted(answer) as name:
        cache = make(name, timeout_ms=50)
        for _ in range(60):
            assert cache.get("key") is None
            clock.ahead += 1.0
        # At once, after one second, after two, and every four from then on.
        assert 10 <= len(asked) <= 18
        assert cache.figures().errors == len(asked)
        cache.close()


def answers(
    cache: MemcachedCache, clock: Clock, apart: float
) -> tuple[Sequence[bytes | None], Sequence[float]]:
    """What three find who ask for the same, so many seconds apart, and when each of them has it."""

    def ask(number: int) -> tuple[bytes | None, float]:
        time.sleep(number * apart)
        return cache.get("key"), clock()

    with ThreadPoolExecutor(3) as threads:
        found, times = zip(*threads.map(ask, range(3)), strict=True)
    return found, times


@pytest.mark.parametrize("mode", [Mode.BLACKHOLE, Mode.DRIP, Mode.STALL])
def test_those_who_wait_for_an_answer_go_on_at_the_first_failure(
    make: Callable[..., MemcachedCache], proxy: Proxy, clock: Clock, mode: Mode
) -> None:
    cache = make(proxy.name, timeout_ms=1000)
    cache.set("key", b"value", 60)
    proxy.mode = mode
    found, times = answers(cache, clock, 0.3)
    assert found == (None, None, None)
    # Each deadline is 0.3 seconds after the one before.
    assert max(times) - min(times) < 0.25
    assert cache.figures().errors == 3
    proxy.mode = Mode.PASS
    come_back(cache, clock)
    assert cache.get("key") == b"value"


def test_a_change_that_waits_for_an_answer_at_the_first_failure_is_made_good(
    make: Callable[..., MemcachedCache], proxy: Proxy, clock: Clock
) -> None:
    cache, other = make(proxy.name, timeout_ms=1000), make(proxy.name)
    cache.set("key", b"old", 60)
    proxy.mode = Mode.BLACKHOLE
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(cache.get, "whatever")
        time.sleep(0.3)
        cache.set("key", b"new", 60)
        assert asked.result() is None
    assert other.get("key") is None
    proxy.mode = Mode.PASS
    clock.ahead += 1.1
    other.get("whatever")
    assert other.get("key") == b"old"
    come_back(cache, clock)
    assert other.get("key") is None


def test_a_server_that_was_killed_is_used_again_when_it_is_started_anew(
    make: Callable[..., MemcachedCache], server: Memcached, clock: Clock
) -> None:
    cache = make(server.name)
    cache.set("key", b"value", 60)
    server.kill()
    use(cache)
    assert cache.figures().aside == (server.name,)
    clock.ahead += 1.1
    use(cache)
    server.start()
    come_back(cache, clock)
    assert cache.get("key") is None
    cache.set("key", b"value", 60)
    assert cache.get("key") == b"value"


def test_a_restart_that_nobody_saw_costs_nothing_but_the_values(
    make: Callable[..., MemcachedCache], server: Memcached
) -> None:
    cache = make(server.name)
    for key in ("a", "b"):
        cache.set(key, b"value", 60)
    server.kill()
    server.start()
    # The connection of before is found to be closed before anything is sent over it.
    assert cache.increment("counter", 60) == 1
    assert cache.get("a") is None
    assert cache.figures().errors == 0
    assert cache.figures().aside == ()


def test_a_server_that_is_stopped_is_left_aside_until_it_goes_on(
    make: Callable[..., MemcachedCache], server: Memcached, clock: Clock
) -> None:
    cache = make(server.name)
    cache.set("key", b"value", 60)
    server.suspend()
    use(cache)
    assert cache.figures().aside == (server.name,)
    server.resume()
    come_back(cache, clock)
    assert cache.get("key") == b"value"


def test_nobody_waits_for_the_trial(
    make: Callable[..., MemcachedCache], proxy: Proxy, clock: Clock
) -> None:
    tasks: list[Callable[[], None]] = []
    cache = make(proxy.name, spawn=tasks.append)
    cache.set("key", b"value", 60)
    proxy.mode = Mode.RESET
    assert cache.get("key") is None
    seen = proxy.seen
    proxy.mode = Mode.PASS
    clock.ahead += 1.1
    for _ in range(10):
        use(cache)
    assert len(tasks) == 1
    assert proxy.seen == seen
    tasks[0]()
    assert cache.get("key") == b"value"


def test_a_server_is_back_by_itself_while_it_is_asked(
    make: Callable[..., MemcachedCache], server: Memcached
) -> None:
    settings = MemcachedSettings(servers=(server.name,), retry_after=0.1)
    cache = MemcachedCache(settings, SCOPE)
    cache.open()
    cache.set("key", b"value", 60)
    server.kill()
    assert cache.get("key") is None
    server.start()
    cache.set("key", b"value", 60)
    until(lambda: cache.get("key") is None and cache.figures().aside == ())
    cache.set("key", b"value", 60)
    until(lambda: cache.set("key", b"value", 60) or cache.get("key") == b"value")
    cache.close()


# Changes that a server did not get.


def test_what_was_deleted_while_the_server_was_away_is_gone_when_it_is_back(
    make: Callable[..., MemcachedCache], proxy: Proxy, clock: Clock
) -> None:
    cache, other = make(proxy.name), make(proxy.name)
    for key in ("deleted", "replaced", "first", "kept"):
        cache.set(key, b"old", 60)
    proxy.mode = Mode.BLACKHOLE
    cache.delete("first")
    cache.delete("deleted")
    cache.set("replaced", b"new", 60)
    proxy.mode = Mode.PASS
    come_back(cache, clock)
    for each in (cache, other):
        assert each.get("first") is None
        assert each.get("deleted") is None
        assert each.get("replaced") is None
        assert each.get("kept") == b"old"


def test_changes_are_made_good_however_many_there_are(
    make: Callable[..., MemcachedCache], proxy: Proxy, clock: Clock
) -> None:
    cache = make(proxy.name)
    keys = [f"key {number}" for number in range(1234)]
    for key in keys:
        cache.set(key, b"old", 60)
    proxy.mode = Mode.RESET
    for key in keys:
        cache.delete(key)
    # Each batch has a deadline of its own: all together take longer than one operation may.
    proxy.mode = Mode.DELAY
    come_back(cache, clock)
    proxy.mode = Mode.PASS
    assert dict(cache.get_many(keys)) == {}


def test_a_server_that_missed_too_many_changes_is_emptied(
    make: Callable[..., MemcachedCache],
    proxy: Proxy,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breaker, "MAX_MISSED", 2)
    cache = make(proxy.name)
    keys = ["a", "b", "c", "d"]
    for key in keys:
        cache.set(key, b"old", 60)
    proxy.mode = Mode.RESET
    for key in keys[:3]:
        cache.delete(key)
    proxy.mode = Mode.PASS
    come_back(cache, clock)
    assert dict(cache.get_many(keys)) == {}


def test_a_server_that_cannot_be_emptied_stays_aside(
    make: Callable[..., MemcachedCache], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "MAX_MISSED", 0)
    server = Memcached("-F")
    try:
        with Proxy(("127.0.0.1", server.port)) as proxy:
            cache = make(proxy.name)
            cache.set("key", b"old", 60)
            proxy.mode = Mode.RESET
            cache.delete("key")
            proxy.mode = Mode.PASS
            clock.ahead += 1.1
            assert cache.get("key") is None
            assert cache.figures().aside == (proxy.name,)
    finally:
        server.stop()


# What somebody else has written.


def forge(server: Memcached, key: str, data: bytes) -> None:
    """Write to the server what the cache would not."""
    name = Keys("quietzone", SCOPE)(key)
    answer = server.ask(b"set %b 0 60 %d\r\n%b" % (name.encode(), len(data), data))
    assert answer == b"STORED\r\n"


def foreign(_: str) -> bytes:
    return pack(Keys("quietzone", SCOPE)("another key"), b"value", time.time() + 60)


def another_version(key: str) -> bytes:
    packed = pack(Keys("quietzone", SCOPE)(key), b"value", time.time() + 60)
    return bytes([packed[0] + 1]) + packed[1:]


@pytest.mark.parametrize(
    "data",
    [
        foreign,
        another_version,
        lambda _: b"",
        lambda _: b"garbage",
        lambda _: b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x0bos.systemok.",
        lambda _: bytes(1000),
        lambda _: b"VALUE x 0 3\r\nabc\r\nEND\r\n",
    ],
    ids=["foreign", "another version", "empty", "garbage", "pickle", "zeros", "protocol"],
)
def test_bytes_that_are_not_ours_are_a_miss_and_counted(
    make: Callable[..., MemcachedCache], server: Memcached, data: Callable[[str], bytes]
) -> None:
    cache = make(server.name)
    forge(server, "key", data("key"))
    cache.set("ours", b"value", 60)
    assert cache.get("key") is None
    assert dict(cache.get_many(["key", "ours"])) == {"ours": b"value"}
    assert cache.figures().errors == 2
    assert cache.figures().aside == ()
    assert cache.increment("key", 60) is None
    assert cache.add("key", b"right", 60) is True
    assert cache.get("key") == b"right"
    forge(server, "key", data("key"))
    cache.set("key", b"set", 60)
    assert cache.get("key") == b"set"


@contextmanager
def scripted(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """The name of a server that gives to each command the answer that is made up for it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, suppress(OSError):
                while command := client.recv(65536):
                    client.sendall(answer(command))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"VALUE quietzone:91:another 0 3\r\nabc\r\nEND\r\n",
        b"VALUE\r\n",
        b"VALUE quietzone 0 99999999999999999999\r\n",
        b"VALUE quietzone 0 -5\r\nEND\r\n",
        b"ERROR\r\n",
        b"CLIENT_ERROR no\r\n",
        b"VA 1 t60\r\nx1\r\nMN\r\n",
        b"STORED\r\n",
        b"OK\r\n",
        b"END\r\nEND\r\nEND\r\n",
        b"MN\r\n",
        b"\r\n",
        b"END",
    ],
)
def test_no_answer_whatsoever_is_taken_for_a_value(
    make: Callable[..., MemcachedCache], clock: Clock, answer: bytes
) -> None:
    with scripted(lambda _: answer) as name:
        cache = make(name, timeout_ms=100, connect_timeout_ms=100)
        for _ in range(3):
            for operation in OPERATIONS.values():
                if operation is not OPERATIONS["add"]:
                    assert operation(cache) is None
                clock.ahead += 1.1
        cache.close()


def test_what_a_server_refuses_to_keep_is_deleted_there(
    make: Callable[..., MemcachedCache],
) -> None:
    commands: list[bytes] = []

    def answer(command: bytes) -> bytes:
        commands.append(command)
        if command.startswith(b"set "):
            return b"SERVER_ERROR out of memory storing object\r\n"
        return b"END\r\n" if command.startswith(b"get ") else b"DELETED\r\nMN\r\n"

    with scripted(answer) as name:
        cache = make(name)
        cache.set("key", b"value", 60)
        stored = Keys("quietzone", SCOPE)("key").encode()
        assert [command.split(b"\r\n")[0].split()[:2] for command in commands] == [
            [b"set", stored],
            [b"delete", stored],
        ]
        assert cache.get("key") is None
        assert commands[-1].split()[0] == b"get"
        cache.close()


# Servers that cannot be reached, or will not have us.


def test_a_port_where_nobody_listens_is_a_cache_that_is_away(
    make: Callable[..., MemcachedCache],
) -> None:
    name = f"127.0.0.1:{free_port()}"
    cache = make(name)
    use(cache)
    assert cache.figures().aside == (name,)


def test_a_socket_that_is_not_there_is_a_cache_that_is_away(
    make: Callable[..., MemcachedCache], tmp_path: Path
) -> None:
    cache = make(f"unix:{tmp_path / 'nothing'}")
    use(cache)
    assert cache.figures().entries is None
    assert cache.figures().servers == cache.figures().aside


def test_a_host_that_does_not_answer_at_all_is_a_cache_that_is_away(
    make: Callable[..., MemcachedCache],
) -> None:
    # A full queue: the kernel drops what would open a connection, as a firewall does.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(3):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(listener.getsockname())
            waiting.append(connection)
        cache = make(f"127.0.0.1:{listener.getsockname()[1]}", connect_timeout_ms=100)
        use(cache)
        assert len(cache.figures().aside) == 1
        for connection in waiting:
            connection.close()


def test_a_slow_name_server_holds_nobody_up(
    make: Callable[..., MemcachedCache],
    server: Memcached,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered, look_up = threading.Event(), connections._look_up

    def slow(host: str, port: int, flags: int = 0) -> list[tuple[int, Any]]:
        if flags:
            return look_up(host, port, flags)
        answered.wait(30)
        return look_up("127.0.0.1", port)

    monkeypatch.setattr(connections, "_look_up", slow)
    cache = make(f"cache.example:{server.port}", connect_timeout_ms=100)
    use(cache)
    assert len(cache.figures().aside) == 1
    answered.set()
    until(lambda: _returns(cache, clock))
    cache.set("key", b"value", 60)
    assert cache.get("key") == b"value"


def test_all_addresses_of_a_name_are_tried(
    make: Callable[..., MemcachedCache], server: Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `localhost` is ::1 first on many machines, and memcached listens on 127.0.0.1.
    def both(host: str, port: int, flags: int = 0) -> list[tuple[int, Any]]:
        return [
            (socket.AF_INET6, ("::1", free_port(), 0, 0)),
            (socket.AF_INET, ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(connections, "_look_up", both)
    cache = make(f"localhost:{server.port}")
    cache.set("key", b"value", 60)
    assert cache.get("key") == b"value"
    assert cache.figures().errors == 0


def test_a_unix_socket_serves_as_well(make: Callable[..., MemcachedCache]) -> None:
    server = Memcached(unix=True)
    try:
        cache = make(server.name)
        cache.set("key", b"x" * 900_000, 60)
        assert cache.get("key") == b"x" * 900_000
        assert cache.figures().errors == 0
    finally:
        server.stop()


def test_the_server_is_signed_in_to(
    make: Callable[..., MemcachedCache], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    users = tmp_path / "users"
    users.write_text("quietzone:good-pass:word\n", encoding="ascii")
    server = Memcached("-Y", str(users))
    try:
        right = make(server.name, username="quietzone", password=Secret("good-pass:word"))
        right.set("key", b"value", 60)
        assert right.get("key") == b"value"
        assert right.increment("counter", 60) == 1
        assert right.figures().errors == 0
        wrong = make(server.name, username="quietzone", password=Secret("other-pass:word"))
        without = make(server.name)
        for cache in (wrong, without):
            use(cache)
            assert cache.figures().aside == (server.name,)
        assert "refuses username and password" in caplog.text
        assert "pass:word" not in caplog.text
    finally:
        server.stop()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Certificates for 127.0.0.1 that vouch for themselves, each with its key."""
    folder = tmp_path_factory.mktemp("certificates")
    made = {}
    for name in ("server", "other"):
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        command = (
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
            f"-subj /CN={name} -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
        )
        subprocess.run(command.split(), check=True, capture_output=True)
        made[name] = (certificate, key)
    return made


@pytest.fixture
def tls_server(certificates: dict[str, tuple[Path, Path]]) -> Iterator[Memcached]:
    server = Memcached(tls=certificates["server"])
    yield server
    server.stop()


def test_tls_keeps_others_out(
    make: Callable[..., MemcachedCache],
    tls_server: Memcached,
    certificates: dict[str, tuple[Path, Path]],
) -> None:
    trusting = make(tls_server.name, tls=True, tls_ca=str(certificates["server"][0]))
    trusting.set("key", b"x" * 900_000, 60)
    assert trusting.get("key") == b"x" * 900_000
    assert trusting.get("key") == b"x" * 900_000
    assert trusting.increment("counter", 60) == 1
    assert trusting.figures().errors == 0
    plain = make(tls_server.name)
    mistrusting = make(tls_server.name, tls=True, tls_ca=str(certificates["other"][0]))
    for cache in (plain, mistrusting):
        use(cache)
        assert cache.figures().aside == (tls_server.name,)


@pytest.mark.parametrize("mode", FAILURES, ids=lambda mode: mode.name.lower())
def test_the_deadline_holds_for_tls_too(
    make: Callable[..., MemcachedCache],
    tls_server: Memcached,
    certificates: dict[str, tuple[Path, Path]],
    clock: Clock,
    mode: Mode,
) -> None:
    with Proxy(("127.0.0.1", tls_server.port), delay=0.05) as proxy:
        cache = make(proxy.name, tls=True, tls_ca=str(certificates["server"][0]))
        cache.set("key", b"x" * 10_000, 60)
        if mode is Mode.DELAY:
            proxy.delay = 2 * PATIENCE
        proxy.mode = mode
        if mode is Mode.HANG_UP:
            cache.close()
            cache.open()
        assert cache.get("key") is None
        assert proxy.dripped <= 15
        cache.close()
        cache.open()
        # The same in the handshake.
        assert cache.get("key") is None
        assert proxy.dripped <= 30
        proxy.mode = Mode.PASS
        come_back(cache, clock)
        assert cache.get("key") == b"x" * 10_000


def test_those_who_wait_under_tls_go_on_at_the_first_failure_too(
    make: Callable[..., MemcachedCache],
    tls_server: Memcached,
    certificates: dict[str, tuple[Path, Path]],
    clock: Clock,
) -> None:
    with Proxy(("127.0.0.1", tls_server.port), delay=0.05) as proxy:
        authority = str(certificates["server"][0])
        options = {"tls": True, "tls_ca": authority, "connect_timeout_ms": 1000}
        cache = make(proxy.name, timeout_ms=1000, **options)
        # Three connections, so that the first waits for an answer and the last for a handshake.
        cache.set("key", b"value", 60)
        proxy.mode = Mode.DRIP
        found, times = answers(cache, clock, 0.3)
        assert found == (None, None, None)
        assert max(times) - min(times) < 0.25
        proxy.mode = Mode.PASS
        come_back(cache, clock)
        assert cache.get("key") == b"value"


def test_certificates_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    for option in ("tls_ca", "tls_certificate"):
        settings = MemcachedSettings(tls=True, **{option: str(tmp_path / "missing.pem")})
        with pytest.raises(ConfigurationError, match=rf"^plugin\.memcached\.{option}: '.*missing"):
            MemcachedCache(settings, SCOPE).open()


# Servers that are full.


def test_a_full_server_that_refuses_keeps_no_old_value(
    make: Callable[..., MemcachedCache],
) -> None:
    server = Memcached("-M", "-m", "2")
    try:
        cache = make(server.name)
        refused = 0
        for number in range(1000):
            errors = cache.figures().errors
            key, value = f"key {number % 200}", bytes([number % 256]) * (20_000 + number)
            cache.set(key, value, 60)
            kept = cache.get(key)
            if cache.figures().errors > errors:
                refused += 1
                assert kept is None
            else:
                assert kept == value
        assert refused > 0
        assert cache.figures().aside == ()
    finally:
        server.stop()


def test_a_full_server_that_forgets_says_so(make: Callable[..., MemcachedCache]) -> None:
    server = Memcached("-m", "2")
    try:
        cache = make(server.name)
        for number in range(1000):
            cache.set(f"key {number}", str(number).encode() * 2000, 60)
        found = cache.get_many([f"key {number}" for number in range(1000)])
        assert 0 < len(found) < 1000
        for key, value in found.items():
            assert value == key.removeprefix("key ").encode() * 2000
        figures = cache.figures()
        assert figures.evictions
        assert figures.entries is not None
        assert figures.size is not None
        assert figures.entries >= len(found)
        assert figures.size > 1_000_000
        assert (figures.errors, figures.aside) == (0, ())
    finally:
        server.stop()


def test_what_is_too_large_for_the_server_takes_its_predecessor_away(
    make: Callable[..., MemcachedCache], clock: Clock
) -> None:
    server = Memcached("-I", "512k")
    try:
        cache = make(server.name)
        cache.set("key", b"old", 60)
        cache.set("key", b"x" * 600_000, 60)
        assert cache.get("key") is None
        assert cache.figures().errors == 1
        assert cache.add("added", b"x" * 600_000, 60) is True
        assert cache.get("added") is None
        assert cache.figures().aside == ()
    finally:
        server.stop()


def test_what_is_larger_than_the_setting_is_not_sent(
    make: Callable[..., MemcachedCache], proxy: Proxy
) -> None:
    cache = make(proxy.name, max_value=5000)
    cache.set("key", b"old", 60)
    cache.set("key", b"x" * 5001, 60)
    assert cache.get("key") is None
    cache.set("key", b"x" * 5000, 60)
    assert cache.get("key") == b"x" * 5000
    assert cache.figures().too_large == 1
    assert cache.figures().errors == 0


# Figures by namespace.


def errors(cache: Cache) -> dict[str, int]:
    """How many errors are told of each namespace; together they are those of the cache."""
    told = {name: space.errors for name, space in cache.spaces().items()}
    assert sum(told.values()) == cache.figures().errors
    return told


def test_a_killed_server_is_an_error_of_whoever_found_it_so(
    make: Callable[..., MemcachedCache], server: Memcached, clock: Clock
) -> None:
    cache = make(server.name)
    cache.set("image:a", b"value", 60)
    cache.set("answer:a", b"value", 60)
    assert errors(cache) == {"image": 0, "answer": 0}
    server.kill()
    assert cache.get("answer:a") is None
    assert cache.get("image:a") is None
    assert errors(cache) == {"image": 0, "answer": 1}
    # The trial belongs to nobody.
    clock.ahead += 1.1
    assert cache.get("image:a") is None
    assert errors(cache) == {"image": 0, "answer": 1, "": 1}
    server.start()
    clock.ahead += 1.1
    assert cache.get("image:a") is None
    server.kill()
    assert cache.increment("counter:a", 60) is None
    cache.close()
    assert errors(cache) == {"image": 0, "answer": 1, "": 1, "counter": 1}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_that_fails_is_an_error_of_its_key_s_namespace(
    make: Callable[..., MemcachedCache], proxy: Proxy, operation: str
) -> None:
    space = {"add": "added", "increment": "counter"}.get(operation, "key")

    class Named:
        """The cache, with keys that have a namespace."""

        def __getattr__(self, name: str) -> Any:
            done = getattr(cache, name)
            if name == "get_many":
                return lambda keys: done([f"{key}:a" for key in keys])
            return lambda key, *rest: done(f"{key}:a", *rest)

    cache = make(proxy.name, timeout_ms=200, connect_timeout_ms=200)
    proxy.mode = Mode.RESET
    OPERATIONS[operation](Named())  # type: ignore[arg-type]
    told = {name: count for name, count in errors(cache).items() if count}
    assert told == {space: 1}


def test_many_keys_that_fail_at_once_are_one_error_of_the_first_one_s_namespace(
    make: Callable[..., MemcachedCache], server: Memcached
) -> None:
    cache = make(server.name)
    keys = ["answer:a", "image:a", "image:b", "verdict:a"]
    for key in keys:
        cache.set(key, b"value", 60)
    server.kill()
    assert dict(cache.get_many(keys)) == {}
    assert errors(cache) == {"answer": 1, "image": 0, "verdict": 0}


def test_garbage_is_an_error_of_the_namespace_that_it_was_found_in(
    make: Callable[..., MemcachedCache], server: Memcached
) -> None:
    cache = make(server.name)
    for key in ("image:a", "image:b", "counter:a", "lease:a"):
        forge(server, key, b"garbage")
    cache.set("answer:a", b"value", 60)
    found = cache.get_many(["answer:a", "image:a", "image:b"])
    assert dict(found) == {"answer:a": b"value"}
    assert cache.get("image:a") is None
    assert cache.increment("counter:a", 60) is None
    assert cache.add("lease:a", b"", 60) is True
    assert errors(cache) == {"answer": 0, "image": 3, "counter": 1, "lease": 1}


def test_figures_that_a_server_does_not_tell_belong_to_no_namespace(
    make: Callable[..., MemcachedCache], server: Memcached
) -> None:
    cache = make(server.name)
    cache.set("image:a", b"value", 60)
    server.kill()
    assert cache.figures().errors == 1
    assert errors(cache) == {"image": 0, "": 1}


def test_no_server_is_asked_for_what_is_told_by_namespace(
    make: Callable[..., MemcachedCache], proxy: Proxy
) -> None:
    cache = TieredCache(MemoryCache(1_000_000), make(proxy.name), 1.0)
    cache.set("image:a", b"value", 60)
    seen = proxy.seen
    assert [*cache.spaces()] == ["image"]
    assert proxy.seen == seen


def test_threads_miss_no_error(make: Callable[..., MemcachedCache], server: Memcached) -> None:
    cache = make(server.name, timeout_ms=5000)
    forge(server, "image:a", b"garbage")
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: cache.get("image:a"), range(400))) == {None}
    assert errors(cache) == {"image": 400}


# Several servers.


def test_one_failing_server_of_three_costs_only_its_share(
    make: Callable[..., MemcachedCache], clock: Clock
) -> None:
    servers = [Memcached() for _ in range(3)]
    try:
        with Proxy(("127.0.0.1", servers[0].port)) as proxy:
            names = (proxy.name, servers[1].name, servers[2].name)
            cache = make(*names)
            keys = [f"key {number}" for number in range(300)]
            for key in keys:
                cache.set(key, key.encode(), 60)
            assert dict(cache.get_many(keys)) == {key: key.encode() for key in keys}
            shares = [len(server.keys()) for server in servers]
            assert sum(shares) == 300
            assert min(shares) > 60

            proxy.mode = Mode.BLACKHOLE
            seen = proxy.seen
            found = cache.get_many(keys)
            assert all(value == key.encode() for key, value in found.items())
            assert cache.figures().aside == (proxy.name,)
            hits = [key for key in keys if cache.get(key) == key.encode()]
            assert len(hits) == shares[1] + shares[2]
            assert dict(cache.get_many(keys)) == {key: key.encode() for key in hits}
            assert proxy.seen[1] - seen[1] <= 1

            proxy.mode = Mode.PASS
            clock.ahead += 1.1
            cache.get_many(keys)
            assert dict(cache.get_many(keys)) == {key: key.encode() for key in keys}

            # Where a server is taken out, the keys of the others stay where they are.
            fewer = make(*reversed(names[1:]))
            assert dict(fewer.get_many(keys)) == {key: key.encode() for key in hits}
    finally:
        for server in servers:
            server.stop()


def test_a_server_that_had_too_little_time_is_not_left_aside_for_it(
    make: Callable[..., MemcachedCache],
) -> None:
    servers = [Memcached() for _ in range(2)]
    try:
        with (
            Proxy(("127.0.0.1", servers[0].port), delay=1.2) as slow,
            Proxy(("127.0.0.1", servers[1].port)) as silent,
        ):
            cache = make(slow.name, silent.name, timeout_ms=2000, connect_timeout_ms=2000)
            name = Keys("quietzone", SCOPE)
            keys = [f"key {number}" for number in range(20)]
            for key in keys:
                cache.set(key, b"value", 60)
            held = [server.keys() for server in servers]
            on_slow, on_silent = (next(key for key in keys if name(key) in each) for each in held)
            slow.mode, silent.mode = Mode.DELAY, Mode.BLACKHOLE
            # One deadline holds for both, and the first server takes more than half of it.
            assert dict(cache.get_many([on_slow, on_silent])) == {on_slow: b"value"}
            asked = silent.seen[1]
            # It is asked again, with all the time that it is due, and then not any more.
            for _ in range(3):
                assert cache.get(on_silent) is None
            assert silent.seen[1] == asked + 1
            assert cache.figures().aside == (silent.name,)
    finally:
        for server in servers:
            server.stop()


def test_many_at_once_open_no_more_connections_than_they_may(
    make: Callable[..., MemcachedCache], proxy: Proxy
) -> None:
    cache = make(proxy.name, max_connections=2, timeout_ms=5000)
    cache.set("key", b"value", 60)
    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(lambda _: cache.get("key"), range(400))) == {b"value"}
    assert proxy.seen[0] <= 2
    assert cache.figures().errors == 0


def test_those_who_wait_for_a_connection_go_on_at_the_first_failure(
    make: Callable[..., MemcachedCache], proxy: Proxy
) -> None:
    cache = make(proxy.name, max_connections=2)
    proxy.mode = Mode.BLACKHOLE
    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(lambda _: cache.get("key"), range(100))) == {None}
    connections, commands = proxy.seen
    assert connections <= 2
    assert commands <= 2


def test_a_near_level_goes_on_for_its_second_while_the_server_is_away(
    make: Callable[..., MemcachedCache], proxy: Proxy, clock: Clock
) -> None:
    cache = TieredCache(MemoryCache(1_000_000, clock), make(proxy.name), 1.0)
    cache.set("key", b"value", 60)
    cache.set("other", b"value", 60)
    proxy.mode = Mode.RESET
    assert cache.get("key") == b"value"
    cache.delete("other")
    assert cache.get("other") is None
    cache.set("key", b"new", 60)
    assert cache.get("key") == b"new"
    clock.ahead += 1.0
    assert cache.get("key") is None
    proxy.mode = Mode.PASS
    clock.ahead += 1.0
    cache.get("whatever")
    assert cache.figures().aside == ()
    assert cache.get("key") is None
    assert cache.get("other") is None


def test_a_counter_ends_when_its_time_is_over(
    make: Callable[..., MemcachedCache], server: Memcached
) -> None:
    cache = make(server.name)
    assert cache.increment("counter", 0.1) == 1
    assert cache.increment("counter", 0.1) == 2
    until(lambda: cache.get("counter") is None)
    assert cache.increment("counter", 60) == 1


# In a worker with greenlets.

GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys, time
import gevent
import gevent.pool
from plugins.caches.memcached import MemcachedCache, MemcachedSettings

name, what = sys.argv[1:]
patience = 20000 if what == "busy" else 500
cache = MemcachedCache(
    MemcachedSettings(
        servers=(name,), timeout_ms=patience, connect_timeout_ms=patience, max_connections=8
    ),
    "https://qr.example.com",
)
cache.open()
"""

TICKING = """
ticks = 0
def tick():
    global ticks
    while True:
        gevent.sleep(0.01)
        ticks += 1
ticker = gevent.spawn(tick)
found = [each.get() for each in [gevent.spawn(cache.get, "key") for _ in range(100)]]
print(found.count(b"value"), found.count(None), cache.figures().aside == (name,), ticks > 5)
cache.close()
"""

STAGGERED = """
def ask(number):
    gevent.sleep(number * 0.1)
    return cache.get("key"), time.monotonic()
found, times = zip(*gevent.pool.Pool(3).map(ask, range(3)))
print(found, max(times) - min(times) < 0.08)
cache.close()
"""

LATE = """
cache.get("key")
reader = gevent.spawn(cache.get, "key")
gevent.sleep(0)
end = time.monotonic() + 1.0
while time.monotonic() < end:
    pass
print(reader.get(), cache.figures().errors)
cache.close()
"""


def run(text: str, *arguments: str) -> str:
    """What a Python of its own prints."""
    command = [sys.executable, "-W", "error", "-c", GREENLETS + text, *arguments]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_greenlets_share_the_connections(make: Callable[..., MemcachedCache], proxy: Proxy) -> None:
    make(proxy.name).set("key", b"value", 60)
    seen = proxy.seen
    assert run(TICKING, proxy.name, "busy").startswith("100 0 False")
    assert proxy.seen[0] - seen[0] <= 8


def test_other_greenlets_go_on_while_some_wait_for_a_server(proxy: Proxy) -> None:
    proxy.mode = Mode.BLACKHOLE
    assert run(TICKING, proxy.name, "away") == "0 100 True True"
    assert proxy.seen[0] <= 8


def test_greenlets_that_wait_go_on_at_the_first_failure(proxy: Proxy) -> None:
    proxy.mode = Mode.BLACKHOLE
    assert run(STAGGERED, proxy.name, "away") == "(None, None, None) True"


def test_an_answer_that_came_in_time_counts_however_late_it_is_read(
    make: Callable[..., MemcachedCache], server: Memcached
) -> None:
    # A greenlet that draws holds up all others for longer than the deadline.
    make(server.name).set("key", b"value", 60)
    assert run(LATE, server.name, "late") == "b'value' 0"


def test_the_plugin_opens_nothing_before_open(
    proxy: Proxy,
) -> None:
    context = PluginContext(data=Path("unused"), base_url=SCOPE)
    caches = qz_caches(settings=MemcachedSettings(servers=(proxy.name,)), context=context)
    assert list(caches) == ["memcached", "tiered"]
    for cache in caches.values():
        assert isinstance(cache, Cache)
        assert cache.traits.shared
        cache.figures()
        # Before `open` it is a cache that is away.
        use(cache)
        cache.open()
    assert proxy.seen == (0, 0)
    for cache in caches.values():
        cache.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"servers": ("cache",)}, "servers: 'cache' is no server; write host:port"),
        ({"servers": ("cache:0",)}, "servers: 'cache:0' is no server"),
        ({"servers": ("cache:65536",)}, "servers: 'cache:65536' is no server"),
        ({"servers": (":11211",)}, "servers: ':11211' is no server"),
        ({"servers": ("a:1", "a:1")}, "servers: the same server is listed twice"),
        ({"username": "somebody"}, "password: username and password belong together"),
        ({"password": Secret("x")}, "password: username and password belong together"),
        ({"username": "a b", "password": Secret("x")}, "username: must be ASCII without blanks"),
        ({"username": "a", "password": Secret("x y")}, "password: must be ASCII without blanks"),
        ({"tls_ca": "ca.pem"}, "tls: is false, but there are certificates"),
        ({"tls": True, "tls_key": "key.pem"}, "tls_key: belongs to a tls_certificate"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        MemcachedSettings(**options)


@pytest.mark.parametrize("name", ["cache:1", "[::1]:11211", "10.0.0.1:65535", "unix:/run/m.sock"])
def test_servers_are_named_by_host_and_port_or_by_path(name: str) -> None:
    MemcachedSettings(servers=(name,))
