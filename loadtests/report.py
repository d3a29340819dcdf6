"""What a suite has measured, to be read and looked at: a page with charts, twice.

Once as Markdown, for summaries of builds, and once as HTML, for browsers.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from os import cpu_count
from pathlib import Path

import pygal
from jinja2 import Environment
from pygal.style import CleanStyle

from loadtests.suites import Line, Measured, Run, Setup
from loadtests.targets import Suite

_STYLE = CleanStyle(background="#ffffff", plot_background="#ffffff", font_family="sans-serif")
CHART = {"style": _STYLE, "width": 900, "height": 420, "js": (), "legend_at_bottom": True}

_PAGE = """\
# Suite {{ name }}, {{ setup }}

{{ at }} UTC, {{ machine }}.
{{ suite.codes }} codes and {{ suite.scans }} scans were stored before.

| what | target | measured | verdict |
| --- | --- | --- | --- |
{% for row in lines -%}
| {{ row.what }} | {{ row.target }} | {{ row.measured }} | {{ "ok" if row.met else "**miss**" }} |
{% endfor %}
{% for title, rate, number in stages -%}
## {{ title }}

{{ rate }} requests a second. [Locust's report](stage-{{ number }}.html) has more.

![Times of each kind of request](stage-{{ number }}.svg)

{% endfor -%}
## Memory

![Memory of each worker](memory.svg)
"""

_HTML = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Suite {{ name }}, {{ setup }}</title>
<style>body { font-family: sans-serif; margin: 2em } td, th { padding: .2em 1em; text-align: left }
.miss { font-weight: bold; color: #b00020 }</style>
<h1>Suite {{ name }}, {{ setup }}</h1>
<p>{{ at }} UTC, {{ machine }}.
{{ suite.codes }} codes and {{ suite.scans }} scans were stored before.
<table>
<tr><th>what<th>target<th>measured<th>verdict
{% for row in lines -%}
<tr{% if not row.met %} class="miss"{% endif %}><td>{{ row.what }}<td>{{ row.target }}
<td>{{ row.measured }}<td>{{ "ok" if row.met else "miss" }}
{% endfor -%}
</table>
{% for title, rate, number in stages -%}
<h2>{{ title }}</h2>
<p>{{ rate }} requests a second. <a href="stage-{{ number }}.html">Locust's report</a> has more.
<p><img src="stage-{{ number }}.svg" alt="Times of each kind of request">
{% endfor -%}
<h2>Memory</h2>
<p><img src="memory.svg" alt="Memory of each worker">
</html>
"""


def write(
    folder: Path,
    name: str,
    setup: Setup,
    suite: Suite,
    run: Run,
    lines: Sequence[Line],
    locust: Path,
) -> None:
    """Write the pages and their charts to a folder, and Locust's own reports beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    stages = []
    for number, (stage, kinds) in enumerate(zip(suite.stages, run.stages, strict=True), 1):
        _times(kinds).render_to_file(folder / f"stage-{number}.svg")
        shutil.copy(locust / f"stage-{number}.html", folder)
        people = " and ".join(stage.people) or "people"
        rate = Measured.together(kinds).num_requests / stage.seconds
        stages.append((f"{stage.users} {people}, {stage.seconds} s", f"{rate:,.0f}", number))
    _memory(run).render_to_file(folder / "memory.svg")
    told = {
        "name": name,
        "setup": setup,
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "machine": machine(),
        "suite": suite,
        "lines": lines,
        "stages": stages,
    }
    for file, source, escapes in (("summary.md", _PAGE, False), ("index.html", _HTML, True)):
        environment = Environment(autoescape=escapes, keep_trailing_newline=True)
        (folder / file).write_text(environment.from_string(source).render(told), encoding="utf-8")


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
