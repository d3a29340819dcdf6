"""Assembles the enabled plugins into registries, or says what is wrong and the way out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy
from msgspec import Struct

from core.domain.validation import read_section
from core.errors import ConfigurationError
from core.extension import hookspecs
from core.extension.hookspecs import PROJECT, PluginContext, PluginSettings
from core.extension.registry import Registry
from core.ports import (
    Cache,
    Encoder,
    Notifier,
    Period,
    Renderer,
    ScanEnricher,
    ScanStore,
    SheetPrinter,
    Storage,
    TargetCheck,
)

GROUP = "quietzone.plugins"


class PluginInfo(Struct, frozen=True):
    """One plugin as `quietzone plugins` lists it; `offers` names components as `kind name`."""

    name: str
    distribution: str
    version: str
    enabled: bool
    offers: tuple[str, ...] = ()


class PluginHost:
    """The enabled plugins of one application and everything that they offer."""

    def __init__(
        self,
        enabled: Sequence[str],
        sections: Mapping[str, Mapping[str, Any]],
        context: PluginContext,
        available: Iterable[EntryPoint] | None = None,
    ) -> None:
        """Load the plugins; raises ConfigurationError for the first thing that is wrong.

        `available` are the entry points to choose from; by default those that are installed.
        """
        self.encoders: Registry[Encoder] = Registry("encoder", Encoder)
        self.renderers: Registry[Renderer] = Registry("renderer", Renderer)
        self.sheets: Registry[SheetPrinter] = Registry("sheet printer", SheetPrinter)
        self.storages: Registry[Storage] = Registry("storage", Storage)
        self.scan_stores: Registry[ScanStore] = Registry("scan store", ScanStore)
        self.caches: Registry[Cache] = Registry("cache", Cache)
        self.periods: Registry[Period] = Registry("period", Period)
        self.scan_enrichers: Registry[ScanEnricher] = Registry("scan enricher", ScanEnricher)
        self.destination_checks: Registry[TargetCheck] = Registry("destination check", TargetCheck)
        self.notifiers: Registry[Notifier] = Registry("notifier", Notifier)
        self._registries: dict[str, Registry[Any]] = {
            "qz_encoders": self.encoders,
            "qz_renderers": self.renderers,
            "qz_sheets": self.sheets,
            "qz_storages": self.storages,
            "qz_scan_stores": self.scan_stores,
            "qz_caches": self.caches,
            "qz_periods": self.periods,
            "qz_scan_enrichers": self.scan_enrichers,
            "qz_check_destination": self.destination_checks,
            "qz_notifiers": self.notifiers,
        }
        self._entries = _by_name(entry_points(group=GROUP) if available is None else available)
        self._enabled = tuple(enabled)
        self._refuse_wrong_names(sections)
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        for name in self._enabled:
            self._register(name)
        self.options = {name: self._options(name, sections.get(name)) for name in self._enabled}
        for hook, registry in self._registries.items():
            for name in self._enabled:
                self._collect(hook, registry, name, self.options[name], context)

    def describe(self) -> list[PluginInfo]:
        """Every installed plugin: the enabled ones first, in their order, then the others."""
        others = sorted(set(self._entries) - set(self._enabled))
        return [self._info(name) for name in (*self._enabled, *others)]

    def _info(self, name: str) -> PluginInfo:
        distribution = self._entries[name].dist
        return PluginInfo(
            name=name,
            distribution=distribution.name if distribution else "",
            version=distribution.version if distribution else "",
            enabled=name in self._enabled,
            offers=tuple(
                f"{registry.kind} {component}"
                for registry in self._registries.values()
                for component in registry.names()
                if registry.owner(component) == name
            ),
        )

    def _refuse_wrong_names(self, sections: Mapping[str, Any]) -> None:
        for name, times in Counter(self._enabled).items():
            if times > 1:
                raise ConfigurationError(
                    f"plugins.enabled: {name!r} is listed {times} times; list it once"
                )
            if name not in self._entries:
                installed = ", ".join(sorted(self._entries)) or "none"
                raise ConfigurationError(
                    f"plugins.enabled: there is no plugin {name!r}; installed are: {installed}; "
                    f"install the package that offers it in the entry-point group {GROUP}, "
                    "or take it out"
                )
        for name in sections:
            if name not in self._enabled:
                raise ConfigurationError(
                    f"plugin.{name}: has options, but the plugin is not enabled; enabled are: "
                    f"{', '.join(self._enabled) or 'none'}; add {name!r} to plugins.enabled, or "
                    f"remove the section [plugin.{name}]"
                )

    def _register(self, name: str) -> None:
        entry = self._entries[name]
        try:
            plugin = entry.load()
            plugin = plugin() if isinstance(plugin, type) else plugin
        except Exception as error:
            raise ConfigurationError(
                f"plugins.enabled: the plugin {name!r} ({entry.value}) cannot be loaded: "
                f"{type(error).__name__}: {error}; install what it needs, or take it out"
            ) from error
        known = ", ".join(["qz_settings", *self._registries])
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise ConfigurationError(
                f"plugin {name}: has a hook that does not fit: {' '.join(str(error).split())}; "
                f"known hooks are: {known}"
            ) from error
        except ValueError as error:
            raise ConfigurationError(
                f"plugin {name}: is the same object ({entry.value}) as another enabled plugin; "
                "leave one of them out of plugins.enabled"
            ) from error
        # NOTE: pluggy passes over a function that is not marked, so a forgotten decorator would
        # otherwise be a plugin that is enabled and offers nothing.
        for attribute in dir(plugin):
            if attribute.startswith("qz_") and not self._is_hook(plugin, attribute):
                raise ConfigurationError(
                    f"plugin {name}: {attribute} is not marked as a hook; "
                    "put @hookimpl of core.api above it"
                )
        if not self._manager.get_hookcallers(plugin):
            raise ConfigurationError(
                f"plugin {name}: {entry.value} implements no hook; known hooks are: {known}"
            )

    def _is_hook(self, plugin: object, attribute: str) -> bool:
        return self._manager.parse_hookimpl_opts(plugin, attribute) is not None

    def _options(self, name: str, section: Mapping[str, Any] | None) -> PluginSettings | None:
        kinds = self._call("qz_settings", name)
        if not kinds:
            if section:
                raise ConfigurationError(
                    f"plugin.{name}.{next(iter(section))}: the plugin takes no options; "
                    f"remove the section [plugin.{name}]"
                )
            return None
        kind = kinds[0]
        if not (isinstance(kind, type) and issubclass(kind, PluginSettings)):
            raise ConfigurationError(
                f"plugin {name}: qz_settings must return a subclass of core.api.PluginSettings, "
                f"not {kind!r}"
            )
        try:
            return read_section(kind, section or {}, f"plugin.{name}")
        except ConfigurationError:
            raise
        except ValueError as error:
            # The Struct's own __post_init__ refuses options that do not go together.
            raise ConfigurationError(f"plugin.{name}: {error}") from error
        except Exception as error:
            raise ConfigurationError(
                f"plugin {name}: the options cannot be read into {kind.__name__}: "
                f"{type(error).__name__}: {error}; its author has to mend this"
            ) from error

    def _collect(
        self,
        hook: str,
        registry: Registry[Any],
        name: str,
        options: PluginSettings | None,
        context: PluginContext,
    ) -> None:
        for offered in self._call(hook, name, settings=options, context=context):
            if not isinstance(offered, Mapping):
                raise ConfigurationError(
                    f"plugin {name}: {hook} must return a mapping of names to components, "
                    f"not {offered!r}"
                )
            for component_name, component in offered.items():
                registry.add(component_name, component, name)

    def _call(self, hook: str, name: str, **arguments: Any) -> list[Any]:
        """What the one plugin's implementations of the hook return, None left out."""
        others = [plugin for other, plugin in self._manager.list_name_plugin() if other != name]
        caller = self._manager.subset_hook_caller(hook, others)
        try:
            return list(caller(**arguments))
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"plugin {name}: {hook} failed: {type(error).__name__}: {error}"
            ) from error


def _by_name(available: Iterable[EntryPoint]) -> dict[str, EntryPoint]:
    entries: dict[str, EntryPoint] = {}
    for entry in available:
        other = entries.get(entry.name)
        if other is not None and other.value != entry.value:
            raise ConfigurationError(
                f"two installed packages offer a plugin named {entry.name!r}, {_origin(other)} and "
                f"{_origin(entry)}; uninstall one of them"
            )
        entries[entry.name] = entry
    return entries


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} ({entry.value})" if entry.dist else entry.value
