"""A load suite fails where the service is slow, and says by what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.integration.service import ROOT


def test_a_service_that_is_slowed_on_purpose_misses_its_targets(tmp_path: Path) -> None:
    suite = ("loadtests.suites", "smoke", "--seconds", "4", "--delay", "450")
    done = subprocess.run(
        [sys.executable, "-m", *suite, "--report", str(tmp_path / "report")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    lines = {line.partition("  ")[0].strip(): line for line in done.stdout.splitlines()}
    assert lines["24 people: scan"].endswith("  miss")
    assert lines["24 people: public image"].endswith("  miss")
    # It was slow, and nothing else.
    for what in ("failures", "scans counted", "worker memory"):
        assert lines[what].endswith("  ok")
    summary = (tmp_path / "report" / "summary.md").read_text(encoding="utf-8")
    assert "| 24 people: scan | p95 <= 250 ms" in summary
    assert "**miss**" in summary
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert '<tr class="miss"><td>24 people: scan<td>p95 &lt;= 250 ms' in page
    for name in ("stage-1.svg", "stage-1.html", "memory.svg"):
        assert (tmp_path / "report" / name).stat().st_size > 1000, name
