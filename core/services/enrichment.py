"""What is derived of a scan while it is drained: never in the redirect, and never its sender."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

from crawleruseragents import is_crawler
from msgspec import Struct

from core.domain.scans import Visit

_BY_HAND = ("curl/",)
"""Tools that lists of crawlers name, but with which people try a code by hand."""

_LANGUAGE = re.compile(r"\s*([A-Za-z]{2,3})(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q\s*=\s*([0-9.]{1,5}))?\s*")
_COUNTRY = re.compile(r"[A-Z]{2}")
_NO_COUNTRY = ("XX", "ZZ")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,98}[a-z0-9])?")


class Traits(Struct, frozen=True):
    """What is known of a scan; "" is what is not."""

    bot: bool = False
    country: str = ""
    device: str = ""
    os: str = ""
    browser: str = ""
    language: str = ""
    referrer: str = ""


class Enrichment:
    """Derives the traits of scans."""

    def traits(self, visit: Visit) -> Traits:
        """The traits of one scan; whatever the headers hold, nothing is raised."""
        return Traits(
            bot=visit.prefetch or is_bot(visit.user_agent),
            country=country(visit.country),
            language=language(visit.language),
            referrer=referrer(visit.referrer),
        )


@lru_cache(maxsize=4096)
def is_bot(user_agent: str) -> bool:
    """Whether a program that nobody watches sent this User-Agent, as one without any does."""
    if not user_agent.strip():
        return True
    return not user_agent.startswith(_BY_HAND) and is_crawler(user_agent)


def country(text: str) -> str:
    """The country (ISO 3166-1 alpha-2) that a proxy has told, or ""."""
    code = text.strip().upper()
    return code if _COUNTRY.fullmatch(code) and code not in _NO_COUNTRY else ""


@lru_cache(maxsize=4096)
def language(accepted: str) -> str:
    """The primary subtag of the most wanted language of an Accept-Language (RFC 9110, 12.5.4)."""
    best, quality = "", 0.0
    for part in accepted.split(",", 20)[:20]:
        match = _LANGUAGE.fullmatch(part)
        if match is None:
            continue
        try:
            wanted = float(match[2] or 1)
        except ValueError:
            continue
        if wanted > quality:
            best, quality = match[1].lower(), wanted
    return best


@lru_cache(maxsize=4096)
def referrer(address: str) -> str:
    """The host of a web page, in ASCII and without "www.", or ""."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or not host:
            return ""
        host = host.encode("idna").decode("ascii").lower().rstrip(".").removeprefix("www.")
    except (ValueError, UnicodeError):
        return ""
    return host if _HOST.fullmatch(host) else ""
