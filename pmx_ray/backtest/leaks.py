"""The leak audit: overwrite the future with noise and demand the same bits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.backtest.blocks import scopes_of
from pmx_ray.backtest.runner import forecast_scopes
from pmx_ray.data.panel import FIELDS, Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch
from pmx_ray.forecasters.registry import ForecasterSpec


@dataclass(frozen=True, slots=True)
class Leak:
    """A forecast that changed although only sessions after its cutoff did.

    Attributes
    ----------
    spec : str
        Label of the spec.
    ticker : str
        The ticker whose forecast changed.
    cutoff : str
        The cutoff after which everything was overwritten.
    """

    spec: str
    ticker: str
    cutoff: str

    def __str__(self) -> str:
        return f"{self.spec} forecast of {self.ticker} at {self.cutoff} depends on later sessions"


def audit_leaks(
    panel: Panel,
    plan: FoldPlan,
    specs: Sequence[ForecasterSpec],
    *,
    rng: np.random.Generator,
    n_cutoffs: int = 3,
) -> tuple[Leak, ...]:
    """Return every forecast found to depend on the future; an empty tuple is a pass.

    At ``n_cutoffs`` folds spread over the plan, all fields of all tickers after the cutoff are
    overwritten with noise, the plan is forecast again, and the fold's forecasts are compared bit
    by bit. The forecaster is handed the whole panel, so a kernel that reads ahead is caught.

    Parameters
    ----------
    panel : Panel
        Prices.
    plan : FoldPlan
        A walk-forward plan: a combinatorial one trains on the future by design.
    specs : sequence of ForecasterSpec
        What is audited.
    rng : Generator
        Draws the noise.
    n_cutoffs : int
        Folds at which the future is overwritten.

    Raises
    ------
    SettingsError
        If the plan is combinatorial.
    """
    if plan.split.any() or any(plan.holes):
        raise SettingsError("a combinatorial plan trains on later sessions by design; audit a walk")
    picks = np.unique(np.linspace(0, len(plan) - 1, n_cutoffs).round().astype(int))
    noisy = {int(fold): overwrite_after(panel, int(plan.cutoff[fold]), rng=rng) for fold in picks}
    return tuple(leak for spec in specs for leak in _leaks(panel, noisy, plan, spec))


def overwrite_after(panel: Panel, cutoff: int, *, rng: np.random.Generator) -> Panel:
    """Return the panel with every number after position ``cutoff`` replaced by noise.

    What is missing stays missing: a ticker that left the exchange does not come back.
    """
    after = slice(cutoff + 1, None)

    def noisy(values: FloatArray) -> FloatArray:
        changed: FloatArray = values.copy()
        noise = np.exp(rng.normal(0.0, 3.0, changed[:, after].shape))
        changed[:, after] = np.where(np.isnan(changed[:, after]), np.nan, noise)
        return changed

    present = {name: getattr(panel, name) for name in FIELDS}
    fields: dict[str, Any] = {
        name: noisy(values) for name, values in present.items() if values is not None
    }
    return replace(panel, close=noisy(panel.close), **fields)


def _leaks(
    panel: Panel, noisy: dict[int, Panel], plan: FoldPlan, spec: ForecasterSpec
) -> Iterator[Leak]:
    scopes = scopes_of(spec, panel)
    clean = forecast_scopes(panel, plan, spec, scopes=scopes, seed=0)
    for fold, changed in noisy.items():
        again = forecast_scopes(changed, plan, spec, scopes=scopes, seed=0)
        for m, ticker in enumerate(panel.tickers):
            if _bits(clean, fold, m) != _bits(again, fold, m):
                yield Leak(spec.label, ticker, str(panel.sessions[plan.cutoff[fold]]))


def _bits(batch: ForecastBatch, fold: int, ticker: int) -> tuple[bytes, ...]:
    return (
        batch.mean[fold, ticker].tobytes(),
        batch.variance[fold, ticker].tobytes(),
        batch.quantiles[fold, ticker].tobytes(),
        str(batch.status[fold, ticker]).encode(),
    )
