"""A circuit breaker as values: after some failures in a row, nobody asks for a while."""

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
