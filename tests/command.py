"""The `quietzone` command, run in the process of the test: that of another takes half a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import environ as own
from typing import NamedTuple

from click.testing import CliRunner

from core.cli import main


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def run(words: Sequence[str], environ: Mapping[str, str], stdin: str = "") -> Done:
    """Run a command with this environment and no other; what no command expects is raised."""
    runner = CliRunner(env={**dict.fromkeys(own), **environ})
    result = runner.invoke(main, list(words), stdin, prog_name="quietzone", catch_exceptions=False)
    return Done(result.exit_code, result.stdout, result.stderr)
