"""What a suite has measured, to be read and looked at: a Markdown page with charts."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from os import cpu_count
from pathlib import Path

import pygal
from pygal.style import CleanStyle

from loadtests.suites import Line, Measured, Run, Setup
from loadtests.targets import Suite

_STYLE = CleanStyle(background="#ffffff", plot_background="#ffffff", font_family="sans-serif")
CHART = {"style": _STYLE, "width": 900, "height": 420, "js": (), "legend_at_bottom": True}


def write(
    folder: Path,
    name: str,
    setup: Setup,
    suite: Suite,
    run: Run,
    lines: Sequence[Line],
    locust: Path,
) -> None:
    """Write `summary.md` and its charts to a folder, and Locust's own reports beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    page = [
        f"# Suite {name}, {setup}",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}.",
        f"{suite.codes:,} codes and {suite.scans:,} scans were stored before.",
        "",
        "| what | target | measured | verdict |",
        "| --- | --- | --- | --- |",
        *(
            f"| {line.what} | {line.target} | {line.measured} | {_verdict(line)} |"
            for line in lines
        ),
        "",
    ]
    for number, (stage, kinds) in enumerate(zip(suite.stages, run.stages, strict=True), 1):
        chart = f"stage-{number}.svg"
        _times(kinds).render_to_file(folder / chart)
        shutil.copy(locust / f"stage-{number}.html", folder)
        together = Measured.together(kinds)
        page += [
            f"## {stage.users} {' and '.join(stage.people) or 'people'}, {stage.seconds} s",
            "",
            f"{together.num_requests / stage.seconds:,.0f} requests a second.",
            f"[Locust's report](stage-{number}.html) has more.",
            "",
            f"![Times of each kind of request]({chart})",
            "",
        ]
    _memory(run).render_to_file(folder / "memory.svg")
    page += ["## Memory", "", "![Memory of each worker](memory.svg)", ""]
    (folder / "summary.md").write_text("\n".join(page), encoding="utf-8")


def _verdict(line: Line) -> str:
    return "ok" if line.met else "**miss**"


def machine() -> str:
    """What this is running on."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{cpu_count()} cores of {model}, Python {platform.python_version()}"


def _times(kinds: Sequence[Measured]) -> pygal.Bar:
    chart = pygal.Bar(title="milliseconds", logarithmic=True, **CHART)
    chart.x_labels = [kind.name for kind in kinds]
    for name, share in (("median", 0.5), ("p95", 0.95), ("p99", 0.99)):
        # A logarithm has no place for what took less than Locust's unit.
        chart.add(name, [max(1.0, kind.within(share)) for kind in kinds])
    return chart


def _memory(run: Run) -> pygal.XY:
    chart = pygal.XY(title="MB of each worker, by seconds", show_dots=False, **CHART)
    for number, looks in enumerate(run.watch.looks.values(), 1):
        every = max(1, len(looks) // 200)
        chart.add(f"worker {number}", [(look.at, look.mb) for look in looks[::every]])
    return chart
