"""The destination check `domain_list`, with files of a few domains and of many."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest

from core.api import ConfigurationError, DestinationRefused, Target
from core.app import create_app
from core.settings import parse
from plugins.destinations import domain_list
from plugins.destinations.domain_list import DomainList, Domains

LIST = """\
# What nobody wants.
evil.example
Bücher.example   # in its own script
xn--mller-kva.example

UPPER.example.
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "denied.txt"
    path.write_text(LIST, encoding="utf-8")
    return path


@pytest.fixture
def check(file: Path):
    made = DomainList(file)
    made.open()
    yield made
    made.close()


def refused(check: DomainList, host: str) -> bool:
    try:
        check.check(Target(f"https://{host}/", "https", host))
    except DestinationRefused:
        return True
    return False


def write(path: Path, text: str) -> None:
    """Replace the file as operators are asked to."""
    other = path.with_suffix(".new")
    other.write_text(text, encoding="utf-8")
    other.replace(path)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("evil.example", True),
        ("www.evil.example", True),
        ("notevil.example", False),
        ("evil.example.org", False),
        ("xn--bcher-kva.example", True),
        ("a.xn--mller-kva.example", True),
        ("upper.example", True),
        ("example", False),
        ("", False),
    ],
)
def test_a_listed_domain_is_refused_with_all_that_lies_below_it(check, host, expected):
    assert refused(check, host) is expected


def test_a_refusal_names_the_domain_and_the_way_out(check):
    with pytest.raises(DestinationRefused, match=r"'evil\.example' is on .*link to another site"):
        check.check(Target("https://www.evil.example/", "https", "www.evil.example"))


def test_a_list_may_be_empty_and_begin_with_a_byte_order_mark(file):
    for text in ("", "\ufeffevil.example\r\n"):
        file.write_bytes(text.encode())
        check = DomainList(file)
        check.open()
        assert refused(check, "evil.example") is bool(text)


def test_a_changed_file_is_read_before_the_next_look(check, file):
    write(file, "other.example\n")
    assert (refused(check, "evil.example"), refused(check, "other.example")) == (False, True)


def test_a_file_that_is_written_over_in_its_own_time_is_noticed_by_its_size(check, file):
    status = file.stat()
    file.write_text(f"{LIST}other.example\n", encoding="utf-8")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert refused(check, "other.example")


def test_a_file_that_stays_is_read_once(check, file, monkeypatch):
    monkeypatch.setattr(domain_list, "_read", lambda _: pytest.fail("the file was read again"))
    assert refused(check, "evil.example")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: write(file, "fine.example\n0.0.0.0 evil.example\n"), "line 2: "),
        (lambda file: file.unlink(), "No such file or directory"),
    ],
)
def test_a_list_that_breaks_later_stays_in_force_and_the_log_says_so_once(
    check, file, damage, reason, caplog
):
    damage(file)
    for _ in range(3):
        assert refused(check, "evil.example")
        assert not refused(check, "fine.example")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert reason in caplog.text
    write(file, "mended.example\n")
    assert refused(check, "mended.example")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"a.example\n\nhttps://evil.example/\n", "line 3: 'https' is not|line 3: "),
        (b"*.evil.example\n", "line 1: "),
        (b"a.example\ncaf\xe9.example\n", "line 2: it is not UTF-8"),
        (b"\xc3\x9f\xe9.example\n", "line 1: it is not UTF-8"),
    ],
)
def test_a_list_that_is_missing_or_wrong_stops_the_start(file, content, reason):
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    settings = parse(
        {
            "service": {"data": str(file.parent)},
            "plugins": {
                "enabled": ["segno", "png", "sqlite", "shared_memory", "log", "domain_list"]
            },
            "plugin": {"domain_list": {"path": str(file)}},
        },
        {},
    )
    app = create_app(settings)
    with pytest.raises(ConfigurationError, match=rf"^plugin\.domain_list\.path: .*({reason})"):
        app.services.destinations.prove()


def test_a_list_needs_a_path():
    enabled = ["segno", "png", "sqlite", "shared_memory", "log", "domain_list"]
    with pytest.raises(ConfigurationError, match=r"plugin\.domain_list\.path: is required"):
        create_app(parse({"plugins": {"enabled": enabled}}, {}))


def test_many_domains_take_eight_bytes_each_and_none_is_lost(tmp_path):
    names = [f"host-{number}.example" for number in range(20_000)]
    path = tmp_path / "many.txt"
    path.write_text("\n".join([*names, *names]), encoding="utf-8")
    check = DomainList(path)
    check.open()
    domains = check._domains
    assert len(domains) == len(names)
    assert sys.getsizeof(domains._numbers) < 9 * len(names)
    assert all(name in domains for name in names)
    assert not any(f"x{name}" in domains for name in names)
    assert "a" not in Domains(())
