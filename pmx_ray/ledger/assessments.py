"""Every call of the language model, with its answer or the reason why there is none."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import func, select

from pmx_ray.errors import LedgerError
from pmx_ray.ledger.appending import append_new
from pmx_ray.ledger.engines import explained
from pmx_ray.ledger.ledger import Ledger
from pmx_ray.ledger.tables import AssessmentRow
from pmx_ray.ledger.wording import one_line
from pmx_ray.taxonomy import Action, RiskLevel

MAX_REASON = 500
"""Characters of a reason that are kept."""


class CallStatus(StrEnum):
    """How a call ended."""

    ANSWERED = "answered"
    """With an answer that can be used."""
    FAILED = "failed"
    """Without one."""


@dataclass(frozen=True, slots=True)
class AssessmentRecord:
    """One call.

    Attributes
    ----------
    key : str
        Hash of model, prompt, options and schema; names the answer in a recording.
    model, digest : str
        Which model was asked.
    ticker : str
        About whom.
    cutoff : date
        Last session it was told of.
    action : Action
        What it advises; to hold where it failed.
    risk_level : RiskLevel or None
        How risky it finds that; None where it failed, as the two that follow.
    confidence : float or None
        0 to 1.
    expected_return : float or None
        Expected log return over the horizon, decimal.
    prompt_tokens, output_tokens : int
        What the call took; 0 where that is not known.
    seconds : float
        How long it took, >= 0.
    cached : bool
        Whether the answer came from the cache.
    status : CallStatus
        How it ended.
    reason : str
        Why it failed, cut to 500 printable characters; empty where it did not.
    at : datetime
        When it was made, with a time zone; kept as UTC. With ``key`` it names the call.

    Raises
    ------
    LedgerError
        If an answered call lacks a part of its answer, a failed one has a part of one, trades or
        gives no reason, or a figure is out of its range.
    """

    key: str
    model: str
    digest: str
    ticker: str
    cutoff: date
    action: Action
    risk_level: RiskLevel | None
    confidence: float | None
    expected_return: float | None
    prompt_tokens: int
    output_tokens: int
    seconds: float
    cached: bool
    status: CallStatus
    reason: str
    at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "action", Action(self.action))
        object.__setattr__(self, "status", CallStatus(self.status))
        if self.risk_level is not None:
            object.__setattr__(self, "risk_level", RiskLevel(self.risk_level))
        object.__setattr__(self, "reason", one_line(self.reason, limit=MAX_REASON))
        name = f"call {self.key[:12]} about {self.ticker}"
        if self.at.tzinfo is None:
            raise LedgerError(f"{name} was made at {self.at}, without a time zone; add one")
        self._check_answer(name)
        figures = (self.confidence or 0.0, self.expected_return or 0.0, self.seconds)
        if not all(map(math.isfinite, figures)) or not 0 <= figures[0] <= 1 or self.seconds < 0:
            raise LedgerError(
                f"{name} has confidence {self.confidence}, expected return {self.expected_return} "
                f"and {self.seconds} seconds; they must be within 0 to 1, finite and >= 0"
            )

    def _check_answer(self, name: str) -> None:
        parts = [self.risk_level, self.confidence, self.expected_return]
        if self.status is CallStatus.ANSWERED:
            if any(part is None for part in parts):
                raise LedgerError(f"{name} was answered and lacks a part of its answer: {parts}")
        elif self.action is not Action.HOLD or parts != [None, None, None] or not self.reason:
            raise LedgerError(f"{name} failed; it must hold, without an answer and with a reason")


class Assessments:
    """The language model's calls in a ledger.

    Parameters
    ----------
    ledger : Ledger
        An open ledger; it stays the caller's to close.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._engine = ledger.engine

    def record(self, records: Iterable[AssessmentRecord]) -> None:
        """Write calls in one transaction; one of the same key and time stays as it is.

        Raises
        ------
        LedgerError
            If the database cannot be written; then none was.
        """
        append_new(self._engine, AssessmentRow, records, order=("at", "key"))

    def since(self, cutoff: date) -> tuple[AssessmentRecord, ...]:
        """Return the calls about ``cutoff`` and later ones, in the order they were made.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        columns = [AssessmentRow.__table__.c[field.name] for field in fields(AssessmentRecord)]
        query = select(*columns).where(AssessmentRow.cutoff >= cutoff)
        query = query.order_by(AssessmentRow.at, AssessmentRow.seq)
        with explained(self._engine, "read"), self._engine.connect() as connection:
            return tuple(AssessmentRecord(**row) for row in connection.execute(query).mappings())

    def counts(self) -> dict[str, int]:
        """Return how many calls were answered, and how many failed.

        Raises
        ------
        LedgerError
            If the database cannot be read.
        """
        query = select(AssessmentRow.status, func.count()).group_by(AssessmentRow.status)
        with explained(self._engine, "read"), self._engine.connect() as connection:
            found = {row[0]: row[1] for row in connection.execute(query)}
        return {status.value: found.get(status.value, 0) for status in CallStatus}
