"""A sweep as the ledger keeps it."""

import math
from datetime import datetime
from typing import Any

import pyarrow as pa

from pmx_ray.backtest.report_types import EvaluationReport
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.ledger import Metric, Run, RunRecord, RunStatus, Spec


def run_record(
    sweep: Sweep, report: EvaluationReport, provenance: dict[str, Any], *, recorded_at: datetime
) -> RunRecord:
    """Return the run, its specs, and every figure of the leaderboard as a metric.

    Parameters
    ----------
    sweep, report, provenance
        An evaluated sweep.
    recorded_at : datetime
        With its time zone.
    """
    n_failed = int(provenance["n_failed"])
    run = Run(
        sweep_id=sweep.sweep_id,
        name=sweep.settings.name,
        recorded_at=recorded_at,
        panel_sha256=provenance["panel_sha256"],
        forecast_sha256=provenance["forecast_sha256"],
        engine_version=provenance["engine_version"],
        settings=sweep.settings.model_dump(mode="json"),
        n_cells=sweep.n_cells,
        n_failed=n_failed,
        status=RunStatus.PARTIAL if n_failed else RunStatus.DONE,
    )
    specs = tuple(Spec(spec.id, spec.name, dict(spec.params)) for spec in sweep.specs)
    return RunRecord(run, specs, tuple(_metrics(report.leaderboard)))


def _metrics(leaderboard: pa.Table) -> list[Metric]:
    figures = [
        field.name
        for field in leaderboard.schema
        if field.name != "step"
        and (pa.types.is_floating(field.type) or pa.types.is_int64(field.type))
    ]
    return [
        Metric(row["spec"], row["step"], name, math.nan if row[name] is None else float(row[name]))
        for row in leaderboard.to_pylist()
        for name in figures
    ]
