from __future__ import annotations

import inspect
import re

from core import errors
from core.errors import Conflict, FieldProblem, InvalidFields, QuietzoneError, SlugTaken


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([│├└─ ]*)([A-Z]\w+)(?:  |$)", line)
        if match is None:
            continue
        depth = len(match.group(1)) // 4
        above = [*above[:depth], match.group(2)]
        drawn[match.group(2)] = above[-2] if depth else "Exception"
    defined = {
        name: kind.__base__.__name__
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Exception) and kind.__module__ == errors.__name__
    }
    assert len(defined) > 5
    assert drawn == defined


def test_every_error_can_be_caught_as_one() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    raised = [kind for kind in kinds if issubclass(kind, Exception)]
    assert all(issubclass(kind, QuietzoneError) for kind in raised)


def test_invalid_fields_say_all_of_them() -> None:
    error = InvalidFields([FieldProblem("a", "is required"), FieldProblem("b[1].c", "is odd")])
    assert str(error) == "a: is required; b[1].c: is odd"
    assert InvalidFields.of("a", "is odd").problems == (FieldProblem("a", "is odd"),)


def test_a_taken_slug_names_the_slug_the_field_and_the_way_out() -> None:
    error = SlugTaken("spring", "codes[3].slug")
    assert isinstance(error, Conflict)
    assert error.slug == "spring"
    (problem,) = error.problems
    assert problem.field == "codes[3].slug"
    assert "'spring' is taken; choose another" in problem.message
    assert problem.message in str(error)
