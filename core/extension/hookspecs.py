"""The hooks that a plugin may implement.

All are called once, while the application is put together, plugin by plugin in the order of
`plugins.enabled`; a request never calls one. A plugin takes only those arguments that it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pluggy
from msgspec import Struct

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

PROJECT = "quietzone"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class PluginSettings(Struct, frozen=True, kw_only=True):
    """The base of a plugin's options: each field is a key of the section `[plugin.NAME]`."""


class PluginContext(Struct, frozen=True):
    """What a plugin may know of the service that it is put into."""

    data: Path
    base_url: str


@hookspec
def qz_settings() -> type[PluginSettings]:  # type: ignore[empty-body]
    """The type of this plugin's options; a plugin without this hook takes no options."""


@hookspec
def qz_encoders(settings: Any, context: PluginContext) -> Mapping[str, Encoder]:  # type: ignore[empty-body]
    """Encoders by name; `images.encoder` chooses the one that is used."""


@hookspec
def qz_renderers(settings: Any, context: PluginContext) -> Mapping[str, Renderer]:  # type: ignore[empty-body]
    """Renderers by format, the name that `?format=` takes; all of them are used."""


@hookspec
def qz_sheets(settings: Any, context: PluginContext) -> Mapping[str, SheetPrinter]:  # type: ignore[empty-body]
    """Printers of label sheets by format; all of them are used."""


@hookspec
def qz_storages(settings: Any, context: PluginContext) -> Mapping[str, Storage]:  # type: ignore[empty-body]
    """Storages by name; `storage.backend` chooses the one that is used."""


@hookspec
def qz_scan_stores(settings: Any, context: PluginContext) -> Mapping[str, ScanStore]:  # type: ignore[empty-body]
    """Scan stores by name; `scans.store` chooses the one that is used."""


@hookspec
def qz_caches(settings: Any, context: PluginContext) -> Mapping[str, Cache]:  # type: ignore[empty-body]
    """Caches by name; `cache.backend` chooses the one that is used."""


@hookspec
def qz_periods(settings: Any, context: PluginContext) -> Mapping[str, Period]:  # type: ignore[empty-body]
    """Periods by name, the name that `?period=` takes; all of them are used."""


@hookspec
def qz_scan_enrichers(settings: Any, context: PluginContext) -> Mapping[str, ScanEnricher]:  # type: ignore[empty-body]
    """Scan enrichers by name; all of them are used, in the order of `plugins.enabled`."""


@hookspec
def qz_check_destination(settings: Any, context: PluginContext) -> Mapping[str, TargetCheck]:  # type: ignore[empty-body]
    """Checks of destinations by name; all of them are asked, in the order of `plugins.enabled`."""


@hookspec
def qz_notifiers(settings: Any, context: PluginContext) -> Mapping[str, Notifier]:  # type: ignore[empty-body]
    """Notifiers by name; `accounts.notifier` chooses the one that is used."""
