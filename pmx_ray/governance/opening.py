"""From the folder of the sweep folders to its registry."""

import os
from pathlib import Path

from pmx_ray.governance.registry import Registry
from pmx_ray.governance.signing import signing_key
from pmx_ray.lake import open_store

MODELS_VARIABLE = "PMX_MODELS_URL"


def open_registry(root: Path, *, make_key: bool = True) -> Registry:
    """Return the registry at ``$PMX_MODELS_URL``, or in the folder of the sweep folders.

    Parameters
    ----------
    root : Path
        Folder of the sweep folders; without ``$PMX_SIGNING_KEY`` it holds the key's file.
    make_key : bool
        Whether a key is made where there is none: to register, not to serve.

    Raises
    ------
    SettingsError
        If the key, or the address, cannot be used.
    """
    store = open_store(os.environ.get(MODELS_VARIABLE) or str(root))
    return Registry(store, key=signing_key(root, make=make_key))
