"""What Locust runs: `loadtests.suites` starts it against a service of its own."""

from __future__ import annotations

from loadtests.users import Analyst, Crowd, Editor, Member, Scanner, Visitor, Walker

__all__ = ["Analyst", "Crowd", "Editor", "Member", "Scanner", "Visitor", "Walker"]
