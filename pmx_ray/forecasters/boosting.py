"""Gradient boosting on features: a learned mean and learned quantiles, direct at each step.

Every step ahead has trees of its own (direct, not iterated): for the mean of the cumulative log
return, and for each of its quantiles. All are learned in units of the ticker's own trailing
volatility, see ``forecasters.boosted_steps``, and a forecast is multiplied back by the volatility
at the cutoff. Which steps are wanted is not known until a forecast is asked for; the trees of a
step are grown then, from the history of the fit, and kept.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import Field, field_validator

from pmx_ray._typing import FloatArray
from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError
from pmx_ray.features.calendar_effects import CalendarEffects
from pmx_ray.features.cross_section import CrossSection
from pmx_ray.features.exogenous import features_of
from pmx_ray.features.matrix import known_at_close, sessions_needed
from pmx_ray.features.moments import RollingMoment
from pmx_ray.features.returns import ReturnLag
from pmx_ray.features.spec import FeatureSpec
from pmx_ray.features.windows import session_returns
from pmx_ray.forecasters.boosted_steps import (
    Rows,
    StepModels,
    TreeSettings,
    fit_step,
    one_thread,
    volatility_scale,
)
from pmx_ray.forecasters.protocol import (
    FailedFit,
    Failure,
    FittedForecaster,
    Forecast,
    Outcome,
    Scope,
    Status,
    missing_price,
    unusable,
)
from pmx_ray.forecasters.registry import register
from pmx_ray.provenance import FEATURES

MIN_RETURNS = 20
"""Fewest log returns of a ticker that takes part."""

DEFAULT_FEATURES: tuple[FeatureSpec, ...] = (
    ReturnLag(lags=(0, 1, 2, 3)),
    RollingMoment(window=5, moments=("mean", "std")),
    RollingMoment(window=20, moments=("mean", "std", "skew")),
    RollingMoment(window=60, moments=("mean", "std")),
    CalendarEffects(effects=("monday", "turn_of_month", "session_before_holiday")),
    CrossSection(factors=("market_return", "abnormal_return"), window=60),
)


class BoostingSettings(Settings):
    """Settings of gradient boosting.

    Attributes
    ----------
    scope : str
        Whose rows are pooled into one model: ``panel`` all tickers, ``group``, or ``ticker`` one,
        for which columns that need other tickers are empty and left out.
    features : tuple of FeatureSpec
        What the trees see; a column that is known in advance is seen for the session to come.
    volatility_window : int
        Sessions of the volatility that targets are measured in.
    n_trees : int
        Trees of each model.
    depth : int
        Splits between a tree's root and a leaf.
    learning_rate : float
        Share of a tree's correction that is kept.
    min_leaf_frac : float
        Smallest share of the rows in a leaf, of at least 20 rows.
    l2 : float
        Ridge penalty on a leaf's value, in rows.
    """

    scope: Scope = "panel"
    features: tuple[FeatureSpec, ...] = Field(default=DEFAULT_FEATURES, min_length=1)
    volatility_window: int = Field(default=60, ge=5, le=250)
    n_trees: int = Field(default=10, ge=1, le=1_000)
    depth: int = Field(default=2, ge=1, le=8)
    learning_rate: float = Field(default=0.1, gt=0, le=1)
    min_leaf_frac: float = Field(default=0.05, gt=0, lt=0.5)
    l2: float = Field(default=10.0, ge=0)

    @field_validator("features")
    @classmethod
    def _named_once(cls, features: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
        features_of(features)
        return features

    @property
    def trees(self) -> TreeSettings:
        """How trees are grown."""
        return TreeSettings(
            self.n_trees, self.depth, self.learning_rate, self.min_leaf_frac, self.l2
        )


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """Rows of the fit's history, and the models of the steps that were asked for so far.

    A step's models are a pure function of the rows, the settings and the seed, so it does not
    matter when, how often or in which order steps are asked for.
    """

    rows: Rows
    settings: BoostingSettings
    seed: int
    steps: dict[int, StepModels | Failure] = field(default_factory=dict)

    def at(self, step: int) -> StepModels | Failure:
        """Return the models of ``step``."""
        if step not in self.steps:
            self.steps[step] = fit_step(self.rows, step, self.settings.trees, seed=self.seed)
        return self.steps[step]


@dataclass(frozen=True, slots=True, eq=False)
class FittedBoosting:
    """Models of a fit, conditioned on what a history says at its last session."""

    learned: Learned
    history: Panel

    def extend(self, history: Panel) -> FittedForecaster:
        """Return the same models, asked about the last session of ``history``."""
        return replace(self, history=history)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return one forecast a ticker; its quantiles are the models' own, sorted."""
        settings = self.learned.settings
        scale = volatility_scale(
            self._last(settings.volatility_window + 1), settings.volatility_window
        )
        failures = [
            _left_out(self.history.select((ticker,)), float(scale[n, -1]))
            for n, ticker in enumerate(self.history.tickers)
        ]
        if all(failures):
            return tuple(failure for failure in failures if failure)
        with one_thread():
            found = self._distribution(scale[:, -1], steps)
        if isinstance(found, Failure):
            return tuple(failure or found for failure in failures)
        mean, variance, quantiles = found
        return tuple(
            failure or Forecast(mean[n], variance[n], quantiles[n])
            for n, failure in enumerate(failures)
        )

    def _distribution(
        self, scale: FloatArray, steps: tuple[int, ...]
    ) -> tuple[FloatArray, FloatArray, FloatArray] | Failure:
        """Return mean and variance (N, H) and quantiles (N, Q, H) at the volatilities (N,)."""
        specs = self.learned.settings.features
        known = known_at_close(specs, self._last(sessions_needed(specs)))[:, -1]
        mean, variance, bands = [], [], []
        for step in steps:
            models = self.learned.at(step)
            if isinstance(models, Failure):
                return models
            unit = scale * np.sqrt(step)
            mean.append(unit * models.mean(known))
            variance.append(unit**2 * models.variance)
            quantiles = np.stack([model(known) for model in models.quantiles], axis=1)
            bands.append(unit[:, None] * np.sort(quantiles, axis=1))
        return np.stack(mean, axis=1), np.stack(variance, axis=1), np.stack(bands, axis=2)

    def _last(self, n_sessions: int) -> Panel:
        """Return the end of the history: windows need no more, and older sessions cost time."""
        return self.history.window(
            max(self.history.n_sessions - n_sessions, 0), self.history.n_sessions
        )


def _left_out(history: Panel, scale: float) -> Failure | None:
    """Return why a one-ticker history gets no forecast at a volatility, or None."""
    failure = missing_price(history) or unusable(history, n_returns=MIN_RETURNS)
    if failure is None and np.isnan(scale):
        failure = Failure(
            Status.TOO_SHORT,
            "the last sessions have no volatility: most lack a price, or the price stood still",
        )
    return failure


class Boosting:
    """Histogram gradient boosting of scaled cumulative log returns, by scikit-learn.

    References
    ----------
    Friedman (2001), Annals of Statistics 29, 1189-1232. Ke et al. (2017), LightGBM, NeurIPS: the
    histograms. Koenker and Bassett (1978), Econometrica 46, 33-50: the quantile loss.
    Chernozhukov, Fernandez-Val and Galichon (2010), Econometrica 78, 1093-1125: sorting.
    """

    def __init__(self, settings: BoostingSettings) -> None:
        self.settings = settings

    @property
    def scope(self) -> Scope:
        """Whose rows are pooled."""
        return self.settings.scope

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:
        """Take the rows of ``history``; the trees of a step grow when it is first asked for."""
        try:
            known = known_at_close(self.settings.features, history)
        except DataError as error:  # a field that the panel does not have
            return FailedFit(Failure(Status.ERROR, str(error)), history.n_tickers)
        scale = volatility_scale(history, self.settings.volatility_window)
        for n, ticker in enumerate(history.tickers):
            if unusable(history.select((ticker,)), n_returns=MIN_RETURNS) is not None:
                scale[n] = np.nan
        rows = Rows(known, session_returns(history), scale)
        return FittedBoosting(Learned(rows, self.settings, int(rng.integers(2**31))), history)


@register(
    "boosting",
    settings=BoostingSettings,
    version="1",
    summary="gradient-boosted trees on features, pooled, quantiles by the quantile loss",
    libraries=("exchange-calendars", "numpy", "pandas", FEATURES, "scikit-learn"),
    fit_s=lambda settings: 0.03 + 1e-3 * settings.n_trees,
    extend_s=1e-3,
    search={
        "n_trees": {"low": 5, "high": 80, "log": True},
        "depth": {"low": 1, "high": 4},
        "learning_rate": {"low": 0.01, "high": 0.2, "log": True},
    },
)
def build_boosting(settings: BoostingSettings) -> Boosting:
    """Return the forecaster."""
    return Boosting(settings)
