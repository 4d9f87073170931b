"""Regimes of the market: labels of what was known at each session, and windows of two crises."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pmx_ray._typing import BoolArray, DateArray, FloatArray, IntArray
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.stats.intervals import ratio


class Regime(StrEnum):
    """Which way the market has been going."""

    BULL = "bull"
    BEAR = "bear"
    SIDEWAYS = "sideways"


UNLABELLED = ""
"""Stands for the regime where the look-back is not wholly known."""

LabelArray: TypeAlias = npt.NDArray[np.str_]

Window: TypeAlias = tuple[date, date]
"""First and last day, both inside."""

CRISES: Mapping[str, Window] = MappingProxyType(
    {
        "crisis_2008": (date(2007, 10, 9), date(2009, 3, 9)),
        "crisis_2020": (date(2020, 2, 19), date(2020, 8, 18)),
    }
)
"""Two falls of the S&P 500, by its closes (S&P Dow Jones Indices).

``crisis_2008``: from the peak of 1,565.15 on 2007-10-09 to the trough of 676.53 on 2009-03-09.
``crisis_2020``: from the peak of 3,386.15 on 2020-02-19 through the trough of 2,237.40 on
2020-03-23 to 2020-08-18, the first close above that peak (3,389.78): the fall alone has 24
sessions, too few to judge by.
"""


@dataclass(frozen=True, slots=True)
class RegimeRule:
    """When a market counts as rising or falling.

    The trailing log return is held against what a walk without drift would do in as many
    sessions: beyond ``band`` times its trailing volatility there is a trend, within it none. At
    the default such a walk is sideways 38 % of the time and bull or bear 31 % each.

    Attributes
    ----------
    look_back : int
        Sessions of the trailing return and volatility, at least 2; 126 are half a year.
    band : float
        Half width of sideways, in standard deviations of the trailing return, >= 0.

    Raises
    ------
    SettingsError
        If a number is outside its limits.
    """

    look_back: int = 126
    band: float = 0.5

    def __post_init__(self) -> None:
        if self.look_back < 2:
            raise SettingsError(f"look_back was {self.look_back}; it must be >= 2 sessions")
        if not self.band >= 0.0:
            raise SettingsError(f"band was {self.band}; it must be >= 0")


def market_index(close: FloatArray) -> FloatArray:
    """Return the equally weighted index of the tickers, which starts at 1.

    Parameters
    ----------
    close : ndarray of shape (N, T)
        Price > 0; NaN where unknown.

    Returns
    -------
    ndarray of shape (T,)
        Compounds the mean log return over the tickers known on both sessions; it stands still
        where none is. What a ticker does across a gap is left out.
    """
    log_return = np.diff(np.log(close), axis=1)  # (N, T - 1)
    known = (~np.isnan(log_return)).sum(axis=0).astype(np.float64)
    mean = np.nan_to_num(ratio(np.nansum(log_return, axis=0), known))
    index: FloatArray = np.exp(np.concatenate([np.zeros(min(close.shape[1], 1)), mean.cumsum()]))
    return index


def label(index_close: FloatArray, rule: RegimeRule) -> LabelArray:
    """Return the regime of each session, from closes up to and including it only.

    Parameters
    ----------
    index_close : ndarray of shape (T,)
        Close > 0, e.g. of ``market_index``; NaN where unknown.
    rule : RegimeRule
        Look-back and band.

    Returns
    -------
    ndarray of str, shape (T,)
        A ``Regime``; ``UNLABELLED`` where one of the ``look_back + 1`` closes is missing, as in
        the first ``look_back`` sessions.

    Raises
    ------
    DataError
        If a close is not above 0.

    Examples
    --------
    >>> label(np.array([1.0, 1.1, 1.3, 1.2, 1.0]), RegimeRule(look_back=2)).tolist()
    ['', '', 'bull', 'sideways', 'bear']
    """
    _check_positive(index_close)
    labels: LabelArray = np.full(len(index_close), UNLABELLED, dtype="<U8")
    look_back = rule.look_back
    if len(index_close) <= look_back:
        return labels
    log_return = np.diff(np.log(index_close))
    # Each window is summed by itself: a running sum would let rounding of the past in.
    window = np.lib.stride_tricks.sliding_window_view(log_return, look_back)  # (T - L, L)
    trend = window.sum(axis=1)
    width = rule.band * window.std(axis=1, ddof=1) * np.sqrt(look_back)
    labels[look_back:] = np.select(
        [np.isnan(trend), trend > width, trend < -width],
        [UNLABELLED, Regime.BULL.value, Regime.BEAR.value],
        default=Regime.SIDEWAYS.value,
    )
    return labels


def segments(alarms: IntArray, n_sessions: int) -> IntArray:
    """Return how many changes were alarmed up to each session, (T,): equal inside a segment.

    Parameters
    ----------
    alarms : ndarray of int, shape (A,)
        Sessions at whose close a change was alarmed, see ``kernels.change_points``; known there.
    n_sessions : int
        T.

    Examples
    --------
    >>> segments(np.array([2, 4]), 6).tolist()
    [0, 0, 1, 1, 2, 2]
    """
    found: IntArray = np.searchsorted(np.sort(alarms), np.arange(n_sessions), side="right")
    return found


def in_window(dates: DateArray, window: Window) -> BoolArray:
    """Return where ``dates``, shape (T,), lie in ``window``, both ends included."""
    first, last = (np.datetime64(day, "D") for day in window)
    inside: BoolArray = (dates >= first) & (dates <= last)
    return inside


def _check_positive(index_close: FloatArray) -> None:
    bad = (index_close <= 0.0) | np.isinf(index_close)  # NaN compares false
    if bad.any():
        t = int(np.argmax(bad))
        raise DataError(
            f"the index at position {t} is {index_close[t]}; it must be finite and above 0: "
            "give prices, not returns"
        )
