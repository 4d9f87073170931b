"""How a kernel is compiled: once, for float64, without the interpreter's lock, kept on disk."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function`` compiled by numba on its first call, and from then on from the cache.

    The cache lies beside the source where that is writable, else in the user's cache folder, or
    where ``NUMBA_CACHE_DIR`` points; processes share it. Division by zero gives inf, as in NumPy.
    """
    wrap = numba.njit(cache=True, nogil=True, error_model="numpy")
    return cast("Callable[P, R]", wrap(function))
