"""Change points against the plain twin, hand-made cases, and what noise and changes must give."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from pmx_ray.errors import DataError
from pmx_ray.kernels.change_points import ChangeSettings, change_density, detect
from pmx_ray.kernels.change_points_input import watched_series
from pmx_ray.kernels.change_points_plain import plain_detect, plain_run_length
from pmx_ray.kernels.change_points_ranks import (
    RankSum,
    add_run_lengths,
    critical_value,
    score_table,
)
from pmx_ray.kernels.ssa import cut_pages, left_spectrum, residuals

SMALL = ChangeSettings(window=5, n_pages=12, run_length=200)


def waves(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return noisy mixtures of two sinusoids."""
    t = np.arange(shape[1])
    return np.sin(0.7 * t) + 0.5 * np.cos(0.21 * t) + rng.normal(0.0, 0.3, shape)


def stormy(seed: int, n_series: int = 3, n_sessions: int = 700) -> np.ndarray:
    series = waves(np.random.default_rng(seed), (n_series, n_sessions))
    series[:, 300:] += np.random.default_rng(seed + 1).normal(0.0, 0.9, (n_series, 400))
    return series


@pytest.mark.parametrize("n_series", [1, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_changes_when_detected_then_as_by_the_plain_twin(n_series: int, seed: int) -> None:
    series = stormy(seed, n_series)
    found, plain = detect(series, SMALL), plain_detect(series, SMALL)
    assert found.alarms.tolist() == list(plain.alarms)
    assert found.onsets.tolist() == list(plain.onsets)
    ends = list(plain.statistic)
    # The scores are ranks: equal unless two energies are, up to rounding.
    np.testing.assert_allclose(found.statistic[ends], list(plain.statistic.values()), atol=1e-8)
    assert (found.alarms >= 300).any()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_changes_when_series_end_and_have_gaps_then_as_by_the_plain_twin(seed: int) -> None:
    series = stormy(seed, 6)[:, 200:355]  # the storm is from 100 on
    gaps = np.random.default_rng(seed).random((6, 155)) < 0.05
    gaps[3:, 85:] = True  # half of them end
    series = np.where(gaps & (np.arange(155) >= SMALL.base_size), np.nan, series)
    found, plain = detect(series, SMALL), plain_detect(series, SMALL)
    assert found.alarms.tolist() == list(plain.alarms)
    ends = list(plain.statistic)
    np.testing.assert_allclose(found.statistic[ends], list(plain.statistic.values()), atol=1e-8)
    assert len(plain.alarms) == 1


def test_base_when_noise_surrounds_a_wave_then_rank_and_noise_are_those_planted() -> None:
    t = np.arange(2000)
    series = np.sin(0.7 * t)[None] + np.random.default_rng(3).normal(0.0, 0.1, (1, 2000))
    base = detect(series, ChangeSettings(window=20, n_pages=100, run_length=2000)).bases[0]
    assert base.rank == 2  # a sinusoid is two exponentials
    variance = 0.5 + 0.01
    assert base.noise_variance == pytest.approx(0.01 / variance, rel=0.1)
    # Columns of which the subspace was not fitted: (L - r) of noise, and 2 / 50 more of it.
    assert base.drift == pytest.approx(18 * 0.01 / variance, rel=0.1)
    assert base.spectral_gap > 0.8


def test_detection_when_run_on_array_api_strict_then_as_on_numpy() -> None:
    series = stormy(5)
    host, strict = detect(series, SMALL), detect(series, SMALL, xp=array_api_strict)
    assert strict.alarms.tolist() == host.alarms.tolist()
    np.testing.assert_allclose(strict.statistic, host.statistic, atol=1e-8)
    np.testing.assert_allclose(strict.energy_ratio, host.energy_ratio, rtol=1e-9)


# proves M3
@settings(max_examples=20, deadline=None)
@given(seen=st.integers(1, 699), seed=st.integers(0, 3))
def test_detection_when_sessions_are_added_then_the_beginning_is_the_same_to_the_bit(
    seen: int, seed: int
) -> None:
    series = stormy(seed)
    series[0, 200:230] = np.nan
    whole, part = detect(series, SMALL), detect(series[:, :seen], SMALL)
    assert part.alarms.tolist() == whole.alarms[whole.alarms < seen].tolist()
    assert part.onsets.tolist() == whole.onsets[: len(part.alarms)].tolist()
    for name in ("statistic", "energy_ratio", "blind"):
        assert getattr(part, name).tobytes() == getattr(whole, name)[:seen].tobytes()
    assert part.bases == whole.bases[: len(part.bases)]


def test_blind_periods_when_alarms_are_raised_then_base_windows_follow_each() -> None:
    found = detect(stormy(1), SMALL)
    starts = [0, *(found.alarms + 1)]
    assert found.blind_periods == tuple((s, min(s + SMALL.base_size, 700)) for s in starts)
    assert np.isnan(found.statistic[found.blind]).all()
    assert np.isfinite(found.statistic[~found.blind]).all()
    whole = [s for s in starts if s + SMALL.base_size <= 700]
    assert [base.start for base in found.bases] == whole


def test_series_when_one_is_missing_or_constant_then_as_without_it() -> None:
    series = stormy(2)
    wider = np.vstack([series, np.full((1, 700), np.nan), np.full((1, 700), 3.7)])
    found, alone = detect(wider, SMALL), detect(series, SMALL)
    assert found.alarms.tolist() == alone.alarms.tolist()
    np.testing.assert_allclose(found.energy_ratio, alone.energy_ratio, rtol=1e-10)


def test_base_when_series_start_late_then_waits_for_them() -> None:
    series = stormy(2)
    series[:, :100] = np.nan
    assert detect(series, SMALL).bases[0].start >= 60


def test_base_when_columns_are_fewer_than_sessions_of_a_block_then_watched_all_the_same() -> None:
    series = np.random.default_rng(0).normal(size=(1, 600))
    found = detect(series, ChangeSettings(window=20, n_pages=12, run_length=500))
    assert not found.blind[240]


def test_series_when_too_short_then_all_is_blind() -> None:
    found = detect(np.random.default_rng(0).normal(size=(2, SMALL.base_size - 1)), SMALL)
    assert found.blind.all()
    assert found.bases == ()


@pytest.mark.parametrize(
    ("series", "said"),
    [(np.zeros(5), "shape"), (np.zeros((0, 5)), "shape"), (np.full((1, 5), np.inf), "infinite")],
)
def test_series_when_unusable_then_refused(series: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        detect(series)


def test_rank_sum_when_fed_by_hand_then_scores_and_sums_as_on_paper() -> None:
    sums = RankSum(np.array([[1.0], [2.0], [3.0]]), [], score_table(3), 0.5)
    first = ndtri(3.5 / 4)  # above all three: rank 4 of 4
    assert sums.add(np.array([9.0])) == pytest.approx(first - 0.5)
    # 9.0 is under suspicion, so that 8.0 is again ranked among three; 0.0 is the least of four.
    assert sums.add(np.array([8.0])) == pytest.approx(2 * (first - 0.5))
    assert sums.add(np.array([0.0])) == pytest.approx(
        max(0.0, 2 * (first - 0.5) + ndtri(0.5 / 4) - 0.5)
    )
    assert sums.level == 0.0
    assert sums.calm[:, 0].tolist() == [1.0, 2.0, 3.0, 9.0, 8.0, 0.0]
    tied = RankSum(np.array([[1.0], [2.0]]), [], score_table(2), 0.1)
    # Above one and tied with the other: halfway between ranks 2 and 3 of 3.
    assert tied.add(np.array([2.0])) == pytest.approx(0.5 * (0.0 + ndtri(2.5 / 3)) - 0.1)


def test_rank_sum_when_series_are_missing_then_calm_means_are_over_as_many_by_hand() -> None:
    nan = np.nan
    calm = np.array([[1.0, 5.0, 9.0], [4.0, nan, 6.0], [nan, 2.0, nan]])
    # Of one series, the first: 1, 4, and for want of it 2. Then of two, the first and the last:
    # (1 + 9) / 2, (4 + 6) / 2 and 2, which is all the third holds.
    sums = RankSum(calm, [], score_table(3), 0.1)
    assert sums.add(np.array([3.0, nan, nan])) == pytest.approx(ndtri(2.5 / 4) - 0.1)
    sums = RankSum(calm, [], score_table(3), 0.1)
    assert sums.add(np.array([7.0, nan, 5.0])) == pytest.approx(ndtri(3.5 / 4) - 0.1)


@pytest.mark.parametrize("kind", ["drop out", "sporadic"])
def test_run_length_when_values_are_missing_then_near_its_target(kind: str) -> None:
    rng, n_alarms, n_watched = np.random.default_rng(12), 0, 0
    watched = ChangeSettings(window=5, n_pages=12, run_length=150)
    for _ in range(130):
        noise = rng.normal(size=(10, 1260))
        if kind == "drop out":
            noise[1:, 60:] = np.nan  # nine of ten end with the base window
        else:
            noise[rng.random(noise.shape) < 0.03] = np.nan
        found = detect(noise, watched)
        stop = found.alarms[0] + 1 if len(found.alarms) else 1260
        n_alarms += min(len(found.alarms), 1)
        n_watched += int(stop - 60)
    # 130 alarms: a standard error of 9 %.
    assert n_watched / n_alarms == pytest.approx(150, rel=0.25)


def test_run_lengths_when_simulated_then_as_by_the_plain_twin() -> None:
    draws = np.random.default_rng(0).random((6, 308))
    heights = np.array([0.5, 1.5, 2.5, 4.0])
    for path in draws:
        total = np.zeros(4)
        add_run_lengths(path[None], 8, score_table(8), 0.4, heights, total)
        plain = [plain_run_length(path, 8, allowance=0.4, height=h) for h in heights]
        assert total.tolist() == plain


@pytest.mark.parametrize("n_reference", [6, 12, 40])
def test_critical_value_when_blocks_are_exchangeable_then_the_run_length_is_as_asked(
    n_reference: int,
) -> None:
    height = critical_value(n_reference, 20.0, allowance=0.5)
    draws = np.random.default_rng(7).standard_cauchy((600, n_reference + 400))
    found = [plain_run_length(row, n_reference, allowance=0.5, height=height) for row in draws]
    # 600 nearly exponential run lengths: a standard error of 4 %, and 1.6 % of the threshold's.
    assert np.mean(found) == pytest.approx(20.0, rel=0.13)


def test_critical_value_when_the_reference_is_large_then_siegmunds() -> None:
    # Siegmund (1985): E = (exp(2 k b) - 2 k b - 1) / (2 k^2), b = h + 1.166, of normal scores.
    # Ranks among no more than 250 make the tail a little shorter.
    height = critical_value(250, 100.0, allowance=0.5)
    b = height + 1.166
    assert 2.0 * (np.exp(b) - b - 1.0) == pytest.approx(100.0, rel=0.15)


def test_run_length_when_nothing_changes_then_within_a_fifth_of_its_target() -> None:
    rng, n_alarms, n_watched = np.random.default_rng(11), 0, 0
    watched = ChangeSettings(window=5, n_pages=12, run_length=150)
    for _ in range(6):
        found = detect(rng.standard_t(4, (2, 20_000)), watched)
        n_alarms += len(found.alarms)
        n_watched += int((~found.blind).sum())
    # Some 550 alarms: a standard error of 4 %.
    assert n_watched / n_alarms == pytest.approx(150, rel=0.2)


def test_cusum_when_driftless_on_residuals_in_sample_then_alarms_every_13_sessions_on_noise() -> (
    None
):
    """The wrong version: no drift, and the noise measured where the subspace was fitted.

    A two-sided sum of standardised residuals without drift that alarms at 4 standard deviations
    has run length (4 + 1.166)^2 / 2 = 13.3; Siegmund (1985), section 10.2.
    """
    noise = np.random.default_rng(2).normal(size=(1, 1, 40_000))
    pages = cut_pages(noise, 20)
    basis = left_spectrum(pages, [1]).leading(np.array([1]))
    left = residuals(pages, basis)[0, 0]
    up = down = 0.0
    n_alarms = 0
    for z in (left / left.std()).tolist():
        up, down = max(0.0, up + z), max(0.0, down - z)
        if max(up, down) >= 4.0:
            up = down = 0.0
            n_alarms += 1
    assert len(left) / n_alarms == pytest.approx(13.3, rel=0.1)
    right = detect(noise[0], ChangeSettings(window=20, n_pages=24, run_length=1000))
    assert n_alarms > 40 * len(right.alarms)


def test_delay_when_the_target_grows_then_the_threshold_and_it_grow_together() -> None:
    rng, size = np.random.default_rng(1), np.repeat([1.0, 2.0], [300, 900])
    worlds = rng.normal(size=(40, 1, 1200)) * size  # changed where the base window ends
    delays, heights = [], []
    for run_length in (150, 1200, 9600):
        watched = ChangeSettings(window=5, n_pages=60, run_length=run_length)
        found = [detect(world, watched) for world in worlds]
        delays.append(np.mean([changes.alarms[0] - 299 for changes in found]))
        heights.append(found[0].bases[0].threshold)
    slopes = np.diff(delays) / np.diff(heights)
    assert delays[0] < delays[1] < delays[2] < 100
    assert slopes[1] == pytest.approx(slopes[0], rel=0.4)  # 40 delays a point


def test_density_when_counted_then_alarms_over_the_trailing_sessions() -> None:
    found = change_density(np.array([2, 3, 7]), 9, window=4)
    assert found.tolist() == [0, 0, 1 / 3, 2 / 4, 2 / 4, 2 / 4, 1 / 4, 1 / 4, 1 / 4]
    assert change_density(np.zeros(0, np.int64), 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("alarms", "window"), [([9], 5), ([-1], 5), ([1], 0)])
def test_density_when_arguments_are_wrong_then_refused(alarms: list[int], window: int) -> None:
    with pytest.raises(DataError, match="must"):
        change_density(np.array(alarms), 9, window=window)


def test_watched_series_when_prices_are_given_then_by_hand_and_causal() -> None:
    close = np.exp(np.array([[0.0, 0.1, 0.1, -0.1, np.nan, 0.2]]))
    nan = np.nan
    returns = [nan, 0.1, 0.0, -0.2, nan, nan]
    found = watched_series(close, ChangeSettings(input="log_return"))
    np.testing.assert_allclose(found[0], returns, atol=1e-12)
    found = watched_series(close, ChangeSettings())
    # A price that stands still has moved by a basis point.
    expected = [nan, np.log(0.1), np.log(1e-4), np.log(0.2), nan, nan]
    np.testing.assert_allclose(found[0], expected, rtol=1e-12)
    part = watched_series(close[:, :4], ChangeSettings())
    assert part.tobytes() == found[:, :4].tobytes()
    rising = np.exp(0.01 * np.arange(40.0))[None]
    level = watched_series(rising, ChangeSettings(input="log_price"))
    np.testing.assert_allclose(level[0, 19:], 0.01 * 9.5, rtol=1e-9)  # (20 - 1) / 2 sessions back


@pytest.mark.parametrize("run_length", [40, 21_000])
def test_settings_when_the_run_length_is_out_of_reach_then_refused(run_length: int) -> None:
    with pytest.raises(ValueError, match="run_length"):
        ChangeSettings(run_length=run_length)
