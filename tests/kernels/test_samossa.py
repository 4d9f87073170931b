"""SAMoSSA on arrays: models, the whitened rank, the calibration, and the paper's table in small."""

from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest

from benchmarks.samossa_paper import READINGS, Setting, main, promises, run
from pmx_ray.kernels.calibration import Calibration, calibrate
from pmx_ray.kernels.recurrence import run_forward
from pmx_ray.kernels.samossa import (
    Choice,
    Model,
    Stack,
    fit_models,
    fit_stack,
    grid,
    mean_square,
    unit_variances,
)
from pmx_ray.kernels.samossa_plain import (
    plain_fit,
    plain_innovation_variance,
    plain_path,
    plain_unit_variances,
)


def mixtures(n_series: int, n_times: int) -> np.ndarray:
    """Return noiseless mixtures of two sinusoids, each of mean about 5 and another size."""
    t = np.arange(n_times)
    parts = np.stack([np.sin(0.31 * t + 0.4), np.cos(0.9 * t)])
    return 5.0 + np.random.default_rng(3).normal(size=(n_series, 2)) @ parts


def noisy_mixtures(n_times: int, *, seed: int = 0) -> np.ndarray:
    """Return 10 mixtures of three sinusoids (rank 6) with AR(1) noise of coefficient -0.5."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_times)
    parts = np.sin(np.array([0.11, 0.29, 0.53])[:, None] * t + rng.uniform(0, 6, 3)[:, None])
    noise = rng.normal(size=(10, n_times))
    for i in range(1, n_times):
        noise[:, i] -= 0.5 * noise[:, i - 1]
    return rng.normal(size=(10, 3)) @ parts + noise


@pytest.mark.parametrize("n_series", [1, 4])
@pytest.mark.parametrize("shape_ratio", [1, 3, 5])
def test_path_when_noiseless_then_exact(n_series, shape_ratio):
    series = mixtures(n_series, 600)
    # Rank 5: two sinusoids of rank 2 and the level that standardising leaves.
    (model,) = fit_models(series[:, :560], [Choice(5, shape_ratio, 0)])
    ahead = model.path(series[:, 560 - model.n_lags : 560], 40)
    np.testing.assert_allclose(ahead, series[:, 560:], atol=1e-8)


def test_models_when_grid_shares_spectra_then_as_fitted_alone():
    series = noisy_mixtures(300)
    choices = grid((5, "whitened"))
    for choice, model in zip(choices, fit_models(series, choices), strict=True):
        (alone,) = fit_models(series, [choice])
        assert model.choice == choice
        # Alone, only the vectors that are kept are sought, by another LAPACK driver.
        np.testing.assert_allclose(model.coefficients, alone.coefficients, atol=1e-11)


CHOICES = [
    Choice(1),
    Choice(5, 3, 3),
    Choice("donoho", 1, 2),
    Choice("energy", 5, 0),
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize(("n_series", "n_times"), [(10, 300), (1, 200), (4, 61)])
def test_stack_when_fitted_then_as_the_plain_twin(choice, n_series, n_times):
    series = noisy_mixtures(n_times)[:n_series]
    plain = plain_fit(series, choice)
    fitted = fit_stack(series[None], choice)
    (model,) = fitted.models
    assert model.rank == plain.rank
    # The twin solves with condition numbers of up to 1e4 where the fast form has formulas.
    near = {"rtol": 1e-8, "atol": 1e-9}
    np.testing.assert_allclose(model.beta, plain.beta, **near)
    np.testing.assert_allclose(model.alpha, plain.alpha, **near)
    ahead = model.path(series[:, n_times - model.n_lags :], 20)
    np.testing.assert_allclose(ahead, plain_path(plain, series, 20), **near)
    innovation = mean_square(fitted.errors[0]) * fitted.scale[0] ** 2
    np.testing.assert_allclose(innovation, plain_innovation_variance(plain, series), **near)
    for cumulative in (False, True):
        units = unit_variances(model.coefficients, np.array([1, 5, 20]), cumulative=cumulative)
        expected = plain_unit_variances(plain, (1, 5, 20), cumulative=cumulative)
        np.testing.assert_allclose(units, expected, **near)


@pytest.mark.parametrize("choice", [*CHOICES, Choice("whitened")], ids=str)
def test_stack_when_folds_are_fitted_on_array_api_strict_then_as_each_on_numpy(choice):
    series = np.stack([noisy_mixtures(300, seed=seed) for seed in range(3)])
    series[1, 2, 120] = np.nan
    stack = fit_stack(series, choice, n_held_out=90, n_errors=90, xp=array_api_strict)
    for fold, model in enumerate(stack.models):
        alone = fit_stack(series[fold : fold + 1], choice, n_held_out=90, n_errors=90)
        assert model.rank == alone.models[0].rank
        # Another driver finds the eigenvectors; their gaps cost three digits at most.
        np.testing.assert_allclose(model.coefficients, alone.models[0].coefficients, atol=1e-11)
        np.testing.assert_allclose(np.asarray(stack.errors)[fold], alone.errors[0], atol=1e-10)


def test_stack_when_namespace_has_the_older_names_only_then_as_numpy():
    older = {name: getattr(np, name) for name in dir(np)}
    older.pop("concat")
    older.pop("matrix_transpose")
    series = noisy_mixtures(300)[None]
    found = fit_stack(series, Choice(3), xp=SimpleNamespace(**older))
    plain = fit_stack(series, Choice(3))
    # Another LAPACK driver finds the eigenvectors.
    expected = plain.models[0].coefficients
    np.testing.assert_allclose(found.models[0].coefficients, expected, atol=1e-11)


def test_stack_when_times_are_held_out_then_fit_and_errors_as_written_out():
    series = noisy_mixtures(300)
    held = fit_stack(series[None], Choice(3), n_held_out=90, n_errors=90)
    (model,) = fit_models(series[:, :210], [Choice(3)])
    assert np.array_equal(held.models[0].coefficients, model.coefficients)
    expected = model.errors(series)[:, -90:]
    np.testing.assert_allclose(held.errors[0] * held.scale[0][:, None], expected, atol=1e-12)


@pytest.mark.parametrize("n_times", [61, 137, 300])
@pytest.mark.parametrize("n_series", [1, 2, 10])
def test_stack_when_folds_stand_beside_others_then_the_same_bits(n_series, n_times):
    series = np.stack([noisy_mixtures(n_times, seed=seed)[:n_series] for seed in range(5)])
    series[3, 0, n_times // 3] = np.nan
    stack = fit_stack(series, Choice(2, 1, 2))
    for fold, model in enumerate(stack.models):
        alone = fit_stack(series[fold : fold + 1], Choice(2, 1, 2))
        assert np.array_equal(model.coefficients, alone.models[0].coefficients)
        assert np.array_equal(model.mean, alone.models[0].mean)
        assert np.array_equal(mean_square(stack.errors)[fold], mean_square(alone.errors)[0])


def test_grid_when_listed_then_the_papers_36_choices():
    assert len(set(grid())) == 36
    assert {choice.rank for choice in grid()} == {"donoho", "energy", 5}


def test_rank_when_noise_is_coloured_then_whitening_finds_the_signal():
    found = fit_models(noisy_mixtures(4000), [Choice("donoho"), Choice("whitened")])
    donoho, whitened = (model.rank for model in found)
    # Three sinusoids have rank 6; coloured noise passes the threshold meant for white noise.
    assert donoho > 12
    assert 5 <= whitened <= 8


def test_errors_when_series_rescaled_then_in_its_unit():
    series = noisy_mixtures(300)
    size = np.linspace(0.01, 3.0, 10)[:, None]
    (plain,) = fit_models(series, [Choice(5)])
    (scaled,) = fit_models(7.0 + size * series, [Choice(5)])
    np.testing.assert_allclose(
        scaled.errors(7.0 + size * series), size * plain.errors(series), atol=1e-9
    )


def test_mean_square_when_values_missing_then_over_the_rest():
    errors = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    assert np.array_equal(mean_square(errors), [5.0, np.nan], equal_nan=True)


def test_unit_variances_when_random_walk_then_steps_apart():
    # y(t) = y(t-1) + e(t): the level's variance grows by one each step.
    found = unit_variances(np.array([[1.0]]), np.array([1, 5, 20]), cumulative=False)
    np.testing.assert_allclose(found, [[1.0, 5.0, 20.0]])


def test_unit_variances_when_sum_of_white_noise_then_steps_apart():
    found = unit_variances(np.array([[0.0]]), np.array([2, 3]), cumulative=True)
    np.testing.assert_allclose(found, [[2.0, 3.0]])


def white_model(n_series: int) -> Model:
    """Return the model that forecasts zero: one lag without weight."""
    zeros, ones = np.zeros(n_series), np.ones(n_series)
    return Model(Choice(1), 0, zeros, ones, np.zeros(1), np.zeros((n_series, 0)))


def stack_of(model: Model, series: np.ndarray, n_errors: int) -> Stack:
    """Return a model as if it was fitted, with its errors on the last times."""
    errors = model.errors(series)[:, -n_errors:] / model.scale[:, None]
    return Stack((model,), errors[None], model.scale[None])


def test_scale_when_model_is_right_then_near_one():
    series = np.random.default_rng(1).normal(size=(40, 900))
    stack = stack_of(white_model(40), series, 300)
    (calibration,) = calibrate(stack, stack, 300, cumulative=True)
    scale = calibration.scale(np.array([1, 5]))
    assert scale[0] == pytest.approx(1.0, abs=1e-12)  # one step: both are the same errors
    assert 1.0 <= scale[1] < 1.1


def test_scale_when_errors_are_correlated_then_as_by_hand():
    # A two-step sum is 2, 0, -2, 0, ...; the model says twice the innovation variance of 0.5.
    errors = np.tile([1.0, 1.0, -1.0, -1.0], 25)[None]
    one_lag = np.zeros((1, 1))
    calibration = Calibration(errors, one_lag, one_lag, np.array([0.5]), cumulative=True)
    scale = calibration.scale(np.array([1, 2]))
    sums = errors[0, 1:] + errors[0, :-1]
    assert scale[0] == pytest.approx(1.0 / 0.5)
    assert scale[1] == pytest.approx(np.mean(sums**2) / (0.5 * 2.0))


def test_scale_when_errors_are_calm_then_never_below_one():
    errors = np.full((1, 100), 0.1)
    one_lag = np.zeros((1, 1))
    calibration = Calibration(errors, one_lag, one_lag, np.array([1.0]), cumulative=True)
    assert np.array_equal(calibration.scale(np.array([1, 5])), [1.0, 1.0])


def test_scale_when_step_is_longer_than_a_quarter_then_that_of_the_quarter():
    errors = np.random.default_rng(1).normal(size=(3, 100)).cumsum(axis=1)
    one_lag = np.zeros((3, 1))
    calibration = Calibration(errors, one_lag, one_lag, np.ones(3), cumulative=True)
    scale = calibration.scale(np.array([25, 60, 500]))
    assert scale[0] == scale[1] == scale[2]


def test_scale_when_no_error_was_seen_then_one():
    one_lag = np.zeros((1, 1))
    calibration = Calibration(
        np.full((1, 40), np.nan), one_lag, one_lag, np.array([np.nan]), cumulative=True
    )
    assert np.array_equal(calibration.scale(np.array([1, 5])), [1.0, 1.0])
    assert np.isnan(calibration.coverage(np.array([1])))


def test_scale_when_early_fit_errs_more_than_final_then_by_that_much():
    series = np.random.default_rng(1).normal(size=(40, 900))
    final = white_model(40)
    early = Model(Choice(1), 0, final.mean, final.scale, np.array([0.9]), final.alpha)
    (calibration,) = calibrate(
        stack_of(early, series, 300), stack_of(final, series, 300), 300, cumulative=False
    )
    # Forecasting white noise by 0.9 of the last value leaves 1 + 0.81 of its variance.
    # Two steps ahead it forecasts 0.81 of the last value and leaves 1 + 0.81^2, of a variance that
    # the final model puts at 1.
    found = calibration.scale(np.array([1, 2]))
    np.testing.assert_allclose(found, [1.81, 1.6561], rtol=0.05)


def test_scale_when_one_series_bursts_then_the_others_decide():
    errors = np.random.default_rng(1).normal(size=(5, 400))
    errors[2] *= 1e3
    one_lag = np.zeros((5, 1))
    calibration = Calibration(errors, one_lag, one_lag, np.ones(5), cumulative=True)
    assert calibration.scale(np.array([1]))[0] < 1.5


def test_coverage_when_normal_errors_then_ninety_percent():
    errors = np.random.default_rng(2).normal(size=(20, 500))
    one_lag = np.zeros((20, 1))
    calibration = Calibration(errors, one_lag, one_lag, np.ones(20), cumulative=True)
    # Standard error sqrt(0.09 / 10000) = 0.003; four of them.
    assert calibration.coverage(np.array([1]))[0] == pytest.approx(0.9, abs=0.012)


def test_intervals_when_process_is_linear_then_cover_ninety_percent():
    """Simulated futures of a process with signal and noise, forecast at steps 1, 5 and 20."""
    series = noisy_mixtures(3400, seed=4)
    (model,) = fit_models(series[:, :2000], [Choice("whitened")])
    steps = np.array([1, 5, 20])
    units = unit_variances(model.coefficients, steps, cumulative=False)
    variance = mean_square(model.errors(series[:, :2000]))[:, None] * units
    inside = []
    for origin in range(2000, 3380, 20):
        last = series[:, origin - model.n_lags : origin]
        error = series[:, origin + steps - 1] - model.path(last, 20)[:, steps - 1]
        inside.append(np.abs(error) <= 1.6449 * np.sqrt(variance))
    share = np.mean(inside, axis=(0, 1))
    # 690 nearly independent cells: standard error 0.0114; four of them.
    assert (np.abs(share - 0.9) < 0.046).all(), share


def test_path_when_recursed_then_as_run_forward_in_standard_units():
    series = noisy_mixtures(300)
    (model,) = fit_models(series, [Choice(5)])
    last = series[:, -model.n_lags :]
    standard = (last - model.mean[:, None]) / model.scale[:, None]
    ahead = run_forward(model.coefficients, standard, 3)
    expected = ahead * model.scale[:, None] + model.mean[:, None]
    np.testing.assert_allclose(model.path(last, 3), expected)


# proves M2
def test_paper_when_small_then_noise_model_beats_mssa():
    scores = run(Setting(n_train=2000), range(4))
    for ours, theirs in (("SAMoSSA", "mSSA"), ("SAMoSSA whitened", "mSSA whitened")):
        assert scores[ours].mean() > scores[theirs].mean() + 0.05
    assert scores["known signal and noise"].mean() > scores["SAMoSSA whitened"].mean()


def test_paper_when_promise_missed_then_check_fails(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.samossa_paper.READINGS", (Setting(n_train=400),))
    monkeypatch.setattr("benchmarks.samossa_paper.PROMISED_R2", 0.99)
    assert main(["--seeds", "1", "--check"]) == 1
    assert main(["--seeds", "1"]) == 0
    assert "MISSED" in capsys.readouterr().out


def test_promises_when_scores_known_then_against_the_better_mssa():
    scores = {
        name: np.array([value])
        for name, value in [
            ("mSSA", 0.30),
            ("mSSA whitened", 0.35),
            ("SAMoSSA", 0.4),
            ("SAMoSSA whitened", 0.5),
        ]
    }
    assert promises(scores)["margin over the better mSSA"][0] == pytest.approx(0.15)
    assert READINGS[0] == Setting(3, 1.0, 10_000)
