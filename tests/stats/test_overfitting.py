from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pmx_ray.errors import DataError, SettingsError
from pmx_ray.stats.overfitting import (
    deflated_sharpe,
    expected_max_sharpe,
    min_track_record_length,
    moments,
    probabilistic_sharpe,
    probability_of_overfitting,
)


def test_moments_when_checked_against_scipy_then_equal():
    returns = np.random.default_rng(0).standard_t(5, size=300) + 0.1
    found = moments(np.insert(returns, [0, 7], np.nan))
    assert found.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1), rel=1e-12)
    assert found.skew == pytest.approx(stats.skew(returns), rel=1e-12)
    assert found.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False), rel=1e-12)
    assert found.n == 300


@pytest.mark.parametrize(("returns", "n"), [([], 0), ([0.1, np.nan], 1), ([0.1, 0.1, 0.1], 3)])
def test_moments_when_there_is_no_spread_then_nan(returns, n):
    found = moments(np.array(returns))
    assert np.isnan([found.sharpe, found.skew, found.kurtosis]).all()
    assert found.n == n


@pytest.mark.parametrize(
    ("skew", "kurtosis", "published"),
    [pytest.param(-2.448, 10.164, 0.913, id="as is"), pytest.param(0.0, 3.0, 0.982, id="normal")],
)
def test_probabilistic_sharpe_when_the_paper_s_fund_then_its_figure(skew, kurtosis, published):
    # Bailey, Lopez de Prado (2012): 24 months at a Sharpe ratio of 0.458. By hand for the first:
    # 1 + 2.448 * 0.458 + 9.164 / 4 * 0.458^2 = 2.6018; 0.458 sqrt(23 / 2.6018) = 1.3618;
    # Phi(1.3618) = 0.9134.
    found = probabilistic_sharpe(0.458, benchmark=0.0, n=24, skew=skew, kurtosis=kurtosis)
    assert found == pytest.approx(published, abs=5e-4)


def test_probabilistic_sharpe_when_at_the_benchmark_then_one_half():
    assert probabilistic_sharpe(0.1, benchmark=0.1, n=50, skew=-1.0, kurtosis=6.0) == 0.5


def test_probabilistic_sharpe_when_simulated_then_as_often_right_as_it_says():
    # Whatever the truth, PSR against the true ratio is uniform: 5 % of samples are above 95 %.
    returns = np.random.default_rng(1).normal(0.1, 1.0, size=(2000, 250))
    above = [
        probabilistic_sharpe(m.sharpe, benchmark=0.1, n=m.n, skew=m.skew, kurtosis=m.kurtosis)
        > 0.95
        for m in map(moments, returns)
    ]
    assert np.mean(above) == pytest.approx(0.05, abs=0.015)  # binomial spread 0.005


@pytest.mark.parametrize(
    ("sharpe", "n", "skew", "kurtosis"),
    [
        pytest.param(0.1, 1, 0.0, 3.0, id="one return"),
        pytest.param(np.nan, 100, 0.0, 3.0, id="no sharpe"),
        pytest.param(0.1, 100, np.nan, np.nan, id="no moments"),
    ],
)
def test_probabilistic_sharpe_when_undefined_then_nan(sharpe, n, skew, kurtosis):
    assert np.isnan(probabilistic_sharpe(sharpe, benchmark=0.0, n=n, skew=skew, kurtosis=kurtosis))


@pytest.mark.parametrize(("per_year", "years"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_min_track_record_length_when_normal_then_the_paper_s_years(per_year, years):
    # Bailey, Lopez de Prado (2012): an annual ratio of 2 against 1 at 95 %. By hand, monthly:
    # 1 + (1 + 2 / 4 * 4 / 12) * (1.6449 * sqrt(12))^2 = 38.88 months = 3.24 years.
    root = np.sqrt(per_year)
    found = min_track_record_length(2 / root, benchmark=1 / root, skew=0.0, kurtosis=3.0)
    assert found / per_year == pytest.approx(years, abs=0.005)


def test_min_track_record_length_when_reached_then_probability_is_the_level():
    shape = {"benchmark": 0.05, "skew": -1.5, "kurtosis": 9.0}
    n = min_track_record_length(0.2, level=0.9, **shape)
    assert probabilistic_sharpe(0.2, n=n, **shape) == pytest.approx(0.9, rel=1e-12)


def test_min_track_record_length_when_not_above_the_benchmark_then_infinite():
    assert min_track_record_length(0.1, benchmark=0.1, skew=0.0, kurtosis=3.0) == np.inf
    with pytest.raises(SettingsError, match="level was"):
        min_track_record_length(0.2, benchmark=0.1, skew=0.0, kurtosis=3.0, level=0.5)


PAPER = {"variance": 0.5 / 250, "n": 1250, "skew": -3.0, "kurtosis": 10.0}


def test_expected_max_sharpe_when_the_paper_s_trials_then_its_figure():
    # Bailey, Lopez de Prado (2014): annual variance 1/2, 250 days, 100 trials. By hand:
    # z(0.99) = 2.3263, z(1 - 0.01 / e) = 2.6816;
    # sqrt(1/500) (0.42278 * 2.3263 + 0.57722 * 2.6816) = 0.1132.
    assert expected_max_sharpe(100, variance=0.5 / 250) == pytest.approx(0.1132, abs=5e-5)


@pytest.mark.parametrize(("n_trials", "published"), [(100, 0.9004), (46, 0.9505)])
def test_deflated_sharpe_when_the_paper_s_strategy_then_its_figure(n_trials, published):
    # Annual 2.5 is 0.15811 a day. By hand for 100 trials:
    # 1 + 3 * 0.15811 + 9 / 4 * 0.15811^2 = 1.53058; (0.15811 - 0.11317) sqrt(1249 / 1.53058)
    # = 1.2837; Phi(1.2837) = 0.9004.
    found = deflated_sharpe(2.5 / np.sqrt(250), n_trials=n_trials, **PAPER)
    assert found == pytest.approx(published, abs=5e-5)


def test_deflated_sharpe_when_one_trial_then_the_probabilistic_one():
    shape = {name: PAPER[name] for name in ("n", "skew", "kurtosis")}
    assert deflated_sharpe(0.1, n_trials=1, **PAPER) == probabilistic_sharpe(
        0.1, benchmark=0.0, **shape
    )


@pytest.mark.parametrize("n_trials", [10, 100, 1000])
def test_expected_max_sharpe_when_simulated_then_close(n_trials):
    best = np.random.default_rng(2).normal(0.0, 0.3, size=(4000, n_trials)).max(axis=1)
    # The formula is an approximation, 3 % off at 10 trials and closer beyond.
    assert expected_max_sharpe(n_trials, variance=0.09) == pytest.approx(best.mean(), rel=0.04)


def test_expected_max_sharpe_when_trials_are_counted_wrongly_then_refused():
    with pytest.raises(SettingsError, match="n_trials was 0"):
        expected_max_sharpe(0, variance=1.0)
    with pytest.raises(SettingsError, match="variance was -1"):
        expected_max_sharpe(2, variance=-1.0)


def _sharpe(rows):
    constant = np.ptp(rows, axis=0) == 0.0
    spread = np.where(constant, 1.0, rows.std(axis=0, ddof=1))
    return np.where(constant, 0.0, rows.mean(axis=0) / spread)


def _plain(returns, *, n_blocks, purge):
    """Return Sharpe in and out of sample and logit of every split, row set by row set."""
    length = len(returns) // n_blocks
    kept = returns[len(returns) - n_blocks * length :]
    found = []
    for chosen in combinations(range(n_blocks), n_blocks // 2):
        inside, outside = [], []
        for t in range(len(kept)):
            if t // length not in chosen:
                outside.append(t)
        for t in range(len(kept)):
            near = [u for u in outside if abs(t - u) <= purge]
            if t not in outside and not near:
                inside.append(t)
        before, after = _sharpe(kept[inside]), _sharpe(kept[outside])
        best = int(np.argmax(before))
        rank = stats.rankdata(after)[best] / (returns.shape[1] + 1)
        found.append((before[best], after[best], np.log(rank / (1 - rank))))
    return np.array(found).T


@settings(max_examples=25, deadline=None)
@given(
    n_blocks=st.sampled_from([2, 4, 6]),
    n=st.integers(42, 60),
    n_strategies=st.integers(2, 9),
    purge=st.integers(0, 2),
    seed=st.integers(0, 1000),
)
def test_overfitting_when_checked_against_the_plain_loop_then_equal(
    n_blocks, n, n_strategies, purge, seed
):
    returns = np.random.default_rng(seed).normal(0.001, 0.01, size=(n, n_strategies))
    found = probability_of_overfitting(returns, n_blocks=n_blocks, purge=purge)
    before, after, logits = _plain(returns, n_blocks=n_blocks, purge=purge)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-12, atol=1e-12)
    assert found.pbo == np.mean(logits <= 0)
    assert found.probability_of_loss == np.mean(after < 0)
    line = stats.linregress(before, after)
    # Two splits nearly at one Sharpe ratio leave the line few digits.
    assert (found.slope, found.intercept) == pytest.approx((line.slope, line.intercept), rel=1e-6)


def test_overfitting_when_worked_by_hand_then_equal():
    # Blocks of two rows at mean - 1 and mean + 1. A has the block means 2, 2, 0, 0; B has 1 in
    # each. B's Sharpe ratio is 1 / sqrt(4/3) = sqrt(3)/2 in every half; A's is sqrt(3) in {0, 1},
    # 0 in {2, 3}, and 1 / sqrt(8/3) = 0.61 in a mixed half.
    #   in {0, 1}: A is chosen and is worst in {2, 3};  in {2, 3}: B is, and is worst in {0, 1};
    #   in the four mixed halves B is chosen and is best in the other half.
    # The worst of two has omega 1/3 and the logit -log 2, the best 2/3 and log 2.
    swing = np.array([-1.0, 1.0])
    first = np.concatenate([mean + swing for mean in (2.0, 2.0, 0.0, 0.0)])
    second = np.concatenate([mean + swing for mean in (1.0, 1.0, 1.0, 1.0)])
    found = probability_of_overfitting(np.column_stack([first, second]), n_blocks=4)
    assert found.n_splits == 6
    assert found.logits == pytest.approx(np.log(2) * np.array([-1, 1, 1, 1, 1, -1]), rel=1e-12)
    assert found.pbo == pytest.approx(2 / 6)
    # The points are (sqrt 3, 0) once and (sqrt(3)/2, sqrt(3)/2) five times.
    assert (found.slope, found.intercept) == pytest.approx((-1.0, np.sqrt(3.0)), rel=1e-12)
    assert found.probability_of_loss == 0.0


def test_overfitting_when_all_is_noise_then_about_one_half():
    rng = np.random.default_rng(3)
    found = [probability_of_overfitting(rng.normal(size=(160, 20)), n_blocks=8) for _ in range(60)]
    # The spread of one figure is about 0.2, that of the mean of 60 about 0.03.
    assert np.mean([one.pbo for one in found]) == pytest.approx(0.5, abs=0.1)


def test_overfitting_when_one_has_an_edge_then_zero():
    returns = np.random.default_rng(4).normal(size=(160, 10))
    returns[:, 6] = 1.0 + 0.1 * returns[:, 6]
    found = probability_of_overfitting(returns, n_blocks=8)
    assert found.pbo == 0.0
    assert found.probability_of_loss == 0.0
    assert found.logits == pytest.approx(np.full(70, np.log(10 / 1)))


def test_overfitting_when_a_good_half_implies_a_bad_one_then_one():
    returns = np.random.default_rng(5).normal(size=160)
    returns -= returns.mean()  # what one half gains the other loses
    found = probability_of_overfitting(np.column_stack([returns, -returns]), n_blocks=8)
    assert found.pbo == 1.0
    assert found.probability_of_loss == 1.0
    assert found.slope < 0.0


def test_overfitting_when_strategies_tie_then_at_their_mean_rank():
    # All the same: the mean rank is (S + 1) / 2, omega 1/2, the logit 0.
    column = np.random.default_rng(6).normal(size=(64, 1))
    found = probability_of_overfitting(np.repeat(column, 5, axis=1), n_blocks=4)
    assert found.logits.tolist() == [0.0] * 6
    assert found.pbo == 1.0


@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_overfitting_when_returns_never_vary_then_neither_good_nor_bad(level):
    # Worse than the winner, better than the loser, whatever the half.
    noise = 0.01 * np.random.default_rng(7).normal(size=64)
    returns = np.column_stack([noise + 0.1, np.full(64, level), noise - 0.1])
    found = probability_of_overfitting(returns, n_blocks=4)
    assert found.logits == pytest.approx(np.full(6, np.log(3)))
    still = probability_of_overfitting(np.column_stack([returns[:, 1], noise - 0.1]), n_blocks=4)
    assert still.logits == pytest.approx(np.full(6, np.log(2)))
    assert np.isnan(still.slope)  # its Sharpe ratio is 0 in every half


def test_overfitting_when_purged_then_rows_at_the_border_do_not_choose():
    # Blocks are rows 0-3 and 4-7. A is the better in rows 0-2, but for row 3, which is at the
    # border when the first block is in sample and does not count when the second one is tested.
    returns = np.random.default_rng(8).normal(0.0, 0.1, size=(8, 2))
    returns[:3, 0] += 1.0
    touched = returns.copy()
    touched[3] = [-50.0, 1.0]

    def logit(rows, purge):
        return probability_of_overfitting(rows, n_blocks=2, purge=purge).logits[0]

    assert logit(touched, 1) == logit(returns, 1)
    assert logit(touched, 0) == -logit(returns, 0)


def test_overfitting_when_rows_fill_no_block_then_the_oldest_are_left_out():
    returns = np.random.default_rng(9).normal(size=(35, 4))
    found = probability_of_overfitting(returns, n_blocks=4)
    assert (
        found.logits.tolist() == probability_of_overfitting(returns[3:], n_blocks=4).logits.tolist()
    )


def test_overfitting_when_a_period_is_unknown_then_it_is_left_out_for_all():
    returns = np.random.default_rng(10).normal(size=(33, 4))
    holed = returns.copy()
    holed[5, 2] = np.nan
    expected = probability_of_overfitting(np.delete(returns, 5, axis=0), n_blocks=4)
    assert probability_of_overfitting(holed, n_blocks=4).logits.tolist() == expected.logits.tolist()


def test_overfitting_when_there_are_many_strategies_then_still_the_plain_loop():
    # 70 splits of 20,000 strategies are more than is computed at a time.
    returns = np.random.default_rng(11).normal(size=(16, 20_000))
    found = probability_of_overfitting(returns, n_blocks=8)
    np.testing.assert_allclose(found.logits, _plain(returns, n_blocks=8, purge=0)[2], rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "purge"),
    [
        pytest.param((100, 1), 0, id="one strategy"),
        pytest.param((100, 0), 0, id="no strategy"),
        pytest.param((7, 5), 0, id="few rows"),
        pytest.param((24, 5), 3, id="purged to nothing"),
    ],
)
def test_overfitting_when_not_defined_then_nan(shape, purge):
    found = probability_of_overfitting(np.ones(shape), n_blocks=4, purge=purge)
    assert np.isnan([found.pbo, found.slope, found.intercept, found.probability_of_loss]).all()
    assert (found.n_splits, found.logits.shape) == (0, (0,))


def test_overfitting_when_arguments_are_out_of_range_then_refused():
    returns = np.zeros((40, 2))
    for n_blocks in (0, 3, 22):
        with pytest.raises(SettingsError, match=f"n_blocks was {n_blocks}"):
            probability_of_overfitting(returns, n_blocks=n_blocks)
    with pytest.raises(SettingsError, match="purge was -1"):
        probability_of_overfitting(returns, purge=-1)
    for bad in (returns[:, 0], returns - np.inf):
        with pytest.raises(DataError, match="finite figures"):
            probability_of_overfitting(bad)
