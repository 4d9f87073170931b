"""Revisions, one module each, named by number and subject."""
