"""Mean and variance of one log return from windows of prices, for many tickers and folds at once.

What the cheap families share: a fit is one window, and a forecast over h sessions has h times the
mean and variance of one session.

Shapes: M tickers, F folds or windows, H steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import FloatArray, IntArray, frozen
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch
from pmx_ray.forecasters.normal import normal_batch
from pmx_ray.forecasters.protocol import FLAT, Failure, Status
from pmx_ray.kernels.moments import WindowMoments, window_moments


@dataclass(frozen=True, slots=True)
class Rule:
    """Which returns of a window count, and how.

    Attributes
    ----------
    n_needed : int
        Fewest log returns of a window that is used.
    n_last : int, optional
        How many of the last ones the moments are of; all unless given.
    centred : bool
        Whether the mean is estimated, or 0.
    fewer : int
        What is subtracted from the number of returns to divide their squares by.
    decay : float, optional
        Weight of a squared return relative to the one after it; equal weights unless given.
    flat_variance : bool
        Whether a variance of (almost) nothing is a failure, beside returns that are all equal.
    flat_last : bool
        Whether it is one if the last ones alone are all equal.
    """

    n_needed: int
    n_last: int | None = None
    centred: bool = True
    fewer: int = 0
    decay: float | None = None
    flat_variance: bool = False
    flat_last: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Mean and variance of one log return, (M, F), and which windows gave none, and why."""

    mean: FloatArray
    variance: FloatArray
    failures: Mapping[tuple[int, int], Failure]

    def __post_init__(self) -> None:
        for name in ("mean", "variance"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.float64))

    def of(self, windows: IntArray) -> "Estimates":
        """Return the estimates of ``windows``, (F,), in this order; they may repeat."""
        failed: dict[int, list[tuple[int, Failure]]] = {}
        for (ticker, window), failure in self.failures.items():
            failed.setdefault(window, []).append((ticker, failure))
        failures = {
            (ticker, fold): failure
            for fold, window in enumerate(windows.tolist())
            for ticker, failure in failed.get(window, ())
        }
        return Estimates(self.mean[:, windows], self.variance[:, windows], failures)


def estimate(returns: FloatArray, first: IntArray, stop: IntArray, rule: Rule) -> Estimates:
    """Return the estimates of windows ``[first, stop)`` of returns (M, T), NaN where missing."""
    moments = window_moments(
        returns, first, stop, n_last=rule.n_last, centred=rule.centred, decay=rule.decay
    )
    with np.errstate(all="ignore"):
        variance = moments.square
        if rule.decay is None:
            variance = variance / (moments.last_count - rule.fewer)
        wrong = (moments.count < rule.n_needed) | (moments.spread <= FLAT)
        if rule.flat_last:
            wrong |= moments.last_spread <= FLAT
        if rule.flat_variance:
            wrong |= variance <= FLAT**2
    failures = {
        (ticker, window): _failure(moments, variance, rule, (ticker, window))
        for ticker, window in np.argwhere(wrong).tolist()
    }
    return Estimates(moments.mean, variance, failures)


def _failure(
    moments: WindowMoments, variance: FloatArray, rule: Rule, cell: tuple[int, int]
) -> Failure:
    count = int(moments.count[cell])
    if count < rule.n_needed:
        reason = f"{count} log returns; {rule.n_needed} are needed"
        return Failure(Status.TOO_SHORT, reason)
    if moments.spread[cell] <= FLAT:
        reason = f"all {count} log returns equal {moments.first[cell]:.3g}"
    elif rule.flat_last and moments.last_spread[cell] <= FLAT:
        n_last = int(moments.last_count[cell])
        reason = f"all {n_last} log returns equal {moments.last_first[cell]:.3g}"
    else:
        reason = f"the variance of a log return is {variance[cell]:.3g}"
    return Failure(Status.CONSTANT, reason)


def estimate_history(history: Panel, rule: Rule) -> tuple[float, float] | Failure:
    """Return mean and variance of one log return of a one-ticker history, or why there are none."""
    returns = history.log_returns()
    found = estimate(returns, np.zeros(1, np.int64), np.array([returns.shape[1]]), rule)
    if found.failures:
        return found.failures[0, 0]
    return float(found.mean[0, 0]), float(found.variance[0, 0])


def estimate_fits(panel: Panel, plan: FoldPlan, rule: Rule) -> Estimates:
    """Return each fold's estimates, (M, F), from the train window of the fit that serves it."""
    returns = panel.log_returns()
    new = np.array([plan.new_fit(fold) for fold in range(len(plan))])
    fits = np.flatnonzero(new).tolist()
    mean = np.empty((panel.n_tickers, len(fits)))
    variance = mean.copy()
    failures: dict[tuple[int, int], Failure] = {}
    for holes in dict.fromkeys(plan.holes[fold] for fold in fits):
        places = [n for n, fold in enumerate(fits) if plan.holes[fold] == holes]
        folds = [fits[n] for n in places]
        seen = returns.copy() if holes else returns
        for start, stop in holes:
            seen[:, max(start - 1, 0) : stop] = np.nan  # a return needs both its prices
        found = estimate(seen, plan.train_start[folds], plan.train_stop[folds] - 1, rule)
        mean[:, places], variance[:, places] = found.mean, found.variance
        failures |= {(m, places[n]): failure for (m, n), failure in found.failures.items()}
    return Estimates(mean, variance, failures).of(np.cumsum(new) - 1)


def estimate_contexts(panel: Panel, plan: FoldPlan, rule: Rule) -> Estimates:
    """Return each fold's estimates, (M, F), from what its forecast is conditioned on."""
    return estimate(panel.log_returns(), plan.context_start, plan.cutoff, rule)


def forecast_linear(
    panel: Panel, plan: FoldPlan, estimates: Estimates, *, price_first: bool
) -> ForecastBatch:
    """Return the batch whose moments over h sessions are h times those of one.

    Parameters
    ----------
    panel : Panel
    plan : FoldPlan
    estimates : Estimates
        A column a fold.
    price_first : bool
        Whether a missing price at the cutoff is reported before what the estimate lacks.
    """
    steps = np.array(plan.steps, np.float64)
    failures = {(fold, ticker): why for (ticker, fold), why in estimates.failures.items()}
    absent = np.argwhere(np.isnan(panel.close[:, plan.cutoff]).T).tolist()
    for fold, ticker in absent:
        if price_first or (fold, ticker) not in failures:
            cutoff = panel.sessions[plan.cutoff[fold]]
            failures[fold, ticker] = Failure(Status.NO_PRICE, f"no price on the cutoff {cutoff}")
    mean = estimates.mean.T[:, :, None] * steps
    return normal_batch(mean, estimates.variance.T[:, :, None] * steps, failures)
