"""ARIMA by exact maximum likelihood, its order given or searched, against three libraries.

Given orders stand beside statsforecast and statsmodels, searched ones beside statsforecast and
pmdarima. All sides see the same log prices. Likelihoods are compared by one judge, the filter of
statsmodels, with the variance at its optimum.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, cast

import numpy as np
import pmdarima
from statsmodels.tsa.statespace.sarimax import SARIMAX

from benchmarks.fits.order_search import Chosen, fit_order, held, searched
from benchmarks.fits.peer_environment import Statsforecast, reported_seconds, statsforecast
from benchmarks.fits.section import ABSENT, Section, Side, Size, number, speed_row
from benchmarks.fits.windows import STEPS, demo_changes, demo_windows, evenly
from benchmarks.measuring import Promise, Sample, cpu_seconds
from pmx_ray._typing import FloatArray
from pmx_ray.kernels.arma_search import Search

SAME = 1e-6
"""Relative distance of two log-likelihoods that counts as none."""

PROMISED_SHARE = 0.975
"""Share of windows where ours is no worse than a peer's. In the others the peer stands on a maximum
near the unit circle, or on one beside it, which ours refuses because it forecasts worse."""

KEPT_FOLDS = 10
"""Folds that share one search where it is amortised."""

N_DRAWS, LEVEL = 2000, 0.95
"""Bootstrap draws, and the share of them that an interval of a ratio of errors holds."""


class Order(NamedTuple):
    """An order fitted to every window, and the promised ratios."""

    p: int
    q: int
    over_statsforecast: float
    over_sarimax: float

    @property
    def name(self) -> str:
        """How it is called in tables."""
        return f"ARIMA({self.p},1,{self.q})"


ORDERS = (Order(1, 1, 80.0, 250.0), Order(2, 2, 60.0, 250.0))

SEARCHES: tuple[tuple[str, int, float, float], ...] = (
    ("every fold", 1, 40.0, 250.0),
    (f"every {KEPT_FOLDS}th fold", KEPT_FOLDS, 150.0, 900.0),
)
"""How often the order is searched, and the promised ratios over AutoARIMA and pmdarima, which
search it at every fold."""

MANNERS: tuple[Search, ...] = ("grid", "stepwise")
"""All 16 models, or stepwise: the same on both sides of a ratio."""

PROMISED_MANNER: Search = "grid"
"""Both sides then fit the same models. Stepwise, a peer looks at as few as four."""


def measure(size: Size) -> Section:
    """Return ratios and agreement of given orders, of searched orders, and their errors."""
    levels = demo_windows(size.pick(10, 25)) / 100.0
    windows = levels.reshape(-1, levels.shape[2])
    with warnings.catch_warnings(), statsforecast(windows) as peer:
        warnings.simplefilter("ignore")
        given = [_given(order, windows, peer, size) for order in ORDERS]
        searched = _searched(levels, peer, size)
    tables = {
        "ARIMA, orders given: fit and 20 steps ahead, T = 1000": [r for g in given for r in g[0]],
        f"ARIMA: log-likelihood no worse than the peer's by {SAME:g} (relative)": [
            r for g in given for r in g[1]
        ],
        **searched[0],
    }
    promises = [p for g in given for p in g[2]] + searched[1]
    return Section("arima", tables, promises, {k: list(v) for k, v in tables.items()})


def _given(
    order: Order, windows: FloatArray, peer: Statsforecast | None, size: Size
) -> tuple[list[dict[str, object]], list[dict[str, object]], list[Promise]]:
    """Return speed rows, agreement rows and promises of one order."""
    few = evenly(len(windows), size.pick(8, 50))
    fewer = evenly(len(windows), size.pick(4, 20))
    asked = {"order": [order.p, 1, order.q], "stepwise": True, "steps": list(STEPS)}
    ours_fit = partial(fit_order, windows, order.p, order.q)
    ours_fit()
    sarimax_fit(windows[0], order)
    ours, slow, theirs = _turns(
        [
            lambda: cpu_seconds(ours_fit),
            lambda: cpu_seconds(lambda: [sarimax_fit(windows[n], order) for n in fewer]),
            lambda: reported_seconds(peer, windows=few, **asked),
        ],
        size.turns,
    )
    mine = Side(ours, len(windows))
    rows = [
        speed_row(order.name, "statsforecast", Side(theirs, len(few)), mine),
        speed_row(order.name, "SARIMAX", Side(slow, len(fewer)), mine),
    ]
    judged = evenly(len(windows), size.pick(8, 200))
    found = fit_order(windows[judged], order.p, order.q)
    points = list(zip(found.ar[:, : order.p], found.ma[:, : order.q], strict=True))
    results = {"SARIMAX": [sarimax_fit(windows[n], order) for n in judged]}
    if peer is not None:
        answer = peer.ask(windows=judged, **asked)
        results["statsforecast"] = [_coefficients(one) for one in _fits(answer)]
    agreed = [
        _agreement(order, windows[judged], points, results[name], name) for name in sorted(results)
    ]
    promises = [
        *_promised(f"{order.name}: times faster than", rows, order.over_statsforecast,
                   order.over_sarimax, size),
    ]  # fmt: skip
    if not size.quick:
        promises += [
            Promise(f"{order.name}: share no worse than {row['peer']}",
                    number(row, "ours no worse"), PROMISED_SHARE, ">=")
            for row in agreed
        ]  # fmt: skip
    return rows, agreed, promises


def _searched(
    levels: FloatArray, peer: Statsforecast | None, size: Size
) -> tuple[dict[str, list[dict[str, object]]], list[Promise]]:
    """Return tables and promises of the search of the order."""
    rows: list[dict[str, object]] = []
    promises: list[Promise] = []
    for manner in MANNERS[:1] if size.quick else MANNERS:
        part = _search_speed(levels, manner, peer, size)
        rows += part
        if manner != PROMISED_MANNER:
            continue
        for n, (what, _, over_auto, over_pmdarima) in enumerate(SEARCHES):
            pair = part[2 * n : 2 * n + 2]
            words = f"search of 16 models {what}: times faster than"
            promises += _promised(words, pair, over_auto, over_pmdarima, size)
    tables = {"ARIMA, order searched at every fold by the peer, T = 1000": rows}
    if peer is not None and not size.quick:
        theirs = _peer_errors(levels, peer)
        errors = [row for manner in MANNERS for row in _errors(levels, manner, theirs)]
        tables["RMSE of the log price, against AutoARIMA (stepwise)"] = errors
        promises += [
            Promise(f"RMSE {row['ours']} at step {row['step']}: low end of the ratio",
                    number(row, "low"), 1.0, "<=")
            for row in errors if str(row["ours"]).startswith("stepwise")
        ]  # fmt: skip
    return tables, promises


def _search_speed(
    levels: FloatArray, manner: Search, peer: Statsforecast | None, size: Size
) -> list[dict[str, object]]:
    windows = levels.reshape(-1, levels.shape[2])
    few = evenly(len(windows), size.pick(3, 10))
    fewest = evenly(len(windows), size.pick(1, 4))
    stepwise = manner == "stepwise"
    asked = {"order": None, "stepwise": stepwise, "steps": list(STEPS), "windows": few}
    searched(levels[:, :1], manner)
    pmdarima_search(windows[0], stepwise=True)
    *ours, auto, slow = _turns(
        [
            *(partial(_our_seconds, levels, manner, kept) for _, kept, _, _ in SEARCHES),
            lambda: reported_seconds(peer, **asked),
            lambda: cpu_seconds(
                lambda: [pmdarima_search(windows[n], stepwise=stepwise) for n in fewest]
            ),
        ],
        size.pick(1, 3),
    )
    rows = []
    for sample, (what, _, _, _) in zip(ours, SEARCHES, strict=True):
        mine = Side(sample, len(windows))
        words = f"{manner}, {what}"
        rows += [
            speed_row(words, "AutoARIMA", Side(auto, len(few)), mine),
            speed_row(words, "pmdarima", Side(slow, len(fewest)), mine),
        ]
    return rows


def _our_seconds(levels: FloatArray, manner: Search, kept: int) -> float:
    return cpu_seconds(lambda: _chosen(levels, manner, kept))


def _chosen(levels: FloatArray, manner: Search, kept: int) -> Chosen:
    return searched(levels, manner) if kept == 1 else held(levels, manner, kept)


def _peer_errors(levels: FloatArray, peer: Statsforecast) -> FloatArray:
    """Return the forecast errors of AutoARIMA as it comes, (N, F, H)."""
    n_tickers, n_folds, _ = levels.shape
    answer = peer.ask(
        windows=list(range(n_tickers * n_folds)), order=None, stepwise=True, steps=list(STEPS)
    )
    change = np.array([one["change"] for one in _fits(answer)])
    return change.reshape(n_tickers, n_folds, len(STEPS)) - demo_changes(n_folds) / 100.0


def _errors(levels: FloatArray, manner: Search, theirs: FloatArray) -> list[dict[str, object]]:
    """Return the ratio of root mean squared errors, step by step, with its interval."""
    actual = demo_changes(levels.shape[1]) / 100.0
    rows: list[dict[str, object]] = []
    for what, kept, _, _ in SEARCHES:
        ours = _chosen(levels, manner, kept).change - actual
        failed = np.isnan(ours[..., 0])
        for n, step in enumerate(STEPS):
            mine = np.where(failed, theirs[..., n], ours[..., n])
            low, high = ratio_interval(mine, theirs[..., n], np.random.default_rng(7))
            size, other = (float(np.sqrt(np.mean(e**2))) for e in (mine, theirs[..., n]))
            rows.append(
                {"ours": f"{manner}, {what}", "step": step, "RMSE": size, "AutoARIMA": other,
                 "ratio": size / other, "low": low, "high": high, "failed": int(failed.sum())}
            )  # fmt: skip
    return rows


def ratio_interval(
    ours: FloatArray, theirs: FloatArray, rng: np.random.Generator
) -> tuple[float, float]:
    """Return a bootstrap interval of the ratio of two root mean squared errors.

    Whole cutoffs are drawn, with all their tickers, since tickers err together; cutoffs lie
    further apart than the longest step.

    Parameters
    ----------
    ours, theirs : ndarray of shape (N, F)
        Errors of the same windows.
    rng : Generator
    """
    mine, other = np.mean(ours**2, axis=0), np.mean(theirs**2, axis=0)
    drawn = rng.integers(0, len(mine), (N_DRAWS, len(mine)))
    ratio = np.sqrt(mine[drawn].mean(axis=1) / other[drawn].mean(axis=1))
    low, high = np.quantile(ratio, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def sarimax_fit(levels: FloatArray, order: Order) -> tuple[FloatArray, FloatArray]:
    """Fit one window with statsmodels, forecast, and return phi and theta."""
    result = SARIMAX(levels, order=(order.p, 1, order.q)).fit(disp=0)
    result.forecast(STEPS[-1])
    values = np.asarray(result.params)
    return values[: order.p], values[order.p : order.p + order.q]


def pmdarima_search(levels: FloatArray, *, stepwise: bool) -> object:
    """Search with pmdarima: all 16 models, or stepwise."""
    start = 2 if stepwise else 0
    return pmdarima.auto_arima(
        levels, d=1, start_p=start, start_q=start, max_p=3, max_q=3, max_order=None,
        seasonal=False, stepwise=stepwise, suppress_warnings=True, error_action="ignore",
    ).predict(STEPS[-1])  # fmt: skip


def judge(levels: FloatArray, ar: FloatArray, ma: FloatArray) -> float:
    """Return the exact log-likelihood of the changes of ``levels``; -inf where not stationary."""
    phi = np.concatenate([[1.0], -ar])
    if np.any(np.abs(np.roots(phi)) >= 1.0):
        return -np.inf
    model = SARIMAX(100.0 * np.diff(levels), order=(len(ar), 0, len(ma)), concentrate_scale=True)
    return float(model.loglike(np.concatenate([ar, ma])))


def _agreement(
    order: Order,
    windows: FloatArray,
    ours: Sequence[tuple[FloatArray, FloatArray]],
    theirs: Sequence[tuple[FloatArray, FloatArray]],
    peer: str,
) -> dict[str, object]:
    mine = np.array(
        [judge(y, a[: order.p], m[: order.q]) for y, (a, m) in zip(windows, ours, strict=True)]
    )
    other = np.array([judge(y, *one) for y, one in zip(windows, theirs, strict=True)])
    lead = (mine - other) / np.abs(mine)
    return {
        "model": order.name,
        "peer": peer,
        "windows": len(windows),
        "ours no worse": float((lead >= -SAME).mean()),
        "ours better": float((lead > SAME).mean()),
        "peer better": float((lead < -SAME).mean()),
        "ours behind at most": float(np.maximum(-lead, 0.0).max()),
    }


def _turns(readers: Sequence[Callable[[], float]], n_turns: int) -> list[Sample]:
    """Return what each reader says, turn by turn, in seconds."""
    rounds = [[read() for read in readers] for _ in range(n_turns)]
    return [Sample(column) for column in zip(*rounds, strict=True)]


def _promised(
    words: str, rows: Sequence[Mapping[str, object]], first: float, second: float, size: Size
) -> list[Promise]:
    """Return the promises of two rows; what could not be measured is no miss where quick."""
    return [
        Promise(f"{words} {row['peer']}", number(row, "ratio"), limit, ">=")
        for row, limit in zip(rows, (first, second), strict=True)
        if not (size.quick and row["peer ms"] == ABSENT)
    ]


def _fits(answer: Mapping[str, object]) -> Sequence[Mapping[str, Sequence[float]]]:
    return cast("Sequence[Mapping[str, Sequence[float]]]", answer["fits"])


def _coefficients(one: Mapping[str, Sequence[float]]) -> tuple[FloatArray, FloatArray]:
    return np.array(one["ar"], np.float64), np.array(one["ma"], np.float64)
