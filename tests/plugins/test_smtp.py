"""The notifier `smtp`: TLS, signing in, and what it says where it fails."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.api import Letter, Secret
from core.domain.validation import read_section
from core.errors import ConfigurationError
from plugins.notifiers.smtp import SmtpNotifier, SmtpSettings
from tests.mailserver import MailServer

SECRET_LINK = "https://qr.example.com/invitations#token=Zm9vYmFyYmF6cXV1eA"
LETTER = Letter("ada@example.com", "Hello", SECRET_LINK)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    words = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem"
    )
    subprocess.run(words.split(), cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def server(certificate: Path) -> Iterator[MailServer]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server = MailServer(tls)
    yield server
    server.close()


@pytest.fixture
def options(server: MailServer, certificate: Path) -> dict[str, Any]:
    return {
        "host": "localhost",
        "port": server.port,
        "ca": str(certificate / "cert.pem"),
        "sender": "qr@example.com",
        "timeout": 5.0,
    }


def refusal(settings: SmtpSettings) -> str:
    with pytest.raises((ConnectionError, ValueError)) as caught:
        SmtpNotifier(settings).deliver(LETTER)
    assert SECRET_LINK not in str(caught.value)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_it_signs_in_and_sends_over_tls_alone(server: MailServer, options: dict[str, Any]) -> None:
    settings = SmtpSettings(**options, username="qz", password=Secret("hunter2"))
    SmtpNotifier(settings).deliver(LETTER)
    (mail,) = server.mails
    assert server.encrypted == [True]
    assert server.logins == [("qz", "hunter2")]
    assert mail.message["From"] == "Quietzone <qr@example.com>"
    assert mail.message["To"] == "ada@example.com"
    assert mail.message["Subject"] == "Hello"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert mail.message["Message-ID"].endswith("@example.com>")


def test_a_server_that_nobody_vouches_for_is_sent_nothing(
    server: MailServer, options: dict[str, Any]
) -> None:
    settings = SmtpSettings(**{**options, "ca": ""}, username="qz", password=Secret("hunter2"))
    told = refusal(settings)
    assert told.startswith("ConnectionError: the mail server localhost cannot be used: ")
    assert server.mails == server.logins == []


def test_a_server_without_tls_is_sent_nothing(options: dict[str, Any]) -> None:
    plain = MailServer()
    told = refusal(SmtpSettings(**{**options, "port": plain.port}))
    plain.close()
    assert "STARTTLS" in told
    assert plain.mails == []


@pytest.mark.parametrize(
    ("verb", "answer", "told"),
    [
        ("RCPT", "550 no such user", "ValueError: the mail server refuses the recipient (550)"),
        ("RCPT", "450 later", "ConnectionError: the mail server puts the recipient off (450)"),
        ("MAIL", "451 busy", "ConnectionError: the mail server refuses it: "),
        ("DATA", "554 spam", "ConnectionError: the mail server refuses it: SMTPDataError 554"),
        ("AUTH", "535 AHF6AGh1bnRlcjI= is wrong", "SMTPAuthenticationError 535"),
    ],
)
def test_what_the_server_says_is_told_by_its_number_alone(
    server: MailServer, options: dict[str, Any], verb: str, answer: str, told: str
) -> None:
    server.answers[verb] = answer
    said = refusal(SmtpSettings(**options, username="qz", password=Secret("hunter2")))
    assert told in said
    assert "AHF6AGh1bnRlcjI" not in said
    assert server.mails == []


def test_a_server_that_is_away_may_be_back(server: MailServer, options: dict[str, Any]) -> None:
    server.close()
    told = refusal(SmtpSettings(**options))
    assert told == "ConnectionError: the mail server localhost cannot be used: Connection refused"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sender": "nobody"}, "sender: no mail can be sent to this address"),
        ({"sender": "qr@example.com>, <eve@evil.example"}, "sender: "),
        ({"sender_name": "A\r\nBcc: eve@evil.example"}, "plugin.smtp.sender_name: the control"),
        ({"sender_name": "A\nBcc: eve@evil.example"}, "sender: "),
        ({"username": "qz"}, "username and password: give both, or neither"),
        ({"username": "qz", "password": "x", "security": "none"}, "security: "),
        ({"security": "maybe"}, "plugin.smtp.security: must be one of"),
        ({"sender": None}, "plugin.smtp.sender: "),
    ],
)
def test_options_that_cannot_work_are_refused(change: dict[str, Any], told: str) -> None:
    section = {"host": "localhost", "sender": "qr@example.com", **change}
    with pytest.raises((ConfigurationError, ValueError)) as caught:
        read_section(SmtpSettings, section, "plugin.smtp")
    assert told in str(caught.value)
