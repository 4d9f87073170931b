import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap
from statsmodels.stats.proportion import proportion_confint

from pmx_ray.stats.intervals import (
    MIN_CUTOFFS,
    block_length,
    hit_rate_interval,
    n_effective,
    overlap_of,
    percentile_interval,
    ratio,
    resample_counts,
    wilson,
)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize(("successes", "n"), [(12, 21), (0, 5), (5, 5), (550, 1000)])
def test_wilson_when_checked_against_statsmodels_then_equal(successes, n, level):
    expected = proportion_confint(successes, n, alpha=1 - level, method="wilson")
    assert wilson(successes, n, level=level) == pytest.approx(expected, abs=1e-12)


def test_wilson_when_thirty_days_then_about_twenty_points_either_way():
    # Settled reading 2: 55 % over 21 sessions is uncertain by about 21 points.
    low, high = wilson(0.55 * 21, 21, level=0.95)
    assert (high - low) / 2 == pytest.approx(0.2, abs=0.015)


def test_wilson_when_nothing_was_observed_then_nan():
    assert np.isnan(wilson(0, 0, level=0.95)).all()


@pytest.mark.parametrize(
    ("n_cutoffs", "step", "step_size", "expected"),
    [
        pytest.param(1000, 1, 1, 10, id="cube root"),
        pytest.param(1000, 20, 1, 20, id="overlap"),
        pytest.param(27, 20, 5, 4, id="overlap rounds to the next"),
        pytest.param(27, 21, 5, 5, id="overlap rounds up"),
        pytest.param(28, 1, 20, 4, id="cube root rounds up"),
        pytest.param(3, 20, 1, 3, id="never above the cutoffs"),
        pytest.param(1, 1, 1, 1, id="one cutoff"),
    ],
)
def test_block_length_when_cutoffs_overlap_then_at_least_the_overlap(
    n_cutoffs, step, step_size, expected
):
    assert block_length(n_cutoffs, step=step, step_size=step_size) == expected


def test_resample_counts_when_a_mean_is_drawn_then_as_arch_applies_it():
    x = np.random.default_rng(1).normal(size=60)
    counts = resample_counts(60, block=4, n_resamples=50, rng=np.random.default_rng(7))
    reference = StationaryBootstrap(4, x, seed=np.random.default_rng(7)).apply(np.mean, 50)
    assert counts @ x / 60 == pytest.approx(reference[:, 0])


def test_resample_counts_when_drawn_then_each_resample_is_whole():
    counts = resample_counts(37, block=3, n_resamples=20, rng=np.random.default_rng(0))
    assert (counts.sum(axis=1) == 37).all()
    assert len(np.unique(counts, axis=0)) > 1


def test_bootstrap_when_observations_are_dependent_then_interval_covers_as_stated():
    # Moving average over 4: the standard error of the mean is about twice that of white noise,
    # so an interval that ignored the dependence would cover near 0.65.
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(150):
        noise = rng.normal(size=303)
        x = np.convolve(noise, np.ones(4) / 2.0, mode="valid")  # (300,), mean 0
        counts = resample_counts(
            300, block=block_length(300, step=20, step_size=1), n_resamples=200, rng=rng
        )
        low, high = percentile_interval(counts @ x / 300, level=0.9)
        covered += low <= 0.0 <= high
    # Binomial spread of 150 draws at 0.9 is 0.025; the bootstrap itself undercovers a little.
    assert 0.8 <= covered / 150 <= 0.97


def test_percentile_interval_when_a_draw_is_infinite_then_in_order():
    draws = np.append(np.arange(90.0), np.full(10, np.inf))
    assert percentile_interval(draws, level=0.9) == (4.0, np.inf)


def test_percentile_interval_when_most_draws_are_undefined_then_nan():
    assert np.isnan(percentile_interval(np.array([1.0, np.nan, np.nan]), level=0.9)).all()
    assert percentile_interval(np.array([1.0, 1.0, np.nan]), level=0.9) == (1.0, 1.0)


def _counts(n_cutoffs):
    return resample_counts(n_cutoffs, block=2, n_resamples=500, rng=np.random.default_rng(0))


def test_hit_rate_interval_when_tickers_move_together_then_wider_than_by_cell():
    right = (np.random.default_rng(5).random(50) < 0.5).astype(float)
    hits, sides = right * 40, np.full(50, 40.0)  # 40 tickers, all right or all wrong
    low, high = hit_rate_interval(hits, sides, _counts(50), level=0.95)
    by_cell = wilson(hits.sum(), sides.sum(), level=0.95)
    by_cutoff = wilson(right.sum(), 50, level=0.95)
    assert high - low > 3 * (by_cell[1] - by_cell[0])
    assert high - low == pytest.approx(by_cutoff[1] - by_cutoff[0], rel=0.25)


def test_hit_rate_interval_when_always_right_then_still_uncertain():
    hits = np.full(20, 5.0)
    low, high = hit_rate_interval(hits, hits, _counts(20), level=0.95)
    assert (low, high) == pytest.approx(wilson(100, 100, level=0.95))


def test_hit_rate_interval_when_few_cutoffs_then_one_observation_each():
    n = MIN_CUTOFFS - 1
    interval = hit_rate_interval(np.full(n, 4.0), np.full(n, 8.0), _counts(n), level=0.95)
    assert interval == pytest.approx(wilson(n / 2, n, level=0.95))


def test_hit_rate_interval_when_no_side_is_taken_then_nan():
    none = np.zeros(20)
    assert np.isnan(hit_rate_interval(none, none, _counts(20), level=0.95)).all()


def test_ratio_when_the_denominator_is_zero_then_nan():
    np.testing.assert_array_equal(ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0])), [0.5, np.nan])


@pytest.mark.parametrize(
    ("cutoffs", "step", "overlap", "n"),
    [
        (range(30), 1, 1, 30.0),
        (range(30), 5, 5, 6.0),
        (range(30), 20, 20, 1.5),
        (range(0, 150, 5), 20, 4, 7.5),
        (range(0, 150, 5), 12, 3, 10.0),  # ceil(12 / 5)
        (range(0, 600, 20), 20, 1, 30.0),
        ([0, 0, 0, 1], 5, 2, 1.0),  # three tickers of one cutoff
        ([7], 20, 1, 1.0),
        ([3, 1, 2, 50, 90], 3, 3, 5 / 3),  # where they lie closest
        ([], 5, 1, 0.0),
    ],
)
def test_n_effective_by_hand(cutoffs, step, overlap, n):
    positions = np.array(list(cutoffs), dtype=np.int64)
    assert overlap_of(positions, step=step) == overlap
    assert n_effective(positions, step=step) == pytest.approx(n)


def test_hit_rate_interval_when_outcomes_overlap_then_as_wide_as_fewer_cutoffs():
    hits, sides = np.full(30, 6.0), np.full(30, 8.0)
    few = hit_rate_interval(hits, sides, _counts(30), level=0.95, overlap=20)
    assert few == pytest.approx(wilson(0.75 * 1.5, 1.5, level=0.95))
    some = hit_rate_interval(hits, sides, _counts(30), level=0.95, overlap=2)
    assert some == pytest.approx(wilson(0.75 * 15, 15, level=0.95))  # the bootstrap: 0.75 alone
    assert some[1] - some[0] > np.diff(hit_rate_interval(hits, sides, _counts(30), level=0.95))[0]
