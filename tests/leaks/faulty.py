"""A sound forecaster, and for each check of the conformance suite one that fails it alone."""

import contextlib
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel, observed_returns
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch, RngAt, forecast_folds
from pmx_ray.forecasters.protocol import (
    FailedFit,
    Failure,
    Forecast,
    Outcome,
    Scope,
    Status,
    missing_price,
    unusable,
)
from pmx_ray.forecasters.registry import register
from pmx_ray.leaks.bench import Plain


@dataclass
class Fitted:
    """Mean and variance that stay; ``history`` says whether the cutoff has a price."""

    mean: float
    variance: float
    history: Panel
    check_price: bool = True

    def extend(self, history: Panel) -> "Fitted":
        return replace(self, history=history)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        failure = missing_price(self.history)
        if failure is not None and self.check_price:
            return (failure,)
        h = np.array(steps, float)
        return (Forecast(self.mean * h, self.variance * h),)


class Sound:
    """Mean and variance of the history's returns, shrunk by a share."""

    scope: ClassVar[Scope] = "ticker"

    def __init__(self, share: float = 1.0) -> None:
        self.share = share

    def fit(self, history: Panel, *, rng: np.random.Generator) -> Fitted | FailedFit:
        failure = unusable(history, n_returns=20)
        if failure is not None:
            return FailedFit(failure)
        returns = observed_returns(history)
        return Fitted(self.share * float(returns.mean()), float(returns.var()), history)


class NoScope(Sound):
    scope = "universe"  # type: ignore[assignment]


class NoExtend(Sound):
    def fit(self, history, *, rng):
        return object()


class TwoOutcomes(Sound):
    @dataclass
    class Fit(Fitted):
        def forecast(self, steps):
            return super().forecast(steps) * 2

    def fit(self, history, *, rng):
        return self.Fit(0.0, 1e-4, history)


class LateDefect(Sound):
    def fit(self, history, *, rng):
        fitted = super().fit(history, rng=rng)
        late = history.sessions[-1] > np.datetime64("2007-01-01")
        return replace(fitted, variance=-1.0) if late else fitted


class Points(Sound):
    @dataclass
    class Fit(Fitted):
        def forecast(self, steps):
            (outcome,) = super().forecast(steps)
            if isinstance(outcome, Failure):
                return (outcome,)
            return (replace(outcome, quantiles=np.tile(outcome.mean, (5, 1))),)

    def fit(self, history, *, rng):
        fitted = super().fit(history, rng=rng)
        if isinstance(fitted, FailedFit):
            return fitted
        return self.Fit(fitted.mean, fitted.variance, history)


class Percent(Sound):
    def fit(self, history, *, rng):
        fitted = super().fit(history, rng=rng)
        if isinstance(fitted, FailedFit):
            return fitted
        return replace(fitted, variance=1e4 * fitted.variance)


class CountsFits(Sound):
    """Remembers how often it was fitted, so that a fold depends on those computed before it."""

    n_fits = 0

    def fit(self, history, *, rng):
        self.n_fits += 1
        fitted = super().fit(history, rng=rng)
        if isinstance(fitted, FailedFit):
            return fitted
        return replace(fitted, mean=fitted.mean / self.n_fits)


class FreshIsOther(Sound):
    @dataclass
    class Fit(Fitted):
        fresh: bool = True

        def extend(self, history):
            return replace(self, history=history, fresh=False)

        def forecast(self, steps):
            return (
                replace(self, mean=0.0, fresh=False).forecast(steps)
                if self.fresh
                else (super().forecast(steps))
            )

    def fit(self, history, *, rng):
        fitted = super().fit(history, rng=rng)
        if isinstance(fitted, FailedFit):
            return fitted
        return self.Fit(fitted.mean, fitted.variance, history)


class Remembers(Sound):
    """An extension is half of the one before it, unless the history stays the same."""

    @dataclass
    class Fit(Fitted):
        def extend(self, history):
            same = history.sessions[-1] == self.history.sessions[-1]
            return replace(self, history=history, mean=self.mean * (1.0 if same else 0.5))

    def fit(self, history, *, rng):
        fitted = super().fit(history, rng=rng)
        if isinstance(fitted, FailedFit):
            return fitted
        return self.Fit(fitted.mean, fitted.variance, history)


class Writes(Sound):
    def fit(self, history, *, rng):
        fitted = super().fit(history, rng=rng)
        with contextlib.suppress(ValueError):
            history.close[:, 0] *= 2.0
        return fitted


class Raises(Sound):
    """Raises where the sound one fails with the given status."""

    statuses: ClassVar[set[Status]] = set()

    def fit(self, history, *, rng):
        fitted = super().fit(history, rng=rng)
        if isinstance(fitted, FailedFit) and fitted.failure.status in self.statuses:
            raise ZeroDivisionError(fitted.failure.reason)
        return fitted


class RaisesOnShort(Raises):
    def fit(self, history, *, rng):
        if history.n_sessions < 10:
            raise ZeroDivisionError("short")
        return super().fit(history, rng=rng)


class RaisesOnConstant(Raises):
    statuses: ClassVar[set[Status]] = {Status.CONSTANT}


class RaisesOnGaps(Sound):
    def fit(self, history, *, rng):
        if np.isnan(history.close[:, :-1]).any():
            raise ZeroDivisionError("gap")
        return super().fit(history, rng=rng)


class ForecastsFromNowhere(Sound):
    def fit(self, history, *, rng):
        fitted = super().fit(history, rng=rng)
        return fitted if isinstance(fitted, FailedFit) else replace(fitted, check_price=False)


class Kernel(Sound):
    """A kernel that is the plain walk, ticker by ticker."""

    def forecast_folds(self, panel: Panel, plan: FoldPlan, rng_at: RngAt) -> ForecastBatch:
        parts = [panel.select((ticker,)) for ticker in panel.tickers]
        return ForecastBatch.beside([forecast_folds(Plain(self), p, plan, rng_at) for p in parts])


class ReadsNeighbours(Kernel):
    """Adds what the number of tickers beside it changes."""

    def forecast_folds(self, panel, plan, rng_at):
        batch = super().forecast_folds(panel, plan, rng_at)
        return replace(batch, mean=batch.mean + (panel.n_tickers - 1))


class KernelOfItsOwn(Kernel):
    def forecast_folds(self, panel, plan, rng_at):
        batch = super().forecast_folds(panel, plan, rng_at)
        return replace(batch, mean=batch.mean + 1e-3)


DRAWS = np.random.default_rng(0)


class Unseeded(Kernel):
    """Draws from a generator of its own in its kernel."""

    def forecast_folds(self, panel, plan, rng_at):
        batch = super().forecast_folds(panel, plan, rng_at)
        return replace(batch, mean=batch.mean + DRAWS.normal(0.0, 1e-4))


class LooksAhead(Kernel):
    """Shifts its forecasts by what the whole panel's returns are like."""

    def forecast_folds(self, panel, plan, rng_at):
        batch = super().forecast_folds(panel, plan, rng_at)
        level = np.nanmean(panel.log_returns(), axis=1)
        return replace(batch, mean=batch.mean + 1e-9 * level[:, None])


class WithSettings(Settings):
    share: float = 0.5


class TakesSettings(Sound):
    def __init__(self, settings: WithSettings) -> None:
        super().__init__(settings.share)


@register("tests_registered", settings=WithSettings, version="1", summary="registered")
class Registered(TakesSettings):
    pass


class Needs(Sound):
    def __init__(self, window: int) -> None:
        super().__init__(window / 100)


FAULTS: dict[str, type[Sound]] = {
    "protocol": NoScope,
    "one outcome a ticker": TwoOutcomes,
    "no defect in any fold": LateDefect,
    "quantiles spread": Points,
    "decimal units": Percent,
    "any slice of a plan": CountsFits,
    "extend as fit": FreshIsOther,
    "extend forgets": Remembers,
    "input unchanged": Writes,
    "short history": RaisesOnShort,
    "constant prices": RaisesOnConstant,
    "missing prices": RaisesOnGaps,
    "no price at the cutoff": ForecastsFromNowhere,
    "scope respected": ReadsNeighbours,
    "kernel agrees": KernelOfItsOwn,
}
"""Name of a check to the class that fails it alone; what does not repeat fails several."""
