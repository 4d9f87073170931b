"""What `pmx features` reads, computes and says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from rich.table import Table

from pmx_ray._typing import FloatArray
from pmx_ray.cli.steps import Voice
from pmx_ray.clock import Clock
from pmx_ray.config import override, parse, read_yaml
from pmx_ray.data.panel import Panel
from pmx_ray.data.sources import PanelSettings, load_panel
from pmx_ray.features.exogenous import features_of
from pmx_ray.features.matrix import FeatureMatrix
from pmx_ray.features.spec import FeatureSettings, FeatureSpec
from pmx_ray.features.store import features_id, stored_features
from pmx_ray.lake import BlockStore, load_receipts, open_store, verify, whole_address

SHOWN_DIGITS = 12
"""Digits of a block's id in the table; machines get all of them."""


class PanelFeatures(FeatureSettings):
    """A panel and the features to compute on the whole of it.

    Attributes
    ----------
    panel : PanelSettings
        Where prices come from, as in a sweep.
    features : tuple of FeatureSpec
        Names and kinds, at least one.
    data_quality_threshold : float
        Least quality score of the panel, 0 to 1; below it the data is refused.
    lake : str, optional
        Where blocks are kept: a folder or ``s3://bucket/prefix``; by default beside the sweep
        folders.
    """

    panel: PanelSettings
    features: tuple[FeatureSpec, ...] = Field(min_length=1)
    data_quality_threshold: float = Field(default=0.95, ge=0, le=1)
    lake: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """The columns of a panel, each with its block.

    Attributes
    ----------
    matrix : FeatureMatrix
        K columns.
    blocks : tuple of str, length K
        Id of the block that holds each column.
    cached : frozenset of str
        Ids of the blocks that the lake held before.
    lake : str
        Address of the lake.
    """

    matrix: FeatureMatrix
    blocks: tuple[str, ...]
    cached: frozenset[str]
    lake: str


def load_settings(path: Path, assignments: Sequence[str] = ()) -> PanelFeatures:
    """Return the settings of a YAML file, with ``key=value`` overrides applied.

    Raises
    ------
    SettingsError
        One line that says which key of which file is wrong, and what was perhaps meant.
    """
    return parse(PanelFeatures, override(read_yaml(path), assignments), where=str(path))


def compute(settings: PanelFeatures, *, root: Path, clock: Clock, base_dir: Path) -> Computed:
    """Compute what the lake lacks, and read the rest.

    Parameters
    ----------
    settings : PanelFeatures
        What is asked for.
    root : Path
        Folder of the sweep folders; the lake is beside them unless the settings name one.
    clock : callable
        Says which rows lie in the future.
    base_dir : Path
        What a relative path of the settings is relative to.

    Raises
    ------
    SettingsError, DataError
        If the settings or the data cannot be used.
    LakeError
        If the lake cannot be read or written.
    """
    panel, _ = load_panel(
        settings.panel, clock=clock, threshold=settings.data_quality_threshold, base_dir=base_dir
    )
    beside = str(root.resolve() / "lake")
    lake = beside if settings.lake is None else whole_address(settings.lake, base_dir)
    store = open_store(lake)
    blocks = _blocks(panel, settings.features)
    cached = _held(store, blocks)
    matrix = stored_features(store, panel, settings.features)
    return Computed(matrix, blocks, cached, lake)


def _blocks(panel: Panel, specs: Sequence[FeatureSpec]) -> tuple[str, ...]:
    """Return the id of the block of each column."""
    sha256 = panel.sha256
    return tuple(features_id(sha256, spec) for spec in specs for _ in features_of((spec,)))


def _held(store: BlockStore, blocks: Sequence[str]) -> frozenset[str]:
    """Return the ids of the blocks that are there and match their receipts."""
    receipts = load_receipts(store, blocks)
    return frozenset(name for name, receipt in receipts.items() if verify(store, receipt))


def show(voice: Voice, computed: Computed) -> None:
    """Print a row a column, then the sum."""
    rows = list(_rows(computed))
    if voice.as_json:
        for row in rows:
            voice.say("feature", "", **row)
    else:
        voice.console.print(_table(rows))
    n_blocks, n_cached = len(set(computed.blocks)), len(computed.cached)
    n_tickers, n_sessions, n_columns = computed.matrix.values.shape
    text = (
        f"features: {n_columns} columns of {n_tickers} tickers and {n_sessions:,} sessions; "
        f"{_of_all(n_cached, n_blocks)} blocks were in the lake, {computed.lake}"
    )
    figures = {"columns": n_columns, "tickers": n_tickers, "sessions": n_sessions}
    voice.say("features", text, **figures, blocks=n_blocks, cached=n_cached, lake=computed.lake)


def _of_all(n: int, n_all: int) -> str:
    return f"all {n_all}" if n == n_all else f"{n} of {n_all}"


def _rows(computed: Computed) -> Iterator[dict[str, Any]]:
    """Yield what is told of each column; its figures are None where no value is known."""
    matrix = computed.matrix
    for column, block in zip(matrix.columns, computed.blocks, strict=True):
        yield {
            "column": column.name,
            "publication_lag": column.publication_lag,
            "warm_up": column.warm_up,
            **_figures(matrix[column.name]),
            "block_id": block,
            "cached": block in computed.cached,
        }


def _figures(values: FloatArray) -> dict[str, float | None]:
    known = values[~np.isnan(values)]
    share = known.size / values.size
    if not known.size:
        return {"known_frac": share, "min": None, "mean": None, "max": None}
    least, mean, most = float(known.min()), float(known.mean()), float(known.max())
    return {"known_frac": share, "min": least, "mean": mean, "max": most}


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table("column")
    for heading in ("lag", "warm-up", "known", "min", "mean", "max"):
        table.add_column(heading, justify="right")
    table.add_column("block")
    table.add_column("")
    for row in rows:
        figures = ("-" if row[key] is None else f"{row[key]:.4g}" for key in ("min", "mean", "max"))
        table.add_row(
            row["column"], str(row["publication_lag"]), str(row["warm_up"]),
            f"{row['known_frac']:.1%}", *figures,
            row["block_id"][:SHOWN_DIGITS], "cached" if row["cached"] else "computed",
        )  # fmt: skip
    return table
