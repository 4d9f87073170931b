"""The challenger's strategy replayed over the great crises, on the run's own prices."""

from datetime import date
from typing import Any

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.backtest.blocks import scopes_of
from pmx_ray.backtest.runner import forecast_scopes
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.backtest.strategy import Sleeves
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldPlan, folds_of
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.facts import ReplayFacts
from pmx_ray.stats.regimes import CRISES


def replays(
    panel: Panel, settings: SweepSettings, spec: ForecasterSpec, *, step: int
) -> tuple[ReplayFacts, ...]:
    """Return how the strategy of ``spec`` fared in each crisis that the prices reach.

    Folds are those of the run with a cutoff every ``step`` sessions, so that positions follow each
    other without a gap and none overlap; every fit sees sessions up to its cutoff alone, and is
    kept for about as many sessions as in the run.

    Parameters
    ----------
    panel : Panel
        The run's prices, whole.
    settings : SweepSettings
        The run's; folds, costs, edge and seed are taken from it.
    spec : ForecasterSpec
        The challenger.
    step : int
        Sessions a position is held.
    """
    return tuple(_replay(panel, settings, spec, step, name) for name in CRISES)


def _replay(
    panel: Panel, settings: SweepSettings, spec: ForecasterSpec, step: int, name: str
) -> ReplayFacts:
    plan = _folds(panel, settings, step, CRISES[name])
    if plan is None:
        return ReplayFacts(name, 0, np.nan, np.nan, n_served=0, n_asked=0)
    mean, actual = _cells(panel, plan, settings, spec)
    asked = ~np.isnan(actual)
    n_served, n_asked = int((asked & ~np.isnan(mean)).sum()), int(asked.sum())
    if n_served == 0:
        return ReplayFacts(name, 0, np.nan, np.nan, n_served=0, n_asked=n_asked)
    returns = settings.evaluation.rule.trade(mean, actual).by_cutoff
    sleeves = Sleeves(step, step)
    return ReplayFacts(
        name,
        int((~np.isnan(returns)).sum()),
        float(sleeves.drawdown_frac(returns).max()),
        float(sleeves.equity(returns)[-1]) - 1.0,
        n_served=n_served,
        n_asked=n_asked,
    )


def _folds(
    panel: Panel, settings: SweepSettings, step: int, window: tuple[date, date]
) -> FoldPlan | None:
    """Return the folds scored inside a window; None where the prices do not reach it.

    Refits stay as many sessions apart as in the run, as near as whole folds allow.
    """
    first, last = window
    sessions_a_fit = settings.folds.refit_every * settings.folds.step_size
    changed: dict[str, Any] = {
        "kind": "rolling", "steps": (step,), "step_size": step, "start": first, "end": last,
        "tuning_end": None, "refit_every": max(1, round(sessions_a_fit / step)),
    }  # fmt: skip
    try:
        return folds_of(panel, settings.folds.model_copy(update=changed))
    except SettingsError:
        return None


def _cells(
    panel: Panel, plan: FoldPlan, settings: SweepSettings, spec: ForecasterSpec
) -> tuple[FloatArray, FloatArray]:
    """Return expected log returns and those that came, both (F, N); NaN where there is none."""
    seen = int(plan.cutoff.max()) + 1
    batch = forecast_scopes(
        panel.window(0, seen), plan, spec, scopes=scopes_of(spec, panel), seed=settings.seed
    )
    (step,) = plan.steps
    actual = np.log(panel.close[:, plan.cutoff + step] / panel.close[:, plan.cutoff]).T
    return batch.mean[..., 0], actual
