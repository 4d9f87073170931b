"""Measured claims: each module prints what it found, and ``--check`` fails where one is missed."""
