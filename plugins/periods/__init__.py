"""Periods: named windows of time."""
