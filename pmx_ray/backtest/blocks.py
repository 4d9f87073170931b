"""Work blocks: what is computed at once, named by everything that can change its result.

A block is one spec on some whole scopes over a run of folds. Its id is a hash of the visible data
slice, the spec, the fold boundaries, the seed and the versions of engine and libraries; not of the
sweep it was planned in. So a block computed once serves every later sweep that needs it, and one
more session of data leaves the blocks of all earlier folds where they are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache, partial
from types import MappingProxyType

import numpy as np

from pmx_ray.backtest.frame import FRAME_SCHEMA
from pmx_ray.backtest.identity import SlicePrices, boundaries, naming
from pmx_ray.backtest.pace import UNSEEN, Pace
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.registry import Device, ForecasterSpec, family
from pmx_ray.provenance import ENGINE_VERSION

TARGET_S = 1.0
"""Seconds of one core that an automatically sized block should hold (Ray's overhead is 1 ms)."""

MAX_FOLDS, MAX_TICKERS = 64, 256
"""Largest automatic block, whatever the forecaster costs."""

Scopes = tuple[tuple[str, ...], ...]
"""Groups of tickers that a forecaster fits jointly, each sorted."""


@dataclass(frozen=True, slots=True)
class BlockSize:
    """Upper bounds of a block; None sizes it by the forecaster's predicted cost."""

    folds: int | None = None
    tickers: int | None = None


@dataclass(frozen=True, slots=True)
class WorkBlock:
    """One spec on whole scopes over the folds ``[first, stop)`` of a plan.

    Attributes
    ----------
    id : str
        64 hexadecimal digits; see the module's docstring.
    spec : ForecasterSpec
        What is fitted.
    scopes : tuple of tuple of str
        The tickers, by what is fitted jointly.
    first, stop : int
        Folds of the plan.
    seed : int
        Root of every generator a fit may draw from.
    predicted_s : float
        Rough seconds of one core; orders the work, never changes a result.
    """

    id: str
    spec: ForecasterSpec
    scopes: Scopes
    first: int
    stop: int
    seed: int
    predicted_s: float

    @property
    def tickers(self) -> tuple[str, ...]:
        """Every ticker of the block, sorted."""
        return tuple(sorted(ticker for scope in self.scopes for ticker in scope))

    @property
    def device(self) -> Device:
        """The device the block needs."""
        return self.spec.device


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """Every block of a sweep: those to compute, costliest first, and those the lake holds."""

    todo: tuple[WorkBlock, ...]
    done: tuple[WorkBlock, ...]

    @property
    def blocks(self) -> tuple[WorkBlock, ...]:
        """All blocks."""
        return self.todo + self.done


def plan_blocks(
    panel: Panel,
    plan: FoldPlan,
    *,
    specs: Sequence[ForecasterSpec],
    seed: int,
    size: BlockSize,
    known: Set[str],
    paces: Mapping[str, Pace] = MappingProxyType({}),
) -> BlockPlan:
    """Cut a sweep into blocks, reusing each block in ``known`` that covers a run of its folds.

    Parameters
    ----------
    panel : Panel
        The sweep's prices.
    plan : FoldPlan
        Folds over the panel's sessions.
    specs : sequence of ForecasterSpec
        What is compared.
    seed : int
        Root seed of the sweep.
    size : BlockSize
        Bounds of a block; they change how work is cut, never a forecast.
    known : set of str
        Ids of the blocks whose receipts verify.
    paces : mapping of spec id to Pace
        How long blocks of a spec took, and how they were cut. Where the lake holds blocks cut
        otherwise than the paces now suggest, a spec is cut as leaves the least to compute.
    """
    cutter = _Cutter(plan, seed, known)
    row_of = {ticker: row for row, ticker in enumerate(panel.tickers)}
    cuts: dict[tuple[str, int], list[WorkBlock]] = {}  # in the order of specs, best width first
    chunks = [
        chunk
        for spec in specs
        for chunk in _chunks(
            spec, panel, plan, size, paces.get(spec.id, UNSEEN), widths_too=bool(known)
        )
    ]
    for chunk in chunks:
        cuts[chunk.spec.id, chunk.width] = []
    for tickers, of_tickers in _by_tickers(chunks).items():
        rows = [row_of[ticker] for ticker in tickers]
        prices = SlicePrices(panel, plan, rows)  # hashed once for every spec
        for chunk in of_tickers:
            cuts[chunk.spec.id, chunk.width] += cutter.cut(chunk, prices)
    blocks = _least_to_do(cuts, known)
    todo = [block for block in blocks if block.id not in known]
    todo.sort(key=lambda block: (-block.predicted_s, block.id))
    return BlockPlan(tuple(todo), tuple(block for block in blocks if block.id in known))


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Whole scopes of one spec, which are cut along the folds only."""

    spec: ForecasterSpec
    width: int
    """Scopes of each chunk of this cut, but for the last."""
    scopes: Scopes
    n_folds: int
    longest: int
    """Most folds that a block in the lake may hold."""
    cost: "_Cost"
    facts: dict[str, object]
    """What every id of the spec depends on beside scopes, seed, folds and prices."""


class _Cutter:
    """Covers runs of folds with known blocks where there are, else with new ones."""

    def __init__(self, plan: FoldPlan, seed: int, known: Set[str]) -> None:
        self._plan, self._seed, self._known = plan, seed, known
        self._runs = cache(lambda n_folds: tuple(_fold_runs(plan, n_folds)))
        self._boundaries = cache(partial(boundaries, plan))
        changes = np.flatnonzero(np.diff(plan.split)) + 1
        self._split_ends = np.append(changes, len(plan))

    def cut(self, chunk: _Chunk, prices: SlicePrices) -> Iterator[WorkBlock]:
        """Yield blocks that cover each fold of the chunk once, the longest known ones first."""
        name = naming({**chunk.facts, "scopes": chunk.scopes, "seed": self._seed})
        start = 0
        for _, stop in self._runs(chunk.n_folds):
            while start < stop:  # a known block may have reached beyond its run
                block_id, end = self._longest(name, prices, start, stop, chunk.longest)
                cost = chunk.cost.of(start, end, prices.n_tickers)
                yield WorkBlock(block_id, chunk.spec, chunk.scopes, start, end, self._seed, cost)
                start = end

    def _longest(
        self,
        name: Callable[[bytes], str],
        prices: SlicePrices,
        start: int,
        stop: int,
        longest: int,
    ) -> tuple[str, int]:
        """Return id and end of the longest known block from ``start`` on, else of the whole run."""
        reach = stop
        if self._known:  # without any there is nothing to look for
            split_end = int(self._split_ends[np.searchsorted(self._split_ends, start, "right")])
            reach = min(max(stop, start + longest), split_end)
        folds, slices = self._boundaries(start, reach), prices.digests(start, reach)
        if self._known:
            for n in range(len(folds) - 1, -1, -1):
                block_id = name(folds[n] + slices[n])
                if block_id in self._known:
                    return block_id, start + n + 1
        whole = stop - start - 1
        return name(folds[whole] + slices[whole]), stop


def scopes_of(spec: ForecasterSpec, panel: Panel) -> Scopes:
    """Return the tickers of ``panel`` by what ``spec`` fits jointly.

    Raises
    ------
    SettingsError
        If the spec works by group and the panel has no groups.
    """
    match spec.build().scope:
        case "ticker":
            return tuple((ticker,) for ticker in panel.tickers)
        case "panel":
            return (panel.tickers,)
        case "group":
            if panel.groups is None:
                raise SettingsError(
                    f"{spec.label} works by group and the panel has no groups; "
                    "give a group column or choose scope ticker or panel"
                )
            members: dict[str, list[str]] = {}
            for ticker, group in zip(panel.tickers, panel.groups, strict=True):
                members.setdefault(group, []).append(ticker)
            return tuple(tuple(tickers) for _, tickers in sorted(members.items()))


class _Cost:
    """Predicted seconds of one spec over runs of folds; orders and sizes work, no more."""

    def __init__(self, spec: ForecasterSpec, plan: FoldPlan, factor: float = 1.0) -> None:
        known = family(spec.name)
        self._fit_s = factor * known.fit_s(spec.settings)
        self._extend_s = factor * known.extend_s
        self._plan = plan
        self._a_ticker = cache(self._of_one)

    def of(self, start: int, stop: int, n_tickers: int) -> float:
        """Return the seconds that folds ``[start, stop)`` of so many tickers take."""
        return max(n_tickers * self._a_ticker(start, stop), 1e-6)

    def _of_one(self, start: int, stop: int) -> float:
        run = self._plan[start:stop]
        length = float(np.mean(run.cutoff + 1 - run.context_start)) / 1000.0
        return length * (run.n_fits * self._fit_s + len(run) * self._extend_s)


def registered_s(block: WorkBlock, plan: FoldPlan) -> float:
    """Return the seconds that ``block`` takes by its family's registered guess alone."""
    return _Cost(block.spec, plan).of(block.first, block.stop, len(block.tickers))


def _by_tickers(chunks: Sequence[_Chunk]) -> dict[tuple[str, ...], list[_Chunk]]:
    """Return chunks by their tickers, so that prices are hashed once for all that share them."""
    found: dict[tuple[str, ...], list[_Chunk]] = {}
    for chunk in chunks:
        tickers = tuple(ticker for scope in chunk.scopes for ticker in scope)
        found.setdefault(tickers, []).append(chunk)
    return found


def _least_to_do(
    cuts: Mapping[tuple[str, int], Sequence[WorkBlock]], known: Set[str]
) -> list[WorkBlock]:
    """Return, for each spec, the blocks of the cut that leaves least to compute; else the first."""
    best: dict[str, tuple[float, Sequence[WorkBlock]]] = {}
    for (spec_id, _), blocks in cuts.items():
        todo_s = sum(block.predicted_s for block in blocks if block.id not in known)
        # The sums of two cuts that leave the same differ in their last digits.
        if spec_id not in best or todo_s < best[spec_id][0] * (1 - 1e-9):
            best[spec_id] = todo_s, blocks
    return [block for _, blocks in best.values() for block in blocks]


def _chunks(
    spec: ForecasterSpec,
    panel: Panel,
    plan: FoldPlan,
    size: BlockSize,
    pace: Pace,
    *,
    widths_too: bool,
) -> Iterator[_Chunk]:
    """Yield the chunks of a spec as they should be cut now, then as they were cut before."""
    cost, scopes = _Cost(spec, plan, pace.factor), scopes_of(spec, panel)
    facts = {
        "engine": ENGINE_VERSION,
        "schema": FRAME_SCHEMA.metadata[b"pmx_schema"].decode(),
        "spec": spec.id,
        "libraries": spec.libraries,
    }
    wanted = _scopes_a_block(cost, plan, scopes, size)
    earlier = pace.widths if widths_too and size.tickers is None else ()
    for width in dict.fromkeys((wanted, *earlier)):
        for start in range(0, len(scopes), width):
            part = scopes[start : start + width]
            n_folds = _folds_a_block(cost, plan, len(part[0]), size)
            yield _Chunk(spec, width, part, n_folds, pace.longest, cost, facts)


def _scopes_a_block(cost: _Cost, plan: FoldPlan, scopes: Scopes, size: BlockSize) -> int:
    """Return how many scopes share a block; by cost, a power of two.

    Powers of two keep the cut, and so the blocks in the lake, where a cost has changed little.
    """
    widest = max(len(scope) for scope in scopes)
    if size.tickers is not None:
        return max(1, size.tickers // widest)
    width = len(scopes[0])
    n_folds = min(_folds_a_block(cost, plan, width, size), len(plan))
    most = min(MAX_TICKERS // widest, int(TARGET_S / cost.of(0, n_folds, width)))
    return 1 << max(0, most.bit_length() - 1)


def _folds_a_block(cost: _Cost, plan: FoldPlan, width: int, size: BlockSize) -> int:
    if size.folds is not None:
        return size.folds
    starts = np.flatnonzero(plan.refit)
    chain = int(starts[1] - starts[0]) if len(starts) > 1 else len(plan)
    return max(chain, min(MAX_FOLDS, int(TARGET_S / cost.of(0, chain, width)) * chain))


def _fold_runs(plan: FoldPlan, n_folds: int) -> Iterator[tuple[int, int]]:
    """Yield runs of folds that start on a refit and hold at least ``n_folds``, but for the last."""
    start, splits, refits = 0, plan.split.tolist(), plan.refit.tolist()
    for fold in range(1, len(plan)):
        if splits[fold] != splits[start] or (refits[fold] and fold - start >= n_folds):
            yield start, fold
            start = fold
    yield start, len(plan)
