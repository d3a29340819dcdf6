"""The notifier `log`: letters go to the service's own log.

For those who have no mail server: the operator takes the link from there and passes it on. Whoever
may read the log may use the links in it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from core.api import Letter, Notifier, hookimpl

_log = logging.getLogger("quietzone.letters")


class LogNotifier:
    """Writes each letter as one line."""

    def deliver(self, letter: Letter) -> None:
        """Log the letter, so that it shows at any level but `error`."""
        # Quoted by ascii, so that nothing in it can forge a line.
        text = " ".join(letter.text.split())
        _log.warning("to %a: %a: %a", letter.recipient, letter.subject, text)


@hookimpl
def qz_notifiers() -> Mapping[str, Notifier]:
    """Offer the notifier."""
    return {"log": LogNotifier()}
