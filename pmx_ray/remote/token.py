"""Ray's access token; Ray reads it when it is imported, so this module must not import Ray."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from pmx_ray.errors import ClusterError


def use_token(address: str | None) -> None:
    """Turn token authentication on for this process and its children; call before importing ray.

    A local cluster gets a token of its own unless the environment names one. For a running cluster
    the token is the user's: ``RAY_AUTH_TOKEN``, ``RAY_AUTH_TOKEN_PATH`` or ``~/.ray/auth_token``.

    Parameters
    ----------
    address : str, optional
        ``None`` or ``local`` for a cluster of this process's own, else a running one's.
    """
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if address in (None, "local"):
        os.environ["RAY_AUTH_MODE"] = "token"
        if not named:
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    elif named or token_path().exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def token_path() -> Path:
    """Return where this account's token is kept."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def own_token() -> str | None:
    """Return this account's token, or None where there is none that can be read."""
    named = os.environ.get("RAY_AUTH_TOKEN")
    if named:
        return named
    try:
        return token_path().read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def keep_token() -> Path:
    """Return the file of this account's token, made first where there is none: mode 0600.

    Raises
    ------
    ClusterError
        If others may read the file that is there, or none can be written.
    """
    path = token_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _make(path)
        mode = path.stat().st_mode
    except OSError as error:
        raise ClusterError(f"token {path} cannot be made: {error.strerror}") from None
    if mode & 0o077:
        raise ClusterError(f"others may read token {path}; change that: chmod 600 {path}")
    return path


def _make(path: Path) -> None:
    """Write a token that nobody sees half-written; of several who try, the first wins."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="ascii") as file:
        file.write(secrets.token_hex(32))
        file.flush()
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)  # a temporary file has mode 0600
