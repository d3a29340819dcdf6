"""The zones and the settings of the property tests."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from zoneinfo import TZPATH, available_timezones

from hypothesis import settings

PROFILE = settings(deadline=None, derandomize=True, max_examples=200)
"""Every run tries the same examples, and takes as long as it takes."""


def _rules(zone: str) -> bytes:
    """The file of the zone, from where `zoneinfo` takes it."""
    installed = (Path(folder, zone) for folder in TZPATH)
    found = next((file for file in installed if file.is_file()), None)
    return (found or resources.files("tzdata.zoneinfo").joinpath(zone)).read_bytes()


ZONES = sorted(
    {
        _rules(zone): zone for zone in sorted(available_timezones() - {"Factory", "localtime"})
    }.values()
)
"""Every IANA zone of this machine, and of those that are one zone with several names the last."""
