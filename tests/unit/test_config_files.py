"""The shipped settings files are complete, true and usable."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.domain.validation import read_section
from core.extension.hookspecs import PluginSettings
from core.settings import DEFAULT_FILE, Settings, load
from plugins.caches.memcached import MemcachedSettings
from plugins.caches.memory import MemorySettings
from plugins.caches.shared_memory import SharedMemorySettings
from plugins.destinations.domain_list import DomainListSettings
from plugins.enrichers.geoip import GeoipSettings
from plugins.notifiers.smtp import SmtpSettings
from plugins.renderers.text import TextSettings
from plugins.storage.postgres import PostgresSettings
from plugins.storage.sqlite import SqliteSettings

FOLDER = DEFAULT_FILE.parent
ENVIRONMENT = {
    "default": {},
    "production": {
        "QUIETZONE_BASE_URL": "https://qr.example.com",
        "QUIETZONE_DATABASE": "postgresql://quietzone:secret@db.example.com/quietzone",
    },
    "loadtest": {"QUIETZONE_DATA": "/tmp/load", "QUIETZONE_BIND": "127.0.0.1:8123"},
}
ENVIRONMENT_OF_PLUGINS = {
    "QUIETZONE_DATABASE": "dbname=quietzone",
    "QUIETZONE_MEMCACHED_PASSWORD": "secret",
    "QUIETZONE_SMTP_PASSWORD": "secret",
}
SECTIONS = [field for field in msgspec.structs.fields(Settings) if field.name != "plugin"]
PLUGINS: dict[str, type[PluginSettings]] = {
    "memory": MemorySettings,
    "shared_memory": SharedMemorySettings,
    "memcached": MemcachedSettings,
    "sqlite": SqliteSettings,
    "text": TextSettings,
    "postgres": PostgresSettings,
    "geoip": GeoipSettings,
    "domain_list": DomainListSettings,
    "smtp": SmtpSettings,
}


def written(section: str) -> dict[str, str]:
    """The options of a section of default.toml as text, those that are commented out as well."""
    text = DEFAULT_FILE.read_text(encoding="utf-8")
    found = re.search(
        rf"^(?:# )?\[{re.escape(section)}\]\n(.*?)(?=^(?:# )?\[|\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert found, f"config/default.toml has no section [{section}]"
    return dict(re.findall(r"^(?:# )?([a-z][a-z0-9_]*) = (.+)$", found[1], re.MULTILINE))


def test_the_test_knows_every_settings_file() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(ENVIRONMENT)


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_each_file_loads_with_nothing_but_its_own_variables(name: str) -> None:
    settings = load(FOLDER / f"{name}.toml", ENVIRONMENT[name])
    for plugin, options in settings.plugin.items():
        read_section(PLUGINS[plugin], options, f"plugin.{plugin}")


def test_the_default_file_says_what_holds_without_any_file() -> None:
    settings = load(DEFAULT_FILE, {})
    for section in SECTIONS:
        assert getattr(settings, section.name) == section.default, section.name


def test_the_default_file_is_what_a_service_without_a_named_file_reads() -> None:
    assert load(environ={}) == load(DEFAULT_FILE, {})


@pytest.mark.parametrize("section", [field.name for field in SECTIONS])
def test_the_default_file_mentions_every_setting_and_no_other(section: str) -> None:
    kind = type(getattr(Settings(), section))
    assert set(written(section)) == {field.name for field in msgspec.structs.fields(kind)}


def test_the_default_file_sets_everything_but_what_is_derived() -> None:
    tree = tomllib.loads(DEFAULT_FILE.read_text(encoding="utf-8"))
    unset = {
        f"{section.name}.{name}"
        for section in SECTIONS
        for name in written(section.name)
        if name not in tree[section.name]
    }
    assert unset == {"service.base_url", "scans.journal", "accounts.link_base"}
    assert load(DEFAULT_FILE, {"QUIETZONE_BIND": "127.0.0.1:9"}).base_url == "http://127.0.0.1:9"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_default_file_shows_every_option_of_a_plugin_with_its_default(plugin: str) -> None:
    options = written(f"plugin.{plugin}")
    fields = {field.name: field for field in msgspec.structs.fields(PLUGINS[plugin])}
    assert set(options) == set(fields)
    for name, field in fields.items():
        # An option without a default, or whose default is worked out, is shown by an example.
        if not field.required and field.default is not None:
            value: Any = tomllib.loads(f"value = {options[name]}")["value"]
            default = field.default
            assert value == (list(default) if isinstance(default, tuple) else default), name


def test_the_options_as_shown_are_accepted(tmp_path: Path) -> None:
    text = DEFAULT_FILE.read_text(encoding="utf-8")
    for plugin in PLUGINS:
        lines = [f"{name} = {value}" for name, value in written(f"plugin.{plugin}").items()]
        file = tmp_path / f"{plugin}.toml"
        file.write_text(f"[plugin.{plugin}]\n" + "\n".join(lines), encoding="utf-8")
        options = load(file, ENVIRONMENT_OF_PLUGINS).plugin[plugin]
        read_section(PLUGINS[plugin], options, f"plugin.{plugin}")
    file = tmp_path / "address.toml"
    file.write_text(f"[service]\nbase_url = {written('service')['base_url']}", encoding="utf-8")
    assert load(file, {}).base_url in text


def test_production_keeps_its_password_out_of_the_file() -> None:
    tree = tomllib.loads((FOLDER / "production.toml").read_text(encoding="utf-8"))
    assert tree["plugin"]["postgres"]["dsn"] == {"env": "QUIETZONE_DATABASE"}
    settings = load(FOLDER / "production.toml", ENVIRONMENT["production"])
    assert "secret" not in repr(settings)
    assert settings.base_url.startswith("https:")
