"""A plugin that somebody else wrote: installed with pip, enabled in the settings, and it works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint, distributions
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import zxingcpp

from core.api import Drawing, ErrorCorrection, PluginContext, Symbol, lay_out
from core.extension.host import GROUP, PluginHost

HERE = Path(__file__).parent
PACKAGE = HERE / "quietzone_postcard"

SETTINGS = """
[service]
data = "{data}"
base_url = "https://qr.example.com"

[plugins]
enabled = ["segno", "png", "sqlite", "rolling", "log", "postcard"]

[cache]
backend = "forgetful"

[log]
requests = false

[plugin.postcard]
keep = 5
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder into which pip has installed the package."""
    source = tmp_path_factory.mktemp("source") / PACKAGE.name
    # A copy, because setuptools builds inside of the folder that it is given.
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    pip += ["--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    done = subprocess.run([*pip, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    file = tmp_path / "quietzone.toml"
    file.write_text(SETTINGS.format(data=tmp_path / "data"))
    return file


@pytest.fixture
def run(installed: Path, settings_file: Path, tmp_path: Path):
    """Runs Python in a process of its own that has the package on its path."""

    def started(*arguments: str, path: str = str(installed)) -> subprocess.CompletedProcess[str]:
        environ = {
            **os.environ,
            "PYTHONPATH": path,
            "QUIETZONE_CONFIG": str(settings_file),
            "PYTHONWARNINGS": "error",
        }
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return started


@pytest.fixture
def entry(installed: Path, monkeypatch) -> EntryPoint:
    """The entry point as the installed package declares it."""
    monkeypatch.syspath_prepend(str(installed))
    (distribution,) = distributions(name="quietzone-postcard", path=[str(installed)])
    (entry,) = distribution.entry_points.select(group=GROUP)
    yield entry
    sys.modules.pop("quietzone_postcard", None)


def host(entry: EntryPoint, **options: Any) -> PluginHost:
    context = PluginContext(data=Path("var"), base_url="https://qr.example.com")
    return PluginHost(["postcard"], {"postcard": options}, context, [entry])


def pixels(text: str) -> list[list[bool]]:
    """Which pixels of a picture in half blocks are dark, row by row."""
    rows = []
    for line in text.splitlines():
        rows.append([glyph in "▀█" for glyph in line])
        rows.append([glyph in "▄█" for glyph in line])
    return rows


def test_the_package_offers_a_renderer_a_period_and_a_cache(entry):
    plugins = host(entry)
    (info,) = plugins.describe()
    assert (info.name, info.distribution, info.version, info.enabled) == (
        "postcard",
        "quietzone-postcard",
        "3.1.4",
        True,
    )
    assert info.offers == ("renderer txt", "cache forgetful", "period 14d")
    assert Path(sys.modules["quietzone_postcard"].__file__).parent != PACKAGE


def test_its_renderer_draws_every_module_where_the_layout_puts_it(entry):
    size = 21
    modules = bytes((x * 3 + y * 5) % 7 < 3 for y, x in product(range(size), repeat=2))
    symbol = Symbol(1, ErrorCorrection.M, size, modules)
    layout = lay_out(symbol, 101, 4)
    renderer = host(entry).renderers.get("txt")
    drawn = pixels(renderer.render(Drawing(symbol, layout)).decode())
    inside = range(layout.left, layout.left + size * layout.scale)
    for y, x in product(range(101), repeat=2):
        dark = False
        if y in inside and x in inside:
            module = (y - layout.left) // layout.scale, (x - layout.left) // layout.scale
            dark = bool(modules[module[0] * size + module[1]])
        assert drawn[y][x] is dark, (x, y)


def test_its_options_reach_its_components(entry):
    ink, paper = host(entry), host(entry, dark="paper", keep=1)
    assert ink.renderers.get("txt").fingerprint != paper.renderers.get("txt").fingerprint
    cache = paper.caches.get("forgetful")
    cache.open()
    cache.set("a", b"1", 60.0)
    cache.set("b", b"2", 60.0)
    assert (cache.get("a"), cache.get("b")) == (None, b"2")


def test_the_list_of_plugins_shows_it_with_its_version_and_offers(run):
    listed = run("-m", "core.cli", "plugins")
    assert listed.returncode == 0, listed.stderr
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("postcard")]
    assert line.split() == [
        *("postcard", "quietzone-postcard", "3.1.4", "enabled"),
        *("renderer", "txt,", "cache", "forgetful,", "period", "14d"),
    ]
    assert any(line.startswith("memory ") for line in listed.stdout.splitlines())


def test_without_the_package_the_service_names_it_and_the_way_out(run):
    listed = run("-m", "core.cli", "plugins", path="")
    assert listed.returncode == 1
    assert "plugins.enabled: there is no plugin 'postcard'; installed are: " in listed.stderr


def test_a_service_uses_its_renderer_its_period_and_its_cache(run, settings_file):
    done = run(str(HERE / "postcard_service.py"), str(settings_file))
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)

    assert seen["txt"]["status"] == 200
    assert seen["txt"]["type"] == "text/plain; charset=utf-8"
    rows = pixels(seen["txt"]["text"])[:101]
    assert {len(row) for row in rows} == {101}
    image = bytes(0 if dark else 255 for row in rows for dark in row)
    (found,) = zxingcpp.read_barcodes(memoryview(image).cast("B", (101, 101)))
    assert found.text == seen["short_url"]
    assert seen["png"]["status"] == 200

    assert seen["scan"]["status"] == 302
    timeline = json.loads(seen["14d"]["text"])
    assert (timeline["period"], len(timeline["points"]), timeline["total"]) == ("14d", 14, 1)
    assert seen["15d"]["status"] == 422
    assert "14d" in json.loads(seen["15d"]["text"])["errors"][0]["message"]

    assert seen["cache"] == "quietzone_postcard"
    # Two images and a timeline.
    assert (seen["cached_before"], seen["cached_after"]) == (0, 3)
