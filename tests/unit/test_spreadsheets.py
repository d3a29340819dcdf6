from __future__ import annotations

import pytest

from core.services.spreadsheets import cell


@pytest.mark.parametrize(
    "value",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠SUM(A1)"],
)
def test_what_would_be_a_formula_gets_an_apostrophe(value: str) -> None:
    assert cell(value) == f"'{value}"


@pytest.mark.parametrize("value", ["", "de", "1-1", "a=b", "'=1", "Müller"])
def test_any_other_text_stays_as_it_is(value: str) -> None:
    assert cell(value) == value
