"""What a number came from: canonical hashes and the versions that can change a result."""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version

ENGINE_VERSION = "1"
"""Bumped when the engine itself changes a forecast or the layout of a block."""

FEATURES_VERSION = "2"
"""Bumped when a feature's numbers or the layout of its block change."""

FEATURES = "pmx-features"
"""What stands for ``FEATURES_VERSION`` among the libraries of a forecaster that computes features.

So their numbers are computed again when a feature changes, and nobody else's are.
"""

CHANGE_POINTS_VERSION = "2"
"""Bumped when the change point detector's numbers change."""

CHANGE_POINTS = "pmx-change-points"
"""What stands for ``CHANGE_POINTS_VERSION`` among the libraries of a forecaster that detects."""


def canonical_json(value: object) -> bytes:
    """Return the one UTF-8 text of ``value``: sorted keys, no spaces, no NaN.

    Raises
    ------
    ValueError
        If ``value`` holds NaN or an infinity.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": [1.5, None]})
    b'{"a":[1.5,null],"b":1}'
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def sha256_hex(*parts: bytes) -> str:
    """Return the SHA-256 of ``parts``, each preceded by its length so that no two splits agree."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


@cache
def library_version(name: str) -> str:
    """Return the installed version of the distribution ``name``, or ``absent``."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the version of each of ``names``: distributions as installed, and our own parts."""
    own = {CHANGE_POINTS: CHANGE_POINTS_VERSION, FEATURES: FEATURES_VERSION}
    return {name: own.get(name) or library_version(name) for name in sorted(names)}
