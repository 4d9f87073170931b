"""What a reader of the flags may go by, from how their source answered; a pure state machine.

While the source answers, its flags are LIVE. When it does not, the last known values stay (STALE),
and after a while they no longer count (SAFE): then the fallback serves. A kill switch that was
known to be on stays on all the time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pmx_ray.config import parse
from pmx_ray.errors import SettingsError
from pmx_ray.ledger.flags import FlagRecord
from pmx_ray.signals.flags import RETIRED, FlagState, FlagValues
from pmx_ray.signals.types import FlagStatus

SAFE_AFTER = timedelta(seconds=30)
"""Time without an answer after which the last known flags no longer count."""


@dataclass(frozen=True, slots=True)
class FlagView:
    """The flags as a reader knows them.

    Attributes
    ----------
    values : FlagValues
        The last that were known; the defaults where none ever were.
    version : int
        Of the values; 0 where no flag was ever set, or none was ever known.
    status : FlagStatus
        How well they are known.
    age_s : float
        Seconds since the source last answered, >= 0; 0 where it never did.
    why : str
        What the source said instead of an answer; empty where LIVE.
    """

    values: FlagValues
    version: int
    status: FlagStatus
    age_s: float
    why: str

    @property
    def effective(self) -> FlagValues:
        """The values that count: where SAFE, the kill switch alone, and the fallback serves."""
        if self.status is not FlagStatus.SAFE:
            return self.values
        return FlagValues(
            kill_switch=self.values.kill_switch, time_series_pct=0, shadow_challenger=False
        )


@dataclass(frozen=True, slots=True)
class FlagObservation:
    """What is known after a number of looks; without arguments, before the first.

    Attributes
    ----------
    state : FlagState
        The last answer.
    answered_at : datetime or None
        When it came; None before the first.
    view : FlagView
        What to go by now.
    """

    state: FlagState = field(default_factory=FlagState)
    answered_at: datetime | None = None
    view: FlagView = FlagView(FlagValues(), 0, FlagStatus.SAFE, 0.0, "no look at the flags yet")


def observe(
    before: FlagObservation,
    answer: FlagRecord | str | None,
    *,
    now: datetime,
    safe_after: timedelta = SAFE_AFTER,
) -> FlagObservation:
    """Return what is known after one more look at the source.

    Parameters
    ----------
    before : FlagObservation
        What was known.
    answer : FlagRecord, None or str
        The newest version; None where the source answered that no flag was ever set; a sentence
        where it did not answer. A version that this program cannot read counts as no answer.
    now : datetime
        With a time zone.
    safe_after : timedelta
        Time without an answer after which the last known flags no longer count.
    """
    if not isinstance(answer, str):
        try:
            known = FlagState() if answer is None else state_of(answer)
        except SettingsError as error:
            return observe(before, str(error), now=now, safe_after=safe_after)
        view = FlagView(known.values, known.version, FlagStatus.LIVE, 0.0, "")
        return FlagObservation(known, now, view)
    why = answer or "the source of the flags did not answer"
    if before.answered_at is None:
        view = FlagView(before.state.values, 0, FlagStatus.SAFE, 0.0, f"never known: {why}")
        return replace(before, view=view)
    answered_at = min(before.answered_at, now)  # a clock set back starts the wait anew
    age = now - answered_at
    status = FlagStatus.STALE if age < safe_after else FlagStatus.SAFE
    state = before.state
    view = FlagView(state.values, state.version, status, age.total_seconds(), why)
    return FlagObservation(state, answered_at, view)


def state_of(record: FlagRecord) -> FlagState:
    """Return a version of the ledger as flags; those retired since are left out, new ones default.

    Raises
    ------
    SettingsError
        If it sets a flag that this version of the program does not know, or a wrong value.
    """
    return FlagState(
        version=record.version,
        values=_values(record.values, where=f"flags version {record.version}"),
        changed_at=record.at,
        changed_by=record.actor,
        reason=record.reason,
    )


def changing(
    changes: Mapping[str, object],
) -> Callable[[Mapping[str, object]], Mapping[str, object]]:
    """Return what ``FlagLog.change`` needs to set ``changes`` and leave the other flags alone.

    Raises
    ------
    SettingsError
        Already here, if a flag is unknown or retired, or a value not of its type or range.
    """
    FlagValues().changed(changes)

    def update(values: Mapping[str, object]) -> Mapping[str, object]:
        return _values(values, where="flags").changed(changes).model_dump()

    return update


def _values(values: Mapping[str, object], *, where: str) -> FlagValues:
    kept = {name: value for name, value in values.items() if name not in RETIRED}
    return parse(FlagValues, kept, where=where)
