"""Log returns of many folds and tickers as arrays: what a kernel for single tickers is handed.

A window's returns are those between two prices, set side by side, as ``observed_returns`` gives
them for one history; windows of one length stand in one array.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import BoolArray, FloatArray, IntArray
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.folds.plan import Holes
from pmx_ray.forecasters.protocol import FLAT, Failure, Status, no_spread

Cell = tuple[int, int]
"""Positions of a fold in its plan and of a ticker in its panel."""

MAX_VALUES = 4_000_000
"""Returns handed out at once, 32 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class ReturnWindows:
    """Log returns of W cells.

    Attributes
    ----------
    folds, tickers : ndarray of int, shape (W,)
        The cell of each row.
    returns : ndarray of shape (W, n)
        Decimal log returns, oldest first, none missing and not all equal.
    """

    folds: IntArray
    tickers: IntArray
    returns: FloatArray


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Sessions ``[start, stop)`` of every ticker, less holes, for one fold."""

    fold: int
    start: int
    stop: int
    holes: Holes


def training_windows(
    panel: Panel, plan: FoldPlan, failures: dict[Cell, Failure], *, n_returns: int
) -> Iterator[ReturnWindows]:
    """Yield what each fit of ``plan`` sees of each ticker, at the fold that needs it first.

    Parameters
    ----------
    panel : Panel
        Tickers, each on its own.
    plan : FoldPlan
        Folds over the panel's sessions.
    failures : dict
        Gets the cells that cannot be fitted, with what ``unusable`` says of them; a cell that is
        in it already is left out.
    n_returns : int
        Fewest log returns.
    """
    stretches = [
        _Stretch(k, int(plan.train_start[k]), int(plan.train_stop[k]), plan.holes[k])
        for k in range(len(plan))
        if plan.new_fit(k)
    ]
    return _windows(panel, stretches, failures, n_returns)


def context_windows(
    panel: Panel, plan: FoldPlan, failures: dict[Cell, Failure], *, n_returns: int
) -> Iterator[ReturnWindows]:
    """Yield what each forecast of ``plan`` is conditioned on; see ``training_windows``.

    A cell without a price on its cutoff has failed.
    """
    for fold, ticker in np.argwhere(np.isnan(panel.close[:, plan.cutoff].T)).tolist():
        reason = f"no price on the cutoff {panel.sessions[plan.cutoff[fold]]}"
        failures.setdefault((fold, ticker), Failure(Status.NO_PRICE, reason))
    stretches = [
        _Stretch(k, int(plan.context_start[k]), int(plan.cutoff[k]) + 1, ())
        for k in range(len(plan))
    ]
    return _windows(panel, stretches, failures, n_returns)


def _windows(
    panel: Panel, stretches: Sequence[_Stretch], failures: dict[Cell, Failure], n_returns: int
) -> Iterator[ReturnWindows]:
    returns = panel.log_returns()
    n_missing = np.zeros((panel.n_tickers, returns.shape[1] + 1), np.int64)
    np.cumsum(np.isnan(returns), axis=1, out=n_missing[:, 1:])
    waiting: dict[int, list[tuple[int, IntArray, FloatArray]]] = {}
    for stretch in stretches:
        start, stop = stretch.start, stretch.stop - 1
        whole = (n_missing[:, stop] == n_missing[:, start]) & (not stretch.holes)
        rows = np.flatnonzero(whole)
        parts = [(rows, returns[rows, start:stop])] if len(rows) else []
        for row in np.flatnonzero(~whole):
            parts.append((np.array([row]), _observed(returns[row], stretch)[None, :]))
        for rows, values in parts:
            usable = _usable(stretch.fold, rows, values, failures, n_returns)
            kept = waiting.setdefault(values.shape[1], [])
            kept.append((stretch.fold, rows[usable], values[usable]))
            if sum(part.size for _, _, part in kept) >= MAX_VALUES:
                yield _stacked(waiting.pop(values.shape[1]))
    for kept in waiting.values():
        stacked = _stacked(kept)
        if len(stacked.folds):
            yield stacked


def _observed(returns: FloatArray, stretch: _Stretch) -> FloatArray:
    """Return one ticker's returns that have both prices, holes blanked."""
    seen = returns[stretch.start : stretch.stop - 1].copy()
    for first, last in stretch.holes:
        # Blanking session s takes away the returns to it and from it.
        seen[max(first - stretch.start - 1, 0) : max(last - stretch.start, 0)] = np.nan
    observed: FloatArray = seen[~np.isnan(seen)]
    return observed


def _usable(
    fold: int,
    rows: IntArray,
    values: FloatArray,
    failures: dict[Cell, Failure],
    n_returns: int,
) -> BoolArray:
    """Return which rows can be used, and note why the others cannot."""
    n = values.shape[1]
    if n < n_returns:
        failure = Failure(Status.TOO_SHORT, f"{n} log returns; {n_returns} are needed")
        for row in rows.tolist():
            failures.setdefault((fold, row), failure)
        return np.zeros(len(rows), np.bool_)
    flat = np.ptp(values, axis=1) <= FLAT
    for i in np.flatnonzero(flat):
        constant = no_spread(values[i])
        if constant is not None:
            failures.setdefault((fold, int(rows[i])), constant)
    known = np.array([(fold, row) in failures for row in rows.tolist()], np.bool_)
    usable: BoolArray = ~(flat | known)
    return usable


def _stacked(parts: Sequence[tuple[int, IntArray, FloatArray]]) -> ReturnWindows:
    return ReturnWindows(
        np.concatenate([np.full(len(rows), fold) for fold, rows, _ in parts]),
        np.concatenate([rows for _, rows, _ in parts]),
        np.concatenate([values for _, _, values in parts]),
    )
