"""The drill of the fallback: it forecasts what the challenger would have, before it has to."""

from datetime import datetime

import numpy as np

from pmx_ray._typing import BoolArray
from pmx_ray.backtest.blocks import scopes_of
from pmx_ray.backtest.runner import forecast_scopes
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.protocol import Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.facts import FallbackFacts


def exercise(sweep: Sweep, fallback: ForecasterSpec, *, at: datetime) -> FallbackFacts:
    """Return how the fallback served the last cutoff of a run, ticker by ticker.

    A ticker counts as asked for if it can be forecast at all: one that was delisted, or listed on
    that day, is no forecaster's to serve.

    Parameters
    ----------
    sweep : Sweep
        The run whose place is to be taken.
    fallback : ForecasterSpec
        What takes it.
    at : datetime
        When the drill was held, with its time zone.
    """
    last = sweep.plan[len(sweep.plan) - 1 : len(sweep.plan)]
    seen = int(max(last.train_stop.max(), last.cutoff.max() + 1))
    scopes = scopes_of(fallback, sweep.panel)
    batch = forecast_scopes(
        sweep.panel.window(0, seen), last, fallback, scopes=scopes, seed=sweep.settings.seed
    )
    asked = _traded(sweep.panel, last)
    served = asked & (batch.status[0] == Status.OK.value)
    return FallbackFacts(fallback.id, fallback.label, at, int(served.sum()), int(asked.sum()))


def _traded(panel: Panel, last: FoldPlan) -> BoolArray:
    """Return which tickers closed at the cutoff of one fold and earlier in its context, (N,)."""
    (start,), (cutoff,) = last.context_start, last.cutoff
    closed = ~np.isnan(panel.close[:, start : cutoff + 1])
    traded: BoolArray = closed[:, -1] & closed[:, :-1].any(axis=1)
    return traded
