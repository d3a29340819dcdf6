"""Decides where codes may lead: by the settings' rules, and by the checks of plugins."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping

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
        self._opened: list[TargetCheck] = []
        self._silent_until: dict[str, float] = {}

    def open(self) -> None:
        """Open every check; raises what the first of them raises, with the others closed again."""
        try:
            for check in self._checks.values():
                check.open()
                self._opened.append(check)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every check that was opened, in reverse order; may be called again."""
        while self._opened:
            self._opened.pop().close()

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
                check.check(target)
            except DestinationRefused as refusal:
                raise ValueError(str(refusal)) from None
            except Exception as error:
                self._complain(name, error)
                raise ValueError(
                    f"the check {name!r} of this service could not decide about the link, and lets "
                    "none pass until it can; try again later, or tell the operator"
                ) from error

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
