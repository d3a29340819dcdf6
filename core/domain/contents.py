"""Contents: what a symbol can hold besides a short link, from a Wi-Fi network to a payment.

Each kind is a document with a `type`; `encode` gives the very text that readers expect of it. The
text says for ever what it says: such a code is not counted, and cannot be changed once printed.

Documents come in through `core.domain.content_reading`, which checks that no value can end its
field and begin another. What each kind follows stands in its docstring. "ZXing" is the wiki page
"Barcode Contents" of the ZXing project with its parsers (`core/src/main/java/com/google/zxing/`
`client/result`), whose conventions the readers in phones follow.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from core.domain.codes import Destination, location
from core.domain.images import ANY, ErrorCorrection, Limits

MAX_ITEMS = 20
"""How many phones, addresses or the like one document may list."""

EPC_MAX_BYTES = 331
"""The longest payment: what a version 13 symbol holds at level M (EPC069-12, section 2)."""

Line = Annotated[str, Meta(max_length=500)]
Number = Annotated[str, Meta(max_length=60)]
FilledLine = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"\S")]
Lines = Annotated[str, Meta(max_length=4000)]
Mailbox = Annotated[str, Meta(extra_json_schema={"format": "email"})]
Emails = Annotated[tuple[Mailbox, ...], Meta(max_length=MAX_ITEMS)]
Numbers = Annotated[tuple[Number, ...], Meta(max_length=MAX_ITEMS)]
Urls = Annotated[tuple[Destination, ...], Meta(max_length=MAX_ITEMS)]


_WIFI_SPECIAL = re.compile(r'[\\;,:"]')
_MECARD_SPECIAL = re.compile(r"[\\;,:]")
_TEXT_SPECIAL = re.compile(r"[\\;,]")
_SEPARATORS = re.compile(r"[\s().\-/\u2010-\u2015\u2212]")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class _Document(Struct, frozen=True, omit_defaults=True, tag_field="type"):
    """What all contents have in common."""

    limits: ClassVar[Limits] = ANY
    """What the content's own standard asks of the symbol."""

    def encode(self) -> str:
        """The exact text of the symbol."""
        raise NotImplementedError


class Link(_Document, frozen=True, tag="link"):
    """A web page, by its http or https address.

    Encoded as the ASCII-only URI (RFC 3986) that browsers make of it: readers guess the character
    set of other texts, and guess wrong.
    """

    url: Destination

    def encode(self) -> str:
        return location(self.url)


class Text(_Document, frozen=True, tag="text"):
    """Any text, exactly as it is."""

    text: Annotated[str, Meta(min_length=1)]

    def encode(self) -> str:
        return self.text


class WifiSecurity(enum.StrEnum):
    """How a network is secured, as the field T says it."""

    OPEN = "nopass"
    WEP = "WEP"
    WPA = "WPA"
    SAE = "SAE"
    EAP = "WPA2-EAP"


class Wifi(_Document, frozen=True, tag="wifi"):
    r"""A Wi-Fi network that a phone joins.

    The fields are those of the Wi-Fi Alliance's WPA3 Specification (version 3, section 7, "WIFI
    URI") and, for WEP and EAP, of ZXing. `security` WPA stands for WPA, WPA2 and WPA3 in transition
    mode; SAE for networks of WPA3 only. The specification would have those written as WPA as well,
    with R:1, which `transition_disable` adds; Android writes and reads SAE. EAP is for networks of
    organisations and takes `eap` (such as PEAP), `phase2` (such as MSCHAPV2), `identity` and
    `anonymous_identity`.

    `\`, `;`, `,`, `:` and `"` are escaped with a backslash, as phones expect it; they do not decode
    the specification's percent-encoding.

    NOTE: A name or password of hexadecimal digits is not put into quotation marks. ZXing's own
    Android app, long withdrawn, needed them for names; iPhones take them for a part of the value,
    and `12345678` would no longer open the network. A key of 64, 26 or 10 digits is meant as one.
    """

    ssid: Annotated[str, Meta(min_length=1)]
    password: str = ""
    security: WifiSecurity = WifiSecurity.WPA
    hidden: bool = False
    transition_disable: bool = False
    eap: str = ""
    phase2: str = ""
    identity: Line = ""
    anonymous_identity: Line = ""

    def encode(self) -> str:
        fields = (
            ("T", self.security.value),
            ("R", "1" if self.transition_disable else ""),
            ("S", self.ssid),
            ("E", self.eap),
            ("PH2", self.phase2),
            ("A", self.anonymous_identity),
            ("I", self.identity),
            ("P", self.password),
            ("H", "true" if self.hidden else ""),
        )
        return "WIFI:" + _short_fields(fields, _WIFI_SPECIAL)


class PhoneType(enum.StrEnum):
    """What a number in a vCard is for (RFC 2426, section 3.3.1)."""

    HOME = "home"
    WORK = "work"
    CELL = "cell"
    VOICE = "voice"
    FAX = "fax"
    MSG = "msg"
    PAGER = "pager"
    VIDEO = "video"
    CAR = "car"
    PREF = "pref"


class AddressType(enum.StrEnum):
    """What an address in a vCard is for (RFC 2426, section 3.2.1)."""

    HOME = "home"
    WORK = "work"
    POSTAL = "postal"
    PARCEL = "parcel"
    PREF = "pref"


class ContactPhone(Struct, frozen=True, omit_defaults=True):
    """A number of a contact, and what it is for."""

    number: Number
    types: tuple[PhoneType, ...] = ()


class ContactAddress(Struct, frozen=True, omit_defaults=True):
    """A postal address of a contact, in the parts that RFC 2426 (section 3.2.1) knows."""

    street: Line = ""
    city: Line = ""
    region: Line = ""
    postal_code: Line = ""
    country: Line = ""
    po_box: Line = ""
    extended: Line = ""
    types: tuple[AddressType, ...] = ()


class VCard(_Document, frozen=True, tag="vcard"):
    r"""A contact as vCard 3.0 (RFC 2426), the version that phones of either make read best.

    `full_name` is made of the others where it is left out; a company has its `organization` only.
    `\`, `,`, `;` and line breaks are escaped with a backslash (section 2.4.2), lines end with CRLF.
    URLs are not text and are written as they are. Lines are not folded: folding is for transports
    with short lines (section 2.6 only says SHOULD), and takes room that a symbol does not have.
    """

    first_name: Line = ""
    last_name: Line = ""
    middle_name: Line = ""
    prefix: Line = ""
    suffix: Line = ""
    full_name: Line = ""
    nickname: Line = ""
    organization: Line = ""
    department: Line = ""
    title: Line = ""
    phones: Annotated[tuple[ContactPhone, ...], Meta(max_length=MAX_ITEMS)] = ()
    emails: Emails = ()
    urls: Urls = ()
    addresses: Annotated[tuple[ContactAddress, ...], Meta(max_length=MAX_ITEMS)] = ()
    birthday: str = ""
    note: Lines = ""

    def encode(self) -> str:
        parts = (self.last_name, self.first_name, self.middle_name, self.prefix, self.suffix)
        if not any(map(str.strip, parts)):
            # Phones that sort and show by N would otherwise keep a contact without a name.
            parts = (self.full_name, "", "", "", "")
        lines = ["BEGIN:VCARD", "VERSION:3.0", f"N:{_components(parts)}"]
        lines.append(f"FN:{_escaped(self._shown_name(), _TEXT_SPECIAL)}")
        lines += _text_lines(("NICKNAME", self.nickname))
        if self.organization or self.department:
            units = (self.organization, *filter(None, (self.department,)))
            lines.append(f"ORG:{_components(units)}")
        lines += _text_lines(("TITLE", self.title))
        lines += [f"TEL{_types(phone.types)}:{dialled(phone.number)}" for phone in self.phones]
        lines += _text_lines(*(("EMAIL", email) for email in self.emails))
        lines += [f"URL:{location(url)}" for url in self.urls]
        lines += [f"ADR{_types(a.types)}:{_components(_delivery(a))}" for a in self.addresses]
        lines += _text_lines(("BDAY", self.birthday), ("NOTE", self.note))
        return _crlf([*lines, "END:VCARD"])

    def _shown_name(self) -> str:
        names = (self.prefix, self.first_name, self.middle_name, self.last_name, self.suffix)
        shown = (self.full_name, " ".join(filter(str.strip, names)), self.organization)
        return next(filter(str.strip, shown))


class MeCard(_Document, frozen=True, tag="mecard"):
    r"""A contact as MeCard (NTT DOCOMO, "Phonebook registration"): shorter than a vCard.

    `reading` is how the name is pronounced, in kana. `\`, `:`, `;` and `,` are escaped with a
    backslash; there is no way to write a line break. The organisation is ZXing's addition. The
    lengths that DOCOMO gives for the handsets of its time are not enforced.
    """

    first_name: Line = ""
    last_name: Line = ""
    reading: Line = ""
    nickname: Line = ""
    organization: Line = ""
    phones: Numbers = ()
    emails: Emails = ()
    url: Destination | None = None
    address: Line = ""
    birthday: str = ""
    note: Line = ""

    def encode(self) -> str:
        # The comma between the names is a part of the format, so it is not escaped.
        names = [
            _escaped(n, _MECARD_SPECIAL) for n in (self.last_name, self.first_name) if n.strip()
        ]
        fields = (
            ("SOUND", self.reading),
            ("NICKNAME", self.nickname),
            ("ORG", self.organization),
            *(("TEL", dialled(number)) for number in self.phones),
            *(("EMAIL", email) for email in self.emails),
            ("URL", location(self.url) if self.url else ""),
            ("ADR", self.address),
            ("BDAY", self.birthday.replace("-", "")),
            ("NOTE", self.note),
        )
        name = f"N:{','.join(names) or _escaped(self.organization, _MECARD_SPECIAL)};"
        return f"MECARD:{name}{_short_fields(fields, _MECARD_SPECIAL)}"


class Email(_Document, frozen=True, tag="email"):
    """A message to send by e-mail, as a mailto URI (RFC 6068).

    All but unreserved characters are percent-encoded as UTF-8, a line break as %0D%0A (section 5),
    and a plus sign too, because some readers take it for a space.
    """

    to: Annotated[tuple[Mailbox, ...], Meta(min_length=1, max_length=MAX_ITEMS)]
    cc: Emails = ()
    bcc: Emails = ()
    subject: Line = ""
    body: Lines = ""

    def encode(self) -> str:
        fields = (
            ("cc", _mailboxes(self.cc)),
            ("bcc", _mailboxes(self.bcc)),
            ("subject", quote(self.subject, safe="")),
            ("body", quote(self.body.replace("\n", "\r\n"), safe="")),
        )
        query = "&".join(f"{name}={value}" for name, value in fields if value)
        return f"mailto:{_mailboxes(self.to)}" + (f"?{query}" if query else "")


class Sms(_Document, frozen=True, tag="sms"):
    """A short message to send, as SMSTO (NTT DOCOMO, ZXing).

    The sms URI of RFC 5724 says the same, but phones differ in whether they read its `body`; they
    agree on SMSTO, whose message is the rest of the text, with nothing to escape.
    """

    number: Number
    message: Lines = ""

    def encode(self) -> str:
        return f"SMSTO:{dialled(self.number)}" + (f":{self.message}" if self.message else "")


class Phone(_Document, frozen=True, tag="phone"):
    """A number to call, as a tel URI (RFC 3966), without the separators that people read by.

    A number without a leading plus works in its own country only; emergency and service numbers
    have no other form. RFC 3966 wants a phone-context there, which phones do not understand.
    """

    number: Number

    def encode(self) -> str:
        return f"tel:{dialled(self.number)}"


class Geo(_Document, frozen=True, tag="geo"):
    """A place on the map, as a geo URI (RFC 5870): degrees of WGS 84, and metres above it.

    Numbers are written without an exponent, which the URI does not know, and with 15 decimals at
    most: far less than an atom is wide.
    """

    latitude: float
    longitude: float
    altitude: float | None = None

    def encode(self) -> str:
        place = [self.latitude, self.longitude]
        if self.altitude is not None:
            place.append(self.altitude)
        return "geo:" + ",".join(_plain(round(Decimal(repr(number)), 15)) for number in place)


class Event(_Document, frozen=True, tag="event"):
    r"""An event for the calendar, as a VEVENT of iCalendar (RFC 5545).

    `start` and `end` are points in time (RFC 3339, with their offset, written in UTC) or both days
    (`2026-05-01`). `end` is not a part of the event: of whole days, it is the day after the last
    (section 3.6.1). Left out, a day is a whole one, and a point in time has no duration.

    The VEVENT stands alone, as ZXing describes it: phones look for BEGIN:VEVENT, and the VCALENDAR
    around it would take room and ask for an identifier and a time stamp that nobody reads. `\`,
    `;`, `,` and line breaks are escaped (section 3.3.11), lines end with CRLF and are not folded.
    """

    summary: FilledLine
    start: str
    end: str = ""
    location: Line = ""
    description: Lines = ""

    def encode(self) -> str:
        lines = ["BEGIN:VEVENT", *_text_lines(("SUMMARY", self.summary))]
        lines.append(f"DTSTART{_ical_time(moment(self.start))}")
        if self.end:
            lines.append(f"DTEND{_ical_time(moment(self.end))}")
        lines += _text_lines(("LOCATION", self.location), ("DESCRIPTION", self.description))
        return _crlf([*lines, "END:VEVENT"])


class Epc(_Document, frozen=True, tag="epc"):
    """A SEPA credit transfer in euros that a banking app fills in (EPC069-12, versions 2.1 and 3).

    Version 002 can do without the BIC within the European Economic Area; 001 needs it. `reference`
    is a creditor reference (ISO 11649, "RF"), `text` says the same in free words; at most one of
    them is given. The character set is always UTF-8, the amount is exact. IBAN and reference may be
    sent in groups, as they are printed. The symbol has error correction M at least, and version 13
    at most (section 2).
    """

    limits: ClassVar[Limits] = Limits(ErrorCorrection.M, max_version=13)

    name: Annotated[str, Meta(min_length=1, max_length=70, pattern=r"\S")]
    iban: str
    amount: Decimal | None = None
    bic: str = ""
    purpose: str = ""
    reference: str = ""
    text: Annotated[str, Meta(max_length=140)] = ""
    information: Annotated[str, Meta(max_length=70)] = ""
    version: Literal["001", "002"] = "002"

    def encode(self) -> str:
        elements = [
            "BCD",
            self.version,
            "1",
            "SCT",
            compact(self.bic),
            self.name,
            compact(self.iban),
            "" if self.amount is None else f"EUR{_plain(self.amount)}",
            compact(self.purpose),
            compact(self.reference),
            self.text,
            self.information,
        ]
        # The last element that is used ends the text; no line end follows it.
        while not elements[-1]:
            elements.pop()
        return "\n".join(elements)


Content = Link | Text | Wifi | VCard | MeCard | Email | Sms | Phone | Geo | Event | Epc
"""Everything that a symbol can hold."""

CONTENT_TYPES: tuple[str, ...] = tuple(str(kind.__struct_config__.tag) for kind in Content.__args__)
"""The types that documents name."""


def links_of(content: Content) -> Iterator[tuple[str, str]]:
    """The links of a content, each with its path in the document."""
    match content:
        case Link(url=url):
            yield "url", url
        case VCard(urls=urls):
            yield from ((f"urls[{place}]", url) for place, url in enumerate(urls))
        case MeCard(url=str(url)):
            yield "url", url


# How values are written.


def _escaped(text: str, special: re.Pattern[str]) -> str:
    return special.sub(r"\\\g<0>", text)


def _short_fields(fields: Iterable[tuple[str, str]], special: re.Pattern[str]) -> str:
    """The fields of a Wi-Fi network or a MeCard, the empty ones left out."""
    return "".join(f"{name}:{_escaped(text, special)};" for name, text in fields if text) + ";"


def _text_lines(*properties: tuple[str, str]) -> list[str]:
    """Properties of a vCard or an event, the empty ones left out."""
    return [f"{name}:{_ical_text(text)}" for name, text in properties if text]


def _ical_text(text: str) -> str:
    return _escaped(text, _TEXT_SPECIAL).replace("\n", "\\n")


def _components(parts: Iterable[str]) -> str:
    return ";".join(_ical_text(part) for part in parts)


def _crlf(lines: Iterable[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)


def _types(types: Iterable[enum.StrEnum]) -> str:
    names = ",".join(kind.value.upper() for kind in types)
    return f";TYPE={names}" if names else ""


def _delivery(address: ContactAddress) -> tuple[str, ...]:
    return (
        address.po_box,
        address.extended,
        address.street,
        address.city,
        address.region,
        address.postal_code,
        address.country,
    )


def _mailboxes(emails: Iterable[str]) -> str:
    return ",".join(quote(email, safe="@") for email in emails)


def dialled(text: str) -> str:
    """A phone number without the separators that people read by."""
    return _SEPARATORS.sub("", text)


def compact(text: str) -> str:
    """What is printed in groups, such as an IBAN, as it is written for machines."""
    text = "".join(text.split())
    # Capitals of other scripts can be ASCII: "ß" would pass as "SS".
    return text.upper() if text.isascii() else text


def _plain(number: Decimal) -> str:
    """A number without exponent and without zeros that say nothing."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def moment(text: str) -> date | datetime:
    """A day, or a point in time in UTC; raises ValueError for anything else."""
    if DAY.fullmatch(text):
        return date.fromisoformat(text)
    try:
        point: datetime = msgspec.convert(text, Annotated[datetime, Meta(tz=True)])
        return point.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a point in time") from error


def _ical_time(point: date | datetime) -> str:
    if isinstance(point, datetime):
        text = point.replace(microsecond=0, tzinfo=None).isoformat()
        return ":" + text.replace("-", "").replace(":", "") + "Z"
    return ";VALUE=DATE:" + point.isoformat().replace("-", "")
