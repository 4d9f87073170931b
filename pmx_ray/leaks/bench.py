"""The bench of the conformance suite: a forecaster, the prices it is tested on, and comparisons."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.backtest.blocks import scopes_of
from pmx_ray.backtest.runner import forecast_scopes
from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan, FoldSettings, build_folds
from pmx_ray.forecasters.batch import ForecastBatch
from pmx_ray.forecasters.protocol import Failure, Forecaster, Outcome, Scope
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.leaks.stages import numbers_of
from pmx_ray.leaks.worlds import clustered

CALENDAR, STEPS = "XNYS", (1, 5, 20)


class Bench:
    """A forecaster under test with the data it is tested on.

    Parameters
    ----------
    spec : ForecasterSpec
        What is tested.
    input_size : int
        Sessions of a history.
    """

    def __init__(self, spec: ForecasterSpec, *, input_size: int) -> None:
        self.spec, self.input_size = spec, input_size
        self.panel = _panel(input_size + 160)
        self.plan = build_folds(
            self.panel.sessions,
            FoldSettings(input_size=input_size, step_size=10, steps=STEPS, refit_every=3),
        )

    def forecaster(self) -> Forecaster:
        """Return a forecaster that nobody has used."""
        return self.spec.build()

    @cached_property
    def scoped(self) -> Panel:
        """What the forecaster fits jointly."""
        return self.panel.select(scopes_of(self.spec, self.panel)[0])

    @cached_property
    def whole(self) -> ForecastBatch:
        """The batch of the whole plan."""
        return self.run(self.panel, self.plan)

    def run(self, panel: Panel, plan: FoldPlan) -> ForecastBatch:
        """Return forecasts as a sweep makes them."""
        return forecast_scopes(panel, plan, self.spec, scopes=scopes_of(self.spec, panel), seed=0)

    def history(self, fold: int = 0) -> Panel:
        """Return the context of a fold, of one scope."""
        return self.plan.context(self.scoped, fold)

    def with_prices(self, change: Callable[[FloatArray], FloatArray]) -> Panel:
        """Return the first history with other closes, (N, T); every NaN is a known gap."""
        history = self.history()
        close = change(history.close.copy())
        return replace(history, close=close, gap=np.isnan(close))

    def alone(self, history: Panel) -> tuple[Outcome, ...]:
        """Return the outcomes of fit and forecast, called as they are."""
        return self.forecaster().fit(history, rng=rng()).forecast(STEPS)


def _panel(n_sessions: int) -> Panel:
    """Return three tickers in two groups whose volatility clusters and whose shocks are heavy."""
    shocks = np.random.default_rng(5).standard_t(8, (3, n_sessions)) * np.sqrt(6 / 8)
    close = 50.0 * np.exp(np.cumsum(0.01 * clustered(shocks), axis=1))
    sessions = calendar_sessions(CALENDAR)[9000 : 9000 + n_sessions]  # from 2005 on
    return Panel(CALENDAR, ("A", "B", "C"), sessions, close, groups=("first", "first", "second"))


def rng() -> np.random.Generator:
    """Return the same generator each time."""
    return np.random.default_rng(7)


class Plain:
    """A batched forecaster without its kernel, so that folds are walked."""

    def __init__(self, inner: Forecaster) -> None:
        self.scope: Scope = inner.scope
        self.fit = inner.fit


def same(ones: tuple[Outcome, ...], others: tuple[Outcome, ...]) -> bool:
    """Return whether two rows of outcomes hold the same bits."""
    return len(ones) == len(others) and all(map(_alike, ones, others))


def _alike(one: Outcome, other: Outcome) -> bool:
    if isinstance(one, Failure) or isinstance(other, Failure):
        return one == other
    pairs = ((one.mean, other.mean), (one.variance, other.variance), (one.bands, other.bands))
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def rows_of(batch: ForecastBatch, part: slice) -> ForecastBatch:
    """Return the batch of a run of folds."""
    return ForecastBatch(
        batch.mean[part], batch.variance[part], batch.quantiles[part], batch.status[part]
    )


def difference(one: ForecastBatch, other: ForecastBatch) -> str:
    """Return where two batches hold other bits, or an empty text."""
    bits = [numbers_of(batch).view(np.int64) for batch in (one, other)]
    cells = np.argwhere((bits[0] != bits[1]).any(axis=2))
    if len(cells) == 0:
        return ""
    fold, ticker = cells[0]
    return f"{len(cells)} cells hold other numbers, the first fold {fold}, ticker {ticker}"
