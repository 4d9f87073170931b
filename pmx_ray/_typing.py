"""Array types of the project, and the one way to freeze an array."""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
DateArray = npt.NDArray[np.datetime64]  # unit D


S = TypeVar("S", bound=np.generic)


def frozen(values: npt.ArrayLike, dtype: type[S] | np.dtype[S]) -> npt.NDArray[S]:
    """Return a read-only C-ordered copy of ``values`` that shares no memory with it.

    Parameters
    ----------
    values : array_like
        Any shape.
    dtype : dtype
        Element type of the copy.
    """
    copy: npt.NDArray[Any] = np.array(values, dtype=dtype, order="C", copy=True)
    copy.flags.writeable = False
    return copy
