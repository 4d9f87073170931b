"""Whether a language model forecasts, or remembers: the same questions, asked another way.

A model has read about the very years that a backtest asks it about. Three changes of a question
leave a forecaster's task as it was and a memory without its handle: hide ticker and dates, multiply
the prices, mirror the returns. A fourth comparison needs no change: cutoffs before and after the
day on which the model was published.

What would speak for memory: named questions answered right more often than masked ones, and
cutoffs before publication more often than those after. Agreement alone acquits nobody: a model that
says the same to everything agrees with itself.

References
----------
Lopez-Lira, Tang, Zhu (2025), The Memorization Problem: Can We Trust LLMs' Economic Forecasts?
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TypeAlias

import numpy as np

from pmx_ray.llm.answer import LLMRiskAssessment
from pmx_ray.llm.estimate import Estimate, apart, mean, share
from pmx_ray.llm.question import Question
from pmx_ray.taxonomy import Action

SCALE = 3.7
"""What prices are multiplied by: no split ratio, no currency."""


class Variant(StrEnum):
    """One change of a question, the rest as it was."""

    MASKED = "masked"
    """Ticker and sessions hidden."""
    RESCALED = "rescaled"
    """Every close times ``SCALE``."""
    FLIPPED = "flipped"
    """Every log return negated; the last close stays."""


def varied(question: Question, variant: Variant) -> Question:
    """Return the question changed.

    Examples
    --------
    >>> asked = Question(ticker="KO", closes=(50.0, 100.0), step=5)
    >>> varied(asked, Variant.FLIPPED).closes
    (200.0, 100.0)
    """
    closes = question.closes
    match variant:
        case Variant.MASKED:
            change: dict[str, object] = {"ticker": "", "sessions": None}
        case Variant.RESCALED:
            change = {"closes": tuple(SCALE * close for close in closes)}
        case Variant.FLIPPED:
            change = {"closes": tuple(closes[-1] * (closes[-1] / close) for close in closes)}
    return Question.model_validate({**question.model_dump(), **change})


@dataclass(frozen=True, slots=True)
class Cell:
    """A question with its name on, and what came of it.

    Attributes
    ----------
    question : Question
        With ticker and sessions.
    actual : float
        Log return over the question's step; NaN where it is not out.
    due : date
        Session on which it is out.
    """

    question: Question
    actual: float
    due: date

    @property
    def cutoff(self) -> date:
        """Last session seen."""
        cutoff = self.question.cutoff
        assert cutoff is not None  # noqa: S101 - a cell's question names its sessions
        return cutoff


Answers: TypeAlias = Callable[[Question], LLMRiskAssessment | None]
"""What the model said to a question; None where it was not asked or the answer was useless."""


@dataclass(frozen=True, slots=True)
class Shift:
    """What one change of the questions did to the answers.

    Attributes
    ----------
    variant : Variant
    n, n_unanswered : int
        Pairs compared, and those of which one answer is missing.
    agreement : Estimate
        Share of pairs with the action that the change asks for: the opposite one where returns
        are flipped, else the same.
    identical : Estimate
        Share of pairs with the same action and the same expected return.
    shift_pct : Estimate
        Expected return after the change less that before, percent.
    hits_before, hits_after : Estimate
        Share of answers that took a side and were right, as asked and as changed; flipped
        questions are held against flipped outcomes.
    advantage : Estimate
        The first less the second, each less what its habit makes: the hits that the same sides
        would have if dealt to the questions at random. 0 for a model that says one thing only.
    """

    variant: Variant
    n: int
    n_unanswered: int
    agreement: Estimate
    identical: Estimate
    shift_pct: Estimate
    hits_before: Estimate
    hits_after: Estimate
    advantage: Estimate


@dataclass(frozen=True, slots=True)
class Periods:
    """How often the model was right before and after a day.

    Attributes
    ----------
    day : date
        Questions whose outcome was out before it lie before; those with a cutoff on it or later,
        after; the few between are left out.
    before, after : Estimate
        Share of the answers that took a side and were right.
    rises_before, rises_after : Estimate
        Share of those questions whose price rose: what always buying would have hit.
    difference : Estimate
        Hits less what the model's habit makes, see ``Shift``, before less after: above 0 speaks
        for memory.
    """

    day: date
    before: Estimate
    after: Estimate
    rises_before: Estimate
    rises_after: Estimate
    difference: Estimate


def shift(
    cells: Sequence[Cell], variant: Variant, answers: Answers, *, level: float = 0.95
) -> Shift:
    """Return what a change of the questions did to the answers.

    Parameters
    ----------
    cells : sequence of Cell
    variant : Variant
    answers : callable
    level : float
        Coverage of the intervals. They treat the questions of one cutoff as one observation, since
        prices move together; those of a share are no narrower than Wilson's.
    """
    found = [
        (cell, one, other)
        for cell in cells
        if (one := answers(cell.question)) is not None
        and (other := answers(varied(cell.question, variant))) is not None
    ]
    sign = -1.0 if variant is Variant.FLIPPED else 1.0
    days = [cell.cutoff for cell, _, _ in found]
    sides = [(_side(one.action), _side(other.action)) for _, one, other in found]
    agreement = [float(other == sign * one) for one, other in sides]
    moves = [other.expected_return_pct - one.expected_return_pct for _, one, other in found]
    identical = [float(d == 0.0 and a == b) for d, (a, b) in zip(moves, sides, strict=True)]
    before = [_hit(one, cell.actual) for (cell, _, _), (one, _) in zip(found, sides, strict=True)]
    after = [
        _hit(other, sign * cell.actual)
        for (cell, _, _), (_, other) in zip(found, sides, strict=True)
    ]
    signs = [_sign(cell.actual) for cell, _, _ in found]
    edges = (
        _edges([one for one, _ in sides], signs),
        _edges([other for _, other in sides], [sign * up for up in signs]),
    )
    return Shift(
        variant,
        len(found),
        len(cells) - len(found),
        share(agreement, days, level=level),
        share(identical, days, level=level),
        mean(moves, days, level=level),
        share(before, days, level=level),
        share(after, days, level=level),
        mean([a - b for a, b in zip(*edges, strict=True)], days, level=level),
    )


def periods(cells: Sequence[Cell], day: date, answers: Answers, *, level: float = 0.95) -> Periods:
    """Return how often the model was right on both sides of a day.

    Parameters
    ----------
    cells : sequence of Cell
    day : date
        E.g. when the model was published.
    answers : callable
    level : float
        Coverage of the intervals; see ``shift``.
    """
    early = _told([cell for cell in cells if cell.due < day], answers)
    late = _told([cell for cell in cells if cell.cutoff >= day], answers)
    edge, edge_late = (
        mean(_edges(part.sides, part.signs), part.days, level=level) for part in (early, late)
    )
    return Periods(
        day,
        share(early.hits, early.days, level=level),
        share(late.hits, late.days, level=level),
        share(early.rises, early.days, level=level),
        share(late.rises, late.days, level=level),
        apart(edge, edge_late),
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """Sides taken and signs of what came, one a question, neither 0; and the cutoffs."""

    sides: list[float]
    signs: list[float]
    days: list[date]

    @property
    def hits(self) -> list[float]:
        return [float(a == b) for a, b in zip(self.sides, self.signs, strict=True)]

    @property
    def rises(self) -> list[float]:
        return [float(sign > 0) for sign in self.signs]


def _told(cells: Sequence[Cell], answers: Answers) -> _Told:
    rows = [
        (_side(said.action), _sign(cell.actual), cell.cutoff)
        for cell in cells
        if (said := answers(cell.question)) is not None
    ]
    told = [row for row in rows if row[0] * row[1] in (-1.0, 1.0)]
    return _Told([r[0] for r in told], [r[1] for r in told], [r[2] for r in told])


def _edges(sides: Sequence[float], signs: Sequence[float]) -> list[float]:
    """Return each question's part of the hits beyond habit: half the covariance of the two."""
    known = [(a, b) for a, b in zip(sides, signs, strict=True) if not math.isnan(b)]
    if not known:
        return [math.nan] * len(sides)
    habit = sum(a for a, _ in known) / len(known)
    drift = sum(b for _, b in known) / len(known)
    return [(a - habit) * (b - drift) / 2 for a, b in zip(sides, signs, strict=True)]


def _sign(actual: float) -> float:
    return math.nan if math.isnan(actual) else float(np.sign(actual))


def _side(action: Action) -> float:
    return {Action.BUY: 1.0, Action.SELL: -1.0, Action.HOLD: 0.0}[action]


def _hit(side: float, actual: float) -> float:
    """Return 1 or 0, or NaN where no side was taken, the outcome is open, or nothing moved."""
    told = side * actual
    return math.nan if told == 0.0 or math.isnan(told) else float(told > 0)
