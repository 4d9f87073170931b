"""From a judged sweep to model versions in the registry: each with its terms of service."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pmx_ray.backtest.outcome import evaluated
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.errors import DataError
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.decision import DECISION, GovernanceDecision
from pmx_ray.governance.manifest import ModelVersion
from pmx_ray.governance.registry import LoadedModel, Registry
from pmx_ray.governance.terms import SERVICE, terms_in
from pmx_ray.governance.trade_record import track_records
from pmx_ray.provenance import ENGINE_VERSION


@dataclass(frozen=True, slots=True)
class Registered:
    """The models that a decision speaks of, registered.

    Attributes
    ----------
    challenger : LoadedModel
        With the decision among its files.
    fallback : LoadedModel
        What takes over from it.
    """

    challenger: LoadedModel
    fallback: LoadedModel


def register(registry: Registry, sweep: Sweep, decision: GovernanceDecision) -> Registered:
    """Register challenger and fallback of a decision; doing so again changes nothing.

    Parameters
    ----------
    registry : Registry
        Where they are kept.
    sweep : Sweep
        What was judged.
    decision : GovernanceDecision
        The judgement.

    Raises
    ------
    DataError
        If the sweep was evaluated again since, the decision names no fallback or the challenger
        as its own, or the sweep's folds leave no model to serve.
    LakeError
        If a block of the sweep is gone, or the store cannot be written.
    """
    report, provenance = evaluated(sweep)
    if decision.report_key != provenance["key"]:
        raise DataError(
            f"{sweep.folder} was evaluated again since decision {decision.id[:12]} was made; "
            f"certify again with: pmx certify {sweep.folder}"
        )
    if not decision.fallback:
        raise DataError(
            f"decision {decision.id[:12]} names no fallback, and nothing is put in service "
            f"without one; certify again with: pmx certify {sweep.folder} --fallback LABEL"
        )
    if decision.fallback == decision.challenger:
        raise DataError(
            f"decision {decision.id[:12]} names {decision.fallback_label} as its own fallback, and "
            "nothing could take over from it; certify again with another: "
            f"pmx certify {sweep.folder} --fallback LABEL"
        )
    step = decision.step
    specs = {spec.id: spec for spec in sweep.specs}
    figures = {row["spec"]: row for row in report.leaderboard.to_pylist() if row["step"] == step}
    wanted = {decision.challenger, decision.fallback}
    records = track_records(sweep, report, wanted, step=step)

    def put(spec_id: str, decision_id: str, files: Mapping[str, bytes]) -> LoadedModel:
        spec = specs[spec_id]
        terms = terms_in(sweep, spec, step=step, record=records[spec_id])
        version = _version(sweep, spec, figures[spec_id], decision_id)
        return registry.register(version, {**files, SERVICE: terms.as_file()})

    document = json.dumps(decision.as_document(), indent=1).encode()
    return Registered(
        put(decision.challenger, decision.id, {DECISION: document}),
        put(decision.fallback, "", {}),
    )


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
