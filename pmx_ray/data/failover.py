"""Which data vendor to ask next, and when: pure decisions, no sockets, no clock, no sleep.

Vendors stand in an order. The first that is not resting is asked; when it fails, the next one is.
Two requests to one vendor are at least ``min_interval_s`` apart: a vendor that is only waiting for
its turn keeps its place. A vendor that fails ``max_failures`` times in a row, or says that it is
asked too often, rests for ``cool_down_s`` and then is back at its place.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, TypeAlias

from pydantic import Field, field_validator

from pmx_ray.config import Settings
from pmx_ray.errors import VendorError

Vendor: TypeAlias = Literal["alpha_vantage", "yahoo"]


class FailureKind(StrEnum):
    """Why a vendor gave no bars."""

    UNAVAILABLE = "unavailable"  # no answer, or none that can be read
    RATE_LIMITED = "rate_limited"  # asked too often
    REFUSED = "refused"  # does not serve this ticker, or not to us


class FetchFailed(VendorError):  # noqa: N818 - a VendorError with a kind
    """A source has no bars to give; the kind says whether asking again can help."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type["FetchFailed"], tuple[FailureKind, str]]:
        """Return what rebuilds the error in another process."""
        return FetchFailed, (self.kind, str(self))


class FailoverPolicy(Settings):
    """Order and patience.

    Attributes
    ----------
    vendors : tuple of str
        Who is asked, first to last.
    min_interval_s : float
        Seconds between two requests to one vendor, >= 60.
    rounds : int
        Times each vendor is asked for one ticker before it is given up.
    max_failures : int
        Failures in a row after which a vendor rests.
    cool_down_s : float
        Seconds that it rests.
    """

    vendors: tuple[Vendor, ...] = ("alpha_vantage", "yahoo")
    min_interval_s: float = Field(default=60.0, ge=60.0)
    rounds: int = Field(default=2, ge=1)
    max_failures: int = Field(default=3, ge=1)
    cool_down_s: float = Field(default=600.0, ge=0.0)

    @field_validator("vendors")
    @classmethod
    def _each_once(cls, vendors: tuple[Vendor, ...]) -> tuple[Vendor, ...]:
        if not vendors or len(set(vendors)) != len(vendors):
            raise ValueError(f"vendors were {list(vendors)}; name each at most once, at least one")
        return vendors


@dataclass(frozen=True, slots=True)
class VendorState:
    """What is remembered of one vendor.

    Attributes
    ----------
    requested_at : datetime, optional
        Its last request.
    failures : int
        Failures in a row.
    rests_until : datetime, optional
        End of its cool-down.
    tries : int
        Requests for the present ticker.
    refused : bool
        Whether it does not serve the present ticker.
    """

    requested_at: datetime | None = None
    failures: int = 0
    rests_until: datetime | None = None
    tries: int = 0
    refused: bool = False


@dataclass(frozen=True, slots=True)
class FailoverState:
    """Every vendor's state in the policy's order, and what the present ticker has met so far."""

    vendors: tuple[VendorState, ...]
    asked: int | None = None
    reasons: tuple[str, ...] = ()

    @classmethod
    def start(cls, policy: FailoverPolicy) -> "FailoverState":
        """Return the state before the first request."""
        return cls((VendorState(),) * len(policy.vendors))


@dataclass(frozen=True, slots=True)
class Wanted:
    """The bars of another ticker are wanted."""


@dataclass(frozen=True, slots=True)
class Waited:
    """The wait that was asked for is over."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The vendor that was asked gave the bars."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The vendor that was asked did not."""

    kind: FailureKind
    reason: str


Event: TypeAlias = Wanted | Waited | Delivered | Failed


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask this vendor now."""

    vendor: Vendor


@dataclass(frozen=True, slots=True)
class Wait:
    """Let this many seconds pass, then come back with ``Waited``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Accept:
    """Keep the bars of this vendor."""

    vendor: Vendor


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No vendor has the bars; every reason, in order."""

    reasons: tuple[str, ...]


Decision: TypeAlias = Ask | Wait | Accept | GiveUp


def decide(
    state: FailoverState, event: Event, *, now: datetime, policy: FailoverPolicy
) -> tuple[FailoverState, Decision]:
    """Return the state after ``event`` and what to do next.

    Parameters
    ----------
    state : FailoverState
        As the last call returned it, or ``FailoverState.start(policy)``.
    event : Wanted, Waited, Delivered or Failed
        What happened; the last two answer an ``Ask``.
    now : datetime
        Time of the event, with its time zone.
    policy : FailoverPolicy
        Order and patience.

    Raises
    ------
    VendorError
        If an answer comes in that nothing was asked for.
    """
    match event:
        case Wanted():
            fresh = tuple(replace(vendor, tries=0, refused=False) for vendor in state.vendors)
            return _next(FailoverState(fresh), now, policy)
        case Waited():
            return _next(state, now, policy)
        case Delivered():
            at = _asked(state)
            healthy = replace(state.vendors[at], failures=0, rests_until=None)
            return _with(state, at, healthy), Accept(policy.vendors[at])
        case Failed():
            at = _asked(state)
            failed = _failed(state.vendors[at], event.kind, now, policy)
            reasons = (*state.reasons, f"{policy.vendors[at]}: {event.reason}")
            return _next(replace(_with(state, at, failed), reasons=reasons), now, policy)


def _next(
    state: FailoverState, now: datetime, policy: FailoverPolicy
) -> tuple[FailoverState, Decision]:
    open_to_us = [
        at
        for at, vendor in enumerate(state.vendors)
        if vendor.tries < policy.rounds and not vendor.refused
    ]
    if not open_to_us:
        return state, GiveUp(state.reasons)
    awake = [at for at in open_to_us if _rest_s(state.vendors[at], now, policy) == 0.0]
    if not awake:  # all of them rest: the first to wake decides
        rest = min(_rest_s(state.vendors[at], now, policy) for at in open_to_us)
        return state, Wait(rest)
    at = min(awake, key=lambda k: (state.vendors[k].tries, k))
    vendor = state.vendors[at]
    pause = _left_s(vendor.requested_at, policy.min_interval_s, now)
    if pause > 0.0:
        return state, Wait(pause)
    asked = replace(vendor, requested_at=now, tries=vendor.tries + 1)
    return replace(_with(state, at, asked), asked=at), Ask(policy.vendors[at])


def _failed(
    vendor: VendorState, kind: FailureKind, now: datetime, policy: FailoverPolicy
) -> VendorState:
    if kind is FailureKind.REFUSED:  # an answer all the same: the vendor is well
        return replace(vendor, refused=True, failures=0)
    failures = vendor.failures + 1
    if kind is FailureKind.RATE_LIMITED or failures >= policy.max_failures:
        return replace(vendor, failures=0, rests_until=now + timedelta(seconds=policy.cool_down_s))
    return replace(vendor, failures=failures)


def _rest_s(vendor: VendorState, now: datetime, policy: FailoverPolicy) -> float:
    if vendor.rests_until is None:
        return 0.0
    left = (vendor.rests_until - now).total_seconds()
    return min(max(left, 0.0), policy.cool_down_s)  # a clock set back does not lengthen it


def _left_s(since: datetime | None, interval_s: float, now: datetime) -> float:
    if since is None:
        return 0.0
    return min(max(interval_s - (now - since).total_seconds(), 0.0), interval_s)


def _with(state: FailoverState, at: int, vendor: VendorState) -> FailoverState:
    vendors = (*state.vendors[:at], vendor, *state.vendors[at + 1 :])
    return replace(state, vendors=vendors, asked=None)


def _asked(state: FailoverState) -> int:
    if state.asked is None:
        raise VendorError("an answer came in that nothing was asked for; this is a defect")
    return state.asked
