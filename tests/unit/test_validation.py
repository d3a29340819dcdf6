from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, Struct, UnsetType

from core.domain.validation import (
    MAX_UNKNOWN,
    Secret,
    check_line,
    collect,
    decode_hook,
    field_rules,
    read,
    read_section,
)
from core.errors import ConfigurationError, FieldProblem, InvalidFields
from tests.unit.zones import PROFILE


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Form(Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=10)]
    count: Annotated[int, Meta(ge=0, le=1000)]
    ratio: float = 1.0
    on: bool = False
    colour: Colour = Colour.RED
    tags: tuple[Annotated[str, Meta(max_length=5)], ...] = ()
    password: Secret | None = None
    at: Annotated[datetime, Meta(tz=True)] | UnsetType = UNSET


class Limited(Form, frozen=True):
    limit: int | None = None


class Server(Struct, frozen=True):
    host: str
    password: Secret


class Nested(Struct, frozen=True):
    server: Server
    secrets: tuple[Secret, ...] = ()


def problems_of(data: object, **options: Any) -> dict[str, str]:
    value, problems = collect(Form, data, **options)
    assert (value is None) == bool(problems)
    return {problem.field: problem.message for problem in problems}


def test_good_fields_become_a_value() -> None:
    form = read(Form, {"name": "a", "count": 3, "colour": "blue", "tags": ["x"], "password": "p"})
    assert form == Form("a", 3, colour=Colour.BLUE, tags=("x",), password=Secret("p"))


def test_every_bad_field_is_listed_at_once() -> None:
    found = problems_of(
        {
            "count": 1001,
            "ratio": "much",
            "on": 1,
            "colour": "green",
            "tags": ["short", "too long"],
            "password": 5,
            "at": "2026-05-06T12:00:00",
            "nome": "a",
        }
    )
    assert set(found) == {
        "name", "count", "ratio", "on", "colour", "tags[1]", "password", "at", "nome",
    }  # fmt: skip
    assert found["name"] == "is required"
    assert found["count"] == "must be at most 1000; got 1001"
    assert found["ratio"] == "must be a number; got 'much'"
    assert found["tags[1]"] == "must have at most 5 characters"
    assert found["colour"] == "must be one of red, blue; got 'green'"
    assert found["nome"].startswith("unknown; known are: name, count, ratio")


def test_the_error_carries_the_same_list() -> None:
    with pytest.raises(InvalidFields) as raised:
        read(Form, {"name": "", "count": -1})
    assert [problem.field for problem in raised.value.problems] == ["name", "count"]
    assert "count: must be at least 0; got -1" in str(raised.value)


@pytest.mark.parametrize("data", [None, [], "text", 5, True, [{"name": "a", "count": 1}]])
def test_what_is_no_object_is_refused_as_a_whole(data: object) -> None:
    assert problems_of(data) == {"body": "an object is expected here"}
    assert problems_of(data, where="codes[3].") == {"codes[3]": "an object is expected here"}


def test_fields_are_named_by_their_path() -> None:
    assert set(problems_of({"name": "", "x": 1}, where="codes[3].")) == {
        "codes[3].name",
        "codes[3].count",
        "codes[3].x",
    }


@pytest.mark.parametrize("count", [2**31, 2**63, 2**64, -(2**63) - 1, 10**400])
def test_huge_numbers_are_refused_in_few_words(count: int) -> None:
    message = problems_of({"name": "a", "count": count})["count"]
    assert len(message) < 120


@pytest.mark.parametrize(
    "count",
    ["9" * 5000, "-1", "1.5", "", " 5", "٣", "0x10", "nan", "1e2", "300.0", "+5", "05", "-0"],
)
def test_numbers_written_as_text_are_checked_as_strictly(count: str) -> None:
    assert set(problems_of({"name": "a", "count": count}, strict=False)) == {"count"}


def test_a_whole_number_as_text_is_its_digits_and_a_fraction_may_have_an_exponent() -> None:
    assert problems_of({"name": "a", "count": "1e2"}, strict=False) == {
        "count": "must be a whole number; got '1e2'"
    }
    assert read(Form, {"name": "a", "count": "0", "ratio": "1e2"}, strict=False).ratio == 100.0


@pytest.mark.parametrize("text", ["null", "NULL", "Null"])
def test_nothing_written_as_text_is_null(text: str) -> None:
    data = {"name": "menu", "count": 1, "password": text, "limit": text}
    value, problems = collect(Limited, data, strict=False)
    assert value is None
    assert [p.field for p in problems] == ["limit"]
    assert "leave it out" in problems[0].message


def test_a_whole_number_may_have_a_fraction_of_zero() -> None:
    form = read(Form, {"name": "menu", "count": 2.0, "ratio": 3.0})
    assert (form.count, type(form.count)) == (2, int)
    assert (form.ratio, type(form.ratio)) == (3.0, float)
    for count in (2.5, 1e300, float("inf"), float("nan")):
        assert "count" in problems_of({"name": "menu", "count": count})
    assert "got 2.0" in problems_of({"name": 2.0, "count": 1})["name"]


@pytest.mark.parametrize("text", ["", "Menu — spring", "a\u00a0b", "👩‍🍳", "مطعم"])
def test_a_line_may_have_any_letters(text: str) -> None:
    check_line(text)


@pytest.mark.parametrize("character", ["\n", "\t", "\r", "\x85", "\u2028", "\u2029", "\x1b"])
def test_what_breaks_a_line_is_named(character: str) -> None:
    with pytest.raises(ValueError, match="must be one line; the character '"):
        check_line(f"Menu{character}spring")


def test_text_is_taken_for_numbers_only_where_that_is_asked_for() -> None:
    assert set(problems_of({"name": "a", "count": "5", "on": "true"})) == {"count", "on"}
    form = read(Form, {"name": "a", "count": "5", "on": "true"}, strict=False)
    assert (form.count, form.on) == (5, True)


@pytest.mark.parametrize("character", ["\x00", "\x07", "\r", "\x1b", "\x7f"])
@pytest.mark.parametrize("field", ["name", "tags", "password"])
def test_control_characters_are_refused_in_every_text(field: str, character: str) -> None:
    text = f"a{character}"
    data = {"name": "a", "count": 1, field: [text] if field == "tags" else text}
    assert problems_of(data)[field] == f"the control character {character!r} is not allowed"


@pytest.mark.parametrize("surrogate", [chr(0xD800), chr(0xDFFF)])
@pytest.mark.parametrize("field", ["name", "tags", "password", "x\ud800"])
def test_lone_surrogates_are_refused_and_the_answer_can_be_sent(field: str, surrogate: str) -> None:
    data = {"name": "a", "count": 1, field: [surrogate] if field == "tags" else surrogate}
    found = problems_of(data)
    assert len(found) == 1
    assert "".join([*found, *found.values()]).encode("utf-8")


def test_tabs_and_line_ends_are_text() -> None:
    assert read(Form, {"name": "a\tb\nc", "count": 1}).name == "a\tb\nc"


def test_points_in_time_are_kept_in_utc() -> None:
    form = read(Form, {"name": "a", "count": 1, "at": "2026-05-06T12:00:00+05:45"})
    assert form.at == datetime(2026, 5, 6, 6, 15, tzinfo=UTC)
    assert form.at.tzinfo is UTC


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_points_in_time_that_utc_does_not_have_are_refused(at: str) -> None:
    assert "years 1 to 9999" in problems_of({"name": "a", "count": 1, "at": at})["at"]


def test_a_secret_is_never_echoed() -> None:
    secret = "hunter2hunter2"
    cases: list[tuple[type[Struct], dict[str, object]]] = [
        (Form, {"name": "a", "count": 1, "password": [secret]}),
        (Form, {"name": "a", "count": 1, "password": {"text": secret}}),
        (Form, {"name": "a", "count": 1, "password": f"{secret}\x00"}),
        (Nested, {"server": {"host": 5, "password": secret}}),
        (Nested, {"server": {"password": secret}}),
        (Nested, {"server": {"host": "a", "password": secret}, "secrets": [secret, 5]}),
        (Nested, {"server": {"host": "a", "password": secret}, "secrets": {secret: 1}}),
    ]
    for kind, data in cases:
        value, problems = collect(kind, data)
        assert value is None
        assert secret not in repr(problems)


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} {Server('a', secret)}"
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert secret != Secret("other")
    assert secret != "hunter2"
    assert len({secret, Secret("hunter2")}) == 1


def test_an_unknown_type_is_a_fault_of_the_program() -> None:
    with pytest.raises(NotImplementedError):
        decode_hook(complex, "1")


def test_long_values_are_cut_short() -> None:
    message = problems_of({"name": "x" * 10_000, "count": 1})["name"]
    assert message.endswith("...")
    assert len(message) < 120


def test_many_unknown_fields_do_not_make_a_long_answer() -> None:
    data = {"name": "a", "count": 1} | {f"field{n}": n for n in range(5000)}
    _, problems = collect(Form, data)
    assert len(problems) == MAX_UNKNOWN + 1
    assert problems[-1] == FieldProblem("body", f"{5000 - MAX_UNKNOWN} more fields are unknown")


def test_rules_see_only_the_fields_whose_types_were_right() -> None:
    seen: list[Mapping[str, Any]] = []

    def rules(values: Mapping[str, Any]) -> Iterable[FieldProblem]:
        seen.append(values)
        yield FieldProblem("name", "is taken")

    found = problems_of({"name": "a", "count": "many"}, rules=rules)
    assert seen == [{"name": "a"}]
    assert set(found) == {"name", "count"}


def test_rules_of_a_field_skip_what_is_unset_or_null() -> None:
    def refuse(value: object) -> None:
        raise ValueError(f"{value} is refused")

    rules = field_rules(a=refuse, b=refuse, c=refuse, d=refuse)
    found = list(rules({"a": 1, "b": None, "c": UNSET}))
    assert found == [FieldProblem("a", "1 is refused")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@PROFILE
@given(
    data=JSON
    | st.dictionaries(st.sampled_from(Form.__struct_fields__), JSON, max_size=8)
    | st.fixed_dictionaries({"name": JSON, "count": JSON, "at": st.text() | JSON}),
    strict=st.booleans(),
)
def test_any_input_gives_a_value_or_problems_that_can_be_sent(data: object, strict: bool) -> None:
    value, problems = collect(Form, data, strict=strict)
    assert (value is None) == bool(problems)
    assert msgspec.json.encode(problems)
    if value is not None:
        assert value.name.encode()
        assert 0 <= value.count <= 1000


def test_a_section_names_every_bad_option_by_its_path() -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_section(Form, {"count": "x", "colr": 1}, "plugin.paint")
    message = str(raised.value)
    assert "plugin.paint.name: is required" in message
    assert "plugin.paint.count: must be a whole number; got 'x'" in message
    assert "plugin.paint.colr: unknown; known are: name, count" in message


def test_a_section_that_is_no_table_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^http: an object is expected here$"):
        read_section(Form, 5, "http")
