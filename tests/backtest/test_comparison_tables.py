"""Each table of a comparison against figures worked out from the cells by other means."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hand_frames import (
    DRIFT,
    FIRST_CUTOFF,
    RANDOM_WALK,
    assert_same_figures,
    averaging,
    hand_frame,
)
from scipy import stats

from pmx_ray.backtest.cells import collect
from pmx_ray.backtest.compare import compare, compare_parts
from pmx_ray.backtest.comparison import POOLED
from pmx_ray.backtest.costs import CostSettings
from pmx_ray.backtest.evaluate import EvaluationSettings, evaluate
from pmx_ray.backtest.regime_table import regimes_of
from pmx_ray.data.panel import Panel
from pmx_ray.stats import measures
from pmx_ray.stats.predictive import diebold_mariano

FREE = EvaluationSettings(costs=CostSettings(slippage_bps=0, fee_bps=0), n_resamples=200)
OTHER = averaging(20)
SIX_MONTHS = [FIRST_CUTOFF + 7 * n for n in range(60)]


@pytest.fixture(scope="module")
def cells():
    """Return means of two forecasters and what came, (60, 2, 1): the first has skill."""
    rng = np.random.default_rng(5)
    actual = rng.normal(0.0, 0.02, (60, 2, 1))
    return (
        actual,
        0.3 * actual + rng.normal(0.0, 0.003, actual.shape),
        0.01 * np.sign(rng.normal(size=actual.shape)),
    )


@pytest.fixture(scope="module")
def frames(cells):
    actual, skilled, random = cells
    return [
        (RANDOM_WALK, hand_frame(RANDOM_WALK, 0.0, actual)),
        (DRIFT, hand_frame(DRIFT, skilled, actual)),
        (OTHER, hand_frame(OTHER, random, actual)),
    ]


@pytest.fixture(scope="module")
def found(frames):
    regimes = {"bull": np.array(SIX_MONTHS[:25]), "bear": np.array(SIX_MONTHS[25:]),
               "sideways": np.array([], "datetime64[D]")}  # fmt: skip
    return compare(frames, 5, FREE, baseline=RANDOM_WALK.id, seed=3, regimes=regimes)


def row_of(table, **keys):
    (row,) = [
        row for row in table.to_pylist() if all(row[name] == value for name, value in keys.items())
    ]
    return row


# proves E3
def test_pairwise_when_squared_errors_then_diebold_mariano_of_their_difference(found, cells):
    actual, skilled, random = cells
    difference = ((actual - skilled) ** 2 - actual**2)[..., 0]
    pair = {"spec": DRIFT.id, "versus": RANDOM_WALK.id, "loss": "squared_error"}
    for ticker, series in ((POOLED, difference.mean(axis=1)), ("B", difference[:, 1])):
        row = row_of(found.pairwise, ticker=ticker, **pair)
        expected = diebold_mariano(series, lags=0)
        assert row["mean"] == pytest.approx(series.mean())
        assert row["dm_p_less"] == pytest.approx(expected.p_less)
        assert row["paired_p_less"] == pytest.approx(
            stats.ttest_1samp(series, 0.0, alternative="less").pvalue
        )
        assert (row["n"], row["lags"], row["no_lags"]) == (60, 0, False)
    rivals = row_of(found.pairwise, spec=DRIFT.id, versus=OTHER.id, loss="squared_error", ticker="")
    assert rivals["mean"] == pytest.approx(
        float(((actual - skilled) ** 2 - (actual - random) ** 2).mean())
    )


def test_pairwise_when_steps_overlap_then_lags_are_the_cutoffs_between(cells):
    actual = np.random.default_rng(1).normal(0.0, 0.02, (60, 2, 2))
    frames = [
        (RANDOM_WALK, hand_frame(RANDOM_WALK, 0.0, actual, steps=(1, 20))),
        (DRIFT, hand_frame(DRIFT, 0.01, actual, steps=(1, 20))),
    ]
    pairwise = compare(frames, 5, FREE, baseline=RANDOM_WALK.id, seed=3).pairwise
    assert {(row["step"], row["lags"]) for row in pairwise.to_pylist()} == {(1, 0), (20, 3)}


def test_pairwise_when_the_cells_come_in_parts_then_the_same(frames, found):
    middle = pa.scalar(SIX_MONTHS[31].item())
    parts = [
        collect((spec, table.filter(keep(table["cutoff"], middle))) for spec, table in frames)
        for keep in (pc.less, pc.greater_equal)
    ]
    ids = {spec.id for spec, _ in frames}
    other = compare_parts(parts, ids, 5, FREE, baseline=RANDOM_WALK.id, seed=3)
    assert other.sets == found.sets
    for one, two in zip(other.pairwise.to_pylist(), found.pairwise.to_pylist(), strict=True):
        assert_same_figures(one, two)
    assert other.strategies.equals(found.strategies)
    assert other.diagnostics.equals(found.diagnostics)


def test_sets_when_one_forecaster_has_skill_then_it_is_found_and_the_others_are_put_out(found):
    (tests,) = [row for row in found.sets if row.loss == "squared_error"]
    assert tests.n == 60
    assert tests.mcs_p[DRIFT.id] == 1.0
    assert tests.mcs_p[OTHER.id] < 0.1
    assert tests.spa_p < 0.05
    assert tests.superior == (DRIFT.id,)
    (flat,) = [row for row in found.sets if row.loss == "qlike"]  # one variance for all
    assert set(flat.mcs_p.values()) == {1.0}
    assert flat.superior == ()


# proves A10 A12
def test_strategies_when_costs_are_nothing_then_the_figures_of_the_returns(found, cells):
    actual, skilled, _ = cells
    returns = (np.sign(skilled) * np.expm1(actual))[..., 0].mean(axis=1)
    row = row_of(found.strategies, spec=DRIFT.id)
    assert row["sharpe_annual"] == pytest.approx(
        measures.sharpe_annual(returns, periods_per_year=252 / 5)
    )
    assert row["max_drawdown_frac"] == pytest.approx(measures.max_drawdown_frac(returns))
    assert row["sharpe_annual_low"] < row["sharpe_annual"] < row["sharpe_annual_high"]
    assert row["max_drawdown_frac_low"] <= row["max_drawdown_frac_high"]
    assert row["t_p_greater"] == pytest.approx(
        stats.ttest_1samp(returns, 0.0, alternative="greater").pvalue
    )
    assert (row["n_returns"], row["n_trades"], row["n_effective"]) == (60, 120, 60.0)
    assert row["expected_shortfall"] >= row["value_at_risk"]
    idle = row_of(found.strategies, spec=RANDOM_WALK.id)
    assert (idle["n_trades"], idle["sharpe"], idle["max_drawdown_frac"]) == (0, None, 0.0)


def test_strategies_when_on_the_leaderboard_too_then_the_same_figures(found, frames):
    report = evaluate(frames, 5, FREE, baseline=RANDOM_WALK.id, seed=3)
    for row in report.leaderboard.to_pylist():
        other = row_of(found.strategies, spec=row["spec"], step=row["step"])
        for name in ("sharpe_annual", "max_drawdown_frac", "n_trades"):
            assert row[name] == other[name]


# proves A11
def test_diagnostics_when_forecasts_have_the_true_variance_then_little_is_rejected(found):
    row = row_of(found.diagnostics, spec=RANDOM_WALK.id, ticker="A")
    assert row["n"] == 60
    assert 1.0 < row["durbin_watson"] < 3.0
    for name in ("ljung_box_p", "jarque_bera_p", "pit_p", "kupiec_p"):
        assert 0.01 < row[name] <= 1.0
    assert row["mz_slope"] is None  # a forecast that never moves has none


def test_diagnostics_when_the_variance_is_far_too_small_then_breaches_are_seen(cells):
    actual, *_ = cells
    frames = [
        (RANDOM_WALK, hand_frame(RANDOM_WALK, 0.0, actual)),
        (DRIFT, hand_frame(DRIFT, 0.0, actual, variance=4e-6)),
    ]
    table = compare(frames, 5, FREE, baseline=RANDOM_WALK.id, seed=3).diagnostics
    row = row_of(table, spec=DRIFT.id, ticker="A")
    assert row["n_breaches"] > 15
    assert row["kupiec_p"] < 1e-6
    assert row["pit_p"] < 1e-6


def test_regimes_when_cutoffs_are_split_then_each_has_its_own_measures(found, cells):
    actual, skilled, _ = cells
    part = slice(0, 25)
    row = row_of(found.regimes, spec=DRIFT.id, regime="bull")
    squares = ((actual - skilled)[part] ** 2).mean()
    assert row["rmse"] == pytest.approx(squares**0.5)
    assert row["skill_rmse"] == pytest.approx(1.0 - (squares / (actual[part] ** 2).mean()) ** 0.5)
    assert row["hit_rate"] == pytest.approx((np.sign(actual) == np.sign(skilled))[part].mean())
    assert (row["n_cutoffs"], row["n_cells"], row["leads"]) == (25, 50, True)
    returns = (np.sign(skilled) * np.expm1(actual))[part, :, 0].mean(axis=1)
    assert row["net_return"] == pytest.approx(returns.mean())
    assert row["max_drawdown_frac"] == pytest.approx(measures.max_drawdown_frac(returns))
    empty = row_of(found.regimes, spec=DRIFT.id, regime="sideways")
    assert (empty["n_cutoffs"], empty["rmse"], empty["leads"]) == (0, None, False)


def in_bull(frames, **changed):
    free = FREE.model_copy(update=changed)
    regimes = {"bull": np.array(SIX_MONTHS[:25])}
    return compare(frames, 5, free, baseline=RANDOM_WALK.id, seed=3, regimes=regimes).regimes


def test_regimes_when_a_spec_failed_too_often_then_it_does_not_lead(cells):
    actual, skilled, random = cells
    gave_up = {(n, 0): ("error", "planted") for n in range(10)}
    frames = [
        (RANDOM_WALK, hand_frame(RANDOM_WALK, 0.0, actual)),
        (DRIFT, hand_frame(DRIFT, skilled, actual, failed=gave_up)),  # 10 of 120 cells
        (OTHER, hand_frame(OTHER, random, actual)),
    ]
    table = in_bull(frames)
    best = row_of(table, spec=DRIFT.id)["skill_rmse"]
    others = {s.id: row_of(table, spec=s.id)["skill_rmse"] for s in (RANDOM_WALK, OTHER)}
    assert best > max(others.values())
    leaders = [row["spec"] for row in table.to_pylist() if row["leads"]]
    assert leaders == [max(others, key=others.get)]
    assert row_of(in_bull(frames, max_failed_frac=0.1), spec=DRIFT.id)["leads"]


def test_regimes_when_cutoffs_have_no_common_cell_then_not_counted(cells):
    actual, skilled, _ = cells
    gave_up = {(n, m): ("error", "planted") for n in (3, 4, 5) for m in (0, 1)}
    gave_up |= {(6, 0): ("error", "planted")}  # the other ticker is left
    frames = [
        (RANDOM_WALK, hand_frame(RANDOM_WALK, 0.0, actual)),
        (DRIFT, hand_frame(DRIFT, skilled, actual, failed=gave_up)),
    ]
    for spec in (RANDOM_WALK, DRIFT):
        row = row_of(in_bull(frames, max_failed_frac=0.1), spec=spec.id)
        assert (row["n_cutoffs"], row["n_cells"]) == (22, 43)


def test_regimes_when_splits_share_a_cutoff_then_counted_once(cells):
    actual = cells[0]
    layout = {"split": [0] * 30 + [1] * 30, "cutoff": [*range(30), *range(30)]}
    frames = [
        (RANDOM_WALK, hand_frame(RANDOM_WALK, 0.0, actual, **layout)),
        (DRIFT, hand_frame(DRIFT, 0.01, actual, **layout)),
    ]
    row = row_of(in_bull(frames), spec=DRIFT.id)
    assert (row["n_cutoffs"], row["n_cells"]) == (25, 100)


def test_regimes_of_when_a_panel_rises_and_falls_then_the_sessions_are_labelled():
    sessions = np.arange("2007-01-01", "2009-12-31", dtype="datetime64[D]")
    drift = np.where(sessions < np.datetime64("2008-06-01"), 0.002, -0.002)
    noise = np.random.default_rng(0).normal(0.0, 0.005, len(sessions))
    panel = Panel("24/7", ("A",), sessions, np.exp(np.cumsum(drift + noise))[None, :])
    regimes = regimes_of(panel)
    assert (regimes["bull"] < np.datetime64("2008-09-01")).all()
    assert (regimes["bear"] > np.datetime64("2008-06-01")).all()
    assert regimes["crisis_2008"][0] == np.datetime64("2007-10-09")
    assert len(regimes["crisis_2020"]) == 0


def test_effect_size_when_differences_are_known_then_mean_over_deviation(found, cells):
    actual, skilled, _ = cells
    by_cutoff = ((actual - skilled) ** 2 - actual**2)[..., 0].mean(axis=1)
    (row,) = [d for d in found.differences if (d.spec, d.loss) == (DRIFT.id, "squared_error")]
    assert row.effect == pytest.approx(by_cutoff.mean() / by_cutoff.std(ddof=1))
    assert row.effect_low < row.effect < row.effect_high < 0.0


def test_compare_when_there_is_one_spec_then_no_pair_and_no_error(cells):
    actual, *_ = cells
    frames = [(RANDOM_WALK, hand_frame(RANDOM_WALK, 0.0, actual))]
    alone = compare(frames, 5, FREE, baseline=RANDOM_WALK.id, seed=3)
    assert (alone.differences, alone.pairwise.num_rows) == ((), 0)
    assert {row.spa_p for row in alone.sets} == {None}
    assert alone.strategies.num_rows == 1
