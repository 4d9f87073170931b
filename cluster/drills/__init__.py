"""Drills: break a part of a real cluster on purpose, and prove that the sweep does not care."""
