"""Forecasters: one protocol, one file per model family, one registry of names."""
