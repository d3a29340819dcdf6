"""Decides where codes may lead: by the settings' rules, and by the checks of plugins."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from threading import Lock

from msgspec.structs import replace

from core.domain.codes import DestinationPolicy, Target
from core.domain.contents import Content, Text, links_of
from core.domain.hosts import domain
from core.errors import DestinationRefused, FieldProblem, InvalidFields
from core.ports import TargetCheck
from core.settings import CodesSettings

_logger = logging.getLogger(__name__)

_SILENCE = 60.0
"""For how many seconds a check that has failed is not complained of again."""

_LINK = re.compile(r"\s*(https?://\S+)\s*", re.IGNORECASE)


class Destinations:
    """Holds links against the rules of `[codes]`, then asks one check after the other.

    A check that fails lets nothing pass: what it stands for may be a law. `seconds` go on evenly,
    and never back.
    """

    def __init__(
        self,
        settings: CodesSettings,
        base_url: str,
        checks: Mapping[str, TargetCheck],
        seconds: Callable[[], float],
    ) -> None:
        self._policy = DestinationPolicy(
            schemes=frozenset(scheme.lower() for scheme in settings.schemes),
            base_url=base_url,
            private=settings.private_destinations,
            denied=frozenset(map(domain, settings.denied_domains)),
        )
        # What is printed as it is never comes back here, and only a browser follows it.
        self._printed = replace(self._policy, schemes=frozenset({"http", "https"}), base_url="")
        self._checks = dict(checks)
        self._seconds = seconds
        self._opened: dict[str, TargetCheck] = {}
        self._lock = Lock()
        self._silent_until: dict[str, float] = {}

    def prove(self) -> None:
        """Open every check and close it again; raises what the first of them raises."""
        for check in self._checks.values():
            check.open()
            check.close()

    def open(self) -> None:
        """Open every check; one that cannot be opened refuses every link until it can.

        Redirects and the drainer go on meanwhile, whatever has become of a list.
        """
        for name, check in self._checks.items():
            try:
                self._ready(name, check)
            except Exception as error:  # noqa: BLE001
                self._complain(name, error)

    def close(self) -> None:
        """Close every check that was opened, in reverse order; may be called again."""
        while self._opened:
            self._opened.popitem()[1].close()

    def check(self, destination: str) -> None:
        """Raise ValueError, saying why and what to do, unless codes may lead there."""
        self._ask(self._policy.check(destination))

    def check_content(self, content: Content, where: str = "content") -> None:
        """Raise InvalidFields for links of a content that must not be printed.

        So is a text that is a link: phones make no difference.
        """
        links = [(f"{where}.{path}", url) for path, url in links_of(content)]
        if isinstance(content, Text) and (match := _LINK.fullmatch(content.text)):
            links.append((where, match[1]))
        problems = []
        for field, url in links:
            try:
                self._ask(self._printed.check(url))
            except ValueError as error:
                problems.append(FieldProblem(field, str(error)))
        if problems:
            raise InvalidFields(problems)

    def _ask(self, target: Target) -> None:
        for name, check in self._checks.items():
            try:
                self._ready(name, check)
                check.check(target)
            except DestinationRefused as refusal:
                raise ValueError(str(refusal)) from None
            except Exception as error:
                self._complain(name, error)
                raise ValueError(
                    f"the check {name!r} of this service could not decide about the link, and lets "
                    "none pass until it can; try again later, or tell the operator"
                ) from error

    def _ready(self, name: str, check: TargetCheck) -> None:
        with self._lock:
            if name not in self._opened:
                check.open()
                self._opened[name] = check

    def _complain(self, name: str, error: Exception) -> None:
        now = self._seconds()
        if now < self._silent_until.get(name, now):
            return
        self._silent_until[name] = now + _SILENCE
        _logger.error(
            "the destination check %r failed, and links are refused; further failures of it are "
            "not logged for a minute",
            name,
            exc_info=error,
        )
