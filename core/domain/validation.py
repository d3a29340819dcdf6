"""Turns untyped input into value objects and lists every bad field at once.

msgspec converts and checks; it stops at the first error, so fields are converted one by one here.
"""

from __future__ import annotations

import enum
import functools
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TypeVar
from unicodedata import category

import msgspec

from core.errors import ConfigurationError, FieldProblem, InvalidFields

T = TypeVar("T", bound=msgspec.Struct)

_DIGITS = re.compile(r"0|-?[1-9][0-9]*")
_EXACT = 2**53
"""From here on, not every whole number is a float (RFC 8259, section 6)."""

MAX_UNKNOWN = 100
"""How many unknown fields are named one by one, so that an answer stays in proportion."""

Rules = Callable[[Mapping[str, Any]], Iterable[FieldProblem]]
"""Checks beyond types: is given the fields whose types were right, and names what is wrong."""

Check = Callable[[Any], object]
"""Raises ValueError, with the reason, for a value that cannot be accepted."""


class Secret:
    """A text that must not be seen: hidden in `repr`, `str` and every dump; `reveal()` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('********')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def decode_hook(kind: type, value: object) -> object:
    """The types that msgspec does not know: `Secret` is made from a text."""
    if kind is Secret:
        if not isinstance(value, str):
            raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
        return Secret(value)
    raise NotImplementedError(kind)


def no_rules(_: Mapping[str, Any]) -> Iterable[FieldProblem]:
    """The rules of a type that its field types describe wholly."""
    return ()


def field_rules(**checks: Check) -> Rules:
    """Rules made of one check a field; a field that is unset or null is not checked."""
    table = MappingProxyType(checks)

    def rules(values: Mapping[str, Any]) -> Iterable[FieldProblem]:
        for field, check in table.items():
            value = values.get(field)
            if value is None or value is msgspec.UNSET:
                continue
            try:
                check(value)
            except ValueError as error:
                yield FieldProblem(field, str(error))

    return rules


def collect(
    kind: type[T], data: object, rules: Rules = no_rules, *, strict: bool = True, where: str = ""
) -> tuple[T | None, list[FieldProblem]]:
    """Convert `data` to `kind`: the value and no problems, or None and all of them.

    `strict=False` also takes numbers and booleans written as text, as query strings do; whole
    numbers in digits alone.
    `where` is put before each field's name (`codes[3].`).
    """
    if not isinstance(data, Mapping):
        return None, [FieldProblem(where.rstrip(".") or "body", "an object is expected here")]
    values: dict[str, Any] = {}
    problems: list[FieldProblem] = []
    fields = _fields(kind)
    unknown = [key for key in data if key not in fields]
    for key in unknown[:MAX_UNKNOWN]:
        known = ", ".join(fields)
        problems.append(FieldProblem(f"{where}{_name(key)}", f"unknown; known are: {known}"))
    if len(unknown) > MAX_UNKNOWN:
        more = f"{len(unknown) - MAX_UNKNOWN} more fields are unknown"
        problems.append(FieldProblem(where.rstrip(".") or "body", more))
    for name, (annotation, required) in fields.items():
        if name not in data:
            if required:
                problems.append(FieldProblem(f"{where}{name}", "is required"))
            continue
        try:
            sent = _whole(data[name])
            value = msgspec.convert(sent, annotation, strict=strict, dec_hook=decode_hook)
            _refuse_odd_texts(value, sent)
            refuse_control_characters(value)
            value = _in_utc(value)
        except (msgspec.ValidationError, ValueError) as error:
            item, message = _explain(str(error), data[name], annotation)
            problems.append(FieldProblem(f"{where}{name}{item}", message))
        else:
            values[name] = value
    problems += [FieldProblem(f"{where}{p.field}", p.message) for p in rules(values)]
    return (None, problems) if problems else (kind(**values), [])


def read(kind: type[T], data: object, rules: Rules = no_rules, *, strict: bool = True) -> T:
    """Convert `data` to `kind` or raise InvalidFields with every bad field."""
    value, problems = collect(kind, data, rules, strict=strict)
    if value is None:
        raise InvalidFields(problems)
    return value


def read_section(kind: type[T], section: object, path: str) -> T:
    """A section of the settings as `kind`, numbers as text allowed.

    Raises ConfigurationError with every bad option, each by its path (`plugin.sqlite.path`).
    """
    value, problems = collect(kind, section, strict=False, where=f"{path}.")
    if value is None:
        raise ConfigurationError("; ".join(f"{p.field}: {p.message}" for p in problems))
    return value


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> Mapping[str, tuple[Any, bool]]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {f.name: (hints[f.name], f.required) for f in msgspec.structs.fields(kind)}


def check_line(text: str) -> None:
    """Raise ValueError unless `text` is one line: it is shown in lists, on labels and in cells."""
    for character in text:
        if category(character) in ("Cc", "Zl", "Zp"):
            raise ValueError(
                f"must be one line; the character {character!a} breaks it: write a blank instead"
            )


def refuse_control_characters(value: object) -> None:
    """Raise ValueError for text, alone or in a list, that holds what no text should hold."""
    # NUL cannot be stored by PostgreSQL, a lone surrogate cannot be encoded, and the others
    # would break headers, logs and the lines of a CSV.
    if isinstance(value, str):
        for character in value:
            if (character < " " and character not in "\t\n") or character == "\x7f":
                raise ValueError(f"the control character {character!r} is not allowed")
            if "\ud800" <= character <= "\udfff":
                raise ValueError("a lone surrogate is not allowed; send valid Unicode")
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_control_characters(item)
    elif isinstance(value, Secret):
        refuse_control_characters(value.reveal())


def _whole(value: object) -> object:
    """A whole number as an integer, however it was written: JSON does not tell 2.0 from 2."""
    if type(value) is float and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    return value


def _refuse_odd_texts(value: object, given: object) -> None:
    """Raise ValueError for texts that msgspec takes for more than they say.

    It takes 1e2 for 100, and null for None.
    """
    if not isinstance(given, str):
        return
    if value is None:
        raise ValueError("there is no way to write null here; leave it out")
    if type(value) is int and not _DIGITS.fullmatch(given):
        raise ValueError("Expected int, got str")


def _in_utc(value: Any) -> Any:
    # Points in time are kept in UTC, where the first and the last hours of the calendar do not
    # exist in every offset.
    if not isinstance(value, datetime) or value.tzinfo is None:
        return value
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the point in time lies outside the years 1 to 9999 in UTC") from None


def _explain(message: str, value: object, annotation: object) -> tuple[str, str]:
    """Which item of a list is meant (`[3]`, or nothing), and what is wrong with it."""
    message, _, item = message.replace("`", "").partition(" - at $")
    told = next(
        (
            match.expand(words)
            for pattern, words in _WORDS
            if (match := re.fullmatch(pattern, message)) is not None
        ),
        message,
    )
    choices = _choices(annotation)
    if choices and message.startswith("Invalid enum value"):
        told = f"must be one of {', '.join(choices)}"
    if item or _holds_secret(annotation) or " is not allowed" in message:
        return item, told
    return "", f"{told}; got {_short(value)}"


# What msgspec says, and how a user of the service is told the same.
_WORDS = (
    (r"Expected str( \| null)?, got .*", "must be text"),
    (r"Expected int( \| null)?, got .*", "must be a whole number"),
    (r"Expected float( \| null)?, got .*", "must be a number"),
    (r"Expected bool( \| null)?, got .*", "must be true or false"),
    (r"Expected datetime( \| null)?, got .*", "must be a date and time like 2026-05-01T12:00:00Z"),
    (r"Expected array( \| null)?, got .*", "must be a list"),
    (r"Expected object( \| null)?, got .*", "must be an object"),
    (r"Invalid RFC3339 encoded datetime", "must be a date and time like 2026-05-01T12:00:00Z"),
    (
        r"Expected datetime with a timezone component",
        "must tell its offset from UTC, as in 2026-05-01T12:00:00Z",
    ),
    (r"Expected (?:int|float) >= (.*)", r"must be at least \1"),
    (r"Expected (?:int|float) > (.*)", r"must be more than \1"),
    (r"Expected (?:int|float) <= (.*)", r"must be at most \1"),
    (r"Expected str of length >= 1", "must not be empty"),
    (r"Expected str of length >= (\d+)", r"must have at least \1 characters"),
    (r"Expected str of length <= (\d+)", r"must have at most \1 characters"),
    (r"Expected array of length >= (\d+)", r"must have at least \1 items"),
    (r"Expected array of length <= (\d+)", r"must have at most \1 items"),
    (r"Expected str matching regex '\\\\S'", "must not be blank"),
)


def _choices(annotation: object) -> list[str]:
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return [str(member.value) for member in annotation]
    if typing.get_origin(annotation) is typing.Literal:
        return [str(choice) for choice in typing.get_args(annotation)]
    return [choice for part in typing.get_args(annotation) for choice in _choices(part)]


def _holds_secret(annotation: object) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return any(_holds_secret(part) for part, _ in _fields(annotation).values())
    return annotation is Secret or any(_holds_secret(p) for p in typing.get_args(annotation))


def _short(value: object) -> str:
    try:
        text = ascii(value)
    except RecursionError:
        return "a deeply nested value"
    except ValueError:
        # Python writes no number that has more than some thousand digits.
        return "a number of too many digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _name(key: object) -> str:
    return _short(key)[1:-1] if isinstance(key, str) else _short(key)
