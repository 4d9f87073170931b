"""Paired loss differences against the baseline, on identical cells, with their intervals."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, fields
from pathlib import Path

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
from pmx_ray.backtest.evaluate import EvaluationSettings
from pmx_ray.backtest.report_types import REPORT_VERSION, read_json, write_json
from pmx_ray.backtest.resampling import Draws, draw_cutoffs
from pmx_ray.errors import DataError
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.stats.intervals import ratio

COMPARISON = "comparison.json"
"""Name of the file that a comparison is saved as."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean difference of one loss between a spec and the baseline; below 0 the spec is better.

    Attributes
    ----------
    spec, label : str
        The spec.
    step : int
        Sessions after the cutoff.
    loss : str
        One of ``PAIRED_LOSSES``.
    mean : float or None
        Mean over cells of the spec's loss less the baseline's; None without a cell.
    low, high : float or None
        Its bootstrap interval; None with too few cutoffs.
    n_cells, n_cutoffs : int
        Pairs, and the distinct cutoffs they belong to.
    block_length : int
        Mean block length of the bootstrap, in cutoffs.
    """

    spec: str
    label: str
    step: int
    loss: str
    mean: float | None
    low: float | None
    high: float | None
    n_cells: int
    n_cutoffs: int
    block_length: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every spec against the baseline.

    Attributes
    ----------
    baseline, baseline_label : str
        Spec id and label.
    step_size : int
        Sessions between cutoffs.
    level : float
        Coverage of the intervals.
    n_resamples, seed : int
        Of the bootstrap.
    differences : tuple of PairedDifference
        By step, then label, then loss.
    key : str
        Key of the evaluation it goes with; empty where it was made from frames alone.
    """

    baseline: str
    baseline_label: str
    step_size: int
    level: float
    n_resamples: int
    seed: int
    differences: tuple[PairedDifference, ...]
    key: str = ""

    def save(self, folder: Path) -> None:
        """Write ``comparison.json`` into ``folder``, atomically."""
        write_json(folder / COMPARISON, {"schema_version": REPORT_VERSION, **asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> "Comparison":
        """Return the comparison that ``save`` wrote into ``folder``.

        Raises
        ------
        DataError
            If the file is missing, damaged or of another schema version.
        """
        path = folder / COMPARISON
        document = read_json(path, verb="compare")
        try:
            values = {field.name: document[field.name] for field in fields(cls)}
            rows = tuple(PairedDifference(**row) for row in document["differences"])
        except (KeyError, TypeError) as error:
            raise DataError(f"{path} is not whole ({error!r}); run `pmx compare` again") from None
        return cls(**{**values, "differences": rows})


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
        differences=tuple(differences),
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
        n_cells=n_cells,
        n_cutoffs=draws.n_cutoffs(n_pairs),
        block_length=draws.block,
    )


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value
