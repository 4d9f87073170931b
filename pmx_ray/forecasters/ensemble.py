"""An ensemble: several forecasters as one mixture, weighed by losses of the past alone.

At each fit the members forecast inner folds that lie inside the history, outcomes included; their
losses there make the weights. ``ensemble_weights`` has the weights, ``mixture`` the combination.

Shapes: M tickers, F folds, K inner folds, H steps, S members.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch, RngAt, gather
from pmx_ray.forecasters.ensemble_settings import EnsembleSettings
from pmx_ray.forecasters.ensemble_weights import (
    Evidence,
    adaptive_weights,
    equal_weights,
    inverse_loss_weights,
    walk_shrinkage,
)
from pmx_ray.forecasters.inner_folds import FINAL, VALIDATION, inner_losses, inner_plan
from pmx_ray.forecasters.members import FittedMember, fit_member, forecast_member, parts, widest
from pmx_ray.forecasters.mixture import pool
from pmx_ray.forecasters.protocol import Failure, Forecast, Forecaster, Outcome, Scope, Status
from pmx_ray.forecasters.registry import Device, family, register
from pmx_ray.kernels.change_points import change_density, detect
from pmx_ray.kernels.change_points_input import watched_series
from pmx_ray.kernels.change_points_settings import ChangeSettings
from pmx_ray.provenance import CHANGE_POINTS


def _device(settings: EnsembleSettings) -> Device:
    return "gpu" if "gpu" in {spec.device for spec in settings.members} else "cpu"


def _libraries(settings: EnsembleSettings) -> tuple[str, ...]:
    names = {"numpy", "scipy"}
    for spec in settings.members:
        names |= set(family(spec.name).libraries(spec.settings))
    if settings.weighting == "adaptive":
        names |= {"arch", "numba", CHANGE_POINTS, "statsmodels"}
    return tuple(sorted(names))


def _fit_s(settings: EnsembleSettings) -> float:
    fits = sum(family(spec.name).fit_s(spec.settings) for spec in settings.members)
    extensions = sum(family(spec.name).extend_s for spec in settings.members)
    if settings.weighting == "equal":
        return fits
    n_inner = -(-settings.n_validation // settings.refit_every)
    return fits * (1 + n_inner) + extensions * settings.n_validation + 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class FittedEnsemble:
    """Members' fits with the weights of their fit, standing at the last session of a history.

    Attributes
    ----------
    members : tuple of FittedMember, length S
    weights : ndarray of shape (M, S)
        A row a ticker of the history that was fitted.
    labels : tuple of str, length S
    tickers : tuple of str, length M
        Those of the history that was fitted.
    current : tuple of str
        Those of the history that the forecast is conditioned on.
    """

    members: tuple[FittedMember, ...]
    weights: FloatArray
    labels: tuple[str, ...]
    tickers: tuple[str, ...]
    current: tuple[str, ...]

    def extend(self, history: Panel) -> "FittedEnsemble":
        """Return the same fits and weights, conditioned on ``history``."""
        members = tuple(member.extend(history) for member in self.members)
        return replace(self, members=members, current=history.tickers)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return one outcome a ticker; see ``Forecaster``."""
        n = len(self.current)
        batches = [gather([member.forecast(steps)], steps, n) for member in self.members]
        row_of = {ticker: row for row, ticker in enumerate(self.tickers)}
        even = equal_weights(len(self.members))
        rows = [self.weights[row_of[t]] if t in row_of else even for t in self.current]
        pooled = pool(batches, np.stack(rows)[None], names=self.labels)
        return tuple(_outcome(pooled, ticker) for ticker in range(n))


def _outcome(batch: ForecastBatch, ticker: int) -> Outcome:
    if batch.status[0, ticker] != Status.OK:
        return Failure(Status(str(batch.status[0, ticker])), batch.reasons[0, ticker])
    bands = batch.quantiles[0, ticker]
    return Forecast(batch.mean[0, ticker], batch.variance[0, ticker], bands)


@register(
    "ensemble",
    settings=EnsembleSettings,
    version="3",
    summary="mixture of other forecasters, weighed by their past validation losses",
    libraries=_libraries,
    fit_s=_fit_s,
    extend_s=1e-4,
    device=_device,
)
class Ensemble:
    """Linear opinion pool with weights from losses inside the history.

    References
    ----------
    Bates, Granger (1969), Operational Research Quarterly 20, 451-468.
    Stock, Watson (2004), Journal of Forecasting 23, 405-430.
    """

    def __init__(self, settings: EnsembleSettings) -> None:
        self.settings = settings
        self.labels = tuple(spec.label for spec in settings.members)
        self.members: tuple[Forecaster, ...] = tuple(spec.build() for spec in settings.members)

    @property
    def scope(self) -> Scope:
        """The widest scope among the members."""
        return widest([member.scope for member in self.members])

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedEnsemble:
        """Weigh the members inside ``history`` and fit each on the whole of it."""
        seeds = _seeds(rng)
        fitted = tuple(
            fit_member(member, history, new_rng=partial(_stream, seeds, n, FINAL))
            for n, member in enumerate(self.members)
        )
        weights = self.weights(history, seeds)
        return FittedEnsemble(fitted, weights, self.labels, history.tickers, history.tickers)

    def forecast_folds(self, panel: Panel, plan: FoldPlan, rng_at: RngAt) -> ForecastBatch:
        """Return what fit, extend and forecast would, by the members' own kernels."""
        batches = [
            forecast_member(member, panel, plan, _final_streams(rng_at, n))
            for n, member in enumerate(self.members)
        ]
        weights = np.empty((len(plan), panel.n_tickers, len(self.members)))
        refits = [fold for fold in range(len(plan)) if plan.new_fit(fold)]
        for first, stop in pairwise([*refits, len(plan)]):
            history = plan.training(panel, first)
            weights[first:stop] = self.weights(history, _seeds(rng_at(first)))
        return pool(batches, weights, names=self.labels)

    def weights(self, history: Panel, seeds: Sequence[int]) -> FloatArray:
        """Return each ticker's weights, shape (M, S), from what ``history`` holds.

        Tickers that are fitted jointly share theirs.
        """
        settings, n_members = self.settings, len(self.members)
        even = np.tile(equal_weights(n_members), (history.n_tickers, 1))
        plan = inner_plan(
            history.n_sessions,
            n_folds=settings.n_validation,
            spacing=settings.spacing,
            refit_every=settings.refit_every,
            steps=settings.steps,
        )
        if settings.weighting == "equal" or plan is None or len(plan) < settings.min_losses:
            return even
        batches = [
            forecast_member(member, history, plan, _validation_streams(seeds, n))
            for n, member in enumerate(self.members)
        ]
        losses = np.stack(
            [inner_losses(batch, history, plan, loss=settings.loss) for batch in batches], axis=-1
        )  # (K, M, H, S)
        row_of = {ticker: row for row, ticker in enumerate(history.tickers)}
        for tickers in parts(history, self.scope):
            rows = [row_of[ticker] for ticker in tickers]
            ours = np.ascontiguousarray(losses[:, rows]).reshape(len(plan), -1, n_members)
            even[rows] = self._weigh(ours, history.close[rows], plan)
        return even

    def _weigh(self, losses: FloatArray, close: FloatArray, plan: FoldPlan) -> FloatArray:
        """Return the weights, (S,), of losses (K, N, S) and prices (M, T) of one scope."""
        settings = self.settings
        if settings.weighting == "inverse_loss":
            return inverse_loss_weights(losses, min_losses=settings.min_losses)
        age = close.shape[1] - 1.0 - (plan.cutoff + plan.steps[-1])
        lags, level = settings.variance_ratio_lags, settings.variance_ratio_level
        evidence = Evidence(
            age=age,
            change_density=recent_density(close, window=settings.density_window),
            shrinkage=walk_shrinkage(np.log(close), lags=lags, level=level),
            anchor=self._anchor(),
        )
        return adaptive_weights(losses, evidence, min_losses=settings.min_losses)

    def _anchor(self) -> FloatArray:
        """Return the weights that losses are shrunk to.

        A random walk says that no mean is better than 0, so where the loss is of the mean the
        anchor is that member. It says nothing of the spread, where the anchor is equal weights.
        """
        names = [spec.name for spec in self.settings.members]
        if self.settings.loss == "squared_error" and "random_walk" in names:
            return np.array([float(name == "random_walk") for name in names])
        return equal_weights(len(names))


def recent_density(close: FloatArray, *, window: int) -> float:
    """Return change points per session over the last ``window`` sessions of prices (M, T)."""
    changes = ChangeSettings()
    alarms = detect(watched_series(close, changes), changes).alarms
    return float(change_density(alarms, close.shape[1], window=window)[-1])


def _seeds(rng: np.random.Generator) -> list[int]:
    """Draw what every generator of one fit is seeded with."""
    drawn: list[int] = rng.integers(0, 2**32, size=4).tolist()
    return drawn


def _stream(seeds: Sequence[int], member: int, use: int) -> np.random.Generator:
    """Return a new generator for one use of one member."""
    return np.random.default_rng([*seeds, member, use])


def _final_streams(rng_at: RngAt, member: int) -> RngAt:
    return lambda fold: _stream(_seeds(rng_at(fold)), member, FINAL)


def _validation_streams(seeds: Sequence[int], member: int) -> RngAt:
    return lambda _: _stream(seeds, member, VALIDATION)
