"""A report in the evaluator's schemas with numbers made by hand, to be bent by each test."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pmx_ray.backtest.report_types import SCHEMAS, EvaluationReport

Make = Callable[..., EvaluationReport]

SKILLS = {  # label: skill on level with its interval, skill on variance with its interval
    "random_walk": ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    "garch(dist=t)": ((0.0, 0.0, 0.0), (0.176, 0.121, 0.230)),
    "drift": ((-0.003, -0.006, -0.001), (-0.001, -0.004, 0.002)),
    "theta": ((-0.009, -0.020, 0.004), (0.010, -0.010, 0.030)),
}


def board_row(label: str, step: int, rank: int, **changes: Any) -> dict[str, Any]:
    level, variance = SKILLS.get(label, SKILLS["theta"])
    row = {
        "spec": f"id-{label}",
        "label": label,
        "name": label.partition("(")[0],
        "step": step,
        "rank": rank,
        "incomplete": False,
        "n_cells": 120,
        "n_scored": 118,
        "n_failed": 2,
        "n_common": 110,
        "n_cutoffs": 40,
        "n_qlike": 109,
        "n_directional": 100,
        "n_trades": 57,
        "rmse": 0.02356 * step**0.5,
        "mae": 0.015,
        "smape": 1.2,
        "tracking_error": 0.0235,
        "qlike": 2.182,
        "crps": 0.0123,
        "pinball": 0.004,
        "coverage_50": 0.52,
        "coverage_90": 0.912,
        "hit_rate": 0.513,
        "hit_rate_low": 0.481,
        "hit_rate_high": 0.544,
        "profit_factor": 1.08,
        "profit_factor_low": 0.91,
        "profit_factor_high": 1.27,
        "max_drawdown_frac": 0.123,
        "sharpe_annual": 0.41,
        "volatility_adjusted_return": 0.39,
        "net_return": 0.052,
    }
    for name, values in (("skill_rmse", level), ("skill_qlike", variance)):
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    return row | changes


def build(
    labels: tuple[str, ...] = tuple(SKILLS),
    *,
    steps: tuple[int, ...] = (1, 5),
    tickers: tuple[str, ...] = ("AAA", "BBB", "CCC"),
    n_cutoffs: int = 40,
    changes: dict[str, dict[str, Any]] | None = None,
    cutoff_changes: dict[str, Any] | None = None,
    failures: tuple[dict[str, Any], ...] | None = None,
) -> EvaluationReport:
    each = [(label, step) for step in steps for label in labels]
    days = [date(2019, 1, 2) + timedelta(days=7 * n) for n in range(n_cutoffs)]
    failed = {
        "split": 0,
        "ticker": tickers[0],
        "spec": f"id-{labels[-1]}",
        "label": labels[-1],
        "cutoff": days[0],
        "status": "explosive",
        "reason": "persistence was 1.0001; it must be < 0.9999",
    }
    tables: dict[str, list[dict[str, Any]]] = {
        "leaderboard": [
            board_row(label, step, 1 + labels.index(label), **(changes or {}).get(label, {}))
            for label, step in each
        ],
        "tickers": [
            {
                "spec": f"id-{label}",
                "label": label,
                "step": step,
                "ticker": ticker,
                "n_scored": 40,
                "n_failed": 0,
                "n_common": 40,
                "skill_rmse": 0.0 if label == "random_walk" else 0.01 * (n - 1) - 0.001,
                "skill_qlike": 0.0 if label == "random_walk" else 0.1 - 0.02 * n,
            }
            for label, step in each
            for n, ticker in enumerate(tickers)
        ],
        "cutoffs": [
            {
                "spec": f"id-{label}",
                "label": label,
                "step": step,
                "split": 0,
                "cutoff": day,
                "n_scored": 3,
                "n_common": 3,
                "mse": 0.0004 * step * (1 + 0.1 * labels.index(label) + 0.01 * n),
                "qlike": 2.0 + 0.1 * labels.index(label),
                "crps": 0.01,
                "net_return": 0.001,
                "equity": 1.0 + 0.001 * n * labels.index(label),
                "drawdown_frac": 0.002,
            }
            | (cutoff_changes or {})
            for label, step in each
            for n, day in enumerate(days)
        ],
        "failures": [failed] if failures is None else [failed | one for one in failures],
        "dropped": [],
    }
    return EvaluationReport(
        **{name: pa.Table.from_pylist(rows, schema=SCHEMAS[name]) for name, rows in tables.items()},
        baseline=f"id-{labels[0]}",
        step_size=5,
        seed=0,
        block_length=dict.fromkeys(steps, 1),
        settings={"level": 0.95},
    )


@pytest.fixture(scope="session")
def make() -> Make:
    """Return a builder of reports."""
    return build


@pytest.fixture(scope="session")
def report() -> EvaluationReport:
    """Return four forecasters over two steps and three tickers."""
    return build()


@pytest.fixture
def folder(report: EvaluationReport, tmp_path: Path) -> Path:
    """Return a sweep folder that holds the report and its provenance."""
    report.save(tmp_path)
    facts = {"name": "hand-made", "sweep_id": "0123456789abcdef", "settings": "a: 1\nb: 2\n"}
    (tmp_path / "provenance.json").write_text(json.dumps(facts), encoding="utf-8")
    return tmp_path
