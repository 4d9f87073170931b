"""What the leak audit and the conformance check say."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import numpy as np
import yaml
from rich.table import Table

from pmx_ray.backtest.sweep import Sweep
from pmx_ray.cli.steps import Voice
from pmx_ray.errors import SettingsError
from pmx_ray.features.exogenous import FEATURES
from pmx_ray.leaks.audit import LeakAudit, audit, sample
from pmx_ray.leaks.bench import Bench
from pmx_ray.leaks.conformance import CHECKS, Checked, check
from pmx_ray.leaks.loading import spec_of
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
    if not voice.as_json:
        voice.console.print(_table(by_stage))
    for probed in audited.probed:
        _print_findings(voice, probed)
    for (kind, name), probes in by_stage.items():
        if not any(probed.n for probed in probes):
            voice.say(
                "empty", f"note: {kind} {name} gave nothing to compare", kind=kind, stage=name
            )
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
    """Print a probe's first finding, as the others say the same of other tickers and cutoffs.

    A machine gets the probe and all findings.
    """
    if voice.as_json:
        findings = [asdict(finding) for finding in probed.findings]
        voice.say("probed", "", **{**asdict(probed), "findings": findings})
    elif probed.findings:
        more = len(probed.findings) - 1
        voice.say("leak", f"leak: {probed.findings[0]}" + (f"; {more} more" if more else ""))


LEAK_ADVICE = "use sessions up to the cutoff only: plan.training() and plan.context() cut for you"

REPEAT_ADVICE = "draw from the rng that fit is given and from nothing else"


def settings_of(assignments: Sequence[str]) -> dict[str, Any]:
    """Return ``name=value`` words as settings; values are read as YAML.

    Raises
    ------
    SettingsError
        If a word is not of that form.
    """
    given: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not (name and separator):
            raise SettingsError(f"--setting {assignment}: write it as name=value, e.g. window=60")
        try:
            given[name] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise SettingsError(f"--setting {assignment}: the value is not valid YAML") from None
    return given


def check_step(voice: Voice, address: str, settings: Mapping[str, Any], *, input_size: int) -> bool:
    """Check the class at ``address`` and print a line a check; return whether all passed."""
    spec = spec_of(address, settings)
    lines = list(check(spec, input_size=input_size))
    if len(lines) == len(CHECKS):  # else it does not run, and there is nothing to probe
        bench = Bench(spec, input_size=input_size)
        rng = np.random.default_rng(0)
        audited = audit([ForecasterStage(spec)], bench.panel, bench.plan, rng=rng)
        lines += [_as_line(probed) for probed in audited.probed]
    voice.say("forecaster", spec.label, forecaster=spec.label)
    for line in lines:
        _print_line(voice, line)
    failed = sum(not line.passed for line in lines)
    skipped = len(CHECKS) + len(PROBES) - len(lines) if len(lines) < len(CHECKS) else 0
    text = f"check: {len(lines) - failed} of {len(lines)} checks passed"
    text += f"; {skipped} more were not made" if skipped else ""
    voice.say("check", text, checks=len(lines), failed=failed, skipped=skipped)
    return failed == 0


def _as_line(probed: Probed) -> Checked:
    problem = ""
    if probed.findings:
        more = len(probed.findings) - 1
        problem = probed.findings[0].sentence + (f"; {more} more" if more else "")
    advice = REPEAT_ADVICE if probed.probe == "repeat" else LEAK_ADVICE
    return Checked(f"no leak: {probed.probe}", problem, advice)


def _print_line(voice: Voice, line: Checked) -> None:
    text = f"  {'ok  ' if line.passed else 'FAIL'}  {line.name:24s}"
    if not line.passed:
        text += f"  {line.problem}\n        {'':24s}  -> {line.advice}"
    voice.say("checked", text.rstrip(), **asdict(line), passed=line.passed)
