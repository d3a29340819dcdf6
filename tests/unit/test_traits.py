"""Traits: what is read from headers, and what may never get into the counts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.traits import (
    COUNTRIES,
    Traits,
    known_country,
    preferred_language,
    referring_host,
)

HEADER = st.text(st.characters(), max_size=300) | st.binary(max_size=300).map(
    lambda raw: raw.decode("latin-1")
)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", ""),
        ("de", "de"),
        ("de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7", "de"),
        ("en;q=0.8, fr-CH, fr;q=0.9", "fr"),
        ("en;q=0.5,da;q=0.5", "en"),
        ("EN-us", "en"),
        ("zh-Hant-TW", "zh"),
        ("de_DE", "de"),
        ("fil-PH, en;q=0.9", "fil"),
        ("*", ""),
        ("*, de;q=0.5", "de"),
        ("de;q=0", ""),
        ("de;q=0.000, en;q=0.001", "en"),
        ("de ; q=0.3 , en ;q=0.4", "en"),
        ("de;Q=0.3, en;q=0.2", "de"),
        ("de;q=1.5, en;q=0.1", "en"),
        ("de;q=0.1234, en;q=0.1", "en"),
        ("i-klingon, x-pirate, c, deutsch, en;q=0.1", "en"),
        ("d\u00e9, \u0661\u0662, en", "en"),
        (";q=1,,", ""),
        ("de;level=1", ""),
    ],
)
def test_the_preferred_language_is_the_one_of_the_highest_quality(header, language):
    assert preferred_language(header) == language


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("", ""),
        ("https://www.Example.com/path?token=secret#part", "example.com"),
        ("http://example.com", "example.com"),
        ("HTTPS://EXAMPLE.COM:8443/", "example.com"),
        ("https://user:password@example.com/", "example.com"),
        ("https://example.com./", "example.com"),
        ("https://www.www.example/", "www.example"),
        ("https://m\u00fcnchen.example/", "xn--mnchen-3ya.example"),
        ("https://m\u00c3\u00bcnchen.example/", "xn--mnchen-3ya.example"),
        ("https://WWW.xn--mnchen-3ya.example/", "xn--mnchen-3ya.example"),
        ("https://my_shop.example/", "my_shop.example"),
        ("http://localhost:8000/", "localhost"),
        ("android-app://com.google.android.gm/", ""),
        ("ftp://example.com/", ""),
        ("about:blank", ""),
        ("example.com", ""),
        ("//example.com/", ""),
        ("https://", ""),
        ("https:///path", ""),
        ("https://192.0.2.7/", ""),
        ("https://[2001:db8::1]/", ""),
        ("https://[broken/", ""),
        ("https://a..b/", ""),
        ("https://a b.example/", ""),
        ("https://<script>/", ""),
        (f"https://{'a' * 50}.{'b' * 49}/", f"{'a' * 50}.{'b' * 49}"),
        (f"https://{'a' * 50}.{'b' * 50}/", ""),
        (f"https://www.{'a' * 50}.{'b' * 49}/", f"{'a' * 50}.{'b' * 49}"),
    ],
)
def test_of_a_referer_only_the_host_is_left(header, host):
    assert referring_host(header) == host


@pytest.mark.parametrize(
    ("code", "country"),
    [("DE", "DE"), ("de", "DE"), (" gb ", "GB"), ("XK", "XK"), ("XX", ""), ("T1", ""), ("", "")]
    + [(code, "") for code in ("EU", "AP", "A1", "UK", "DEU", "D", "\u00df")],
)
def test_a_country_is_one_that_the_standard_knows(code, country):
    assert known_country(code) == country


def test_there_are_as_many_countries_as_the_standard_has_and_kosovo():
    assert len(COUNTRIES) == 249 + 1


@settings(deadline=None)
@given(HEADER)
def test_no_header_is_refused_and_nothing_else_comes_out(header):
    language, host, country = (
        read(header) for read in (preferred_language, referring_host, known_country)
    )
    assert re.fullmatch(r"(?:[a-z]{2,3})?", language)
    assert re.fullmatch(r"[a-z0-9._-]{0,100}", host)
    assert re.fullmatch(r"(?:[A-Z]{2})?", country)
    Traits(language=language, referrer=host, country=country)


@settings(deadline=None)
@given(st.text(st.characters(), max_size=120))
def test_whatever_is_called_a_host_is_refused_or_kept_in_its_alphabet(name):
    assert re.fullmatch(r"[a-z0-9._-]{0,100}", referring_host(f"https://{name}/"))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["de", "en", "fr"]), st.integers(1, 1000)), min_size=1))
def test_no_other_entry_is_preferred_to_the_one_that_wins(entries):
    header = ", ".join(f"{language};q={quality / 1000:.3f}" for language, quality in entries)
    best = max(quality for _, quality in entries)
    first = next(language for language, quality in entries if quality == best)
    assert preferred_language(header) == first


@pytest.mark.parametrize(
    "wrong",
    [
        {"bot": 1},
        {"country": "de"},
        {"country": "XX"},
        {"device": "phone"},
        {"os": "iOS/17"},
        {"os": "x" * 41},
        {"browser": "<b>"},
        {"browser": " Chrome"},
        {"language": "DE"},
        {"language": "deutsch"},
        {"referrer": "https://example.com"},
        {"referrer": "a" * 101},
    ],
)
def test_traits_refuse_what_is_outside_their_alphabets_and_name_the_field(wrong):
    with pytest.raises(ValueError, match=rf"^{next(iter(wrong))}: must "):
        Traits(**wrong)
