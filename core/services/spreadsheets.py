"""CSV cells that spreadsheets show as they are, whoever chose what is in them."""

from __future__ import annotations

# What makes a spreadsheet take a cell for a formula (OWASP, CSV injection). The wide forms are what
# Chinese and Japanese keyboards write, and are understood just as well.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def cell(value: str) -> str:
    """The value as the text of a cell, with an apostrophe before what would be a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value
