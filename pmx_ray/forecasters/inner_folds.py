"""Rolling folds inside a history, and the losses of forecasts on them.

What is chosen or weighed at a fit rests on these and on nothing later: every outcome that an inner
fold scores is a session of the history itself.

Shapes: K inner folds, M tickers, H steps.
"""

from typing import Annotated, Literal, TypeAlias

import numpy as np
from pydantic import AfterValidator

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch
from pmx_ray.stats.losses import crps_normal, qlike, squared_error

Loss: TypeAlias = Literal["squared_error", "crps", "qlike"]
"""Loss of a forecast of the cumulative log return; lower is better."""

VALIDATION, FINAL = 0, 1
"""Which of a fit's generators: for the inner folds, or for the fit that is kept."""

MAX_SHARE = 1.0 / 3.0
"""Largest share of a history that its inner folds may take from their train windows."""


def _increasing(steps: tuple[int, ...]) -> tuple[int, ...]:
    if not steps or steps[0] < 1 or steps[-1] > 250 or list(steps) != sorted(set(steps)):
        raise ValueError(f"steps were {list(steps)}; they must be 1 to 250 and increase")
    return steps


Steps: TypeAlias = Annotated[tuple[int, ...], AfterValidator(_increasing)]
"""Sessions ahead at which inner folds are scored."""


def inner_plan(
    n_sessions: int, *, n_folds: int, spacing: int, refit_every: int, steps: tuple[int, ...]
) -> FoldPlan | None:
    """Return the last rolling folds whose outcomes lie in a history; None if it is too short.

    Every train window has one length: what the earliest cutoff leaves.

    Parameters
    ----------
    n_sessions : int
        Sessions of the history, T.
    n_folds : int
        Folds wanted; fewer are laid where they would take more than ``MAX_SHARE`` of the history.
    spacing : int
        Sessions between cutoffs.
    refit_every : int
        Folds that share one fit.
    steps : tuple of int
        Sessions after each cutoff that are scored; the last cutoff is ``T - 1 - steps[-1]``.
    """
    room = int(n_sessions * MAX_SHARE) - steps[-1]
    n_laid = min(n_folds, room // spacing + 1)
    last = n_sessions - 1 - steps[-1]
    if room < 0 or n_laid < 1 or last < 1:
        return None
    cutoff = last - spacing * np.arange(n_laid - 1, -1, -1)
    size = int(cutoff[0]) + 1
    fitted = cutoff[(np.arange(n_laid) // refit_every) * refit_every]
    return FoldPlan(
        train_start=fitted + 1 - size,
        train_stop=fitted + 1,
        context_start=cutoff + 1 - size,
        cutoff=cutoff,
        refit=fitted == cutoff,
        split=np.zeros_like(cutoff),
        holes=((),) * n_laid,
        steps=steps,
        purge=0,
        embargo=0,
    )


def inner_losses(batch: ForecastBatch, history: Panel, plan: FoldPlan, *, loss: Loss) -> FloatArray:
    """Return the losses of a batch on folds inside ``history``, shape (K, M, H).

    NaN where there is no forecast or a price of the outcome is missing; ``qlike`` is also NaN where
    the price did not move.

    Parameters
    ----------
    batch : ForecastBatch
        Forecasts of every fold of ``plan``.
    history : Panel
    plan : FoldPlan
    loss : str
    """
    log_close = np.log(history.close)
    ends = plan.cutoff[:, None] + np.array(plan.steps)  # (K, H)
    start = log_close[:, plan.cutoff][:, :, None]  # (M, K, 1)
    actual = (log_close[:, ends] - start).transpose(1, 0, 2)
    match loss:
        case "squared_error":
            return squared_error(actual, batch.mean)
        case "crps":
            return crps_normal(actual, batch.mean, batch.variance)
        case "qlike":
            return qlike(_realized(np.diff(log_close, axis=1), plan), batch.variance)


def _realized(returns: FloatArray, plan: FoldPlan) -> FloatArray:
    """Return the sum of squared log returns from each cutoff to each step, (K, M, H)."""
    longest = np.arange(plan.steps[-1])
    squares = returns[:, plan.cutoff[:, None] + longest] ** 2  # (M, K, longest step)
    sums: FloatArray = np.cumsum(squares, axis=2)[:, :, np.array(plan.steps) - 1]
    return sums.transpose(1, 0, 2)
