"""Leaks planted on purpose, each beside its honest twin: one pair a kind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import signal

from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch, RngAt
from pmx_ray.forecasters.protocol import QUANTILE_LEVELS, Forecast, Outcome, Scope
from pmx_ray.forecasters.registry import ForecasterSpec, register
from pmx_ray.leaks.choosing import EnsembleStage, LossTable, SelectorStage, TunerStage
from pmx_ray.leaks.stages import FeatureStage, ForecasterStage, ScalerStage, Stage


def returns_of(panel: Panel) -> np.ndarray:
    """Return the log return into each session, (N, T), NaN where there is none."""
    return np.diff(np.log(panel.close), axis=1, prepend=np.nan)


def moving(values: np.ndarray, lags: range) -> np.ndarray:
    """Return the mean of the values so many sessions before; negative lags lie ahead."""
    padded = np.pad(values, ((0, 0), (20, 20)), constant_values=np.nan)
    width = values.shape[1]
    return np.mean([padded[:, 20 - lag : 20 - lag + width] for lag in lags], axis=0)


# 1 full-sample scaling
def scale_on_all(values: np.ndarray, train: slice) -> np.ndarray:
    return (values - np.nanmean(values, 1, keepdims=True)) / np.nanstd(values, 1, keepdims=True)


def scale_on_train(values: np.ndarray, train: slice) -> np.ndarray:
    known = values[:, train]
    return (values - np.nanmean(known, 1, keepdims=True)) / np.nanstd(known, 1, keepdims=True)


# 2 two-sided imputation
def interpolated(panel: Panel) -> np.ndarray:
    t = np.arange(panel.n_sessions)
    seen = [~np.isnan(row) for row in panel.close]
    return np.stack([np.interp(t, t[s], r[s]) for s, r in zip(seen, panel.close, strict=True)])


def carried_forward(panel: Panel) -> np.ndarray:
    t = np.where(np.isnan(panel.close), 0, np.arange(panel.n_sessions))
    return np.take_along_axis(panel.close, np.maximum.accumulate(t, axis=1), axis=1)


# 3 target in features
def next_return(panel: Panel) -> np.ndarray:
    return moving(returns_of(panel), range(-1, 0))


def last_return(panel: Panel) -> np.ndarray:
    return moving(returns_of(panel), range(1))


# 4 tuning on evaluation folds
def tune_on_all(table: LossTable, n_tuning: int) -> int:
    return int(np.nanargmin(np.nanmean(table.losses, axis=(0, 1))))


def tune_on_tuning(table: LossTable, n_tuning: int) -> int:
    return tune_on_all(table.upto(n_tuning), n_tuning)


# 5 later-than-cutoff exogenous data
def volume_of_tomorrow(panel: Panel) -> np.ndarray:
    return moving(panel.volume, range(-1, 0))


def volume_of_yesterday(panel: Panel) -> np.ndarray:
    return moving(panel.volume, range(1, 2))


# 6 ensemble weights from the scored folds
def inverse_loss(table: LossTable) -> np.ndarray:
    """Return weights by mean loss; equal ones where there is no loss yet."""
    losses = table.losses.reshape(-1, table.losses.shape[2])
    losses = losses[~np.isnan(losses).any(axis=1)]
    weights = np.ones(table.losses.shape[2]) if len(losses) == 0 else 1.0 / losses.mean(axis=0)
    return weights / weights.sum()


def weigh_by_own_fold(table: LossTable) -> np.ndarray:
    folds = range(len(table.cutoff))
    one = [LossTable(table.losses[f : f + 1], table.cutoff, table.known_at) for f in folds]
    return np.stack([inverse_loss(t) for t in one])


def weigh_by_folds_begun(table: LossTable) -> np.ndarray:
    """Count a fold as past once its forecast is made, though its outcome is not out."""
    return np.stack([inverse_loss(table.upto(f)) for f in range(len(table.cutoff))])


def weigh_by_past(table: LossTable) -> np.ndarray:
    return np.stack([inverse_loss(table.before(f)) for f in range(len(table.cutoff))])


# 7 centred rolling mean
def centred_mean(panel: Panel) -> np.ndarray:
    return moving(np.log(panel.close), range(-3, 4))


def trailing_mean(panel: Panel) -> np.ndarray:
    return moving(np.log(panel.close), range(7))


# 8 two-sided smoother
def smoothed(panel: Panel) -> np.ndarray:
    return signal.filtfilt([0.3], [1.0, -0.7], np.log(panel.close), axis=1)


def filtered(panel: Panel) -> np.ndarray:
    return signal.lfilter([0.3], [1.0, -0.7], np.log(panel.close), axis=1)


# 9 survivorship
def alive_at_the_end(panel: Panel) -> np.ndarray:
    return np.where(~np.isnan(panel.close[:, -1:]), returns_of(panel), np.nan)


def alive_then(panel: Panel) -> np.ndarray:
    return np.where(~np.isnan(panel.close), returns_of(panel), np.nan)


# 10 a selector that chooses by the scored fold
def best_in_own_fold(table: LossTable) -> np.ndarray:
    return np.nanargmin(np.nan_to_num(table.losses, nan=1.0).mean(axis=1), axis=1)


def best_so_far(table: LossTable) -> np.ndarray:
    return np.argmax(weigh_by_past(table), axis=1)


class NoSettings(Settings):
    """Nothing to set."""


@dataclass(frozen=True)
class Steady:
    mean: float
    n_tickers: int

    def extend(self, history: Panel) -> "Steady":
        return Steady(self.mean, history.n_tickers)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        h = np.array(steps, float)
        return (Forecast(self.mean * h, 1e-4 * h),) * self.n_tickers


class Kernel:
    """A forecaster whose kernel is handed the whole panel; ``level`` says what it makes of it."""

    scope: ClassVar[Scope] = "ticker"
    level: Callable[[Panel, FoldPlan, int], np.ndarray]

    def __init__(self, settings: NoSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> Steady:
        return Steady(0.0, history.n_tickers)

    def forecast_folds(self, panel: Panel, plan: FoldPlan, rng_at: RngAt) -> ForecastBatch:
        shape = (len(plan), panel.n_tickers, len(plan.steps))
        levels = np.stack([type(self).level(panel, plan, fold) for fold in range(len(plan))])
        mean = levels[..., None] * np.ones(shape)
        bands = np.repeat(mean[:, :, None], len(QUANTILE_LEVELS), axis=2)
        return ForecastBatch(mean, np.full(shape, 1e-4), bands, np.full(shape[:2], "ok"))


# 11 a kernel that reads the panel's last column
@register("last_column", settings=NoSettings, version="1", summary="reads the end of the panel")
class LastColumn(Kernel):
    level = staticmethod(lambda panel, plan, fold: panel.log_returns()[:, -1])


@register("own_column", settings=NoSettings, version="1", summary="reads the cutoff")
class OwnColumn(Kernel):
    level = staticmethod(lambda panel, plan, fold: returns_of(panel)[:, plan.cutoff[fold]])


# 12 refit on a future fold
@register("future_fit", settings=NoSettings, version="1", summary="uses the fit of the next fold")
class FutureFit(Kernel):
    @staticmethod
    def level(panel: Panel, plan: FoldPlan, fold: int) -> np.ndarray:
        later = min(fold + 1, len(plan) - 1)
        return np.nanmean(plan.training(panel, later).log_returns(), axis=1)


@register("own_fit", settings=NoSettings, version="1", summary="uses the fit that serves the fold")
class OwnFit(Kernel):
    @staticmethod
    def level(panel: Panel, plan: FoldPlan, fold: int) -> np.ndarray:
        return np.nanmean(plan.training(panel, fold).log_returns(), axis=1)


# 13 a look ahead in folds that no cutoff probes, with bits that do not repeat
NOISE = np.random.default_rng(0)


@register("noisy_peek", settings=NoSettings, version="1", summary="draws, and knows tomorrow")
class NoisyPeek(Kernel):
    @staticmethod
    def level(panel: Panel, plan: FoldPlan, fold: int) -> np.ndarray:
        draw = NOISE.normal(0.0, 1e-3, panel.n_tickers)
        if plan.cutoff[fold] + 1 >= panel.n_sessions:
            return draw
        return draw + returns_of(panel)[:, plan.cutoff[fold] + 1]


def stage_of(name: str) -> ForecasterStage:
    return ForecasterStage(ForecasterSpec.parse({"name": name}))


PLANTED: dict[str, tuple[Stage, Stage]] = {
    "full-sample scaling": (
        ScalerStage("standardise", scale_on_all),
        ScalerStage("standardise", scale_on_train),
    ),
    "two-sided imputation": (
        FeatureStage("imputed", interpolated),
        FeatureStage("imputed", carried_forward),
    ),
    "target in features": (
        FeatureStage("return", next_return),
        FeatureStage("return", last_return),
    ),
    "tuning on evaluation folds": (
        TunerStage("best mean loss", tune_on_all, n_tuning=8),
        TunerStage("best mean loss", tune_on_tuning, n_tuning=8),
    ),
    "later-than-cutoff exogenous data": (
        FeatureStage("volume", volume_of_tomorrow),
        FeatureStage("volume", volume_of_yesterday),
    ),
    "ensemble weights from the scored fold": (
        EnsembleStage("inverse loss", weigh_by_own_fold),
        EnsembleStage("inverse loss", weigh_by_past),
    ),
    "ensemble weights from losses not out yet": (
        EnsembleStage("inverse loss", weigh_by_folds_begun),
        EnsembleStage("inverse loss", weigh_by_past),
    ),
    "centred rolling mean": (
        FeatureStage("mean", centred_mean),
        FeatureStage("mean", trailing_mean),
    ),
    "two-sided smoother": (FeatureStage("smooth", smoothed), FeatureStage("smooth", filtered)),
    "survivorship": (
        FeatureStage("universe", alive_at_the_end),
        FeatureStage("universe", alive_then),
    ),
    "selector that saw the scored fold": (
        SelectorStage("best", best_in_own_fold),
        SelectorStage("best", best_so_far),
    ),
    "kernel that reads the last column": (stage_of("last_column"), stage_of("own_column")),
    "fit of a later fold": (stage_of("future_fit"), stage_of("own_fit")),
}
"""Kind of leak to the stage that has it and the honest twin."""
