"""Whether a network forecasts each window from that window alone, and the same every time.

A forecast that depends on the windows beside it reads other folds, hence the future, and other
tickers. One block tells: a network that mixes rows does so with any numbers.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pmx_ray._typing import FloatArray
from pmx_ray.errors import SettingsError

Compute: TypeAlias = Callable[[npt.NDArray[np.float32]], Mapping[str, FloatArray]]
"""A block of windows (W, L) to outputs by name, each with W rows."""


def check_rows(compute: Compute, *, rows: int, input_size: int) -> None:
    """Refuse a network whose answers are not a function of their own window.

    The same block goes in twice; then its first window among others, at both ends of the block.
    Every answer must keep its bits.

    Parameters
    ----------
    compute : callable
        The network.
    rows : int
        Windows of a block.
    input_size : int
        Returns of a window, L.

    Raises
    ------
    SettingsError
        If an answer changes.
    """
    block, others = _windows(rows, input_size), _windows(rows, input_size, seed=1)
    seen = compute(block)
    for name, again in compute(block).items():
        if again.tobytes() != seen[name].tobytes():
            raise SettingsError(
                f"onnx: asked twice for the '{name}' of one block, the network gave "
                f"{_first_difference(seen[name], again)}; it must not draw random numbers; export "
                "it in evaluation mode, e.g. after model.eval()"
            )
    for place in (0, rows - 1):
        beside = others.copy()
        beside[place] = block[0]
        for name, found in compute(beside).items():
            if found[place].tobytes() != seen[name][0].tobytes():
                raise SettingsError(
                    f"onnx: the '{name}' of one window was "
                    f"{_first_difference(seen[name][0], found[place])} as the other {rows - 1} "
                    "windows of its block changed; it must depend on its own window alone; export "
                    "the network in evaluation mode and without sums over the batch, or make its "
                    "blocks of one window: batch_rows 1, or a fixed batch size of 1"
                )


def _windows(rows: int, input_size: int, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return random windows over their scale, (rows, L)."""
    drawn = np.random.default_rng(seed).standard_normal((rows, input_size), dtype=np.float32)
    scaled: npt.NDArray[np.float32] = drawn / np.sqrt(np.mean(drawn**2, axis=1, keepdims=True))
    return scaled


def _first_difference(one: FloatArray, other: FloatArray) -> str:
    differs = np.flatnonzero(one.view(np.int64).ravel() != other.view(np.int64).ravel())[0]
    return f"{one.ravel()[differs]:.9g} and {other.ravel()[differs]:.9g}"
