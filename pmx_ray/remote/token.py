"""Ray's access token; Ray reads it when it is imported, so this module must not import Ray."""

import os
import secrets
from pathlib import Path


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
    elif named or (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
