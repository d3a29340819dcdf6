"""Destination checks: where codes must not lead."""
