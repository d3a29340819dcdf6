"""The rules of the tree: who may import whom, and what may lie where."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pluggy
import pytest

import core.api
import core.errors
import core.ports
from core.extension import hookspecs

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*(ROOT / "core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])
PLUGINS = [path for path in SOURCES if path.is_relative_to(ROOT / "plugins")]


def name_of(path: Path) -> str:
    """The path as a test's id and in messages."""
    return str(path.relative_to(ROOT))


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every module that is imported anywhere in a file, under TYPE_CHECKING too, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "relative imports are refused by a test of their own"
            yield node.lineno, node.module
            # `from core import api` imports the module core.api as well.
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if (ROOT / full.replace(".", "/")).with_suffix(".py").exists():
                    yield node.lineno, full


def forbidden_imports(source: str) -> list[str]:
    """What a plugin's source imports from the core beyond `core.api`."""
    seen = set(imported(ast.parse(source)))
    return [
        f"line {line}: {module}"
        for line, module in sorted(seen)
        if module.split(".")[0] == "core"
        and module != "core.api"
        # `from core import api` names the bare package on the way to core.api.
        and not (module == "core" and (line, "core.api") in seen)
    ]


def test_every_contract_about_imports_is_kept():
    lint = "from importlinter.cli import lint_imports_command as lint; lint()"
    done = subprocess.run(
        [sys.executable, "-c", lint, "--config", "setup.cfg", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", done.stdout), done.stdout


@pytest.mark.parametrize("path", PLUGINS, ids=name_of)
def test_a_plugin_knows_nothing_of_the_core_but_its_api(path):
    assert forbidden_imports(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import core",
        "import core.ports",
        "from core import ports",
        "from core.domain.codes import Code",
        "import typing\nif typing.TYPE_CHECKING:\n    from core.settings import Settings",
        "def late():\n    import core.app",
    ],
)
def test_no_way_of_importing_the_core_escapes_notice(source):
    assert forbidden_imports(source) != []


@pytest.mark.parametrize("source", ["from core.api import hookimpl", "from core import api"])
def test_the_api_may_be_imported(source):
    assert forbidden_imports(source) == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_are_absolute(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    relative = [n.lineno for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
    assert relative == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_annotations_are_never_evaluated_on_import(path):
    source = path.read_text(encoding="utf-8")
    body = [node for node in ast.parse(source).body if not isinstance(node, ast.Expr)]
    assert not body or "from __future__ import annotations" in source


def test_the_config_folder_holds_toml_and_nothing_else():
    others = [
        name_of(path)
        for path in (ROOT / "config").rglob("*")
        if path.is_file() and path.suffix != ".toml"
    ]
    assert others == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_module_holds_a_plugin_manager(path):
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    held = [n for n, value in vars(module).items() if isinstance(value, pluggy.PluginManager)]
    assert held == []


def test_the_names_of_the_api_are_sorted_and_all_there():
    def order(name: str) -> tuple[int, str]:
        # Constants, then types, then functions: what ruff's RUF022 keeps.
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    names = core.api.__all__
    assert names == sorted(names, key=order)
    assert len(set(names)) == len(names)
    public = {name for name in vars(core.api) if not name.startswith("_")} - {"annotations"}
    assert set(names) == public


def test_a_plugin_author_finds_every_type_of_every_protocol_in_the_api():
    offered = {id(getattr(core.api, name)) for name in core.api.__all__}
    missing = {kind.__qualname__ for kind in reachable() if id(kind) not in offered}
    assert missing == set()


def reachable() -> set[type]:
    """Every class of the core that a hook, a Protocol, or a field of a value object mentions."""
    protocols = [p for p in vars(core.ports).values() if getattr(p, "_is_protocol", False)]
    hooks = [f for name, f in vars(hookspecs).items() if name.startswith("qz_")]
    found: set[type] = set()
    waiting: list[Any] = [p for p in protocols if p.__module__ == core.ports.__name__]
    waiting += [hint for hook in hooks for hint in typing.get_type_hints(hook).values()]
    while waiting:
        hint = waiting.pop()
        waiting += typing.get_args(hint)
        if not isinstance(hint, type) or hint in found or not hint.__module__.startswith("core."):
            continue
        found.add(hint)
        if issubclass(hint, msgspec.Struct):
            waiting += typing.get_type_hints(hint).values()
        for member in vars(hint).values():
            function = member.fget if isinstance(member, property) else member
            if inspect.isfunction(function) and function.__module__.startswith("core."):
                # `list` is a method of Codes, so the module's names have to come first.
                hints = typing.get_type_hints(function, localns=vars(inspect.getmodule(function)))
                waiting += hints.values()
    return found


def test_every_error_stands_in_the_tree_and_where_it_belongs():
    assert drawn_tree(core.errors.__doc__ or "") == {
        name: kind.__base__.__name__
        for name, kind in vars(core.errors).items()
        if isinstance(kind, type) and issubclass(kind, core.errors.QuietzoneError)
    } | {"QuietzoneError": ""}


def drawn_tree(text: str) -> dict[str, str]:
    """The classes of a drawn tree, each with the one that it hangs from."""
    tree: dict[str, str] = {}
    branch: list[str] = []
    for line in text.splitlines():
        match = re.match(r"((?:│   |    )*(?:├── |└── )?)([A-Z]\w+)\b", line)
        if match is None or (not match[1] and match[2] != "QuietzoneError"):
            continue
        depth = len(match[1]) // 4
        branch[depth:] = [match[2]]
        tree[match[2]] = branch[depth - 1] if depth else ""
    return tree


def test_putting_an_application_together_opens_nothing() -> None:
    script = """
import re
import sys
from core.app import create_app
from core.settings import Settings
create_app(Settings())  # Imports whatever is imported at the first time.
events = []
def watch(event, arguments):
    if event.startswith(("socket.", "sqlite3.", "subprocess.", "os.mkdir", "os.rename", "shutil.")):
        events.append((event, arguments))
    elif event == "open" and not (
        re.search(r"[.](dist|egg)-info", str(arguments[0])) or arguments[0] in sys.path
    ):
        events.append((event, arguments))  # Only the packages' metadata may be looked for.
sys.addaudithook(watch)
create_app(Settings())
create_app(Settings())
print(events)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
