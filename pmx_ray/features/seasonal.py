"""Trailing decomposition of log returns into trend, season and remainder."""

from functools import partial
from typing import Literal, TypeAlias

import numpy as np
from pydantic import Field

from pmx_ray._typing import DateArray, FloatArray, IntArray
from pmx_ray.data.panel import Panel
from pmx_ray.features.column import Feature, ObservedKind
from pmx_ray.features.windows import session_returns, trailing_mean

Season: TypeAlias = Literal["weekday", "month"]
Part: TypeAlias = Literal["trend", "season", "remainder"]


class Seasonal(ObservedKind):
    """Log return = trend + season + remainder, each from the past and the session itself alone.

    The trend is the mean of the last ``window`` log returns; the season is the mean of what the
    trend left of the earlier sessions of the same weekday or month among the last ``window``; the
    remainder is the rest. This is the classical additive decomposition with one-sided means in
    place of centred ones, which would look ahead.

    Attributes
    ----------
    season : str
        ``weekday`` or ``month``.
    window : int
        Sessions of either mean; over a year of them for ``month``.
    parts : tuple of str
        ``trend``, ``season``, ``remainder``.

    References
    ----------
    Hyndman and Athanasopoulos (2021), Forecasting: Principles and Practice, 3rd edition, section
    3.4, for the centred form.
    """

    kind: Literal["seasonal"] = "seasonal"
    season: Season = "weekday"
    window: int = Field(default=250, ge=10, le=2_000)
    parts: tuple[Part, ...] = Field(default=("season", "remainder"), min_length=1)

    def features(self) -> tuple[Feature, ...]:
        """Return one column a part."""
        return tuple(
            self._feature(
                f"{self.season}_{part}_{self.window}",
                f"{part} of the log return by {self.season}, over {self.window} sessions",
                partial(decompose, season=self.season, window=self.window, part=part),
                warm_up=self.window if part == "trend" else 2 * self.window,
            )
            for part in self.parts
        )


def decompose(panel: Panel, *, season: Season, window: int, part: Part) -> FloatArray:
    """Return a part of the log returns, shape (N, T).

    A season that did not occur within the window is NaN, and so is its remainder.
    """
    returns = session_returns(panel)
    trend = trailing_mean(returns, window)
    if part == "trend":
        return trend
    left = returns - trend
    usual = earlier_mean_of_season(left, season_of(panel.sessions, season), window)
    usual[:, : 2 * window] = np.nan
    return usual if part == "season" else left - usual


def season_of(sessions: DateArray, season: Season) -> IntArray:
    """Return a number for the season of each session, shape (T,)."""
    if season == "weekday":
        return (sessions.astype("datetime64[D]").astype(np.int64) + 3) % 7
    return sessions.astype("datetime64[M]").astype(np.int64) % 12


def earlier_mean_of_season(values: FloatArray, code: IntArray, window: int) -> FloatArray:
    """Return the mean of the values of the ``window`` sessions before that share its season.

    Parameters
    ----------
    values : ndarray of shape (N, T)
        NaN where missing; such a session does not count.
    code : ndarray of int, shape (T,)
        Season of each session.
    window : int
        Sessions before the session, which itself does not count.

    Returns
    -------
    ndarray of shape (N, T)
        NaN where no session counts.
    """
    n_sessions = values.shape[1]
    present = ~np.isnan(values)
    kept = np.where(present, values, 0.0)
    total, count = np.zeros(values.shape), np.zeros(values.shape)
    for k in range(1, min(window, n_sessions - 1) + 1):
        alike = code[k:] == code[: n_sessions - k]
        total[:, k:] += np.where(alike, kept[:, : n_sessions - k], 0.0)
        count[:, k:] += alike & present[:, : n_sessions - k]
    mean: FloatArray = np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
    return mean
