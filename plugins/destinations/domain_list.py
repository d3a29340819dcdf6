"""The destination check `domain_list`: domains that no code may lead to, from a text file.

One domain a line, which holds all that lies below it as well; what follows a # is a comment. The
file is read again as soon as it has changed.
"""

from __future__ import annotations

import logging
import os
import re
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from core.api import (
    ConfigurationError,
    DestinationRefused,
    PluginSettings,
    Target,
    TargetCheck,
    domain,
    hookimpl,
    listed,
)

_logger = logging.getLogger(__name__)

_SLICE = 5000
"""After so many lines others have their turn: a million of them take seconds to read."""

_UNDECODED = re.compile("[\ud800-\udfff]")

Stamp = tuple[int, int, int]


class DomainListSettings(PluginSettings, frozen=True, kw_only=True):
    """`[plugin.domain_list]`: the file; a relative path counts from where the service starts."""

    path: Annotated[str, Meta(min_length=1)]


class Domains:
    """A set of domains in eight bytes each: a list of a million takes 8 MB.

    Kept is a number that is made of each, in order; that two domains have the same one is less
    likely, in a list of a million, than one in ten trillion for each link that is asked about.
    """

    def __init__(self, domains: Iterable[str]) -> None:
        numbers = array("Q", sorted(set(map(_number, domains))))
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, name: object) -> bool:
        number = _number(str(name))
        place = bisect_left(self._numbers, number)
        return place < len(self._numbers) and self._numbers[place] == number


class DomainList:
    """Refuses what leads to a domain of the file, or below one.

    Where a changed file cannot be read, or has a line that is no domain, the log says so once, and
    the domains that were read before stay in force.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._domains = Domains(())
        self._stamp: Stamp | None = None
        self._reading = False

    def open(self) -> None:
        """Read the file. Raises ConfigurationError where it is missing or a line is no domain."""
        try:
            self._stamp = _stamp(self._path)
            self._domains = Domains(_read(self._path))
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"plugin.domain_list.path: {str(self._path)!r} cannot be used: {_reason(error)}; "
                "name a text file with one domain a line, or take 'domain_list' out of "
                "plugins.enabled"
            ) from error

    def close(self) -> None:
        """Let go of the file's content."""
        self._domains, self._stamp = Domains(()), None

    def check(self, target: Target) -> None:
        """Raise DestinationRefused for a host that is in the list, or below one that is."""
        self._look()
        found = listed(target.host, self._domains)
        if found is not None:
            raise DestinationRefused(
                f"{found!r} is on this service's list of domains that no code may lead to; link to "
                "another site, or ask the operator of this service"
            )

    def _look(self) -> None:
        # Whoever asks while the file is being read is answered by what was read before.
        if self._stamp is None or self._reading:
            return
        stamp: Stamp | None = None
        self._reading = True
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._domains = Domains(_read(self._path))
                _logger.info("plugin.domain_list.path: read again, %d domains", len(self._domains))
        except (OSError, ValueError) as error:
            stamp = stamp or _NONE
            if stamp != self._stamp:
                _logger.warning(
                    "plugin.domain_list.path: %r cannot be used any more: %s; the domains that "
                    "were read before stay in force",
                    str(self._path),
                    _reason(error),
                )
        finally:
            self._reading = False
        self._stamp = stamp


_NONE: Stamp = (0, 0, 0)
"""Stands for a file that is not there."""


def _read(path: Path) -> Iterable[str]:
    # What is not UTF-8 becomes lone surrogates, so that the line is known in which it stands.
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            text = line.partition("#")[0].strip().lower()
            if text:
                if not text.isascii() and _UNDECODED.search(text):
                    raise ValueError(f"line {number}: it is not UTF-8")
                try:
                    yield domain(text)
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from None
            if number % _SLICE == 0:
                # PERF: under gevent this lets the redirects of the worker go on meanwhile.
                time.sleep(0)


def _number(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def _stamp(path: Path) -> Stamp:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size, status.st_ino


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


@hookimpl
def qz_settings() -> type[PluginSettings]:
    """The options of `[plugin.domain_list]`."""
    return DomainListSettings


@hookimpl
def qz_check_destination(settings: DomainListSettings) -> Mapping[str, TargetCheck]:
    """Offer the destination check `domain_list`."""
    return {"domain_list": DomainList(Path(settings.path))}
