"""The registry: one kind of component, each with its name and its owner."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.api import ConfigurationError, Interval, Period, Window
from core.extension.registry import Registry


class Today:
    intervals = (Interval.DAY,)

    def window(
        self,
        now: datetime,
        timezone: ZoneInfo,
        first: datetime | None,
        interval: Interval | None = None,
    ) -> Window:
        day = now.astimezone(timezone).date()
        return Window.days(day, day + timedelta(days=1), timezone)

    def previous(self, window: Window) -> Window:
        return window.previous()


@pytest.fixture
def periods() -> Registry[Period]:
    return Registry("period", Period)


def refusal(registry: Registry[Any], name: Any, component: Any, owner: str = "almanac") -> str:
    """What the registry says when it refuses the component."""
    with pytest.raises(ConfigurationError) as caught:
        registry.add(name, component, owner)
    assert name not in registry.names() or owner != "almanac"
    return str(caught.value)


def test_a_component_is_found_by_its_name_and_knows_its_owner(periods):
    today = Today()
    periods.add("today", today, "almanac")
    assert periods.get("today") is today
    assert periods.owner("today") == "almanac"
    assert periods.get("yesterday") is None


def test_components_are_listed_in_the_order_in_which_they_came(periods):
    first, second = Today(), Today()
    periods.add("z", first, "one")
    periods.add("a", second, "two")
    assert periods.names() == ("z", "a")
    assert list(periods) == [("z", first), ("a", second)]
    assert len(periods) == 2


def test_a_clash_names_both_plugins_and_keeps_the_first(periods):
    first = Today()
    periods.add("today", first, "almanac")
    message = refusal(periods, "today", Today(), "diary")
    assert message == (
        "the period 'today' is offered by the plugin almanac and by the plugin diary; "
        "leave one of them out of plugins.enabled"
    )
    assert periods.get("today") is first
    assert periods.owner("today") == "almanac"


@pytest.mark.parametrize("name", ["7d", "a", "last-week", "last_week", "x" * 40])
def test_a_name_that_can_stand_in_an_address_is_taken(periods, name):
    periods.add(name, Today(), "almanac")
    assert periods.names() == (name,)


@pytest.mark.parametrize(
    "name", ["", "7D", "a b", "a/b", "../a", "-a", "ä", "a\n", "x" * 41, 7, None, b"a"]
)
def test_a_name_that_cannot_stand_in_an_address_is_refused(periods, name):
    message = refusal(periods, name, Today())
    assert message.startswith(f"plugin almanac: {name!r} cannot be the name of a period; use lower")


def test_a_component_that_lacks_a_part_of_its_protocol_is_refused(periods):
    assert refusal(periods, "today", object()) == (
        "plugin almanac: the period 'today' lacks intervals, window, previous; "
        "see Period in core.api"
    )


def test_a_class_in_place_of_its_instance_is_refused(periods):
    assert refusal(periods, "today", Today) == (
        "plugin almanac: the period 'today' is the class Today; return an instance of it"
    )


def test_a_part_that_fails_before_it_is_opened_is_there_all_the_same(periods):
    class Sleeping(Today):
        @property
        def window(self) -> Any:
            raise AttributeError("not open yet")

    periods.add("sleeping", Sleeping(), "almanac")
    assert periods.names() == ("sleeping",)


def test_a_part_may_belong_to_the_instance_alone(periods):
    class Assembled:
        def __init__(self) -> None:
            self.intervals = Today.intervals
            self.window = Today().window
            self.previous = Today().previous

    periods.add("assembled", Assembled(), "almanac")
    assert periods.names() == ("assembled",)


def test_choosing_gives_the_component_that_the_setting_names(periods):
    today = Today()
    periods.add("today", today, "almanac")
    assert periods.choose("today", "statistics.period") is today


def test_choosing_what_nobody_offers_names_the_setting_and_the_way_out(periods):
    periods.add("today", Today(), "almanac")
    periods.add("7d", Today(), "rolling")
    with pytest.raises(ConfigurationError) as caught:
        periods.choose("forever", "statistics.period")
    assert str(caught.value) == (
        "statistics.period: no enabled plugin offers the period 'forever'; offered are: "
        "today, 7d; choose one of them, or enable the plugin in plugins.enabled"
    )


def test_choosing_from_nothing_says_that_nothing_is_offered(periods):
    with pytest.raises(ConfigurationError, match="offered are: none; choose"):
        periods.choose("7d", "statistics.period")
