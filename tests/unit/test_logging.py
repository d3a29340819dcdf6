"""What the log is told, and by whom."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from core.app import configure_logging
from core.settings import parse

DRAWING = ("PIL", "PIL.PngImagePlugin", "fontTools", "fontTools.ttLib")


@pytest.fixture(autouse=True)
def levels_as_before() -> Iterator[None]:
    names = ("PIL", "fontTools", "peewee", "playhouse")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize(
    ("level", "least"), [("debug", logging.INFO), ("warning", logging.WARNING)]
)
def test_what_draws_in_threads_never_logs_at_level_debug(level: str, least: int) -> None:
    configure_logging(parse({"log": {"level": level}}, {}))
    assert {logging.getLogger(name).getEffectiveLevel() for name in DRAWING} == {least}
