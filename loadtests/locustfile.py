"""What Locust runs: `loadtests.smoke` starts it against a service of its own."""

from __future__ import annotations

from loadtests.users import Analyst, Member, Scanner

__all__ = ["Analyst", "Member", "Scanner"]
