"""The decision: promote, hold or revert, with every check that led to it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from pmx_ray.errors import DataError
from pmx_ray.provenance import canonical_json, sha256_hex

DECISION = "decision.json"
"""Name of the file that a decision is saved as."""

DECISION_VERSION = "1"
"""Bumped when a field of a decision changes its name, type or meaning."""

Comparator: TypeAlias = Literal[">=", "<=", "<", ">"]


class Outcome(StrEnum):
    """What is to be done."""

    PROMOTE = "promote"
    """Every check passed: the challenger may take over."""
    HOLD = "hold"
    """At least one check failed: nothing changes."""
    REVERT = "revert"
    """The champion has degraded: the last good one takes over."""


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of a promotion.

    Attributes
    ----------
    name : str
        In snake case; unique in a decision.
    value : float or None
        What was found; None where it is not defined, and then the check has failed.
    comparator : str
        How ``value`` must stand to ``limit``.
    limit : float
        What the policy asks for.
    unit : str
        Of both, e.g. ``fraction``, ``probability``, ``trades``.
    passed : bool
        Whether it holds.
    sentence : str
        What was found and what it means, for a risk committee.
    """

    name: str
    value: float | None
    comparator: Comparator
    limit: float
    unit: str
    passed: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class GovernanceDecision:
    """What was decided, on what, and why; a value that is the same wherever it is computed.

    Attributes
    ----------
    outcome : Outcome
        ``PROMOTE`` only where every check passed.
    challenger, challenger_label : str
        Spec that asks to be promoted.
    baseline, baseline_label : str
        Spec it had to beat.
    fallback, fallback_label : str
        Spec that takes over should it fail; empty where there is none.
    step : int
        Sessions after the cutoff that it is judged at.
    checks : tuple of Check
        In the policy's order.
    report_key : str
        Key of the evaluation that was judged.
    policy_sha256 : str
        Of the policy's canonical JSON.
    previous : str
        Id of the decision before it about the same alias; empty for the first.

    Raises
    ------
    DataError
        If a promotion has a check that did not pass, or none at all, or no fallback.
    """

    outcome: Outcome
    challenger: str
    challenger_label: str
    baseline: str
    baseline_label: str
    fallback: str
    fallback_label: str
    step: int
    checks: tuple[Check, ...]
    report_key: str
    policy_sha256: str
    previous: str = ""

    def __post_init__(self) -> None:
        if self.outcome is Outcome.PROMOTE:
            failed = [check.name for check in self.checks if not check.passed]
            if failed or not self.checks or not self.fallback:
                raise DataError(
                    f"a promotion of {self.challenger_label} needs every check passed and a "
                    f"fallback; failed: {failed or 'none'}, fallback: {self.fallback or 'none'}"
                )

    @property
    def id(self) -> str:
        """Hash of everything in the decision."""
        return sha256_hex(canonical_json(self._content()))

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def _content(self) -> dict[str, Any]:
        return {**asdict(self), "outcome": self.outcome.value}

    def as_document(self) -> dict[str, Any]:
        """Return the decision as JSON values, its id among them."""
        return {"schema_version": DECISION_VERSION, "id": self.id, **self._content()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "GovernanceDecision":
        """Return the decision that ``as_document`` wrote.

        Raises
        ------
        DataError
            If a field is missing, or the id is not that of the content.
        """
        try:
            values = {field.name: document[field.name] for field in fields(cls)}
            checks = tuple(Check(**row) for row in document["checks"])
            outcome = Outcome(document["outcome"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the decision is not whole ({error!r}); certify again") from None
        decision = cls(**{**values, "outcome": outcome, "checks": checks})
        if decision.id != document.get("id"):
            raise DataError(
                f"the decision says it is {document.get('id')} and its content is "
                f"{decision.id}: it was altered; certify again"
            )
        return decision
