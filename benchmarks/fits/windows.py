"""Windows of the bundled prices that both sides fit.

``demo_windows`` are those of the demo's folds: 20 US shares, 1000 sessions up to each of 25
cutoffs, 2019 to 2022. ``return_windows`` are spread over every bundled ticker and year.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.data.bundled import BundledSettings
from pmx_ray.data.panel import Panel
from pmx_ray.data.sources import load_panel
from pmx_ray.folds import FoldPlan, FoldSettings, build_folds

ROOT = Path(__file__).parents[2]
"""The repository."""

LENGTHS = (500, 1000, 2000)
"""Returns in a window of the agreement."""

STRIDE = 21
"""Sessions between the cutoffs that the windows of the agreement are drawn from."""

MOST_ZERO = 0.5
"""A currency that is pegged to the euro has mostly returns of zero: such windows are left out."""

STEPS = (1, 5, 20)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """W windows of one length.

    Attributes
    ----------
    values : ndarray of shape (W, T)
        Percent log returns.
    tickers, cutoffs : tuple of str, length W
        Where each comes from; the cutoff is the session of its last return.
    """

    values: FloatArray
    tickers: tuple[str, ...]
    cutoffs: tuple[str, ...]


@cache
def panel(name: Literal["us_equities", "fx"]) -> Panel:
    """Return bundled prices."""
    settings = BundledSettings(name=name)
    return load_panel(settings, clock=lambda: datetime(2100, 1, 1, tzinfo=UTC))[0]


@cache
def demo_folds(n_folds: int) -> tuple[Panel, FoldPlan]:
    """Return the demo's prices and its first ``n_folds`` folds, each refitted."""
    equities = panel("us_equities")
    settings = FoldSettings.model_validate(
        {"input_size": 1000, "step_size": 40, "steps": list(STEPS), "start": "2019-01-02"}
    )
    plan = build_folds(equities.sessions, settings)
    return equities, plan[: min(n_folds, len(plan))]


def demo_windows(n_folds: int) -> FloatArray:
    """Return percent log prices of the demo's folds, shape (20, n_folds, 1000)."""
    prices, plan = demo_folds(n_folds)
    cut = [
        prices.close[:, int(start) : int(cutoff) + 1]
        for start, cutoff in zip(plan.train_start, plan.cutoff, strict=True)
    ]
    return 100.0 * np.log(np.stack(cut, axis=1))


def demo_changes(n_folds: int) -> FloatArray:
    """Return what came of the log price, in percent, at ``STEPS``; shape (20, n_folds, 3)."""
    prices, plan = demo_folds(n_folds)
    ahead = np.stack([prices.close[:, plan.cutoff + step] for step in STEPS], axis=2)
    return 100.0 * np.log(ahead / prices.close[:, plan.cutoff, None])


def return_windows(length: int, most: int) -> Windows:
    """Return at most ``most`` windows of every ticker, evenly spread over those there are."""
    found = list(_windows_of(length))
    chosen = np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(np.int64)
    kept = [found[n] for n in np.unique(chosen)]
    values = np.stack([window for window, _, _ in kept])
    return Windows(values, tuple(t for _, t, _ in kept), tuple(c for _, _, c in kept))


def _windows_of(length: int) -> Iterator[tuple[FloatArray, str, str]]:
    for prices in (panel("us_equities"), panel("fx")):
        for ticker, close in zip(prices.tickers, prices.close, strict=True):
            returns, last = _returns(close)
            for stop in range(length, len(returns) + 1, STRIDE):
                window = returns[stop - length : stop]
                if np.mean(window == 0.0) <= MOST_ZERO:
                    yield window, ticker, str(prices.sessions[last[stop - 1]])


def _returns(close: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return percent log returns between neighbouring prices, and the position of each."""
    change = 100.0 * np.diff(np.log(close))
    seen = np.flatnonzero(np.isfinite(change))
    return change[seen], seen + 1


def evenly(n: int, most: int) -> list[int]:
    """Return at most ``most`` of n positions, evenly spread."""
    found: list[int] = np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64)).tolist()
    return found
