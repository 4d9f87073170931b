"""What came of past signals: each held against the closes that followed its cutoff."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pmx_ray._typing import FloatArray
from pmx_ray.backtest.costs import Costs
from pmx_ray.data.panel import Panel
from pmx_ray.ledger.signal_log import SignalRecord
from pmx_ray.signals.quality import SIDE
from pmx_ray.stats.measures import hits


def outcomes(records: Sequence[SignalRecord], panel: Panel, *, costs: Costs) -> pd.DataFrame:
    """Return a row a signal whose cutoff the panel holds, with what came of it.

    Parameters
    ----------
    records : sequence of SignalRecord
        Each source, ticker and cutoff once.
    panel : Panel
        Prices up to today.
    costs : Costs
        What a trade costs.

    Returns
    -------
    DataFrame
        Columns ``source``; ``cutoff`` (datetime64); ``hit``, 1 where the forecast's direction was
        right, 0 where wrong, NaN where it or the price took none, or the outcome is to come;
        ``net``, simple return of one unit in the signal's side, net of a round trip, 0 for hold
        and NaN to come; ``trades`` and ``passed``, 0 or 1, the latter NaN where not judged.
    """
    row = {ticker: n for n, ticker in enumerate(panel.tickers)}
    column = {day: t for t, day in enumerate(panel.sessions.astype(object))}
    known = [one for one in records if one.ticker in row and one.cutoff in column]
    actual = np.array([_realised(one, panel, row, column) for one in known], dtype=np.float64)
    side = np.array([SIDE[one.action] for one in known], dtype=np.float64)
    expected = np.array([one.expected_return for one in known], dtype=np.float64)
    return pd.DataFrame(
        {
            "source": [one.source for one in known],
            "cutoff": np.array([one.cutoff for one in known], dtype="datetime64[s]"),
            "hit": hits(actual, expected),
            "net": costs.net_return(side, np.expm1(actual)),
            "step": [one.step for one in known],
            "trades": np.abs(side),
            "passed": [np.nan if one.valid is None else float(one.valid) for one in known],
        }
    )


def _realised(
    one: SignalRecord, panel: Panel, row: dict[str, int], column: dict[object, int]
) -> float:
    start = column[one.cutoff]
    if start + one.step >= panel.n_sessions:
        return np.nan
    close: FloatArray = panel.close[row[one.ticker]]
    return float(np.log(close[start + one.step] / close[start]))
