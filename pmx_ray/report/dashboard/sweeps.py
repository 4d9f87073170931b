"""The sweep whose evaluation the dashboard shows: the newest with the language model, or at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pmx_ray.backtest.comparison import COMPARISON, Comparison
from pmx_ray.backtest.outcome import PROVENANCE
from pmx_ray.backtest.report_types import EvaluationReport, read_document
from pmx_ray.errors import DataError

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
    """Return the evaluation in a sweep folder.

    Raises
    ------
    DataError
        If there is none, or it cannot be read.
    """
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
    folders = [path.parent for path in found if (path.parent / "leaderboard.parquet").exists()]
    with_llm = (folder for folder in folders if _has_llm(folder))
    return next(with_llm, folders[0] if folders else None)


def _has_llm(folder: Path) -> bool:
    try:
        names = EvaluationReport.load(folder).leaderboard.column("name").to_pylist()
    except DataError:
        return False
    return LLM in names


def _comparison(folder: Path, provenance: Mapping[str, object]) -> Comparison | None:
    if not (folder / COMPARISON).exists():
        return None
    try:
        comparison = Comparison.load(folder)
    except DataError:
        return None
    return comparison if comparison.key == provenance.get("key", "") else None
