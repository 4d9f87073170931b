"""Promotion and reversion: what moves the champion, and the entry that says why."""

from collections.abc import Sequence

from pmx_ray.clock import Clock
from pmx_ray.errors import DataError, RegistryError
from pmx_ray.governance.decision import GovernanceDecision, Outcome
from pmx_ray.governance.registry import LoadedModel, Registry
from pmx_ray.ledger import Ledger
from pmx_ray.ledger.aliases import Alias, Aliases, Move, Placements, check_version
from pmx_ray.ledger.chain import AuditEntry, NewEntry

PROMOTE, REVERT = "promote", "revert"
"""Kinds of the audit entries."""

NEVER_WAIVED = ("leak_audit", "fallback")
"""Checks that no override waives: figures that saw the future mean nothing, and a model that has
nothing behind it cannot be taken out of service."""


def promote(
    registry: Registry,
    ledger: Ledger,
    decision: GovernanceDecision,
    version_id: str,
    *,
    actor: str,
    approved_by: Sequence[str],
    key: str,
    clock: Clock,
    fallback: str | None = None,
    expected_version: int | None = None,
    override: str | None = None,
) -> AuditEntry:
    """Put a version in service, keep the one before it as the last good, and log the decision.

    Aliases and audit entry are one transaction. A key that was used for this promotion before
    returns its entry and changes nothing, whatever else was promoted since.

    Parameters
    ----------
    registry, ledger
        Where models and aliases are kept.
    decision : GovernanceDecision
        With outcome ``PROMOTE``, or ``HOLD`` and then an ``override``; about the version's spec.
    version_id : str
        The model; it must verify, and its signed manifest must name the decision.
    actor : str
        Who does it.
    approved_by : sequence of str
        Who agreed to it.
    key : str
        Idempotency key.
    clock : callable
        Says when.
    fallback : str, optional
        Id of a version of the decision's fallback, which the alias ``fallback`` is to point to.
    expected_version : int, optional
        Version of the alias ``champion`` that the caller has seen, 0 where it was not set; unless
        given, as this call finds it.
    override : str, optional
        Why the model is put in service although checks failed; someone of ``approved_by`` answers
        for it. Reason and failed checks are in the entry.

    Returns
    -------
    AuditEntry
        The entry, with the decision's document in its payload.

    Raises
    ------
    DataError
        If the decision is no promotion and not overridden, or is about another version; if an
        override gives no reason, names no one, finds nothing to override, or would waive a check
        of ``NEVER_WAIVED``.
    RegistryError
        If a version does not verify.
    StaleVersionError
        If the champion has moved since ``expected_version``.
    LedgerError
        If the key belongs to something else, or the database cannot be written.
    """
    _check_outcome(decision, override, approved_by)
    model = judged_model(registry, decision, version_id)
    if fallback is not None:
        _check_fallback(registry.load(fallback), decision)
    payload: dict[str, object] = {
        "decision": decision.as_document(),
        "model": version_id,
        "label": model.version.label,
        "fallback": fallback,
        "approved_by": sorted(set(approved_by)),
    }
    if override is not None:
        failed = [check.name for check in decision.failed]
        payload["override"] = {"reason": override.strip(), "failed": failed}
    aliases = Aliases(ledger)
    seen = _version(aliases.current()) if expected_version is None else expected_version

    def plan(standing: Placements) -> Sequence[Move]:
        check_version(standing, Alias.CHAMPION, seen)
        return _promotion(standing, version_id, fallback)

    return aliases.move_together(plan, NewEntry(PROMOTE, actor, payload, clock(), key))


def revert(
    registry: Registry,
    ledger: Ledger,
    *,
    reason: str,
    actor: str,
    key: str | None = None,
    clock: Clock,
    expected_version: int | None = None,
    decision: GovernanceDecision | None = None,
) -> AuditEntry:
    """Put the last good version back in service, or the fallback where there is none that serves.

    Parameters
    ----------
    registry, ledger, actor, key, clock, expected_version
        As in ``promote``.
    reason : str
        Why.
    decision : GovernanceDecision, optional
        The reversion that was decided, where it was not a person; it is kept in the entry. A
        version of the same forecaster then does not take over: it would degrade alike.

    Raises
    ------
    DataError
        If no reason was given, or the decision is no reversion.
    RegistryError
        If neither last good nor fallback is another version that verifies.
    StaleVersionError, LedgerError
        As in ``promote``.
    """
    if not reason.strip():
        raise DataError("the reason was empty; say why the champion is to go")
    if decision is not None and decision.outcome is not Outcome.REVERT:
        raise DataError(f"decision {decision.id[:12]} says {decision.outcome}, and not revert")
    payload: dict[str, object] = {"reason": reason}
    if decision is not None:
        payload["decision"] = decision.as_document()
    unlike = None if decision is None else decision.challenger
    aliases = Aliases(ledger)
    seen = _version(aliases.current()) if expected_version is None else expected_version

    def plan(standing: Placements) -> Sequence[Move]:
        check_version(standing, Alias.CHAMPION, seen)
        return (Move(Alias.CHAMPION, successor(registry, standing, unlike=unlike).id),)

    return aliases.move_together(plan, NewEntry(REVERT, actor, payload, clock(), key))


def successor(
    registry: Registry, standing: Placements, *, unlike: str | None = None
) -> LoadedModel:
    """Return the model that takes over: the last good one or the fallback, whichever serves first.

    Parameters
    ----------
    registry : Registry
        Where models are kept.
    standing : mapping of Alias to Placement
        The aliases that are set.
    unlike : str, optional
        Spec id that it must not have.

    Raises
    ------
    RegistryError
        If neither is another version that verifies; the message has each reason.
    """
    champion = standing.get(Alias.CHAMPION)
    reasons = []
    for alias in (Alias.LAST_GOOD, Alias.FALLBACK):
        placement = standing.get(alias)
        if placement is None:
            reasons.append(f"{alias} is not set")
            continue
        if champion is not None and placement.model == champion.model:
            reasons.append(f"{alias} is the champion itself")
            continue
        try:
            model = registry.load(placement.model)
        except RegistryError as error:
            reasons.append(f"{alias}: {error}")
            continue
        if model.version.spec_id != unlike:
            return model
        reasons.append(f"{alias} is {model.version.label} again")
    raise RegistryError(f"there is nothing to revert to: {'; '.join(reasons)}")


def judged_model(registry: Registry, decision: GovernanceDecision, version_id: str) -> LoadedModel:
    """Return a version, verified, if it is the one that a decision is about.

    Raises
    ------
    DataError
        If it is another.
    RegistryError
        If it does not verify.
    """
    model = registry.load(version_id)
    if model.version.decision_id != decision.id or model.version.spec_id != decision.challenger:
        raise DataError(
            f"model {version_id[:12]} is {model.version.label} by decision "
            f"{model.version.decision_id[:12] or 'none'}, and decision {decision.id[:12]} is about "
            f"{decision.challenger_label}; register the model that was judged"
        )
    return model


def _check_outcome(
    decision: GovernanceDecision, override: str | None, approved_by: Sequence[str]
) -> None:
    """Refuse what was not certified, unless someone by name takes it upon themselves."""
    named = f"decision {decision.id[:12]} says {decision.outcome} of {decision.challenger_label}"
    failed = ", ".join(check.name for check in decision.failed) or "none"
    if override is None:
        if decision.outcome is not Outcome.PROMOTE:
            raise DataError(
                f"{named}, and only promote puts a model in service; failed checks: {failed}"
            )
    elif decision.outcome is not Outcome.HOLD:
        raise DataError(f"{named}, which cannot be overridden; only hold can")
    elif not override.strip():
        raise DataError(f"{named}, and the override gave no reason; say why it is to serve")
    elif not any(name.strip() for name in approved_by):
        raise DataError(
            f"{named}, and no one by name answers for the override; failed checks: {failed}; "
            "add --approved-by NAME"
        )
    elif fatal := [check for check in decision.failed if check.name in NEVER_WAIVED]:
        raise DataError(
            f"{named}, and no override waives {' or '.join(check.name for check in fatal)}; "
            f"{' '.join(check.sentence for check in fatal)} Mend it and certify again"
        )


def _check_fallback(model: LoadedModel, decision: GovernanceDecision) -> None:
    if model.version.spec_id != decision.fallback:
        raise DataError(
            f"model {model.id[:12]} is {model.version.label}, and the decision's fallback is "
            f"{decision.fallback_label}; register that one"
        )


def _version(standing: Placements) -> int:
    champion = standing.get(Alias.CHAMPION)
    return 0 if champion is None else champion.version


def _promotion(standing: Placements, version_id: str, fallback: str | None) -> list[Move]:
    moves = [Move(Alias.CHAMPION, version_id)]
    champion, kept = standing.get(Alias.CHAMPION), standing.get(Alias.FALLBACK)
    if champion is not None and champion.model != version_id:
        moves.append(Move(Alias.LAST_GOOD, champion.model))
    if fallback is not None and (kept is None or kept.model != fallback):
        moves.append(Move(Alias.FALLBACK, fallback))
    return moves
