"""Diebold-Mariano and paired t tests of every pair of specs, by ticker and pooled."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pmx_ray._typing import FloatArray
from pmx_ray.backtest.cells import PAIRED_LOSSES, Axes, SpecName
from pmx_ray.backtest.comparison import PAIRWISE_SCHEMA, POOLED
from pmx_ray.backtest.strategy import Sleeves
from pmx_ray.stats.intervals import ratio
from pmx_ray.stats.predictive import DifferenceMoments, DifferenceTests

MOST_SPECS = 40
"""Up to so many specs every pair is tested; beyond, each spec against the baseline alone."""

Losses = Mapping[str, Mapping[str, FloatArray]]
"""Spec id to loss to its values on the common cells of one step, (F, N); NaN where it has none."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two specs; a difference is the loss of ``first`` less that of ``second``."""

    first: SpecName
    second: SpecName


def pairs_of(specs: tuple[SpecName, ...], baseline: str) -> tuple[Pair, ...]:
    """Return what is compared: each spec with the baseline, then, of few specs, the other pairs."""
    (base,) = (spec for spec in specs if spec.id == baseline)
    others = [spec for spec in specs if spec is not base]
    against_base = [Pair(spec, base) for spec in others]
    rest = combinations(others, 2) if len(specs) <= MOST_SPECS else ()
    return (*against_base, *(Pair(first, second) for first, second in rest))


@dataclass(slots=True)
class PairTests:
    """Tests of all pairs at one step, fed a run of rows at a time.

    Tickers are tested one by one only in a walk through time; the rows of a combinatorial plan
    have no order, and are pooled by their cutoff.

    Attributes
    ----------
    pairs : tuple of Pair
        P of them.
    step, step_size : int
        Sessions a forecast reaches, and between cutoffs.
    """

    pairs: tuple[Pair, ...]
    step: int
    step_size: int
    _by_ticker: dict[str, DifferenceMoments] = field(default_factory=dict)
    _sums: dict[str, list[tuple[FloatArray, FloatArray]]] = field(default_factory=dict)

    @property
    def lags(self) -> int:
        """Cutoffs before one whose scored stretch overlaps with its own."""
        return Sleeves(self.step, self.step_size).n_sleeves - 1

    def add(self, losses: Losses, *, is_path: bool) -> None:
        """Take the losses of the next rows."""
        for loss in PAIRED_LOSSES if self.pairs else ():
            difference = np.stack(
                [losses[p.first.id][loss] - losses[p.second.id][loss] for p in self.pairs], axis=1
            )  # (F, P, N)
            known = (~np.isnan(difference)).sum(axis=2).astype(np.float64)
            sums = np.nansum(difference, axis=2), known
            self._sums.setdefault(loss, []).append(sums)
            if is_path:
                series = difference.reshape(len(difference), -1)
                if loss not in self._by_ticker:
                    self._by_ticker[loss] = DifferenceMoments(series.shape[1], lags=self.lags)
                self._by_ticker[loss].add(series)

    def table(self, axes: Axes) -> pa.Table:
        """Return the rows of ``PAIRWISE_SCHEMA``, pairs in their order, pooled ones first."""
        if not self.pairs:
            return PAIRWISE_SCHEMA.empty_table()
        return pa.concat_tables(self._tables(axes))

    def _tables(self, axes: Axes) -> Iterator[pa.Table]:
        for loss in PAIRED_LOSSES:
            pooled = DifferenceMoments(len(self.pairs), lags=self.lags)
            pooled.add(self._pooled(loss, axes))
            yield self._rows(loss, (POOLED,), pooled.tests())
            if loss in self._by_ticker:
                yield self._rows(loss, axes.tickers, self._by_ticker[loss].tests())

    def sums(self, loss: str, pair: int) -> tuple[FloatArray, FloatArray]:
        """Return sums over tickers of the differences of a pair, and their numbers, both (F,)."""
        total, n = self._joined(loss)
        return total[:, pair], n[:, pair]

    def _joined(self, loss: str) -> tuple[FloatArray, FloatArray]:
        """Return sums over tickers, and how many there are, both (F, P)."""
        total, n = zip(*self._sums[loss], strict=True)
        return np.concatenate(total), np.concatenate(n)

    def _pooled(self, loss: str, axes: Axes) -> FloatArray:
        """Return the mean difference over tickers (and splits) by distinct cutoff, (C, P)."""
        total, n = self._joined(loss)
        distinct, cutoff = np.unique(axes.cutoff, return_inverse=True)
        by_cutoff = np.zeros((2, len(distinct), len(self.pairs)))
        np.add.at(by_cutoff[0], cutoff, total)
        np.add.at(by_cutoff[1], cutoff, n)
        return ratio(by_cutoff[0], by_cutoff[1])

    def _rows(self, loss: str, tickers: tuple[str, ...], tests: DifferenceTests) -> pa.Table:
        n = len(self.pairs) * len(tickers)

        def each(*names: str) -> npt.NDArray[np.object_]:
            return np.repeat(np.array(names, dtype=object), len(tickers))

        columns: dict[str, object] = {
            "spec": each(*(pair.first.id for pair in self.pairs)),
            "label": each(*(pair.first.label for pair in self.pairs)),
            "versus": each(*(pair.second.id for pair in self.pairs)),
            "versus_label": each(*(pair.second.label for pair in self.pairs)),
            "loss": np.repeat(np.array([loss], dtype=object), n),
            "ticker": np.tile(np.array(tickers, dtype=object), len(self.pairs)),
            "step": np.full(n, self.step),
            "n": tests.n.astype(np.int64),
            "lags": np.full(n, self.lags),
            "mean": tests.mean,
            "dm": tests.statistic,
            "dm_p_less": tests.p_less,
            "dm_p_two_sided": tests.p_two_sided,
            "paired_t": tests.paired_t,
            "paired_p_less": tests.paired_p_less,
            "no_lags": tests.no_lags,
        }
        return pa.table(
            {
                name: pa.array(columns[name], PAIRWISE_SCHEMA.field(name).type, from_pandas=True)
                for name in PAIRWISE_SCHEMA.names
            },
            PAIRWISE_SCHEMA,
        )
