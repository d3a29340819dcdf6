"""Storages and scan stores."""
