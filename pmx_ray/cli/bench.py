"""A run on the bench: the facts that a certificate rests on, gathered once and judged."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from pmx_ray.backtest.comparison import Comparison
from pmx_ray.backtest.outcome import compare_sweep, evaluate_sweep, evaluated
from pmx_ray.backtest.report_types import EvaluationReport, write_json
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.clock import Clock
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.certify import certify
from pmx_ray.governance.decision import DECISION, GovernanceDecision
from pmx_ray.governance.facts import Facts, FallbackFacts, LeakFacts, QualityFacts, TrialFacts
from pmx_ray.governance.fallback import exercise
from pmx_ray.governance.knowledge import knowledge_of
from pmx_ray.governance.policy import GovernancePolicy
from pmx_ray.governance.replays import replays
from pmx_ray.governance.trials import trial_facts, trials_of
from pmx_ray.lake import open_store
from pmx_ray.leaks.audit import audit, sample
from pmx_ray.leaks.stages import ForecasterStage
from pmx_ray.ledger import Ledger
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.chain import NewEntry
from pmx_ray.ledger.trials import Trial, Trials

AUDITED = {"n_folds": 120, "n_tickers": 6}
"""Most folds and tickers of the run that the leak audit of a certificate recomputes."""


@dataclass(frozen=True, slots=True)
class Bench:
    """An evaluated run on the bench: what every judgement of it reads, computed once.

    Attributes
    ----------
    sweep : Sweep
        The run.
    report, comparison : EvaluationReport, Comparison
        What was found.
    key : str
        Of the evaluation.
    policy : GovernancePolicy
        What is asked for.
    known, own : tuple of Trial
        Every trial that touches the run's data, and the run's own.
    fallback : FallbackFacts
        From a drill held now.
    as_of : datetime
        Now, UTC.
    audits : dict of str to LeakFacts
        Leak audits made so far, by spec id.
    counts : dict of int to TrialFacts
        What the trials say of a step, as far as it was asked for.
    """

    sweep: Sweep
    report: EvaluationReport
    comparison: Comparison
    key: str
    policy: GovernancePolicy
    known: tuple[Trial, ...]
    own: tuple[Trial, ...]
    fallback: FallbackFacts
    as_of: datetime
    audits: dict[str, LeakFacts] = field(default_factory=dict)
    counts: dict[int, TrialFacts] = field(default_factory=dict)

    def leaks(self, spec: ForecasterSpec) -> LeakFacts:
        """Return what the leak audit of a spec found; it is made once."""
        if spec.id not in self.audits:
            self.audits[spec.id] = _leaks(self.sweep, spec)
        return self.audits[spec.id]

    def trials(self, step: int) -> TrialFacts:
        """Return what all trials say of the run at one step; it is computed once."""
        if step not in self.counts:
            self.counts[step] = trial_facts(
                self.known, self.own, step=step, step_size=self.report.step_size
            )
        return self.counts[step]

    def judge(self, challenger: ForecasterSpec, step: int, *, previous: str) -> GovernanceDecision:
        """Return the decision on one challenger at one step."""
        quality = self.sweep.quality
        facts = Facts(
            trials=self.trials(step),
            leaks=self.leaks(challenger),
            replays=replays(self.sweep.panel, self.sweep.settings, challenger, step=step),
            quality=QualityFacts(float(quality["score"]), len(quality["quarantined"])),
            fallback=self.fallback,
            report_key=self.key,
            knowledge=knowledge_of(challenger),
        )
        return certify(
            self.report,
            self.comparison,
            self.policy,
            facts=facts,
            challenger=challenger.id,
            baseline=self.report.baseline,
            step=step,
            as_of=self.as_of,
            previous=previous,
        )


def bench(
    sweep: Sweep, ledger: Ledger, policy: GovernancePolicy, *, fallback: str | None, clock: Clock
) -> Bench:
    """Return the run on the bench; its trials are recorded first, so that they count.

    Report and comparison are computed afresh from the blocks, whose receipts hold their hashes: a
    certificate does not rest on files that anyone may edit.
    """
    evaluated(sweep)  # says what to run where that has not been done
    store = open_store(sweep.lake_url)
    found = evaluate_sweep(sweep, store, afresh=True)
    report, provenance = found.report, found.provenance
    comparison = compare_sweep(sweep, store, afresh=True)
    own = trials_of(report, sweep.settings, sweep.panel.tickers)
    trials = Trials(ledger)
    trials.record(own)
    cutoffs = own[0].cutoffs
    takes_over = spec_of(sweep, fallback or comparison.baseline)
    now = clock()
    return Bench(
        sweep=sweep,
        report=report,
        comparison=comparison,
        key=str(provenance["key"]),
        policy=policy,
        known=trials.touching(sweep.panel.tickers, first=cutoffs[0], last=cutoffs[-1]),
        own=own,
        fallback=exercise(sweep, takes_over, at=now),
        as_of=now,
    )


def spec_of(sweep: Sweep, name: str) -> ForecasterSpec:
    """Return the spec of a run that has this label or id.

    Raises
    ------
    SettingsError
        If none has.
    """
    for spec in sweep.specs:
        if name in (spec.label, spec.id):
            return spec
    known = ", ".join(spec.label for spec in sweep.specs)
    raise SettingsError(f"'{name}' is not a forecaster of {sweep.folder}; it holds {known}")


def _leaks(sweep: Sweep, spec: ForecasterSpec) -> LeakFacts:
    """Return what the leak audit of a spec on the run's own prices and folds found."""
    panel, plan = sample(sweep.panel, sweep.plan, **AUDITED)
    rng = np.random.default_rng(sweep.settings.seed)
    try:
        return audit([ForecasterStage(spec)], panel, plan, rng=rng).facts()
    except (DataError, SettingsError) as error:  # too little to see anything: no audit was made
        return LeakFacts(0, (f"no audit could be made: {error}",))


def log(ledger: Ledger, decision: GovernanceDecision, *, at: datetime) -> None:
    """Append the decision to the audit log; one that is there already stays alone."""
    AuditLog(ledger).append(
        NewEntry("certify", "pmx certify", decision.as_document(), at, key=f"certify {decision.id}")
    )


def keep(sweep: Sweep, decision: GovernanceDecision) -> Path:
    """Write the decision beside the report and return the file; the log must have it before."""
    path = sweep.folder / DECISION
    write_json(path, decision.as_document())
    return path


def last_decisions(ledger: Ledger) -> dict[str, str]:
    """Return the id of the last decision about each challenger, by spec id."""
    return {
        str(entry.payload.get("challenger")): str(entry.payload["id"])
        for entry in AuditLog(ledger).entries()
        if entry.kind == "certify"
    }


def challengers(
    sweep: Sweep, report: EvaluationReport, named: str | None, step: int | None
) -> Iterator[tuple[ForecasterSpec, int]]:
    """Yield who is judged, and at which step: everyone that can be unless one is named."""
    steps = sorted(set(report.leaderboard["step"].to_pylist()))
    if step is not None and step not in steps:
        raise SettingsError(f"--step was {step}; the run scored {', '.join(map(str, steps))}")
    wanted = [spec_of(sweep, named)] if named else _complete(sweep, report)
    if any(spec.id == report.baseline for spec in wanted):
        raise SettingsError(f"--challenger was '{named}', which is the baseline; name another")
    for spec in wanted:
        for h in [step] if step is not None else steps[:1] if named else steps:
            yield spec, h


def _complete(sweep: Sweep, report: EvaluationReport) -> Iterable[ForecasterSpec]:
    rows = report.leaderboard.to_pylist()
    left_out = {row["spec"] for row in rows if row["incomplete"]} | {report.baseline}
    return [spec for spec in sweep.specs if spec.id not in left_out]
