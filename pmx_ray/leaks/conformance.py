"""The conformance suite: what ``forecasters.protocol`` promises, checked on one forecaster.

Each check returns what it saw that should not be, or an empty text. Prices are simulated, three
tickers in two groups; histories that are short, flat or torn are made of them.
"""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np
from threadpoolctl import threadpool_limits

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel
from pmx_ray.forecasters.batch import BatchedForecaster, forecast_folds
from pmx_ray.forecasters.protocol import Failure, Forecast, Scope, Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.leaks.bench import STEPS, Bench, Plain, difference, rng, rows_of, same
from pmx_ray.leaks.stages import numbers_of

LEAST_OK_FRAC = 0.6
"""Share of the cells of well-behaved prices that must hold a forecast."""

UNIT_FACTOR = 100.0
"""Furthest that a one-step variance may lie from that of the returns; percent would be 1e4."""

ROUNDING = 1e-9
"""Largest relative difference of a kernel and its plain form: the order of a sum may differ."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One line of the report.

    Attributes
    ----------
    name : str
        What is promised, in a few words.
    problem : str
        What was seen instead; empty where the promise holds.
    advice : str
        What to do about it.
    """

    name: str
    problem: str
    advice: str

    @property
    def passed(self) -> bool:
        """Whether the promise holds."""
        return not self.problem


def check(spec: ForecasterSpec, *, input_size: int = 300) -> tuple[Checked, ...]:
    """Return what the checks say of a forecaster; those after a failed first one are left out.

    Parameters
    ----------
    spec : ForecasterSpec
        What is checked.
    input_size : int
        Sessions of a history; raise it for a model that needs more than 300.
    """
    bench, checked = Bench(spec, input_size=input_size), []
    for name, (see, advice) in CHECKS.items():
        checked.append(Checked(name, _seen(see, bench), advice))
        if name in ESSENTIAL and not checked[-1].passed:
            break
    return tuple(checked)


def _seen(see: Callable[[Bench], str], bench: Bench) -> str:
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return see(bench)
        except Exception as error:  # noqa: BLE001 - the user's code: becomes a line of the report
            return f"raised {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _protocol(bench: Bench) -> str:
    forecaster = bench.forecaster()
    missing = [name for name in ("scope", "fit") if not hasattr(forecaster, name)]
    if missing:
        return f"it has no '{missing[0]}'"
    if forecaster.scope not in get_args(Scope):
        return f"scope is {forecaster.scope!r}"
    inspect.signature(forecaster.fit).bind(bench.history(), rng=rng())
    fitted = forecaster.fit(bench.history(), rng=rng())
    absent = [name for name in ("extend", "forecast") if not hasattr(fitted, name)]
    return f"what fit returns has no '{absent[0]}'" if absent else ""


def _outcomes(bench: Bench) -> str:
    history = bench.history()
    outcomes = bench.alone(history)
    if not isinstance(outcomes, tuple) or len(outcomes) != history.n_tickers:
        return f"forecast gave {outcomes!r:.80} for {history.n_tickers} tickers"
    for outcome in outcomes:
        if not isinstance(outcome, Forecast):
            return f"{bench.input_size} good prices gave {outcome!r:.200}"
        if outcome.mean.shape != (len(STEPS),):
            return f"a mean has shape {outcome.mean.shape}; {len(STEPS)} steps were asked for"
    return ""


def _no_defect(bench: Bench) -> str:
    batch = bench.whole
    for (fold, ticker), reason in batch.reasons.items():
        if batch.status[fold, ticker] == Status.ERROR:
            return f"fold {fold}, {bench.panel.tickers[ticker]}: {reason}"
    ok = float((batch.status == Status.OK).mean())
    return "" if ok >= LEAST_OK_FRAC else f"only {ok:.0%} of good cells hold a forecast"


def _spread(bench: Bench) -> str:
    ok = bench.whole.status == Status.OK
    bands = bench.whole.quantiles[ok]
    return "" if (bands[:, 0] < bands[:, -1]).all() else "a 5 % quantile is not below the 95 % one"


def _units(bench: Bench) -> str:
    variance = float(np.nanmedian(bench.whole.variance[..., 0]))
    truth = float(np.var(bench.panel.log_returns()))
    if truth / UNIT_FACTOR < variance < truth * UNIT_FACTOR:
        return ""
    return f"one-step variance is {variance:.2g}; that of the returns is {truth:.2g}"


def _repeatable(bench: Bench) -> str:
    return difference(bench.whole, bench.run(bench.panel, bench.plan))


def _slices(bench: Bench) -> str:
    for part in (slice(1, 5), slice(6, 9)):
        problem = difference(rows_of(bench.whole, part), bench.run(bench.panel, bench.plan[part]))
        if problem:
            return f"folds {part.start} to {part.stop - 1} computed alone: {problem}"
    return ""


def _extend_as_fit(bench: Bench) -> str:
    fitted = bench.forecaster().fit(bench.history(), rng=rng())
    fresh, extended = fitted.forecast(STEPS), fitted.extend(bench.history()).forecast(STEPS)
    return "" if same(fresh, extended) else "extend to the history of the fit changes the forecast"


def _path(bench: Bench) -> str:
    fitted = bench.forecaster().fit(bench.history(), rng=rng())
    short = fitted.extend(bench.history(2)).forecast(STEPS)
    detour = fitted.extend(bench.history(1)).extend(bench.history(0)).extend(bench.history(2))
    return "" if same(short, detour.forecast(STEPS)) else "an extension remembers earlier ones"


def _unchanged(bench: Bench) -> str:
    history, before = bench.history(), bench.history().sha256
    for name in ("close", "sessions"):
        getattr(history, name).flags.writeable = True  # so that a write is seen, not refused
    fitted = bench.forecaster().fit(history, rng=rng())
    fitted.extend(history).forecast(STEPS)
    return "" if history.sha256 == before else "the history's arrays were written to"


def _short(bench: Bench) -> str:
    return _odd(bench, {"two sessions": bench.history().window(0, 2)})


def _constant(bench: Bench) -> str:
    return _odd(bench, {"flat prices": bench.with_prices(lambda close: np.full_like(close, 20.0))})


def _torn(bench: Bench) -> str:
    def blank(where: slice) -> Panel:
        def change(close: FloatArray) -> FloatArray:
            close[:, where] = np.nan
            return close

        return bench.with_prices(change)

    size = bench.input_size
    return _odd(
        bench,
        {
            "a gap of 30 sessions": blank(slice(size // 3, size // 3 + 30)),
            "every other price missing": blank(slice(1, size - 1, 2)),
            "listed ten sessions ago": blank(slice(0, size - 10)),
            "no price at all": blank(slice(None)),
        },
    )


def _no_cutoff(bench: Bench) -> str:
    def change(close: FloatArray) -> FloatArray:
        close[:, -1] = np.nan
        return close

    outcomes = bench.alone(bench.with_prices(change))
    if all(isinstance(outcome, Failure) for outcome in outcomes):
        return ""
    return "a forecast is given from a cutoff that has no price"


def _scope(bench: Bench) -> str:
    columns = [bench.panel.tickers.index(ticker) for ticker in bench.scoped.tickers]
    among = bench.whole.taken(columns)
    problem = difference(among, bench.run(bench.scoped, bench.plan))
    return f"{', '.join(bench.scoped.tickers)} without the others: {problem}" if problem else ""


def _kernel(bench: Bench) -> str:
    forecaster = bench.forecaster()
    if not isinstance(forecaster, BatchedForecaster):
        return ""
    plain = Plain(forecaster)
    batches = [
        forecast_folds(each, bench.scoped, bench.plan, lambda _: rng())
        for each in (forecaster, plain)
    ]
    kernel, walk = (numbers_of(batch) for batch in batches)
    near = np.isclose(kernel, walk, rtol=ROUNDING, atol=1e-12, equal_nan=True)
    return "" if near.all() else f"fold {np.argwhere(~near)[0][0]} differs from fit and extend"


def _odd(bench: Bench, histories: dict[str, Panel]) -> str:
    """Return the first history on which fit or extend raises."""
    fitted = bench.forecaster().fit(bench.history(), rng=rng())
    for name, history in histories.items():
        for how, give in (
            ("fit", bench.alone),
            ("extend", lambda h: fitted.extend(h).forecast(STEPS)),
        ):
            try:
                outcomes = give(history)
            except Exception as error:  # noqa: BLE001 - as in _seen; names the history besides
                return f"{how} on {name} raised {type(error).__name__}: {str(error)[:120]}"
            if any(isinstance(o, Failure) and o.status is Status.ERROR for o in outcomes):
                return f"{how} on {name} gave the status error"
    return ""


ESSENTIAL = ("protocol", "one outcome a ticker", "no defect in any fold")
"""Checks without which the others mean nothing."""

CHECKS: dict[str, tuple[Callable[[Bench], str], str]] = {
    "protocol": (
        _protocol,
        "give the class scope ('ticker', 'group' or 'panel') and fit(history, *, rng), and what "
        "fit returns extend(history) and forecast(steps)",
    ),
    "one outcome a ticker": (
        _outcomes,
        "return a tuple with one Forecast or Failure a ticker, each over all steps",
    ),
    "no defect in any fold": (
        _no_defect,
        "no exception may leave fit, extend or forecast; mean and quantiles must be finite, "
        "variance > 0, quantiles must not cross",
    ),
    "quantiles spread": (_spread, "state quantiles of a distribution, not a point"),
    "decimal units": (
        _units,
        "state the variance of the cumulative log return as a decimal squared, not in percent",
    ),
    "repeatable": (_repeatable, "draw from the rng that fit is given and from nothing else"),
    "any slice of a plan": (
        _slices,
        "keep nothing from fold to fold: fit depends on its history, extend on fit and history",
    ),
    "extend as fit": (_extend_as_fit, "let forecast use the same conditioning after fit as extend"),
    "extend forgets": (_path, "return a new object from extend; do not change the fitted one"),
    "input unchanged": (_unchanged, "copy an array before writing to it"),
    "short history": (_short, "return FailedFit(Failure(Status.TOO_SHORT, ...)); see unusable()"),
    "constant prices": (_constant, "return Failure(Status.CONSTANT, ...); see unusable()"),
    "missing prices": (_torn, "expect NaN in close; use observed_returns() and unusable()"),
    "no price at the cutoff": (_no_cutoff, "return the failure of missing_price(history)"),
    "scope respected": (
        _scope,
        "let a ticker's numbers depend on its own scope only, and widen scope if it needs more",
    ),
    "kernel agrees": (_kernel, "let forecast_folds give what fit, extend and forecast give"),
}
"""Name of each check to the check and the advice where it fails."""
