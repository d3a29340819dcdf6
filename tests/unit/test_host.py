"""The plugin host: what it assembles, and what it says about everything that is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from core.api import (
    CacheTraits,
    ConfigurationError,
    Interval,
    PluginContext,
    PluginSettings,
    Secret,
    Window,
    hookimpl,
)
from core.extension.host import GROUP, PluginHost, PluginInfo

CONTEXT = PluginContext(data=Path("var"), base_url="https://qr.example.com")

Offer = Callable[..., EntryPoint]


class Today:
    """The smallest period there is."""

    intervals = (Interval.DAY,)

    def window(
        self, now: Any, timezone: ZoneInfo, first: Any, interval: Interval | None = None
    ) -> Window:
        day = now.astimezone(timezone).date()
        return Window.days(day, day + timedelta(days=1), timezone)

    def previous(self, window: Window) -> Window:
        return window.previous()


class AlmanacSettings(PluginSettings):
    days: Annotated[int, msgspec.Meta(ge=1)] = 7
    token: Secret | None = None


class Almanac:
    """Offers one period, named after its option, and keeps what it was given."""

    @hookimpl
    def qz_settings(self):
        return AlmanacSettings

    @hookimpl
    def qz_periods(self, settings, context):
        self.given = (settings, context)
        return {f"{settings.days}d": Today()}


class Plain:
    """Takes no options and offers the period `today`."""

    @hookimpl
    def qz_periods(self):
        return {"today": Today()}


@pytest.fixture
def offer(monkeypatch) -> Offer:
    """Puts a plugin into a module of its own and gives the entry point that leads to it."""

    def offered(name: str, plugin: object, module: str = "") -> EntryPoint:
        module = module or f"tested_{name}"
        holder = ModuleType(module)
        holder.plugin = plugin
        monkeypatch.setitem(sys.modules, module, holder)
        return EntryPoint(name, f"{module}:plugin", GROUP)

    return offered


def assemble(
    *available: EntryPoint,
    enabled: list[str] | None = None,
    sections: Mapping[str, Mapping[str, Any]] | None = None,
) -> PluginHost:
    """A host of `available`, all of them enabled unless `enabled` says otherwise."""
    names = [entry.name for entry in available] if enabled is None else enabled
    return PluginHost(names, sections or {}, CONTEXT, available)


def refusal(*available: EntryPoint, **arguments: Any) -> str:
    """What the host says when it refuses."""
    with pytest.raises(ConfigurationError) as caught:
        assemble(*available, **arguments)
    return str(caught.value)


# What a host assembles.


def test_a_module_an_instance_and_a_class_can_each_be_a_plugin(offer, monkeypatch):
    class Other:
        @hookimpl
        def qz_periods(self):
            return {"from-instance": Today()}

    module = ModuleType("tested_module")
    module.qz_periods = hookimpl(lambda: {"from-module": Today()})
    monkeypatch.setitem(sys.modules, "tested_module", module)
    host = assemble(
        EntryPoint("module", "tested_module", GROUP),
        offer("instance", Other()),
        offer("class", Plain),
    )
    assert host.periods.names() == ("from-module", "from-instance", "today")


def test_the_order_is_the_operators(offer):
    class Ordered:
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl
        def qz_periods(self):
            return {self.name: Today()}

    entries = [offer(name, Ordered(name)) for name in ("a", "b", "c")]
    assert assemble(*entries, enabled=["c", "a", "b"]).periods.names() == ("c", "a", "b")
    assert assemble(*entries, enabled=["b", "c", "a"]).periods.names() == ("b", "c", "a")


def test_a_plugin_cannot_push_itself_forward(offer):
    class Pushy:
        @hookimpl(tryfirst=True)
        def qz_periods(self):
            return {"pushy": Today()}

    host = assemble(offer("plain", Plain), offer("pushy", Pushy))
    assert host.periods.names() == ("today", "pushy")


def test_each_plugin_gets_its_own_options_and_the_context(offer):
    first, second, third = Almanac(), Almanac(), Almanac()
    host = assemble(
        offer("first", first),
        offer("second", second),
        offer("third", third),
        sections={"first": {"days": 14}, "second": {"days": "30", "token": "hunter2"}},
    )
    assert first.given == (AlmanacSettings(days=14), CONTEXT)
    assert second.given == (AlmanacSettings(days=30, token=Secret("hunter2")), CONTEXT)
    assert third.given == (AlmanacSettings(days=7), CONTEXT)
    assert host.options == {
        "first": first.given[0],
        "second": second.given[0],
        "third": third.given[0],
    }
    assert [host.periods.owner(name) for name in ("14d", "30d", "7d")] == [
        "first",
        "second",
        "third",
    ]


def test_a_plugin_without_options_gets_none(offer):
    class Curious(Plain):
        @hookimpl
        def qz_caches(self, settings):
            self.given = settings

    plugin = Curious()
    host = assemble(offer("curious", plugin))
    assert plugin.given is None
    assert host.options == {"curious": None}


def test_a_hook_that_returns_none_offers_nothing(offer):
    class Silent:
        @hookimpl
        def qz_periods(self):
            return None

    host = assemble(offer("silent", Silent), offer("plain", Plain))
    assert host.periods.names() == ("today",)
    assert host.periods.owner("today") == "plain"


def test_a_hook_under_another_name_belongs_to_its_plugin(offer):
    class Renamed:
        @hookimpl(specname="qz_periods")
        def some_periods(self):
            return {"some": Today()}

        @hookimpl(specname="qz_periods")
        def more_periods(self):
            return {"more": Today()}

    host = assemble(offer("renamed", Renamed), offer("plain", Plain))
    assert set(host.periods.names()) == {"some", "more", "today"}
    assert [host.periods.owner(name) for name in ("some", "more", "today")] == [
        "renamed",
        "renamed",
        "plain",
    ]


def test_an_optional_hook_that_is_unknown_here_is_passed_over(offer):
    class Forward(Plain):
        @hookimpl(optionalhook=True)
        def qz_holograms(self):
            raise AssertionError("nobody calls this")

    assert assemble(offer("forward", Forward)).periods.names() == ("today",)


def test_a_plugin_that_is_not_enabled_is_not_even_imported():
    absent = EntryPoint("absent", "tested_module_that_is_not_there:plugin", GROUP)
    host = assemble(absent, enabled=[])
    assert host.describe() == [PluginInfo("absent", "", "", enabled=False)]


def test_two_hosts_do_not_see_each_other(offer):
    almanac, plain = offer("almanac", Almanac), offer("plain", Plain)
    first = assemble(almanac, plain, enabled=["almanac"], sections={"almanac": {"days": 14}})
    second = assemble(almanac, plain, enabled=["plain", "almanac"])
    assert first.periods.names() == ("14d",)
    assert second.periods.names() == ("today", "7d")
    assert first.options["almanac"] != second.options["almanac"]


def test_the_installed_plugins_are_the_default():
    host = PluginHost([], {}, CONTEXT)
    known = {info.name: info for info in host.describe()}
    assert {"segno", "png", "svg", "sqlite", "memory", "rolling"} <= set(known)
    assert known["segno"].distribution == "quietzone"
    assert known["segno"].version


def test_the_description_lists_enabled_plugins_first_and_who_offers_what(offer, tmp_path):
    metadata = tmp_path / "almanac-2.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: almanac\nVersion: 2.0\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\nalmanac = tested_almanac:plugin\n")
    offer("almanac", Almanac)
    (almanac,) = Distribution.at(metadata).entry_points
    others = [offer(name, Plain) for name in ("d", "b", "e", "a", "c")]
    host = assemble(offer("plain", Plain), almanac, *others, enabled=["plain", "almanac"])
    assert host.describe() == [
        PluginInfo("plain", "", "", enabled=True, offers=("period today",)),
        PluginInfo("almanac", "almanac", "2.0", enabled=True, offers=("period 7d",)),
        *(PluginInfo(name, "", "", enabled=False) for name in "abcde"),
    ]


# What is wrong with the list of plugins.


def test_an_unknown_plugin_names_those_that_are_installed(offer):
    message = refusal(offer("plain", Plain), offer("almanac", Almanac), enabled=["plian"])
    assert message == (
        "plugins.enabled: there is no plugin 'plian'; installed are: almanac, plain; install the "
        "package that offers it in the entry-point group quietzone.plugins, or take it out"
    )


def test_a_plugin_that_is_listed_twice_is_refused(offer):
    message = refusal(offer("plain", Plain), enabled=["plain", "plain"])
    assert message == "plugins.enabled: 'plain' is listed 2 times; list it once"


def test_two_packages_with_a_plugin_of_the_same_name_are_refused(offer):
    message = refusal(
        offer("plain", Plain, "tested_one"), offer("plain", Plain, "tested_two"), enabled=["plain"]
    )
    assert message == (
        "two installed packages offer a plugin named 'plain', tested_one:plugin and "
        "tested_two:plugin; uninstall one of them"
    )


def test_an_entry_point_that_is_found_twice_is_one_plugin(offer):
    entry = offer("plain", Plain)
    assert assemble(entry, entry, enabled=["plain"]).periods.names() == ("today",)


def test_a_section_for_a_plugin_that_is_not_enabled_is_refused(offer):
    message = refusal(
        offer("plain", Plain),
        offer("almanac", Almanac),
        enabled=["plain"],
        sections={"almanac": {"days": 3}},
    )
    assert message == (
        "plugin.almanac: has options, but the plugin is not enabled; enabled are: plain; add "
        "'almanac' to plugins.enabled, or remove the section [plugin.almanac]"
    )


# What is wrong with a plugin.


def test_a_failed_import_says_what_is_missing():
    entry = EntryPoint("absent", "tested_module_that_is_not_there:plugin", GROUP)
    assert refusal(entry) == (
        "plugins.enabled: the plugin 'absent' (tested_module_that_is_not_there:plugin) cannot be "
        "loaded: ModuleNotFoundError: No module named 'tested_module_that_is_not_there'; "
        "install what it needs, or take it out"
    )


def test_a_plugin_class_that_cannot_be_constructed_says_why(offer):
    class Broken(Plain):
        def __init__(self) -> None:
            raise OSError("no almanac at hand")

    assert refusal(offer("broken", Broken)) == (
        "plugins.enabled: the plugin 'broken' (tested_broken:plugin) cannot be loaded: "
        "OSError: no almanac at hand; install what it needs, or take it out"
    )


def test_an_unknown_hook_is_refused_and_the_known_ones_are_named(offer):
    class Misspelt:
        @hookimpl
        def qz_period(self):
            return {}

    message = refusal(offer("plain", Plain), offer("misspelt", Misspelt))
    assert message.startswith(
        "plugin misspelt: has a hook that does not fit: unknown hook 'qz_period' in plugin "
    )
    assert message.endswith(
        "; known hooks are: qz_settings, qz_encoders, qz_renderers, qz_sheets, qz_storages, "
        "qz_scan_stores, qz_caches, qz_periods, qz_scan_enrichers, "
        "qz_check_destination, qz_notifiers"
    )


def test_a_hook_with_wrong_arguments_is_refused(offer):
    class Greedy:
        @hookimpl
        def qz_periods(self, settings, database):
            return {}

    message = refusal(offer("greedy", Greedy))
    assert message.startswith("plugin greedy: has a hook that does not fit: Plugin 'greedy' ")
    assert "qz_periods(settings, database)" in message
    assert "Argument(s) {'database'} are declared in the hookimpl but can not be found" in message
    assert "\n" not in message


def test_a_forgotten_decorator_is_noticed(offer):
    class Unmarked(Plain):
        def qz_caches(self):
            return {}

    assert refusal(offer("unmarked", Unmarked)) == (
        "plugin unmarked: qz_caches is not marked as a hook; put @hookimpl of core.api above it"
    )


@pytest.mark.parametrize("plugin", [object(), None, ModuleType("empty"), 7])
def test_a_plugin_without_any_hook_is_refused(offer, plugin):
    message = refusal(offer("empty", plugin))
    assert message.startswith("plugin empty: tested_empty:plugin implements no hook; known hooks")


def test_one_object_under_two_names_is_refused(offer):
    plugin = Plain()
    message = refusal(offer("one", plugin), offer("two", plugin))
    assert message == (
        "plugin two: is the same object (tested_two:plugin) as another enabled plugin; "
        "leave one of them out of plugins.enabled"
    )


def test_a_hook_that_raises_is_named_with_its_plugin(offer):
    class Failing(Plain):
        @hookimpl
        def qz_caches(self):
            raise RuntimeError("out of ink")

    message = refusal(offer("plain", Plain), offer("failing", Failing))
    assert message == "plugin failing: qz_caches failed: RuntimeError: out of ink"


def test_a_configuration_error_of_a_plugin_is_passed_on_as_it_is(offer):
    class Careful:
        @hookimpl
        def qz_periods(self):
            raise ConfigurationError("plugin.careful.path: write an absolute path")

    message = refusal(offer("careful", Careful))
    assert message == "plugin.careful.path: write an absolute path"


@pytest.mark.parametrize("offered", [[("today", Today())], "today", Today()])
def test_a_hook_must_return_a_mapping(offer, offered):
    class Loose:
        @hookimpl
        def qz_periods(self):
            return offered

    message = refusal(offer("loose", Loose))
    assert message.startswith(
        "plugin loose: qz_periods must return a mapping of names to components, not "
    )


# What is wrong with a plugin's options.


def test_an_unknown_option_is_named_by_its_path(offer):
    message = refusal(offer("almanac", Almanac), sections={"almanac": {"day": 3}})
    assert message == "plugin.almanac.day: unknown; known are: days, token"


def test_every_wrong_option_is_named_by_its_path(offer):
    message = refusal(
        offer("almanac", Almanac), sections={"almanac": {"days": 0, "token": 5, "hours": 1}}
    )
    assert "plugin.almanac.hours: unknown; known are: days, token" in message
    assert "plugin.almanac.days: must be at least 1; got 0" in message
    assert "plugin.almanac.token: " in message


def test_a_required_option_is_missed_even_without_a_section(offer):
    class Required(PluginSettings):
        path: str

    class Needy(Plain):
        @hookimpl
        def qz_settings(self):
            return Required

    assert refusal(offer("needy", Needy)) == "plugin.needy.path: is required"


def test_options_for_a_plugin_that_takes_none_are_refused(offer):
    message = refusal(offer("plain", Plain), sections={"plain": {"colour": "blue"}})
    assert message == (
        "plugin.plain.colour: the plugin takes no options; remove the section [plugin.plain]"
    )


def test_an_empty_section_is_no_option(offer):
    assert assemble(offer("plain", Plain), sections={"plain": {}}).options == {"plain": None}


def test_options_that_do_not_go_together_are_refused_by_their_own_type(offer):
    class Span(PluginSettings):
        first: int = 0
        last: int = 9

        def __post_init__(self) -> None:
            if self.last < self.first:
                raise ValueError(f"last: {self.last} is before first ({self.first}); swap them")

    class Spanned(Plain):
        @hookimpl
        def qz_settings(self):
            return Span

    message = refusal(offer("spanned", Spanned), sections={"spanned": {"first": 12}})
    assert message == "plugin.spanned: last: 9 is before first (12); swap them"


def test_a_type_of_option_that_cannot_be_read_is_the_authors_to_mend(offer):
    class Folder(PluginSettings):
        path: Path

    class Unreadable(Plain):
        @hookimpl
        def qz_settings(self):
            return Folder

    message = refusal(offer("unreadable", Unreadable), sections={"unreadable": {"path": "a"}})
    assert message.startswith(
        "plugin unreadable: the options cannot be read into Folder: NotImplementedError: "
    )


@pytest.mark.parametrize("kind", [dict, AlmanacSettings(), msgspec.Struct, "AlmanacSettings", 3])
def test_the_type_of_the_options_must_be_plugin_settings(offer, kind):
    class Odd(Plain):
        @hookimpl
        def qz_settings(self):
            return kind

    message = refusal(offer("odd", Odd))
    assert message == (
        f"plugin odd: qz_settings must return a subclass of core.api.PluginSettings, not {kind!r}"
    )


# What is wrong with a component.


def test_a_clash_names_both_plugins(offer):
    message = refusal(offer("one", Plain, "tested_one"), offer("two", Plain, "tested_two"))
    assert message == (
        "the period 'today' is offered by the plugin one and by the plugin two; "
        "leave one of them out of plugins.enabled"
    )


def test_one_name_may_serve_two_kinds(offer):
    class Memory:
        def open(self): ...
        def close(self): ...
        def get(self, key): ...
        def set(self, key, value, ttl): ...
        def delete(self, key): ...
        def get_many(self, keys): ...
        def add(self, key, value, ttl): ...
        def increment(self, key, ttl, by=1): ...
        def figures(self): ...
        def spaces(self): ...

        traits = CacheTraits(shared=False)

    class Both(Plain):
        @hookimpl
        def qz_caches(self):
            return {"today": Memory()}

    host = assemble(offer("both", Both))
    assert host.caches.names() == host.periods.names() == ("today",)
    assert host.describe()[0].offers == ("cache today", "period today")


@pytest.mark.parametrize(
    ("hook", "kind", "protocol", "lacks"),
    [
        ("qz_encoders", "encoder", "Encoder", "fingerprint, kinds, encode"),
        ("qz_renderers", "renderer", "Renderer", "fingerprint, media_type, extension, render"),
        (
            "qz_caches",
            "cache",
            "Cache",
            "traits, open, close, get, get_many, set, delete, add, increment, figures, spaces",
        ),
        ("qz_periods", "period", "Period", "intervals, window, previous"),
        (
            "qz_scan_stores",
            "scan store",
            "ScanStore",
            (
                "open, close, append, rebuild, position, tidy, tallies, forget, salt, "
                "snapshot, generation, counts, days, breakdowns, latest, totals"
            ),
        ),
        (
            "qz_storages",
            "storage",
            "Storage",
            (
                "organizations, users, memberships, sessions, invitations, password_resets, "
                "second_factors, api_keys, codes, styles, logos, idempotency, cache_epochs, audit, "
                "open, close, transaction, ping, pending_migrations, migrate, describe"
            ),
        ),
    ],
)
def test_a_component_that_lacks_parts_of_its_protocol_is_refused(
    offer, hook, kind, protocol, lacks
):
    def implementation():
        return {"hollow": object()}

    plugin = ModuleType("hollow")
    setattr(plugin, hook, hookimpl(implementation))
    assert refusal(offer("hollow", plugin)) == (
        f"plugin hollow: the {kind} 'hollow' lacks {lacks}; see {protocol} in core.api"
    )


@pytest.mark.parametrize(
    ("registry", "setting", "kind"),
    [
        ("encoders", "images.encoder", "encoder"),
        ("storages", "storage.backend", "storage"),
        ("scan_stores", "scans.store", "scan store"),
        ("caches", "cache.backend", "cache"),
        ("notifiers", "accounts.notifier", "notifier"),
    ],
)
def test_a_choice_that_nobody_offers_names_the_setting(offer, registry, setting, kind):
    host = assemble(offer("plain", Plain))
    with pytest.raises(ConfigurationError) as caught:
        getattr(host, registry).choose("redis", setting)
    assert str(caught.value) == (
        f"{setting}: no enabled plugin offers the {kind} 'redis'; offered are: none; "
        "choose one of them, or enable the plugin in plugins.enabled"
    )
