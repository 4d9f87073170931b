"""Paired loss differences against the baseline, on identical cells, with their intervals."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa

from pmx_ray._typing import FloatArray
from pmx_ray.backtest.cells import PAIRED_LOSSES, Cells, SpecCells, collect
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
    return compare_cells(cells, plan_step_size, settings, baseline=baseline, seed=seed)


def compare_cells(
    cells: Cells, plan_step_size: int, settings: EvaluationSettings, *, baseline: str, seed: int
) -> Comparison:
    """Return the comparison of collected cells; it pairs the cells that the leaderboard shows."""
    base = cells.spec(baseline)
    common = cells.common(cells.complete(base, max_failed_frac=settings.max_failed_frac))
    differences: list[PairedDifference] = []
    for h, step in enumerate(cells.axes.steps):
        draws = draw_cutoffs(
            cells.axes,
            step,
            step_size=plan_step_size,
            n_resamples=settings.n_resamples,
            seed=seed,
        )
        used = common[..., h]
        for spec in cells.specs:
            if spec is not base:
                pair = cells.losses(spec, h, used), cells.losses(base, h, used)
                differences += _differences(spec, step, *pair, draws=draws, level=settings.level)
    return Comparison(
        baseline=baseline,
        baseline_label=base.label,
        step_size=plan_step_size,
        level=settings.level,
        n_resamples=settings.n_resamples,
        seed=seed,
        differences=tuple(differences),
    )


def _differences(
    spec: SpecCells,
    step: int,
    own: Mapping[str, FloatArray],
    base: Mapping[str, FloatArray],
    *,
    draws: Draws,
    level: float,
) -> Iterator[PairedDifference]:
    for loss in PAIRED_LOSSES:
        difference = own[loss] - base[loss]  # (F, N); NaN where either has none
        paired = ~np.isnan(difference)
        low, high = draws.interval(_resampled_mean(draws, difference), paired, level=level)
        yield PairedDifference(
            spec=spec.id,
            label=spec.label,
            step=step,
            loss=loss,
            mean=_none_if_nan(float(difference[paired].mean()) if paired.any() else np.nan),
            low=_none_if_nan(low),
            high=_none_if_nan(high),
            n_cells=int(paired.sum()),
            n_cutoffs=draws.n_cutoffs(paired),
            block_length=draws.block,
        )


def _resampled_mean(draws: Draws, difference: FloatArray) -> FloatArray:
    paired = (~np.isnan(difference)).astype(np.float64)
    return ratio(draws.resampled(difference), draws.resampled(paired))


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value
