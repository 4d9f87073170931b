"""What a search gained, on the folds it saw and on those it did not, with intervals.

The gap between the two is what the choice owes to chance: the best of many trials looks better on
the folds that chose it than it is.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pmx_ray._typing import FloatArray
from pmx_ray.backtest.report_types import EvaluationReport, json_bytes
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.lake import FolderStore
from pmx_ray.stats.intervals import (
    MIN_CUTOFFS,
    block_length,
    percentile_interval,
    resample_counts,
)
from tune_jobs.choice import Choice
from tune_jobs.contest import Contest, relative_loss
from tune_jobs.job import Search
from tune_jobs.settings import Loss

GAIN = "gain.json"

_COLUMN: dict[Loss, str] = {"squared_error": "mse", "qlike": "qlike", "crps": "crps"}


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its interval; NaN where there are too few cutoffs for one."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """Return the three numbers, null for NaN."""
        return {key: None if np.isnan(v) else v for key, v in asdict(self).items()}


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """Sums of a loss by cutoff, on one partition.

    Attributes
    ----------
    own, base : ndarray of shape (C, H)
        Of a configuration and of the random walk, over the same cells.
    """

    own: FloatArray
    base: FloatArray

    @property
    def relative(self) -> float:
        """See ``relative_loss``."""
        return relative_loss(self.own, self.base)

    def resampled(self, counts: FloatArray) -> FloatArray:
        """Return the relative loss in each resample, (B,), given how often it draws a cutoff."""
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn: FloatArray = ((counts @ self.own) / (counts @ self.base)).mean(axis=1)
        return drawn


@dataclass(frozen=True, slots=True)
class Gain:
    """What the choice is worth; losses are relative to the random walk's, lower is better.

    Attributes
    ----------
    tuned, default : Figure
        Relative loss on the evaluation partition.
    improvement : Figure
        ``default - tuned``; above 0 the search helped. Paired: both are resampled together.
    tuning, tuning_default : Figure
        Relative loss on the tuning partition.
    gap : Figure
        Evaluation less tuning loss of the choice; above 0 the tuning loss promised too much.
    excess_gap : Figure
        The gap less the default's. The two partitions differ, which moves both gaps alike; what is
        left is the price of having chosen.
    n_tuning, n_evaluation : int
        Cutoffs of the partitions.
    failed : str
        Which of the two failed on too many cells, where it did; figures of it are then NaN: losses
        on the cells that a forecaster chose to serve are none that can be compared.
    """

    tuned: Figure
    default: Figure
    improvement: Figure
    tuning: Figure
    tuning_default: Figure
    gap: Figure
    excess_gap: Figure
    n_tuning: int
    n_evaluation: int
    failed: str = ""

    @property
    def verdict(self) -> str:
        """One line: whether tuning helped out of sample."""
        if self.failed:
            return f"no telling whether tuning helped: {self.failed}"
        low, high = self.improvement.low, self.improvement.high
        if np.isnan(low):
            return "too few cutoffs to tell whether tuning helped"
        if low > 0:
            return "tuning helped out of sample"
        if high < 0:
            return "tuning hurt out of sample"
        return "no sign that tuning helped out of sample: the interval holds 0"

    @property
    def improved_on_tuning(self) -> float:
        """The default's loss less the choice's, on the folds that chose it."""
        return self.tuning_default.value - self.tuning.value

    def as_json(self) -> dict[str, Any]:
        """Return every figure."""
        figures = {
            key: getattr(self, key).as_json()
            for key in ("tuned", "default", "improvement", "tuning", "tuning_default", "gap",
                        "excess_gap")
        }  # fmt: skip
        return {
            **figures,
            "n_tuning": self.n_tuning,
            "n_evaluation": self.n_evaluation,
            "failed": self.failed,
            "verdict": self.verdict,
        }


def evaluation_losses(report: EvaluationReport, spec: str, loss: Loss) -> Losses:
    """Return the sums of a spec and of the baseline by cutoff of a report.

    NaN where the spec is incomplete: its cells are then not those of the baseline.
    """
    own, base = (_sums(report, name, loss) for name in (spec, report.baseline))
    if _is_incomplete(report, spec):
        return Losses(np.full_like(own, np.nan), base)
    known = ~(np.isnan(own) | np.isnan(base))
    return Losses(np.where(known, own, 0.0), np.where(known, base, 0.0))


def _is_incomplete(report: EvaluationReport, spec: str) -> bool:
    rows = report.leaderboard.filter(pc.equal(report.leaderboard["spec"], spec))
    return any(rows["incomplete"].to_pylist())


def _sums(report: EvaluationReport, spec: str, loss: Loss) -> FloatArray:
    """Return sums over the tickers, (C, H)."""
    table = report.cutoffs.filter(pc.equal(report.cutoffs["spec"], spec))
    table = table.sort_by([("step", "ascending"), ("cutoff", "ascending")])
    n_steps = len(pc.unique(table["step"]))
    mean = table[_COLUMN[loss]].to_numpy().astype(np.float64)
    sums: FloatArray = (mean * table["n_common"].to_numpy()).reshape(n_steps, -1).T
    return sums


def gain(
    tuning: tuple[Losses, Losses],
    evaluation: tuple[Losses, Losses],
    *,
    steps: tuple[int, ...],
    step_size: int,
    n_resamples: int,
    level: float,
    seed: int,
) -> Gain:
    """Return what a choice is worth.

    Parameters
    ----------
    tuning, evaluation : (Losses, Losses)
        Of the choice and of the default, on each partition.
    steps, step_size : tuple of int, int
        Of the folds; blocks of the bootstrap cover the longest step.
    n_resamples, level, seed : int, float, int
        Of the stationary bootstrap over cutoffs, and coverage of the intervals.
    """
    counts = [
        _counts(len(pair[0].own), steps[-1], step_size, n_resamples, [seed, n])
        for n, pair in enumerate((tuning, evaluation))
    ]
    (tuned_t, default_t), (tuned_e, default_e) = (
        tuple(losses.resampled(drawn) for losses in pair)
        for pair, drawn in zip((tuning, evaluation), counts, strict=True)
    )
    few = min(len(tuning[0].own), len(evaluation[0].own)) < MIN_CUTOFFS

    def figure(value: float, drawn: FloatArray) -> Figure:
        low, high = (np.nan, np.nan) if few else percentile_interval(drawn, level=level)
        return Figure(value, low, high)

    (t, dt), (e, de) = ((a.relative, b.relative) for a, b in (tuning, evaluation))
    return Gain(
        tuned=figure(e, tuned_e),
        default=figure(de, default_e),
        improvement=figure(de - e, default_e - tuned_e),
        tuning=figure(t, tuned_t),
        tuning_default=figure(dt, default_t),
        gap=figure(e - t, tuned_e - tuned_t),
        excess_gap=figure((e - t) - (de - dt), (tuned_e - tuned_t) - (default_e - default_t)),
        n_tuning=len(tuning[0].own),
        n_evaluation=len(evaluation[0].own),
    )


def _counts(
    n_cutoffs: int, step: int, step_size: int, n_resamples: int, seed: list[int]
) -> FloatArray:
    block = block_length(n_cutoffs, step=step, step_size=step_size)
    rng = np.random.default_rng(seed)
    return resample_counts(n_cutoffs, block=block, n_resamples=n_resamples, rng=rng)


def judge(search: Search, contest: Contest, choice: Choice, report: EvaluationReport) -> Gain:
    """Write ``gain.json`` and return what the first choice is worth beside the default."""
    settings, tuned = search.settings, choice.tuned
    specs = [ForecasterSpec.parse(f) for f in (tuned.forecasters[0], tuned.default)]
    seen = [_tuning_losses(contest, spec, settings.max_failed_frac) for spec in specs]
    unseen = [evaluation_losses(report, spec.id, settings.loss) for spec in specs]
    evaluation = settings.evaluation
    found = gain(
        (seen[0], seen[1]),
        (unseen[0], unseen[1]),
        steps=search.plan.steps,
        step_size=settings.folds.step_size,
        n_resamples=evaluation.n_resamples,
        level=evaluation.level,
        seed=settings.seed,
    )
    found = replace(found, failed=_failed(specs, seen, unseen))
    compared = [
        {
            "label": one.spec.label,
            "tuning": one.tuning_loss,
            "evaluation": _known(evaluation_losses(report, one.spec.id, settings.loss).relative),
        }
        for one in choice.compared
    ]
    document = {
        "study": tuned.study,
        "loss": tuned.loss,
        "chosen": specs[0].label,
        "default": specs[1].label,
        "level": evaluation.level,
        "gain": found.as_json(),
        "compared": compared,
    }
    FolderStore(search.folder).replace(GAIN, json_bytes(document))
    return found


def _tuning_losses(contest: Contest, spec: ForecasterSpec, max_failed_frac: float) -> Losses:
    score = contest.whole(spec)
    if score.failed_frac > max_failed_frac:
        return Losses(np.full_like(score.own, np.nan), score.base)
    return Losses(score.own, score.base)


def _failed(
    specs: Sequence[ForecasterSpec], seen: Sequence[Losses], unseen: Sequence[Losses]
) -> str:
    """Return which of choice and default failed, and where."""
    where = [
        f"{spec.label} fails on too many of the {folds} folds"
        for folds, side in (("tuning", seen), ("later", unseen))
        for spec, losses in zip(specs, side, strict=True)
        if np.isnan(losses.own).any()
    ]
    return "; ".join(dict.fromkeys(where))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
