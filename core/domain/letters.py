"""Letters: what the service writes to a person."""

from __future__ import annotations

from msgspec import Struct

from core.domain.accounts import check_email
from core.domain.validation import check_line


class Letter(Struct, frozen=True):
    """A letter to one e-mail address, in plain text.

    Raises ValueError for a recipient that is no address, and for a subject of more than one line:
    neither can bring a header of its own into a mail, or a line of its own into a log.
    """

    recipient: str
    subject: str
    text: str

    def __post_init__(self) -> None:
        check_email(self.recipient)
        check_line(self.subject)
