"""A trained network of the user's own as a forecaster, from an ONNX file.

The network sees a window of log returns over the window's own scale and states the cumulative
return in units of that scale; it is never trained here. ``docs/own_model.md`` has the contract.

Shapes: F folds, M tickers, C cells (folds times tickers), L returns of a window, H steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from pmx_ray._typing import DateArray, FloatArray
from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch, RngAt, assemble
from pmx_ray.forecasters.onnx_file import read_network
from pmx_ray.forecasters.onnx_network import Answers, Network, network
from pmx_ray.forecasters.protocol import (
    FLAT,
    QUANTILE_LEVELS,
    Failure,
    Forecast,
    Outcome,
    Scope,
    Status,
    normal_quantiles,
)
from pmx_ray.forecasters.registry import Device, register

SHIPPED_SHA256 = "495fcf742a5a3ef6e995976a247dee0a646181921b1e96241b5937ab55c9f17d"
"""Hash of the network that comes with the package."""

MAX_LOG_RETURN = 5.0
"""Largest mean and standard deviation of a cumulative log return that are not called explosive."""

IQR_OF_NORMAL = 1.3489795003921634
"""Distance of the 25 % and 75 % quantiles of a normal distribution, in standard deviations."""

RUNTIMES: Mapping[Device, str] = {"cpu": "onnxruntime", "gpu": "onnxruntime-gpu"}
"""Distribution that computes on each device."""


class OnnxSettings(Settings):
    """Settings of a network.

    Attributes
    ----------
    path : str
        An .onnx file, the same on every machine of the run; relative to the working directory
        unless absolute. The default comes with the package: an exponentially weighted variance
        around a mean of 0, made to show the contract.
    sha256 : str
        Hash of the file, so that another file is another forecaster; ``sha256sum FILE`` prints it.
    input_size : int
        Log returns of a window, L.
    device : str
        ``cpu``, or ``gpu``: blocks then go to the workers that hold a card.
    batch_rows : int
        Windows of one call of the network; a network of a fixed batch size overrides it. Raise it
        on a card.
    """

    path: str = "pmx:ewma.onnx"
    sha256: str = Field(default=SHIPPED_SHA256, pattern=r"^[0-9a-f]{64}$")
    input_size: int = Field(default=64, ge=2, le=100_000)
    device: Device = "cpu"
    batch_rows: int = Field(default=64, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.path != "pmx:ewma.onnx" and "sha256" not in self.model_fields_set:
            raise ValueError(
                f"sha256 is missing; pin the hash of {self.path!r}, as sha256sum prints it"
            )
        return self


@dataclass(frozen=True, slots=True, eq=False)
class FittedOnnx:
    """A network standing at the last session of a history."""

    network: Network
    input_size: int
    history: Panel

    def extend(self, history: Panel) -> "FittedOnnx":
        """Return the same network conditioned on ``history``."""
        return replace(self, history=history)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return one outcome a ticker; see ``Forecaster``."""
        history, n = self.history, self.history.n_tickers
        prices = _tail(history.close, 0, history.n_sessions, self.input_size + 1)
        cutoffs = np.repeat(history.sessions[-1:], n)
        cells = forecast_cells(self.network, prices, cutoffs, steps=steps)
        return tuple(cells.outcome(cell) for cell in range(n))


@register(
    "onnx",
    settings=OnnxSettings,
    version="1",
    summary="a trained network of your own, from an ONNX file",
    libraries=lambda settings: ("numpy", RUNTIMES[settings.device]),
    fit_s=1e-5,
    extend_s=2e-4,
    device=lambda settings: settings.device,
)
class Onnx:
    """Forecasts of a frozen network from the last returns before each cutoff.

    Nothing is estimated on a train window. Whether the file was trained on sessions that a sweep
    scores is known to whoever trained it alone; see ``docs/own_model.md``.
    """

    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: OnnxSettings) -> None:
        self.settings = settings
        self._content = read_network(settings.path, sha256=settings.sha256)
        if settings.device == "cpu":  # a driver without a card still plans the work of one
            self._network()

    def _network(self) -> Network:
        settings = self.settings
        return network(
            self._content,
            device=settings.device,
            input_size=settings.input_size,
            batch_rows=settings.batch_rows,
        )

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedOnnx:  # noqa: ARG002
        """Open the network; there is nothing to estimate."""
        return FittedOnnx(self._network(), self.settings.input_size, history)

    def forecast_folds(self, panel: Panel, plan: FoldPlan, rng_at: RngAt) -> ForecastBatch:  # noqa: ARG002
        """Return what fit, extend and forecast would, all folds and tickers in one go."""
        size = self.settings.input_size + 1
        bounds = zip(plan.context_start.tolist(), (plan.cutoff + 1).tolist(), strict=True)
        prices = np.concatenate([_tail(panel.close, a, b, size) for a, b in bounds])
        cutoffs = np.repeat(panel.sessions[plan.cutoff], panel.n_tickers)
        return forecast_cells(self._network(), prices, cutoffs, steps=plan.steps).batch(len(plan))


def _tail(close: FloatArray, start: int, stop: int, size: int) -> FloatArray:
    """Return the last ``size`` of the sessions ``[start, stop)``, (M, size), NaN before them."""
    tail = np.full((len(close), size), np.nan)
    seen = close[:, max(start, stop - size) : stop]
    tail[:, size - seen.shape[1] :] = seen
    return tail


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Forecasts of C cells: (C, H), (C, H) and (C, Q, H), and why some failed."""

    mean: FloatArray
    variance: FloatArray
    quantiles: FloatArray
    failures: dict[int, Failure]

    def outcome(self, cell: int) -> Outcome:
        """Return the outcome of one cell."""
        if cell in self.failures:
            return self.failures[cell]
        return Forecast(self.mean[cell], self.variance[cell], self.quantiles[cell])

    def batch(self, n_folds: int) -> ForecastBatch:
        """Return the cells, fold by fold, as a batch."""
        n_tickers = len(self.mean) // n_folds
        failures = {divmod(cell, n_tickers): why for cell, why in self.failures.items()}
        shape = (n_folds, n_tickers)
        return assemble(
            self.mean.reshape(*shape, -1),
            self.variance.reshape(*shape, -1),
            self.quantiles.reshape(*shape, len(QUANTILE_LEVELS), -1),
            failures,
        )


def forecast_cells(
    net: Network, prices: FloatArray, cutoffs: DateArray, *, steps: tuple[int, ...]
) -> Cells:
    """Return a network's forecasts from the last L + 1 prices before each cutoff.

    Parameters
    ----------
    net : Network
    prices : ndarray of shape (C, L + 1)
        NaN where missing.
    cutoffs : ndarray of datetime64, shape (C,)
        The last session of each row, for the reasons.
    steps : tuple of int, length H
    """
    n_cells, n_steps = len(prices), len(steps)
    mean, variance = np.full((2, n_cells, n_steps), np.nan)
    quantiles = np.full((n_cells, len(QUANTILE_LEVELS), n_steps), np.nan)
    returns = np.diff(np.log(prices), axis=1)
    failures = _unusable(prices, returns, cutoffs)
    good = np.array([cell for cell in range(n_cells) if cell not in failures], np.int64)
    if len(good):
        scale = np.sqrt(np.mean(returns[good] ** 2, axis=1))
        answers = net.run((returns[good] / scale[:, None]).astype(np.float32))
        if steps[-1] > answers.mean.shape[1]:
            reason = f"the network gives steps 1 to {answers.mean.shape[1]}; {steps[-1]} was asked"
            failures |= dict.fromkeys(good.tolist(), Failure(Status.ERROR, reason))
        else:
            found = _scaled(answers, scale, steps)
            mean[good], variance[good], quantiles[good] = found
            wrong = {int(good[n]): why for n, why in _wrong(*found).items()}
            failures |= wrong
    return Cells(mean, variance, quantiles, failures)


def _unusable(prices: FloatArray, returns: FloatArray, cutoffs: DateArray) -> dict[int, Failure]:
    """Return why rows of prices (C, L + 1) make no window."""
    n_known = returns.shape[1] - np.isnan(returns).sum(axis=1)
    needed, failures = returns.shape[1], {}
    with np.errstate(all="ignore"):
        flat = np.fmax.reduce(returns, axis=1) - np.fmin.reduce(returns, axis=1) <= FLAT
    unpriced = np.isnan(prices[:, -1])
    for cell in np.flatnonzero(unpriced | (n_known < needed) | flat).tolist():
        if unpriced[cell]:
            status, reason = Status.NO_PRICE, f"no price on the cutoff {cutoffs[cell]}"
        elif n_known[cell] < needed:
            status = Status.TOO_SHORT
            reason = f"{n_known[cell]} of the last {needed} log returns are known; all are needed"
        else:
            status, reason = Status.CONSTANT, f"the last {needed} log returns are all equal"
        failures[cell] = Failure(status, reason)
    return failures


def _scaled(
    answers: Answers, scale: FloatArray, steps: Sequence[int]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mean, variance and quantiles as log returns, (W, H), (W, H) and (W, Q, H)."""
    at = np.array(steps) - 1
    unit = scale[:, None]
    mean = unit * answers.mean[:, at]
    stated = None if answers.quantiles is None else answers.quantiles[:, :, at]
    if answers.variance is not None:
        variance = unit**2 * answers.variance[:, at]
    elif stated is not None:
        variance = (unit * (stated[:, 3] - stated[:, 1]) / IQR_OF_NORMAL) ** 2
    else:
        variance = unit**2 * (at + 1.0)
    if stated is None:
        with np.errstate(all="ignore"):  # a variance that is not > 0 is a failure
            return mean, variance, normal_quantiles(mean, variance)
    # Sorting quantiles that cross brings them nearer to the truth, never further from it.
    return mean, variance, np.sort(scale[:, None, None] * stated, axis=1)


def _wrong(mean: FloatArray, variance: FloatArray, quantiles: FloatArray) -> dict[int, Failure]:
    """Return which of W answers are no forecast, and why."""
    finite = np.isfinite(mean) & np.isfinite(variance) & np.isfinite(quantiles).all(axis=1)
    with np.errstate(all="ignore"):
        small = (np.abs(mean) <= MAX_LOG_RETURN) & (variance <= MAX_LOG_RETURN**2)
    failures = {}
    for n in np.flatnonzero(~(finite & small & (variance > 0)).all(axis=1)).tolist():
        if (variance[n] <= 0).any():
            least = variance[n].min()
            reason = f"the network gave a variance of {least:.3g}; it must be > 0"
            failures[n] = Failure(Status.ERROR, reason)
        elif not finite[n].all():
            reason = "the network gave a number that is not finite"
            failures[n] = Failure(Status.EXPLOSIVE, reason)
        else:
            largest = max(np.abs(mean[n]).max(), np.sqrt(variance[n].max()))
            reason = f"a cumulative log return reaches {largest:.3g}; the limit is {MAX_LOG_RETURN}"
            failures[n] = Failure(Status.EXPLOSIVE, reason)
    return failures
