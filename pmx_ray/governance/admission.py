"""From a decision file to a model in service: who may be put there, and the step that does it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pmx_ray.backtest.report_types import read_document
from pmx_ray.backtest.sweep import Sweep, load
from pmx_ray.clock import Clock
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.governance.challenge import challenge
from pmx_ray.governance.decision import GovernanceDecision
from pmx_ray.governance.policy import GovernancePolicy
from pmx_ray.governance.promotion import promote
from pmx_ray.governance.registration import register
from pmx_ray.governance.registry import Registry
from pmx_ray.ledger import Ledger
from pmx_ray.ledger.aliases import Alias, Aliases, Placement
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.chain import AuditEntry


@dataclass(frozen=True, slots=True)
class Application:
    """A decision file that asks for something to be put in service.

    Attributes
    ----------
    path : Path
        ``decision.json`` in its sweep folder.
    decision : GovernanceDecision
        What it says; whole, but perhaps written by hand.
    sweep : Sweep
        What it is about.
    """

    path: Path
    decision: GovernanceDecision
    sweep: Sweep

    @property
    def root(self) -> Path:
        """Folder of the sweep folders."""
        return self.sweep.folder.parent


def read_application(path: Path) -> Application:
    """Return what a decision file asks for.

    Raises
    ------
    DataError
        If it cannot be read or was altered, or does not lie in a sweep folder.
    """
    decision = GovernanceDecision.from_document(read_document(path, verb="certify"))
    return Application(path, decision, load(path.parent))


def promote_sweep(
    application: Application,
    policy: GovernancePolicy,
    *,
    registry: Registry,
    ledger: Ledger,
    key: str | None,
    actor: str,
    approved_by: Sequence[str],
    clock: Clock,
    expected_version: int | None = None,
    override: str | None = None,
) -> tuple[AuditEntry, Placement]:
    """Register the model that a decision speaks of, and put it in service.

    The decision must be the last about its challenger and step, not too old, and made under
    ``policy``, the one in force; its hash is in the entry, in the decision.

    Parameters
    ----------
    application : Application
        As ``read_application`` found it.
    policy : GovernancePolicy
        In force.
    registry, ledger, actor, approved_by, clock, expected_version, override
        As in ``promotion.promote``.
    key : str, optional
        Idempotency key; of the decision unless given.

    Returns
    -------
    AuditEntry
        What put it there: a new entry, or that of an earlier call with the same key.
    Placement
        The champion after that.

    Raises
    ------
    DataError
        If the decision is not in the audit log, is not the last or is too old, or is not about the
        sweep as it is; and as in ``promotion.promote``.
    SettingsError
        If it was made under another policy.
    """
    decision = application.decision
    if key is None or not _was_used(ledger, key):  # a repeated call gets its first answer
        check_admissible(application, policy, ledger, clock=clock)
    models = register(registry, application.sweep, decision)
    entry = promote(
        registry,
        ledger,
        decision,
        models.challenger.id,
        actor=actor,
        approved_by=approved_by,
        key=key or f"promote {decision.id}",
        clock=clock,
        fallback=models.fallback.id,
        expected_version=expected_version,
        override=override,
    )
    return entry, Aliases(ledger).current()[Alias.CHAMPION]


def challenge_sweep(
    application: Application,
    policy: GovernancePolicy,
    *,
    registry: Registry,
    ledger: Ledger,
    key: str | None,
    actor: str,
    clock: Clock,
) -> AuditEntry:
    """Register the model that a decision speaks of, and let it run in shadow.

    Parameters
    ----------
    application, policy, registry, ledger, key, actor, clock
        As in ``promote_sweep``; the decision may be to hold.

    Raises
    ------
    DataError, SettingsError
        As in ``promote_sweep``.
    """
    check_admissible(application, policy, ledger, clock=clock)
    decision = application.decision
    model = register(registry, application.sweep, decision).challenger
    return challenge(
        registry,
        ledger,
        decision,
        model.id,
        actor=actor,
        key=key or f"challenge {decision.id}",
        clock=clock,
    )


def check_admissible(
    application: Application, policy: GovernancePolicy, ledger: Ledger, *, clock: Clock
) -> None:
    """Refuse a decision that nothing may be done on.

    Raises
    ------
    DataError, SettingsError
        As in ``promote_sweep``.
    """
    oldest = clock() - timedelta(days=policy.max_decision_age_days)
    _check_certified(ledger, application, oldest=oldest)
    _check_policy(application.decision, policy)


def _check_certified(ledger: Ledger, application: Application, *, oldest: datetime) -> None:
    """Refuse a decision that was written by hand (anyone can compute an id), overruled or old."""
    decision, path = application.decision, application.path
    about = (decision.challenger, decision.step)
    kept = [
        entry
        for entry in AuditLog(ledger).entries()
        if entry.kind == "certify"
        and (entry.payload.get("challenger"), entry.payload.get("step")) == about
    ]
    own = [entry for entry in kept if entry.payload.get("id") == decision.id]
    again = (
        f"certify with: pmx certify {path.parent} --challenger '{decision.challenger_label}' "
        f"--step {decision.step}"
    )
    named = f"{path}: decision {decision.id[:12]}"
    if not own:
        raise DataError(f"{named} is not in the audit log of {ledger.shown_url}; {again}")
    if own[-1] is not kept[-1]:
        raise DataError(
            f"{named} is entry {own[-1].seq}, and entry {kept[-1].seq} is a later one about "
            f"{decision.challenger_label} at step {decision.step}: "
            f"{kept[-1].payload.get('outcome')}; {again}"
        )
    if own[-1].at < oldest:
        raise DataError(
            f"{named} was made at {own[-1].at:%Y-%m-%d %H:%M} UTC, before "
            f"{oldest:%Y-%m-%d %H:%M}, and is older than max_decision_age_days allows; {again}"
        )


def _check_policy(decision: GovernanceDecision, policy: GovernancePolicy) -> None:
    """Refuse a decision under a policy of the applicant's own."""
    if decision.policy_sha256 != policy.sha256:
        raise SettingsError(
            f"decision {decision.id[:12]} was made under policy {decision.policy_sha256}, and the "
            f"policy in force is {policy.sha256}; certify under that one, or name the policy in "
            "force with --policy"
        )


def _was_used(ledger: Ledger, key: str) -> bool:
    """Return whether an entry with this idempotency key is in the log; `promote` compares it."""
    return any(entry.key == key for entry in AuditLog(ledger).entries())
