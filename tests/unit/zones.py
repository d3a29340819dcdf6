"""The zones and the settings of the property tests."""

from __future__ import annotations

from zoneinfo import available_timezones

from hypothesis import settings

PROFILE = settings(deadline=None, derandomize=True, max_examples=200)
"""Every run tries the same examples, and takes as long as it takes."""

ZONES = sorted(available_timezones() - {"Factory", "localtime"})
"""Every IANA zone of this machine."""
