"""The `pmx` command."""

from pmx_ray.cli.app import main

__all__ = ["main"]
