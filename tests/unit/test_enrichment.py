"""Enrichment: the order of the enrichers, and what becomes of those that fail."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from core.api import ConfigurationError, Traits, Visit
from core.services.enrichment import Enrichment
from plugins.enrichers.user_agent import UserAgentEnricher

VISIT = Visit(UUID(int=1), UUID(int=2), datetime(2026, 5, 6, tzinfo=UTC), "192.0.2.1", "Phone/1.0")
TEXT = st.text(st.characters(), max_size=200)


class Enricher:
    """Sets what it is given, after a look at what the others have set."""

    def __init__(self, log: list[str] | None = None, name: str = "", **traits):
        self.log, self.name, self.traits = log if log is not None else [], name, traits
        self.seen: list[Traits] = []

    def open(self) -> None:
        self.log.append(f"open {self.name}")

    def close(self) -> None:
        self.log.append(f"close {self.name}")

    def enrich(self, visit: Visit, traits: Traits) -> Traits:
        self.seen.append(traits)
        return replace(traits, **self.traits)


class Broken(Enricher):
    """Fails in whatever it is asked for; its message tells what may be told to nobody."""

    def open(self) -> None:
        raise ConfigurationError("broken: cannot be opened")

    def enrich(self, visit: Visit, traits: Traits) -> Traits:
        raise KeyError(f"{visit.address} {visit.user_agent}")


def test_what_headers_tell_needs_no_plugin():
    visit = replace(
        VISIT, language="de-AT,en;q=0.5", referrer="https://www.example.com/page", country="at"
    )
    assert Enrichment({}).traits(visit) == Traits(
        country="AT", language="de", referrer="example.com"
    )


@pytest.mark.parametrize("change", [{"prefetch": True}, {"user_agent": ""}, {"user_agent": " \t"}])
def test_a_prefetch_and_a_request_without_user_agent_are_bots(change):
    assert Enrichment({}).traits(replace(VISIT, **change)) == Traits(bot=True)


def test_enrichers_are_asked_in_order_and_see_what_those_before_found():
    first, second = Enricher(os="iOS"), Enricher(os="Android", browser="Chrome")
    assert Enrichment({"first": first, "second": second}).traits(VISIT) == Traits(
        os="Android", browser="Chrome"
    )
    assert second.seen == [Traits(os="iOS")]


@pytest.mark.parametrize(
    "broken", [Broken(), Enricher(country="Mars"), Enricher(colour="red"), Enricher(os=7)]
)
def test_an_enricher_that_fails_leaves_the_traits_as_they_were(broken, caplog):
    enrichers = {"first": Enricher(os="iOS"), "broken": broken, "last": Enricher(browser="Safari")}
    assert Enrichment(enrichers).traits(VISIT) == Traits(os="iOS", browser="Safari")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "the scan enricher 'broken' failed" in record.getMessage()


def test_an_enricher_that_returns_something_else_has_failed(caplog):
    nothing = Enricher()
    nothing.enrich = lambda visit, traits: None
    assert Enrichment({"nothing": nothing}).traits(VISIT) == Traits()
    assert "'nothing' failed and was passed over: TypeError" in caplog.text


def test_a_failure_is_logged_once_a_minute_for_each_enricher(caplog):
    now = 1000.0
    enrichment = Enrichment({"one": Broken(), "two": Broken()}, lambda: now)

    def complaints() -> int:
        caplog.clear()
        enrichment.traits(VISIT)
        return len(caplog.records)

    assert complaints() == 2
    now += 59.9
    assert complaints() == 0
    now += 0.1
    assert complaints() == 2
    assert complaints() == 0


def test_the_log_tells_where_an_enricher_failed_but_nothing_of_the_visitor(caplog):
    Enrichment({"broken": Broken()}).traits(VISIT)
    assert "KeyError" in caplog.text
    assert "test_enrichment.py:" in caplog.text
    assert VISIT.address not in caplog.text
    assert VISIT.user_agent not in caplog.text


def test_enrichers_are_opened_in_order_and_closed_in_reverse():
    log: list[str] = []
    enrichment = Enrichment({"a": Enricher(log, "a"), "b": Enricher(log, "b")})
    enrichment.open()
    enrichment.close()
    enrichment.close()
    assert log == ["open a", "open b", "close b", "close a"]


class Closed(Enricher):
    """Cannot be opened as long as there is a `reason`."""

    reason = "its file is gone"

    def open(self) -> None:
        if self.reason:
            raise ConfigurationError(self.reason)
        super().open()


def test_one_that_cannot_be_opened_is_passed_over_and_tried_again_every_minute(caplog):
    now = 1000.0
    log: list[str] = []
    closed = Closed(log, "closed", country="AT")
    enrichment = Enrichment(
        {"closed": closed, "open": Enricher(log, "open", os="iOS")}, lambda: now
    )
    for _ in range(3):
        enrichment.open()
        assert enrichment.traits(VISIT) == Traits(os="iOS")
        now += 60
    assert log == ["open open"]
    (message,) = caplog.messages
    assert "'closed' cannot be opened" in message
    assert "its file is gone" in message
    closed.reason = ""
    now -= 1
    enrichment.open()
    assert log == ["open open"]
    now += 1
    enrichment.open()
    enrichment.open()
    assert enrichment.traits(VISIT) == Traits(os="iOS", country="AT")
    assert caplog.messages[1:] == ["the scan enricher 'closed' is open now"]
    enrichment.close()
    assert log == ["open open", "open closed", "close closed", "close open"]


def test_before_the_start_one_that_cannot_be_opened_is_refused():
    log: list[str] = []
    enrichment = Enrichment({"a": Enricher(log, "a"), "broken": Broken(log)})
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        enrichment.check()
    assert log == ["open a", "close a"]


@settings(deadline=None)
@given(TEXT, TEXT, TEXT, TEXT, TEXT, st.booleans())
def test_no_visit_makes_it_raise(address, user_agent, language, referrer, country, prefetch):
    # Traits check their own alphabets, so that getting any is what is to be shown.
    visit = Visit(
        UUID(int=1),
        UUID(int=2),
        VISIT.at,
        address,
        user_agent,
        prefetch=prefetch,
        language=language,
        referrer=referrer,
        country=country,
    )
    traits = Enrichment({"user_agent": UserAgentEnricher()}).traits(visit)
    assert traits.bot or not prefetch
