"""Evaluate forecasters massively on Ray, then trust one of them with money."""

__version__ = "0.1.0"
