"""The plugin `memcached`: the caches `memcached`, shared by all processes, and `tiered`."""

from __future__ import annotations

import math
import re
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from hashlib import blake2b
from typing import Annotated

from msgspec import Meta
from pymemcache.client.base import PooledClient
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError

from core.api import (
    Cache,
    CacheFigures,
    CacheTraits,
    ConfigurationError,
    PluginContext,
    PluginSettings,
    Secret,
    SpaceFigures,
    hookimpl,
)
from plugins.caches.connections import Clock, Network, Place, deadline
from plugins.caches.framing import Keys, is_counter, pack, unpack
from plugins.caches.memory import MemoryCache
from plugins.caches.server import Server, Spawn, delete, in_background, is_refusal
from plugins.caches.spaces import Space, Spaces
from plugins.caches.tiered import TieredCache

_MAX_LIFE = 30 * 24 * 3600
"""Servers take a life of more seconds for a point in time. Nothing stays in a cache for so long."""

_AN_AGE = 1_000_000_000

_PROBED = 8192
"""A trial moves so many bytes there and back: more than most images and answers have."""

_MAX_COUNT = 2**63

_COUNTED = re.compile(rb"VA \d+[^\r\n]*\r\n(\d+) *\r\n")
_WORD = re.compile(r"[!-~]+")
_PORT = re.compile(r"\d{1,5}")


class MemcachedSettings(PluginSettings, frozen=True, kw_only=True):
    """`[plugin.memcached]`: the servers, as `host:port` or `unix:/path`, and our patience.

    `timeout_ms` is for an operation with all that belongs to it, connecting included.
    """

    servers: Annotated[tuple[str, ...], Meta(min_length=1)] = ("127.0.0.1:11211",)
    connect_timeout_ms: Annotated[int, Meta(ge=1, le=10_000)] = 20
    timeout_ms: Annotated[int, Meta(ge=1, le=10_000)] = 40
    retry_after: Annotated[float, Meta(ge=0.1, le=60)] = 1.0
    max_connections: Annotated[int, Meta(ge=1, le=10_000)] = 32
    max_value: Annotated[int, Meta(ge=1024, le=1_073_741_824)] = 1_000_000
    prefix: Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,32}$")] = "quietzone"
    username: str | None = None
    password: Secret | None = None
    tls: bool = False
    tls_ca: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    near_seconds: Annotated[float, Meta(ge=0.05, le=1)] = 1.0
    near_bytes: Annotated[int, Meta(ge=0)] = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        for server in self.servers:
            _place(server)
        if len(set(self.servers)) < len(self.servers):
            raise ValueError("servers: the same server is listed twice; list it once")
        if (self.username is None) != (self.password is None):
            raise ValueError("password: username and password belong together; set both or none")
        if self.username is not None and not _WORD.fullmatch(self.username):
            raise ValueError("username: must be ASCII without blanks, and not empty")
        if self.password is not None and not _WORD.fullmatch(self.password.reveal()):
            raise ValueError("password: must be ASCII without blanks, and not empty")
        if not self.tls and (self.tls_ca or self.tls_certificate or self.tls_key):
            raise ValueError("tls: is false, but there are certificates; set it to true")
        if self.tls_key and not self.tls_certificate:
            raise ValueError("tls_key: belongs to a tls_certificate; set that as well")


class MemcachedCache:
    """Keeps values on memcached servers (1.6 or later), each key on one of them.

    A server that fails costs one operation its deadline, and its share of the keys until it is
    back. `scope` keeps apart the services that share a server. `clock` counts seconds and never
    goes back; `now` is the time since 1970, the same on all nodes; `spawn` runs in the background.
    """

    def __init__(
        self,
        settings: MemcachedSettings,
        scope: str,
        clock: Clock = time.monotonic,
        now: Callable[[], float] = time.time,
        spawn: Spawn = in_background,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._now = now
        self._spawn = spawn
        self._timeout = settings.timeout_ms / 1000
        self._name = Keys(settings.prefix, scope)
        self._servers: tuple[Server, ...] = ()
        self._spaces = Spaces()

    @property
    def traits(self) -> CacheTraits:
        """Everybody sees the same, at once."""
        return CacheTraits(shared=True, max_value=self._settings.max_value)

    def open(self) -> None:
        """Get ready to connect, which is done when there is something to ask.

        Raises ConfigurationError for certificates that cannot be read.
        """
        tls = _tls_context(self._settings) if self._settings.tls else None
        self._servers = tuple(self._server(name, tls) for name in self._settings.servers)

    def close(self) -> None:
        """Close the connections; the servers keep what they have."""
        servers, self._servers = self._servers, ()
        for server in servers:
            server.close()

    def get(self, key: str) -> bytes | None:
        """The value, if its server is in use and has it."""
        name, space = self._name(key), self._spaces.of(key)
        server = self._server_of(name)
        if server is None:
            return None
        with deadline(self._timeout, self._clock):
            data = server.call(lambda client: client.get(name), None, space)
        found = self._read(space, name, data)
        return found[0] if found else None

    def get_many(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """The values that servers in use have, with one round trip to each."""
        return {key: value for key, (value, _) in self.read_many(keys).items()}

    def read_many(self, keys: Collection[str]) -> Mapping[str, tuple[bytes, float]]:
        """What `get_many` finds, with the seconds that each value has left; counters have none.

        A server that fails is one error, of the namespace of the first key that it was asked for.
        """
        shares: defaultdict[Server, dict[str, tuple[str, Space]]] = defaultdict(dict)
        for key in keys:
            name, space = self._name(key), self._spaces.of(key)
            server = self._server_of(name)
            if server is not None:
                shares[server][name] = key, space
        found: dict[str, tuple[bytes, float]] = {}
        with deadline(self._timeout, self._clock):
            for server, names in shares.items():
                _, first = next(iter(names.values()))
                data: Mapping[str, bytes] = server.call(_get_many(list(names)), {}, first)
                for name, (key, space) in names.items():
                    value = self._read(space, name, data.get(name))
                    if value is not None:
                        found[key] = value
        return found

    def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep the value; where the server does not get it, the old one is deleted later on."""
        if ttl <= 0:
            self.delete(key)
            return
        name, space = self._name(key), self._spaces.of(key)
        if self._is_too_large(value):
            self._spaces.count_too_large(space)
            self.delete(key)
            return
        server = self._server_of(name)
        if server is None:
            return
        frame = pack(name, value, self._now() + ttl)

        def store(client: PooledClient) -> None:
            try:
                _expect(client.set(name, frame, _life(ttl), noreply=False), True)
            except MemcacheServerError as error:
                if not is_refusal(error):
                    raise
                # The server is full, or takes only smaller values: the old one must not stay.
                self._spaces.count_error(space)
                delete(client, [name])

        with deadline(self._timeout, self._clock):
            server.call(store, None, space, changes=name)

    def delete(self, key: str) -> None:
        """Delete the value, once the server is back if it is not in use."""
        name, space = self._name(key), self._spaces.of(key)
        server = self._server_of(name)
        if server is not None:
            with deadline(self._timeout, self._clock):
                server.call(lambda client: delete(client, [name]), None, space, changes=name)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep the value where the server has none, or nothing that could be read."""
        name, space = self._name(key), self._spaces.of(key)
        if ttl <= 0:
            return self.get(key) is None
        if self._is_too_large(value):
            self._spaces.count_too_large(space)
            return self.get(key) is None
        server = self._server_of(name)
        if server is None:
            return True
        frame, life = pack(name, value, self._now() + ttl), _life(ttl)

        def store(client: PooledClient) -> bool:
            if client.add(name, frame, life, noreply=False):
                return True
            data, cas = client.gets(name)
            if data is None:
                return bool(client.add(name, frame, life, noreply=False))
            if self._read(space, name, data) is not None:
                return False
            # What has expired or cannot be read stands in nobody's way.
            return client.cas(name, frame, cas, life, noreply=False) is True

        with deadline(self._timeout, self._clock):
            return server.call(store, True, space)

    def increment(self, key: str, ttl: float, by: int = 1) -> int | None:
        """Count on the server, which makes the counter in the same round trip."""
        name, space = self._name(key), self._spaces.of(key)
        server = self._server_of(name)
        if server is None or ttl <= 0 or not 0 <= by < _MAX_COUNT:
            return None
        command = f"ma {name} N{_life(ttl)} J{by} D{by} t v\r\nmn"

        def count(client: PooledClient) -> int | None:
            try:
                answer = client.raw_command(command, b"MN\r\n")
            except MemcacheClientError as error:
                if b"non-numeric" not in error.args[0]:
                    raise
                self._spaces.count_error(space)
                return None
            counted = _COUNTED.fullmatch(answer)
            if counted is None:
                raise ValueError("the server does not count")
            return int(counted[1])

        with deadline(self._timeout, self._clock):
            return server.call(count, None, space)

    def figures(self) -> CacheFigures:
        """The sums of the servers that answer; None where none does."""
        told = []
        for server in self._servers:
            with deadline(self._timeout, self._clock):
                stats = server.call(_stats, None)
            if stats is not None:
                told.append(stats)
        entries, size, evictions = map(sum, zip(*told, strict=True)) if told else (None,) * 3
        spaces = self.spaces().values()
        return CacheFigures(
            entries=entries,
            size=size,
            evictions=evictions,
            errors=sum(space.errors for space in spaces),
            too_large=sum(space.too_large for space in spaces),
            servers=self._settings.servers,
            aside=tuple(server.name for server in self._servers if server.is_aside),
        )

    def spaces(self) -> Mapping[str, SpaceFigures]:
        """What this process has counted; of what servers keep they cannot tell whose it is."""
        return {
            name: SpaceFigures(errors=space.errors, too_large=space.too_large)
            for name, space in self._spaces.met()
        }

    def _server(self, name: str, tls: ssl.SSLContext | None) -> Server:
        settings = self._settings
        login = b""
        if settings.password is not None:
            # The server's own dialect: the first command on a connection is a `set` of any key.
            words = f"{settings.username} {settings.password.reveal()}".encode()
            login = b"set login 0 0 %d\r\n%b\r\n" % (len(words), words)
        return Server(
            name,
            _place(name),
            Network(settings.connect_timeout_ms / 1000, self._clock, tls, login),
            self._probe,
            self._timeout,
            settings.retry_after,
            settings.max_connections,
            self._clock,
            self._spawn,
            self._spaces,
        )

    def _server_of(self, name: str) -> Server | None:
        """The server of a key, by rendezvous hashing: where one more joins, few keys move."""
        servers = self._servers
        if len(servers) > 1:
            # PERF: pymemcache's own RendezvousHash does the same in Python, some 15 us a server.
            return max(servers, key=lambda server: _weight(server.name, name))
        return servers[0] if servers else None

    def _read(self, space: Space, name: str, data: bytes | None) -> tuple[bytes, float] | None:
        """The value that the data stands for, with the seconds that it has left."""
        if data is None:
            return None
        if is_counter(data):
            return data, 0.0
        found = unpack(name, data)
        if found is None:
            self._spaces.count_error(space)
            return None
        value, expires_at = found
        left = expires_at - self._now()
        return (value, left) if left > 0 else None

    def _is_too_large(self, value: bytes) -> bool:
        return len(value) > self._settings.max_value

    def _probe(self, client: PooledClient) -> None:
        """Raise unless the server keeps a value and gives it back."""
        name = self._name("probe")
        frame = pack(name, bytes(_PROBED), self._now() + _AN_AGE)
        try:
            client.set(name, frame, _life(1), noreply=False)
        except MemcacheServerError as error:
            if not is_refusal(error):
                raise
            # A full server is one that works.
            return
        data = client.get(name)
        if data is not None and unpack(name, data) is None:
            raise ValueError("the server gives back what it was not given")
        _expect(client.raw_command("mn"), b"MN")


def _place(server: str) -> Place:
    """Where the server is; raises ValueError."""
    if server.startswith("unix:/"):
        return server.removeprefix("unix:")
    host, _, port = server.rpartition(":")
    if not host or not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise ValueError(
            f"servers: {server!r} is no server; write host:port, [::1]:port or unix:/path"
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def _tls_context(settings: MemcachedSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"plugin.memcached.tls_ca: {settings.tls_ca!r} cannot be read: {error}; "
            "name a file of certificates in PEM"
        ) from error
    if settings.tls_certificate:
        try:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key or None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"plugin.memcached.tls_certificate: {settings.tls_certificate!r} cannot be used: "
                f"{error}; name a certificate in PEM, and its key in tls_key"
            ) from error
    return context


def _weight(server: str, name: str) -> bytes:
    return blake2b(f"{server} {name}".encode(), digest_size=8).digest()


def _life(ttl: float) -> int:
    """The life of an entry on the server, which counts in whole seconds and begins in one."""
    return min(math.ceil(min(ttl, _MAX_LIFE)) + 1, _MAX_LIFE)


def _get_many(names: Collection[str]) -> Callable[[PooledClient], Mapping[str, bytes]]:
    return lambda client: client.get_many(names)


def _stats(client: PooledClient) -> tuple[int, int, int]:
    stats = client.stats()
    return int(stats[b"curr_items"]), int(stats[b"bytes"]), int(stats[b"evictions"])


def _expect(answer: object, expected: object) -> None:
    if answer != expected:
        raise ValueError("the server answers something else than it was asked")


@hookimpl
def qz_settings() -> type[PluginSettings]:
    """The options of `[plugin.memcached]`."""
    return MemcachedSettings


@hookimpl
def qz_caches(settings: MemcachedSettings, context: PluginContext) -> Mapping[str, Cache]:
    """Offer the cache `memcached`, and `tiered` with a level in the process in front of it."""
    return {
        "memcached": MemcachedCache(settings, context.base_url),
        "tiered": TieredCache(
            MemoryCache(settings.near_bytes),
            MemcachedCache(settings, context.base_url),
            settings.near_seconds,
        ),
    }
