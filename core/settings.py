"""The settings: read from TOML files, checked, frozen.

`config/default.toml` holds every setting with its default and its meaning; an operator's own file
states what differs. Any value may be a
reference instead: `{ env = "NAME" }`, `{ env = "NAME", default = ... }` or `{ file = "/path" }`.
"""

from __future__ import annotations

import enum
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from core.domain.audit import LEAST_DAYS
from core.domain.hosts import domain, origin
from core.domain.validation import Secret, read_section
from core.errors import ConfigurationError

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[int, Meta(ge=1, le=315_360_000)]
Lifetime = Annotated[float, Meta(gt=0, le=315_360_000)]

_SIGNING_KEY_LENGTH = 32

# What an address may be made of (RFC 3986, 2): it is printed, and stands in headers.
_ADDRESS = re.compile(r"[A-Za-z0-9:/.\[\]_~%-]+")

_HEADER = re.compile(r"[A-Za-z0-9-]*")

DEFAULT_FILE = Path(__file__).resolve().parent.parent / "config" / "default.toml"


class Service(Struct, frozen=True):
    """`[service]`: where the service lives and what it is called from outside."""

    data: str = "var"
    bind: str = "127.0.0.1:8000"
    base_url: str | None = None
    workers: Annotated[int, Meta(ge=1, le=256)] = 2
    threads: Annotated[int, Meta(ge=1, le=64)] = 2


class ProxyHeader(enum.StrEnum):
    """The header in which the trusted proxies tell who the client is."""

    X_FORWARDED_FOR = "X-Forwarded-For"
    FORWARDED = "Forwarded"


class Http(Struct, frozen=True):
    """`[http]`: limits on requests and connections (seconds), and who and what is believed."""

    max_body_bytes: Annotated[int, Meta(ge=1, le=134_217_728)] = 1_048_576
    max_request_line: Annotated[int, Meta(ge=1024, le=8190)] = 8190
    max_header_fields: Annotated[int, Meta(ge=16, le=1000)] = 64
    max_header_field_bytes: Annotated[int, Meta(ge=1024, le=65_536)] = 8190
    max_head_bytes: Annotated[int, Meta(ge=16_384, le=1_048_576)] = 32_768
    head_timeout: Annotated[int, Meta(ge=1, le=600)] = 10
    body_timeout: Annotated[int, Meta(ge=1, le=3600)] = 60
    answer_timeout: Annotated[int, Meta(ge=1, le=3600)] = 120
    max_connections: Annotated[int, Meta(ge=16, le=65_536)] = 4096
    trusted_proxies: tuple[str, ...] = ()
    proxy_header: ProxyHeader = ProxyHeader.X_FORWARDED_FOR
    country_header: str = ""
    hsts_seconds: Annotated[int, Meta(ge=0, le=315_360_000)] = 31_536_000
    cors_origins: tuple[str, ...] = ()
    cors_credentials: bool = False


class Plugins(Struct, frozen=True):
    """`[plugins]`: which plugins are enabled, in the order in which they are asked."""

    enabled: tuple[str, ...] = (
        "segno",
        "zxing",
        "png",
        "svg",
        "pdf",
        "eps",
        "text",
        "webp",
        "jpeg",
        "sqlite",
        "memory",
        "shared_memory",
        "rolling",
        "calendar",
        "user_agent",
        "log",
    )


class StorageSettings(Struct, frozen=True):
    """`[storage]`: which of the offered storages is used."""

    backend: str = "sqlite"


class Sync(enum.StrEnum):
    """When a scan is written out to the disk, where it survives the machine."""

    ALWAYS = "always"
    INTERVAL = "interval"
    NEVER = "never"


class ScansSettings(Struct, frozen=True):
    """`[scans]`: which of the offered scan stores is used, and how scans get there (seconds).

    Without `store` it is the one that is called as `storage.backend` is.
    """

    store: str = ""
    journal: str | None = None
    sync: Sync = Sync.INTERVAL
    sync_interval: Annotated[float, Meta(ge=0.001, le=60)] = 0.1
    rotate_after: Annotated[float, Meta(ge=0.1, le=3600)] = 10.0
    max_journal_bytes: Annotated[int, Meta(ge=1_048_576)] = 1_073_741_824
    drain_interval: Annotated[float, Meta(ge=0.01, le=60)] = 0.2
    drain_batch: Annotated[int, Meta(ge=1, le=100_000)] = 5000
    max_points: Annotated[int, Meta(ge=400, le=10_000)] = 1000
    keep_events_days: Annotated[int, Meta(ge=0, le=36_500)] = 0
    opt_out: tuple[str, ...] = ()


class CacheSettings(Struct, frozen=True):
    """`[cache]`: which of the offered caches is used, and how long things are kept (seconds)."""

    backend: str = "shared_memory"
    image_ttl: Lifetime = 86400.0
    allowance: Annotated[int, Meta(ge=65_536, le=2**50)] = 16_777_216
    max_hot_images: Annotated[int, Meta(ge=0, le=1_000_000)] = 500
    code_ttl: Annotated[float, Meta(ge=0, le=0.9)] = 0.8
    code_grace: Annotated[float, Meta(ge=0, le=315_360_000)] = 86400.0
    max_codes: Annotated[int, Meta(ge=0, le=10_000_000)] = 10_000
    answer_ttl: Lifetime = 3600.0
    answer_lag: Annotated[float, Meta(ge=0, le=3600)] = 10.0
    session_ttl: Annotated[float, Meta(ge=0, le=0.9)] = 0.8
    max_sessions: Annotated[int, Meta(ge=0, le=10_000_000)] = 10_000


class CodesSettings(Struct, frozen=True):
    """`[codes]`: short links and where they may lead."""

    compact_links: bool = True
    slug_length: Annotated[int, Meta(ge=6, le=32)] = 8
    schemes: Annotated[tuple[str, ...], Meta(min_length=1)] = ("http", "https")
    private_destinations: bool = False
    denied_domains: tuple[str, ...] = ()
    max_bulk: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    max_per_page: Annotated[int, Meta(ge=1, le=1000)] = 100
    max_archive: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    max_labels: Annotated[int, Meta(ge=1, le=10_000)] = 1000


class ImagesSettings(Struct, frozen=True):
    """`[images]`: which encoder draws, the sizes (pixels) and looks that may be asked for."""

    encoder: str = "segno"
    boost_error_correction: bool = True
    min_size: Positive = 100
    max_size: Annotated[int, Meta(ge=1, le=20_000)] = 2000
    max_content: Annotated[int, Meta(ge=1, le=7089)] = 7089
    max_symbols: Annotated[int, Meta(ge=1, le=1_000_000)] = 500
    max_waiting: Annotated[int, Meta(ge=1, le=100_000)] = 500
    ad_hoc_styles: bool = True
    min_contrast: Annotated[float, Meta(ge=1, le=21)] = 3.0
    max_styles: Annotated[int, Meta(ge=0, le=10_000)] = 100
    max_logos: Annotated[int, Meta(ge=0, le=10_000)] = 100
    max_logo_bytes: Annotated[int, Meta(ge=1, le=10_485_760)] = 262_144
    max_logo_pixels: Annotated[int, Meta(ge=1, le=100_000_000)] = 4_000_000
    signing_keys: tuple[Secret, ...] = ()


class AccountsSettings(Struct, frozen=True):
    """`[accounts]`: sign-in, sessions and links (seconds), passwords, and letters to people."""

    session_idle: Seconds = 1_209_600
    session_lifetime: Seconds = 7_776_000
    password_min_length: Annotated[int, Meta(ge=8, le=256)] = 12
    argon2_memory_kib: Annotated[int, Meta(ge=8192, le=4_194_304)] = 19_456
    argon2_time_cost: Annotated[int, Meta(ge=1, le=100)] = 2
    argon2_parallelism: Annotated[int, Meta(ge=1, le=64)] = 1
    max_waiting: Annotated[int, Meta(ge=1, le=100_000)] = 200
    notifier: str = "log"
    link_base: str | None = None
    invitation_lifetime: Seconds = 604_800
    reset_lifetime: Seconds = 3600
    max_invitations: Annotated[int, Meta(ge=0, le=10_000)] = 100
    max_organizations: Annotated[int, Meta(ge=0, le=1_000_000)] = 100


class Limit(Struct, frozen=True, forbid_unknown_fields=True):
    """So many requests within so many seconds, wherever these begin."""

    requests: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    seconds: Annotated[int, Meta(ge=1, le=604_800)]


LimitList = Annotated[tuple[Limit, ...], Meta(max_length=10)]


class LimitsSettings(Struct, frozen=True):
    """`[limits]`: how often something may be done; of several limits each has to allow it."""

    sign_in_address: LimitList = (Limit(30, 60), Limit(300, 3600))
    sign_in_account: LimitList = (Limit(10, 60), Limit(30, 900), Limit(100, 86_400))
    letters: LimitList = (Limit(5, 3600), Limit(20, 86_400))
    letters_sender: LimitList = (Limit(100, 3600), Limit(500, 86_400))
    reads: LimitList = (Limit(6000, 60),)
    writes: LimitList = (Limit(1200, 60),)
    bulk: LimitList = (Limit(60, 60),)
    drawing: LimitList = (Limit(3000, 60),)
    unknown_slugs: LimitList = (Limit(60, 60),)


class Addresses(enum.StrEnum):
    """What the audit log keeps of the address from which something was changed."""

    FULL = "full"
    NETWORK = "network"
    NONE = "none"


class AuditSettings(Struct, frozen=True):
    """`[audit]`: what is kept of those who change something in an organisation, and how long."""

    addresses: Addresses = Addresses.NETWORK
    keep_days: Annotated[int, Meta(ge=0, le=36_500)] = 400


class LogSettings(Struct, frozen=True):
    """`[log]`: how much is logged."""

    level: str = "info"
    requests: bool = True
    security: bool = True


class Sections(dict[str, dict[str, Any]]):
    """The plugins' sections as they were written: only a plugin knows which of them are secret."""

    def __repr__(self) -> str:
        return f"<options of {', '.join(self) or 'no plugin'}>"


class Settings(Struct, frozen=True):
    """Everything that can be set; `plugin` holds each plugin's own section, checked by its host."""

    service: Service = Service()
    http: Http = Http()
    plugins: Plugins = Plugins()
    storage: StorageSettings = StorageSettings()
    scans: ScansSettings = ScansSettings()
    cache: CacheSettings = CacheSettings()
    codes: CodesSettings = CodesSettings()
    images: ImagesSettings = ImagesSettings()
    accounts: AccountsSettings = AccountsSettings()
    limits: LimitsSettings = LimitsSettings()
    audit: AuditSettings = AuditSettings()
    log: LogSettings = LogSettings()
    plugin: Sections = msgspec.field(default_factory=Sections)

    @property
    def base_url(self) -> str:
        """The address from outside, without a slash at its end."""
        return (self.service.base_url or f"http://{self.service.bind}").rstrip("/")

    @property
    def link_base(self) -> str:
        """Where the links in letters lead, without a slash at its end."""
        return (self.accounts.link_base or self.base_url).rstrip("/")

    @property
    def journal(self) -> Path:
        """The folder of the scan journal: on a local disk, one for each machine."""
        return Path(self.scans.journal) if self.scans.journal else self.data / "journal"

    @property
    def data(self) -> Path:
        """The data folder."""
        return Path(self.service.data)


def load(path: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings: those of the default file, and on top of them those of one other file.

    The other file is `path`, or else the one that QUIETZONE_CONFIG names, if it names one. Raises
    ConfigurationError, naming the setting and the way out, for anything that is wrong.
    """
    tree = _read(DEFAULT_FILE)
    source = path or environ.get("QUIETZONE_CONFIG")
    if source:
        # The default file's options of plugins are the plugins' own defaults, and the other file
        # may well leave those plugins out.
        tree.pop("plugin", None)
        for name, section in _read(Path(source)).items():
            below = tree.get(name, {})
            both = isinstance(section, dict) and isinstance(below, dict)
            tree[name] = {**below, **section} if both else section
    return parse(tree, environ)


def _read(source: Path) -> dict[str, Any]:
    try:
        # Some editors begin a file with a mark of its encoding.
        return tomllib.loads(source.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(
            f"the settings file {source} cannot be read ({error.strerror}); "
            "set QUIETZONE_CONFIG to a file that exists"
        ) from error
    # Neither what is no TOML or no UTF-8, nor a number of thousands of digits.
    except ValueError as error:
        raise ConfigurationError(f"{source} is not TOML: {error}; correct that place") from error
    except RecursionError as error:
        raise ConfigurationError(
            f"{source} is nested too deeply to be read; no setting needs more than a few levels"
        ) from error


def parse(tree: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Settings from a tree as a TOML file gives it; references are resolved against `environ`."""
    resolved = _resolve(tree, environ, "")
    unknown = [key for key in resolved if key not in Settings.__struct_fields__]
    if unknown:
        known = ", ".join(sorted(Settings.__struct_fields__))
        raise ConfigurationError(f"{unknown[0]}: unknown section; known are: {known}")
    sections: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        if field.name not in resolved:
            continue
        section = resolved[field.name]
        if field.name != "plugin":
            sections[field.name] = read_section(type(field.default), section, field.name)
        elif isinstance(section, dict) and all(isinstance(v, dict) for v in section.values()):
            sections[field.name] = Sections(section)
        else:
            raise ConfigurationError("plugin: write each plugin's options as [plugin.NAME]")
    settings = Settings(**sections)
    _check(settings)
    return settings


def pack(settings: Settings) -> bytes:
    """The settings as `unpack` takes them, secrets in clear: for a pipe to our own process."""
    return msgspec.json.encode(settings, enc_hook=Secret.reveal)


def unpack(packed: bytes) -> Settings:
    """What was packed; raises ConfigurationError where it is cut off."""
    try:
        tree = msgspec.json.decode(packed)
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"the settings came incomplete: {error}") from error
    return parse(tree, {})


def dump(section: Struct) -> dict[str, Any]:
    """A section as plain values for people to read, secrets hidden."""
    plain: dict[str, Any] = msgspec.to_builtins(
        section, enc_hook=lambda value: repr(value) if isinstance(value, Secret) else str(value)
    )
    return plain


def _check(settings: Settings) -> None:
    service = settings.service
    host, colon, port = service.bind.rpartition(":")
    # What isdigit() takes for a digit outside ASCII ("²"), int() may refuse.
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    bare = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not colon or not _ADDRESS.fullmatch(host) or bare or not digits or int(port) > 65535:
        raise ConfigurationError(
            f"service.bind: {service.bind!r} is not HOST:PORT; write it as 127.0.0.1:8000, or as "
            "[::1]:8000 for IPv6"
        )
    _check_address("service.base_url", service.base_url or settings.base_url)
    if settings.accounts.link_base is not None:
        _check_address("accounts.link_base", settings.accounts.link_base)
    http = settings.http
    if http.max_header_field_bytes + http.max_request_line > http.max_head_bytes:
        raise ConfigurationError(
            f"http.max_head_bytes: {http.max_head_bytes} cannot hold a request line of "
            f"{http.max_request_line} and a field of {http.max_header_field_bytes} bytes; make it "
            "larger, or http.max_header_field_bytes smaller"
        )
    _check_networks("http.trusted_proxies", settings.http.trusted_proxies)
    _check_origins(settings.http)
    _check_networks("scans.opt_out", settings.scans.opt_out)
    if settings.images.min_size > settings.images.max_size:
        raise ConfigurationError(
            "images.min_size: is larger than images.max_size; make it the smaller of the two"
        )
    for name in LimitsSettings.__struct_fields__:
        spans = [limit.seconds for limit in getattr(settings.limits, name)]
        if len(set(spans)) < len(spans):
            raise ConfigurationError(
                f"limits.{name}: two limits have the same number of seconds; keep the smaller one"
            )
    if not _HEADER.fullmatch(settings.http.country_header):
        raise ConfigurationError(
            f"http.country_header: {settings.http.country_header!r} is not the name of a header; "
            "write it as CF-IPCountry, or leave it empty"
        )
    for number, key in enumerate(settings.images.signing_keys):
        if len(key.reveal()) < _SIGNING_KEY_LENGTH:
            raise ConfigurationError(
                f"images.signing_keys[{number}]: is shorter than {_SIGNING_KEY_LENGTH} characters; "
                "make one with 'openssl rand -hex 32'"
            )
    if settings.accounts.session_idle > settings.accounts.session_lifetime:
        raise ConfigurationError(
            "accounts.session_idle: is longer than accounts.session_lifetime; shorten it"
        )
    if 0 < settings.audit.keep_days < LEAST_DAYS:
        raise ConfigurationError(
            f"audit.keep_days: {settings.audit.keep_days} days are too few; keep the log for "
            f"{LEAST_DAYS} at least, or 0 for ever"
        )
    levels = ("debug", "info", "warning", "error")
    if settings.log.level not in levels:
        raise ConfigurationError(
            f"log.level: {settings.log.level!r} is unknown; choose one of {', '.join(levels)}"
        )
    for scheme in settings.codes.schemes:
        if scheme.lower() in ("javascript", "data", "vbscript", "file"):
            raise ConfigurationError(
                f"codes.schemes: {scheme!r} would run in the visitor's browser; leave it out"
            )
    for number, name in enumerate(settings.codes.denied_domains):
        try:
            domain(name)
        except ValueError as error:
            raise ConfigurationError(
                f"codes.denied_domains[{number}]: {error}; write domains as example.com, which "
                "holds all that lies below them as well"
            ) from None


def _check_origins(http: Http) -> None:
    for name in http.cors_origins:
        try:
            sound = name.startswith(("http://", "https://")) and origin(name) == name
        except ValueError:
            sound = False
        if not sound or not _ADDRESS.fullmatch(name):
            raise ConfigurationError(
                f"http.cors_origins: {name!r} is not an origin as browsers send it; write each one "
                "as https://app.example.com, in lower case, without a path or the usual port"
            )
    if http.cors_credentials and not http.cors_origins:
        raise ConfigurationError(
            "http.cors_credentials: no origin may call at all; list those that may in "
            "http.cors_origins, or leave it out"
        )


def _check_address(setting: str, address: str) -> None:
    try:
        parts = urlsplit(address)
        valid = (
            parts.scheme in ("http", "https")
            and parts.hostname
            and parts.port != 0
            and _ADDRESS.fullmatch(address)
        )
    except ValueError:
        valid = None
    if not valid or parts.query or parts.fragment or parts.username is not None:
        raise ConfigurationError(
            f"{setting}: {address!r} is not an address such as https://qr.example.com"
        )


def _check_networks(setting: str, names: Sequence[str]) -> None:
    for name in names:
        try:
            network = ipaddress.ip_network(name)
        except ValueError as error:
            raise ConfigurationError(
                f"{setting}: {error}; write networks as 10.0.0.0/8, single addresses as 192.0.2.7"
            ) from None
        # Addresses are compared as IPv4 where they are; such a network would hold none of them.
        if network.version == 6 and network.network_address.ipv4_mapped is not None:
            raise ConfigurationError(
                f"{setting}: {name!r} holds IPv4 addresses; write it as IPv4, such as 10.0.0.0/8"
            )


def _resolve(value: Any, environ: Mapping[str, str], path: str) -> Any:
    if isinstance(value, Mapping):
        if set(value) in ({"env"}, {"env", "default"}) and isinstance(value["env"], str):
            found = environ.get(value["env"]) or value.get("default")
            if found is None:
                raise ConfigurationError(
                    f"{path}: the environment variable {value['env']} is not set; "
                    "set it, or give the reference a default"
                )
            return found
        if set(value) == {"file"} and isinstance(value["file"], str):
            try:
                return Path(value["file"]).read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    f"{path}: the file {value['file']} cannot be read ({error}); "
                    "name a text file that the service may read"
                ) from error
        return {
            key: _resolve(item, environ, f"{path}.{key}" if path else key)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_resolve(item, environ, f"{path}[{n}]") for n, item in enumerate(value)]
    return value
