"""The scan enricher `user_agent`: bots, and the device, system and browser of everybody else.

Bots are those that the list of crawler-user-agents names, and the previews that messengers make of
a link; systems and browsers are those of ua-parser (the regexes of the uap-core project). Both
change with their packages, so only names that stand in the tables below reach the counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from crawleruseragents import is_crawler
from msgspec import Struct
from msgspec.structs import replace

from core.api import Device, ScanEnricher, Traits, Visit, hookimpl

if TYPE_CHECKING:
    from ua_parser import PartialResult

_USER_AGENT_MAX = 512

_BY_HAND = ("curl/",)
"""Tools that lists of crawlers name, but with which people try a code by hand."""

_PROGRAM = re.compile(r"^com\.apple\.|\bCFNetwork/|^Dalvik/|^Signal-")
"""Programs that the list leaves out: what phones and their apps fetch to show a preview."""

_DEVICES = (
    (Device.CONSOLE, re.compile(r"PlayStation|Xbox|Nintendo")),
    (
        Device.TV,
        re.compile(
            r"(?i:smart-?tv|hbbtv|apple ?tv|google ?tv|android ?tv)|[ -]TV\b|BRAVIA|CrKey|"
            r"Chromecast|Roku|Web0S|NetCast|VIDAA|Viera|; AFT[A-Z0-9]"
        ),
    ),
    (Device.OTHER, re.compile(r"OculusBrowser|Tesla/|QtCarBrowser|\bWatch\b")),
    # "Tablet PC" is what an Internet Explorer says on any desktop with a touch screen driver.
    (Device.TABLET, re.compile(r"iPad|Tablet(?! PC)|Silk/|Kindle|PlayBook")),
    (
        Device.MOBILE,
        re.compile(r"iPhone|iPod|Mobile|Phone|Opera Mini|Opera Mobi|BlackBerry|MIDP|KAIOS"),
    ),
    # Browsers on Android say Mobile on phones and leave it out on tablets.
    (Device.TABLET, re.compile(r"Android")),
    (Device.DESKTOP, re.compile(r"Windows NT|Macintosh|X11|CrOS|Linux|\(PC;")),
)
"""The first that is found holds. An iPad says Macintosh unless asked for mobile pages (iPadOS 13):
it counts as a desktop, as every program that goes by the User-Agent has it."""

_OWN_SYSTEMS = (
    # Huawei's system before version 5 names Android as well.
    ("HarmonyOS", re.compile(r"HarmonyOS|OpenHarmony")),
    ("PlayStation", re.compile(r"PlayStation")),
    ("Xbox", re.compile(r"Xbox")),
    ("Nintendo", re.compile(r"Nintendo")),
    ("Android", re.compile(r"OculusBrowser")),
)

_SYSTEMS = {
    "Android": "Android",
    "iOS": "iOS",
    "tvOS": "tvOS",
    "ATV OS X": "tvOS",
    "Mac OS X": "macOS",
    "Mac OS": "macOS",
    "Windows": "Windows",
    "Windows Phone": "Windows Phone",
    "Windows Mobile": "Windows Phone",
    "Chrome OS": "ChromeOS",
    "Linux": "Linux",
    "Arch Linux": "Linux",
    "CentOS": "Linux",
    "Debian": "Linux",
    "Fedora": "Linux",
    "Gentoo": "Linux",
    "Kubuntu": "Linux",
    "Mageia": "Linux",
    "Mandriva": "Linux",
    "Mint": "Linux",
    "Puppy": "Linux",
    "Raspbian": "Linux",
    "Red Hat": "Linux",
    "SUSE": "Linux",
    "Slackware": "Linux",
    "Ubuntu": "Linux",
    "FreeBSD": "FreeBSD",
    "NetBSD": "NetBSD",
    "OpenBSD": "OpenBSD",
    "KaiOS": "KaiOS",
    "Tizen": "Tizen",
    "Web0S": "webOS",
    "webOS": "webOS",
    "Roku": "Roku",
    "HarmonyOS": "HarmonyOS",
    "BlackBerry OS": "BlackBerry",
    "BlackBerry Tablet OS": "BlackBerry",
    "Fuchsia": "Fuchsia",
}

_OWN_BROWSERS = (
    ("WeChat", re.compile(r"MicroMessenger/")),
    ("Messenger", re.compile(r"FB_IAB/Orca|FBAN/Messenger")),
    ("Threads", re.compile(r"\bBarcelona \d")),
    ("LinkedIn", re.compile(r"LinkedInApp")),
    ("KakaoTalk", re.compile(r"KAKAOTALK")),
    ("NAVER", re.compile(r"NAVER\(inapp")),
    ("Alipay", re.compile(r"AlipayClient/")),
    ("Telegram", re.compile(r"Telegram-Android/")),
    ("Reddit", re.compile(r"\bReddit/")),
    ("Baidu", re.compile(r"baiduboxapp/")),
    ("QQ", re.compile(r"\bQQ/\d")),
    ("Vivaldi", re.compile(r"Vivaldi/")),
    ("Nintendo Browser", re.compile(r"NintendoBrowser/")),
)
"""Apps and browsers that ua-parser takes for the WebView or the browser they are made of."""

_BROWSERS = {
    "Amazon Silk": "Silk",
    "Android": "Android Browser",
    "Baidu Browser": "Baidu",
    "Brave": "Brave",
    "Chrome": "Chrome",
    "Chrome Mobile": "Chrome",
    "Chrome Mobile WebView": "Android WebView",
    "Chrome Mobile iOS": "Chrome",
    "Chromium": "Chromium",
    "Crosswalk": "Android WebView",
    "DuckDuckGo": "DuckDuckGo",
    "DuckDuckGo Mobile": "DuckDuckGo",
    "Ecosia": "Ecosia",
    "Ecosia Android": "Ecosia",
    "Ecosia iOS": "Ecosia",
    "Edge": "Edge",
    "Edge Mobile": "Edge",
    "Facebook": "Facebook",
    "Facebook Messenger": "Messenger",
    "Firefox": "Firefox",
    "Firefox Focus": "Firefox",
    "Firefox Klar": "Firefox",
    "Firefox Mobile": "Firefox",
    "Firefox Tablet": "Firefox",
    "Firefox iOS": "Firefox",
    "Google": "Google app",
    "HeyTap Browser": "HeyTap Browser",
    "Huawei Browser": "Huawei Browser",
    "IE": "Internet Explorer",
    "IE Mobile": "Internet Explorer",
    "Instagram": "Instagram",
    "LINE": "LINE",
    "LinkedIn": "LinkedIn",
    "MiuiBrowser": "Mi Browser",
    "Mobile Safari": "Safari",
    "Mobile Safari UI/WKWebView": "iOS WebView",
    "Oculus Browser": "Oculus Browser",
    "Opera": "Opera",
    "Opera GX": "Opera",
    "Opera Mini": "Opera Mini",
    "Opera Mobile": "Opera",
    "Opera Touch": "Opera",
    "Pinterest": "Pinterest",
    "QQ Browser": "QQ Browser",
    "QQ Browser Mini": "QQ Browser",
    "QQ Browser Mobile": "QQ Browser",
    "Safari": "Safari",
    "Samsung Internet": "Samsung Internet",
    "Snapchat": "Snapchat",
    "TikTok": "TikTok",
    "Twitter": "X",
    "UC Browser": "UC Browser",
    "Vivaldi": "Vivaldi",
    "VivoBrowser": "Vivo Browser",
    "WeChat Browser": "WeChat",
    "Whale": "Whale",
    "Yandex Browser": "Yandex Browser",
}


class Sender(Struct, frozen=True):
    """Who sends a User-Agent; of a bot nothing else is known."""

    bot: bool = False
    device: str = ""
    os: str = ""
    browser: str = ""


class UserAgentEnricher:
    """Fills `bot`, `device`, `os` and `browser` from the visit's User-Agent."""

    def open(self) -> None:
        """Nothing: the regexes are compiled for the first visit, where there is one."""

    def close(self) -> None:
        """Forget the user agents that were seen."""
        _sender.cache_clear()
        _told.cache_clear()

    def enrich(self, visit: Visit, traits: Traits) -> Traits:
        """The traits with what the User-Agent tells; a bot stays a bot."""
        return _told(traits, _sender(visit.user_agent[:_USER_AGENT_MAX]))


def is_bot(user_agent: str) -> bool:
    """Whether a program that nobody watches sent this User-Agent, as one without any does."""
    if not user_agent.strip():
        return True
    if user_agent.startswith(_BY_HAND):
        return False
    return _PROGRAM.search(user_agent) is not None or is_crawler(user_agent)


# PERF: several hundred regexes are tried for each new User-Agent, and most scans come from few.
@lru_cache(maxsize=4096)
def _sender(user_agent: str) -> Sender:
    if is_bot(user_agent):
        return Sender(bot=True)
    # The regexes run in Rust, which knows no lone surrogates.
    parsed = _parser()(user_agent.encode("utf-8", "replace").decode("utf-8"))
    return Sender(
        device=_first(_DEVICES, user_agent),
        os=_first(_OWN_SYSTEMS, user_agent)
        or (_SYSTEMS.get(parsed.os.family, "") if parsed.os else ""),
        browser=_first(_OWN_BROWSERS, user_agent)
        or (_BROWSERS.get(parsed.user_agent.family, "") if parsed.user_agent else ""),
    )


@lru_cache(maxsize=4096)
def _told(traits: Traits, sender: Sender) -> Traits:
    return replace(
        traits,
        bot=traits.bot or sender.bot,
        device=sender.device,
        os=sender.os,
        browser=sender.browser,
    )


def _first(patterns: tuple[tuple[str, re.Pattern[str]], ...], user_agent: str) -> str:
    return next((str(name) for name, pattern in patterns if pattern.search(user_agent)), "")


@cache
def _parser() -> Callable[[str], PartialResult]:
    """What ua-parser makes of a User-Agent."""
    # PERF: to import it and to compile its regexes takes a third of a second and 28 MB. Of all
    # processes only the one that drains asks for it, and only once there are scans.
    from ua_parser import Domain, load_lazy_builtins
    from ua_parser.regex import Resolver

    resolver = Resolver(load_lazy_builtins())
    return lambda user_agent: resolver(user_agent, Domain.USER_AGENT | Domain.OS)


@hookimpl
def qz_scan_enrichers() -> Mapping[str, ScanEnricher]:
    """Offer the scan enricher `user_agent`."""
    return {"user_agent": UserAgentEnricher()}
