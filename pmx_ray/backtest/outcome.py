"""What a sweep found: its evaluation, its comparison, and the document that says where from."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pmx_ray import __version__
from pmx_ray.backtest.cells import collect, complete_specs
from pmx_ray.backtest.compare import compare_parts
from pmx_ray.backtest.comparison import COMPARISON, Comparison
from pmx_ray.backtest.evaluate import evaluate_parts
from pmx_ray.backtest.executor import Settled
from pmx_ray.backtest.frame import FrameDigest
from pmx_ray.backtest.receipts import lasting_reason
from pmx_ray.backtest.regime_table import Regimes, regimes_of
from pmx_ray.backtest.report_types import (
    REPORT_VERSION,
    EvaluationReport,
    holds_files,
    read_document,
    write_files,
)
from pmx_ray.backtest.sweep import Run, Sweep, frame_parts, load_settled
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.folds import change_alarms
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.lake import BlockStore, FolderStore
from pmx_ray.provenance import ENGINE_VERSION, canonical_json, sha256_hex

PROVENANCE, PAGE = "provenance.json", "report.html"


@dataclass(frozen=True, slots=True)
class Outcome:
    """An evaluated sweep.

    Attributes
    ----------
    report : EvaluationReport
        Its tables.
    provenance : mapping
        What the numbers came from, as JSON.
    reused : bool
        Whether it was read from the folder because nothing had changed.
    """

    report: EvaluationReport
    provenance: dict[str, Any]
    reused: bool


def evaluate_sweep(sweep: Sweep, store: BlockStore, *, afresh: bool = False) -> Outcome:
    """Evaluate the blocks that ``receipts.jsonl`` lists; a no-op where that has been done.

    An artefact of its own that is missing or damaged is made anew. Where only the settings or the
    quality report say something else than they did, and no figure can change, the provenance is
    written again.

    Parameters
    ----------
    sweep : Sweep
        The sweep.
    store : BlockStore
        Its blocks.
    afresh : bool
        Compute from the blocks whatever the folder holds, which anyone may have edited; files
        that say something else are replaced.

    Raises
    ------
    DataError
        If the sweep has not been run as it is now.
    CorruptBlockError
        If a block no longer matches its receipt.
    SettingsError
        If the baseline is not among the specs.
    """
    settled = load_settled(sweep)
    key = _key(sweep, settled)
    held = None if afresh else _held(sweep, key)
    if held is not None:
        report, provenance = held
        fresh = _provenance(sweep, settled, key=key, forecast_sha256=provenance["forecast_sha256"])
        if _text(fresh) != _text(provenance):
            _remove(sweep, PAGE)
            _save_provenance(sweep, fresh)
        return Outcome(report, fresh, reused=True)
    digest = FrameDigest()

    def hashed(run: Run) -> Iterator[tuple[ForecasterSpec, pa.Table]]:
        for spec, table in run:
            digest.update(table)
            yield spec, table

    settings = sweep.settings
    report = evaluate_parts(
        (collect(hashed(run)) for run in frame_parts(sweep, settled, store)),
        _complete(sweep, settled, store),
        settings.folds.step_size,
        settings.evaluation,
        baseline=baseline_id(sweep),
        seed=settings.seed,
    )
    provenance = _provenance(sweep, settled, key=key, forecast_sha256=digest.hexdigest())
    written = {**report.files(), PROVENANCE: _text(provenance).encode()}
    if not holds_files(sweep.folder, written):
        _remove(sweep, PROVENANCE, COMPARISON, PAGE)  # they stand on the report: gone first
        write_files(sweep.folder, written)
    return Outcome(report, provenance, reused=False)


def compare_sweep(sweep: Sweep, store: BlockStore, *, afresh: bool = False) -> Comparison:
    """Compare every spec with the baseline; a no-op where that has been done.

    A comparison that is damaged, or of another evaluation, is made anew; with ``afresh`` every
    one is, and files that say something else are replaced, the page among them.

    Raises
    ------
    DataError
        If the sweep has not been evaluated as it is now.
    """
    _, provenance = evaluated(sweep)
    held = None if afresh else _held_comparison(sweep)
    if held is not None and held.key == provenance["key"]:
        return held
    settings = sweep.settings
    settled = load_settled(sweep)
    comparison = compare_parts(
        (collect(run) for run in frame_parts(sweep, settled, store)),
        _complete(sweep, settled, store),
        settings.folds.step_size,
        settings.evaluation,
        baseline=baseline_id(sweep),
        seed=settings.seed,
        regimes=_regimes(sweep),
    )
    comparison = replace(comparison, key=provenance["key"])
    if not holds_files(sweep.folder, comparison.files()):
        if afresh:
            _remove(sweep, PAGE)
        comparison.save(sweep.folder)
    return comparison


def evaluated(sweep: Sweep) -> tuple[EvaluationReport, dict[str, Any]]:
    """Return the report and the provenance of a sweep that has been evaluated.

    Raises
    ------
    DataError
        If it has not, if what it stands on has changed since, or if an artefact is damaged.
    """
    again = f"evaluate it again with: pmx evaluate {sweep.folder}"
    path = sweep.folder / PROVENANCE
    if not path.exists():
        raise DataError(
            f"{sweep.folder} has not been evaluated; do so with: pmx evaluate {sweep.folder}"
        )
    provenance = read_document(path)
    settled = load_settled(sweep)
    key = _key(sweep, settled)
    if provenance.get("key") != key:
        raise DataError(
            f"{sweep.folder}: its receipts or the release changed since it was evaluated; {again}"
        )
    forecast_sha256 = str(provenance.get("forecast_sha256"))
    fresh = _provenance(sweep, settled, key=key, forecast_sha256=forecast_sha256)
    if _text(provenance) != _text(fresh):
        raise DataError(
            f"{sweep.folder}: its settings or its quality report changed since it was evaluated; "
            f"{again}"
        )
    return EvaluationReport.load(sweep.folder), provenance


def baseline_id(sweep: Sweep) -> str:
    """Return the id of the spec that skill is measured against.

    Raises
    ------
    SettingsError
        If no spec has the label ``evaluation.baseline``.
    """
    label = sweep.settings.evaluation.baseline
    for spec in sweep.specs:
        if spec.label == label:
            return spec.id
    known = ", ".join(spec.label for spec in sweep.specs)
    raise SettingsError(f"evaluation.baseline: no forecaster is labelled '{label}'; known: {known}")


def _regimes(sweep: Sweep) -> Regimes:
    """Return the regimes of the sweep's sessions; where folds watch for changes, these too."""
    changes = sweep.settings.folds.refit_on_change
    alarms = None if changes is None else change_alarms(sweep.panel, changes)
    return regimes_of(sweep.panel, alarms=alarms)


def _complete(sweep: Sweep, settled: Sequence[Settled], store: BlockStore) -> frozenset[str]:
    """Return the specs that define the common cells; without a failure that takes no reading."""
    if all(row.receipt is not None and row.receipt.failed == 0 for row in settled):
        return frozenset(spec.id for spec in sweep.specs)
    return complete_specs(
        (collect(run) for run in frame_parts(sweep, settled, store)),
        baseline_id(sweep),
        max_failed_frac=sweep.settings.evaluation.max_failed_frac,
    )


def _held(sweep: Sweep, key: str) -> tuple[EvaluationReport, dict[str, Any]] | None:
    """Return the evaluation that the folder holds if it is whole and was made under ``key``."""
    try:
        provenance = read_document(sweep.folder / PROVENANCE)
        if provenance.get("key") != key or "forecast_sha256" not in provenance:
            return None
        return EvaluationReport.load(sweep.folder), provenance
    except DataError:
        return None


def _held_comparison(sweep: Sweep) -> Comparison | None:
    try:
        return Comparison.load(sweep.folder)
    except DataError:
        return None


def _remove(sweep: Sweep, *names: str) -> None:
    store = FolderStore(sweep.folder)
    for name in names:
        store.delete(name)


def _save_provenance(sweep: Sweep, provenance: dict[str, Any]) -> None:
    FolderStore(sweep.folder).replace(PROVENANCE, _text(provenance).encode())


def _text(provenance: dict[str, Any]) -> str:
    return f"{json.dumps(provenance, indent=1)}\n"


def _key(sweep: Sweep, settled: Sequence[Settled]) -> str:
    """Return the hash of everything the evaluation reads."""
    blocks = [
        [row.block.id, lasting_reason(row) if row.receipt is None else row.receipt.sha256]
        for row in settled
    ]
    document = [
        __version__,
        REPORT_VERSION,
        sweep.sweep_id,
        sweep.settings.evaluation.model_dump(mode="json"),
        blocks,
    ]
    return sha256_hex(canonical_json(document))


def _provenance(
    sweep: Sweep, settled: Sequence[Settled], *, key: str, forecast_sha256: str
) -> dict[str, Any]:
    panel, plan = sweep.panel, sweep.plan
    failed = sum(row.receipt.failed for row in settled if row.receipt is not None)
    lost = [row for row in settled if row.receipt is None]
    lost_rows = sum(
        (row.block.stop - row.block.first) * len(plan.steps) * len(row.block.tickers)
        for row in lost
    )
    return {
        "key": key,
        "name": sweep.settings.name,
        "sweep_id": sweep.sweep_id,
        "panel_sha256": panel.sha256,
        "forecast_sha256": forecast_sha256,
        "engine_version": ENGINE_VERSION,
        "pmx_version": __version__,
        "libraries": {k: v for spec in sweep.specs for k, v in spec.libraries.items()},
        "calendar": panel.calendar,
        "n_tickers": panel.n_tickers,
        "n_specs": len(sweep.specs),
        "first_session": str(panel.sessions[0]),
        "last_session": str(panel.sessions[-1]),
        "n_folds": len(plan),
        "steps": list(plan.steps),
        "first_cutoff": str(panel.sessions[plan.cutoff[0]]),
        "last_cutoff": str(panel.sessions[plan.cutoff[-1]]),
        "purge": plan.purge,
        "embargo": plan.embargo,
        "n_cells": sweep.n_cells,
        "n_failed": failed + lost_rows,
        "n_quarantined_blocks": len(lost),
        "quality": sweep.quality,
        "settings": sweep.settings.as_yaml(),
    }
