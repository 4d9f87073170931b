"""The challenger: a judged model that forecasts beside the champion and is never served."""

from collections.abc import Sequence

from pmx_ray.clock import Clock
from pmx_ray.errors import DataError
from pmx_ray.governance.decision import GovernanceDecision, Outcome
from pmx_ray.governance.promotion import judged_model
from pmx_ray.governance.registry import Registry
from pmx_ray.ledger import Ledger
from pmx_ray.ledger.aliases import Alias, Aliases, Move, Placements, check_version
from pmx_ray.ledger.chain import AuditEntry, NewEntry

CHALLENGE = "challenge"
"""Kind of the audit entry."""


def challenge(
    registry: Registry,
    ledger: Ledger,
    decision: GovernanceDecision,
    version_id: str,
    *,
    actor: str,
    key: str,
    clock: Clock,
    expected_version: int | None = None,
) -> AuditEntry:
    """Let a version run in shadow, and log by which decision; one that failed checks may too.

    Parameters
    ----------
    registry, ledger, version_id, actor, key, clock
        As in ``promotion.promote``.
    decision : GovernanceDecision
        About the version's spec, with outcome ``PROMOTE`` or ``HOLD``.
    expected_version : int, optional
        Version of the alias ``challenger`` that the caller has seen, 0 where it was not set;
        unless given, as this call finds it.

    Raises
    ------
    DataError
        If the decision is a reversion, or is about another version.
    RegistryError
        If the version does not verify.
    StaleVersionError
        If the challenger has moved since ``expected_version``.
    LedgerError
        If the key belongs to something else, or the database cannot be written.
    """
    if decision.outcome is Outcome.REVERT:
        raise DataError(
            f"decision {decision.id[:12]} takes {decision.challenger_label} out of service; "
            "certify it again before it runs in shadow"
        )
    model = judged_model(registry, decision, version_id)
    payload = {
        "decision": decision.as_document(),
        "model": version_id,
        "label": model.version.label,
    }
    aliases = Aliases(ledger)
    standing = aliases.current().get(Alias.CHALLENGER)
    found = 0 if standing is None else standing.version
    seen = found if expected_version is None else expected_version

    def plan(placements: Placements) -> Sequence[Move]:
        check_version(placements, Alias.CHALLENGER, seen)
        return (Move(Alias.CHALLENGER, version_id),)

    return aliases.move_together(plan, NewEntry(CHALLENGE, actor, payload, clock(), key))
