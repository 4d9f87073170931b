"""From an evaluation to the trials it makes, and from all trials to what a certificate reads."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pmx_ray._typing import DateArray, FloatArray
from pmx_ray.backtest.report_types import EvaluationReport
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.backtest.strategy import Sleeves
from pmx_ray.folds import FoldSettings
from pmx_ray.governance.facts import TrialFacts
from pmx_ray.ledger.trials import Trial, TrialSource
from pmx_ray.provenance import canonical_json, sha256_hex
from pmx_ray.stats.overfitting import moments, probability_of_overfitting

MOST_BLOCKS, MIN_BLOCK = 16, 4
"""Blocks of the cross-validation behind the probability of overfitting, and least cutoffs of one
when both its ends are purged; of few cutoffs, fewer blocks are cut."""


def trials_of(
    report: EvaluationReport,
    settings: SweepSettings,
    tickers: Iterable[str],
    *,
    source: TrialSource | None = None,
) -> tuple[Trial, ...]:
    """Return every configuration of a report: each spec at each step, the baseline among them.

    Parameters
    ----------
    report : EvaluationReport
        What was evaluated; one of a combinatorial plan, which has no walk in time, gives a series
        without a return, and counts all the same.
    settings : SweepSettings
        What it was asked for.
    tickers : iterable of str
        The panel's.
    source : TrialSource, optional
        ``ci`` where the environment has ``CI`` set, else ``sweep``.
    """
    source = source or (TrialSource.CI if os.environ.get("CI") else TrialSource.SWEEP)
    names = tuple(sorted(tickers))
    found = []
    for row in report.leaderboard.to_pylist():
        cutoffs, returns = series(report, spec=row["spec"], step=row["step"])
        config_id = configuration_id(
            row["spec"],
            row["step"],
            rule=report.settings,
            folds=settings.folds,
            seed=settings.seed,
            tickers=names,
        )
        found.append(
            Trial(
                config_id=config_id,
                spec_id=row["spec"],
                label=row["label"],
                step=row["step"],
                source=source,
                tickers=names,
                cutoffs=cutoffs,
                returns=returns,
            )
        )
    return tuple(found)


def configuration_id(
    spec_id: str,
    step: int,
    *,
    rule: Mapping[str, Any],
    folds: FoldSettings,
    seed: int,
    tickers: Iterable[str],
) -> str:
    """Return the id of a configuration: all that can be chosen and that can change a return.

    One more day of prices is no part of it.

    Parameters
    ----------
    spec_id, step : str, int
        What forecasts, and how far.
    rule : mapping
        Evaluation settings as JSON, of which ``costs`` and ``min_edge_bps`` make the trading rule.
    folds : FoldSettings
        The layout of the folds as it was written.
    seed : int
        Root of every draw.
    tickers : iterable of str
        Sorted.
    """
    config = {
        "spec": spec_id,
        "step": step,
        "rule": {name: rule.get(name) for name in ("costs", "min_edge_bps")},
        "folds": folds.model_dump(mode="json"),
        "seed": seed,
        "tickers": tuple(tickers),
    }
    return sha256_hex(canonical_json(config))


def series(report: EvaluationReport, *, spec: str, step: int) -> tuple[DateArray, FloatArray]:
    """Return the distinct cutoffs of a report and the net return of a spec at each, both (C,)."""
    table = report.cutoffs
    table = table.filter(pc.and_(pc.equal(table["spec"], spec), pc.equal(table["step"], step)))
    cutoffs = table["cutoff"].to_numpy().astype("datetime64[D]")
    returns = table["net_return"].to_numpy().astype(np.float64)
    distinct, first, counts = np.unique(cutoffs, return_index=True, return_counts=True)
    if counts.max(initial=1) > 1:  # a combinatorial plan scores a cutoff in several splits
        return distinct, np.full(len(distinct), np.nan)
    return distinct, returns[first]


def trial_facts(
    known: Sequence[Trial], own: Sequence[Trial], *, step: int, step_size: int
) -> TrialFacts:
    """Return what all trials of a data slice say of a run that holds some of them.

    A configuration counts once, with its returns in the run where the run holds it.

    Sharpe ratios are compared per period, so only trials of the same step have a say in their
    variance; all count. Where several were tried, the variance is at least that of the ratios of
    worthless strategies over as many returns, ``1 / n``. Overfitting is judged among the trials of
    that step which have a return at every cutoff at which the run has one.

    Parameters
    ----------
    known : sequence of Trial
        Every trial that touches the run's slice.
    own : sequence of Trial
        Those of the run.
    step, step_size : int
        Sessions that positions are held, and between cutoffs of the run.
    """
    every = {trial.config_id: trial for trial in (*known, *own)}
    alike = [trial for trial in every.values() if trial.step == step]
    sharpes = [moments(trial.returns).sharpe for trial in alike]
    finite = np.array([sharpe for sharpe in sharpes if np.isfinite(sharpe)])
    sleeves = Sleeves(step, step_size)
    own_columns = [trial for trial in own if trial.step == step]
    cutoffs = own_columns[0].cutoffs
    known_here = ~np.isnan([trial.returns for trial in own_columns]).all(axis=0)
    columns = [_at(trial, cutoffs)[known_here] for trial in alike]
    whole = [column for column in columns if len(column) and not np.isnan(column).any()]
    pbo, n_splits = _overfitting(whole, sleeves)
    least = sleeves.n_sleeves / max(int(known_here.sum()), 1) if len(every) > 1 else 0.0
    spread = float(np.var(finite, ddof=1)) if len(finite) > 1 else 0.0
    return TrialFacts(
        n_trials=len(every),
        n_in_run=len(own),
        sharpe_variance=max(spread, least),
        pbo=pbo,
        n_splits=n_splits,
    )


def _at(trial: Trial, cutoffs: DateArray) -> FloatArray:
    """Return the returns of a trial at ``cutoffs``; NaN where it has none."""
    place = np.searchsorted(trial.cutoffs, cutoffs).clip(max=len(trial.cutoffs) - 1)
    return np.where(trial.cutoffs[place] == cutoffs, trial.returns[place], np.nan)


def _overfitting(columns: Sequence[FloatArray], sleeves: Sleeves) -> tuple[float | None, int]:
    """Return the probability of overfitting, and the splits behind it; None where undefined."""
    if len(columns) < 2:
        return None, 0
    returns = np.column_stack(columns)
    purge = sleeves.n_sleeves - 1
    most = min(MOST_BLOCKS, len(returns) // (2 * purge + MIN_BLOCK))
    n_blocks = most - most % 2
    if n_blocks < 2:
        return None, 0
    found = probability_of_overfitting(returns, n_blocks=n_blocks, purge=purge)
    return (None, 0) if np.isnan(found.pbo) else (found.pbo, found.n_splits)
