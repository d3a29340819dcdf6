"""The load suites: what is measured is held against every budget, and each can be missed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from loadtests import targets
from loadtests.processes import Look, Watch
from loadtests.suites import EVERYBODY, Measured, Run, judge
from loadtests.targets import Budget, Stage, Suite

ROOT = Path(__file__).resolve().parents[2]

SUITE = Suite(
    codes=10,
    scans=100,
    failure_ratio=0,
    stages=(
        Stage(
            users=10,
            seconds=5,
            all=Budget(requests=100, average_ms=50, p99_ms=200, p999_ms=300),
            requests={"scan": Budget(requests=50, p95_ms=60)},
        ),
    ),
    hits={"image": 0.9},
    start_s=1,
    worker_mb=100,
    growth_mb_per_hour=1,
    descriptors=0,
)


def measured(name: str, times: dict[float, int], failures: int = 0) -> Measured:
    total = sum(milliseconds * number for milliseconds, number in times.items())
    return Measured(name, sum(times.values()), failures, total, times)


def a_run(**changes: Any) -> Run:
    """One in which everything is as it should be, but for the changes."""
    watch = Watch(0)
    watch.looks = {pid: [Look(at, 80.0, 60.0, 20) for at in range(100)] for pid in (1, 2)}
    kinds = [measured("scan", {5: 95, 50: 5}), measured("image", {10: 20})]
    good = Run([kinds], watch, {"image": (95, 5)}, scans=200, counted=200, started=0.9, left=0)
    for name, value in changes.items():
        setattr(good, name, value)
    return good


def missed(run: Run, suite: Suite = SUITE) -> list[str]:
    return [line.what for line in judge(suite, run) if not line.met]


def watching(*looks: Look) -> Watch:
    watch = Watch(0)
    watch.looks = {1: list(looks), 2: list(looks)}
    return watch


def test_nothing_is_missed_where_all_is_well() -> None:
    assert missed(a_run()) == []


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        (
            "10 people: scan",
            {"stages": [[measured("scan", {5: 94, 61: 6}), measured("x", {1: 9})]]},
        ),
        ("10 people: scan", {"stages": [[measured("scan", {5: 49}), measured("x", {1: 99})]]}),
        ("10 people: scan", {"stages": [[measured("x", {1: 150})]]}),
        ("10 people: all", {"stages": [[measured("scan", {51: 150})]]}),
        ("10 people: all", {"stages": [[measured("scan", {5: 98, 201: 2})]]}),
        ("10 people: all", {"stages": [[measured("scan", {5: 99})]]}),
        ("10 people: all", {"stages": [[measured("scan", {5: 997, 301: 3})]]}),
        ("start-up", {"started": 1.1}),
        ("left in the journal", {"left": 1}),
        ("left in the journal", {"left": float("inf")}),
        ("failures", {"stages": [[measured("scan", {5: 150}, failures=1)]]}),
        ("scans counted", {"counted": 199}),
        ("scans counted", {"counted": 201}),
        ("image hits", {"hits": {"image": (89, 11)}}),
        ("image hits", {"hits": {}}),
        ("worker memory", {"watch": watching(*(Look(n, 101.0, 60.0, 20) for n in range(9)))}),
        (
            "worker memory grows",
            {"watch": watching(*(Look(n, 80.0, n / 3000, 9) for n in range(99)))},
        ),
        (
            "open files",
            {"watch": watching(*(Look(n, 80.0, 60.0, 20 + n // 50) for n in range(99)))},
        ),
    ],
)
def test_whatever_is_too_little_or_too_much_is_missed(what: str, changes: dict[str, Any]) -> None:
    assert missed(a_run(**changes)) == [what]


def test_what_is_not_asked_for_is_not_held_against_anything() -> None:
    plain = replace(
        SUITE,
        hits={},
        start_s=None,
        worker_mb=None,
        growth_mb_per_hour=None,
        descriptors=None,
        stages=(),
    )
    told = [line.what for line in judge(plain, a_run(stages=[]))]
    assert told == ["failures", "scans counted", "left in the journal", "workers"]


def test_a_worker_that_was_replaced_is_missed() -> None:
    run = a_run()
    run.watch.looks[3] = run.watch.looks[1]
    assert missed(run) == ["workers"]


def test_where_nothing_was_seen_nothing_is_met() -> None:
    assert missed(a_run(watch=Watch(0))) == ["workers", "worker memory", "worker memory grows"]


def test_memory_that_settles_does_not_grow() -> None:
    settling = watching(*(Look(at, 90.0 + at, min(80.0, 50 + at), 20) for at in range(300)))
    assert settling.mb_per_hour == pytest.approx(0.0, abs=0.01)
    assert (settling.first_mb, settling.most_mb) == (90.0, 389.0)
    assert watching(*(Look(at, 90.0, 50 + at / 360, 20) for at in range(300))).mb_per_hour == (
        pytest.approx(10.0)
    )


def test_what_grows_before_the_last_stage_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [Look(at, 90.0, min(100.0, 50 + at), min(60, at)) for at in range(90)]
    watch = watching(*looks)
    assert watch.mb_per_hour > 0
    monkeypatch.setattr("loadtests.processes.time.monotonic", lambda: 1050.0)
    watch.began = 1000.0
    watch.begin()
    assert (watch.mb_per_hour, watch.more_files) == (0.0, 0)


def test_percentiles_are_those_of_all_requests() -> None:
    kind = Measured.together([measured("a", {1: 50, 9: 1}), measured("b", {2: 49})])
    assert (kind.num_requests, kind.within(0.5), kind.within(0.99), kind.within(1.0)) == (
        *(100, 1, 2),
        9,
    )
    assert kind.average == pytest.approx(1.57)
    nobody = Measured.together([])
    assert nobody.within(0.5) == nobody.average == float("inf")


def test_budgets_name_what_is_asked_for_and_people_who_come() -> None:
    users = (ROOT / "loadtests" / "users.py").read_text(encoding="utf-8")
    names = set(re.findall(r'(?:ask|ask_again)\(\s*"([^"]+)"', users))
    names |= {f"{name}, unchanged" for name in names} | {
        "scan",
        "scan, unknown",
        "stats",
        "timeline",
    }
    people = set(re.findall(r"^class (\w+)", users, re.MULTILINE))
    for suite in targets.read().suites.values():
        for stage in suite.stages:
            assert set(stage.requests) <= names
            assert set(stage.people or EVERYBODY) <= people


def test_a_budget_that_is_misspelled_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="p59_ms"):
        msgspec.convert({"requests": 1, "p59_ms": 5}, Budget)
