from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.domain.content_reading import read_content
from core.domain.contents import (
    CONTENT_TYPES,
    EPC_MAX_BYTES,
    MAX_ITEMS,
    Content,
    Email,
    Epc,
    Event,
    Geo,
    Link,
    MeCard,
    Phone,
    Sms,
    Text,
    VCard,
    Wifi,
    WifiSecurity,
)
from core.domain.images import ErrorCorrection
from core.errors import InvalidFields
from tests.unit.zones import PROFILE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "contents.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"^```json\n(.*?)^```\n\n```text\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL
)

IBAN = "DE71110220330123456789"


def encoded(kind: str, **fields: object) -> str:
    return read_content({"type": kind, **fields}).encode()


def problems(data: object, where: str = "content") -> dict[str, str]:
    with pytest.raises(InvalidFields) as caught:
        read_content(data, where)
    found = [(problem.field, problem.message) for problem in caught.value.problems]
    assert len({field for field, _ in found}) == len(found)
    return dict(found)


def wrong(kind: str, **fields: object) -> dict[str, str]:
    return {f.removeprefix("content."): m for f, m in problems({"type": kind, **fields}).items()}


# The page.


@pytest.mark.parametrize(("document", "shown"), EXAMPLES)
def test_the_page_shows_what_its_examples_give(document: str, shown: str) -> None:
    assert read_content(json.loads(document)).encode().replace("\r\n", "\n").rstrip("\n") == shown


def test_every_box_of_the_page_belongs_to_an_example_and_every_type_has_one() -> None:
    assert PAGE.count("```json\n") == PAGE.count("```text\n") == len(EXAMPLES)
    assert {json.loads(document)["type"] for document, _ in EXAMPLES} == set(CONTENT_TYPES)
    assert re.findall(r"^## (\w+):", PAGE, re.MULTILINE) == list(CONTENT_TYPES)


def test_the_table_of_the_page_names_every_field() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|(.*)\|.*\|$", PAGE, re.MULTILINE)
    told = {kind: set(re.findall(r"`(\w+)`", fields + more)) for kind, fields, more in rows}
    kinds = dict(zip(CONTENT_TYPES, Content.__args__, strict=True))
    told = {kind: fields - {"nopass"} for kind, fields in told.items() if kind in kinds}
    assert told == {kind: set(cls.__struct_fields__) for kind, cls in kinds.items()}


# Documents.


def test_a_plain_string_is_a_text() -> None:
    assert read_content("BEGIN:VCARD\r\n\x1d") == Text("BEGIN:VCARD\r\n\x1d")
    assert encoded("text", text="a\r\n\x1db ") == "a\r\n\x1db "


@pytest.mark.parametrize("text", ["", "a\0b", "a\ud800b"])
def test_a_text_that_no_symbol_or_database_holds_is_refused(text: str) -> None:
    assert list(problems(text, "TEXT")) == ["TEXT"]
    assert list(wrong("text", text=text)) == ["text"]


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        (None, "content", "is required"),
        (5, "content", "got 5"),
        ([], "content", "got a list"),
        ({}, "content.type", "is required; known types are: link, text, wifi"),
        ({"type": "fax"}, "content.type", "there is no type 'fax'; known are: link, text, wifi"),
        ({"type": None}, "content.type", "must be a text; known types are: link"),
        ({"type": ["link"]}, "content.type", "must be a text; known types are: link"),
        ({"type": "link"}, "content.url", "is required"),
        ({"type": "text", "text": 5}, "content.text", "must be text; got 5"),
        ({"type": "phone", "number": "112", "x": 1}, "content.x", "unknown; known are: number"),
    ],
)
def test_what_is_no_document_is_refused(data: object, field: str, message: str) -> None:
    found = problems(data)
    assert list(found) == [field]
    assert message in found[field]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    found = wrong(
        "vcard",
        nme="Ada",
        birthday="10.12.1815",
        emails=["ada@example.com", "ada"],
        urls="example.com",
        phones=[{"number": "112", "types": ["mobile"]}, {"type": "work"}, 7, "twelve"],
        addresses=[{}, {"city": 5}, {"city": "London", "zip": "W1"}],
    )
    assert sorted(found) == [
        "addresses[0].street",
        "addresses[1].city",
        "addresses[2].zip",
        "birthday",
        "emails[1]",
        "last_name",
        "nme",
        "phones[0].types[0]",
        "phones[1].number",
        "phones[1].type",
        "phones[2]",
        "phones[3].number",
        "urls[0]",
    ]


def test_problems_are_told_below_the_name_that_is_given() -> None:
    assert list(problems({"type": "geo", "latitude": 91, "longitude": 0}, "item[2].content")) == [
        "item[2].content.latitude"
    ]


def test_a_list_that_is_far_too_long_is_one_problem() -> None:
    found = wrong("vcard", last_name="Doe", phones=["x"] * (MAX_ITEMS + 1))
    assert list(found) == ["phones"]
    assert "at most 20" in found["phones"]


# Links.


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://example.com/a?b=c#d", "https://example.com/a?b=c#d"),
        ("https://straße.example/ä", "https://xn--strae-oqa.example/%C3%A4"),
    ],
)
def test_a_link_is_encoded_as_a_uri(url: str, text: str) -> None:
    assert encoded("link", url=url) == text


@pytest.mark.parametrize(
    "url", ["ftp://example.com", "javascript:alert(1)", "example.com", "https://", "https://a b"]
)
def test_a_link_is_a_web_page(url: str) -> None:
    found = wrong("link", url=url)
    assert list(found) == ["url"]
    assert repr(url) in found["url"]


# Wi-Fi.


def test_the_examples_of_zxing_for_wifi() -> None:
    assert Wifi("mynetwork", "mypass").encode() == "WIFI:T:WPA;S:mynetwork;P:mypass;;"
    assert Wifi('"foo;bar\\baz"', security=WifiSecurity.OPEN).encode() == (
        r"WIFI:T:nopass;S:\"foo\;bar\\baz\";;"
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"password": "12345678"}, "WIFI:T:WPA;S:net;P:12345678;;"),
        ({"password": "ab" * 32}, f"WIFI:T:WPA;S:net;P:{'ab' * 32};;"),
        ({"password": "x" * 63, "hidden": True}, f"WIFI:T:WPA;S:net;P:{'x' * 63};H:true;;"),
        ({"password": "x", "security": "SAE"}, "WIFI:T:SAE;S:net;P:x;;"),
        (
            {"password": "12345678", "transition_disable": True},
            "WIFI:T:WPA;R:1;S:net;P:12345678;;",
        ),
        ({"password": "12345", "security": "WEP"}, "WIFI:T:WEP;S:net;P:12345;;"),
        ({"password": "0123456789", "security": "WEP"}, "WIFI:T:WEP;S:net;P:0123456789;;"),
        ({"security": "nopass"}, "WIFI:T:nopass;S:net;;"),
        (
            {"security": "WPA2-EAP", "eap": "TTLS", "anonymous_identity": "a", "identity": "b:"},
            r"WIFI:T:WPA2-EAP;S:net;E:TTLS;A:a;I:b\:;;",
        ),
    ],
)
def test_a_network(fields: dict[str, object], text: str) -> None:
    assert encoded("wifi", ssid="net", **fields) == text


def test_a_name_of_hexadecimal_digits_is_not_quoted() -> None:
    assert encoded("wifi", ssid="CAFE", security="nopass") == "WIFI:T:nopass;S:CAFE;;"


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"ssid": "", "password": "12345678"}, "ssid", "must not be empty"),
        ({"ssid": "é" * 17, "password": "12345678"}, "ssid", "34 bytes"),
        ({"ssid": "a\nb", "password": "12345678"}, "ssid", r"'\n'"),
        ({"password": "1234567"}, "password", "has 7 bytes; a WPA passphrase has 8 to 63"),
        ({"password": "x" * 64}, "password", "64 hexadecimal"),
        ({}, "password", 'an open network has security "nopass"'),
        ({"security": "WEP", "password": "123456"}, "password", "5 or 13"),
        ({"security": "WEP", "password": "x" * 10}, "password", "hexadecimal"),
        ({"security": "SAE", "password": "x" * 64}, "password", "at most 63"),
        ({"security": "nopass", "password": "x"}, "password", "leave it out"),
        ({"security": "WPA2-EAP"}, "eap", "is required with security WPA2-EAP"),
        ({"security": "WPA2-EAP", "eap": "PE;AP"}, "eap", "'PE;AP'"),
        ({"password": "12345678", "identity": "ada"}, "identity", "'ada'"),
        ({"security": "nopass", "transition_disable": True}, "transition_disable", "nopass"),
        ({"security": "WPA3", "password": ""}, "security", "nopass, WEP, WPA, SAE, WPA2-EAP"),
        ({"password": "12345678", "hidden": "yes"}, "hidden", "true or false"),
    ],
)
def test_a_network_that_cannot_be_is_refused(
    fields: dict[str, object], field: str, message: str
) -> None:
    found = wrong("wifi", **{"ssid": "net", **fields})
    assert list(found) == [field]
    assert message in found[field]


@pytest.mark.parametrize("password", [1234567890, "hunter2", "hunter2\n", "hunter2" * 10])
def test_a_message_does_not_repeat_a_password(password: object) -> None:
    found = problems({"type": "wifi", "ssid": "net", "password": password, "x": 1})
    assert "1234567890" not in str(found)
    assert "hunter2" not in str(found)


# Contacts.


def test_a_vcard_has_what_rfc_2426_requires_and_lines_that_end_with_crlf() -> None:
    text = encoded("vcard", first_name="Ada", last_name="Lovelace", prefix="Lady", phones="112")
    assert text == (
        "BEGIN:VCARD\r\nVERSION:3.0\r\nN:Lovelace;Ada;;Lady;\r\nFN:Lady Ada Lovelace\r\n"
        "TEL:112\r\nEND:VCARD\r\n"
    )


def test_a_vcard_escapes_as_rfc_2426_says() -> None:
    text = encoded(
        "vcard",
        full_name="A; B, C: \\D",
        organization="O;P",
        department="Q,R",
        note="one\r\ntwo\u2028three\rfour",
        urls=["https://example.com/a;b,c"],
        phones=[{"number": "+49 30/1234-56", "types": ["work", "cell"]}],
    )
    assert text.split("\r\n")[2:-2] == [
        r"N:A\; B\, C: \\D;;;;",
        r"FN:A\; B\, C: \\D",
        r"ORG:O\;P;Q\,R",
        "TEL;TYPE=WORK,CELL:+4930123456",
        "URL:https://example.com/a;b,c",
        r"NOTE:one\ntwo\nthree\nfour",
    ]


@pytest.mark.parametrize(
    ("kind", "fields", "field", "message"),
    [
        ("vcard", {}, "last_name", "unless first_name or full_name or organization is given"),
        ("vcard", {"last_name": "  "}, "last_name", "is required"),
        ("vcard", {"last_name": "a\nTEL:1"}, "last_name", "in one line; got 'a\\nTEL:1'"),
        ("vcard", {"last_name": "a", "title": "b\x85c"}, "title", "line break"),
        ("vcard", {"last_name": "a", "note": "b\0c"}, "note", "control character"),
        ("vcard", {"last_name": "a", "birthday": "2026-02-30"}, "birthday", "'2026-02-30'"),
        ("vcard", {"last_name": "a", "emails": ["a@b "]}, "emails[0]", "blank"),
        ("vcard", {"last_name": "a", "urls": ["mailto:a@b"]}, "urls[0]", "'mailto'"),
        ("mecard", {}, "last_name", "is required"),
        ("mecard", {"last_name": "a", "url": "x"}, "url", "scheme"),
        ("mecard", {"last_name": "a", "phones": ["1", "22"]}, "phones[0]", "'1'"),
        ("mecard", {"last_name": "a", "note": "b\nc"}, "note", "one line"),
    ],
)
def test_a_contact_that_cannot_be_is_refused(
    kind: str, fields: dict[str, object], field: str, message: str
) -> None:
    found = wrong(kind, **fields)
    assert list(found) == [field]
    assert message in found[field]


def test_a_mecard_of_zxing_s_example() -> None:
    assert encoded(
        "mecard",
        first_name="Sean",
        last_name="Owen",
        address="76 9th Avenue, 4th Floor, New York, NY 10011",
        phones="12125551212",
        emails="srowen@example.com",
    ) == (
        r"MECARD:N:Owen,Sean;TEL:12125551212;EMAIL:srowen@example.com;"
        r"ADR:76 9th Avenue\, 4th Floor\, New York\, NY 10011;;"
    )


def test_a_mecard_with_everything() -> None:
    assert encoded(
        "mecard",
        last_name="山田",
        reading="ヤマダ",
        nickname="y;m",
        organization="O:P",
        url="https://example.com",
        birthday="1990-05-01",
        note="a\\b",
    ) == (
        r"MECARD:N:山田;SOUND:ヤマダ;NICKNAME:y\;m;ORG:O\:P;URL:https\://example.com;"
        r"BDAY:19900501;NOTE:a\\b;;"
    )
    assert encoded("mecard", organization="A,B") == r"MECARD:N:A\,B;ORG:A\,B;;"


# Messages and calls.


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        # The examples of RFC 6068, sections 5 and 6.
        ({"to": "chris@example.com"}, "mailto:chris@example.com"),
        (
            {"to": "infobot@example.com", "subject": "current-issue"},
            "mailto:infobot@example.com?subject=current-issue",
        ),
        (
            {"to": "infobot@example.com", "body": "send current-issue\nsend index"},
            "mailto:infobot@example.com?body=send%20current-issue%0D%0Asend%20index",
        ),
        (
            {"to": "joe@example.com", "cc": "bob@example.com", "body": "hello"},
            "mailto:joe@example.com?cc=bob@example.com&body=hello",
        ),
        ({"to": "gorby%kremvax@example.com"}, "mailto:gorby%25kremvax@example.com"),
        ({"to": "unlikely?address@example.com"}, "mailto:unlikely%3Faddress@example.com"),
        ({"to": "Mike&family@example.org"}, "mailto:Mike%26family@example.org"),
        (
            {"to": "user@example.org", "subject": "café", "body": "café"},
            "mailto:user@example.org?subject=caf%C3%A9&body=caf%C3%A9",
        ),
        (
            {"to": "user@納豆.example.org", "subject": "Test", "body": "NATTO"},
            "mailto:user@%E7%B4%8D%E8%B1%86.example.org?subject=Test&body=NATTO",
        ),
        ({"to": ["a@b.c", "d,e@f.g"], "bcc": ["h@i.j"]}, "mailto:a@b.c,d%2Ce@f.g?bcc=h@i.j"),
    ],
)
def test_a_message_by_e_mail(fields: dict[str, object], text: str) -> None:
    assert encoded("email", **fields) == text


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "to"),
        ({"to": []}, "to"),
        ({"to": ""}, "to"),
        ({"to": [""]}, "to[0]"),
        ({"to": ["a@b.c", "a@b.c?bcc=x"]}, None),
        ({"to": "a@b.c\nBcc: d@e.f"}, "to[0]"),
        ({"to": "a@b.c", "cc": ["x"]}, "cc[0]"),
        ({"to": "a@b.c", "subject": "x\ny"}, "subject"),
    ],
)
def test_an_e_mail_goes_to_whom_it_says(fields: dict[str, object], field: str | None) -> None:
    if field is None:
        # Odd, but an address; what matters is that it stays one.
        assert encoded("email", **fields) == "mailto:a@b.c,a@b.c%3Fbcc%3Dx"
    else:
        assert list(wrong("email", **fields)) == [field]


def test_a_short_message() -> None:
    assert encoded("sms", number="+1 (510) 555-0101") == "SMSTO:+15105550101"
    assert encoded("sms", number="112", message="a:b;\nc") == "SMSTO:112:a:b;\nc"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("+1-201-555-0123", "tel:+12015550123"),
        ("+49\u00a0(30)\u202f90\u201118.20", "tel:+4930901820"),
        (" 030 / 90 18 20 ", "tel:030901820"),
        ("110", "tel:110"),
    ],
)
def test_a_call_is_encoded_without_separators(number: str, text: str) -> None:
    assert encoded("phone", number=number) == text


@pytest.mark.parametrize(
    "number",
    [
        "",
        "1",
        "+",
        "+0123456",
        "+1234",
        "+1234567890123456",
        "1" * 21,
        "++4930",
        "0800-FLOWERS",
        "*100#",
        "112;ext=5",
        "٠٣٠٩٠١٨٢٠",
        "+49 (0)30 901820",
        "030\n112",
        "030,112",
        "4" * 61,
    ],
)
def test_what_cannot_be_dialled_is_refused(number: str) -> None:
    for kind in ("phone", "sms"):
        found = wrong(kind, number=number)
        assert list(found) == ["number"]
        assert repr(number)[:50] in found["number"]


# Places.


@pytest.mark.parametrize(
    ("place", "text"),
    [
        # The examples of RFC 5870, sections 1 and 6.
        ((13.4125, 103.8667), "geo:13.4125,103.8667"),
        ((48.2010, 16.3695, 183), "geo:48.201,16.3695,183"),
        ((90, -180), "geo:90,-180"),
        ((-0.0, 0), "geo:0,0"),
        ((1e-7, -1.5e-5, -12.5), "geo:0.0000001,-0.000015,-12.5"),
        ((1e-300, 5e-324, 1e8), "geo:0,0,100000000"),
        ((52.516274999999997, 13.1), "geo:52.516275,13.1"),
    ],
)
def test_a_place(place: tuple[float, ...], text: str) -> None:
    names = ("latitude", "longitude", "altitude")
    assert encoded("geo", **dict(zip(names, place, strict=False))) == text


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"latitude": 90.000001}, "latitude"),
        ({"latitude": -91}, "latitude"),
        ({"longitude": 180.5}, "longitude"),
        ({"longitude": float("nan")}, "longitude"),
        ({"latitude": float("inf")}, "latitude"),
        ({"altitude": float("-inf")}, "altitude"),
        ({"altitude": 1e300}, "altitude"),
        ({"latitude": "52.5"}, "latitude"),
        ({"latitude": True}, "latitude"),
        ({"longitude": None}, "longitude"),
    ],
)
def test_a_place_lies_on_earth(fields: dict[str, object], field: str) -> None:
    assert list(wrong("geo", **{"latitude": 1, "longitude": 2, **fields})) == [field]


# Events.


def test_an_event_is_written_in_utc_and_without_a_calendar() -> None:
    assert encoded(
        "event",
        summary="Bastille Day Party; again, \\o/",
        start="1997-07-14T19:00:00+02:00",
        end="1997-07-15T03:59:59Z",
        description="a\r\nb",
    ) == (
        "BEGIN:VEVENT\r\nSUMMARY:Bastille Day Party\\; again\\, \\\\o/\r\n"
        "DTSTART:19970714T170000Z\r\nDTEND:19970715T035959Z\r\nDESCRIPTION:a\\nb\r\nEND:VEVENT\r\n"
    )


def test_an_event_of_whole_days_and_one_of_an_early_year() -> None:
    assert "DTSTART;VALUE=DATE:20240229\r\nDTEND;VALUE=DATE:20240301\r\n" in encoded(
        "event", summary="x", start="2024-02-29", end="2024-03-01"
    )
    assert "DTSTART:00090101T000000Z\r\nEND" in encoded(
        "event", summary="x", start="0009-01-01T00:00:00Z"
    )


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"summary": " "}, "summary", "blank"),
        ({"summary": "a\r\nDTSTART:19990101"}, "summary", "line break"),
        ({"location": "a\u2028b"}, "location", "line break"),
        ({"start": "2026-05-01T10:00:00"}, "start", "offset"),
        ({"start": "tomorrow"}, "start", "'tomorrow'"),
        ({"start": "2026-02-30"}, "start", "'2026-02-30'"),
        ({"start": ""}, "start", "''"),
        ({"start": "2026-05-01T10:00:00.5Z"}, "start", "fraction"),
        ({"start": "0001-01-01T00:00:00+14:00"}, "start", "0001"),
        ({"end": "2026-05-01T10:00:00Z"}, "end", "later than the start"),
        ({"end": "2026-05-01T11:00:00+05:00"}, "end", "later than the start"),
        ({"end": "2026-05-02"}, "end", "both as dates"),
        ({"start": "2026-05-01", "end": "2026-05-01"}, "end", "the day after the last"),
        ({"end": 5}, "end", "text"),
    ],
)
def test_an_event_that_cannot_be_is_refused(
    fields: dict[str, object], field: str, message: str
) -> None:
    found = wrong("event", **{"summary": "x", "start": "2026-05-01T10:00:00Z", **fields})
    assert list(found) == [field]
    assert message in found[field]


# Payments.


def test_the_example_of_the_european_payments_council() -> None:
    assert encoded(
        "epc",
        version="001",
        bic="BHBLDEHHXXX",
        name="Franz Mustermänn",
        iban=IBAN,
        amount=12.3,
        purpose="GDDS",
        reference="RF18539007547034",
    ) == (
        "BCD\n001\n1\nSCT\nBHBLDEHHXXX\nFranz Mustermänn\nDE71110220330123456789\nEUR12.3\nGDDS\n"
        "RF18539007547034"
    )


def test_a_payment_without_anything_optional_ends_with_the_iban() -> None:
    text = encoded("epc", name="A", iban="de71 1102 2033 0123 4567 89")
    assert text == f"BCD\n002\n1\nSCT\n\nA\n{IBAN}"


def test_a_payment_asks_for_error_correction_m() -> None:
    assert Epc.limits.lowest is ErrorCorrection.M
    assert Link.limits.lowest is ErrorCorrection.L


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0.01", "EUR0.01"),
        (0.01, "EUR0.01"),
        (0.07, "EUR0.07"),
        ("999999999.99", "EUR999999999.99"),
        (999999999.99, "EUR999999999.99"),
        (1100, "EUR1100"),
        ("10.00", "EUR10"),
        ("1e2", "EUR100"),
        ("12.50", "EUR12.5"),
        (Decimal("1234567.89"), "EUR1234567.89"),
    ],
)
def test_an_amount_is_exact(amount: object, text: str) -> None:
    assert encoded("epc", name="A", iban=IBAN, amount=amount).endswith(f"\n{text}")


@pytest.mark.parametrize(
    "amount",
    [
        "0",
        "-1",
        "0.001",
        "0.009",
        "1000000000",
        "999999999.995",
        0.1 + 0.2,
        "1E+999999999",
        "NaN",
        "Infinity",
        "sNaN",
        "1,5",
        "",
        "1_0",
        " 5",
        "٥",
        True,
        [],
        "EUR5",
        "1E-999999999",
    ],
)
def test_an_amount_that_no_bank_takes_is_refused(amount: object) -> None:
    found = wrong("epc", name="A", iban=IBAN, amount=amount)
    assert list(found) == ["amount"]
    assert str(amount) in found["amount"]


@pytest.mark.parametrize(
    "iban",
    [
        "DE89370400440532013000",
        "GB29NWBK60161331926819",
        "FR1420041010050500013M02606",
        "NL91ABNA0417164300",
        "NO9386011117947",
        "MT84MALT011000012345MTLCAST001S",
        "BR1800360305000010009795493C1",
        "CH93 0076 2011 6238 5295 7",
    ],
)
def test_the_registry_s_examples_are_ibans(iban: str) -> None:
    assert encoded("epc", name="A", iban=iban).endswith(iban.replace(" ", ""))


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"name": ""}, "name", "empty"),
        ({"name": "x" * 71}, "name", "at most 70"),
        ({"name": "x\nDE00"}, "name", "one line"),
        ({"iban": "DE71110220330123456788"}, "iban", "check digits"),
        ({"iban": "DE7111022033012345678"}, "iban", "an IBAN of DE has 22"),
        ({"iban": "71110220330123456789"}, "iban", "is not an IBAN"),
        ({"iban": ""}, "iban", "is not an IBAN"),
        ({"bic": "BHBLDEHHX"}, "bic", "8 or 11"),
        ({"bic": "ßHBLDEH"}, "bic", "8 or 11"),
        ({"version": "001"}, "bic", 'version "002"'),
        ({"version": "003"}, "version", "001, 002"),
        ({"purpose": "GDDSX"}, "purpose", "at most 4"),
        ({"reference": "RF19539007547034"}, "reference", "check digits"),
        ({"reference": "INVOICE 5"}, "reference", "put any other into text"),
        ({"reference": "RF18539007547034", "text": "x"}, "text", "leave out one"),
        ({"text": "x" * 141}, "text", "at most 140"),
        ({"text": "a\nb"}, "text", "one line"),
        ({"information": "x" * 71}, "information", "at most 70"),
        ({"text": "€" * 140}, "text", f"at most {EPC_MAX_BYTES}"),
    ],
)
def test_a_payment_that_cannot_be_is_refused(
    fields: dict[str, object], field: str, message: str
) -> None:
    found = wrong("epc", **{"name": "A", "iban": IBAN, **fields})
    assert list(found) == [field]
    assert message in found[field]


def test_a_payment_may_be_as_long_as_the_standard_allows_and_no_longer() -> None:
    fields = {"name": "é" * 70, "iban": IBAN, "amount": "1", "text": "x" * 140}
    longest = EPC_MAX_BYTES - len(encoded("epc", **fields).encode()) - 1
    payment = encoded("epc", **fields, information="x" * longest)
    assert len(payment.encode()) == EPC_MAX_BYTES
    assert list(wrong("epc", **fields, information="x" * (longest + 1))) == ["text"]


# Whatever is sent: nothing ends its field, and everything can be stored.

SPECIAL = st.sampled_from([*"\\;,:\"'?&=%#+ ", "TEL:", "\\n", ";;", "END:VCARD", ";P:x"])
CHARACTERS = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
LINE = st.lists(SPECIAL | CHARACTERS, max_size=20).map("".join)
FILLED = LINE.filter(str.strip)
LINES = st.lists(LINE, max_size=4).map("\n".join)
INSTANTS = st.datetimes(
    datetime.fromisoformat("0002-01-01"),
    datetime.fromisoformat("9998-01-01"),
    timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))),
).map(lambda moment: moment.replace(microsecond=0))


def short_fields(text: str) -> list[tuple[str, str]]:
    """The fields of WIFI: and MECARD:, read by a small machine of its own."""
    found, name, value, escaped = [], None, "", False
    for character in text:
        if escaped:
            value, escaped = value + character, False
        elif character == "\\":
            escaped = True
        elif character == ":" and name is None:
            name, value = value, ""
        elif character == ";":
            found.append((name or "", value))
            name, value = None, ""
        else:
            assert character != ":"
            value += character
    assert found.pop() == ("", "")
    assert (name, value, escaped) == (None, "", False)
    return found


def properties(text: str, kind: str) -> dict[str, list[str]]:
    """The properties of a vCard or an event, each in its components."""
    assert text.endswith("\r\n")
    lines = text[:-2].split("\r\n")
    assert lines[0] == f"BEGIN:{kind}"
    assert lines[-1] == f"END:{kind}"
    assert not any("\n" in line or "\r" in line for line in lines)
    return {name: list(components(value)) for name, _, value in (x.partition(":") for x in lines)}


def components(value: str) -> Iterator[str]:
    part, rest = "", iter(value)
    for character in rest:
        if character == "\\":
            following = next(rest)
            part += "\n" if following == "n" else following
        elif character == ";":
            yield part
            part = ""
        else:
            assert character != ","
            part += character
    yield part


def stored(content: Content) -> Content:
    return read_content(msgspec.json.decode(msgspec.json.encode(content)))


@PROFILE
@given(FILLED.filter(lambda s: len(s.encode()) <= 32), LINE, LINE)
@example(";P:x", "\\", '"":;,')
@example("a\\", ";;", "H:true;")
def test_no_value_of_a_network_ends_its_field(ssid: str, password: str, identity: str) -> None:
    content = read_content(
        {
            "type": "wifi",
            "ssid": ssid,
            "security": "WPA2-EAP",
            "eap": "PEAP",
            "password": password,
            "identity": identity,
        }
    )
    head, rest = content.encode()[:5], content.encode()[5:]
    expected = [("T", "WPA2-EAP"), ("S", ssid), ("E", "PEAP"), ("I", identity), ("P", password)]
    assert (head, short_fields(rest)) == ("WIFI:", [field for field in expected if field[1]])
    assert stored(content) == content


@PROFILE
@given(FILLED, LINE, LINE)
def test_no_value_of_a_mecard_ends_its_field(name: str, address: str, note: str) -> None:
    content = read_content({"type": "mecard", "last_name": name, "address": address, "note": note})
    text = content.encode()
    assert text.startswith("MECARD:N:")
    expected = [("N", name), ("ADR", address), ("NOTE", note)]
    assert short_fields(text[7:]) == [field for field in expected if field[1]]
    assert stored(content) == content


@PROFILE
@given(FILLED, LINE, FILLED, LINES)
def test_no_value_of_a_vcard_ends_its_field(first: str, title: str, city: str, note: str) -> None:
    content = read_content(
        {
            "type": "vcard",
            "first_name": first,
            "title": title,
            "addresses": [{"city": city, "types": ["home"]}],
            "note": note,
        }
    )
    found = properties(content.encode(), "VCARD")
    assert found.pop("N") == ["", first, "", "", ""]
    assert found.pop("FN") == [first]
    assert found.pop("ADR;TYPE=HOME") == ["", "", "", city, "", "", ""]
    assert found.pop("TITLE", [""]) == [title]
    assert found.pop("NOTE", [""]) == [note]
    assert list(found) == ["BEGIN", "VERSION", "END"]
    assert stored(content) == content


@PROFILE
@given(FILLED, LINE, LINES, INSTANTS, st.integers(1, 10**7))
def test_no_value_of_an_event_ends_its_field_and_its_times_are_kept(
    summary: str, location: str, description: str, start: datetime, seconds: int
) -> None:
    end = start + timedelta(seconds=seconds)
    content = read_content(
        {
            "type": "event",
            "summary": summary,
            "start": start.isoformat(),
            "end": end.isoformat(),
            "location": location,
            "description": description,
        }
    )
    found = properties(content.encode(), "VEVENT")
    for name, moment in (("DTSTART", start), ("DTEND", end)):
        (text,) = found.pop(name)
        assert text.endswith("Z")
        assert datetime.fromisoformat(text).astimezone(UTC) == moment
    assert found.pop("SUMMARY") == [summary]
    assert found.pop("LOCATION", [""]) == [location]
    assert found.pop("DESCRIPTION", [""]) == [description]
    assert list(found) == ["BEGIN", "END"]
    assert stored(content) == content


@PROFILE
@given(LINE, LINES)
def test_no_value_of_an_e_mail_ends_its_field(subject: str, body: str) -> None:
    content = read_content({"type": "email", "to": "a@b.c", "subject": subject, "body": body})
    text = content.encode()
    parts = urlsplit(text)
    assert text.isascii()
    assert (parts.scheme, unquote(parts.path), parts.fragment) == ("mailto", "a@b.c", "")
    expected = [("subject", subject), ("body", body.replace("\n", "\r\n"))]
    assert parse_qsl(parts.query) == [field for field in expected if field[1]]
    assert stored(content) == content


@PROFILE
@given(FILLED, LINE, st.integers(1, 99_999_999_999))
def test_no_value_of_a_payment_ends_its_line(name: str, text: str, cents: int) -> None:
    amount = Decimal(cents) / 100
    # The text stays below the limit of the whole, which is tested above.
    document = {"type": "epc", "name": name[:15], "iban": IBAN, "amount": str(amount)}
    document["name"] = document["name"].strip() or "A"
    content = read_content({**document, "text": text[:15], "information": "end"})
    lines = content.encode().split("\n")
    assert len(lines) == 12
    assert (lines[5], lines[10], lines[11]) == (document["name"], text[:15], "end")
    assert Decimal(lines[7].removeprefix("EUR")) == amount
    assert re.fullmatch(r"EUR[0-9]{1,9}(\.[0-9]{1,2})?", lines[7])
    assert stored(content) == content


@PROFILE
@given(st.floats(-90, 90), st.floats(-180, 180))
def test_a_place_is_written_without_an_exponent_and_kept(north: float, east: float) -> None:
    content = read_content({"type": "geo", "latitude": north, "longitude": east})
    text = content.encode()
    assert re.fullmatch(r"geo:-?[0-9]+(\.[0-9]+)?,-?[0-9]+(\.[0-9]+)?", text)
    assert [float(part) for part in text[4:].split(",")] == pytest.approx([north, east], abs=1e-15)
    assert stored(content) == content


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@PROFILE
@given(st.data())
def test_whatever_is_sent_is_read_or_refused_by_field(data: Any) -> None:
    kind = data.draw(st.sampled_from(Content.__args__))
    fields = st.dictionaries(st.sampled_from(kind.__struct_fields__), JUNK, max_size=6)
    document = {**data.draw(fields), "type": kind.__struct_config__.tag}
    try:
        content = read_content(document)
    except InvalidFields:
        assert all(field.startswith("content.") for field in problems(document))
    else:
        assert content.encode().encode()


@pytest.mark.parametrize("document", [document for document, _ in EXAMPLES])
def test_a_document_is_the_same_after_it_was_stored(document: str) -> None:
    content = read_content(json.loads(document))
    again = stored(content)
    assert again == content
    assert type(again) is type(content)
    assert again.encode() == content.encode()
    assert msgspec.json.decode(msgspec.json.encode(content), type=Content) == content


def test_contents_can_be_made_without_json() -> None:
    assert Link("https://example.com").encode() == "https://example.com"
    assert Phone("+49 30 1").encode() == "tel:+49301"
    assert Sms("112", "Help").encode() == "SMSTO:112:Help"
    assert Geo(1.5, 2).encode() == "geo:1.5,2"
    assert Email(("a@b.c",)).encode() == "mailto:a@b.c"
    assert MeCard(last_name="A").encode() == "MECARD:N:A;;"
    assert VCard(full_name="A").encode().startswith("BEGIN:VCARD\r\nVERSION:3.0\r\nN:A;;;;\r\n")
    day = date(2026, 5, 1).isoformat()
    assert "DTSTART;VALUE=DATE:20260501\r\n" in Event("x", day).encode()
