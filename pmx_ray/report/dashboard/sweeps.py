"""The sweep whose evaluation the dashboard shows: the newest with the language model, or at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pmx_ray.backtest.comparison import COMPARISON, Comparison
from pmx_ray.backtest.outcome import PROVENANCE
from pmx_ray.backtest.report_types import EvaluationReport, read_document, read_table
from pmx_ray.errors import DataError

LEADERBOARD = "leaderboard.parquet"
"""File that says which forecasters a sweep compared."""

LLM = "llm"
"""Name of the family of language models, as the registry of forecasters has it."""


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedSweep:
    """What a sweep folder holds of its evaluation.

    Attributes
    ----------
    folder : str
        Name of the folder.
    report : EvaluationReport
        What was found.
    comparison : Comparison or None
        None where none was made of this very evaluation.
    provenance : mapping
        The document ``provenance.json``.
    """

    folder: str
    report: EvaluationReport
    comparison: Comparison | None
    provenance: Mapping[str, object]


def load_evaluated(folder: Path) -> EvaluatedSweep:
    """Return the evaluation in a sweep folder; the same object for as long as its files stay.

    Raises
    ------
    DataError
        If there is none, or it cannot be read.
    """
    names = (PROVENANCE, "evaluation.json", COMPARISON)
    files = [folder / name for name in names if (folder / name).exists()]
    return _loaded(folder, tuple((file.name, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=2)
def _loaded(folder: Path, _: tuple[tuple[str, int], ...]) -> EvaluatedSweep:
    provenance = read_document(folder / PROVENANCE)
    report = EvaluationReport.load(folder)
    return EvaluatedSweep(folder.name, report, _comparison(folder, provenance), provenance)


def find_evaluated(root: Path) -> Path | None:
    """Return the folder to show of those under ``root``; None where no sweep was evaluated.

    The newest one with the language model among its forecasters, else the newest one.
    """
    found = sorted(
        root.glob(f"*/{PROVENANCE}"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    folders = [path.parent for path in found if (path.parent / LEADERBOARD).exists()]
    with_llm = (folder for folder in folders if _has_llm(folder))
    return next(with_llm, folders[0] if folders else None)


def _has_llm(folder: Path) -> bool:
    try:
        leaderboard = read_table(folder / LEADERBOARD)
    except DataError:
        return False
    return "name" in leaderboard.column_names and LLM in leaderboard.column("name").to_pylist()


def _comparison(folder: Path, provenance: Mapping[str, object]) -> Comparison | None:
    if not (folder / COMPARISON).exists():
        return None
    try:
        comparison = Comparison.load(folder)
    except DataError:
        return None
    return comparison if comparison.key == provenance.get("key", "") else None
