"""The pages under docs/ are held against the code, and what they show is run."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import tomllib
from datetime import UTC, datetime
from importlib.metadata import EntryPoint, entry_points
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import msgspec
import pytest

import core.api
import core.ports
from core.api import (
    Action,
    Drawing,
    ErrorCorrection,
    PluginContext,
    Symbol,
    Traits,
    Visit,
    lay_out,
)
from core.domain.sheets import PRESETS
from core.domain.validation import read_section
from core.extension import hookspecs
from core.extension.host import GROUP, PluginHost
from core.http.schemas import SheetQuery
from core.services.destinations import Destinations
from core.services.enrichment import Enrichment
from core.settings import AuditSettings, Settings, parse
from plugins.caches.memcached import MemcachedSettings
from plugins.notifiers.smtp import SmtpSettings

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")

FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^\*\*`([\w.]+)`\*\*\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)

BLOCKS = FENCED.findall(PAGE)
FILES = dict(FILE.findall(PAGE))
SPECS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("qz_")}


def signature(function: Any) -> str:
    """The head of a function as a page shows it."""
    return f"def {function.__name__}{inspect.signature(function)}: ...".replace("'", "")


def shown(kind: type[ast.stmt]) -> dict[str, Any]:
    """The functions, or classes, that the blocks without a file name define on the page."""
    loose = [
        text for language, text in BLOCKS if language == "python" and text not in FILES.values()
    ]
    nodes = [node for text in loose for node in ast.parse(text).body]
    assert all(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in nodes)
    return {node.name: node for node in nodes if isinstance(node, kind)}


def members(definition: ast.ClassDef) -> list[str]:
    """What a Protocol consists of: the heads of its methods and properties, without docstrings."""
    heads = []
    for node in definition.body:
        if isinstance(node, ast.FunctionDef):
            node.body = [ast.Expr(ast.Constant(...))]
            heads.append(ast.unparse(node))
    return heads


def test_every_hook_is_documented_with_its_exact_signature():
    documented = {name: ast.unparse(node) for name, node in shown(ast.FunctionDef).items()}
    assert documented == {
        name: ast.unparse(ast.parse(signature(spec))) for name, spec in SPECS.items()
    }


@pytest.mark.parametrize("name", SPECS)
def test_a_hook_stands_under_its_own_heading_with_its_signature_to_the_letter(name):
    section = PAGE.split(f"\n#### {name}\n")
    assert len(section) == 2
    assert section[1].startswith(f"\n```python\n{signature(SPECS[name])}\n```\n\nCalled ")


def test_the_page_mentions_no_hook_that_does_not_exist():
    assert set(re.findall(r"\bqz_\w+", PAGE)) == set(SPECS)


def test_hooks_are_documented_in_the_order_in_which_they_are_called():
    headings = re.findall(r"^#### (qz_\w+)$", PAGE, re.MULTILINE)
    called: list[str] = []

    class Listener:
        """Notes which of its hooks is called; offers nothing."""

    def listen(name: str) -> Any:
        def implementation(self: Listener) -> None:
            called.append(name)

        return core.api.hookimpl(implementation)

    for name in reversed(headings):
        setattr(Listener, name, listen(name))
    module = ModuleType("listening")
    module.Listener = Listener
    sys.modules["listening"] = module
    try:
        context = PluginContext(data=Path("var"), base_url="https://qr.example.com")
        entry = EntryPoint("listener", "listening:Listener", GROUP)
        PluginHost(["listener"], {}, context, [entry])
    finally:
        del sys.modules["listening"]
    assert called == headings


def test_the_protocols_are_documented_as_they_are():
    source = ast.parse(inspect.getsource(core.ports))
    ports = {node.name: members(node) for node in source.body if isinstance(node, ast.ClassDef)}
    documented = {name: members(node) for name, node in shown(ast.ClassDef).items()}
    assert documented == {name: ports[name] for name in documented}
    offered = {re.sub(r".*\[str, (\w+)\]: \.\.\.", r"\1", signature(s)) for s in SPECS.values()}
    assert set(documented) == {name for name in offered if name.isidentifier()}


@pytest.mark.parametrize("name", core.api.__all__)
def test_every_name_of_the_api_is_explained(name):
    table = PAGE.split("### What `core.api` holds")[1].split("\n### ")[0]
    assert f"`{name}`" in table


def test_the_table_of_the_api_names_nothing_else():
    table = PAGE.split("### What `core.api` holds")[1].split("\n### ")[0]
    firsts = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    names = [name for first in firsts for name in re.findall(r"`(\w+)`", first)]
    assert sorted(names) == sorted(core.api.__all__)


def test_the_table_of_kinds_names_settings_that_exist():
    table = PAGE.split("| kind | which are used | setting |")[1].split("\n\n")[0]
    settings = re.findall(r"\| one \| `(\w+)\.(\w+)` \|", table)
    assert len(settings) == 5
    for section, option in settings:
        assert isinstance(getattr(getattr(Settings(), section), option), str)


def test_every_message_in_the_table_is_one_that_the_host_can_give():
    sources = ("host.py", "registry.py")
    said = "".join(
        ast.unparse(ast.parse((ROOT / "core" / "extension" / name).read_text(encoding="utf-8")))
        for name in sources
    ) + (ROOT / "core" / "domain" / "validation.py").read_text(encoding="utf-8")
    said = re.sub(r"\{[^{}]*\}", "*", said)
    table = PAGE.split("| what is wrong | the message begins with |")[1].split("\n\n")[0]
    beginnings = re.findall(r"\| `(.+)` \|$", table, re.MULTILINE)
    assert len(beginnings) == table.count("\n") - 1
    for beginning in beginnings:
        # The names in capitals stand for what differs; what lies between them has to be said.
        parts = re.split(
            r"'?\b(?:NAME|MODULE|OPTION|KIND|COMPONENT|SETTING|HOOK)\b'?|\b2\b", beginning
        )
        for part in parts:
            words = part.strip(" :.()")
            assert words.lower() in said.lower(), (beginning, words)


def test_every_settings_example_is_a_settings_file_that_is_accepted():
    examples = [tomllib.loads(text) for language, text in BLOCKS if language == "toml"]
    settings = [tree for tree in examples if "plugins" in tree]
    assert len(settings) == 2
    for tree in settings:
        parse(tree, {})


@pytest.fixture
def example(tmp_path, monkeypatch) -> EntryPoint:
    """The example package of the page, written to files; the entry point that it declares."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    project = tomllib.loads(FILES["pyproject.toml"])
    assert f"{project['tool']['setuptools']['py-modules'][0]}.py" in FILES
    ((name, value),) = project["project"]["entry-points"][GROUP].items()
    yield EntryPoint(name, value, GROUP)
    for module in ("quietzone_pbm", "test_quietzone_pbm", "quietzone_acme", "quietzone_own_pages"):
        sys.modules.pop(module, None)


def test_the_example_plugin_works_with_the_settings_that_the_page_shows(example):
    settings = parse(tomllib.loads(FILES["quietzone.toml"]), {})
    context = PluginContext(data=settings.data, base_url=settings.base_url)
    available = [*entry_points(group=GROUP), example]
    host = PluginHost(settings.plugins.enabled, settings.plugin, context, available)
    assert host.renderers.owner("pbm") == "pbm"
    renderer = host.renderers.get("pbm")

    size = 21
    modules = bytes((x * 3 + y * 5) % 7 < 3 for y, x in product(range(size), repeat=2))
    symbol = Symbol(1, ErrorCorrection.M, size, modules)
    layout = lay_out(symbol, 101, 4)
    head = b"P4\n# drawn by Quietzone\n101 101\n"
    picture = renderer.render(Drawing(symbol, layout))
    assert picture.startswith(head)
    rows = picture.removeprefix(head)
    assert len(rows) == 101 * 13
    inside = range(layout.left, layout.left + size * layout.scale)
    for y, x in product(range(101), repeat=2):
        dark = False
        if y in inside and x in inside:
            row, column = ((at - layout.left) // layout.scale for at in (y, x))
            dark = bool(modules[row * size + column])
        assert bool(rows[y * 13 + x // 8] >> (7 - x % 8) & 1) is dark, (x, y)


def test_the_tests_of_the_example_pass(example):
    module = __import__("test_quietzone_pbm")
    tests = [function for name, function in vars(module).items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


def test_the_example_of_a_scan_enricher_works(example):
    settings = parse({"plugins": {"enabled": ["user_agent", "acme"]}}, {})
    context = PluginContext(data=settings.data, base_url=settings.base_url)
    available = [*entry_points(group=GROUP), EntryPoint("acme", "quietzone_acme", GROUP)]
    host = PluginHost(settings.plugins.enabled, settings.plugin, context, available)
    assert host.scan_enrichers.names() == ("user_agent", "acme")
    enrichment = Enrichment(dict(host.scan_enrichers))
    agent = "Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) Mobile AcmeApp/3.1"
    visit = Visit(UUID(int=1), UUID(int=2), datetime.now(UTC), "192.0.2.1", agent)
    assert enrichment.traits(visit) == Traits(device="mobile", os="Android", browser="Acme")


def test_the_example_of_a_destination_check_works(example):
    settings = parse({"plugins": {"enabled": ["own_pages"]}}, {})
    context = PluginContext(data=settings.data, base_url=settings.base_url)
    available = [EntryPoint("own_pages", "quietzone_own_pages", GROUP)]
    host = PluginHost(settings.plugins.enabled, settings.plugin, context, available)
    checks = dict(host.destination_checks)
    destinations = Destinations(settings.codes, settings.base_url, checks, lambda: 0.0)
    destinations.check("https://WWW.Acme.example/menu")
    with pytest.raises(ValueError, match="link to a page on acme"):
        destinations.check("https://notacme.example/menu")


def test_the_page_on_printing_names_every_label_sheet_and_parameter():
    page = (ROOT / "docs" / "printing.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\w+)` \| (?:a4|letter) \| (\d+) x (\d+) \| ([\d.]+) x ([\d.]+) \|$",
        page,
        re.MULTILINE,
    )
    assert [row[0] for row in rows] == list(PRESETS)
    for name, columns, rows_of_labels, width, height in rows:
        preset = PRESETS[name]
        assert (preset.columns, preset.rows) == (int(columns), int(rows_of_labels))
        assert preset.label_width_mm == pytest.approx(float(width), abs=0.05)
        assert preset.label_height_mm == pytest.approx(float(height), abs=0.05)
    table = page.split("| parameter | | left out |")[1].split("\n\n")[0]
    named = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE)))
    assert set(named) == set(SheetQuery.__struct_fields__)


def test_the_page_on_the_audit_log_names_every_action_and_setting():
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    table = page.split("| action | what has happened | `changes` |")[1].split("\n\n")[0]
    named = re.findall(r"`(\w+\.\w+)`", " ".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE)))
    assert sorted(named) == sorted(action.value for action in Action)
    told = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", page, re.MULTILINE))
    known = {field.name: field.default for field in msgspec.structs.fields(AuditSettings)}
    assert told == {name: json.dumps(value) for name, value in known.items()}


def test_the_page_on_caching_names_every_option_of_memcached_with_its_default():
    page = (ROOT / "docs" / "caching.md").read_text(encoding="utf-8")
    table = page.split("| `[plugin.memcached]` | default | what it is |")[1].split("\n\n")[0]
    told = {}
    for line in table.splitlines()[2:]:
        names, default, _ = line.strip("|").split("|", 2)
        told |= dict.fromkeys(re.findall(r"`(\w+)`", names), default.strip().strip("`"))
    known = {field.name: field.default for field in msgspec.structs.fields(MemcachedSettings)}
    assert list(told) == list(known)
    for name, default in known.items():
        shown = "none" if default in (None, "") else json.dumps(msgspec.to_builtins(default))
        assert told[name] == shown, name


def test_the_example_of_memcached_is_accepted():
    page = (ROOT / "docs" / "caching.md").read_text(encoding="utf-8")
    (example,) = [text for language, text in FENCED.findall(page) if language == "toml"]
    settings = parse(tomllib.loads(example), {})
    assert settings.cache.backend == "memcached"
    assert "memcached" in settings.plugins.enabled
    options = read_section(MemcachedSettings, settings.plugin["memcached"], "plugin.memcached")
    assert len(options.servers) == 2


def test_the_page_on_accounts_names_every_option_of_smtp_with_its_default():
    page = (ROOT / "docs" / "accounts.md").read_text(encoding="utf-8")
    table = page.split("| `[plugin.smtp]` | default | what it is |")[1].split("\n\n")[0]
    told = {}
    for line in table.splitlines()[2:]:
        names, default, _ = line.strip("|").split("|", 2)
        told |= dict.fromkeys(re.findall(r"`(\w+)`", names), default.strip().strip("`"))
    fields = msgspec.structs.fields(SmtpSettings)
    assert list(told) == [field.name for field in fields]
    for field in fields:
        unset = field.required or field.default in (None, "")
        assert told[field.name] == ("none" if unset else json.dumps(field.default)), field.name


def test_the_example_of_smtp_is_accepted():
    page = (ROOT / "docs" / "accounts.md").read_text(encoding="utf-8")
    (example,) = [text for language, text in FENCED.findall(page) if language == "toml"]
    settings = parse(tomllib.loads(example), {"QUIETZONE_SMTP_PASSWORD": "secret"})
    assert settings.accounts.notifier == "smtp"
    assert set(settings.plugins.enabled) ^ set(Settings().plugins.enabled) == {"smtp", "log"}
    read_section(SmtpSettings, settings.plugin["smtp"], "plugin.smtp")


def test_the_page_on_accounts_tells_how_many_passwords_are_refused():
    page = (ROOT / "docs" / "accounts.md").read_text(encoding="utf-8")
    lines = (ROOT / "core/services/common_passwords.txt").read_text(encoding="utf-8").splitlines()
    number = sum(not line.startswith("#") for line in lines)
    assert f"({number:,} of eight characters and more" in page


def test_every_test_that_the_threat_model_names_exists():
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) > 30
    for path, name in named:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert not name or re.search(rf"^(def|class) {name}\b", text, re.MULTILINE), (path, name)
