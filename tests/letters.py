"""The letters of an application under test, as its log shows them."""

from __future__ import annotations

import re

import pytest

from core.app import Application


def sent(app: Application, caplog: pytest.LogCaptureFixture) -> list[str]:
    """All letters so far, once those that are due are delivered; the newest is the last."""
    assert app.services.outbox.flush()
    texts = [r.getMessage() for r in caplog.records if r.name == "quietzone.letters"]
    return [text for text in texts if text.startswith("to ")]


def token(text: str) -> str:
    """The token of a letter's link."""
    found = re.search(r"#token=([A-Za-z0-9_-]{43}) ", text)
    assert found, text
    return found[1]
