"""What a sweep needs to run elsewhere, in one folder: settings, a price file, plugins."""

import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.data.file import FileSettings
from pmx_ray.errors import SettingsError
from pmx_ray.lake import is_whole
from pmx_ray.provenance import canonical_json, sha256_hex

SETTINGS = "sweep.yaml"
"""The settings' name in a parcel."""

_HOME = re.compile(r"~[A-Za-z0-9_.-]*")


def job_name(settings: SweepSettings, folder: Path) -> str:
    """Return the name of a sweep's job: the same for the same sweep, however it is executed.

    Parameters
    ----------
    settings : SweepSettings
        Of the sweep.
    folder : Path
        Its parcel; what is in a price file or a plugin makes another sweep.
    """
    written = {
        "settings": settings.model_dump(mode="json", exclude={"execution"}),
        "files": {
            path.name: sha256_hex(path.read_bytes())
            for path in folder.iterdir()
            if path.name != SETTINGS
        },
    }
    return f"pmx-{settings.name}-{sha256_hex(canonical_json(written))[:12]}"


def pack(settings: SweepSettings, folder: Path, *, base_dir: Path) -> None:
    """Write a parcel: the sweep in it is the same, and needs nothing from outside.

    Parameters
    ----------
    settings : SweepSettings
        Of the sweep.
    folder : Path
        An empty folder.
    base_dir : Path
        Where a relative path to prices starts, and where plugins of your own lie.

    Raises
    ------
    SettingsError
        If the price file is not there.
    """
    written = settings.model_dump(mode="json", exclude_unset=True)
    if isinstance(settings.panel, FileSettings):
        prices = base_dir / settings.panel.path
        if not prices.is_file():
            raise SettingsError(f"panel.path is {prices}, which is no file")
        shutil.copy(prices, folder / prices.name)
        written["panel"]["path"] = prices.name
    for source in _own_plugins(settings, base_dir):
        shutil.copy(source, folder / source.name)
    (folder / SETTINGS).write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")


def check_places(settings: SweepSettings, out: str | None) -> None:
    """Refuse places that would lie in the parcel: Ray unpacks it into a folder that it may delete.

    Parameters
    ----------
    settings : SweepSettings
        Of the sweep.
    out : str, optional
        Folder of the sweep folders, as it is written for the cluster.

    Raises
    ------
    SettingsError
        If the lake or ``out`` is a relative path.
    """
    lake = settings.lake
    if lake and not is_whole(lake):
        raise SettingsError(
            f"lake was '{lake}', a relative path; a job's folder is deleted by Ray: write a place "
            "that every node sees, s3://bucket/lake or /shared/lake, or leave it out"
        )
    if out is not None and out[:1] not in {"/", "~"}:
        raise SettingsError(
            f"--out was '{out}', which is no whole path; a job's folder is deleted by Ray: write "
            "a folder of the cluster, /shared/runs or '~/runs', or leave it out for ~/pmx-runs"
        )


def sweep_command(out: str | None) -> str:
    """Return the shell command of a job: a sweep of its parcel.

    Parameters
    ----------
    out : str, optional
        As ``check_places`` takes it; ``~`` is the home of whoever runs the cluster.

    Examples
    --------
    >>> sweep_command("~/my runs")
    "pmx sweep sweep.yaml --out ~/'my runs'"
    """
    command = f"pmx sweep {SETTINGS}"
    if out is None:
        return command
    home, slash, rest = out.partition("/")
    if not _HOME.fullmatch(home):
        return f"{command} --out {shlex.quote(out)}"
    return f"{command} --out {home}{slash}{shlex.quote(rest) if rest else ''}"


def _own_plugins(settings: SweepSettings, base_dir: Path) -> Iterator[Path]:
    """Give the plugins that are files beside the settings or here; installed ones are there too."""
    for name in settings.plugins:
        spec = importlib.util.find_spec(name)
        origin = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if origin is not None and origin.parent in {base_dir.resolve(), Path.cwd().resolve()}:
            yield origin
