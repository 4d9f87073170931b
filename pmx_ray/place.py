"""Where results and records go when the user does not say."""

import os
from pathlib import Path


def ledger_url(root: Path) -> str:
    """Return ``$PMX_LEDGER_URL``, or an SQLite file beside the sweep folders of ``root``."""
    return os.environ.get("PMX_LEDGER_URL") or f"sqlite:///{root / 'ledger.db'}"


def default_root() -> Path:
    """Return the folder of the sweep folders.

    ``$PMX_HOME`` where it is set. Inside a Ray job the working directory is a copy that Ray may
    delete, so results go to ``~/pmx-runs``; elsewhere to ``runs`` in the current directory.
    """
    home = os.environ.get("PMX_HOME")
    if home:
        return Path(home)
    here = Path.cwd()
    if "working_dir_files" in here.parts:
        return Path.home() / "pmx-runs"
    return here / "runs"
