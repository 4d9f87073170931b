"""SAMoSSA on 20 series jointly: a plain loop with one singular value decomposition a fold."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.fits.section import Section, Side, Size, number, speed_row
from benchmarks.fits.windows import STEPS, demo_folds
from benchmarks.measuring import Promise, side_by_side
from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch, forecast_folds
from pmx_ray.forecasters.registry import ForecasterSpec

PROMISED_RATE = 13_000.0
"""Series x folds in a second of one core, 20 series of 1000 prices."""

PROMISED_TWIN = 1e-8
"""Largest relative distance of means and variances to the plain loop's."""

N_TURNS = 5


@dataclass(frozen=True, slots=True)
class Case:
    """What is fitted: the settings of the forecaster, as a user writes them."""

    name: str
    rank: int | str
    calibrate: bool


CASES = (
    Case("rank 1", 1, False),
    Case("rank by Donoho", "donoho", False),
    Case("rank 1, calibrated", 1, True),
)


def measure(size: Size) -> Section:
    """Return rates, ratios and the distance to the plain loop."""
    panel, plan = demo_folds(size.pick(10, 25))
    log_close = np.log(panel.close)
    rows: list[dict[str, object]] = []
    for case in CASES:
        ours, theirs = forecast(case, panel, plan), plain_folds(case, log_close, plan)
        fast, slow = side_by_side(
            partial(forecast, case, panel, plan),
            partial(plain_folds, case, log_close, plan),
            repeats=N_TURNS,
        )
        row = speed_row(case.name, "SVD a fold", Side(slow, len(plan)), Side(fast, len(plan)))
        del row["peer"]
        row["series-folds/s"] = panel.n_tickers / fast.per(len(plan))
        row["apart"] = apart(ours, *theirs, with_variance=not case.calibrate)
        rows.append(row)
    promises = [
        Promise("SAMoSSA rank 1: series-folds a second", number(rows[0], "series-folds/s"),
                PROMISED_RATE, ">="),
        *(Promise(f"SAMoSSA {row['model']}: apart from the plain loop", number(row, "apart"),
                  PROMISED_TWIN, "<=") for row in rows),
    ]  # fmt: skip
    return Section(
        "samossa", {"SAMoSSA, 20 series x 1000 prices, a fold": rows}, promises, {"speed": rows}
    )


def forecast(case: Case, panel: Panel, plan: FoldPlan) -> ForecastBatch:
    """Return what the forecaster gives, all folds at once."""
    written = {"name": "samossa", "rank": case.rank, "calibrate": case.calibrate}
    forecaster = ForecasterSpec.parse(written).build()
    return forecast_folds(forecaster, panel, plan, lambda _: np.random.default_rng(0))


def plain_folds(case: Case, log_close: FloatArray, plan: FoldPlan) -> tuple[FloatArray, FloatArray]:
    """Return means and variances, (F, N, H) each, fold by fold in plain NumPy.

    The variance is the model's own; a calibrated one costs a second fit on the first two thirds,
    which is made, but not what is done with it.
    """
    found = []
    for start, cutoff in zip(plan.train_start, plan.cutoff, strict=True):
        window = log_close[:, int(start) : int(cutoff) + 1]
        found.append(plain_fold(window, case.rank))
        if case.calibrate:
            plain_fold(window[:, : window.shape[1] - (window.shape[1] - 1) // 3], case.rank)
    return np.stack([mean for mean, _ in found]), np.stack([variance for _, variance in found])


def plain_fold(log_close: FloatArray, rule: int | str) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance, (N, H), of cumulative log returns after prices (N, T).

    Standardise, cut into pages, decompose, regress the last row on those above, fit an
    autoregression of order 1 to what is left, run the joint recurrence forward.
    """
    returns = np.diff(log_close, axis=1)
    n_series, n_times = returns.shape
    centre, scale = returns.mean(axis=1, keepdims=True), returns.std(axis=1, keepdims=True)
    z = (returns - centre) / scale
    length = min(math.isqrt(n_series * n_times), n_times // 2)
    n_pages = n_times // length
    whole = z[:, n_times - n_pages * length :]
    pages = whole.reshape(n_series * n_pages, length).T
    u, s, vt = np.linalg.svd(pages, full_matrices=False)
    rank = rule if isinstance(rule, int) else _above_donoho(s, pages.shape)
    u, s, vt = u[:, :rank], s[:rank], vt[:rank]
    beta = (u[:-1] @ u[-1] / (1.0 - u[-1] @ u[-1]))[::-1]
    left = whole - ((u * s) @ vt).T.reshape(n_series, -1)
    alpha = (left[:, 1:] * left[:, :-1]).sum(axis=1) / (left[:, :-1] ** 2).sum(axis=1)
    signal = np.stack([np.convolve(row, np.concatenate([[1.0], -beta]), "valid") for row in z])
    errors = signal[:, 1:] - alpha[:, None] * signal[:, :-1]
    lags = np.zeros((n_series, length))
    lags[:, : length - 1] = beta
    lags[:, 0] += alpha
    lags[:, 1:] -= alpha[:, None] * beta
    path, psi = _forward(z, lags), _forward(np.zeros_like(z), lags, impulse=1.0)
    at = np.array(STEPS) - 1
    mean = np.cumsum(path * scale + centre, axis=1)[:, at]
    unit = np.cumsum(np.cumsum(psi, axis=1) ** 2, axis=1)[:, at]
    return mean, (errors**2).mean(axis=1)[:, None] * scale**2 * unit


def _forward(z: FloatArray, lags: FloatArray, *, impulse: float = 0.0) -> FloatArray:
    """Return the next values of each recurrence; an impulse enters the first of them."""
    n_lags = lags.shape[1]
    values = np.concatenate([z[:, -n_lags:], np.zeros((len(z), STEPS[-1]))], axis=1)
    for t in range(n_lags, values.shape[1]):
        values[:, t] = np.einsum("nm,nm->n", lags, values[:, t - n_lags : t][:, ::-1])
        values[:, t] += impulse * (t == n_lags)
    return values[:, n_lags:]


def _above_donoho(singular_values: FloatArray, shape: tuple[int, ...]) -> int:
    ratio = min(shape) / max(shape)
    omega = 0.56 * ratio**3 - 0.95 * ratio**2 + 1.82 * ratio + 1.43
    return int(np.sum(singular_values > omega * np.median(singular_values)))


def apart(
    ours: ForecastBatch, mean: FloatArray, variance: FloatArray, *, with_variance: bool
) -> float:
    """Return the largest distance: of a mean in standard deviations, of a variance relative."""
    far = [np.abs(ours.mean - mean) / np.sqrt(variance)]
    if with_variance:
        far.append(np.abs(ours.variance / variance - 1.0))
    return float(np.max(far))
