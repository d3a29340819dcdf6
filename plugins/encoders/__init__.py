"""Encoders: text to symbol."""
