"""One-time links, and the letters that bring them to people."""

from __future__ import annotations

from datetime import datetime

from core.domain.letters import Letter

_NAME_MAX = 80


def link(base: str, page: str, token: str) -> str:
    """The address of a page that takes the token; behind a "#", which browsers keep to themselves.

    So it stands in no server's log, and in no Referer.
    """
    return f"{base}/{page}#token={token}"


def letter(recipient: str, subject: str, about: str, address: str, until: datetime) -> Letter:
    """A letter that says what a link is about, and until when it holds."""
    text = (
        f"{about}\n\n{address}\n\n"
        f"The link works once, until {until:%Y-%m-%d %H:%M} UTC. Do not pass it on.\n"
        "If you do not know what this is about, you need not do anything.\n"
    )
    return Letter(recipient, subject, text)


def one_line(name: str) -> str:
    """A name that somebody chose, as it may stand in a sentence."""
    name = " ".join(name.split())
    return f'"{name}"' if len(name) <= _NAME_MAX else f'"{name[: _NAME_MAX - 3]}..."'
