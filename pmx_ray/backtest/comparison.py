"""What a comparison hands on: differences, tests, strategy figures, diagnostics and regimes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from pmx_ray.backtest.report_types import (
    REPORT_VERSION,
    json_bytes,
    read_json,
    read_table,
    schema_of,
    write_files,
)
from pmx_ray.errors import DataError
from pmx_ray.lake.blocks import to_parquet

COMPARISON = "comparison.json"
"""Name of the file that a comparison is saved as, beside a Parquet file for each table."""

POOLED = ""
"""What stands for the ticker where all tickers of a cutoff are taken together."""

_STEP = pa.field("step", pa.int16(), nullable=False)

PAIRWISE_SCHEMA = schema_of(
    "spec label versus versus_label loss ticker",
    "n lags",
    "mean dm dm_p_less dm_p_two_sided paired_t paired_p_less",
    _STEP,
    pa.field("no_lags", pa.bool_(), nullable=False),
)
"""One row a pair of specs, step, loss and ticker (``POOLED``: the mean over the tickers of each
cutoff). ``mean`` is the loss of ``spec`` less that of ``versus``; ``dm`` the Diebold-Mariano
statistic with the Harvey-Leybourne-Newbold factor and ``lags`` HAC lags, in cutoffs;
``dm_p_less`` the p-value against "no better", one-sided, from t(n - 1). ``no_lags``: the HAC
variance was not positive and none was used."""

STRATEGIES_SCHEMA = schema_of(
    "spec label",
    "n_returns n_trades",
    "n_effective sharpe sharpe_annual sharpe_annual_low sharpe_annual_high skew kurtosis "
    "max_drawdown_frac max_drawdown_frac_low max_drawdown_frac_high "
    "mean_difference t_statistic t_p_greater information_ratio_annual f_statistic f_p_two_sided "
    "value_at_risk expected_shortfall probabilistic_sharpe",
    _STEP,
)
"""One row a spec and step, of its net return by cutoff. ``sharpe`` is per period of one sleeve,
``n_effective`` the returns that do not overlap, ``kurtosis`` that of a normal being 3;
``mean_difference`` and the tests after it are against the baseline; value at risk and expected
shortfall are losses > 0 of one cutoff at ``tail`` of the comparison's settings."""

DIAGNOSTICS_SCHEMA = schema_of(
    "spec label ticker",
    "n n_breaches",
    "ljung_box_p durbin_watson jarque_bera_p mz_intercept mz_slope mz_p pit_p kupiec_p "
    "christoffersen_p",
    _STEP,
)
"""One row a spec, step and ticker, of its standardised forecast errors; ``n_breaches`` outcomes
below the 5 % quantile. Null where a test is not defined."""

REGIMES_SCHEMA = schema_of(
    "spec label regime",
    "n_cutoffs n_cells n_trades",
    "rmse skill_rmse qlike skill_qlike hit_rate profit_factor net_return max_drawdown_frac "
    "sharpe_annual",
    _STEP,
    pa.field("leads", pa.bool_(), nullable=False),
)
"""One row a spec, step and regime; ``leads`` where it has the best RMSE skill of all specs.
``net_return`` is the mean by cutoff. Regimes are labels of what was known at the cutoff (``bull``,
``bear``, ``sideways``) and windows of the calendar (``crisis_2008``, ``crisis_2020``)."""

TABLES: dict[str, pa.Schema] = {
    "pairwise": PAIRWISE_SCHEMA,
    "strategies": STRATEGIES_SCHEMA,
    "diagnostics": DIAGNOSTICS_SCHEMA,
    "regimes": REGIMES_SCHEMA,
}
"""Schema of each table, by the name of its field and of its file."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean difference of one loss between a spec and the baseline; below 0 the spec is better.

    Attributes
    ----------
    spec, label : str
        The spec.
    step : int
        Sessions after the cutoff.
    loss : str
        One of ``PAIRED_LOSSES``.
    mean : float or None
        Mean over cells of the spec's loss less the baseline's; None without a cell.
    low, high : float or None
        Its bootstrap interval; None with too few cutoffs.
    effect, effect_low, effect_high : float or None
        Effect size: the mean over cutoffs divided by the standard deviation over cutoffs.
    n_cells, n_cutoffs : int
        Pairs, and the distinct cutoffs they belong to.
    block_length : int
        Mean block length of the bootstrap, in cutoffs.
    """

    spec: str
    label: str
    step: int
    loss: str
    mean: float | None
    low: float | None
    high: float | None
    effect: float | None
    effect_low: float | None
    effect_high: float | None
    n_cells: int
    n_cutoffs: int
    block_length: int


@dataclass(frozen=True, slots=True)
class SetTests:
    """Tests over all specs at once, of one loss at one step, by cutoff.

    Attributes
    ----------
    step : int
        Sessions after the cutoff.
    loss : str
        One of ``PAIRED_LOSSES``.
    n, block_length : int
        Cutoffs, and mean block length of the stationary bootstrap.
    mcs_p : mapping of str to (float or None)
        Spec id to its p-value in the model confidence set: it belongs to the set of size ``a``
        where this is at least ``a``. None with too few cutoffs.
    spa_p : float or None
        Hansen's consistent p-value against "no spec beats the baseline"; None without another
        spec or with too few cutoffs.
    spa_p_lower, spa_p_upper : float or None
        Its bounds.
    superior : tuple of str
        Ids of the specs that StepM finds better than the baseline.
    """

    step: int
    loss: str
    n: int
    block_length: int
    mcs_p: Mapping[str, float | None]
    spa_p: float | None
    spa_p_lower: float | None
    spa_p_upper: float | None
    superior: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every spec against the baseline and against each other.

    Attributes
    ----------
    baseline, baseline_label : str
        Spec id and label.
    step_size : int
        Sessions between cutoffs.
    level : float
        Coverage of the intervals.
    n_resamples, seed : int
        Of the bootstrap.
    tail : float
        Tail probability of value at risk and expected shortfall.
    differences : tuple of PairedDifference
        By step, then label, then loss.
    sets : tuple of SetTests
        By step, then loss.
    pairwise, strategies, diagnostics, regimes : pyarrow.Table
        In ``TABLES``.
    key : str
        Key of the evaluation it goes with; empty where it was made from frames alone.
    """

    baseline: str
    baseline_label: str
    step_size: int
    level: float
    n_resamples: int
    seed: int
    tail: float
    differences: tuple[PairedDifference, ...]
    sets: tuple[SetTests, ...]
    pairwise: pa.Table = field(default_factory=PAIRWISE_SCHEMA.empty_table)
    strategies: pa.Table = field(default_factory=STRATEGIES_SCHEMA.empty_table)
    diagnostics: pa.Table = field(default_factory=DIAGNOSTICS_SCHEMA.empty_table)
    regimes: pa.Table = field(default_factory=REGIMES_SCHEMA.empty_table)
    key: str = ""

    def __post_init__(self) -> None:
        for name, schema in TABLES.items():
            if not getattr(self, name).schema.equals(schema, check_metadata=True):
                raise DataError(
                    f"table '{name}' of the comparison is not in schema version "
                    f"{REPORT_VERSION}; run `pmx compare` again"
                )

    def as_document(self) -> dict[str, Any]:
        """Return all but the tables as JSON values."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in TABLES}
        rows = {
            name: [{**asdict(row)} for row in getattr(self, name)]
            for name in ("differences", "sets")
        }
        return {"schema_version": REPORT_VERSION, **plain, **rows}

    def save(self, folder: Path) -> None:
        """Write a Parquet file a table and, last, ``comparison.json`` into ``folder``."""
        write_files(folder, self.files())

    def files(self) -> dict[str, bytes]:
        """Return what ``save`` writes: the content of each file by its name."""
        tables = {f"{name}.parquet": to_parquet(getattr(self, name)) for name in TABLES}
        return {**tables, COMPARISON: json_bytes(self.as_document())}

    @classmethod
    def load(cls, folder: Path) -> "Comparison":
        """Return the comparison that ``save`` wrote into ``folder``.

        Raises
        ------
        DataError
            If a file is missing, damaged or of another schema version.
        """
        path = folder / COMPARISON
        document = read_json(path, verb="compare")
        tables = {name: read_table(folder / f"{name}.parquet", verb="compare") for name in TABLES}
        try:
            values = {f.name: document[f.name] for f in fields(cls) if f.name not in TABLES}
            differences = tuple(PairedDifference(**row) for row in document["differences"])
            sets = tuple(
                SetTests(**{**row, "superior": tuple(row["superior"])}) for row in document["sets"]
            )
        except (KeyError, TypeError) as error:
            raise DataError(f"{path} is not whole ({error!r}); run `pmx compare` again") from None
        return cls(**{**values, "differences": differences, "sets": sets}, **tables)
