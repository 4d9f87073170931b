"""Paired loss differences against the baseline, on identical cells, with their intervals."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pmx_ray._typing import FloatArray
from pmx_ray.backtest.cells import (
    PAIRED_LOSSES,
    Axes,
    Cells,
    SpecName,
    collect,
    complete_specs,
    joined_axes,
)
from pmx_ray.backtest.comparison import Comparison, PairedDifference
from pmx_ray.backtest.evaluate import EvaluationSettings
from pmx_ray.backtest.resampling import Draws, draw_cutoffs
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.stats.intervals import ratio


def compare(
    frames: Iterable[tuple[ForecasterSpec, pa.Table]],
    plan_step_size: int,
    settings: EvaluationSettings,
    *,
    baseline: str,
    seed: int,
) -> Comparison:
    """Return the comparison of whole frames; arguments and errors are those of ``evaluate``."""
    cells = collect(frames)
    complete = complete_specs([cells], baseline, max_failed_frac=settings.max_failed_frac)
    return compare_parts(
        [cells], complete, plan_step_size, settings, baseline=baseline, seed=seed
    )  # fmt: skip


def compare_parts(
    parts: Iterable[Cells],
    complete: Set[str],
    plan_step_size: int,
    settings: EvaluationSettings,
    *,
    baseline: str,
    seed: int,
) -> Comparison:
    """Return the comparison of cells that come in parts; it pairs the leaderboard's cells.

    As in ``evaluate_parts``, one part is in memory at a time.
    """
    read = [_pair(cells, complete, baseline) for cells in parts]
    axes = joined_axes([part.axes for part in read])
    (base,) = (spec for spec in read[0].specs if spec.id == baseline)
    differences: list[PairedDifference] = []
    for h, step in enumerate(axes.steps):
        draws = draw_cutoffs(
            axes, step, step_size=plan_step_size, n_resamples=settings.n_resamples, seed=seed
        )
        for spec in read[0].specs:
            for loss in PAIRED_LOSSES if spec != base else ():
                pairs = [part.pairs[spec.id, h, loss] for part in read]
                total, n_pairs = (np.concatenate(sums) for sums in zip(*pairs, strict=True))
                differences.append(
                    _difference(spec, step, loss, total, n_pairs, draws=draws, level=settings.level)
                )
    return Comparison(
        baseline=baseline,
        baseline_label=base.label,
        step_size=plan_step_size,
        level=settings.level,
        n_resamples=settings.n_resamples,
        seed=seed,
        tail=settings.tail,
        differences=tuple(differences),
        sets=(),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Paired:
    """Sums by row of loss differences and of their numbers, by spec, step and loss."""

    axes: Axes
    specs: tuple[SpecName, ...]
    pairs: Mapping[tuple[str, int, str], tuple[FloatArray, FloatArray]]


def _pair(cells: Cells, complete: Set[str], baseline: str) -> _Paired:
    base, common = cells.spec(baseline), cells.common(complete)
    pairs: dict[tuple[str, int, str], tuple[FloatArray, FloatArray]] = {}
    for h in range(len(cells.axes.steps)):
        used = common[..., h]
        of_base = cells.losses(base, h, used)
        for spec in cells.specs:
            if spec is base:
                continue
            own = cells.losses(spec, h, used)
            for loss in PAIRED_LOSSES:
                difference = own[loss] - of_base[loss]  # (F, N); NaN where either has none
                n_pairs = (~np.isnan(difference)).sum(axis=1).astype(np.float64)
                pairs[spec.id, h, loss] = np.nansum(difference, axis=1), n_pairs
    return _Paired(cells.axes, tuple(spec.named for spec in cells.specs), pairs)


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
    n_cells = int(n_pairs.sum())
    return PairedDifference(
        spec=spec.id,
        label=spec.label,
        step=step,
        loss=loss,
        mean=float(total.sum()) / n_cells if n_cells else None,
        low=_none_if_nan(low),
        high=_none_if_nan(high),
        effect=None,
        effect_low=None,
        effect_high=None,
        n_cells=n_cells,
        n_cutoffs=draws.n_cutoffs(n_pairs),
        block_length=draws.block,
    )


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value
