"""A column of a feature matrix: its name, when a value is out, and how it is computed."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from pydantic import Field

from pmx_ray._typing import DateArray, FloatArray
from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel

Values: TypeAlias = Callable[[Panel, DateArray], FloatArray]
"""History of N tickers and T sessions, and those sessions with H more after them, to values.

The answer has shape (N, T + H). NaN where a value is not known from the history, which for an
observed value is every later one. The value of session s < T uses sessions up to s only.
"""

Observe: TypeAlias = Callable[[Panel], FloatArray]
"""History of N tickers and T sessions to the values of shape (N, T) known at each close."""


@dataclass(frozen=True, slots=True)
class Column:
    """What is recorded of a column beside its values.

    Attributes
    ----------
    name : str
        Unique within a matrix.
    publication_lag : int
        Sessions until the value of a session is known: 0 is known in advance, 1 is known at the
        session's close and serves from the next session on.
    warm_up : int
        First sessions of a panel that have no value though no price is missing.
    """

    name: str
    publication_lag: int
    warm_up: int


@dataclass(frozen=True, slots=True)
class Feature:
    """A column that can be computed.

    Attributes
    ----------
    name, publication_lag, warm_up
        As in ``Column``.
    summary : str
        What it is, in one line.
    values : callable
        See ``Values``.
    """

    name: str
    publication_lag: int
    summary: str
    values: Values
    warm_up: int = 0

    @property
    def column(self) -> Column:
        """What is recorded of it."""
        return Column(self.name, self.publication_lag, self.warm_up)


def observed(observe: Observe) -> Values:
    """Return the ``Values`` of what is observed session by session: NaN after the history."""

    def values(history: Panel, sessions: DateArray) -> FloatArray:
        known = np.full((history.n_tickers, len(sessions)), np.nan)
        known[:, : history.n_sessions] = observe(history)
        return known

    return values


class FeatureKind(Settings):
    """Base of every kind of feature; a kind has a literal ``kind`` and makes one or more columns.

    Attributes
    ----------
    needs_other_tickers : bool
        Whether a column is empty on a history of one ticker.
    """

    needs_other_tickers: ClassVar[bool] = False

    @abstractmethod
    def features(self) -> tuple[Feature, ...]:
        """Return the columns in the order in which they are asked for."""


class ObservedKind(FeatureKind):
    """Base of the kinds whose value of a session is out at its close or later.

    Attributes
    ----------
    publication_lag : int
        Sessions until a value is known; 1 is at the session's own close. More where the prices
        themselves arrive late.
    """

    publication_lag: int = Field(default=1, ge=1, le=250)

    def _feature(self, name: str, summary: str, observe: Observe, *, warm_up: int) -> Feature:
        return Feature(name, self.publication_lag, summary, observed(observe), warm_up)
