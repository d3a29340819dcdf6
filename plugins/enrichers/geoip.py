"""The scan enricher `geoip`: the country of an address, from a database file of the operator's.

Any file in MaxMind's format (.mmdb) that tells countries will do: GeoLite2 or GeoIP2 Country and
City, DB-IP Lite, IPinfo Lite. It is read here, on this machine; no address ever leaves it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from threading import Lock
from typing import Annotated

import maxminddb
from msgspec import Meta
from msgspec.structs import replace

from core.api import (
    ConfigurationError,
    PluginSettings,
    ScanEnricher,
    Traits,
    Visit,
    hookimpl,
    known_country,
)

_logger = logging.getLogger(__name__)

_LOOK_AFTER = 60.0
"""How often, in seconds, it is looked whether the file has been replaced."""

Stamp = tuple[int, int, int]


class GeoipSettings(PluginSettings, frozen=True, kw_only=True):
    """`[plugin.geoip]`: the database file; a relative path counts from where the service starts."""

    database: Annotated[str, Meta(min_length=1)]


class GeoipEnricher:
    """Fills `country` from the visit's address, unless it is known already.

    A replaced file is picked up within a minute; one that cannot be read leaves the old one in use.
    `clock` counts seconds and never goes back.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._reader: maxminddb.Reader | None = None
        self._stamp: Stamp | None = None
        self._look_at = 0.0
        self._lock = Lock()

    def open(self) -> None:
        """Read the file. Raises ConfigurationError where it is missing or is no such database."""
        with self._lock:
            try:
                self._stamp = _stamp(self._path)
                self._reader = _read(self._path)
            except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
                raise ConfigurationError(
                    f"plugin.geoip.database: {str(self._path)!r} cannot be read: {_reason(error)}; "
                    "name a file in MaxMind's format (.mmdb) that tells countries, or take "
                    "'geoip' out of plugins.enabled"
                ) from error
            self._look_at = self._clock() + _LOOK_AFTER

    def close(self) -> None:
        """Let go of the file's content."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def enrich(self, visit: Visit, traits: Traits) -> Traits:
        """The traits with the country of the visit's address, where the database tells one."""
        if traits.country:
            return traits
        try:
            # A link-local address may carry a zone, which is of no use elsewhere.
            address = ip_address(visit.address.partition("%")[0])
        except ValueError:
            return traits
        country = self._country(getattr(address, "ipv4_mapped", None) or address)
        return replace(traits, country=country) if country else traits

    def _country(self, address: IPv4Address | IPv6Address) -> str:
        with self._lock:
            self._look()
            reader = self._reader
            if reader is None or address.version > reader.metadata().ip_version:
                return ""
            record = reader.get(address)
        return known_country(_code(record))

    def _look(self) -> None:
        now = self._clock()
        if self._reader is None or now < self._look_at:
            return
        self._look_at = now + _LOOK_AFTER
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp:
                return
            reader = _read(self._path)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            # It may be in the middle of being written: it is read again a minute later.
            _logger.warning(
                "plugin.geoip.database: %r cannot be read any more: %s; countries are still told "
                "by what was read before",
                str(self._path),
                _reason(error),
            )
            return
        self._reader.close()
        self._reader, self._stamp = reader, stamp


def _read(path: Path) -> maxminddb.Reader:
    # NOTE: a copy in memory, not a mapping of the file: who overwrites a mapped file in place, as
    # cp does, ends the process with a bus error.
    return maxminddb.open_database(path, maxminddb.MODE_MEMORY)


def _stamp(path: Path) -> Stamp:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size, status.st_ino


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _code(record: object) -> str:
    """The country's code as the makers of databases write it: MaxMind and DB-IP, then IPinfo."""
    if not isinstance(record, dict):
        return ""
    code = record.get("country")
    if isinstance(code, dict):
        code = code.get("iso_code")
    if not isinstance(code, str) or len(code) != 2:
        code = record.get("country_code")
    return code if isinstance(code, str) else ""


@hookimpl
def qz_settings() -> type[PluginSettings]:
    """The options of `[plugin.geoip]`."""
    return GeoipSettings


@hookimpl
def qz_scan_enrichers(settings: GeoipSettings) -> Mapping[str, ScanEnricher]:
    """Offer the scan enricher `geoip`."""
    return {"geoip": GeoipEnricher(Path(settings.database))}
