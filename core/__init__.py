"""Quietzone's core: domain, services, plugin host and HTTP interface."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("quietzone")
except PackageNotFoundError:  # A checkout that was never installed.
    __version__ = "0"
