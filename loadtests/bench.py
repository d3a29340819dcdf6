"""Every benchmark that has a target, one after the other, and what came of each.

It wants a machine that does nothing else, for an hour and a quarter. Each part may be run by
itself. In the end stands, for each part, how many of its rows are `ok`, and which `miss` their
target; the exit code is 1 where there is one. Run it from the root of the repository:

    .venv/bin/python -m loadtests.bench
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from typing import NamedTuple

from loadtests.service import ROOT

PARTS = {
    "drawing": "loadtests.drawing",
    "shares": "loadtests.shares",
    "analytics": "loadtests.analytics",
    "hits": "loadtests.hits",
    "people": "loadtests.suites bench",
    "production": "loadtests.suites bench --setup production",
    "spike": "loadtests.suites spike",
    "failures": "loadtests.failures",
    "soak": "loadtests.suites soak",
}

_VERDICT = re.compile(r"(?:  |: )(ok|miss)(?:  .*)?$")
"""Of a row: it stands in the last columns."""


class Outcome(NamedTuple):
    """What a part came to: its minutes, its exit code, and its rows by their verdicts."""

    name: str
    minutes: float
    code: int
    met: int
    missed: list[str]

    @property
    def verdict(self) -> str:
        """In a word, as its rows have it."""
        if self.code not in (0, 1):
            return f"ended with {self.code}"
        return "ok" if self.code == 0 and self.met and not self.missed else "miss"


def run(name: str) -> Outcome:
    """Run a part, and show what it prints."""
    command = [sys.executable, "-m", *PARTS[name].split()]
    print(f"\n== {name}: {' '.join(command[1:])}\n", flush=True)
    began = time.monotonic()
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    rows: dict[str, list[str]] = {"ok": [], "miss": []}
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if (verdict := _VERDICT.search(line)) is not None:
                rows[verdict[1]].append(line.strip())
    minutes = (time.monotonic() - began) / 60
    return Outcome(name, minutes, process.returncode, len(rows["ok"]), rows["miss"])


def main() -> int:
    """Run them; 1 where one has missed something."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args()
    outcomes = [run(name) for name in options.parts]
    print("\n== all\n")
    for one in outcomes:
        print(f"{one.name:<10}  {one.minutes:5.1f} min  {one.met:3} rows ok  {one.verdict}")
        for row in one.missed:
            print(f"    {row}")
    return 0 if all(one.verdict == "ok" for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
