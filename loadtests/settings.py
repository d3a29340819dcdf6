"""The settings that a measurement serves with."""

from __future__ import annotations

import json
import os
from pathlib import Path

from core.settings import DEFAULT_FILE, Settings

LOADTEST = DEFAULT_FILE.with_name("loadtest.toml")
_WORKERS = "workers = 2"
_CACHE = """
[cache]
backend = "{cache}"
"""
_PLUGINS = """
[plugins]
enabled = {plugins}
"""
_SERVER = """
[plugin.memcached]
servers = ["127.0.0.1:{server}"]
"""
_DATABASE = """
[storage]
backend = "postgres"

[plugin.postgres]
dsn = "{dsn}"
"""


def environment(
    folder: Path,
    port: int,
    workers: int,
    cache: str = "",
    server: int = 0,
    more: str = "",
    dsn: str = "",
) -> dict[str, str]:
    """What tells the service to serve with a cache, which may have a server on that port.

    Without a name it is the one that is used by default. Its data and its settings are in the
    folder; `more` are further settings, beside those of config/loadtest.toml. With `dsn` the
    database is a PostgreSQL.
    """
    text = LOADTEST.read_text(encoding="utf-8")
    assert text.count(_WORKERS) == 1
    text = text.replace(_WORKERS, f"workers = {workers}") + more
    if cache:
        text += _CACHE.format(cache=cache)
    enabled = list(Settings().plugins.enabled)
    if server:
        enabled.append("memcached")
        text += _SERVER.format(server=server)
    if dsn:
        enabled.append("postgres")
        text += _DATABASE.format(dsn=dsn)
    if server or dsn:
        text += _PLUGINS.format(plugins=json.dumps(enabled))
    own = folder / "settings.toml"
    own.write_text(text)
    return {
        **os.environ,
        "QUIETZONE_CONFIG": str(own),
        "QUIETZONE_DATA": str(folder / "data"),
        "QUIETZONE_BIND": f"127.0.0.1:{port}",
    }
