"""Reads contents: what has to hold of a document before it may become the text of a symbol.

The types are those of `core.domain.contents`. Every problem is told at once, each by its path.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Struct

from core.domain.accounts import check_email
from core.domain.codes import DestinationPolicy
from core.domain.contents import (
    CONTENT_TYPES,
    DAY,
    EPC_MAX_BYTES,
    MAX_ITEMS,
    ContactAddress,
    ContactPhone,
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
    compact,
    dialled,
    moment,
)
from core.domain.validation import Check, collect
from core.errors import FieldProblem, InvalidFields

S = TypeVar("S", bound=Struct)


def read_content(data: object, where: str = "content") -> Content:
    """A content from decoded JSON: a text, or a document with its `type`.

    Raises InvalidFields with everything that is wrong; its fields are paths from `where` on.
    """
    if isinstance(data, str):
        problems = [FieldProblem(where, reason) for reason in _text_problems(data)]
        if problems:
            raise InvalidFields(problems)
        return Text(data)
    if not isinstance(data, Mapping):
        got = "" if data is None else f"; got {_told(data)}"
        way_out = f'send a text, or an object such as {{"type": "link", "url": ...}}{got}'
        raise InvalidFields.of(where, f"is required: {way_out}" if data is None else way_out)
    known = ", ".join(CONTENT_TYPES)
    if "type" not in data:
        raise InvalidFields.of(f"{where}.type", f"is required; known types are: {known}")
    asked = data["type"]
    if not isinstance(asked, str):
        raise InvalidFields.of(f"{where}.type", f"must be a text; known types are: {known}")
    if asked not in CONTENT_TYPES:
        raise InvalidFields.of(
            f"{where}.type", f"there is no type {_told(asked)}; known are: {known}"
        )
    kind: type[Content] = Content.__args__[CONTENT_TYPES.index(asked)]
    fields = {name: value for name, value in data.items() if name != "type"}
    read = _read_text if kind is Text else _read
    value, problems = read(cast("type[Struct]", kind), fields, f"{where}.")
    if value is None:
        raise InvalidFields(problems)
    return cast("Content", value)


def _read(kind: type[S], data: object, where: str) -> tuple[S | None, list[FieldProblem]]:
    """As `collect`, with the parts that a document is made of, and with its rules."""
    if not isinstance(data, Mapping):
        return collect(kind, data, where=where)
    fields = {name: _prepared(kind, name, value) for name, value in data.items()}
    problems: list[FieldProblem] = []
    for name, part in _PARTS.get(kind, {}).items():
        items = fields.get(name)
        # One list that is far too long is one problem, and not one for each of its items.
        if not isinstance(items, list | tuple) or len(items) > MAX_ITEMS:
            continue
        read = [_read(part, item, f"{where}{name}[{i}].") for i, item in enumerate(items)]
        problems += [problem for _, found in read for problem in found]
        fields[name] = tuple(value for value, _ in read if value is not None)

    def rules(values: Mapping[str, Any]) -> Iterator[FieldProblem]:
        if kind is Epc:
            yield from _odd_amount(fields.get("amount"))
        yield from _unsound(values, _MANY_LINES.get(kind, frozenset()), _CHECKS.get(kind, {}))
        # What was sent with a wrong type is known to be wrong; nothing can be said about it.
        wrong = fields.keys() - values.keys()
        yield from _RULES.get(kind, _no_rule)(values, wrong)

    value, found = collect(kind, fields, rules, where=where)
    problems = [_reworded(problem) for problem in found] + problems
    if isinstance(value, Epc) and not problems:
        problems = [FieldProblem(f"{where}{p.field}", p.message) for p in _too_long(value)]
    return (None, problems) if problems else (value, [])


def _read_text(kind: type[S], data: Any, where: str) -> tuple[S | None, list[FieldProblem]]:
    # Every character of a text is meant, those too that no other text of this service may hold.
    text = data.get("text")
    if not isinstance(text, str):
        return collect(kind, data, where=where)
    value, problems = collect(kind, {**data, "text": "."}, where=where)
    problems += [FieldProblem(f"{where}text", reason) for reason in _text_problems(text)]
    if problems or value is None:
        return None, problems
    return msgspec.structs.replace(value, text=text), []


def _prepared(kind: type[Struct], name: str, value: object) -> object:
    """One way to write line breaks, and lists of one item written without the list."""
    if isinstance(value, str):
        value = _LINE_BREAK.sub("\n", value)
        if name in _LISTS.get(kind, ()):
            value = [value] if value else []
    if kind is VCard and name == "phones" and isinstance(value, list | tuple):
        return [{"number": item} if isinstance(item, str) else item for item in value]
    return value


def _unsound(
    values: Mapping[str, Any], many_lines: frozenset[str], checks: Mapping[str, Check]
) -> Iterator[FieldProblem]:
    """What is wrong with single values, in lists too; an optional one may be empty."""
    for name, value in values.items():
        items = value if isinstance(value, tuple) else (value,)
        for place, item in enumerate(items):
            field = f"{name}[{place}]" if isinstance(value, tuple) else name
            try:
                if isinstance(item, str) and name not in many_lines:
                    _check_line(item, secret=name == "password")
                if name in checks and not (item is None or (item == "" and name not in _FILLED)):
                    checks[name](item)
            except ValueError as error:
                yield FieldProblem(field, str(error))


def _odd_amount(sent: object) -> Iterator[FieldProblem]:
    # Python would also read blanks, underscores and the digits of other scripts.
    if isinstance(sent, str) and not _DECIMAL.fullmatch(sent) and _is_decimal(sent):
        yield FieldProblem("amount", f"{_AMOUNT}; got {_told(sent)}")


def _is_decimal(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


def _reworded(problem: FieldProblem) -> FieldProblem:
    """The same problem, said in the terms of contents, and without a password in it."""
    message, got, value = problem.message.partition("; got ")
    if problem.field.endswith("password"):
        return FieldProblem(problem.field, message)
    if message.startswith(("Expected decimal", "Invalid decimal")):
        message = _AMOUNT
    return FieldProblem(problem.field, message + got + value)


def _text_problems(text: str) -> Iterator[str]:
    if not text:
        yield "must not be empty"
    if "\0" in text:
        yield "the character NUL cannot be stored; leave it out"
    if any("\ud800" <= character <= "\udfff" for character in text):
        yield "a lone surrogate is not allowed; send valid Unicode"


# Checks of single values: each raises ValueError with what is wrong.


def _check_line(text: str, *, secret: bool) -> None:
    for character in text:
        if unicodedata.category(character) in ("Cc", "Zl", "Zp"):
            raise ValueError(
                f"the line break or control character {character!a} is not allowed here; write it "
                + ("in one line" if secret else f"in one line; got {_told(text)}")
            )


def _check_url(url: str) -> None:
    try:
        _WEB.check(url)
    except ValueError as error:
        raise ValueError(f"{error}; got {_told(url)}") from None


def _check_mailbox(email: str) -> None:
    if email != email.strip():
        raise ValueError(f"{_told(email)} begins or ends with a blank; leave it out")
    try:
        check_email(email)
    except ValueError as error:
        raise ValueError(f"{_told(email)} is {error}") from None


def _check_number(number: str) -> None:
    if _TRUNK.search(number):
        raise ValueError(
            f"{_told(number)} holds (0), which is not dialled after a country code; leave it out"
        )
    if not _NUMBER.fullmatch(dialled(number)):
        raise ValueError(
            f"{_told(number)} is not a phone number; write it as +49 30 901820, with 5 to 15 "
            "digits after the plus, or as a local number of 2 to 20 digits"
        )


def _check_day(text: str) -> None:
    if not DAY.fullmatch(text) or _moment_or_none(text) is None:
        raise ValueError(f"{_told(text)} is not a date; write it as 1990-05-01")


def _check_moment(text: str) -> None:
    point = _moment_or_none(text)
    if point is None:
        raise ValueError(
            f"{_told(text)} is neither a point in time with its offset from UTC, such as "
            "2026-05-01T18:30:00+02:00, nor a date, such as 2026-05-01"
        )
    if isinstance(point, datetime) and point.microsecond:
        raise ValueError(f"{_told(text)} has a fraction of a second; leave it out")


def _within(low: float, high: float, unit: str) -> Check:
    def check(number: float) -> None:
        # Written so that NaN, which is not less than anything, does not pass.
        if not low <= number <= high:
            raise ValueError(f"{number!r} is not from {low:.0f} to {high:.0f} {unit}")

    return check


def _check_ssid(ssid: str) -> None:
    size = len(ssid.encode())
    if size > 32:
        raise ValueError(
            f"{_told(ssid)} has {size} bytes; the name of a network has at most 32 (IEEE 802.11)"
        )


def _check_method(name: str) -> None:
    if not _METHOD.fullmatch(name):
        raise ValueError(
            f"{_told(name)} is not a method; write it as TTLS, PEAP, PWD or MSCHAPV2, in letters, "
            "digits and hyphens"
        )


def _check_iban(iban: str) -> None:
    text = compact(iban)
    if not _IBAN.fullmatch(text):
        raise ValueError(f"{_told(iban)} is not an IBAN; write it as DE89 3704 0044 0532 0130 00")
    length = _IBAN_LENGTHS.get(text[:2])
    if length is not None and len(text) != length:
        raise ValueError(
            f"{_told(iban)} has {len(text)} characters; an IBAN of {text[:2]} has {length}"
        )
    if not _mod_97_is_1(text):
        raise ValueError(f"the check digits of the IBAN {_told(iban)} are wrong; look for a slip")


def _check_reference(reference: str) -> None:
    text = compact(reference)
    if not _RF.fullmatch(text):
        raise ValueError(
            f"{_told(reference)} is not a creditor reference (ISO 11649) such as "
            "RF18 5390 0754 7034; put any other into text"
        )
    if not _mod_97_is_1(text):
        raise ValueError(f"the check digits of {_told(reference)} are wrong; look for a slip")


def _check_bic(bic: str) -> None:
    if not _BIC.fullmatch(compact(bic)):
        raise ValueError(
            f"{_told(bic)} is not a BIC; it has 8 or 11 characters, such as BFSWDE33BER"
        )


def _check_purpose(purpose: str) -> None:
    if not _PURPOSE.fullmatch(compact(purpose)):
        raise ValueError(
            f"{_told(purpose)} is not a purpose; it has at most 4 letters and digits, such as CHAR"
        )


def _check_amount(amount: Decimal) -> None:
    # Comparing comes first: a number such as 1E+999999999 must not be written out.
    if not (amount.is_finite() and _LEAST <= amount <= _MOST):
        raise ValueError(f"{_told(str(amount))} is not an amount from 0.01 to 999999999.99 euros")
    if amount != round(amount, 2):
        raise ValueError(f"{_told(str(amount))} has more than two decimals; round it to a cent")


# Rules between the fields of a document: `wrong` holds those whose type was not right.

_Rule = Callable[[Mapping[str, Any], Iterable[str]], Iterator[FieldProblem]]


def _no_rule(values: Mapping[str, Any], wrong: Iterable[str]) -> Iterator[FieldProblem]:
    yield from ()


def _wifi_rule(values: Mapping[str, Any], wrong: Iterable[str]) -> Iterator[FieldProblem]:
    if "security" in wrong:
        return
    security = values.get("security", WifiSecurity.WPA)
    if "password" not in wrong:
        reason = _password_problem(values.get("password", ""), security)
        if reason:
            yield FieldProblem("password", reason)
    if security is WifiSecurity.EAP:
        if not values.get("eap") and "eap" not in wrong:
            yield FieldProblem("eap", f"is required with security {security}, such as PEAP")
    else:
        for name in ("eap", "phase2", "identity", "anonymous_identity"):
            if values.get(name):
                yield FieldProblem(
                    name,
                    f"{_told(values[name])} is of no use with security {security}; leave it out, "
                    f"or use security {WifiSecurity.EAP}",
                )
    if values.get("transition_disable") and security not in (WifiSecurity.WPA, WifiSecurity.SAE):
        yield FieldProblem(
            "transition_disable", f"true is of no use with security {security}; leave it out"
        )


def _password_problem(password: str, security: WifiSecurity) -> str:
    """What is wrong with a password, which itself is not repeated; nothing where it is sound."""
    size = len(password.encode())
    if security is WifiSecurity.OPEN:
        if password:
            return "an open network has none; leave it out, or name the security, such as WPA"
        return ""
    if security is WifiSecurity.EAP:
        return ""
    if not password:
        return f'is required with security {security}; an open network has security "nopass"'
    if security is WifiSecurity.WEP:
        if size in (5, 13) or (size in (10, 26) and _HEX.fullmatch(password)):
            return ""
        return f"has {size} bytes; a WEP key has 5 or 13 characters, or 10 or 26 hexadecimal digits"
    if security is WifiSecurity.SAE:
        return "" if size <= 63 else f"has {size} bytes; a WPA3 password has at most 63 here"
    if 8 <= size <= 63 or (size == 64 and _HEX.fullmatch(password)):
        return ""
    return (
        f"has {size} bytes; a WPA passphrase has 8 to 63, or it is a key of 64 hexadecimal digits"
    )


def _name_rule(*names: str) -> _Rule:
    def rule(values: Mapping[str, Any], wrong: Iterable[str]) -> Iterator[FieldProblem]:
        if not any(str(values.get(name, "")).strip() or name in wrong for name in names):
            yield FieldProblem(names[0], f"is required unless {' or '.join(names[1:])} is given")

    return rule


def _address_rule(values: Mapping[str, Any], wrong: Iterable[str]) -> Iterator[FieldProblem]:
    if not wrong and not any(value for name, value in values.items() if name != "types"):
        yield FieldProblem("street", "is required unless another part of the address is given")


def _event_rule(values: Mapping[str, Any], wrong: Iterable[str]) -> Iterator[FieldProblem]:
    start, end = (_moment_or_none(values.get(name, "")) for name in ("start", "end"))
    if start is None or end is None:
        return
    if isinstance(start, datetime) != isinstance(end, datetime):
        yield FieldProblem(
            "end",
            f"{_told(values['end'])} does not go with the start {_told(values['start'])}; write "
            "both as points in time or both as dates",
        )
    elif end <= start:
        yield FieldProblem(
            "end",
            f"{_told(values['end'])} must be later than the start {_told(values['start'])}; of "
            "whole days it is the day after the last",
        )


def _epc_rule(values: Mapping[str, Any], wrong: Iterable[str]) -> Iterator[FieldProblem]:
    if values.get("version") == "001" and not values.get("bic") and "bic" not in wrong:
        yield FieldProblem("bic", 'is required with version "001"; give it, or use version "002"')
    if values.get("reference") and values.get("text"):
        yield FieldProblem(
            "text",
            f"{_told(values['text'])} cannot stand beside a reference; leave out one of them",
        )


def _too_long(payment: Epc) -> Iterator[FieldProblem]:
    size = len(payment.encode().encode())
    if size > EPC_MAX_BYTES:
        field = next(name for name in ("text", "information", "name") if getattr(payment, name, ""))
        yield FieldProblem(
            field,
            f"the payment has {size} bytes; at most {EPC_MAX_BYTES} fit (EPC069-12): shorten text, "
            "information or name",
        )


def _moment_or_none(text: str) -> date | datetime | None:
    try:
        return moment(text)
    except ValueError:
        return None


def _mod_97_is_1(text: str) -> bool:
    """Whether the check digits are right that stand in third and fourth place (ISO 7064)."""
    moved = text[4:] + text[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def _told(value: object) -> str:
    """A value as messages show it."""
    text = repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


# What a link is at all; where it may lead, the service decides (`core.services.destinations`).
_WEB = DestinationPolicy(frozenset({"http", "https"}), "", private=True)

_LINE_BREAK = re.compile("\r\n|[\r\x85\u2028\u2029]")
_TRUNK = re.compile(r"\+.*\(\s*0\s*\)")
_NUMBER = re.compile(r"\+[1-9][0-9]{4,14}|[0-9]{2,20}")
_HEX = re.compile(r"[0-9A-Fa-f]+")
_METHOD = re.compile(r"[A-Za-z0-9-]{1,20}")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_RF = re.compile(r"RF[0-9]{2}[A-Z0-9]{1,21}")
_BIC = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")
_PURPOSE = re.compile(r"[A-Z0-9]{1,4}")
_DECIMAL = re.compile(r"[0-9.Ee+-]+")
_AMOUNT = 'must be an amount in euros, such as "12.30"'
_LEAST, _MOST = Decimal("0.01"), Decimal("999999999.99")

# The length of an IBAN in the countries of SEPA and some beside it (ISO 13616, the registry of
# SWIFT). Of others, only the check digits are looked at.
_IBAN_LENGTHS = MappingProxyType(
    {
        country: length
        for length, countries in {
            15: "NO",
            16: "BE",
            18: "DK FI NL",
            19: "MK SI",
            20: "AT EE LT LU XK",
            21: "CH HR LI LV",
            22: "BG DE GB GE IE ME RS VA",
            23: "GI",
            24: "AD CZ ES MD RO SE SK",
            25: "PT",
            26: "IS",
            27: "FR GR IT MC SM",
            28: "AL CY HU PL",
            31: "MT",
        }.items()
        for country in countries.split()
    }
)

_PARTS: Mapping[type[Struct], Mapping[str, type[Struct]]] = MappingProxyType(
    {VCard: {"phones": ContactPhone, "addresses": ContactAddress}}
)
_LISTS: Mapping[type[Struct], frozenset[str]] = MappingProxyType(
    {
        VCard: frozenset({"phones", "emails", "urls"}),
        MeCard: frozenset({"phones", "emails"}),
        Email: frozenset({"to", "cc", "bcc"}),
    }
)
_MANY_LINES: Mapping[type[Struct], frozenset[str]] = MappingProxyType(
    {
        VCard: frozenset({"note"}),
        Email: frozenset({"body"}),
        Sms: frozenset({"message"}),
        Event: frozenset({"description"}),
    }
)
_CHECKS: Mapping[type[Struct], Mapping[str, Check]] = MappingProxyType(
    {
        Link: {"url": _check_url},
        Wifi: {"ssid": _check_ssid, "eap": _check_method, "phase2": _check_method},
        ContactPhone: {"number": _check_number},
        VCard: {"emails": _check_mailbox, "urls": _check_url, "birthday": _check_day},
        MeCard: {
            "phones": _check_number,
            "emails": _check_mailbox,
            "url": _check_url,
            "birthday": _check_day,
        },
        Email: {"to": _check_mailbox, "cc": _check_mailbox, "bcc": _check_mailbox},
        Sms: {"number": _check_number},
        Phone: {"number": _check_number},
        Geo: {
            "latitude": _within(-90, 90, "degrees"),
            "longitude": _within(-180, 180, "degrees"),
            "altitude": _within(-1e8, 1e8, "metres"),
        },
        Event: {"start": _check_moment, "end": _check_moment},
        Epc: {
            "iban": _check_iban,
            "bic": _check_bic,
            "amount": _check_amount,
            "purpose": _check_purpose,
            "reference": _check_reference,
        },
    }
)
# These are checked even where they are empty: they are required, or stand in a list.
_FILLED = frozenset({"number", "phones", "emails", "to", "cc", "bcc", "start", "iban"})
_RULES: Mapping[type[Struct], _Rule] = MappingProxyType(
    {
        Wifi: _wifi_rule,
        VCard: _name_rule("last_name", "first_name", "full_name", "organization"),
        ContactAddress: _address_rule,
        MeCard: _name_rule("last_name", "first_name", "organization"),
        Event: _event_rule,
        Epc: _epc_rule,
    }
)
