"""By what right a model serves, in words: of an alias, of an entry, of a version."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pmx_ray.errors import DataError, RegistryError, SettingsError
from pmx_ray.governance.decision import DECISION, GovernanceDecision, Outcome
from pmx_ray.governance.opening import open_registry
from pmx_ray.governance.registry import LoadedModel
from pmx_ray.ledger.aliases import Alias, Placement
from pmx_ray.ledger.chain import AuditEntry


def standing(
    placement: Placement, model: LoadedModel, *, log: Sequence[AuditEntry] = ()
) -> tuple[bool, str]:
    """Return whether a model was certified itself, and in a sentence by what right it serves.

    Parameters
    ----------
    placement : Placement
        Where the alias points, and what put it there.
    model : LoadedModel
        The version that it points to; its files hold the decision about it.
    log : sequence of AuditEntry, optional
        The audit log, oldest first. Without it nobody looks whether the decision was overruled.

    Returns
    -------
    bool
        True only if a decision of this model's own let every check pass, and no later one about
        the same forecaster at the same step said otherwise. A fallback was exercised and not
        judged, so False.
    str
        By which decision and whose approval, or by whose override and why.
    """
    decision = decision_in(model)
    certified = decision is not None and decision.outcome is Outcome.PROMOTE
    later = None if decision is None else overruling(decision, log)
    right = _right(decision)
    if certified and later is not None:
        certified, right = False, f"{right}, later overruled by entry {later.seq}"
    return certified, f"{right}; {why(placement)}, entry {placement.entry.seq}."


def overruling(decision: GovernanceDecision, log: Sequence[AuditEntry]) -> AuditEntry | None:
    """Return the last entry after a decision's own that speaks of its forecaster, if against it.

    It speaks of it if it holds a decision about the same spec at the same step: a certificate, or
    the reversion that the monitor decided. A later certificate that lets every check pass is not
    against it.

    Parameters
    ----------
    decision : GovernanceDecision
        What is asked about.
    log : sequence of AuditEntry
        Oldest first.
    """
    judged = [_judged_in(entry) for entry in log]
    own = next((place for place, one in enumerate(judged) if one.get("id") == decision.id), -1)
    later = [
        (entry, one)
        for entry, one in zip(log[own + 1 :], judged[own + 1 :], strict=True)
        if (one.get("challenger"), one.get("step")) == (decision.challenger, decision.step)
        and one.get("id") != decision.id
    ]
    if not later or later[-1][1]["outcome"] == Outcome.PROMOTE:
        return None
    return later[-1][0]


def _judged_in(entry: AuditEntry) -> Mapping[str, Any]:
    """Return the document of the certificate or the reversion that an entry holds, or nothing."""
    match entry.kind:
        case "certify":
            return entry.payload
        case "promote" | "challenge" | "revert":
            return entry.payload.get("decision") or {}
        case _:
            return {}


def why(placement: Placement) -> str:
    """Return in a few words what put a model under its alias."""
    payload = placement.entry.payload
    match placement.entry.kind:
        case "promote":
            return _promoted(placement.alias, payload)
        case "challenge":
            return f"decision {payload['decision']['id'][:12]}; runs in shadow"
        case "revert":
            return f"reverted: {payload['reason']}"
        case kind:
            return kind


def told(entry: AuditEntry) -> str:
    """Return in a few words what an entry says."""
    payload = entry.payload
    match entry.kind:
        case "promote":
            return f"{payload['label']}, model {payload['model'][:12]}{_overriding(payload)}"
        case "challenge":
            return f"{payload['label']}, model {payload['model'][:12]}, runs in shadow"
        case "revert":
            return f"to model {payload['moves'][0]['to'][:12]}: {payload['reason']}"
        case "certify":
            return f"{payload['outcome']} {payload['challenger_label']} at step {payload['step']}"
        case _:
            return json.dumps(payload)


def verified_label(root: Path, model: str) -> tuple[str, str]:
    """Return the label of a model, and why it cannot be served; the latter is empty where it can.

    Without a verified manifest no label is given: a manifest that was altered may lie.

    Parameters
    ----------
    root : Path
        As in ``open_registry``.
    model : str
        Id of the version.
    """
    try:
        return open_registry(root, make_key=False).load(model).version.label, ""
    except (RegistryError, SettingsError) as error:
        return "", str(error)


def _promoted(alias: Alias, payload: Mapping[str, Any]) -> str:
    if alias is Alias.FALLBACK:
        return f"fallback of {payload['label']}"
    if alias is not Alias.CHAMPION:
        return f"champion until {payload['label']} took over"
    approved = ", ".join(payload["approved_by"]) or "no one named"
    decision = f"decision {payload['decision']['id'][:12]}"
    if "override" in payload:
        return f"{decision} overridden by {approved}: {payload['override']['reason']}"
    return f"{decision}; approved by {approved}"


def _overriding(payload: Mapping[str, Any]) -> str:
    if "override" not in payload:
        return ""
    failed = ", ".join(payload["override"]["failed"]) or "no check by name"
    return f", although it failed {failed}: {payload['override']['reason']}"


def decision_in(model: LoadedModel) -> GovernanceDecision | None:
    """Return the decision that a version carries, or None."""
    if DECISION not in model.files:
        return None
    try:
        return GovernanceDecision.from_document(json.loads(model.files[DECISION]))
    except (DataError, ValueError):
        return None  # of another release: what cannot be read certifies nothing


def _right(decision: GovernanceDecision | None) -> str:
    if decision is None:
        return "Not judged itself"
    if decision.outcome is Outcome.PROMOTE:
        return f"Certified: all {len(decision.checks)} checks passed"
    failed = ", ".join(check.name for check in decision.failed)
    return f"Not certified: it failed {failed or 'no check by name'}"
