"""A sweep and its folder: every step reads the folder, writes its artefact, and can run alone.

``settings.yaml panel.parquet quality.json folds.json specs.json`` say what is to be done,
``receipts.jsonl`` which blocks did it, ``computed.txt`` which of them it did not find in the lake,
``leaderboard.parquet tickers.parquet cutoffs.parquet failures.parquet provenance.json`` what came
out, ``comparison.json`` how it compares.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from pmx_ray._typing import IntArray
from pmx_ray.backtest.blocks import (
    MAX_FOLDS,
    BlockPlan,
    BlockSize,
    WorkBlock,
    plan_blocks,
    registered_s,
)
from pmx_ray.backtest.executor import Settled
from pmx_ray.backtest.frame import FRAME_SCHEMA, canonical, fold_keys
from pmx_ray.backtest.pace import load_paces, save_paces
from pmx_ray.backtest.receipts import (
    RECEIPTS,
    check_tiling,
    from_lines,
    lasting_reason,
    to_lines,
)
from pmx_ray.backtest.report_types import read_document
from pmx_ray.backtest.runner import failed_block
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.clock import Clock
from pmx_ray.config import parse, read_yaml
from pmx_ray.data.panel import Panel
from pmx_ray.data.snapshot import load_saved_panel, save_panel
from pmx_ray.data.sources import load_panel
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.folds import FoldPlan, as_json, folds_of, partition
from pmx_ray.forecasters.protocol import Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.lake import (
    BlockStore,
    FolderStore,
    Receipt,
    known_blocks,
    load_receipts,
    read_block,
    verify,
    whole_address,
)

SETTINGS, PANEL, QUALITY = "settings.yaml", "panel.parquet", "quality.json"

COMPUTED = "computed.txt"
"""Ids of the blocks that this sweep ordered, one a line; the others it found in the lake."""

PART_CELLS = 500_000
"""Cells of all specs that an evaluation holds at once, some 26 bytes each."""

Run: TypeAlias = Iterator[tuple[ForecasterSpec, pa.Table]]
"""Each spec of a sweep with its rows over a run of folds."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep ready to run: settings, prices, folds and specs, and the folder that keeps them.

    Attributes
    ----------
    folder : Path
        ``<root>/<name>-<first 12 digits of sweep_id>``.
    settings : SweepSettings
        What the user asked for, defaults filled in.
    panel : Panel
        The snapshot.
    quality : mapping
        The gate's report as JSON.
    plan : FoldPlan
        The evaluation partition.
    specs : tuple of ForecasterSpec
        What is compared.
    """

    folder: Path
    settings: SweepSettings
    panel: Panel
    quality: dict[str, Any]
    plan: FoldPlan
    specs: tuple[ForecasterSpec, ...]

    @property
    def sweep_id(self) -> str:
        """Hash of everything that can change what the sweep finds."""
        return self.settings.sweep_id(self.panel.sha256)

    @property
    def n_cells(self) -> int:
        """Number of rows of the forecast frame."""
        return len(self.plan) * len(self.plan.steps) * self.panel.n_tickers * len(self.specs)

    @property
    def lake_url(self) -> str:
        """Where blocks are kept."""
        return self.settings.lake or str(self.folder.parent / "lake")


def prepare(
    settings: SweepSettings, *, root: Path, clock: Clock, base_dir: Path | None = None
) -> Sweep:
    """Load the panel through the quality gate and lay the folds; nothing is written.

    Parameters
    ----------
    settings : SweepSettings
        The sweep.
    root : Path
        Folder of the sweep folders.
    clock : callable
        Says which rows lie in the future.
    base_dir : Path, optional
        What a relative path of the settings is relative to; the working folder unless given. The
        sweep's own settings hold the lake's path whole.

    Raises
    ------
    SettingsError, DataError
        If the settings, the data or the folds cannot be used.
    """
    panel, quality = load_panel(
        settings.panel,
        clock=clock,
        threshold=settings.data_quality_threshold,
        base_dir=base_dir,
    )
    lake = settings.lake and whole_address(settings.lake, base_dir or Path())
    settings = settings.model_copy(update={"lake": lake})
    specs = settings.specs()
    sweep_id = settings.sweep_id(panel.sha256)
    folder = root.resolve() / f"{settings.name}-{sweep_id[:12]}"
    return Sweep(folder, settings, panel, quality.as_json(), _folds(settings, panel), specs)


def save(sweep: Sweep) -> None:
    """Write what is to be done into the sweep's folder; saving again changes nothing.

    Raises
    ------
    LakeError
        If the folder cannot be written.
    """
    documents = {
        QUALITY: sweep.quality,
        "folds.json": as_json(sweep.plan, sweep.panel.sessions),
        "specs.json": [
            {"id": spec.id, "label": spec.label, "name": spec.name, "params": dict(spec.params)}
            for spec in sweep.specs
        ],
    }
    store = FolderStore(sweep.folder)
    for name, document in documents.items():
        store.replace(name, f"{json.dumps(document, indent=1)}\n".encode())
    if not _holds_panel(sweep):
        save_panel(sweep.panel, sweep.folder / PANEL)
    store.replace(SETTINGS, sweep.settings.as_yaml().encode())


def load(folder: Path) -> Sweep:
    """Return the sweep that ``folder`` holds.

    Raises
    ------
    DataError
        If it is not a sweep folder, or a file that `pmx plan` writes cannot be read.
    SettingsError
        If a setting is wrong.
    """
    path = folder / SETTINGS
    settings = parse(SweepSettings, _read_settings(path), where=str(path))
    specs = settings.specs()
    quality = read_document(folder / QUALITY, verb="plan")
    panel = load_saved_panel(folder / PANEL)
    return Sweep(folder.resolve(), settings, panel, quality, _folds(settings, panel), specs)


def outline(
    sweep: Sweep, store: BlockStore, *, verified: bool = True
) -> tuple[BlockPlan, dict[str, Receipt]]:
    """Return the blocks of the sweep, and the receipts of those the lake already holds.

    A block counts as held only if its bytes match its receipt; any other is computed again. Who
    only looks may leave out ``verified``, which reads every block: a receipt is then enough.
    """
    execution = sweep.settings.execution
    size = BlockSize(execution.folds_per_block, execution.tickers_per_block)
    known = set(known_blocks(store))
    paces = load_paces(store, [spec.id for spec in sweep.specs])
    while True:
        plan = plan_blocks(
            sweep.panel,
            sweep.plan,
            specs=sweep.specs,
            seed=sweep.settings.seed,
            size=size,
            known=known,
            paces=paces,
        )
        receipts = load_receipts(store, [block.id for block in plan.done])
        whole = {n for n, receipt in receipts.items() if not verified or verify(store, receipt)}
        torn = {block.id for block in plan.done} - whole
        if not torn:
            return plan, receipts
        known -= torn


def keep_cut(store: BlockStore, blocks: Sequence[WorkBlock]) -> None:
    """Note in the lake how the blocks of each spec are cut, so that any later plan finds them."""
    of_spec: dict[str, list[WorkBlock]] = {}
    for block in blocks:
        of_spec.setdefault(block.spec.id, []).append(block)
    paces = load_paces(store, of_spec)
    for name, own in of_spec.items():
        width = max(len(block.scopes) for block in own)  # the last chunk may be narrower
        paces[name] = paces[name].cut(width=width, folds=max(b.stop - b.first for b in own))
    save_paces(store, paces)


def keep_order(sweep: Sweep, blocks: Sequence[WorkBlock]) -> None:
    """Note in the folder, before they are computed, which blocks this sweep does not find."""
    ordered = load_order(sweep) | {block.id for block in blocks}
    text = "".join(f"{block_id}\n" for block_id in sorted(ordered))
    FolderStore(sweep.folder).replace(COMPUTED, text.encode())


def load_order(sweep: Sweep) -> frozenset[str]:
    """Return the ids of the blocks that this sweep has ordered in any run."""
    path = sweep.folder / COMPUTED
    return frozenset(path.read_text("ascii", "replace").split()) if path.exists() else frozenset()


def learn_pace(sweep: Sweep, store: BlockStore, settled: Sequence[Settled]) -> None:
    """Note in the lake what blocks took, by their receipts; the next plan sizes blocks by it."""
    seen: dict[str, list[tuple[float, float]]] = {}
    for row in sorted(settled, key=lambda row: row.block.id):
        if row.receipt is not None:
            pair = registered_s(row.block, sweep.plan), row.receipt.seconds
            seen.setdefault(row.block.spec.id, []).append(pair)
    paces = load_paces(store, seen)
    save_paces(store, {name: paces[name].after(pairs) for name, pairs in seen.items()})


def save_receipts(sweep: Sweep, settled: Sequence[Settled]) -> None:
    """Write ``receipts.jsonl``: the sweep's id, then a line a block."""
    text = to_lines(settled, sweep_id=sweep.sweep_id, specs=sweep.specs)
    FolderStore(sweep.folder).replace(RECEIPTS, text)


def load_settled(sweep: Sweep) -> tuple[Settled, ...]:
    """Return what ``receipts.jsonl`` says of each block.

    Raises
    ------
    DataError
        If the sweep has not been run, or the receipts are damaged, are not those of this sweep
        as it is now, or do not make up the whole of it.
    """
    path = sweep.folder / RECEIPTS
    again = f"run it again with: pmx run {sweep.folder}"
    try:
        settled = from_lines(path.read_bytes(), sweep_id=sweep.sweep_id, specs=sweep.specs)
        check_tiling(
            settled, specs=sweep.specs, tickers=sweep.panel.tickers, n_folds=len(sweep.plan)
        )
    except FileNotFoundError:
        raise DataError(
            f"{sweep.folder} has not been run; run it with: pmx run {sweep.folder}"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); {again}") from None
    except DataError as error:
        raise DataError(f"{path} {error}; {again}") from None
    return settled


def frame_parts(sweep: Sweep, settled: Sequence[Settled], store: BlockStore) -> Iterator[Run]:
    """Yield runs of folds in their order; of each, every spec in the order of ids with its rows.

    Runs end where blocks do, as far as that goes, so that each block is read once.

    Raises
    ------
    CorruptBlockError
        If a block no longer matches its receipt.
    """
    by_spec: dict[str, list[Settled]] = {spec.id: [] for spec in sweep.specs}
    for row in settled:
        by_spec[row.block.spec.id].append(row)
    specs = sorted(sweep.specs, key=lambda spec: spec.id)
    for first, stop in _runs(sweep, settled):
        yield (
            (spec, _run_table(sweep, by_spec[spec.id], store, first, stop)) for spec in specs
        )  # fmt: skip


def block_table(sweep: Sweep, settled: Settled, store: BlockStore) -> pa.Table:
    """Return the rows of a block; of one that was given up, every cell as quarantined.

    Raises
    ------
    CorruptBlockError
        If the block no longer matches its receipt.
    """
    if settled.receipt is not None:
        return read_block(store, settled.receipt, FRAME_SCHEMA)
    return failed_block(
        sweep.panel,
        sweep.plan,
        settled.block,
        status=Status.QUARANTINED,
        reason=lasting_reason(settled),
    )


def folds_at_once(sweep: Sweep) -> int:
    """Return how many folds an evaluation holds: ``PART_CELLS``, but no less than a usual block."""
    return max(MAX_FOLDS, PART_CELLS * len(sweep.plan) // sweep.n_cells)


def _runs(sweep: Sweep, settled: Sequence[Settled]) -> Iterator[tuple[int, int]]:
    """Yield runs of at most ``folds_at_once`` folds."""
    n_folds, most = len(sweep.plan), folds_at_once(sweep)
    ends = np.unique([row.block.stop for row in settled])
    first = 0
    while first < n_folds:
        within = ends[(ends > first) & (ends <= first + most)]
        stop = int(within[-1]) if len(within) else min(first + most, n_folds)
        yield first, stop
        first = stop


def _run_table(
    sweep: Sweep, settled: Sequence[Settled], store: BlockStore, first: int, stop: int
) -> pa.Table:
    """Return the rows of one spec over the folds ``[first, stop)``, in canonical order."""
    parts = []
    for row in settled:
        block = row.block
        if block.stop <= first or stop <= block.first:
            continue
        table = block_table(sweep, row, store)
        if block.first < first or stop < block.stop:
            wanted = _plan_keys(sweep, max(first, block.first), min(stop, block.stop))
            table = table.filter(pa.array(np.isin(fold_keys(table), wanted)))
        parts.append(table)
    return canonical(pa.concat_tables(parts))


def _plan_keys(sweep: Sweep, first: int, stop: int) -> IntArray:
    plan = sweep.plan[first:stop]
    days: IntArray = sweep.panel.sessions[plan.cutoff].astype(np.int64)
    return (plan.split << 32) + days


def _folds(settings: SweepSettings, panel: Panel) -> FoldPlan:
    plan = folds_of(panel, settings.folds)
    if settings.folds.tuning_end is None:
        return plan
    return partition(plan, panel.sessions, settings.folds.tuning_end)[1]


def _holds_panel(sweep: Sweep) -> bool:
    """Return whether the folder holds the sweep's panel, bit for bit."""
    try:
        return load_saved_panel(sweep.folder / PANEL).sha256 == sweep.panel.sha256
    except DataError:
        return False


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        path.stat()
        return read_yaml(path)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{path.parent} is not a sweep folder (no {SETTINGS}); make one with: pmx plan SETTINGS"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except SettingsError as error:
        raise DataError(f"{error}; write it again with: pmx plan SETTINGS") from None
