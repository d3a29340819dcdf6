"""Renderers: symbol to image."""
