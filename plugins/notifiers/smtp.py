"""The notifier `smtp`: letters go out as mails, through a server that takes them (RFC 6409)."""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Mapping
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Annotated, Literal

from msgspec import Meta

from core.api import Letter, Notifier, PluginSettings, Secret, hookimpl

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_LOCAL = re.compile(r"[^@\s\x00-\x20\x7f]+")
_DOMAIN = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")


class SmtpSettings(PluginSettings, frozen=True, kw_only=True):
    """`[plugin.smtp]`: the server and how it is spoken to; `port` follows from `security`."""

    host: Annotated[str, Meta(min_length=1)]
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca: str = ""
    username: str | None = None
    password: Secret | None = None
    sender: str
    sender_name: str = "Quietzone"
    timeout: Annotated[float, Meta(ge=1, le=120)] = 15.0

    def __post_init__(self) -> None:
        if (self.password is None) != (self.username is None):
            raise ValueError("username and password: give both, or neither")
        if self.username is not None and self.security == "none":
            raise ValueError('security: "none" would send the password in clear; use "starttls"')
        try:
            address_of(self.sender, self.sender_name)
        except ValueError as error:
            raise ValueError(f"sender: {error}") from error


class SmtpNotifier:
    """Sends each letter by a connection of its own."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings

    def deliver(self, letter: Letter) -> None:
        """Hand the letter to the server.

        Raises ValueError where its recipient cannot stand in a mail, or is refused for good;
        ConnectionError, with nothing of the letter in it, for whatever may pass.
        """
        message = self._message(letter)
        try:
            with self._connected() as server:
                server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code = max(code for code, _ in error.recipients.values())
            if code >= 500:
                raise ValueError(f"the mail server refuses the recipient ({code})") from None
            raise ConnectionError(f"the mail server puts the recipient off ({code})") from None
        except smtplib.SMTPNotSupportedError as error:
            raise ValueError(f"the mail server cannot do this: {error}") from None
        except smtplib.SMTPResponseException as error:
            # Only the number: servers repeat in their words what they were sent.
            kind = type(error).__name__
            raise ConnectionError(f"the mail server refuses it: {kind} {error.smtp_code}") from None
        except (smtplib.SMTPException, OSError) as error:
            told = getattr(error, "strerror", None) or type(error).__name__
            host = self._settings.host
            raise ConnectionError(f"the mail server {host} cannot be used: {told}") from None

    def _message(self, letter: Letter) -> EmailMessage:
        message = EmailMessage()
        sender = address_of(self._settings.sender, self._settings.sender_name)
        try:
            message["From"] = sender
            message["To"] = address_of(letter.recipient)
            message["Subject"] = letter.subject
        except MessageError as error:
            raise ValueError(f"no mail can be made of it: {type(error).__name__}") from None
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=sender.domain)
        # So that no holiday note comes back (RFC 3834).
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(letter.text)
        return message

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        port, timeout = settings.port or _PORTS[settings.security], settings.timeout
        if settings.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host, port, timeout=timeout, context=self._tls()
            )
        else:
            server = smtplib.SMTP(settings.host, port, timeout=timeout)
        try:
            if settings.security == "starttls":
                server.starttls(context=self._tls())
            if settings.username is not None and settings.password is not None:
                server.login(settings.username, settings.password.reveal())
        except BaseException:
            server.close()
            raise
        return server

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._settings.ca or None)


def address_of(email: str, name: str = "") -> Address:
    """An address as a header may hold it: quoted where it has to be, its domain in ASCII.

    Raises ValueError for what cannot be one.
    """
    local, _, domain = email.rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode()
    except UnicodeError:
        ascii_domain = ""
    if not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(ascii_domain):
        raise ValueError("no mail can be sent to this address; write it as name@example.com")
    return Address(display_name=name, username=local, domain=ascii_domain)


@hookimpl
def qz_settings() -> type[PluginSettings]:
    """The options."""
    return SmtpSettings


@hookimpl
def qz_notifiers(settings: SmtpSettings) -> Mapping[str, Notifier]:
    """Offer the notifier."""
    return {"smtp": SmtpNotifier(settings)}
