"""What a language model is shown of a history, and what its answer is then worth.

The bars of a cutoff can be shown as they are, or as a *sketch*: the last three returns in units of
the history's own volatility, rounded, as if that were 1 % a session. There are only 125 sketches,
so a recording can hold the answer to every one: the forecaster then answers on any prices, needs no
model at hand, and shows the model nothing that it could recognise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.data.panel import Panel, observed_returns
from pmx_ray.llm.question import Question

N_MOVES, LARGEST = 3, 2
"""Returns of a sketch, and the largest size of one in standard deviations."""

UNIT = 0.01
"""Simple return that stands for one standard deviation in a sketch."""

LAST_PRICE = 100.0
"""Price at which every sketch ends, so that the level says nothing."""


class View(StrEnum):
    """What is shown."""

    SKETCH = "sketch"
    """Three rounded returns in units of the volatility; no name, no date, no price."""
    NAMED = "named"
    """The last closes with ticker and sessions: what a service asks."""
    MASKED = "masked"
    """The last closes without ticker and sessions."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A question, and what its answer is multiplied by.

    Attributes
    ----------
    question : Question
        Made of the history alone.
    scale : float
        Log return of the history's own scale that one of the question's stands for.
    """

    question: Question
    scale: float


def shown(history: Panel, *, view: View, window: int, step: int) -> Shown:
    """Return what a model is asked at the end of a one-ticker history.

    Parameters
    ----------
    history : Panel
        One ticker with at least ``N_MOVES`` log returns that are not all equal, and a price on its
        last session.
    view : View
    window : int
        Closes of a question, at most; those of sessions without a price are left out. A sketch
        has ``N_MOVES + 1``.
    step : int
        Sessions ahead that are asked about.
    """
    match view:
        case View.SKETCH:
            returns = observed_returns(history)
            volatility = float(returns.std())
            return Shown(sketch_question(sketch(returns, volatility), step=step), volatility / UNIT)
        case View.NAMED | View.MASKED:
            return Shown(_closes(history, named=view is View.NAMED, window=window, step=step), 1.0)


def sketch(returns: FloatArray, volatility: float) -> tuple[int, ...]:
    """Return the last ``N_MOVES`` of returns (R,) in standard deviations, rounded, -2 to 2.

    Examples
    --------
    >>> sketch(np.array([0.0, 0.011, -0.004, 0.09]), 0.01)
    (1, 0, 2)
    """
    moves = np.clip(np.rint(returns[-N_MOVES:] / volatility), -LARGEST, LARGEST)
    return tuple(int(move) for move in moves)


def sketch_question(moves: Sequence[int], *, step: int) -> Question:
    """Return the question of a sketch: prices that move by whole percents and end at 100."""
    growth = np.cumprod([1.0, *(1.0 + UNIT * move for move in moves)])
    closes = LAST_PRICE * growth / growth[-1]
    return Question(closes=tuple(closes.tolist()), step=step)


def every_sketch(*, step: int) -> tuple[Question, ...]:
    """Return the questions of all sketches."""
    sizes = range(-LARGEST, LARGEST + 1)
    return tuple(sketch_question(moves, step=step) for moves in product(sizes, repeat=N_MOVES))


def _closes(history: Panel, *, named: bool, window: int, step: int) -> Question:
    priced = np.flatnonzero(~np.isnan(history.close[0]))[-window:]
    return Question(
        ticker=history.tickers[0] if named else "",
        sessions=tuple(history.sessions[priced].tolist()) if named else None,
        closes=tuple(history.close[0, priced].tolist()),
        step=step,
    )
