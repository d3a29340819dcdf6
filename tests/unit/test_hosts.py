"""Hosts of links: their two spellings, and which of them lie outside of the public internet."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.domain.codes import DestinationPolicy
from core.domain.hosts import ascii_host, domain, host_of, is_private, listed, unicode_host
from tests.unit.zones import PROFILE

WEB = frozenset({"http", "https"})
PUBLIC = DestinationPolicy(WEB, "https://qr.example")
INTERNAL = DestinationPolicy(WEB, "https://qr.example", private=True)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.255.255.254",
        "127.0.0.1.",
        "１27.0.0.1",
        "127。0。0。1",
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.251",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::FFFF:10.0.0.1]",
        "[::10.0.0.1]",
        "[64:ff9b::192.168.0.1]",
        "[64:ff9b:1::1]",
        "[::ffff:0:10.0.0.1]",
        "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fec0::1]",
        "[fc00::1]",
        "[fd12:3456::1]",
        "[ff02::1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "ｌocalhost",
        "a.localhost",
        "localhost.localdomain",
        "printer.local",
        "db.internal",
        "nas.home.arpa",
        "intranet",
    ],
)
def test_what_lies_outside_of_the_public_internet_is_refused_unless_the_setting_allows_it(
    host: str,
) -> None:
    link = f"http://{host}:8080/a"
    with pytest.raises(ValueError, match=r"not in the public internet.*private_destinations"):
        PUBLIC.check(link)
    INTERNAL.check(link)


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0X7F.1",
        "0x7f.0.0.0x1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.01",
        "0",
        "0x",
        "127.0.0.0x1.",
        "１27.１",
    ],
)
def test_other_spellings_of_an_address_are_refused_with_every_setting(host: str) -> None:
    for policy in (PUBLIC, INTERNAL):
        with pytest.raises(ValueError, match=r"nor an IPv4 address; write one as 192\.0\.2\.7"):
            policy.check(f"http://{host}/")


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "9.9.9.9",
        "172.15.0.1",
        "172.32.0.1",
        "100.63.0.1",
        "192.0.2.1",
        "[2606:4700::1111]",
        "[::ffff:9.9.9.9]",
        "[64:ff9b::9.9.9.9]",
        "[::ffff:0:9.9.9.9]",
        "[2002:909:909::]",
        "localhost.example",
        "notlocalhost.example",
        "local.example",
        "10.0.0.1.example",
    ],
)
def test_what_is_public_passes(host: str) -> None:
    assert PUBLIC.check(f"https://{host}/").scheme == "https"


@PROFILE
@given(st.ip_addresses())
def test_no_private_address_passes_for_a_public_one(address: object) -> None:
    # What Python takes for global is; its own list differs a little from version to version.
    host = f"[{address}]" if ":" in str(address) else str(address)
    try:
        target = PUBLIC.check(f"http://{host}/")
    except ValueError:
        return
    private = {"is_loopback", "is_link_local", "is_multicast", "is_unspecified"}
    assert not any(getattr(address, name) for name in private), target


@pytest.mark.parametrize(
    ("link", "ascii_form", "unicode_form"),
    [
        ("https://Example.COM./a", "example.com", "example.com"),
        ("https://Bücher.example/", "xn--bcher-kva.example", "bücher.example"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "bücher.example"),
        ("https://faß.de/", "xn--fa-hia.de", "faß.de"),
        ("https://аpple.com/", "xn--pple-43d.com", "аpple.com"),
        ("https://例え。jp/", "xn--r8jz45g.jp", "例え.jp"),
        ("https://[2001:DB8:0::1]:8443/", "2001:db8::1", "2001:db8::1"),
        ("https://192.0.2.1/", "192.0.2.1", "192.0.2.1"),
        # What a browser would show otherwise, or not at all, stays in ASCII.
        ("https://xn--a-ecp.example/", "xn--a-ecp.example", "xn--a-ecp.example"),
        ("mailto:someone@example.com", "", ""),
        ("https://[", "", ""),
    ],
)
def test_a_host_has_two_spellings(link: str, ascii_form: str, unicode_form: str) -> None:
    assert host_of(link) == ascii_form
    assert unicode_host(ascii_form) == unicode_form


@PROFILE
@given(st.text(max_size=30))
@example("xn--\ud800")
@example("a.xn--a-.b")
@example("\u3002")
def test_the_spellings_of_whatever_is_stored_can_be_told(text: str) -> None:
    link = f"https://{text}/"
    assert isinstance(unicode_host(host_of(link)), str)


@PROFILE
@given(st.from_regex(r"[a-zäßéあ0-9-]{1,8}(\.[a-zäあ]{1,6}){1,2}", fullmatch=True))
def test_both_spellings_lead_to_the_same_host(name: str) -> None:
    try:
        plain = PUBLIC.check(f"https://{name}/").host
    except ValueError:
        return
    assert re.fullmatch(r"[a-z0-9._-]+", plain)
    assert ascii_host(unicode_host(plain)) == plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Evil.Example.", "evil.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("zip", "zip"),
        ("192.0.2.7", "192.0.2.7"),
    ],
)
def test_a_domain_is_written_as_it_is_compared(text: str, expected: str) -> None:
    assert domain(text) == expected
    assert domain(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "a..b", ".evil.example", "*.evil.example", "https://evil.example",
        "evil.example/a", "evil.example:443", "[::1]", "0.0.0.0 evil.example", "1.2.3", "0x7f.1",
        "a." * 127 + "com",
        f"{'a' * 64}.com", "a%62.example", "xn--.com",
    ],
)  # fmt: skip
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        domain(text)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("evil.example", "evil.example"),
        ("www.evil.example", "evil.example"),
        ("a.b.c.evil.example", "evil.example"),
        ("notevil.example", None),
        ("evil.example.org", None),
        ("example", None),
        ("", None),
        ("a.zip", "zip"),
    ],
)
def test_a_domain_holds_what_lies_below_it_and_nothing_else(host: str, found: str | None) -> None:
    assert listed(host, {"evil.example", "zip"}) == found


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/a",
        "HTTPS://WWW.EVIL.EXAMPLE.:8443/",
        "https://ｅvil.example/",
        "https://evil。example/",
        "https://bücher.example/",
        "https://shop.BÜCHER.example/",
        "https://xn--bcher-kva.example/",
    ],
)
def test_a_denied_domain_is_known_in_every_spelling(link: str) -> None:
    denied = frozenset({"evil.example", "xn--bcher-kva.example"})
    policy = DestinationPolicy(WEB, "https://qr.example", denied=denied)
    with pytest.raises(ValueError, match=r"not allowed here \(setting codes.denied_domains\)"):
        policy.check(link)
    PUBLIC.check(link)


def test_other_schemes_with_a_host_are_held_against_the_same_rules() -> None:
    schemes = frozenset({"ftp", "mailto"})
    policy = DestinationPolicy(schemes, "https://qr.example", denied=frozenset({"evil.example"}))
    policy.check("mailto:someone@evil.example")
    for link in ("ftp://evil.example/", "ftp://127.0.0.1/", "ftp://user:pw@a.example/"):
        with pytest.raises(ValueError, match=r"not allowed here|public internet|password"):
            policy.check(link)


def test_a_refused_password_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="must not hold") as caught:
        PUBLIC.check("https://someone:hunter2@example.com/")
    assert "hunter2" not in str(caught.value)
    assert "someone" not in str(caught.value)


def test_no_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a name was looked up")

    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        monkeypatch.setattr(f"socket.{name}", fail)
    assert PUBLIC.check("https://www.example.com/").host == "www.example.com"
    assert not is_private("www.example.com")
