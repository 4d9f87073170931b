"""Which forecaster is to be the primary one: a weighted score, and a champion not lightly left."""

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np

from pmx_ray.backtest.comparison import Comparison
from pmx_ray.backtest.report_types import EvaluationReport
from pmx_ray.errors import DataError
from pmx_ray.governance.evidence import Row, rows_of
from pmx_ray.governance.policy import MarketRegime, SelectionPolicy


@dataclass(frozen=True, slots=True)
class Candidate:
    """A forecaster with its score and the four parts of it, each from 0 to 1.

    Attributes
    ----------
    spec, label : str
        The forecaster.
    profit_factor : float
        0 at breaking even or with too few trades, 1 at ``full_profit_factor`` and above.
    drawdown : float
        1 without a fall, 0 at ``zero_drawdown_frac`` and beyond, and where it is not known.
    sharpe : float
        0 at 0 and below or with too few trades, 1 at ``full_sharpe_annual`` and above.
    stability : float
        Share of time blocks and market regimes with RMSE skill >= 0; 0 where there are none.
    score : float
        Their sum by the policy's weights.
    """

    spec: str
    label: str
    profit_factor: float
    drawdown: float
    sharpe: float
    stability: float
    score: float


@dataclass(frozen=True, slots=True)
class Selection:
    """The primary model, and why.

    Attributes
    ----------
    spec, label : str
        What is chosen; the baseline where nothing has the minimum uplift over it.
    candidates : tuple of Candidate
        Every complete forecaster, best score first.
    reasons : tuple of str
        The steps of the choice, a sentence each.
    """

    spec: str
    label: str
    candidates: tuple[Candidate, ...]
    reasons: tuple[str, ...]


def choose_primary_model(
    report: EvaluationReport,
    comparison: Comparison,
    policy: SelectionPolicy,
    *,
    champion: str | None,
    baseline: str,
    step: int,
) -> Selection:
    """Return the primary model at one step; nothing but the arguments is seen.

    The best score is chosen if it has the minimum uplift over the baseline's, else the baseline.
    The champion stays unless what would be chosen beats its score by the hysteresis; one whose
    score is below the baseline's does not.

    Parameters
    ----------
    report, comparison : EvaluationReport, Comparison
        Of one evaluation, made of folds whose outcomes are known.
    policy : SelectionPolicy
        Weights, scales, uplift and hysteresis.
    champion : str or None
        Spec id of the model in service.
    baseline : str
        Spec id of what has to be beaten: the LLM or the random walk.
    step : int
        Sessions after the cutoff.

    Raises
    ------
    DataError
        If the baseline has no complete row at ``step``.
    """
    found = candidates(report, comparison, policy, baseline=baseline, step=step)
    by_spec = {candidate.spec: candidate for candidate in found}
    if baseline not in by_spec:
        raise DataError(
            f"baseline {baseline} has no complete row at step {step}; evaluate it beside the others"
        )
    base = by_spec[baseline]
    contender, first = _contender(found, base, policy)
    kept, second = _kept(champion, by_spec, contender=contender, base=base, policy=policy)
    chosen = kept or contender
    return Selection(chosen.spec, chosen.label, found, (first, second))


def _contender(
    found: tuple[Candidate, ...], base: Candidate, policy: SelectionPolicy
) -> tuple[Candidate, str]:
    """Return what has the minimum uplift over the baseline, or the baseline, and why."""
    rivals = [candidate for candidate in found if candidate is not base]
    if not rivals:
        return base, f"{base.label} is the only complete forecaster."
    best = rivals[0]
    uplift = best.score - base.score
    scores = (
        f"{best.label} scores {best.score:.3f} and the baseline, {base.label}, {base.score:.3f}"
    )
    asked = f"an uplift of {uplift:+.3f} where at least {policy.min_uplift:.3f} is asked for"
    if uplift < policy.min_uplift:
        return base, f"{scores}: {asked}, so the baseline would be chosen."
    return best, f"{scores}: {asked}, so {best.label} would be chosen."


def _kept(
    champion: str | None,
    by_spec: Mapping[str, Candidate],
    *,
    contender: Candidate,
    base: Candidate,
    policy: SelectionPolicy,
) -> tuple[Candidate | None, str]:
    """Return the champion if it stays, and why it does or does not."""
    if champion is None:
        return None, "No model is in service yet."
    held = by_spec.get(champion)
    if held is None:
        return None, f"The model in service, {champion}, has no complete row here and is replaced."
    if held is contender:
        return held, f"{held.label} is in service already and stays."
    if held.score < base.score:
        return None, (
            f"{held.label}, in service, scores {held.score:.3f}, below the baseline, and is "
            "replaced."
        )
    lead = contender.score - held.score
    words = (
        f"{contender.label} leads {held.label}, in service, by {lead:.3f}; at least "
        f"{policy.hysteresis:.3f} is asked for before a change"
    )
    if lead < policy.hysteresis:
        return held, f"{words}, so {held.label} stays."
    return None, f"{words}, so it is replaced."


def candidates(
    report: EvaluationReport,
    comparison: Comparison,
    policy: SelectionPolicy,
    *,
    baseline: str,
    step: int,
) -> tuple[Candidate, ...]:
    """Return every complete forecaster with its score, best first; ties by label."""
    skills = _block_skills(report, baseline=baseline, step=step, n_blocks=policy.n_time_blocks)
    for spec, of_regimes in _regime_skills(comparison, policy, step=step).items():
        skills[spec] += of_regimes
    found = [
        _candidate(Row(row), skills[row["spec"]], policy)
        for row in rows_of(report.leaderboard, step=step)
        if not row["incomplete"]
    ]
    return tuple(sorted(found, key=lambda candidate: (-candidate.score, candidate.label)))


def _candidate(row: Row, skills: list[float], policy: SelectionPolicy) -> Candidate:
    traded = row.count("n_trades") >= policy.min_trades
    factor = row.number("profit_factor") if traded else None
    sharpe = row.number("sharpe_annual") if traded else None
    fall = row.number("max_drawdown_frac")
    parts = (
        _scaled(factor, zero=1.0, one=policy.full_profit_factor),
        _scaled(fall, zero=policy.zero_drawdown_frac, one=0.0),
        _scaled(sharpe, zero=0.0, one=policy.full_sharpe_annual),
        sum(skill >= 0.0 for skill in skills) / len(skills) if skills else 0.0,
    )
    weights = (
        policy.weight_profit_factor,
        policy.weight_drawdown,
        policy.weight_sharpe,
        policy.weight_stability,
    )
    score = math.fsum(weight * part for weight, part in zip(weights, parts, strict=True))
    return Candidate(row.text("spec"), row.text("label"), *parts, score)


def _scaled(value: float | None, *, zero: float, one: float) -> float:
    """Return where ``value`` lies between what scores 0 and what scores 1; 0 where it is None."""
    if value is None:
        return 0.0
    return min(1.0, max(0.0, (value - zero) / (one - zero)))


def _block_skills(
    report: EvaluationReport, *, baseline: str, step: int, n_blocks: int
) -> defaultdict[str, list[float]]:
    """Return the RMSE skill of each spec in each stretch of time that has a cutoff of it."""
    mse: defaultdict[str, dict[dt.date, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows_of(report.cutoffs, step=step):
        if row["mse"] is not None and not math.isnan(row["mse"]):
            mse[row["spec"]][row["cutoff"]].append(row["mse"])
    base = mse[baseline]
    blocks = [set(block) for block in np.array_split(np.array(sorted(base), object), n_blocks)]
    skills: defaultdict[str, list[float]] = defaultdict(list)
    for spec, own in mse.items():
        for block in blocks:
            shared = sorted(block & own.keys())
            of_base = math.fsum(sum(base[cutoff]) for cutoff in shared)
            if of_base > 0.0:
                share = math.fsum(sum(own[cutoff]) for cutoff in shared) / of_base
                skills[spec].append(1.0 - math.sqrt(share))
    return skills


def _regime_skills(
    comparison: Comparison, policy: SelectionPolicy, *, step: int
) -> defaultdict[str, list[float]]:
    """Return the RMSE skill of each spec in each market regime with enough cutoffs."""
    skills: defaultdict[str, list[float]] = defaultdict(list)
    for values in rows_of(comparison.regimes, step=step):
        row = Row(values)
        skill = row.number("skill_rmse")
        if row.text("regime") not in get_args(MarketRegime) or skill is None:
            continue
        if row.count("n_cutoffs") >= policy.min_regime_cutoffs:
            skills[row.text("spec")].append(skill)
    return skills
