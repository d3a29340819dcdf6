"""What every notifier promises; each test runs on all that are built in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from core.api import Letter, Notifier
from core.services.outbox import Outbox
from plugins.notifiers.log import LogNotifier
from plugins.notifiers.smtp import SmtpNotifier, SmtpSettings
from tests.mailserver import MailServer

LINK = "https://qr.example.com/invitations#token=Zm9vYmFyYmF6cXV1eA"
LETTER = Letter("ada@example.com", "You are invited to Café Léon", f"Hello,\n\n{LINK}\n\nBye.\n")

Delivered = Callable[[], list[str]]


@pytest.fixture
def server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()


@pytest.fixture(params=["log", "smtp"])
def notifier(request: pytest.FixtureRequest, server: MailServer) -> Notifier:
    if request.param == "log":
        return LogNotifier()
    return SmtpNotifier(
        SmtpSettings(host="127.0.0.1", port=server.port, security="none", sender="qr@example.com")
    )


@pytest.fixture
def delivered(
    notifier: Notifier, server: MailServer, caplog: pytest.LogCaptureFixture
) -> Delivered:
    """The texts of what has arrived."""
    if isinstance(notifier, LogNotifier):
        return lambda: [r.getMessage() for r in caplog.records if r.name == "quietzone.letters"]
    return lambda: [mail.message.get_content() for mail in server.mails]


def test_a_letter_arrives_once_with_its_link_whole(
    notifier: Notifier, delivered: Delivered
) -> None:
    notifier.deliver(LETTER)
    (text,) = delivered()
    assert text.count(LINK) == 1


def test_letters_of_any_language_arrive(notifier: Notifier, delivered: Delivered) -> None:
    notifier.deliver(
        Letter("ada@example.com", "招待 — приглашение", f"Grüße\n{'x' * 2000}\n{LINK}")
    )
    (text,) = delivered()
    assert LINK in text


@pytest.mark.parametrize(
    "recipient",
    [
        "a,b@example.com",
        "a>,<eve@evil.example>,b@example.com",
        'a"b@example.com',
        "ada;eve@example.com",
        "ada(eve)@example.com",
        "ada@bücher.example",
    ],
)
def test_an_odd_address_is_one_address(
    notifier: Notifier, delivered: Delivered, server: MailServer, recipient: str
) -> None:
    # It is delivered to that address, or to nobody.
    try:
        notifier.deliver(Letter(recipient, "Hello", LINK))
    except ValueError:
        assert delivered() == []
        return
    assert len(delivered()) == 1
    for mail in server.mails:
        assert len(mail.recipients) == 1
        (address,) = mail.message["To"].addresses
        local, _, domain = recipient.rpartition("@")
        assert (address.username, address.domain) == (local, domain.encode("idna").decode())


def test_no_text_brings_in_a_line_of_its_own(
    notifier: Notifier, delivered: Delivered, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    forged = "x\n.\r\nWARNING forged: to eve\nBcc: eve@evil.example\r\n\r\n.\r\nRCPT TO:<eve@evil>"
    notifier.deliver(Letter("ada@example.com", "Bcc: eve@evil.example", forged))
    assert len(delivered()) == 1
    for record in caplog.records:
        assert "\n" not in record.getMessage()
    for mail in server.mails:
        assert mail.message["Bcc"] is None
        assert mail.recipients == ["<ada@example.com>"]


@pytest.mark.parametrize("break_", ["\n", "\r", "\r\n", "\x85", "\u2028", "\0"])
def test_a_subject_has_one_line_and_an_address_none(break_: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        Letter("ada@example.com", f"Hello{break_}Bcc: eve@evil.example", "")
    with pytest.raises(ValueError, match="not an e-mail address"):
        Letter(f"ada@example.com{break_}Bcc:eve@evil.example", "Hello", "")


def test_it_works_behind_an_outbox(notifier: Notifier, delivered: Delivered) -> None:
    outbox = Outbox(notifier)
    for _ in range(3):
        outbox.put(lambda: LETTER)
    assert outbox.flush()
    outbox.close()
    assert len(delivered()) == 3


def test_the_log_shows_a_letter_even_where_little_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    LogNotifier().deliver(LETTER)
    assert LINK in caplog.text
