"""The feature matrix: every column of every ticker and session of a panel."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from pmx_ray._typing import DateArray, FloatArray, frozen
from pmx_ray.data.calendar import sessions_after
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.features.column import Column
from pmx_ray.features.exogenous import features_of
from pmx_ray.features.spec import FeatureSpec


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMatrix:
    """K columns of N tickers over T sessions.

    Row s is computed from sessions up to s. When it may be *used* its columns say: the value of
    session s is out at the close of session ``s + publication_lag - 1``.

    Attributes
    ----------
    tickers : tuple of str, length N
    sessions : ndarray of datetime64[D], shape (T,)
    columns : tuple of Column, length K
    values : ndarray of shape (N, T, K)
        NaN during the warm-up and where a price that is needed is missing.

    Raises
    ------
    DataError
        If a shape differs, or two columns share a name.
    """

    tickers: tuple[str, ...]
    sessions: DateArray
    columns: tuple[Column, ...]
    values: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "sessions", frozen(self.sessions, np.dtype("datetime64[D]")))
        object.__setattr__(self, "values", frozen(self.values, np.float64))
        shape = (len(self.tickers), len(self.sessions), len(self.columns))
        if self.values.shape != shape:
            raise DataError(f"values have shape {self.values.shape}; it must be {shape}")
        if len({column.name for column in self.columns}) < len(self.columns):
            raise DataError("two columns of a feature matrix share a name")

    def __getitem__(self, name: str) -> FloatArray:
        """Return the values of the column ``name``, shape (N, T).

        Raises
        ------
        SettingsError
            If there is no such column.
        """
        names = [column.name for column in self.columns]
        if name not in names:
            raise SettingsError(f"no column '{name}'; the matrix has {', '.join(names)}")
        return self.values[:, :, names.index(name)]


def feature_matrix(specs: Sequence[FeatureSpec], panel: Panel) -> FeatureMatrix:
    """Return the features of a panel.

    Parameters
    ----------
    specs : sequence of FeatureSpec
        Names and kinds of features, K columns together.
    panel : Panel
        N tickers, T sessions.

    Raises
    ------
    SettingsError
        If a name is unknown, or two columns have the same name.
    DataError
        If the panel lacks a field that a feature needs.

    Examples
    --------
    ``feature_matrix((ReturnLag(lags=(0, 5)), "monday"), panel)["return_lag_5"]``
    """
    features = features_of(specs)
    values = np.empty((panel.n_tickers, panel.n_sessions, len(features)))
    with threadpool_limits(1):  # sums in one order, whatever the machine
        for k, known in enumerate(features):
            values[:, :, k] = known.values(panel, panel.sessions)
    columns = tuple(known.column for known in features)
    return FeatureMatrix(panel.tickers, panel.sessions, columns, plain(values))


def known_at_close(specs: Sequence[FeatureSpec], panel: Panel) -> FloatArray:
    """Return what is known of each column at each session's close, shape (N, T, K).

    Row s holds the newest value that is out: that of session ``s + 1 - publication_lag``. Of a
    column known in advance that is the value of the session to come.

    Raises
    ------
    SettingsError, DataError
        As ``feature_matrix``, and if the calendar ends with the panel.
    """
    features = features_of(specs)
    following = sessions_after(panel.calendar, panel.sessions[-1], 1)
    sessions = np.concatenate([panel.sessions, following])
    rows = np.full((panel.n_tickers, panel.n_sessions, len(features)), np.nan)
    for k, known in enumerate(features):
        late = min(max(known.publication_lag - 1, 0), panel.n_sessions)
        first = int(known.publication_lag == 0)
        values = known.values(panel, sessions)[:, first : panel.n_sessions + first]
        rows[:, late:, k] = values[:, : panel.n_sessions - late]
    return plain(rows)


def sessions_needed(specs: Sequence[FeatureSpec]) -> int:
    """Return the last sessions of a panel that ``known_at_close`` needs for its last row."""
    reach = (known.warm_up + max(known.publication_lag - 1, 0) for known in features_of(specs))
    return 1 + max(reach, default=0)


def plain(values: FloatArray) -> FloatArray:
    """Return values with one bit pattern for zero and one for NaN, so that equal is the same."""
    one: FloatArray = np.where(np.isnan(values), np.nan, values + 0.0)
    return one
