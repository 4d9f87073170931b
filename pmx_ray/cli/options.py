"""What the verbs of `pmx` share: options, exit codes, the console, and the sweep of a file."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pmx_ray.clock import utc_now
from pmx_ray.errors import SettingsError
from pmx_ray.place import default_root

if TYPE_CHECKING:
    from pmx_ray.backtest.sweep import Sweep

EXIT_FAILED_CELLS, EXIT_BAD_INPUT, EXIT_OTHER = 3, 2, 1

ADDRESSES = ("in-process", "local", "auto")
ADDRESS = re.compile(r"(ray://)?[^\s:/]+:\d{1,5}")

SettingsPath = Annotated[Path, typer.Argument(help="YAML file of sweep settings.")]
Folder = Annotated[Path, typer.Argument(help="A sweep folder, as `pmx plan` makes one.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder of the sweep folders. [default: $PMX_HOME or ./runs]"),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting, e.g. --set folds.step_size=5; repeatable."),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="Where blocks run: in-process, local, auto, or HOST:PORT of a Ray cluster. "
        "[default: $RAY_ADDRESS, else local; in-process where the work is a few seconds]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]


def checked_address(given: str | None) -> str | None:
    """Return where blocks run: what was given, or ``$RAY_ADDRESS``, or None.

    Raises
    ------
    SettingsError
        If it is no address.
    """
    address = given or os.environ.get("RAY_ADDRESS") or None
    if address is None or address in ADDRESSES or ADDRESS.fullmatch(address):
        return address
    raise SettingsError(
        f"--address was '{address}'; it must be {', '.join(ADDRESSES)} or HOST:PORT"
    )


def console() -> Console:
    """Return the console of standard output, ``$COLUMNS`` or 120 wide where it is no terminal."""
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdigit() and int(columns) > 0 else 120
    return Console(width=None if sys.stdout.isatty() else width)


def prepared(settings: Path, out: Path | None, assignments: list[str] | None) -> "Sweep":
    """Return the sweep that a settings file describes."""
    from pmx_ray.backtest.settings import load_settings  # noqa: PLC0415
    from pmx_ray.backtest.sweep import prepare  # noqa: PLC0415

    see_plugins(settings.resolve().parent)
    return prepare(
        load_settings(settings, assignments or ()),
        root=out or default_root(),
        clock=utc_now,
        base_dir=settings.resolve().parent,
    )


def see_plugins(*folders: Path) -> None:
    """Let plugins be imported from the current directory and from ``folders``."""
    for folder in (*folders, Path.cwd()):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
