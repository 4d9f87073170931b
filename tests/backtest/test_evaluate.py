from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from arch.bootstrap import StationaryBootstrap
from hand_frames import DRIFT, RANDOM_WALK, assert_same_figures, averaging, hand_frame

from pmx_ray.backtest.cells import collect, complete_specs
from pmx_ray.backtest.costs import CostSettings
from pmx_ray.backtest.evaluate import EvaluationSettings, evaluate, evaluate_parts
from pmx_ray.backtest.frame import fold_keys
from pmx_ray.backtest.report_types import SCHEMAS
from pmx_ray.errors import DataError
from pmx_ray.forecasters.protocol import Status
from pmx_ray.stats.intervals import block_length, wilson

# Three cutoffs x two tickers x one step.
ACTUAL = np.array([[0.02, -0.01], [-0.03, 0.04], [0.01, 0.01]])[..., None]
MEAN = np.array([[0.01, 0.01], [-0.01, 0.01], [0.002, -0.01]])[..., None]
ERROR = ("error", "fit raised ValueError: no")


def report(*frames, step_size=5, seed=0, **values):
    return evaluate(
        frames, step_size, EvaluationSettings(**values), baseline=RANDOM_WALK.id, seed=seed
    )


def walk(actual=ACTUAL, **values):
    return RANDOM_WALK, hand_frame(RANDOM_WALK, 0.0, actual, **values)


def drift(mean=MEAN, actual=ACTUAL, **values):
    return DRIFT, hand_frame(DRIFT, mean, actual, **values)


def row(report, spec, step=1):
    rows = report.leaderboard.to_pylist()
    return next(r for r in rows if r["spec"] == spec.id and r["step"] == step)


def returns(n_folds, n_tickers=3, n_steps=1, *, seed=0):
    return np.random.default_rng(seed).normal(0.0, 0.02, (n_folds, n_tickers, n_steps))


def test_evaluate_when_a_small_frame_then_every_loss_by_hand():  # proves C3, E2
    found = row(report(walk(), drift()), DRIFT)
    # Errors .01, -.02, -.02, .03, .008, .02; squares 1, 4, 4, 9, .64, 4 times 1e-4.
    assert found["rmse"] == pytest.approx(np.sqrt(22.64e-4 / 6))
    assert found["mae"] == pytest.approx(0.108 / 6)
    # Mean .028 / 6 and sum of squares as above.
    assert found["tracking_error"] == pytest.approx(np.sqrt((22.64e-4 - 0.028**2 / 6) / 5))
    # The walk's squares are 4, 1, 9, 16, 1, 1 times 1e-4.
    assert found["skill_rmse"] == pytest.approx(1 - np.sqrt(22.64 / 32))
    # x = actual^2 / 4e-4 = 1, .25, 2.25, 4, .25, .25: sum 8, product 9/64.
    assert found["qlike"] == pytest.approx((8 - np.log(9 / 64) - 6) / 6)
    assert found["skill_qlike"] == 0.0
    prices, forecasts = 100 * np.exp(ACTUAL), 100 * np.exp(MEAN)
    smape = np.mean(200 * np.abs(prices - forecasts) / (prices + forecasts))
    assert found["smape"] == pytest.approx(smape)
    # Half-widths .674 * .02 = .0135 and 1.645 * .02 = .0329.
    assert found["coverage_50"] == pytest.approx(2 / 6)
    assert found["coverage_90"] == 1.0
    # Signs agree at .02, -.03, .04, .01; with three cutoffs Wilson's interval has three.
    assert found["hit_rate"] == pytest.approx(4 / 6)
    interval = found["hit_rate_low"], found["hit_rate_high"]
    assert interval == pytest.approx(wilson(2, 3, level=0.95))
    counts = {name: value for name, value in found.items() if name.startswith("n_")}
    assert counts == {
        "n_cells": 6, "n_scored": 6, "n_failed": 0, "n_common": 6, "n_cutoffs": 3,
        "n_qlike": 6, "n_directional": 6, "n_trades": 5,
    }  # fmt: skip
    assert found["skill_rmse_low"] is None  # three cutoffs give no bootstrap interval


def test_evaluate_when_traded_then_every_measure_by_hand():  # proves E2
    found = report(walk(), drift())
    earned = np.array([
        [np.expm1(0.02) - 0.004, np.expm1(-0.01) - 0.004],
        [-np.expm1(-0.03) - 0.004, np.expm1(0.04) - 0.004],
        [0.0, -np.expm1(0.01) - 0.004],  # .002 does not pay for 40 basis points
    ])  # fmt: skip
    net = earned.mean(axis=1)
    equity = np.cumprod(1 + net)
    gains = earned[earned > 0].sum()
    figures = row(found, DRIFT)
    assert figures["profit_factor"] == pytest.approx(gains / (gains - earned.sum()))
    assert figures["net_return"] == pytest.approx(equity[-1] - 1)
    assert figures["max_drawdown_frac"] == pytest.approx(-net[2])  # up, up, down
    a_year = 252 / 5
    sharpe = net.mean() / net.std(ddof=1) * np.sqrt(a_year)
    assert figures["sharpe_annual"] == pytest.approx(sharpe)
    adjusted = (equity[-1] ** (a_year / 3) - 1) / (net.std(ddof=1) * np.sqrt(a_year))
    assert figures["volatility_adjusted_return"] == pytest.approx(adjusted)
    cutoffs = [r for r in found.cutoffs.to_pylist() if r["spec"] == DRIFT.id]
    assert [r["net_return"] for r in cutoffs] == pytest.approx(net)
    assert [r["equity"] for r in cutoffs] == pytest.approx(equity)
    assert [r["drawdown_frac"] for r in cutoffs] == pytest.approx([0, 0, -net[2]])
    assert [r["mse"] for r in cutoffs] == pytest.approx([2.5e-4, 6.5e-4, 2.32e-4])


def test_evaluate_when_the_edge_is_set_then_other_trades():
    everything = row(report(walk(), drift(), min_edge_bps=0.0), DRIFT)
    dear = row(report(walk(), drift(), costs=CostSettings(fee_bps=100.0)), DRIFT)
    assert (everything["n_trades"], dear["n_trades"]) == (6, 0)


def test_evaluate_when_the_random_walk_is_traded_then_it_never_is():
    found = row(report(walk(), drift()), RANDOM_WALK)
    undefined = ("profit_factor", "hit_rate", "hit_rate_low", "sharpe_annual")
    assert [found[name] for name in undefined] == [None] * 4
    assert (found["n_trades"], found["net_return"], found["max_drawdown_frac"]) == (0, 0.0, 0.0)
    assert (found["skill_rmse"], found["skill_qlike"]) == (0.0, 0.0)


def test_evaluate_when_golden_forecasts_then_known_skill():  # proves E2
    actual = returns(40, n_steps=2)
    steps = {"steps": (1, 5)}
    oracle, anti, constant = averaging(20), averaging(21), averaging(22)
    found = report(
        walk(actual, **steps),
        (oracle, hand_frame(oracle, actual, actual, variance=actual**2, **steps)),
        (anti, hand_frame(anti, -actual, actual, **steps)),
        (constant, hand_frame(constant, 0.0, actual, **steps)),
    )
    for step in (1, 5):
        best, worst, same = (row(found, spec, step) for spec in (oracle, anti, constant))
        names = ("rmse", "mae", "smape", "tracking_error", "qlike", "max_drawdown_frac")
        assert [best[name] for name in names] == [0.0] * 6
        assert (best["skill_rmse"], best["skill_qlike"], best["hit_rate"]) == (1.0, 1.0, 1.0)
        assert (best["skill_rmse_low"], best["skill_rmse_high"]) == (1.0, 1.0)
        assert (best["coverage_50"], best["coverage_90"]) == (1.0, 1.0)
        assert best["net_return"] > 0
        assert (worst["hit_rate"], worst["profit_factor"]) == (0.0, 0.0)
        assert worst["skill_rmse"] == pytest.approx(-1.0)  # twice the error, everywhere
        assert worst["skill_rmse_low"] == pytest.approx(-1.0)
        assert worst["net_return"] < 0
        walked = row(found, RANDOM_WALK, step)
        own = ("spec", "label", "name")
        assert {k: v for k, v in same.items() if k not in own} == {
            k: v for k, v in walked.items() if k not in own
        }
        assert [best["rank"], walked["rank"], same["rank"], worst["rank"]] == [1, 2, 2, 4]


def test_profit_factor_when_the_oracle_trades_only_what_pays_then_infinite():
    actual = np.where(np.abs(returns(40)) > 0.01, returns(40), 0.0)
    found = row(report(walk(actual), drift(actual, actual)), DRIFT)
    assert found["n_trades"] >= 30
    factors = [found["profit_factor" + end] for end in ("", "_low", "_high")]
    assert factors == [np.inf] * 3


def test_profit_factor_when_few_trades_then_no_interval():
    # Settled reading 4: unstable under about 30 trades.
    actual = returns(12)
    few = row(report(walk(actual), drift(0.01, actual), min_trades=37), DRIFT)
    enough = row(report(walk(actual), drift(0.01, actual), min_trades=36), DRIFT)
    assert few["n_trades"] == enough["n_trades"] == 36
    assert few["profit_factor"] == enough["profit_factor"]
    assert few["profit_factor_low"] is None
    assert enough["profit_factor_low"] < enough["profit_factor"] < enough["profit_factor_high"]


def test_evaluate_when_a_spec_fails_one_cell_then_all_are_compared_without_it():
    frames = walk(), drift(failed={(1, 0): ERROR})
    found = report(*frames, max_failed_frac=0.2)
    assert [r["n_common"] for r in found.leaderboard.to_pylist()] == [5, 5]
    failing = row(found, DRIFT)
    assert (failing["n_cells"], failing["n_scored"], failing["n_failed"]) == (6, 5, 1)
    assert not failing["incomplete"]
    assert row(found, RANDOM_WALK)["rmse"] == pytest.approx(np.sqrt(23e-4 / 5))
    assert failing["skill_rmse"] == pytest.approx(1 - np.sqrt(18.64 / 23))
    (dropped,) = found.dropped.to_pylist()
    assert (dropped["ticker"], dropped["step"], dropped["cause"]) == ("A", 1, "drift")
    (failure,) = found.failures.to_pylist()
    assert (failure["label"], failure["status"], failure["reason"]) == ("drift", *ERROR)
    assert failure["cutoff"] == dropped["cutoff"]


def test_evaluate_when_a_spec_fails_too_often_then_incomplete_and_the_rest_keep_their_cells():
    worse = averaging(20)
    found = report(
        walk(),
        drift(ACTUAL, failed={(1, 0): ERROR, (2, 1): ERROR}),  # perfect where it answers
        (worse, hand_frame(worse, -MEAN, ACTUAL)),
    )
    broken = row(found, DRIFT)
    assert broken["incomplete"]
    assert (broken["n_common"], broken["n_failed"], broken["rank"]) == (4, 2, 3)
    assert broken["skill_rmse"] == 1.0
    assert [row(found, spec)["n_common"] for spec in (RANDOM_WALK, worse)] == [6, 6]
    assert found.dropped.num_rows == 0
    assert found.failures.num_rows == 2


def test_evaluate_when_the_baseline_failed_too_then_it_is_no_specs_fault():
    unlisted = {(0, n): ("no_price", "no price on the cutoff") for n in range(2)}
    found = report(walk(failed=unlisted), drift(failed=unlisted))
    assert not row(found, DRIFT)["incomplete"]
    assert row(found, DRIFT)["n_failed"] == 2
    assert {r["cause"] for r in found.dropped.to_pylist()} == {"drift; random_walk"}


def test_evaluate_when_an_outcome_is_missing_then_dropped_for_all():
    actual = ACTUAL.copy()
    actual[1, 1] = np.nan
    found = report(walk(actual), drift(actual=actual))
    assert [r["n_common"] for r in found.leaderboard.to_pylist()] == [5, 5]
    assert found.dropped["cause"].to_pylist() == ["no outcome"]
    assert found.failures.num_rows == 0


def test_evaluate_when_nothing_is_common_then_nothing_is_claimed():
    everywhere = {(f, n): ERROR for f in range(3) for n in range(2)}
    found = row(report(walk(), drift(failed=everywhere)), DRIFT)
    assert (found["incomplete"], found["n_common"], found["n_failed"]) == (True, 0, 6)
    assert found["rmse"] is None
    assert found["skill_rmse"] is None
    assert found["net_return"] is None


def test_evaluate_when_the_price_did_not_move_then_only_qlike_leaves_the_cell_out():
    actual = ACTUAL.copy()
    actual[0, 0] = 0.0
    found = row(report(walk(actual), drift(actual=actual)), DRIFT)
    assert (found["n_common"], found["n_qlike"], found["n_directional"]) == (6, 5, 5)
    x = np.delete(actual.ravel() ** 2 / 4e-4, 0)
    assert found["qlike"] == pytest.approx(np.mean(x - np.log(x) - 1))


def test_evaluate_when_one_ticker_is_poisoned_then_only_its_cells_pay():
    actual = returns(30)
    mean = returns(30, seed=1) / 4
    poisoned = {(f, 1): (Status.EXPLOSIVE.value, "persistence 1.0001") for f in range(30)}
    healthy = report(walk(actual), drift(mean, actual))
    found = report(walk(actual), drift(mean, actual, failed=poisoned), max_failed_frac=0.5)

    def others(report):
        return report.tickers.filter(pc.not_equal(report.tickers["ticker"], "B"))

    assert others(found).equals(others(healthy))
    assert set(found.dropped["ticker"].to_pylist()) == {"B"}
    assert found.failures.num_rows == 30
    lost = [r for r in found.tickers.to_pylist() if r["ticker"] == "B" and r["spec"] == DRIFT.id]
    assert (lost[0]["n_scored"], lost[0]["n_failed"], lost[0]["rmse"]) == (0, 30, None)


def test_evaluate_when_a_forecast_is_absurd_then_other_specs_keep_their_numbers():
    actual = returns(20)
    mean = np.zeros_like(actual)
    mean[3, 1] = 700.0  # exp of it is 1e304
    found = report(walk(actual), drift(mean, actual))
    assert row(found, RANDOM_WALK)["rmse"] == pytest.approx(np.sqrt(np.mean(actual**2)))
    assert row(found, DRIFT)["rmse"] == pytest.approx(700.0 / np.sqrt(60), rel=1e-3)
    assert found.leaderboard["rank"].to_pylist() == [1, 2]


@pytest.mark.parametrize("seed", range(3))
def test_evaluate_when_specs_and_rows_come_in_any_order_then_the_same_report(seed):
    actual = returns(15, n_steps=2)
    specs = [averaging(20 + k) for k in range(4)]
    failed = {(2, 1): ERROR}
    frames = [walk(actual, steps=(1, 5))] + [
        (s, hand_frame(s, returns(15, n_steps=2, seed=k), actual, steps=(1, 5), failed=failed))
        for k, s in enumerate(specs)
    ]
    expected = report(*frames)
    rng = np.random.default_rng(seed)
    shuffled = [
        (spec, table.take(rng.permutation(len(table))))
        for spec, table in rng.permutation(np.array([*frames, None], dtype=object)[:-1])
    ]
    found = report(*shuffled)
    for name in SCHEMAS:
        assert getattr(found, name).equals(getattr(expected, name)), name


def test_skill_interval_when_resampled_by_the_plain_loop_then_the_same():
    n = 40
    actual = returns(n)
    mean = 0.3 * actual + returns(n, seed=1) / 5
    found = row(report(walk(actual), drift(mean, actual), seed=11), DRIFT)
    own, base = ((actual - mean) ** 2)[..., 0], (actual**2)[..., 0]

    def skill(rows):
        return 1 - np.sqrt(own[rows].sum() / base[rows].sum())

    block = block_length(n, step=1, step_size=5)
    rng = np.random.default_rng([11, 1])
    draws = StationaryBootstrap(block, np.arange(n), seed=rng).apply(skill, 1000)[:, 0]
    low, high = np.quantile(draws, [0.025, 0.975], method="inverted_cdf")
    assert found["skill_rmse"] == pytest.approx(skill(np.arange(n)))
    assert (found["skill_rmse_low"], found["skill_rmse_high"]) == pytest.approx((low, high))
    assert low < found["skill_rmse"] < high


def test_skill_interval_when_the_level_rises_then_wider():
    actual = returns(40)
    mean = returns(40, seed=1) / 5
    narrow, wide = (
        row(report(walk(actual), drift(mean, actual), level=level), DRIFT) for level in (0.9, 0.99)
    )
    assert wide["skill_rmse_low"] < narrow["skill_rmse_low"]
    assert wide["skill_rmse_high"] > narrow["skill_rmse_high"]


def test_block_length_when_windows_overlap_then_recorded_by_step():
    actual = returns(30, n_steps=2)
    found = report(walk(actual, steps=(1, 20)), step_size=2)
    assert dict(found.block_length) == {1: 4, 20: 10}


def test_evaluate_when_splits_score_the_same_cutoff_then_one_observation():
    actual = returns(12)
    mean = returns(12, seed=1) / 5
    once = report(walk(actual), drift(mean, actual))
    layout = {"split": [0] * 12 + [1] * 12, "cutoff": [*range(12), *range(12)]}
    actual, mean = np.tile(actual, (2, 1, 1)), np.tile(mean, (2, 1, 1))
    twice = report(walk(actual, **layout), drift(mean, actual, **layout))
    single, double = row(once, DRIFT), row(twice, DRIFT)
    assert (double["n_common"], double["n_cutoffs"]) == (72, 12)
    names = ("rmse", "skill_rmse", "skill_rmse_low", "skill_rmse_high", "profit_factor")
    assert [double[n] for n in names] == pytest.approx([single[n] for n in names])


def test_evaluate_when_the_plan_is_combinatorial_then_no_equity_curve():
    layout = {"split": [0, 0, 1], "cutoff": [0, 1, 0]}
    actual = ACTUAL.copy()
    found = report(walk(actual, **layout), drift(**layout))
    assert found.cutoffs["equity"].null_count == found.cutoffs.num_rows == 6
    assert row(found, DRIFT)["n_trades"] == 5
    path = ("max_drawdown_frac", "net_return", "sharpe_annual", "volatility_adjusted_return")
    assert [row(found, DRIFT)[name] for name in path] == [None] * 4


def parts_of(frames, bounds):
    keys = np.unique(fold_keys(frames[0][1]))
    for first, stop in pairwise(bounds):
        yield collect(
            (spec, table.filter(pa.array(np.isin(fold_keys(table), keys[first:stop]))))
            for spec, table in frames
        )


@pytest.mark.parametrize("bounds", [(0, 30), (0, 1, 30), (0, 7, 8, 29, 30)])
@pytest.mark.parametrize("layout", [{}, {"split": [0] * 15 + [1] * 15, "cutoff": [*range(15)] * 2}])
def test_evaluate_when_the_cells_come_in_parts_then_the_same_figures(bounds, layout):
    """Only the order of sums may differ."""
    actual = returns(30, n_steps=2)
    actual[2, 1] = np.nan
    failed = {(4, 0): ERROR, (20, 2): (Status.EXPLOSIVE.value, "persistence 1.0001")}
    values = {"steps": (1, 5), **layout}
    frames = [
        walk(actual, **values),
        drift(returns(30, n_steps=2, seed=1) / 4, actual, failed=failed, **values),
    ]
    complete = complete_specs(parts_of(frames, bounds), RANDOM_WALK.id, max_failed_frac=0.05)
    found = evaluate_parts(
        parts_of(frames, bounds), complete, 5, EvaluationSettings(), baseline=RANDOM_WALK.id, seed=0
    )
    whole = report(*frames)
    for name in SCHEMAS:
        rows, expected = getattr(found, name).to_pylist(), getattr(whole, name).to_pylist()
        assert len(rows) == len(expected)
        for one, other in zip(rows, expected, strict=True):
            assert_same_figures(one, other)


def test_evaluate_when_parts_come_in_another_order_then_refused():
    frames = [walk(returns(4)), drift(returns(4, seed=1), returns(4))]
    early, late = parts_of(frames, (0, 2, 4))
    both = {RANDOM_WALK.id, DRIFT.id}
    with pytest.raises(DataError, match="in order of folds"):
        evaluate_parts(
            [late, early], both, 5, EvaluationSettings(), baseline=RANDOM_WALK.id, seed=0
        )


def test_evaluate_when_large_then_frames_are_let_go():
    # 100,000 cells a spec; a frame is about 14 MB, and only the one read and the next may live.
    shape = (500, 10, 20)
    steps = tuple(range(1, 21))
    actual = np.random.default_rng(0).normal(0.0, 0.02, shape)
    before = pa.total_allocated_bytes()
    held = []

    def frames():
        for spec in (RANDOM_WALK, DRIFT, averaging(20), averaging(30)):
            held.append(pa.total_allocated_bytes() - before)
            yield spec, hand_frame(spec, 0.0, actual, steps=steps)

    found = evaluate(frames(), 5, EvaluationSettings(), baseline=RANDOM_WALK.id, seed=0)
    assert row(found, DRIFT)["n_cells"] == 5000
    assert max(held) < 30e6
