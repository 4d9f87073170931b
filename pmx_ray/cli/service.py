"""What the verbs that govern share: who acts, where, and how it is told."""

import getpass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pmx_ray.cli import options
from pmx_ray.errors import SettingsError
from pmx_ray.place import default_root

if TYPE_CHECKING:
    from pmx_ray.cli.steps import Voice


def acting(given: str | None) -> str:
    """Return who acts: as given, or the name of the account.

    Raises
    ------
    SettingsError
        If the account has no name.
    """
    if given:
        return given
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        raise SettingsError("this account has no name; say who you are with --actor") from None


def root_of(out: Path | None) -> Path:
    """Return the folder of the sweep folders, whole."""
    return (out or default_root()).resolve()


def shown_time(at: datetime) -> str:
    """Return a time as tables show it, to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


def voice_of(as_json: bool) -> "Voice":
    """Return what speaks to a person or a machine."""
    from pmx_ray.cli.steps import Voice  # noqa: PLC0415

    return Voice(options.console(), as_json)
