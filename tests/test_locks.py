"""The files that pin the dependencies keep to what setup.cfg asks for, and hold every hash."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[.*\])?==([^ ;\\]+)", re.MULTILINE | re.IGNORECASE)
LOCKS = {
    "requirements.txt": ("build", "memcached", "postgres", "geoip"),
    "requirements-dev.txt": ("build", "memcached", "postgres", "geoip", "dev"),
}


def pins(name: str) -> dict[str, set[str]]:
    """The versions that a file names of each package; where markers tell them apart, several."""
    found: dict[str, set[str]] = {}
    for package, version in _PIN.findall((ROOT / name).read_text(encoding="utf-8")):
        found.setdefault(_normal(package), set()).add(version)
    return found


def asked(extras: tuple[str, ...]) -> list[Requirement]:
    """What setup.cfg asks for."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options"]["install_requires"].split("\n")
    for extra in extras:
        lines += setup["options.extras_require"][extra].split("\n")
    return [Requirement(line) for line in lines if line.strip()]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(("name", "extras"), LOCKS.items())
def test_everything_that_is_asked_for_is_pinned_to_a_version_that_fits(
    name: str, extras: tuple[str, ...]
) -> None:
    pinned = pins(name)
    for wanted in asked(extras):
        versions = pinned.get(_normal(wanted.name), set())
        assert versions, f"{name} does not pin {wanted.name}; run 'make lock'"
        misfits = [version for version in versions if not wanted.specifier.contains(version)]
        assert not misfits, f"{name} pins {wanted.name} {misfits}; run 'make lock'"


def test_both_files_pin_the_same_versions() -> None:
    run, develop = pins("requirements.txt"), pins("requirements-dev.txt")
    assert run.items() <= develop.items()


def test_what_pins_and_audits_is_pinned_as_well() -> None:
    assert {"uv", "pip-audit"} <= pins("requirements-tools.txt").keys()
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = [line for line in makefile.split("\n") if "pip" in line and " install " in line]
    assert installs
    # But for the project itself, which comes from here.
    assert all("--require-hashes" in line or "--editable ." in line for line in installs)


@pytest.mark.parametrize("name", [*LOCKS, "requirements-tools.txt"])
def test_every_pin_has_its_hashes_and_names_no_other_place_to_get_it_from(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    parts = re.split(r"\n(?=[a-z0-9])", text)
    assert len(parts) > 20
    for part in parts:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", part), part.split("\n")[0]
    assert "://" not in text
