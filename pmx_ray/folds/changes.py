"""Refits where a panel has changed: its alarms, and the folds that they make fit anew."""

import numpy as np

from pmx_ray._typing import BoolArray, IntArray
from pmx_ray.data.panel import Panel
from pmx_ray.kernels.change_points_settings import ChangeSettings


def change_alarms(panel: Panel, settings: ChangeSettings) -> IntArray:
    """Return the sessions at whose close a change of the panel is alarmed, ascending, (A,).

    Every ticker is watched together with the others. Sessions added at the end add alarms and
    move none.
    """
    # Imported where it is used: most plans refit every so many folds, and need no detector.
    from pmx_ray.kernels.change_points import detect  # noqa: PLC0415
    from pmx_ray.kernels.change_points_input import watched_series  # noqa: PLC0415

    return detect(watched_series(panel.close, settings), settings).alarms


def refit_folds(cutoff: IntArray, *, refit_every: int, alarms: IntArray | None = None) -> BoolArray:
    """Return which folds have a fit of their own, (F,).

    The first has; a later one has where a change was alarmed after the cutoff of the last fit and
    up to its own, and where ``refit_every`` folds have passed since that fit.

    Parameters
    ----------
    cutoff : ndarray of int, shape (F,)
        Increasing.
    refit_every : int
        Most folds that share one fit.
    alarms : ndarray of int, shape (A,), optional
        Sessions with an alarm, ascending; see ``change_alarms``.

    Examples
    --------
    >>> refit_folds(np.array([10, 20, 30, 40]), refit_every=3, alarms=np.array([15])).tolist()
    [True, True, False, False]
    """
    if alarms is None:
        return np.equal(np.arange(len(cutoff)) % refit_every, 0)
    known = np.searchsorted(alarms, cutoff, side="right")  # (F,) alarms up to each cutoff
    refit = np.zeros(len(cutoff), np.bool_)
    last = -refit_every
    for fold in range(len(cutoff)):
        refit[fold] = fold - last >= refit_every or known[fold] > known[last]
        last = fold if refit[fold] else last
    return refit
