"""What the leak audit says: one table, and a sentence a leak."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby

import numpy as np
from rich.table import Table

from pmx_ray.backtest.sweep import Sweep
from pmx_ray.cli.steps import Voice
from pmx_ray.features.exogenous import FEATURES
from pmx_ray.leaks.audit import LeakAudit, audit, sample
from pmx_ray.leaks.probes import PROBES, Probed
from pmx_ray.leaks.stages import ForecasterStage, Stage, exogenous_stage

Pair = tuple[str, str]


def audit_sweep(sweep: Sweep, *, n_cutoffs: int, n_folds: int, n_tickers: int) -> LeakAudit:
    """Audit a sweep's specs and every registered feature, on a sample of its folds and tickers."""
    panel, plan = sample(sweep.panel, sweep.plan, n_folds=n_folds, n_tickers=n_tickers)
    stages: list[Stage] = [exogenous_stage(name, n_ahead=plan.steps[-1]) for name in FEATURES]
    stages += [ForecasterStage(spec) for spec in sweep.specs]
    rng = np.random.default_rng(sweep.settings.seed)
    return audit(stages, panel, plan, rng=rng, n_cutoffs=n_cutoffs)


def print_audit(voice: Voice, audited: LeakAudit) -> None:
    """Print a row a stage with what each probe compared, then each leak, then the sum."""
    by_stage = {key: list(group) for key, group in groupby(audited.probed, _stage_of)}
    if voice.as_json:
        for finding in audited.findings:
            voice.say("leak", "", **asdict(finding))
    else:
        voice.console.print(_table(by_stage))
        for probed in audited.probed:
            _print_findings(voice, probed)
    n = len(audited.findings)
    text = f"audit: {n} leaks in {len(by_stage)} stages; {audited.n_probes:,} outputs probed"
    voice.say("audit", text, leaks=n, stages=len(by_stage), probes=audited.n_probes)


def _stage_of(probed: Probed) -> Pair:
    return probed.kind, probed.stage


def _table(by_stage: dict[Pair, list[Probed]]) -> Table:
    table = Table("stage", "name")
    for heading in (*PROBES, "leaks"):
        table.add_column(heading, justify="right")
    for (kind, name), probed in by_stage.items():
        n_leaks = sum(len(p.findings) for p in probed)
        cells = [_cell(probed, probe) for probe in PROBES]
        table.add_row(kind, name, *cells, str(n_leaks))
    return table


def _cell(probed: Sequence[Probed], probe: str) -> str:
    """Return the number of outputs that a probe compared, or that it found something."""
    (found,) = [p for p in probed if p.probe == probe]
    if found.findings:
        return f"LEAK ({len(found.findings)})"
    return f"{found.n:,}" if found.n else "-"


def _print_findings(voice: Voice, probed: Probed) -> None:
    """Print the first finding of a probe; the others say the same of other tickers and cutoffs."""
    if probed.findings:
        more = len(probed.findings) - 1
        voice.say("leak", f"leak: {probed.findings[0]}" + (f"; {more} more" if more else ""))
