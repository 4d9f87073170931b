"""How good past signals were: hit rate, net return, and how many the validator passed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.backtest.costs import Costs
from pmx_ray.data.panel import Panel
from pmx_ray.stats.intervals import (
    MIN_CUTOFFS,
    Interval,
    block_length,
    hit_rate_interval,
    n_effective,
    overlap_of,
    percentile_interval,
    ratio,
    resample_counts,
)
from pmx_ray.stats.measures import hits
from pmx_ray.taxonomy import Action

LOOK_BACK_SESSIONS = 30
"""Sessions that the quality of signals is judged over."""

N_RESAMPLES = 1000
LEVEL = 0.95

SIDE = {Action.BUY: 1.0, Action.SELL: -1.0, Action.HOLD: 0.0}


class PastSignal(Protocol):
    """What is asked of a recorded signal; the ledger's records have it."""

    @property
    def ticker(self) -> str:
        """Whom it was about."""

    @property
    def action(self) -> Action:
        """What it advised."""

    @property
    def cutoff(self) -> date:
        """Last session its model saw."""

    @property
    def step(self) -> int:
        """Horizon, sessions."""

    @property
    def valid(self) -> bool | None:
        """Whether the validator passed it; None where it has not judged."""


@dataclass(frozen=True, slots=True)
class SignalQuality:
    """How good the signals of the last sessions were; intervals cover 95 %.

    Attributes
    ----------
    n_sessions : int
        Sessions looked back over.
    n_signals, n_judged, n_passed : int
        Signals with their cutoff in those sessions, those that the validator judged, and passed.
    passed_frac : float, optional
        ``n_passed / n_judged``; None where none was judged.
    passed_interval : tuple of float, optional
        Its interval.
    n_traded, n_cutoffs : int
        Signals to buy or sell whose outcome came in those sessions, whatever the validator said,
        and the cutoffs they were made at.
    n_sided, n_hits : int
        Those of them whose price moved, and moved the way they said.
    n_effective : float
        How many independent observations their cutoffs are worth: their number over how many of
        them have outcomes that overlap; 30 on end with a horizon of 20 sessions are worth 1.5.
    hit_rate_frac : float, optional
        ``n_hits / n_sided``; None where there is none.
    hit_rate_interval : tuple of float, optional
        Its interval, one observation an effective cutoff where outcomes overlap or are few.
    net_return : float, optional
        Mean simple return of one such trade, net of a round trip, decimal; None without one.
    net_return_interval : tuple of float, optional
        Its interval; None for fewer than 10 effective cutoffs.
    n_unknown : int
        Signals whose ticker or cutoff the prices do not hold; they count nowhere else.
    """

    n_sessions: int
    n_signals: int
    n_judged: int
    n_passed: int
    passed_frac: float | None
    passed_interval: Interval | None
    n_traded: int
    n_cutoffs: int
    n_sided: int
    n_hits: int
    n_effective: float
    hit_rate_frac: float | None
    hit_rate_interval: Interval | None
    net_return: float | None
    net_return_interval: Interval | None
    n_unknown: int


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """Signals on the panel's axes, K of them: positions of cutoff and outcome, side, outcome."""

    cutoff: IntArray
    due: IntArray
    side: FloatArray
    actual: FloatArray  # log return from cutoff to due; NaN where not known
    judged: FloatArray  # 1 passed, 0 refused, NaN not judged


def backtest_signal_quality(
    signals: Sequence[PastSignal],
    panel: Panel,
    *,
    costs: Costs,
    rng: np.random.Generator,
    n_sessions: int = LOOK_BACK_SESSIONS,
) -> SignalQuality:
    """Return how good one model's signals were over the panel's last sessions.

    What the validator passed is counted over signals *made* in those sessions; hits and returns
    over signals whose *outcome* came in them, so that a long horizon is judged on as many. An
    outcome that the panel does not hold yet is none.

    Parameters
    ----------
    signals : sequence of PastSignal
        Of one source; each ticker and cutoff once.
    panel : Panel
        Prices up to today.
    costs : Costs
        What a trade costs.
    rng : Generator
        For the bootstrap over cutoffs; consumed.
    n_sessions : int
        Sessions to look back over, >= 1.

    Returns
    -------
    SignalQuality
        Intervals take tickers of one cutoff as moving together, and outcomes that overlap as
        largely the same, see ``hit_rate_interval``.
    """
    placed, n_unknown = _place(signals, panel)
    first = panel.n_sessions - n_sessions
    made = placed.judged[placed.cutoff >= first]
    made_at = placed.cutoff[placed.cutoff >= first]
    known = ~np.isnan(made)
    traded = (placed.due >= first) & (placed.side != 0.0) & ~np.isnan(placed.actual)
    side, actual, cutoff = placed.side[traded], placed.actual[traded], placed.cutoff[traded]
    hit = hits(actual, side)
    sided = ~np.isnan(hit)
    net = costs.net_return(side, np.expm1(actual))
    step = int((placed.due - placed.cutoff)[traded].max(initial=1))
    draw = _drawer(step, rng)
    return SignalQuality(
        n_sessions=n_sessions,
        n_signals=len(made),
        n_judged=int(known.sum()),
        n_passed=int(made[known].sum()),
        passed_frac=_mean(made[known]),
        passed_interval=_rate_interval(made[known], made_at[known], draw, step=1),
        n_traded=len(net),
        n_cutoffs=len(np.unique(cutoff)),
        n_sided=int(sided.sum()),
        n_hits=int(hit[sided].sum()),
        n_effective=n_effective(cutoff[sided], step=step),
        hit_rate_frac=_mean(hit[sided]),
        hit_rate_interval=_rate_interval(hit[sided], cutoff[sided], draw, step=step),
        net_return=_mean(net),
        net_return_interval=_mean_interval(net, cutoff, draw, step=step),
        n_unknown=n_unknown,
    )


def _place(signals: Sequence[PastSignal], panel: Panel) -> tuple[_Placed, int]:
    row = {ticker: n for n, ticker in enumerate(panel.tickers)}
    column = {day: t for t, day in enumerate(panel.sessions.astype(object))}
    known = [s for s in signals if s.ticker in row and s.cutoff in column]
    cutoff = np.array([column[s.cutoff] for s in known], dtype=np.int64)
    due = cutoff + np.array([s.step for s in known], dtype=np.int64)
    ticker = np.array([row[s.ticker] for s in known], dtype=np.int64)
    actual = np.full(len(known), np.nan)
    come = due < panel.n_sessions
    log_close = np.log(panel.close)
    actual[come] = log_close[ticker[come], due[come]] - log_close[ticker[come], cutoff[come]]
    placed = _Placed(
        cutoff=cutoff,
        due=due,
        side=np.array([SIDE[Action(s.action)] for s in known], dtype=np.float64),
        actual=actual,
        judged=np.array([np.nan if s.valid is None else float(s.valid) for s in known]),
    )
    return placed, len(signals) - len(known)


def _drawer(step: int, rng: np.random.Generator) -> Callable[[int], FloatArray]:
    """Return what draws resamples of so many cutoffs; signals are made every session."""

    def draw(n_cutoffs: int) -> FloatArray:
        if n_cutoffs < MIN_CUTOFFS:  # no bootstrap is stated from so few, so none is drawn
            return np.empty((0, n_cutoffs))
        block = block_length(n_cutoffs, step=step, step_size=1)
        return resample_counts(n_cutoffs, block=block, n_resamples=N_RESAMPLES, rng=rng)

    return draw


def _rate_interval(
    successes: FloatArray, cutoff: IntArray, draw: Callable[[int], FloatArray], *, step: int
) -> Interval | None:
    if len(successes) == 0:
        return None
    sums, counts = _by_cutoff(successes, cutoff)
    overlap = overlap_of(cutoff, step=step)
    return hit_rate_interval(sums, counts, draw(len(sums)), level=LEVEL, overlap=overlap)


def _mean_interval(
    values: FloatArray, cutoff: IntArray, draw: Callable[[int], FloatArray], *, step: int
) -> Interval | None:
    if n_effective(cutoff, step=step) < MIN_CUTOFFS:
        return None
    sums, counts = _by_cutoff(values, cutoff)
    drawn = draw(len(sums))
    return percentile_interval(ratio(drawn @ sums, drawn @ counts), level=LEVEL)


def _by_cutoff(values: FloatArray, cutoff: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return sum and number of values of each cutoff, both (C,), in time order."""
    _, place = np.unique(cutoff, return_inverse=True)
    sums: FloatArray = np.bincount(place, weights=values).astype(np.float64)
    return sums, np.bincount(place).astype(np.float64)


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None
