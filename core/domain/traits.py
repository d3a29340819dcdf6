"""Traits: what is derived of a scan and may be kept, as it tells of many people, not of one."""

from __future__ import annotations

import enum
import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from msgspec import Struct

REFERRER_MAX = 100
"""The longest host that is kept of a Referer; a longer one is nobody's printed campaign."""

_HEADER_MAX = 2000

_CODES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE
EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM
HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC
LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""

COUNTRIES = frozenset(_CODES.split())
"""ISO 3166-1 alpha-2, and XK for Kosovo, which databases and proxies use by common consent."""


class Device(enum.StrEnum):
    """What kind of device somebody scans with."""

    DESKTOP = "desktop"
    MOBILE = "mobile"
    TABLET = "tablet"
    TV = "tv"
    CONSOLE = "console"
    OTHER = "other"


_DEVICES = frozenset(device.value for device in Device)
_FAMILY = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .+-]{0,39}")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


class Traits(Struct, frozen=True):
    """What is known of a scan beyond its time; an empty text means that it is not known.

    `device` is a value of `Device`; `os` and `browser` are names of families without versions, of
    letters, digits, blanks, dots, plus signs and hyphens, 40 at most; `language` is a primary
    language subtag (RFC 5646, 2.2.1) of two or three lower-case letters; `referrer` is a host in
    lower case and ASCII, without `www.`; `country` is ISO 3166-1 alpha-2. Raises ValueError for
    anything else, so that no enricher brings a text of a visitor's choice into the counts.
    """

    bot: bool = False
    country: str = ""
    device: str = ""
    os: str = ""
    browser: str = ""
    language: str = ""
    referrer: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.bot, bool):
            raise ValueError("bot: must be true or false")
        if self.country and self.country not in COUNTRIES:
            raise ValueError("country: must be a code of ISO 3166-1 alpha-2 in upper case")
        if self.device and self.device not in _DEVICES:
            raise ValueError(f"device: must be one of {', '.join(Device)}")
        for field, value, allowed in (
            ("os", self.os, _FAMILY),
            ("browser", self.browser, _FAMILY),
            ("language", self.language, _LANGUAGE),
            ("referrer", self.referrer, _HOST),
        ):
            if value and not allowed.fullmatch(value):
                raise ValueError(f"{field}: must match {allowed.pattern} or be empty")
        if len(self.referrer) > REFERRER_MAX:
            raise ValueError(f"referrer: must have at most {REFERRER_MAX} characters")


def known_country(code: str) -> str:
    """The country's code in upper case, or "" for what is none, such as Cloudflare's XX and T1."""
    code = code.strip()
    # Some letters beyond ASCII become ASCII ones, or two, in upper case.
    return code.upper() if code.isascii() and code.upper() in COUNTRIES else ""


_ENTRY = re.compile(
    r"\s*([a-z]{2,3})(?:[-_][a-z0-9_-]*)?\s*(?:;\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?",
    re.IGNORECASE | re.ASCII,
)


def preferred_language(header: str) -> str:
    """The primary subtag of the language that Accept-Language prefers (RFC 9110, 12.5.4), or "".

    The highest `q` wins, then the earliest. Entries that name no language (`*`), that refuse one
    (`q=0`) or that are malformed are passed over.
    """
    best, best_quality = "", 0.0
    for entry in header[:_HEADER_MAX].split(","):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            continue
        quality = float(match[2] or "1")
        if quality > best_quality:
            best, best_quality = match[1].lower(), quality
    return best


def referring_host(header: str) -> str:
    """The host of the page that Referer names (RFC 9110, 10.1.3), or "" for what is no http(s) URL.

    Paths and queries may tell who somebody is, and so may an address in place of a name: they are
    left out.
    """
    try:
        url = urlsplit(_decoded(header)[:_HEADER_MAX].strip())
        host = url.hostname or ""
        if url.scheme not in ("http", "https") or len(host) > REFERRER_MAX + len("www."):
            return ""
        host = _ascii(host).removesuffix(".").removeprefix("www.")
    except ValueError:
        return ""
    if len(host) > REFERRER_MAX or not _HOST.fullmatch(host) or _is_address(host):
        return ""
    return host


def _decoded(header: str) -> str:
    # WSGI hands raw bytes over as if they were Latin-1 (PEP 3333); programs that send a name
    # as it is written, against RFC 3986, send it in UTF-8.
    if header.isascii():
        return header
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header


def _ascii(host: str) -> str:
    return host if host.isascii() else host.encode("idna").decode("ascii").lower()


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
