"""What an evaluation hands on: five Arrow tables in versioned schemas, saved as one folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pmx_ray.errors import DataError
from pmx_ray.lake import FolderStore
from pmx_ray.lake.blocks import to_parquet

REPORT_VERSION = "1"
"""Bumped when a column of a report table changes its name, type or meaning."""


def schema_of(texts: str, counts: str, figures: str, *extra: pa.Field) -> pa.Schema:
    """Return a schema of required texts, required int64 counts, nullable figures and ``extra``."""
    return pa.schema(
        [
            *(pa.field(name, pa.string(), nullable=False) for name in texts.split()),
            *extra,
            *(pa.field(name, pa.int64(), nullable=False) for name in counts.split()),
            *(pa.field(name, pa.float64()) for name in figures.split()),
        ],
        metadata={"pmx_schema": REPORT_VERSION},
    )


_STEP = pa.field("step", pa.int16(), nullable=False)
_SPLIT = pa.field("split", pa.int16(), nullable=False)
_CUTOFF = pa.field("cutoff", pa.date32(), nullable=False)
_TICKER = pa.field("ticker", pa.string(), nullable=False)

LEADERBOARD_SCHEMA = schema_of(
    "spec label name",
    "rank n_cells n_scored n_failed n_common n_cutoffs n_qlike n_directional n_trades",
    "rmse mae smape tracking_error qlike crps pinball coverage_50 coverage_90 "
    "hit_rate hit_rate_low hit_rate_high profit_factor profit_factor_low profit_factor_high "
    "max_drawdown_frac sharpe_annual volatility_adjusted_return net_return "
    "skill_rmse skill_rmse_low skill_rmse_high skill_qlike skill_qlike_low skill_qlike_high",
    _STEP,
    pa.field("incomplete", pa.bool_(), nullable=False),
)
"""One row a spec and step, best first within a step. ``n_cells`` is what was asked for,
``n_failed`` what has no forecast, ``n_scored`` what has a forecast and an outcome, ``n_common``
the cells every figure of the row is taken over: those that all complete specs scored (of an
``incomplete`` spec: as many of them as it scored itself). ``n_qlike`` of them have a realized
variance above 0, ``n_directional`` a forecast and an outcome other than 0. Null: not defined."""

TICKERS_SCHEMA = schema_of(
    "spec label",
    "n_scored n_failed n_common",
    "rmse qlike crps skill_rmse skill_qlike",
    _STEP,
    _TICKER,
)
"""One row a spec, step and ticker; figures over the ticker's common cells."""

CUTOFFS_SCHEMA = schema_of(
    "spec label",
    "n_scored n_common",
    "mse qlike crps net_return equity drawdown_frac",
    _STEP,
    _SPLIT,
    _CUTOFF,
)
"""One row a spec, step, split and cutoff; losses are means over the cutoff's common cells.
``net_return`` is the return on the sleeve of capital that the cutoff trades; ``equity`` starts
from 1 and stands after the cutoff's trades are closed. ``equity`` and ``drawdown_frac`` are null
in a combinatorial plan, whose splits are no path in time."""

FAILURES_SCHEMA = pa.schema(
    [
        _SPLIT,
        _TICKER,
        pa.field("spec", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        _CUTOFF,
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ],
    metadata={"pmx_schema": REPORT_VERSION},
)
"""One row a failed forecast, for all its steps."""

DROPPED_SCHEMA = pa.schema(
    [
        _SPLIT,
        _TICKER,
        _CUTOFF,
        _STEP,
        pa.field("cause", pa.string(), nullable=False),
    ],
    metadata={"pmx_schema": REPORT_VERSION},
)
"""One row a cell outside the common set: ``no outcome``, or the labels of the complete specs
without a forecast there, separated by ``; ``."""

SCHEMAS: dict[str, pa.Schema] = {
    "leaderboard": LEADERBOARD_SCHEMA,
    "tickers": TICKERS_SCHEMA,
    "cutoffs": CUTOFFS_SCHEMA,
    "failures": FAILURES_SCHEMA,
    "dropped": DROPPED_SCHEMA,
}
"""Schema of each table of a report, by the name of its field and of its file."""


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationReport:
    """Everything an evaluation found; the terminal, the page, the ledger and the gate read this.

    Attributes
    ----------
    leaderboard, tickers, cutoffs, failures, dropped : pyarrow.Table
        In ``SCHEMAS``.
    baseline : str
        Spec id that skill is measured against.
    step_size : int
        Sessions between cutoffs.
    seed : int
        Of the bootstrap.
    block_length : mapping of int to int
        Step to the mean block length of its bootstrap, in cutoffs.
    settings : mapping
        The evaluation settings that made the report, as JSON values.

    Raises
    ------
    DataError
        If a table is not in its schema.
    """

    leaderboard: pa.Table
    tickers: pa.Table
    cutoffs: pa.Table
    failures: pa.Table
    dropped: pa.Table
    baseline: str
    step_size: int
    seed: int
    block_length: Mapping[int, int]
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, schema in SCHEMAS.items():
            if not getattr(self, name).schema.equals(schema, check_metadata=True):
                raise DataError(
                    f"report table '{name}' is not in schema version {REPORT_VERSION}; "
                    "run `pmx evaluate` again"
                )

    def save(self, folder: Path) -> None:
        """Write ``<table>.parquet`` and, last, ``evaluation.json`` into ``folder``, atomically."""
        write_files(folder, self.files())

    def files(self) -> dict[str, bytes]:
        """Return what ``save`` writes: the content of each file by its name."""
        tables = {f"{name}.parquet": to_parquet(getattr(self, name)) for name in SCHEMAS}
        document = {
            "schema_version": REPORT_VERSION,
            "baseline": self.baseline,
            "step_size": self.step_size,
            "seed": self.seed,
            "block_length": {str(step): n for step, n in self.block_length.items()},
            "settings": dict(self.settings),
        }
        return {**tables, "evaluation.json": json_bytes(document)}

    @classmethod
    def load(cls, folder: Path) -> "EvaluationReport":
        """Return the report that ``save`` wrote into ``folder``.

        Raises
        ------
        DataError
            If a file is missing, damaged or of another schema version.
        """
        path = folder / "evaluation.json"
        document = read_json(path)
        tables = {name: read_table(folder / f"{name}.parquet") for name in SCHEMAS}
        try:
            return cls(
                **tables,
                baseline=document["baseline"],
                step_size=document["step_size"],
                seed=document["seed"],
                block_length={int(step): n for step, n in document["block_length"].items()},
                settings=document["settings"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is not whole ({error!r}); run `pmx evaluate` again") from None


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write ``document`` to ``path``, whole or not at all, sorted and without NaN."""
    FolderStore(path.parent).replace(path.name, json_bytes(document))


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """Return ``document`` as JSON, sorted and without NaN."""
    return f"{json.dumps(document, sort_keys=True, indent=1, allow_nan=False)}\n".encode()


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write each file into ``folder``, whole or not at all, in their order."""
    store = FolderStore(folder)
    for name, content in files.items():
        store.replace(name, content)


def holds_files(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Return whether ``folder`` holds each of these files with this very content."""
    try:
        return all((folder / name).read_bytes() == content for name, content in files.items())
    except OSError:
        return False


def read_document(path: Path, *, verb: str = "evaluate") -> dict[str, Any]:
    """Return the mapping that a JSON file holds.

    Parameters
    ----------
    path : Path
        The file.
    verb : str
        The command that writes it, for the message.

    Raises
    ------
    DataError
        If the file is missing, cannot be read, is not JSON, or holds no mapping.
    """
    again = f"run `pmx {verb}` again"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing; run `pmx {verb}` first") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; {again}") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}; {again}") from None
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise DataError(f"{path} holds {kind}; it must be a mapping; {again}")
    return document


def read_json(path: Path, *, verb: str = "evaluate") -> dict[str, Any]:
    """Return the document of ``write_json``.

    Raises
    ------
    DataError
        As ``read_document``, and if the document has another schema version.
    """
    document = read_document(path, verb=verb)
    version = document.get("schema_version")
    if version != REPORT_VERSION:
        raise DataError(
            f"{path} has schema version {version}; this release reads {REPORT_VERSION}: "
            f"run `pmx {verb}` again"
        )
    return document


def read_table(path: Path, *, verb: str = "evaluate") -> pa.Table:
    """Return the table of a Parquet file that the command ``verb`` writes.

    Raises
    ------
    DataError
        If the file is missing, or is not Parquet.
    """
    try:
        return pq.ParquetFile(path).read().combine_chunks()
    except FileNotFoundError:
        raise DataError(f"{path} is missing; run `pmx {verb}` first") from None
    except (pa.ArrowException, OSError) as error:
        detail = " ".join(str(error).split())
        raise DataError(f"{path} is not Parquet: {detail}; run `pmx {verb}` again") from None
