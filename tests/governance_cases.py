"""A challenger that every check of the default policy lets pass, each number chosen by hand."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from pmx_ray.backtest.comparison import TABLES, Comparison, SetTests
from pmx_ray.backtest.report_types import SCHEMAS, EvaluationReport
from pmx_ray.governance.certify import certify
from pmx_ray.governance.decision import GovernanceDecision
from pmx_ray.governance.facts import (
    Facts,
    FallbackFacts,
    LeakFacts,
    QualityFacts,
    ReplayFacts,
    TrialFacts,
)
from pmx_ray.governance.policy import GovernancePolicy

OWN, BASE, THIRD = "1111aaaa", "0000bbbb", "2222cccc"
LABELS = {OWN: "samossa", BASE: "random_walk", THIRD: "drift"}
STEP = 5
NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
KEY = "key-of-the-evaluation"
FIRST = date(2023, 1, 2)
POLICY = GovernancePolicy()


@dataclass(frozen=True)
class Case:
    """What ``certify`` is given; ``with_`` changes a figure of the challenger's, or a fact."""

    report: EvaluationReport
    comparison: Comparison
    facts: Facts
    policy: GovernancePolicy = POLICY
    as_of: datetime = NOW

    def decide(self, **changed: Any) -> GovernanceDecision:
        wanted = {
            "facts": self.facts,
            "challenger": OWN,
            "baseline": BASE,
            "step": STEP,
            "as_of": self.as_of,
            **changed,
        }
        return certify(self.report, self.comparison, self.policy, **wanted)

    def with_report(self, table: str, *, spec: str = OWN, **figures: Any) -> "Case":
        changed = altered(getattr(self.report, table), {"spec": spec}, figures)
        return replace(self, report=replace(self.report, **{table: changed}))

    def with_comparison(self, table: str, *, spec: str = OWN, **figures: Any) -> "Case":
        where = {"spec": spec, **{k: figures.pop(k) for k in ("regime",) if k in figures}}
        changed = altered(getattr(self.comparison, table), where, figures)
        return replace(self, comparison=replace(self.comparison, **{table: changed}))

    def with_sets(self, **figures: Any) -> "Case":
        sets = tuple(replace(row, **figures) for row in self.comparison.sets)
        return replace(self, comparison=replace(self.comparison, sets=sets))

    def with_facts(self, **parts: Any) -> "Case":
        """Change parts of the facts; a mapping changes fields inside a part."""
        new = {
            name: replace(getattr(self.facts, name), **part) if isinstance(part, dict) else part
            for name, part in parts.items()
        }
        return replace(self, facts=replace(self.facts, **new))

    def with_replay(self, name: str, **figures: Any) -> "Case":
        rows = tuple(replace(r, **figures) if r.name == name else r for r in self.facts.replays)
        return self.with_facts(replays=rows)


def altered(table: pa.Table, where: dict[str, Any], figures: dict[str, Any]) -> pa.Table:
    """Return ``table`` with ``figures`` in the rows that are as ``where`` says."""
    rows = [
        {**row, **figures} if all(row[k] == v for k, v in where.items()) else row
        for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=table.schema)


def table_of(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows in ``schema``; a text not given is empty, a count 0, a figure null."""
    empty = {
        field.name: ""
        if pa.types.is_string(field.type)
        else False
        if pa.types.is_boolean(field.type)
        else None
        if field.nullable
        else 0
        for field in schema
    }
    named = [{**empty, "label": LABELS[row["spec"]], "step": STEP, **row} for row in rows]
    return pa.Table.from_pylist(named, schema=schema)


def report(rows: list[dict[str, Any]], **tables: pa.Table) -> EvaluationReport:
    """Return a report with a leaderboard of ``rows``."""
    empty = {name: schema.empty_table() for name, schema in SCHEMAS.items()}
    return EvaluationReport(
        **{**empty, "leaderboard": table_of(SCHEMAS["leaderboard"], rows), **tables},
        baseline=BASE,
        step_size=5,
        seed=7,
        block_length={STEP: 2},
        settings={
            "level": 0.95,
            "n_resamples": 1000,
            "tail": 0.05,
            "costs": {"slippage_bps": 10.0, "fee_bps": 10.0},
        },
    )


def comparison(**tables: Any) -> Comparison:
    """Return a comparison with these tables and sets."""
    return Comparison(
        **{
            "baseline": BASE,
            "baseline_label": LABELS[BASE],
            "step_size": 5,
            "level": 0.95,
            "n_resamples": 1000,
            "seed": 7,
            "tail": 0.05,
            "differences": (),
            "sets": (),
            "key": KEY,
            **tables,
        }
    )


def cutoff_rows(spec: str, n: int = 100, **figures: Any) -> list[dict[str, Any]]:
    """Return ``n`` cutoffs five days apart."""
    days = [FIRST + timedelta(days=5 * i) for i in range(n)]
    return [{"spec": spec, "cutoff": day, "n_common": 10, **figures} for day in days]


LEADERBOARD = [
    {
        "spec": OWN, "name": "samossa", "n_cells": 1000, "n_scored": 990, "n_failed": 10,
        "n_common": 985, "n_cutoffs": 100, "n_directional": 980, "n_trades": 400,
        "coverage_90": 0.91, "hit_rate": 0.58, "hit_rate_low": 0.53, "hit_rate_high": 0.63,
        "profit_factor": 1.5, "profit_factor_low": 1.2, "profit_factor_high": 1.9,
        "max_drawdown_frac": 0.08, "net_return": 0.25, "sharpe_annual": 1.6, "skill_rmse": 0.02,
    },
    {
        "spec": BASE, "name": "random_walk", "n_cells": 1000, "n_scored": 1000, "n_common": 985,
        "n_cutoffs": 100, "n_directional": 900, "n_trades": 200, "hit_rate": 0.5,
        "profit_factor": 1.1, "max_drawdown_frac": 0.1, "sharpe_annual": 0.2, "skill_rmse": 0.0,
        "coverage_90": 0.9,
    },
]  # fmt: skip


def passing() -> Case:
    """Return the case that is promoted."""
    regimes = [
        {
            "spec": OWN, "regime": name, "n_cutoffs": 33, "n_trades": 130,
            "net_return": 0.002, "max_drawdown_frac": 0.05, "skill_rmse": 0.01,
        }
        for name in ("bull", "bear", "sideways")
    ]  # fmt: skip
    strategy = {
        "spec": OWN, "n_returns": 100, "n_trades": 400, "n_effective": 100.0, "sharpe": 0.5,
        "skew": 0.0, "kurtosis": 3.0, "value_at_risk": 0.02, "expected_shortfall": 0.03,
    }  # fmt: skip
    tested = {
        "spec": OWN, "versus": BASE, "versus_label": LABELS[BASE], "loss": "squared_error",
        "n": 100, "mean": -1e-5, "dm": -3.0, "dm_p_less": 0.002,
    }  # fmt: skip
    sets = SetTests(STEP, "squared_error", 100, 2, {OWN: 1.0, BASE: 0.04}, 0.004, 0.003, 0.005, ())
    facts = Facts(
        trials=TrialFacts(n_trials=6, n_in_run=2, sharpe_variance=0.01, pbo=0.1, n_splits=70),
        leaks=LeakFacts(n_probes=120, findings=()),
        replays=(
            ReplayFacts("crisis_2008", 70, 0.12, 0.01, n_served=690, n_asked=700),
            ReplayFacts("crisis_2020", 25, 0.11, 0.02, n_served=250, n_asked=250),
        ),
        quality=QualityFacts(score=0.999, n_quarantined=1),
        fallback=FallbackFacts(THIRD, "drift", NOW - timedelta(days=3), 40, 40),
        report_key=KEY,
    )
    cutoffs = table_of(SCHEMAS["cutoffs"], [*cutoff_rows(OWN), *cutoff_rows(BASE)])
    return Case(
        report(LEADERBOARD, cutoffs=cutoffs),
        comparison(
            sets=(sets,),
            strategies=table_of(TABLES["strategies"], [strategy]),
            pairwise=table_of(TABLES["pairwise"], [tested]),
            regimes=table_of(TABLES["regimes"], regimes),
        ),
        facts,
    )
