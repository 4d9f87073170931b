"""From cells to a ``Comparison``: every spec against the baseline, and against each other.

All figures are taken over the leaderboard's cells, so that they differ by forecasts alone.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from pmx_ray._typing import BoolArray, DateArray, FloatArray
from pmx_ray.backtest.cells import (
    PAIRED_LOSSES,
    Axes,
    Cells,
    SpecName,
    collect,
    complete_specs,
    joined_axes,
)
from pmx_ray.backtest.comparison import Comparison, PairedDifference, SetTests
from pmx_ray.backtest.diagnostics_table import Errors, diagnostics_table
from pmx_ray.backtest.evaluate import EvaluationSettings
from pmx_ray.backtest.pairwise import PairTests, pairs_of
from pmx_ray.backtest.regime_table import regime_table
from pmx_ray.backtest.resampling import Draws, draw_cutoffs
from pmx_ray.backtest.scoring import none_if_nan
from pmx_ray.backtest.set_tests import LossSums, set_tests
from pmx_ray.backtest.strategy import Sleeves
from pmx_ray.backtest.strategy_table import strategy_table
from pmx_ray.backtest.tally import Tally, tally
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.stats.intervals import ratio
from pmx_ray.stats.predictive import effect_size

NO_REGIMES: Mapping[str, DateArray] = MappingProxyType({})


def compare(
    frames: Iterable[tuple[ForecasterSpec, pa.Table]],
    plan_step_size: int,
    settings: EvaluationSettings,
    *,
    baseline: str,
    seed: int,
    regimes: Mapping[str, DateArray] = NO_REGIMES,
) -> Comparison:
    """Return the comparison of whole frames; arguments and errors are those of ``evaluate``.

    ``regimes`` are the sessions of each, see ``regime_table.regimes_of``.
    """
    cells = collect(frames)
    complete = complete_specs([cells], baseline, max_failed_frac=settings.max_failed_frac)
    return compare_parts(
        [cells], complete, plan_step_size, settings, baseline=baseline, seed=seed, regimes=regimes
    )


def compare_parts(
    parts: Iterable[Cells],
    complete: Set[str],
    plan_step_size: int,
    settings: EvaluationSettings,
    *,
    baseline: str,
    seed: int,
    regimes: Mapping[str, DateArray] = NO_REGIMES,
) -> Comparison:
    """Return the comparison of cells that come in parts; it pairs the leaderboard's cells.

    As in ``evaluate_parts``, one part is in memory at a time.
    """
    gathered: list[_AtStep] = []
    axes_of_parts = []
    for cells in parts:
        base = cells.spec(baseline).named
        if not gathered:
            specs = tuple(spec.named for spec in cells.specs)
            gathered = [
                _AtStep(specs, base, Sleeves(step, plan_step_size)) for step in cells.axes.steps
            ]
        common = cells.common(complete)
        for h, at_step in enumerate(gathered):
            at_step.add(cells, h, common=common[..., h], settings=settings)
        axes_of_parts.append(cells.axes)
    axes = joined_axes(axes_of_parts)
    return _concluded(gathered, axes, complete, settings, seed=seed, regimes=regimes)


@dataclass(slots=True)
class _AtStep:
    """What is kept of the cells of one step: sums, series by cutoff, and errors."""

    specs: tuple[SpecName, ...]
    base: SpecName
    sleeves: Sleeves
    pairs: PairTests = field(init=False)
    losses: dict[tuple[str, str], list[LossSums]] = field(default_factory=dict)
    tallies: dict[SpecName, list[Tally]] = field(default_factory=dict)
    errors: dict[SpecName, list[Errors]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pairs = pairs_of(self.specs, self.base.id)
        self.pairs = PairTests(pairs, self.sleeves.step, self.sleeves.step_size)

    def add(self, cells: Cells, h: int, *, common: BoolArray, settings: EvaluationSettings) -> None:
        """Take the next rows; ``common`` are the cells that figures are taken over, (F, N)."""
        own = {spec.id: cells.losses(spec, h, common) for spec in cells.specs}
        self.pairs.add(own, is_path=cells.axes.is_path)
        for spec in cells.specs:
            for loss in PAIRED_LOSSES:
                sums = LossSums.of(own[spec.id][loss])
                self.losses.setdefault((spec.id, loss), []).append(sums)
            summed = tally(
                cells, spec, h, common=common, baseline=own[self.base.id], rule=settings.rule
            )
            self.tallies.setdefault(spec.named, []).append(summed)
            self.errors.setdefault(spec.named, []).append(Errors.of(cells, spec, h, common))


def _concluded(
    gathered: list[_AtStep],
    axes: Axes,
    complete: Set[str],
    settings: EvaluationSettings,
    *,
    seed: int,
    regimes: Mapping[str, DateArray],
) -> Comparison:
    differences: list[PairedDifference] = []
    sets: list[SetTests] = []
    tables: dict[str, list[pa.Table]] = {}
    for at_step in gathered:
        sleeves, base = at_step.sleeves, at_step.base
        draws = draw_cutoffs(
            axes,
            sleeves.step,
            step_size=sleeves.step_size,
            n_resamples=settings.n_resamples,
            seed=seed,
        )
        differences += _differences(at_step, draws, level=settings.level)
        sets += [
            set_tests(
                {
                    spec.id: LossSums.joined(at_step.losses[spec.id, loss])
                    for spec in at_step.specs
                    if spec.id in complete
                },
                baseline=base.id,
                step=sleeves.step,
                loss=loss,
                draws=draws,
                n_resamples=settings.n_resamples,
                seed=seed,
            )
            for loss in PAIRED_LOSSES
        ]
        tallies = {spec: Tally.joined(parts) for spec, parts in at_step.tallies.items()}
        of_step = {
            "pairwise": [at_step.pairs.table(axes)],
            "strategies": [
                strategy_table(
                    tallies,
                    axes,
                    baseline=base.id,
                    sleeves=sleeves,
                    draws=draws,
                    level=settings.level,
                    n_resamples=settings.n_resamples,
                    seed=seed,
                    tail=settings.tail,
                )
            ],
            "diagnostics": [
                diagnostics_table(spec, Errors.joined(parts), axes, sleeves=sleeves)
                for spec, parts in at_step.errors.items()
            ],
            "regimes": [
                regime_table(tallies, axes, sleeves=sleeves, regimes=regimes, complete=complete)
            ],
        }
        for name, found in of_step.items():
            tables.setdefault(name, []).extend(found)
    first = gathered[0]
    return Comparison(
        baseline=first.base.id,
        baseline_label=first.base.label,
        step_size=first.sleeves.step_size,
        level=settings.level,
        n_resamples=settings.n_resamples,
        seed=seed,
        tail=settings.tail,
        differences=tuple(differences),
        sets=tuple(sets),
        **{name: pa.concat_tables(parts).combine_chunks() for name, parts in tables.items()},
    )


def _differences(at_step: _AtStep, draws: Draws, *, level: float) -> list[PairedDifference]:
    step = at_step.sleeves.step
    return [
        _difference(pair.first, step, loss, *at_step.pairs.sums(loss, n), draws=draws, level=level)
        for n, pair in enumerate(at_step.pairs.pairs)
        if pair.second == at_step.base
        for loss in PAIRED_LOSSES
    ]


def _difference(
    spec: SpecName,
    step: int,
    loss: str,
    total: FloatArray,
    n_pairs: FloatArray,
    *,
    draws: Draws,
    level: float,
) -> PairedDifference:
    """Return the difference whose sums by row, and their numbers of pairs, are given, both (F,)."""
    drawn = ratio(draws.resampled(total), draws.resampled(n_pairs))
    low, high = draws.interval(drawn, n_pairs, level=level)
    by_cutoff = ratio(draws.per_cutoff(total), draws.per_cutoff(n_pairs))
    effects = _effects(by_cutoff, draws.counts)
    effect_low, effect_high = draws.interval(effects, n_pairs, level=level)
    n_cells = int(n_pairs.sum())
    return PairedDifference(
        spec=spec.id,
        label=spec.label,
        step=step,
        loss=loss,
        mean=float(total.sum()) / n_cells if n_cells else None,
        low=none_if_nan(low),
        high=none_if_nan(high),
        effect=none_if_nan(effect_size(by_cutoff)),
        effect_low=none_if_nan(effect_low),
        effect_high=none_if_nan(effect_high),
        n_cells=n_cells,
        n_cutoffs=draws.n_cutoffs(n_pairs),
        block_length=draws.block,
    )


def _effects(by_cutoff: FloatArray, counts: FloatArray) -> FloatArray:
    """Return ``effect_size`` of differences (C,), each drawn so often, (B, C); NaN unspread."""
    known = ~np.isnan(by_cutoff)
    values, weights = by_cutoff[known], counts[:, known]
    if not len(values):
        return np.full(len(counts), np.nan)
    values = values / (np.abs(values).max() or 1.0)  # scaled: squares of small losses vanish
    n = weights.sum(axis=1)
    mean = ratio(weights @ values, n)
    spread = ratio(weights @ values**2 - n * mean**2, n - 1.0)
    return ratio(mean, np.sqrt(np.where(spread > 1e-24, spread, 0.0)))
