"""The drill of the fallback: it forecasts what the challenger would have, before it has to."""

from datetime import datetime

from pmx_ray.backtest.blocks import scopes_of
from pmx_ray.backtest.runner import forecast_scopes
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.forecasters.protocol import Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.facts import FallbackFacts


def exercise(sweep: Sweep, fallback: ForecasterSpec, *, at: datetime) -> FallbackFacts:
    """Return how the fallback served the last cutoff of a run, ticker by ticker.

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
    served = int((batch.status == Status.OK.value).sum())
    return FallbackFacts(fallback.id, fallback.label, at, served, batch.status.size)
