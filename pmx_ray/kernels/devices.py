"""The card that array code and CUDA kernels run on, found when it is first asked for."""

import importlib
from types import ModuleType

from pmx_ray.errors import EngineError


def card(who: str, *, instead: str) -> ModuleType:
    """Return CuPy, imported on the first call.

    Parameters
    ----------
    who : str
        What asks, as settings name it: ``samossa: engine cupy``.
    instead : str
        What does the same without a card: ``engine numpy``.

    Raises
    ------
    EngineError
        If CuPy is not installed, or sees no card.
    """
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        raise EngineError(f"{who} is not installed; pip install pmx-ray[gpu]") from None
    if not cupy.cuda.is_available():
        raise EngineError(f"{who} sees no card; use {instead}")
    return cupy
