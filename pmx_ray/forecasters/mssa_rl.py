"""MSSA-RL: a contextual bandit that chooses how far to trust singular spectrum analysis.

A change point detector gives each session a state. In every state an action is chosen: the rank
of SAMoSSA's recurrence, whether it is fitted on the whole window or since the last change, and how
far its forecast is shrunk towards the random walk, all the way among the actions. Actions are
valued inside the training window alone, on one-step forecasts of fits that end before them. As no
forecast moves a price, every action's reward is known at every session: nothing has to be tried
out, and no random number is drawn.

The detector's blocks and base windows begin with the first session of a history, so that a state
depends on where the history starts as well as on the session; see docs/change_points.md. It
depends on nothing later than the session.

Shapes: N tickers, T sessions, S sessions with rewards, A actions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, Self, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from pmx_ray._typing import FloatArray, IntArray, frozen
from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError
from pmx_ray.forecasters.protocol import FittedForecaster, Forecast, Outcome, Scope
from pmx_ray.forecasters.registry import register
from pmx_ray.forecasters.samossa import MIN_RETURNS, FittedSamossa, Samossa, SamossaSettings
from pmx_ray.kernels.change_points import Changes, ChangeSettings, detect
from pmx_ray.kernels.change_points_input import watched_series
from pmx_ray.kernels.samossa import Choice, fit_models
from pmx_ray.provenance import CHANGE_POINTS

LookBack: TypeAlias = Literal["whole", "since_change"]

Fit: TypeAlias = tuple[int, LookBack]
"""Rank, and what a recurrence is fitted on."""

LONG_AGO = 120
"""Sessions after which a change is no longer a recent one."""

MIN_LOOK_BACK = 2 * MIN_RETURNS
"""Fewest sessions that a fit since a change reaches back."""

LARGE_GAP, HIGH_RATIO, HIGH_LEVEL = 0.3, 1.5, 0.5
"""Where spectral gap, energy over drift and sum over threshold are cut into low and high."""


class MssaRlSettings(Settings):
    """Settings of the bandit.

    Attributes
    ----------
    ranks : tuple of int
        Singular values kept.
    look_backs : tuple of str
        What a recurrence is fitted on: the ``whole`` window, or the sessions ``since_change``.
    shrinkages : tuple of float
        Shares of a forecast that are given up; 1, the random walk, is always among the actions.
    ar_order : int
        Lags of each ticker's autoregression.
    refit_every : int
        Sessions between the fits inside the training window that actions are valued by.
    prior_sessions : int
        What all states together say weighs as much as so many sessions in the state at hand.
    caution : float
        Standard errors by which an action must beat the random walk.
    change_input : str
        ``input`` of the detector's ``ChangeSettings``.
    change_window, change_pages, run_length : int
        Its ``window``, ``n_pages`` and ``run_length``.
    calibrate : bool
        Scale the variance of each step to the errors seen on the last third of each history.
    """

    ranks: tuple[int, ...] = Field(default=(1, 3, 5), min_length=1)
    look_backs: tuple[LookBack, ...] = Field(default=("whole", "since_change"), min_length=1)
    shrinkages: tuple[float, ...] = (0.0, 0.5, 0.75)
    ar_order: int = Field(default=1, ge=0, le=3)
    refit_every: int = Field(default=60, ge=1, le=10_000)
    prior_sessions: int = Field(default=250, ge=1, le=100_000)
    caution: float = Field(default=1.0, ge=0.0, le=10.0)
    change_input: Literal["log_volatility", "log_return", "log_price"] = "log_return"
    change_window: int = Field(default=10, ge=2, le=1000)
    change_pages: int = Field(default=24, ge=10, le=1000)
    run_length: int = Field(default=500, ge=10, le=1_000_000)
    calibrate: bool = True

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if min(self.ranks) < 1 or len(set(self.ranks)) < len(self.ranks):
            raise ValueError(f"ranks were {list(self.ranks)}; they must be >= 1 and not repeat")
        if len(set(self.look_backs)) < len(self.look_backs):
            raise ValueError(f"look_backs were {list(self.look_backs)}; they must not repeat")
        if not all(0.0 <= share <= 1.0 for share in self.shrinkages):
            raise ValueError(f"shrinkages were {list(self.shrinkages)}; they must be 0 to 1")
        assert self.changes  # noqa: S101 - the detector's own limits
        return self

    @property
    def changes(self) -> ChangeSettings:
        """What the detector is set to."""
        return ChangeSettings(
            input=self.change_input, window=self.change_window, n_pages=self.change_pages,
            run_length=self.run_length,
        )  # fmt: skip

    @property
    def fits(self) -> tuple[Fit, ...]:
        """Every recurrence; the first serves the random walk."""
        return tuple(product(self.ranks, self.look_backs))

    @property
    def actions(self) -> tuple["Action", ...]:
        """Every action, the random walk first."""
        others = product(self.fits, [s for s in self.shrinkages if s != 1.0])
        return (Action(self.fits[0], 1.0), *(Action(fit, s) for fit, s in others))


@dataclass(frozen=True, slots=True)
class Action:
    """A recurrence, and the share of its forecast that is given up."""

    fit: Fit
    shrinkage: float


@dataclass(frozen=True, slots=True, eq=False)
class Rewards:
    """What each action would have gained over the random walk.

    Attributes
    ----------
    states : ndarray of int, shape (S,)
        State on the session before.
    gains : ndarray of shape (S, A)
        Squared error of the random walk less that of the action, over the variance of the
        returns, the mean over tickers; 0 of the random walk.
    """

    states: IntArray
    gains: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "states", frozen(self.states, np.int64))
        object.__setattr__(self, "gains", frozen(self.gains, np.float64))

    def values(self, state: int, *, prior_sessions: int, caution: float) -> FloatArray:
        """Return each action's mean gain less ``caution`` standard errors in a state, (A,).

        Sessions of the state weigh 1, and all of them ``prior_sessions`` together.
        """
        if len(self.states) == 0:
            return np.zeros(self.gains.shape[1])
        weight = (self.states == state) + prior_sessions / len(self.states)
        weight = (weight / weight.sum())[:, None]
        mean = (weight * self.gains).sum(axis=0)
        error = np.sqrt(((weight * (self.gains - mean)) ** 2).sum(axis=0))
        value: FloatArray = mean - caution * error
        return value


def states_of(changes: Changes) -> IntArray:
    """Return the state of each session, 0 to 23, (T,), from what was known at its close.

    Time since the last alarm (none, recent, long ago) by spectral gap, energy ratio and CUSUM
    level, low or high each; low where blind.
    """
    n_sessions = len(changes.statistic)
    sessions = np.arange(n_sessions)
    last = _latest(changes.alarms, sessions)
    since = np.where(last < 0, 0, np.where(sessions - last < LONG_AGO, 1, 2))
    stops = np.array([base.stop - 1 for base in changes.bases], np.int64)  # known from here on
    number = np.searchsorted(stops, sessions, side="right")
    gap = np.array([0.0, *(base.spectral_gap for base in changes.bases)])[number] > LARGE_GAP
    height = np.array([np.inf, *(base.threshold for base in changes.bases)])[number]
    ratio = np.nan_to_num(changes.energy_ratio) > HIGH_RATIO
    level = np.nan_to_num(changes.statistic) > HIGH_LEVEL * height
    states: IntArray = ((since * 2 + gap) * 2 + ratio) * 2 + level
    return states


def _latest(positions: IntArray, sessions: IntArray) -> IntArray:
    """Return the last of ``positions`` up to each session, -1 where there is none."""
    found: IntArray = np.array([-1, *positions.tolist()])[
        np.searchsorted(positions, sessions, side="right")
    ]
    return found


def look_back_start(changes: Changes, session: int) -> int:
    """Return where a fit that ends on ``session`` starts if it reaches back to the last change.

    At the onset as it was estimated by then, and at least ``MIN_LOOK_BACK`` sessions back; at 0
    without a change.
    """
    known = int(np.searchsorted(changes.alarms, session, side="right"))
    onset = int(changes.onsets[known - 1]) if known else 0
    return max(min(onset, session + 1 - MIN_LOOK_BACK), 0)


def train(returns: FloatArray, changes: Changes, settings: MssaRlSettings) -> Rewards:
    """Return the rewards of every action on the second half of a training window.

    Parameters
    ----------
    returns : ndarray of shape (N, T - 1)
        Log returns of the tickers that are fitted; NaN where missing.
    changes : Changes
        Of the same T sessions.
    settings : MssaRlSettings
    """
    n_returns = returns.shape[1]
    first = max(n_returns // 2, min(MIN_LOOK_BACK, n_returns))
    ends = range(first, n_returns, settings.refit_every)
    parts = [
        _gains(returns, changes, settings, end, min(end + settings.refit_every, n_returns))
        for end in ends
    ]
    gains = np.concatenate([np.zeros((0, len(settings.actions))), *parts])
    # Return k goes from session k to k + 1, and is forecast at the close of session k.
    return Rewards(states_of(changes)[first:n_returns], gains)


def _gains(
    returns: FloatArray, changes: Changes, settings: MssaRlSettings, end: int, stop: int
) -> FloatArray:
    """Return the gains on returns ``[end, stop)`` of fits on those before, (stop - end, A)."""
    size = _variance(returns[:, :end])
    actual = returns[:, end:stop]
    ahead = dict(_forecasts(returns, changes, settings, end, stop))
    columns = []
    for action in settings.actions:
        forecast = (1.0 - action.shrinkage) * ahead.get(action.fit, np.zeros_like(actual))
        with np.errstate(all="ignore"):  # a fit may explode, and then gains nothing
            gain = (actual**2 - (actual - forecast) ** 2) / size
        known = np.isfinite(gain)
        total = np.where(known, gain, 0.0).sum(axis=0)
        columns.append(total / np.maximum(known.sum(axis=0), 1))
    return np.stack(columns, axis=1)


def _variance(returns: FloatArray) -> FloatArray:
    """Return the mean square of what is known, (N, 1); NaN where nothing is or nothing moved."""
    known = ~np.isnan(returns)
    total = np.where(known, returns, 0.0) ** 2
    size = total.sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    return np.where(size > 0.0, size, np.nan)


def _forecasts(
    returns: FloatArray, changes: Changes, settings: MssaRlSettings, end: int, stop: int
) -> Iterator[tuple[Fit, FloatArray]]:
    """Yield the one-step forecasts of returns ``[end, stop)`` by each fit that can be made."""
    for look_back in settings.look_backs:
        start = look_back_start(changes, end) if look_back == "since_change" else 0
        choices = [Choice(rank, 1, settings.ar_order) for rank in settings.ranks]
        try:
            models = fit_models(returns[:, start:end], choices)
        except (DataError, np.linalg.LinAlgError):
            continue  # the action then is the random walk
        for rank, model in zip(settings.ranks, models, strict=True):
            begin = max(end - model.n_lags, 0)
            errors = model.errors(returns[:, begin:stop])[:, end - begin :]
            yield (rank, look_back), returns[:, end:stop] - errors


@dataclass(frozen=True, slots=True, eq=False)
class FittedMssaRl:
    """What was learnt, standing at the last session of a history.

    Attributes
    ----------
    settings : MssaRlSettings
    rewards : Rewards
        Of the training window.
    fits : mapping of (rank, look-back) to FittedSamossa
        One a recurrence, of the training window's end.
    history : Panel
        What the forecast is conditioned on; its last session gives the state.
    """

    settings: MssaRlSettings
    rewards: Rewards
    fits: Mapping[Fit, FittedSamossa]
    history: Panel

    def extend(self, history: Panel) -> FittedForecaster:
        """Return the same values and fits, in the state at the end of ``history``."""
        return replace(self, history=history)

    @property
    def action(self) -> Action:
        """What is done in the state at hand; the random walk unless another is worth more."""
        settings = self.settings
        state = states_of(_changes(self.history, settings))[-1]
        values = self.rewards.values(
            int(state), prior_sessions=settings.prior_sessions, caution=settings.caution
        )
        return settings.actions[int(np.argmax(values))]  # of equals the first, the random walk

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return one outcome a ticker; see ``Forecaster``.

        A ticker that the action's fit could not take is served by the first fit.
        """
        action = self.action
        chosen = self.fits[action.fit].extend(self.history).forecast(steps)
        first = self.fits[self.settings.fits[0]].extend(self.history).forecast(steps)
        return tuple(
            _shrunk(own if isinstance(own, Forecast) else other, action.shrinkage)
            for own, other in zip(chosen, first, strict=True)
        )


def _shrunk(outcome: Outcome, shrinkage: float) -> Outcome:
    if isinstance(outcome, Forecast):
        return Forecast((1.0 - shrinkage) * outcome.mean, outcome.variance)
    return outcome


def _changes(history: Panel, settings: MssaRlSettings) -> Changes:
    return detect(watched_series(history.close, settings.changes), settings.changes)


@register(
    "mssa_rl",
    settings=MssaRlSettings,
    version="1",
    summary="singular spectrum analysis, trusted as far as it paid in like states",
    fit_s=lambda s: 4e-4 * len(s.fits),
    extend_s=3e-4,
    libraries=lambda _: ("numba", "numpy", CHANGE_POINTS, "scipy"),
    search={
        "ar_order": {"low": 0, "high": 3},
        "prior_sessions": {"low": 30, "high": 1000, "log": True},
        "caution": {"low": 0.0, "high": 3.0},
        "run_length": {"low": 100, "high": 2000, "log": True},
    },
)
class MssaRl:
    """Singular spectrum analysis under a contextual bandit over change point states.

    References
    ----------
    Alanqary, Alomar, Shah (2021), Change Point Detection via Multivariate Singular Spectrum
    Analysis, NeurIPS 34.
    Alomar, Dahleh, Mann, Shah (2023), SAMoSSA, NeurIPS, arXiv 2305.16491.
    """

    def __init__(self, settings: MssaRlSettings) -> None:
        self.settings = settings

    @property
    def scope(self) -> Scope:
        """All tickers are watched and fitted together."""
        return "panel"

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:
        """Fit every recurrence on ``history``, and value the actions inside it."""
        settings = self.settings
        changes = _changes(history, settings)
        fits: dict[Fit, FittedSamossa] = {}
        for rank, look_back in settings.fits:
            start = 0
            if look_back == "since_change":
                start = look_back_start(changes, history.n_sessions - 1)
            samossa = Samossa(
                SamossaSettings(rank=rank, ar_order=settings.ar_order, calibrate=settings.calibrate)
            )
            fitted = samossa.fit(history.window(start, history.n_sessions), rng=rng)
            assert isinstance(fitted, FittedSamossa)  # noqa: S101 - its only answer
            fits[rank, look_back] = fitted
        rows = fits[settings.fits[0]].joint.rows
        if len(rows) == 0:  # nothing to value: every outcome is a failure
            none = Rewards(np.zeros(0, np.int64), np.zeros((0, len(settings.actions))))
            return FittedMssaRl(settings, none, fits, history)
        rewards = train(history.log_returns()[rows], changes, settings)
        return FittedMssaRl(settings, rewards, fits, history)
