"""Where codes may lead: the rules of the settings, then the checks of plugins."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from core.domain.codes import Target
from core.domain.content_reading import read_content
from core.errors import ConfigurationError, DestinationRefused, InvalidFields
from core.services.destinations import Destinations
from core.settings import CodesSettings, parse


class Check:
    """Does as it is told, and notes what it was asked."""

    def __init__(self, error: Exception | None = None, trouble: Exception | None = None) -> None:
        self.error, self.trouble = error, trouble
        self.asked: list[Target] = []
        self.steps: list[str] = []

    def open(self) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.steps.append("open")

    def close(self) -> None:
        self.steps.append("close")

    def check(self, target: Target) -> None:
        self.asked.append(target)
        if self.error is not None:
            raise self.error


def destinations(seconds: Any = lambda: 0.0, **checks: Check) -> Destinations:
    settings = CodesSettings(denied_domains=("Evil.example", "böse.example"))
    return Destinations(settings, "https://qr.example", checks, seconds)


def test_a_check_is_told_the_address_that_is_sent_and_the_host_in_ascii() -> None:
    check = Check()
    destinations(one=check).check("HTTPS://Bücher.example.:8443/ä")
    sent = "https://xn--bcher-kva.example.:8443/%C3%A4"
    assert check.asked == [Target(sent, "https", "xn--bcher-kva.example")]


def test_every_check_is_asked_and_each_can_refuse() -> None:
    one, two = Check(), Check(DestinationRefused("on a list; choose another"))
    with pytest.raises(ValueError, match="on a list; choose another"):
        destinations(one=one, two=two).check("https://a.example/")
    assert len(one.asked) == len(two.asked) == 1


def test_what_the_settings_refuse_no_check_is_asked_about() -> None:
    check = Check()
    for link in ("https://a.evil.example/", "https://BÖSE.example/", "http://10.0.0.1/", "nothing"):
        with pytest.raises(ValueError, match=r"not allowed here|public internet|scheme"):
            destinations(one=check).check(link)
    assert check.asked == []


def test_a_check_that_fails_lets_nothing_pass_and_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    guarded = destinations(lambda: now[0], broken=Check(ValueError("a slip")), later=Check())
    for now[0] in (0.0, 59.0, 60.0):
        with pytest.raises(ValueError, match=r"the check 'broken' .* try again later") as caught:
            guarded.check("https://a.example/")
        assert "a slip" not in str(caught.value)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "'broken' failed" in caplog.text
    assert "a slip" in caplog.text


def test_a_check_that_cannot_be_opened_stops_the_start() -> None:
    first, second = Check(), Check(trouble=ConfigurationError("a file is missing"))
    with pytest.raises(ConfigurationError, match="a file is missing"):
        destinations(first=first, second=second).prove()
    assert (first.steps, second.steps) == (["open", "close"], [])


def test_a_check_that_cannot_be_opened_later_refuses_links_until_it_can(
    caplog: pytest.LogCaptureFixture,
) -> None:
    check = Check(trouble=ConfigurationError("a file is missing"))
    guarded = destinations(one=check)
    guarded.open()
    assert "a file is missing" in caplog.text
    with pytest.raises(ValueError, match="the check 'one' of this service could not decide"):
        guarded.check("https://a.example/")
    assert check.asked == []
    check.trouble = None
    guarded.check("https://a.example/")
    guarded.check("https://a.example/")
    assert (check.steps, len(check.asked)) == (["open"], 2)


def test_checks_are_closed_once() -> None:
    check = Check()
    guarded = destinations(one=check)
    guarded.open()
    guarded.close()
    guarded.close()
    assert check.steps == ["open", "close"]


BAD = "https://evil.example/"


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ({"type": "link", "url": BAD}, ["content.url"]),
        ({"type": "link", "url": "http://192.168.0.1/"}, ["content.url"]),
        (
            {"type": "vcard", "last_name": "A", "urls": [BAD, "https://a.example/", BAD]},
            ["content.urls[0]", "content.urls[2]"],
        ),
        ({"type": "mecard", "last_name": "A", "url": BAD}, ["content.url"]),
        ({"type": "text", "text": BAD}, ["content"]),
        (BAD, ["content"]),
        (" HTTPS://WWW.EVIL.example/menu\n", ["content"]),
        ("http://user:pw@a.example/", ["content"]),
    ],
)
def test_links_in_contents_are_held_against_the_same_rules(content: Any, fields: list[str]) -> None:
    with pytest.raises(InvalidFields) as caught:
        destinations().check_content(read_content(content))
    assert [problem.field for problem in caught.value.problems] == fields


@pytest.mark.parametrize(
    "content",
    [
        {"type": "link", "url": "https://qr.example/r/ABC"},
        {"type": "mecard", "last_name": "A"},
        {"type": "vcard", "last_name": "A"},
        "see https://evil.example/ and stay away",
        "evil.example",
        "https:",
        {"type": "wifi", "ssid": BAD, "security": "nopass"},
    ],
)
def test_other_contents_pass(content: Any) -> None:
    destinations().check_content(read_content(content))


def test_a_check_is_asked_about_links_in_contents_too() -> None:
    check = Check(DestinationRefused("no"))
    with pytest.raises(InvalidFields, match=r"content\.url: no"):
        destinations(one=check).check_content(
            read_content({"type": "link", "url": "https://a.example/"})
        )


@pytest.mark.parametrize("name", ["*.evil.example", "https://evil.example", "", "a b"])
def test_a_denied_domain_that_is_none_stops_the_start(name: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"codes\.denied_domains\[1\]: .* write domains as"
    ):
        parse({"codes": {"denied_domains": ["a.example", name]}}, {})
