"""Scan enrichers: what may be known of a scan beyond its time."""
