"""Every measure by regime: what kind of market a cutoff stood in, and the great crises."""

from collections.abc import Mapping, Set

import numpy as np
import pyarrow as pa

from pmx_ray._typing import BoolArray, DateArray, IntArray
from pmx_ray.backtest.cells import Axes, SpecName
from pmx_ray.backtest.comparison import REGIMES_SCHEMA
from pmx_ray.backtest.scoring import SKILLS, none_if_nan, skill
from pmx_ray.backtest.strategy import Sleeves
from pmx_ray.backtest.tally import Tally
from pmx_ray.data.panel import Panel
from pmx_ray.stats import measures
from pmx_ray.stats.intervals import ratio
from pmx_ray.stats.regimes import (
    CRISES,
    Regime,
    RegimeRule,
    in_window,
    label,
    market_index,
    segments,
)

Regimes = Mapping[str, DateArray]
"""Name of a regime to the sessions in it."""


def regimes_of(
    panel: Panel, rule: RegimeRule | None = None, *, alarms: IntArray | None = None
) -> Regimes:
    """Return the sessions of each regime, labelled by the panel's own index and by the calendar.

    A session is bull, bear or sideways by what was known at its close; a crisis is a window of
    dates, found afterwards by its nature. With ``alarms``, the sessions at whose close a change
    was alarmed, (A,), each stretch from one to the next is a regime too: ``since_2008-10-09``.
    """
    labels = label(market_index(panel.close), rule or RegimeRule())
    found = {str(regime): panel.sessions[labels == regime] for regime in Regime}
    crises = {name: panel.sessions[in_window(panel.sessions, window)]
              for name, window in CRISES.items()}  # fmt: skip
    changes = {} if alarms is None else _segments(panel.sessions, alarms)
    return {**found, **crises, **changes}


def _segments(sessions: DateArray, alarms: IntArray) -> Regimes:
    number = segments(alarms, len(sessions))
    stretches = (sessions[number == k] for k in range(len(alarms) + 1))
    return {f"since_{stretch[0]}": stretch for stretch in stretches if len(stretch)}


def regime_table(
    tallies: Mapping[SpecName, Tally],
    axes: Axes,
    *,
    sleeves: Sleeves,
    regimes: Regimes,
    complete: Set[str],
) -> pa.Table:
    """Return the rows of ``REGIMES_SCHEMA`` of one step, regimes without a cutoff among them.

    Only a spec whose id is in ``complete`` can lead: any other was spared the cells it failed on.
    """
    rows = []
    for name, sessions in regimes.items():
        inside = np.isin(axes.cutoff, sessions)
        of_regime = [
            _row(spec, tally, inside, axes, sleeves) | {"regime": name}
            for spec, tally in tallies.items()
        ]
        best = max(
            (_number(row["skill_rmse"]) for row in of_regime if row["spec"] in complete),
            default=-np.inf,
        )
        rows += [row | {"leads": row["spec"] in complete
                        and _number(row["skill_rmse"]) == best > -np.inf}
                 for row in of_regime]  # fmt: skip
    plain = [{name: none_if_nan(value) for name, value in row.items()} for row in rows]
    return pa.Table.from_pylist(plain, schema=REGIMES_SCHEMA)


def _row(
    spec: SpecName, tally: Tally, inside: BoolArray, axes: Axes, sleeves: Sleeves
) -> dict[str, str | int | float | bool]:
    sums = {name: values[inside] for name, values in tally.by_row.items()}
    total = {name: float(np.nansum(values)) for name, values in sums.items()}
    returns = sums["net_return"]
    walked = axes.is_path and not np.isnan(returns).all()
    # A regime comes in spells: its capital stands still between them.
    drawdown = float(sleeves.drawdown_frac(returns).max()) if walked else np.nan

    def mean(loss: str) -> float:
        return float(ratio(np.asarray(total[loss]), np.asarray(total[f"n_{loss}"])))

    return {
        "spec": spec.id,
        "label": spec.label,
        "step": sleeves.step,
        "n_cutoffs": len(np.unique(axes.cutoff[inside][sums["used"] > 0.0])),
        "n_cells": int(total["used"]),
        "n_trades": int(total["trades"]),
        "rmse": float(np.sqrt(mean("squared_error"))),
        "qlike": mean("qlike"),
        "hit_rate": mean("hits"),
        **{name: float(skill(name, np.asarray(total[loss]), np.asarray(total[f"base_{loss}"])))
           for name, loss in SKILLS.items()},
        "profit_factor": measures.profit_factor(np.array([total["gains"], -total["losses"]])),
        "net_return": float(np.nanmean(returns)) if walked else np.nan,
        "max_drawdown_frac": drawdown,
        "sharpe_annual": measures.sharpe_annual(
            returns, periods_per_year=sleeves.periods_per_year
        ) if walked else np.nan,
    }  # fmt: skip


def _number(value: str | int | float | bool) -> float:
    number = float(value)
    return -np.inf if np.isnan(number) else number
