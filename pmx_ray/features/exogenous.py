"""Exogenous columns by name, each with its publication lag, in a matrix that never looks ahead."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from pmx_ray._typing import DateArray, FloatArray
from pmx_ray.config import suggestion
from pmx_ray.data.calendar import sessions_after
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.features import calendar_effects

Values: TypeAlias = Callable[[Panel, DateArray], FloatArray]
"""One-ticker history of T sessions, and those sessions with H more after them, to (T + H,) values.

NaN where a value is not known from the history, which for an observed value is every later one.
"""


@dataclass(frozen=True, slots=True)
class Feature:
    """One exogenous column.

    Attributes
    ----------
    name : str
        What settings files call it.
    publication_lag : int
        Sessions until the value of a session is known: 0 is known in advance, 1 is known at the
        session's close and serves from the next session on.
    summary : str
        What it is, in one line.
    values : callable
        See ``Values``.
    """

    name: str
    publication_lag: int
    summary: str
    values: Values


def feature(name: str) -> Feature:
    """Return the feature registered as ``name``.

    Raises
    ------
    SettingsError
        If there is none.

    Examples
    --------
    >>> feature("monday").publication_lag
    0
    """
    if name not in FEATURES:
        raise SettingsError(f"unknown feature '{name}'{suggestion(name, list(FEATURES))}")
    return FEATURES[name]


def exogenous(names: Sequence[str], history: Panel, *, n_ahead: int, shift: int) -> FloatArray:
    """Return the features of every session of a history and of the ``n_ahead`` after it.

    Parameters
    ----------
    names : sequence of str, length K
        Registered features.
    history : Panel
        One ticker, T sessions.
    n_ahead : int
        Sessions after the history, H.
    shift : int
        Row s holds the value of session ``s - shift`` of a feature that is not known in advance,
        so that the first ``shift + 1 - publication_lag`` rows of the future are known.

    Returns
    -------
    ndarray of shape (T + H, K)
        NaN where a value is not known from ``history``: the first ``shift`` rows of a shifted
        feature, rows beyond its reach, and rows that fall on a missing price.

    Raises
    ------
    SettingsError
        If a name is unknown.
    """
    if not names:
        return np.empty((history.n_sessions + n_ahead, 0))
    ahead = sessions_after(history.calendar, history.sessions[-1], n_ahead)
    sessions = np.concatenate([history.sessions, ahead])
    columns = np.full((len(sessions), len(names)), np.nan)
    for k, name in enumerate(names):
        known = feature(name)
        values = known.values(history, sessions)
        lag = 0
        if known.publication_lag > 0:
            lag = shift
            values[history.n_sessions + 1 - known.publication_lag :] = np.nan
        columns[lag:, k] = values[: len(sessions) - lag]
    return columns


def _of_calendar(effect: Callable[[str, DateArray], FloatArray]) -> Values:
    return lambda history, sessions: effect(history.calendar, sessions)


def abs_return(history: Panel, sessions: DateArray) -> FloatArray:
    """Return the absolute log return of each session of a one-ticker history, in percent."""
    values = np.full(len(sessions), np.nan)
    values[1 : history.n_sessions] = 100.0 * np.abs(history.log_returns()[0])
    return values


FEATURES: Mapping[str, Feature] = MappingProxyType(
    {
        known.name: known
        for known in (
            Feature("monday", 0, "1 on Mondays", _of_calendar(calendar_effects.monday)),
            Feature(
                "turn_of_month",
                0,
                "1 on the last session of a month and the first three of the next",
                _of_calendar(calendar_effects.turn_of_month),
            ),
            Feature(
                "month_end",
                0,
                "1 on the last session of a month",
                _of_calendar(calendar_effects.month_end),
            ),
            Feature(
                "session_before_holiday",
                0,
                "1 where a weekday without a session follows",
                _of_calendar(calendar_effects.session_before_holiday),
            ),
            Feature("abs_return_lagged", 1, "absolute log return in percent, shifted", abs_return),
        )
    }
)
"""Every feature by name."""
