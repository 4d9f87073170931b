"""What is in service: from a certified sweep to a model in the registry, and who may know why."""

import getpass
import json
import math
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pmx_ray.backtest.outcome import evaluated
from pmx_ray.backtest.report_types import read_document
from pmx_ray.backtest.sweep import Sweep, load
from pmx_ray.cli.place import ledger_url
from pmx_ray.clock import Clock
from pmx_ray.errors import DataError, RegistryError, SettingsError
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.decision import DECISION, GovernanceDecision
from pmx_ray.governance.manifest import ModelVersion
from pmx_ray.governance.policy import GovernancePolicy
from pmx_ray.governance.promotion import promote
from pmx_ray.governance.registry import Registry
from pmx_ray.governance.signing import signing_key
from pmx_ray.lake import open_store
from pmx_ray.ledger import Ledger, open_ledger
from pmx_ray.ledger.aliases import Alias, Aliases, Placement
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.chain import AuditEntry, AuditHead
from pmx_ray.provenance import ENGINE_VERSION

MODELS_VARIABLE = "PMX_MODELS_URL"


def open_registry(root: Path, *, make_key: bool = True) -> Registry:
    """Return the registry at ``$PMX_MODELS_URL``, or in the folder of the sweep folders."""
    store = open_store(os.environ.get(MODELS_VARIABLE) or str(root))
    return Registry(store, key=signing_key(root, make=make_key))


def acting(given: str | None) -> str:
    """Return who acts: as given, or the name of the account.

    Raises
    ------
    SettingsError
        If the account has no name.
    """
    if given:
        return given
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        raise SettingsError("this account has no name; say who you are with --actor") from None


def promote_sweep(
    path: Path,
    policy: GovernancePolicy,
    *,
    key: str | None,
    actor: str | None,
    approved_by: list[str],
    clock: Clock,
) -> tuple[AuditEntry, Placement]:
    """Register the model that a decision file speaks of, and put it in service.

    The decision must be the last about its challenger and step, not too old, and made under
    ``policy``, the one in force; its hash is in the entry, in the decision.

    Returns
    -------
    AuditEntry
        What put it there: a new entry, or that of an earlier call with the same key.
    Placement
        The champion after that.

    Raises
    ------
    DataError
        If the decision was altered, is not in the audit log, is not the last or is too old, or is
        not about the sweep as it is.
    SettingsError
        If it was made under another policy.
    """
    decision = GovernanceDecision.from_document(read_document(path, verb="certify"))
    sweep = load(path.parent)
    root = sweep.folder.parent
    with open_ledger(ledger_url(root)) as ledger:
        _check_certified(ledger, decision, path, oldest=clock() - _kept_for(policy))
        _check_policy(decision, policy)
        registry = open_registry(root)
        challenger, fallback = _versions(sweep, decision)
        document = json.dumps(decision.as_document(), indent=1).encode()
        model = registry.register(challenger, {DECISION: document})
        entry = promote(
            registry,
            ledger,
            decision,
            model.id,
            actor=acting(actor),
            approved_by=approved_by,
            key=key or f"promote {decision.id}",
            clock=clock,
            fallback=registry.register(fallback, {}).id,
        )
        return entry, Aliases(ledger).current()[Alias.CHAMPION]


def why(placement: Placement) -> str:
    """Return in a few words what put a model under its alias."""
    payload = placement.entry.payload
    match placement.entry.kind, placement.alias:
        case "promote", Alias.CHAMPION:
            approved = ", ".join(payload["approved_by"]) or "no one named"
            return f"decision {payload['decision']['id'][:12]}; approved by {approved}"
        case "promote", Alias.FALLBACK:
            return f"fallback of {payload['label']}"
        case "promote", _:
            return f"champion until {payload['label']} took over"
        case "revert", _:
            return f"reverted: {payload['reason']}"
        case kind, _:
            return kind


def told(entry: AuditEntry) -> str:
    """Return in a few words what an entry says."""
    payload = entry.payload
    match entry.kind:
        case "promote":
            return f"{payload['label']}, model {payload['model'][:12]}"
        case "revert":
            return f"to model {payload['moves'][0]['to'][:12]}: {payload['reason']}"
        case "certify":
            return f"{payload['outcome']} {payload['challenger_label']} at step {payload['step']}"
        case _:
            return json.dumps(payload)


def verified_label(root: Path, model: str) -> tuple[str, str]:
    """Return the label of a model, and why it cannot be served; the latter is empty where it can.

    Without a verified manifest no label is given: a manifest that was altered may lie.
    """
    try:
        return open_registry(root, make_key=False).load(model).version.label, ""
    except (RegistryError, SettingsError) as error:
        return "", str(error)


def parsed_head(written: str) -> AuditHead:
    """Return the head that was noted as ``N:HASH``.

    Raises
    ------
    SettingsError
        If it is none.
    """
    n, _, digest = written.partition(":")
    if not n.isdecimal() or len(digest) != 64:
        raise SettingsError(
            f"--expect was '{written}'; write it as `pmx audit verify` printed it, "
            "a number, a colon and 64 digits"
        )
    return AuditHead(int(n), digest)


def _kept_for(policy: GovernancePolicy) -> timedelta:
    return timedelta(days=policy.max_decision_age_days)


def _check_certified(
    ledger: Ledger, decision: GovernanceDecision, path: Path, *, oldest: datetime
) -> None:
    """Refuse a decision that was written by hand (anyone can compute an id), overruled or old."""
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


def _versions(sweep: Sweep, decision: GovernanceDecision) -> tuple[ModelVersion, ModelVersion]:
    """Return the challenger and the fallback of a decision as versions."""
    report, provenance = evaluated(sweep)
    if decision.report_key != provenance["key"]:
        raise DataError(
            f"{sweep.folder} was evaluated again since decision {decision.id[:12]} was made; "
            f"certify again with: pmx certify {sweep.folder}"
        )
    specs = {spec.id: spec for spec in sweep.specs}
    figures = {
        row["spec"]: row for row in report.leaderboard.to_pylist() if row["step"] == decision.step
    }

    def version(spec_id: str, decision_id: str) -> ModelVersion:
        return _version(sweep, specs[spec_id], figures[spec_id], decision_id)

    return version(decision.challenger, decision.id), version(decision.fallback, "")


def _version(
    sweep: Sweep, spec: ForecasterSpec, figures: Mapping[str, Any], decision_id: str
) -> ModelVersion:
    metrics = {
        name: float(value) if math.isfinite(value) else None
        for name, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return ModelVersion(
        spec_id=spec.id,
        name=spec.name,
        label=spec.label,
        params=dict(spec.params),
        panel_sha256=sweep.panel.sha256,
        engine_version=ENGINE_VERSION,
        libraries=spec.libraries,
        metrics=metrics,
        decision_id=decision_id,
        files={},
    )
