"""A folder that one account alone may enter, for what Ray leaves open to all.

Ray gives its own folders mode 0777, and runs modules out of them: who can reach them can run code
as the cluster's owner. In a folder that nobody else may enter, nobody reaches them.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from pmx_ray.errors import ClusterError, SettingsError
from pmx_ray.provenance import sha256_hex

START, RAY = "pmx-", "ray"
"""How the names of these folders start, and what Ray's own within one is called."""

SOCKET_BYTES = 107
"""Of the path of a Unix socket, at most."""

LONGEST = "session_2026-01-01_00-00-00_000000_4194304/sockets/dash_TaskEventsHead"
"""As long as the path of any socket within Ray's folder."""


def named(folder: Path) -> Path:
    """Return Ray's folder for the cluster that is noted in ``folder``; the same each time.

    The folder around it is the private one. The name is a hash, so that a cluster's own name makes
    it no longer.

    Raises
    ------
    SettingsError
        If the folder for temporary files has so long a name that sockets do not fit.
    """
    digits = sha256_hex(str(folder.resolve()).encode())[:8]
    temp = Path(tempfile.gettempdir())
    ray = temp / f"{START}{digits}" / RAY
    n_bytes = len(os.fsencode(ray / LONGEST))
    if n_bytes > SOCKET_BYTES:
        raise SettingsError(
            f"TMPDIR is {temp}, and Ray's sockets in it would have paths of {n_bytes} bytes; "
            f"{SOCKET_BYTES} is the most, set TMPDIR to a folder whose path is "
            f"{n_bytes - SOCKET_BYTES} bytes shorter"
        )
    return ray


def make(ray: Path) -> None:
    """Make the private folder around Ray's, or take the one that is there if it is private.

    Parameters
    ----------
    ray : Path
        As ``named`` returns it.

    Raises
    ------
    ClusterError
        If it cannot be made; or what is there is a link or no folder, belongs to another account,
        or can be entered by one; or others can put another folder in its place.
    """
    private = ray.parent
    try:
        with contextlib.suppress(FileExistsError):
            private.mkdir(mode=0o700)
        found = private.lstat()
    except OSError as error:
        raise ClusterError(f"{private} cannot be made: {error.strerror}; set TMPDIR") from None
    elsewhere = "set TMPDIR to a folder that only you may write to"
    if not stat.S_ISDIR(found.st_mode):
        raise ClusterError(f"{private} is a link or a file, and must be a folder; remove it")
    if found.st_uid != os.geteuid():
        raise ClusterError(
            f"{private} belongs to user {found.st_uid}, and this is user {os.geteuid()}; "
            f"{elsewhere}"
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o777 != 0o700:
        raise ClusterError(
            f"{private} has mode {mode:04o}, and others could have changed what is in it; "
            f"it must be 0700, remove it: rm -r {private}"
        )
    for parent in private.resolve().parents:
        mode = stat.S_IMODE(parent.stat().st_mode)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise ClusterError(
                f"{parent} has mode {mode:04o}, so that anyone may put another folder in the place "
                f"of {private}; {elsewhere}, or chmod +t {parent}"
            )


def remove(ray: Path) -> None:
    """Remove Ray's folder with all that is in it, and the private one around it."""
    shutil.rmtree(ray, ignore_errors=True)
    if ray.name == RAY and ray.parent.name.startswith(START):
        with contextlib.suppress(OSError):  # it holds something else
            ray.parent.rmdir()
