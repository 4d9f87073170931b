"""Both sides of a comparison: one core on a sample, the card on everything, and their row."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.fits.section import ABSENT
from benchmarks.fits.windows import panel
from benchmarks.gpu.limits import Card, Work
from benchmarks.measuring import Promise, Sample, one_core
from benchmarks.measuring import side_by_side as turns
from pmx_ray._typing import FloatArray

LENGTH = 1000
"""Returns of a window."""

N_TURNS = 3

SAME_LOGLIK = 1e-9
"""Relative distance of log-likelihoods of card and processor that is promised."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's row of a table, and what is promised of it.

    Attributes
    ----------
    row : mapping
        Columns by heading; the card's say that they are not measured where there is none.
    promises : tuple of Promise
        Empty without a card.
    """

    row: dict[str, object]
    promises: tuple[Promise, ...] = ()


def on_one_core(work: Callable[[], object], *, first: Callable[[], object]) -> Sample:
    """Return the processor seconds of ``work`` on one core; ``first`` compiles what it needs."""
    with one_core():
        first()
        (ours,) = turns(work, repeats=N_TURNS)
    return ours


def walls(work: Callable[[], object]) -> Sample:
    """Return the wall seconds of ``work``, which ends when its results are on the host."""
    work()
    seconds = []
    for _ in range(N_TURNS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return Sample(tuple(seconds))


def row_of(
    model: str,
    ours: Sample,
    theirs: Sample | None,
    *,
    unit: str,
    n_sample: int,
    n: int,
    work: Work | None = None,
    limits: Card | None = None,
) -> dict[str, object]:
    """Return the row of a model.

    Parameters
    ----------
    model : str
    ours : Sample
        One core's seconds for ``n_sample`` of the ``unit``.
    theirs : Sample or None
        The card's seconds for ``n`` of them; None without a card.
    unit : str
        What is counted: a window, a fold.
    n_sample, n : int
    work : Work, optional
        What ``n`` of them come to.
    limits : Card, optional
        The card's.
    """
    two_cores = 0.5 * ours.per(n_sample) * n
    row: dict[str, object] = {
        "model": model,
        f"us a {unit}, one core": 1e6 * ours.per(n_sample),
        "spread": ours.spread,
        "two cores, s": two_cores,
    }
    if work is not None:
        row |= {"passes": work.passes, "lanes at work": work.lanes}
    row["card, s"] = ABSENT if theirs is None else theirs.median
    row["times two cores"] = ABSENT if theirs is None else two_cores / theirs.median
    if work is not None:
        row["share of limit"] = (
            ABSENT if theirs is None or limits is None else work.least_s(limits) / theirs.median
        )
    return row


def apart(what: str, card: FloatArray, processor: FloatArray, *, limit: float) -> Promise:
    """Return the promise that no value of the card lies further off, relative, than ``limit``."""
    distance = np.abs(card / processor - 1.0)
    return Promise(f"{what} of card and processor apart", float(distance.max()), limit, "<=")


@cache
def many_windows(most: int) -> FloatArray:
    """Return up to ``most`` windows of the bundled shares, evenly spread, a session apart or more.

    Shape (W, 1000), percent log returns.
    """
    change = 100.0 * np.diff(np.log(panel("us_equities").close), axis=1)
    n_missing = np.cumsum(np.pad(np.isnan(change), ((0, 0), (1, 0))), axis=1)
    whole = np.argwhere(n_missing[:, LENGTH:] == n_missing[:, :-LENGTH])
    chosen = np.linspace(0, len(whole) - 1, min(most, len(whole))).astype(np.int64)
    tickers, starts = whole[np.unique(chosen)].T
    every = np.lib.stride_tricks.sliding_window_view(change, LENGTH, axis=1)
    windows: FloatArray = every[tickers, starts]
    return windows
