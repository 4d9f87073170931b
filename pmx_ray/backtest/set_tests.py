"""Tests over all specs at once: superior predictive ability and the model confidence set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import FloatArray
from pmx_ray.backtest.comparison import SetTests
from pmx_ray.backtest.resampling import Draws
from pmx_ray.backtest.scoring import none_if_nan
from pmx_ray.stats.intervals import ratio
from pmx_ray.stats.superior import confidence_set, superior_ability


@dataclass(frozen=True, slots=True, eq=False)
class LossSums:
    """Sums of one loss over the common cells of F rows, and how many cells have it, both (F,)."""

    total: FloatArray
    n: FloatArray

    @classmethod
    def of(cls, values: FloatArray) -> "LossSums":
        """Return the sums of a loss on cells (F, N); NaN where there is none."""
        return cls(np.nansum(values, axis=1), (~np.isnan(values)).sum(axis=1).astype(np.float64))

    @classmethod
    def joined(cls, parts: Sequence["LossSums"]) -> "LossSums":
        """Return the sums of rows that came in parts."""
        return cls(
            np.concatenate([part.total for part in parts]),
            np.concatenate([part.n for part in parts]),
        )


def set_tests(
    sums: Mapping[str, LossSums],
    *,
    baseline: str,
    step: int,
    loss: str,
    draws: Draws,
    n_resamples: int,
    seed: int,
) -> SetTests:
    """Return the tests of one loss at one step.

    Parameters
    ----------
    sums : mapping of str to LossSums
        Id of each complete spec, the baseline among them, to its sums on the common cells.
    baseline : str
        Spec id.
    step : int
        Sessions after the cutoff.
    loss : str
        Its name.
    draws : Draws
        What says which rows are of one cutoff, and the block length.
    n_resamples, seed : int
        Of the stationary bootstrap.
    """
    ids = [baseline, *sorted(set(sums) - {baseline})]
    by_cutoff = np.column_stack(
        [ratio(draws.per_cutoff(sums[i].total), draws.per_cutoff(sums[i].n)) for i in ids]
    )
    known = by_cutoff[~np.isnan(by_cutoff).any(axis=1)]
    stream = int(np.random.default_rng([seed, step]).integers(2**31))
    inside = confidence_set(known, block=draws.block, n_resamples=n_resamples, seed=stream)
    ability = superior_ability(
        known, baseline=0, block=draws.block, n_resamples=n_resamples, seed=stream
    )
    p_values = (none_if_nan(float(p)) for p in inside.p_values)
    return SetTests(
        step=step,
        loss=loss,
        n=len(known),
        block_length=draws.block,
        mcs_p=dict(zip(ids, p_values, strict=True)),
        spa_p=none_if_nan(ability.p_consistent),
        spa_p_lower=none_if_nan(ability.p_lower),
        spa_p_upper=none_if_nan(ability.p_upper),
        superior=tuple(sorted(ids[n] for n in ability.superior)),
    )
