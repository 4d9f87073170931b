"""The audit: every probe on every stage, and an oracle first that every probe must catch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.folds import FoldPlan
from pmx_ray.governance.facts import LeakFacts
from pmx_ray.leaks.choosing import outcomes
from pmx_ray.leaks.probes import (
    PROBES,
    Finding,
    Probed,
    canary,
    differing,
    overwrite,
    shuffle,
    truncate,
)
from pmx_ray.leaks.stages import Kind, Outputs, Signals, Stage


@dataclass(frozen=True, slots=True)
class LeakAudit:
    """What the probes of all stages gave, in the order in which they were made."""

    probed: tuple[Probed, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every leak; none is a pass where ``n_probes`` is not 0."""
        return tuple(finding for probed in self.probed for finding in probed.findings)

    @property
    def n_probes(self) -> int:
        """Outputs recomputed and outcomes scored."""
        return sum(probed.n for probed in self.probed)

    def facts(self) -> LeakFacts:
        """Return what a certificate rests on."""
        return LeakFacts(self.n_probes, tuple(str(finding) for finding in self.findings))


def audit(
    stages: Sequence[Stage],
    panel: Panel,
    plan: FoldPlan,
    *,
    rng: np.random.Generator,
    n_cutoffs: int = 3,
) -> LeakAudit:
    """Probe every stage for dependence on the future.

    Each stage is computed about ``2 + 1.5 n_cutoffs`` times over the plan, and up to 250 cells
    more. The oracle, a stage that states the coming return, goes first: were a probe not to catch
    it, the panel or the plan were too small for the audit to mean anything.

    Parameters
    ----------
    stages : sequence of Stage
        What is audited.
    panel : Panel
        Prices.
    plan : FoldPlan
        A walk-forward plan: a combinatorial one trains on the future by design.
    rng : Generator
        Draws noise and coins.
    n_cutoffs : int
        Folds at which the future is cut off and overwritten, spread over the plan.

    Raises
    ------
    SettingsError
        If the plan is combinatorial.
    DataError
        If a probe does not catch the oracle.
    """
    if plan.split.any() or any(plan.holes):
        raise SettingsError("a combinatorial plan trains on later sessions by design; audit a walk")
    _check_sight(tuple(_probe(Oracle(), panel, plan, rng, n_cutoffs)))
    return LeakAudit(
        tuple(p for stage in stages for p in _probe(stage, panel, plan, rng, n_cutoffs))
    )


def sample(panel: Panel, plan: FoldPlan, *, n_folds: int, n_tickers: int) -> tuple[Panel, FoldPlan]:
    """Return at most so many tickers and folds, spread over those there are."""
    stride = -(-len(plan) // n_folds)
    rows = np.unique(np.linspace(0, panel.n_tickers - 1, n_tickers).round().astype(int))
    return panel.select([panel.tickers[row] for row in rows]), plan[::stride]


@dataclass(frozen=True, slots=True)
class Oracle:
    """A stage that states the coming return and its square: the canary of the audit itself."""

    name: str = "oracle"
    kind: Kind = "forecaster"

    def outputs(self, panel: Panel, plan: FoldPlan) -> Outputs:
        """Return each fold's own outcome, NaN where it is not out."""
        actual: FloatArray = outcomes(panel, plan.cutoff, plan.steps[0])[..., None]
        return Outputs(actual, plan.cutoff, panel.tickers, Signals(actual, plan.steps[:1]))


def _check_sight(probed: Sequence[Probed]) -> None:
    seen = {p.probe for p in probed if p.findings}
    blind = [probe for probe in PROBES if probe not in seen]
    if blind:
        raise DataError(
            f"the audit is blind here: probe '{blind[0]}' did not catch a planted oracle; "
            "give it more folds or tickers"
        )


def _probe(
    stage: Stage, panel: Panel, plan: FoldPlan, rng: np.random.Generator, n_cutoffs: int
) -> Iterator[Probed]:
    clean = stage.outputs(panel, plan)
    limits = clean.limits[_picks(plan, len(clean.limits), n_cutoffs)]
    by_bits = (
        truncate(stage, panel, plan, clean=clean, limits=limits),
        overwrite(stage, panel, plan, clean=clean, limits=limits, rng=rng),
    )
    yield from _if_repeatable(by_bits, stage, panel, plan, clean)
    yield shuffle(stage, panel, plan, rng=rng)
    yield canary(stage, panel, plan, rng=rng)


def _picks(plan: FoldPlan, n_rows: int, n_cutoffs: int) -> IntArray:
    """Return rows spread from the first to the last, those between on the eve of a refit.

    There a fit that was made too late shows at once; on other folds it is the right one.
    """
    picks = np.linspace(0, n_rows - 1, n_cutoffs).round().astype(np.int64)
    eves = np.flatnonzero(np.diff(plan.train_stop))
    if n_rows == len(plan) and len(eves) > 0:
        picks[1:-1] = [eves[np.argmin(np.abs(eves - pick))] for pick in picks[1:-1]]
    return np.unique(picks)


def _if_repeatable(
    probed: tuple[Probed, ...], stage: Stage, panel: Panel, plan: FoldPlan, clean: Outputs
) -> Iterator[Probed]:
    """Yield the probes that compare bits, or say that the stage has none to compare."""
    last = int(clean.limits[-1])
    if not any(p.findings for p in probed) or not (
        differing(clean, stage.outputs(panel, plan), last).any()
    ):
        yield from probed
        return
    sentence = "the same call twice gives other numbers, so bits cannot be compared; use its rng"
    finding = Finding(stage.kind, stage.name, "repeat", "all", "", sentence)
    yield from (replace(p, n=0, findings=()) for p in probed)
    yield Probed(stage.kind, stage.name, "repeat", 1, (finding,))
