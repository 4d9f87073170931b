"""Work blocks: what is computed at once, named by everything that can change its result.

A block is one spec on some whole scopes over a run of folds. Its id is a hash of the visible data
slice, the spec, the fold boundaries, the seed and the versions of engine and libraries; not of the
sweep it was planned in. So a block computed once serves every later sweep that needs it, and one
more session of data leaves the blocks of all earlier folds where they are.
"""

import hashlib
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np

from pmx_ray.backtest.frame import FRAME_SCHEMA
from pmx_ray.data.panel import FIELDS, Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldPlan, slice_document
from pmx_ray.forecasters.registry import Device, ForecasterSpec, family
from pmx_ray.provenance import ENGINE_VERSION, canonical_json, sha256_hex

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
    """
    cutter = _Cutter(panel, plan, seed, known)
    todo: list[WorkBlock] = []
    done: list[WorkBlock] = []
    for spec in specs:
        for scopes in _scope_chunks(spec, panel, plan, size):
            for first, stop in _fold_runs(plan, _folds_a_block(spec, plan, scopes, size)):
                for block in cutter.cover(spec, scopes, first, stop):
                    (done if block.id in known else todo).append(block)
    todo.sort(key=lambda block: (-block.predicted_s, block.id))
    return BlockPlan(tuple(todo), tuple(done))


class _Cutter:
    """Covers runs of folds with known blocks where there are, else with new ones."""

    def __init__(self, panel: Panel, plan: FoldPlan, seed: int, known: Set[str]) -> None:
        self._panel, self._plan, self._seed, self._known = panel, plan, seed, known
        self._rows = {ticker: n for n, ticker in enumerate(panel.tickers)}
        self._documents: dict[tuple[int, int, int], Sequence[object]] = {}
        self._digests: dict[tuple[tuple[str, ...], int, int], dict[int, str]] = {}

    def cover(
        self, spec: ForecasterSpec, scopes: Scopes, first: int, stop: int
    ) -> Iterator[WorkBlock]:
        start = first
        while start < stop:
            # Longest known run first. Without any known block there is nothing to look for.
            ends = range(stop, start, -1) if self._known else ()
            found = next((b for b in self._blocks(spec, scopes, start, stop, ends)), None)
            block = found or next(self._blocks(spec, scopes, start, stop, (stop,), any_id=True))
            yield block
            start = block.stop

    def _blocks(
        self,
        spec: ForecasterSpec,
        scopes: Scopes,
        start: int,
        stop: int,
        ends: Sequence[int],
        *,
        any_id: bool = False,
    ) -> Iterator[WorkBlock]:
        for end in ends:
            name = self._id(spec, scopes, start, stop, end)
            if any_id or name in self._known:
                cost = _predicted_s(spec, self._plan[start:end], scopes)
                yield WorkBlock(name, spec, scopes, start, end, self._seed, cost)

    def _id(self, spec: ForecasterSpec, scopes: Scopes, start: int, stop: int, end: int) -> str:
        document = {
            "engine": ENGINE_VERSION,
            "schema": FRAME_SCHEMA.metadata[b"pmx_schema"].decode(),
            "spec": spec.id,
            "libraries": spec.libraries,
            "scopes": scopes,
            "folds": self._boundaries(start, stop, end),
            "seed": self._seed,
        }
        tickers = tuple(ticker for scope in scopes for ticker in scope)
        return sha256_hex(
            canonical_json(document), self._slice_digest(tickers, start, stop, end).encode()
        )

    def _boundaries(self, start: int, stop: int, end: int) -> Sequence[object]:
        """Return the folds ``[start, end)`` relative to the first session the whole run reads."""
        key = (start, stop, end)
        if key not in self._documents:
            origin = self._plan[start:stop].first_seen
            self._documents[key] = slice_document(self._plan[start:end].shifted(origin))
        return self._documents[key]

    def _slice_digest(self, tickers: tuple[str, ...], start: int, stop: int, end: int) -> str:
        """Return the hash of the sessions that folds ``[start, end)`` read or score.

        One pass over the slice of ``[start, stop)`` yields the hash of every shorter run, because
        sessions are hashed in order.
        """
        key = (tickers, start, stop)
        if key not in self._digests:
            run = self._plan[start:stop]
            lasts = [self._plan[start:end].last_read + 1 for end in range(start + 1, stop + 1)]
            hashes = self._hash_sessions(tickers, run.first_seen, lasts)
            self._digests[key] = dict(zip(range(start + 1, stop + 1), hashes, strict=True))
        return self._digests[key][end]

    def _hash_sessions(
        self, tickers: tuple[str, ...], first: int, lasts: Sequence[int]
    ) -> list[str]:
        panel = self._panel
        rows = [self._rows[ticker] for ticker in tickers]
        groups = None if panel.groups is None else [panel.groups[n] for n in rows]
        columns = {
            name: values
            for name in ("close", *FIELDS, "gap")
            if (values := getattr(panel, name)) is not None
        }
        digest = hashlib.sha256(canonical_json([panel.calendar, tickers, groups, list(columns)]))
        hashes: list[str] = []
        at = first
        for last in lasts:
            digest.update(panel.sessions[at:last].tobytes())
            for values in columns.values():
                digest.update(np.ascontiguousarray(values[rows, at:last].T).tobytes())
            hashes.append(digest.hexdigest())
            at = last
        return hashes


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


def _scope_chunks(
    spec: ForecasterSpec, panel: Panel, plan: FoldPlan, size: BlockSize
) -> Iterator[Scopes]:
    scopes = scopes_of(spec, panel)
    width = max(len(scope) for scope in scopes)
    most = size.tickers
    if most is None:
        n_folds = _folds_a_block(spec, plan, scopes[:1], size)
        cost = _predicted_s(spec, plan[:n_folds], scopes[:1])
        most = min(MAX_TICKERS, int(TARGET_S / cost) * len(scopes[0]))
    n_scopes = max(1, most // width)
    for start in range(0, len(scopes), n_scopes):
        yield scopes[start : start + n_scopes]


def _folds_a_block(spec: ForecasterSpec, plan: FoldPlan, scopes: Scopes, size: BlockSize) -> int:
    if size.folds is not None:
        return size.folds
    starts = np.flatnonzero(plan.refit)
    chain = int(starts[1] - starts[0]) if len(starts) > 1 else len(plan)
    cost = _predicted_s(spec, plan[:chain], scopes[:1])
    return max(chain, min(MAX_FOLDS, int(TARGET_S / cost) * chain))


def _fold_runs(plan: FoldPlan, n_folds: int) -> Iterator[tuple[int, int]]:
    """Yield runs of folds that start on a refit and hold at least ``n_folds``, but for the last."""
    start = 0
    for fold in range(1, len(plan)):
        other_split = plan.split[fold] != plan.split[start]
        if other_split or (plan.refit[fold] and fold - start >= n_folds):
            yield start, fold
            start = fold
    yield start, len(plan)


def _predicted_s(spec: ForecasterSpec, plan: FoldPlan, scopes: Scopes) -> float:
    known = family(spec.name)
    fit_s = known.fit_s(spec.settings)
    n_tickers = sum(len(scope) for scope in scopes)
    length = float(np.mean(plan.cutoff + 1 - plan.context_start)) / 1000.0
    seconds = n_tickers * length * (plan.n_fits * fit_s + len(plan) * known.extend_s)
    return max(seconds, 1e-6)
