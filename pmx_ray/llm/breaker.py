"""A circuit breaker as values: after some failures in a row, nobody asks for a while."""

import math
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from pmx_ray.config import Settings


class BreakerSettings(Settings):
    """When a server is left alone.

    Attributes
    ----------
    n_failures : int
        Failures in a row that open the circuit.
    cool_down_s : float
        Seconds until one call may try again.
    """

    n_failures: int = Field(default=3, ge=1)
    cool_down_s: float = Field(default=30.0, gt=0)


class Phase(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    """They do."""
    OPEN = "open"
    """None does."""
    HALF_OPEN = "half_open"
    """One is trying; the others wait for what becomes of it."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """State of a circuit.

    Attributes
    ----------
    phase : Phase
        Whether calls go through.
    n_failures : int
        In a row, so far.
    since_s : float
        When the phase began, seconds of a clock that never goes back.
    """

    phase: Phase = Phase.CLOSED
    n_failures: int = 0
    since_s: float = 0.0


def admit(breaker: Breaker, settings: BreakerSettings, *, now_s: float) -> tuple[Breaker, bool]:
    """Return the state after a call asked to go through, and whether it may.

    A trying call that never reports back is given up after another ``cool_down_s``.

    Examples
    --------
    >>> settings = BreakerSettings(n_failures=1, cool_down_s=30.0)
    >>> broken = failed(Breaker(), settings, now_s=0.0)
    >>> admit(broken, settings, now_s=29.0)[1], admit(broken, settings, now_s=30.0)[1]
    (False, True)
    """
    if breaker.phase is Phase.CLOSED:
        return breaker, True
    if now_s - breaker.since_s < settings.cool_down_s:
        return breaker, False
    return Breaker(Phase.HALF_OPEN, breaker.n_failures, now_s), True


def unspent(breaker: Breaker, trial: Breaker) -> Breaker:
    """Return the state after an answer that says nothing of whether questions are answered.

    A server may list its models and answer no question. Such a call closes no circuit and forgets
    no failure; if it was the one trying, the next call tries in its place.

    Parameters
    ----------
    breaker : Breaker
        As it stands.
    trial : Breaker
        As ``admit`` left it for this call.

    Examples
    --------
    >>> settings = BreakerSettings(n_failures=1, cool_down_s=30.0)
    >>> trial, _ = admit(failed(Breaker(), settings, now_s=0.0), settings, now_s=30.0)
    >>> admit(unspent(trial, trial), settings, now_s=31.0)[1]
    True
    """
    if trial.phase is Phase.HALF_OPEN and breaker == trial:
        return Breaker(Phase.OPEN, breaker.n_failures, -math.inf)
    return breaker


def succeeded(breaker: Breaker) -> Breaker:
    """Return the state after a call was answered, usably or not.

    An answer that arrives late, from before the circuit opened, does not close it.
    """
    return breaker if breaker.phase is Phase.OPEN else Breaker()


def failed(breaker: Breaker, settings: BreakerSettings, *, now_s: float) -> Breaker:
    """Return the state after a call was not answered."""
    n_failures = breaker.n_failures + 1
    if breaker.phase is Phase.OPEN:
        return Breaker(Phase.OPEN, n_failures, breaker.since_s)
    if breaker.phase is Phase.CLOSED and n_failures < settings.n_failures:
        return Breaker(Phase.CLOSED, n_failures, breaker.since_s)
    return Breaker(Phase.OPEN, n_failures, now_s)
