"""Columns by name or by spec, in the matrix of a model that is forecast several sessions ahead."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.config import suggestion
from pmx_ray.data.calendar import sessions_after
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.features.calendar_effects import CalendarEffects
from pmx_ray.features.column import Feature, FeatureKind, observed
from pmx_ray.features.returns import AbsoluteReturn, absolute_return

FEATURES: Mapping[str, Feature] = MappingProxyType(
    {
        known.name: known
        for kind in (CalendarEffects(), AbsoluteReturn())
        for known in kind.features()
    }
)
"""Columns that settings files may call by name alone, without their kind."""

abs_return = observed(absolute_return)


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


def features_of(specs: Sequence[str | FeatureKind]) -> tuple[Feature, ...]:
    """Return the columns of names and kinds, in order.

    Raises
    ------
    SettingsError
        If a name is unknown, or two columns have the same name.
    """
    found = [
        column
        for spec in specs
        for column in ((feature(spec),) if isinstance(spec, str) else spec.features())
    ]
    names = [column.name for column in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"feature '{twice}' is there twice; name each feature once")
    return tuple(found)


def exogenous(
    specs: Sequence[str | FeatureKind], history: Panel, *, n_ahead: int, shift: int
) -> FloatArray:
    """Return the features of every session of a history and of the ``n_ahead`` after it.

    Parameters
    ----------
    specs : sequence of str or FeatureKind
        Names and kinds of features, K columns together.
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
        NaN where a value is not known from ``history``: the warm-up and the first ``shift`` rows
        of a shifted feature, rows beyond its reach, and rows that fall on a missing price.

    Raises
    ------
    SettingsError
        If a name is unknown, or two columns have the same name.
    DataError
        If the history lacks a field that a feature needs.
    """
    columns = features_of(specs)
    if not columns:
        return np.empty((history.n_sessions + n_ahead, 0))
    ahead = sessions_after(history.calendar, history.sessions[-1], n_ahead)
    sessions = np.concatenate([history.sessions, ahead])
    rows = np.full((len(sessions), len(columns)), np.nan)
    for k, known in enumerate(columns):
        values = np.array(known.values(history, sessions)[0])
        lag = 0
        if known.publication_lag > 0:
            lag = shift
            values[history.n_sessions + 1 - known.publication_lag :] = np.nan
        rows[lag:, k] = values[: len(sessions) - lag]
    return rows
