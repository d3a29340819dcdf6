"""Every benchmark that has a target, one after the other, and what came of each.

It wants a machine that does nothing else, for hours: the soak alone takes twenty minutes. Each part
may be run by itself. The exit code is 1 where one of them misses a target, whose rows say `miss`.
Run it from the root of the repository:

    .venv/bin/python -m loadtests.bench
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from loadtests.service import ROOT

PARTS = {
    "drawing": "loadtests.drawing",
    "shares": "loadtests.shares",
    "analytics": "loadtests.analytics",
    "hits": "loadtests.hits",
    "people": "loadtests.suites bench",
    "spike": "loadtests.suites spike",
    "failures": "loadtests.failures",
    "soak": "loadtests.suites soak",
}


def main() -> int:
    """Run them; 1 where one has missed something."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args()
    outcomes = []
    for name in options.parts:
        command = [sys.executable, "-m", *PARTS[name].split()]
        print(f"\n== {name}: {' '.join(command[1:])}\n", flush=True)
        began = time.monotonic()
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        outcomes.append((name, time.monotonic() - began, code))
    print("\n== all\n")
    for name, seconds, code in outcomes:
        verdict = {0: "ok", 1: "miss"}.get(code, f"ended with {code}")
        print(f"{name:<10}  {seconds / 60:5.1f} min  {verdict}")
    return 0 if all(code == 0 for _, _, code in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
