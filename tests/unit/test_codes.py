from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlsplit
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.domain.codes import (
    CROCKFORD,
    MAX_LOCATION,
    CodeChanges,
    CodeDraft,
    DestinationPolicy,
    State,
    changes_rules,
    check_slug,
    check_tags,
    draft_rules,
    forwarded,
    is_slug,
    location,
    random_slug,
    short_link,
    slug_key,
    state,
    validity_rule,
    with_query,
)
from core.domain.validation import collect
from tests.samples import make_code
from tests.unit.zones import PROFILE

NOW = datetime(2026, 5, 6, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

CODE = make_code(UUID(int=2), slug="7KQ2VX9B")

POLICY = DestinationPolicy(frozenset({"http", "https"}), "https://qr.example")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, State.OPEN),
        ({"active": False}, State.SWITCHED_OFF),
        ({"valid_from": NOW}, State.OPEN),
        ({"valid_from": NOW + timedelta(microseconds=1)}, State.NOT_YET),
        ({"valid_until": NOW + timedelta(microseconds=1)}, State.OPEN),
        ({"valid_until": NOW}, State.EXPIRED),
        ({"valid_from": NOW - HOUR, "valid_until": NOW + HOUR}, State.OPEN),
        ({"max_scans": 3, "scans_total": 2}, State.OPEN),
        ({"max_scans": 3, "scans_total": 3}, State.USED_UP),
        ({"max_scans": None, "scans_total": 10**9}, State.OPEN),
        ({"active": False, "valid_until": NOW}, State.SWITCHED_OFF),
    ],
)
def test_a_code_leads_on_within_its_validity_only(
    changes: dict[str, object], expected: State
) -> None:
    assert state(replace(CODE, **changes), NOW) is expected


@PROFILE
@given(st.binary(min_size=3, max_size=64))
def test_a_random_slug_is_a_slug_in_crockford_s_alphabet(entropy: bytes) -> None:
    slug = random_slug(entropy)
    assert len(slug) == len(entropy)
    assert set(slug) <= set(CROCKFORD)
    assert is_slug(slug)
    assert slug_key(slug) == slug


def test_every_character_of_the_alphabet_is_drawn_equally_often() -> None:
    drawn = random_slug(bytes(range(256)))
    assert {drawn.count(character) for character in CROCKFORD} == {8}
    assert len(set(CROCKFORD)) == 32


@PROFILE
@given(st.text(max_size=70))
@example("abc\n")
@example("ab")
@example("a" * 65)
@example("äbc")
@example("٣٣٣")
def test_a_slug_is_what_the_design_says_and_nothing_else(text: str) -> None:
    letters = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    expected = 3 <= len(text) <= 64 and set(text) <= letters
    assert is_slug(text) is expected
    if expected:
        check_slug(text)
    else:
        with pytest.raises(ValueError, match="3 to 64"):
            check_slug(text)


@PROFILE
@given(st.from_regex(r"[A-Za-z0-9_-]{3,64}", fullmatch=True))
def test_slugs_that_differ_in_case_are_one(slug: str) -> None:
    assert slug_key(slug.lower()) == slug_key(slug.upper()) == slug_key(slug)


@pytest.mark.parametrize(
    ("base", "slug", "expected"),
    [
        ("https://qr.example", "7KQ2VX9B", "HTTPS://QR.EXAMPLE/R/7KQ2VX9B"),
        ("https://qr.example", "spring-sale", "HTTPS://QR.EXAMPLE/R/SPRING-SALE"),
        ("http://127.0.0.1:8000", "ABC", "HTTP://127.0.0.1:8000/R/ABC"),
        ("https://qr.example/QR", "ABC", "HTTPS://QR.EXAMPLE/QR/R/ABC"),
        # No capitals where they would change the meaning, or would not help.
        ("https://example.com/codes", "ABC", "https://example.com/codes/r/ABC"),
        ("https://qr.example", "spring_sale", "https://qr.example/r/spring_sale"),
        ("https://straße.example", "ABC", "https://straße.example/r/ABC"),
        ("http://[::1]:8000", "ABC", "http://[::1]:8000/r/ABC"),
    ],
)
def test_a_compact_link_is_in_capitals_wherever_that_keeps_its_meaning(
    base: str, slug: str, expected: str
) -> None:
    assert short_link(base, slug, compact=True) == expected
    assert short_link(base, slug, compact=False) == f"{base}/r/{slug}"


@pytest.mark.parametrize(
    "destination",
    [
        "https://example.com",
        "HTTP://EXAMPLE.COM:8080/a?b=c#d",
        "https://example.com/ä?ö=ü#ß",
        "https://例え.jp/パス",
        "https://faß.de/",
        "https://example.com/@someone?to=a@b.example",
        "https://[2001:db8::1]:8443/",
        "https://[::ffff:192.0.2.1]/",
        "https://192.0.2.1:8443/",
        "https://a_b.example./",
        "https://xn--mller-kva.example/",
        f"https://{'a' * 63}.example/",
        f"https://example.com/{'a' * 2028}",
        "https://qr.example/",
        "https://qr.example/r",
        "https://qr.example/report/1",
        "https://qr.example:8443/r/ABC",
        "https://other.example/r/ABC",
        "https://example.com/?next=https://qr.example/r/ABC",
    ],
)
def test_an_ordinary_link_is_accepted(destination: str) -> None:
    POLICY.check(destination)


@pytest.mark.parametrize(
    ("destination", "reason"),
    [
        ("example.com", "with its scheme"),
        ("//example.com", "with its scheme"),
        ("javascript:alert(1)", "'javascript' is not allowed; allowed are: http, https"),
        ("JavaScript:alert(1)", "'javascript' is not allowed"),
        ("data:text/html,x", "'data' is not allowed"),
        ("ftp://example.com/", "'ftp' is not allowed"),
        ("https:example.com", "names no host"),
        ("https:///example.com", "names no host"),
        ("https://:8080/", "names no host"),
        ("https://user@/", "must not hold a user name or a password"),
        ("https://user:password@example.com/", "leave out what stands before the @"),
        ("https://@example.com/", "must not hold a user name"),
        ("https://someone@qr.example/r/ABC", "must not hold a user name"),
        ("https://localhost/", "'localhost' is not in the public internet"),
        ("https://a.example/\u202egnp.exe", "not allowed in a link; percent-encode it"),
        ("https://a.example/\xa0", "not allowed in a link"),
        ("https://a.example/\u200b", "not allowed in a link"),
        ("https://a.example/\u2028", "not allowed in a link"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:65536/", "not a link: Port out of range"),
        ("https://example.com:x/", "not a link"),
        ("https://[::1/", "not a link"),
        ("https://exa%6dple.com/", "is not a host name; write it without %"),
        ("https://a..ü/", "is not a host name"),
        (f"https://{'ü' * 70}.de/", "is not a host name"),
        ("https://example.com:8٠/", "not a link"),
        ("https://../", "a part of it is empty"),
        ("https://a..b/", "a part of it is empty"),
        ("https://.a/", "a part of it is empty"),
        ("https://a../", "a part of it is empty"),
        (f"https://{'a' * 64}.com/", "a part of it is longer than 63 characters"),
        (f"https://{'a.' * 127}com/", "it is longer than 253 characters"),
        ("https://exa!mple.com/", "it may have letters, digits, hyphens and underscores"),
        ("https://xn--/", "'xn--' stands for no other name"),
        ("https://xn--abc-/", "'xn--abc-' stands for no other name"),
        ("https://[::1]evil.com/", "is not a host name"),
        ("https://a[::1]/", "is not a host name"),
        ("https://[v1.x]/", "'v1.x' is not a host name, nor an IPv6 address"),
        ("https://[fe80::1%25eth0]/", "write it without %"),
        ("https://256.0.0.1/", "'256.0.0.1' is not a host name, nor an IPv4 address"),
        ("https://1.2.3/", "nor an IPv4 address"),
        ("https://0x7f.1/", "nor an IPv4 address"),
        ("https://１.2.3/", "nor an IPv4 address"),
        (f"https://a.example/{'é' * 600}", "the link is 3618 bytes long as it is sent"),
        ("https://example.com/\r\nSet-Cookie: a=b", r"'\\r' is not allowed in a link"),
        ("https://example.com/ x", "' ' is not allowed in a link; percent-encode it"),
        ("https://example.com\\@evil.example/", "not allowed in a link"),
        ("https://example.com/<b>", "'<' is not allowed"),
        ("https://example.com/\x00", "not allowed"),
        ("https://example.com/\ud800", "not allowed"),
        ("\thttps://example.com/", "not allowed"),
    ],
)
def test_a_link_that_leads_nowhere_or_astray_is_refused(destination: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        POLICY.check(destination)


@pytest.mark.parametrize(
    "destination",
    [
        "https://qr.example/r/ABC",
        "HTTPS://QR.EXAMPLE/R/ABC",
        "https://qr.example:443/r/ABC",
        "https://qr.example./r/ABC",
        "https://ｑr.example/r/ABC",
        "http://qr.example:443/r/ABC",
        "https://qr.example:80/r/ABC",
        # A browser or a proxy makes the same address of these.
        "http://qr.example/r/ABC",
        "https://qr.example/./r/ABC",
        "https://qr.example/a/../r/ABC",
        "https://qr.example//r/ABC",
        "https://qr.example/%72/ABC",
        "https://qr.example/%2e/r/ABC",
    ],
)
def test_a_link_to_a_short_link_of_this_service_is_refused(destination: str) -> None:
    with pytest.raises(ValueError, match="short link of this service"):
        POLICY.check(destination)


def test_own_links_are_known_by_port_and_path_too() -> None:
    policy = DestinationPolicy(frozenset({"https"}), "https://example.com:8443/codes")
    policy.check("https://example.com/codes/r/ABC")
    policy.check("https://example.com:8443/r/ABC")
    with pytest.raises(ValueError, match="short link"):
        policy.check("https://example.com:8443/Codes/r/ABC")


def test_further_schemes_are_a_setting() -> None:
    policy = DestinationPolicy(frozenset({"https", "mailto", "tel"}), "https://qr.example")
    policy.check("mailto:someone@example.com")
    policy.check("tel:+4930123456")
    with pytest.raises(ValueError, match="allowed are: https, mailto, tel"):
        policy.check("http://example.com")


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("https://example.com/a?b#c", "https://example.com/a?b#c"),
        ("https://example.com/100%25", "https://example.com/100%25"),
        ("https://example.com/ä ".strip(), "https://example.com/%C3%A4"),
        ("https://example.com/%C3%A4/ö", "https://example.com/%C3%A4/%C3%B6"),
        ("https://例え.jp:8080/パス", "https://xn--r8jz45g.jp:8080/%E3%83%91%E3%82%B9"),
        ("https://ü@bücher.example/", "https://%C3%BC@xn--bcher-kva.example/"),
        # The host that browsers go to; an older rule would make "fass.de" of it.
        ("https://faß.de/", "https://xn--fa-hia.de/"),
        ("https://Faß.Straße.de/", "https://xn--fa-hia.xn--strae-oqa.de/"),
        ("mailto:jürgen@example.com", "mailto:j%C3%BCrgen@example.com"),
    ],
)
def test_a_location_is_the_same_link_in_ascii(destination: str, expected: str) -> None:
    assert location(destination) == expected


LINKS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["https://", "http://", "mailto:", "", "//"]),
        st.text(max_size=20),
        st.sampled_from(["", ".example", "/", "?", "#", ":80", "]"]),
        st.text(max_size=20),
    ),
)


@PROFILE
@given(LINKS)
@example("https://example.com/\r\nX: y")
@example("https://example.com:8٠/")
@example("https://[fe80::1%ü]/")
@example("https://ß\u200c.example/\x85\u2028")
@example("\ud800")
def test_a_location_never_leaves_its_header(destination: str) -> None:
    try:
        header = location(destination)
    except ValueError:
        return
    assert re.fullmatch(r"[!-~]*", header)
    assert location(header) == header


@PROFILE
@given(
    path=st.text("abc/", max_size=8),
    query=st.lists(st.tuples(st.text("kl", min_size=1), st.text("vw")), max_size=3),
    fragment=st.text("f#?", max_size=4),
    added=st.lists(st.tuples(st.text("mn", min_size=1), st.text("xy&=#")), max_size=3),
)
def test_a_query_is_added_after_the_link_s_own_and_before_its_fragment(
    path: str, query: list[tuple[str, str]], fragment: str, added: list[tuple[str, str]]
) -> None:
    own = "&".join(f"{key}={value}" for key, value in query)
    link = f"https://example.com/{path}" + (f"?{own}" if own else "")
    link += f"#{fragment}" if fragment else ""
    more = "&".join(f"{key}={quote(value)}" for key, value in added)
    before, after = urlsplit(link), urlsplit(with_query(link, more))
    assert (after.netloc, after.path, after.fragment) == (
        before.netloc,
        before.path,
        before.fragment,
    )
    assert parse_qsl(after.query, keep_blank_values=True) == query + added


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("https://a.example/", "https://a.example/?x=1"),
        ("https://a.example/?", "https://a.example/?x=1"),
        ("https://a.example/?y=2", "https://a.example/?y=2&x=1"),
        ("https://a.example/?y=2&", "https://a.example/?y=2&x=1"),
        ("https://a.example/#part?", "https://a.example/?x=1#part?"),
    ],
)
def test_a_query_is_joined_with_the_sign_that_is_missing(destination: str, expected: str) -> None:
    assert with_query(destination, "x=1") == expected
    assert with_query(destination, "") == destination


def test_a_query_that_would_make_the_link_too_long_is_left_out_as_a_whole() -> None:
    link = "https://example.com/p?a=1#top"
    fitting = "q=" + "x" * (MAX_LOCATION - len(link) - len("&q="))
    assert len(forwarded(link, fitting)) == MAX_LOCATION
    assert forwarded(link, f"{fitting}x") == link
    assert forwarded(link, "") == link
    # Stored before there was a limit: it still leads on.
    long = f"https://example.com/{'é' * 2000}"
    assert forwarded(long, "q=1") == location(long)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ([" spring"], "begins or ends with a blank"),
        (["spring "], "begins or ends with a blank"),
        (["\u00a0"], "begins or ends with a blank"),
        (["spring", "Spring"], "named twice"),
        (["straße", "STRASSE"], "named twice"),
        (["spring\tsale"], "must be one line"),
    ],
)
def test_tags_that_look_alike_are_refused(tags: list[str], reason: str) -> None:
    check_tags(["spring", "summer sale"])
    check_tags([])
    with pytest.raises(ValueError, match=reason):
        check_tags(tags)


@pytest.mark.parametrize(
    ("start", "end", "problems"),
    [
        (NOW, NOW + HOUR, 0),
        (NOW, NOW, 1),
        (NOW + HOUR, NOW, 1),
        (None, NOW, 0),
        (NOW, None, 0),
        (None, None, 0),
    ],
)
def test_a_validity_ends_after_it_begins(
    start: datetime | None, end: datetime | None, problems: int
) -> None:
    found = validity_rule({"valid_from": start, "valid_until": end})
    assert [problem.field for problem in found] == ["valid_until"] * problems


def test_a_draft_names_everything_that_is_wrong_with_it() -> None:
    data = {
        "destination": "javascript:alert(1)",
        "slug": "a b",
        "title": "x" * 201,
        "tags": ["a", "A"],
        "active": "yes",
        "valid_from": "2026-05-06T12:00:00Z",
        "valid_until": "2026-05-06T13:00:00+02:00",
        "max_scans": 0,
        "forward_query": None,
        "colour": "red",
    }
    value, problems = collect(CodeDraft, data, draft_rules(POLICY.check))
    assert value is None
    assert sorted(problem.field for problem in problems) == [
        "active",
        "colour",
        "destination",
        "forward_query",
        "max_scans",
        "slug",
        "tags",
        "title",
        "valid_until",
    ]


def test_changes_may_leave_out_and_clear() -> None:
    value, problems = collect(CodeChanges, {"max_scans": None}, changes_rules(POLICY.check))
    assert problems == []
    assert value == CodeChanges(max_scans=None)
    _, problems = collect(CodeChanges, {"destination": None}, changes_rules(POLICY.check))
    assert [problem.field for problem in problems] == ["destination"]


@pytest.mark.parametrize("title", ["\n=1+1", "Menu\tspring", "Menu\nspring"])
def test_a_title_is_one_line(title: str) -> None:
    _, problems = collect(
        CodeDraft, {"destination": "https://a.example/", "title": title}, draft_rules(POLICY.check)
    )
    assert [problem.field for problem in problems] == ["title"]
    _, problems = collect(CodeChanges, {"title": title}, changes_rules(POLICY.check))
    assert [problem.field for problem in problems] == ["title"]


@pytest.mark.parametrize("value", [0, -1, 2**31, 2**63, 2**70, 1.5, "3", True])
def test_max_scans_is_a_number_that_every_database_holds(value: object) -> None:
    data = {"destination": "https://example.com/", "max_scans": value}
    _, problems = collect(CodeDraft, data, draft_rules(POLICY.check))
    assert [problem.field for problem in problems] == ["max_scans"]
