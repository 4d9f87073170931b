import numpy as np
import pytest
from arch.bootstrap import MCS, SPA, StepM

from pmx_ray.errors import DataError, SettingsError
from pmx_ray.stats.intervals import MIN_CUTOFFS
from pmx_ray.stats.superior import confidence_set, superior_ability

BOOTSTRAP = {"block": 5, "n_resamples": 300, "seed": 7}


def _losses(n_specs, *, seed, n=120, skill=0.0):
    """Return losses that move together, each spec worse than the one before by ``skill``."""
    rng = np.random.default_rng(seed)
    together = rng.normal(size=(n, 1)) ** 2
    return together + 0.3 * rng.normal(size=(n, n_specs)) + skill * np.arange(n_specs)


def _ability(losses, **other):
    return superior_ability(losses, **{"baseline": 0, **BOOTSTRAP, **other})


def _set(losses, **other):
    return confidence_set(losses, **{**BOOTSTRAP, "size": 0.1, **other})


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("skill", [-0.02, 0.0, 0.02])
def test_superior_ability_when_checked_against_arch_then_equal(seed, skill):
    losses = _losses(8, seed=seed, skill=skill)
    spa = SPA(losses[:, 3], np.delete(losses, 3, axis=1), block_size=5, reps=300, seed=7)
    spa.compute()
    found = _ability(losses, baseline=3)
    assert [found.p_lower, found.p_consistent, found.p_upper] == spa.pvalues.tolist()
    step = StepM(losses[:, 3], np.delete(losses, 3, axis=1), block_size=5, reps=300, seed=7)
    step.compute()
    assert list(found.superior) == [i + (i >= 3) for i in step.superior_models]
    assert (found.n, found.block) == (120, 5)


def test_superior_ability_when_specs_are_better_then_they_are_named():
    losses = _losses(6, seed=4)
    losses[:, [2, 5]] -= 0.3
    found = _ability(losses)
    assert found.superior == (2, 5)
    assert found.p_consistent == 0.0


def test_superior_ability_when_all_are_noise_then_rarely_rejected():
    # 60 tables of 10 equal specs at 5 %: 3 expected, the binomial spread is 1.7.
    rejected = [
        _ability(_losses(10, seed=s), n_resamples=200).p_consistent < 0.05 for s in range(60)
    ]
    assert sum(rejected) <= 8


def test_superior_ability_when_all_are_better_in_two_steps_then_all_are_named():
    # The first is found at once; its noise hides the second until it is set aside.
    rng = np.random.default_rng(0)
    gain = np.column_stack([10.0 + 30.0 * rng.normal(size=100), 1.0 + rng.normal(size=100)])
    losses = np.column_stack([np.zeros(100), -gain])
    with pytest.raises(ValueError, match="zero-size"):  # what arch makes of it
        StepM(losses[:, 0], losses[:, 1:], block_size=5, reps=300, seed=7).compute()
    assert _ability(losses).superior == (1, 2)


def test_superior_ability_when_a_spec_repeats_the_baseline_then_never_superior():
    losses = _losses(4, seed=2)
    losses[:, 2] = losses[:, 0]
    losses[:, 3] -= 0.3
    assert _ability(losses).superior == (3,)
    without = _ability(losses[:, [0, 1, 3]])
    assert _ability(losses).p_consistent == without.p_consistent


def test_superior_ability_when_all_repeat_the_baseline_then_p_is_one():
    found = _ability(np.repeat(_losses(1, seed=0), 3, axis=1))
    assert (found.p_lower, found.p_consistent, found.p_upper, found.superior) == (1, 1, 1, ())


def test_superior_ability_when_always_worse_or_better_by_the_same_then_clear():
    base = np.round(_losses(1, seed=0)[:, 0], 1)
    assert _ability(np.column_stack([base, base + 0.25])).p_consistent == 1.0
    better = _ability(np.column_stack([base, base + 0.25, base - 0.25]))
    assert (better.p_consistent, better.superior) == (0.0, (2,))


@pytest.mark.parametrize(
    "losses",
    [
        pytest.param(_losses(1, seed=0), id="a single spec"),
        pytest.param(_losses(4, seed=0, n=MIN_CUTOFFS - 1), id="few cutoffs"),
        pytest.param(np.full((40, 3), np.nan), id="no cutoff"),
    ],
)
def test_superior_ability_when_there_is_nothing_to_test_then_nan(losses):
    found = _ability(losses)
    assert np.isnan([found.p_lower, found.p_consistent, found.p_upper]).all()
    assert found.superior == ()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("skill", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("n_specs", [2, 3, 12])
def test_confidence_set_when_checked_against_arch_then_equal(seed, skill, n_specs):
    losses = _losses(n_specs, seed=seed, skill=skill)
    reference = MCS(losses, 0.1, reps=300, block_size=5, method="max", seed=7)
    reference.compute()
    found = _set(losses)
    expected = reference.pvalues.sort_index().Pvalue.to_numpy()
    assert found.p_values.tolist() == expected.tolist()
    assert np.flatnonzero(found.included).tolist() == reference.included


def test_confidence_set_when_one_is_best_then_alone_in_it():
    losses = _losses(6, seed=1)
    losses[:, 4] -= 1.0
    found = _set(losses)
    assert np.flatnonzero(found.included).tolist() == [4]
    assert found.p_values[4] == 1.0


def test_confidence_set_when_a_spec_is_repeated_then_both_share_its_p():
    losses = _losses(5, seed=3, skill=0.05)
    found = _set(np.column_stack([losses[:, 2], losses, losses[:, [0, 2]] * (1 + 1e-16)]))
    alone = _set(losses).p_values
    assert found.p_values.tolist() == [alone[2], *alone, alone[0], alone[2]]


@pytest.mark.parametrize(
    "column", [np.zeros(50), np.random.default_rng(0).normal(size=50) ** 2], ids=["zero", "equal"]
)
def test_confidence_set_when_all_lose_the_same_then_all_are_in_it(column):
    found = _set(np.repeat(column[:, None], 4, axis=1))
    assert found.p_values.tolist() == [1.0] * 4
    assert found.included.all()


def test_confidence_set_when_always_worse_by_the_same_then_put_out():
    base = np.arange(1.0, 41.0)
    found = _set(np.column_stack([base + 0.5, base]))  # no spread at all between the two
    assert found.p_values.tolist() == [0.0, 1.0]


def test_confidence_set_when_one_is_the_mean_of_two_then_it_ends():
    # The middle spec is at the mean of the set in every resample: 0 / 0 in T_max.
    base = np.arange(1.0, 41.0)
    swing = np.random.default_rng(3).choice([-0.5, 0.25, 0.5], size=40)
    found = _set(np.column_stack([base, base + swing, base - swing]))
    assert not np.isnan(found.p_values).any()
    assert found.p_values.max() == 1.0


def test_confidence_set_when_means_are_equal_then_all_have_one():
    # They differ at two cutoffs alone, which many a resample draws equally often.
    losses = np.ones((40, 2))
    losses[[3, 7]] = [[1.5, 0.5], [0.5, 1.5]]
    assert _set(losses).p_values.tolist() == [1.0, 1.0]


def test_confidence_set_when_single_then_in_it_and_when_few_cutoffs_then_nan():
    assert _set(_losses(1, seed=0)).p_values.tolist() == [1.0]
    few = _set(_losses(3, seed=0, n=MIN_CUTOFFS - 1))
    assert np.isnan(few.p_values).all()
    assert not few.included.any()
    assert few.n == MIN_CUTOFFS - 1


def test_set_tests_when_a_spec_lacks_a_cutoff_then_it_is_left_out_for_all():
    losses = _losses(4, seed=5, skill=0.05)
    holed = losses.copy()
    holed[[3, 40], [1, 2]] = np.nan
    kept = np.delete(losses, [3, 40], axis=0)
    assert _set(holed).p_values.tolist() == _set(kept).p_values.tolist()
    assert _ability(holed) == _ability(kept)
    assert _ability(holed).n == 118


def test_set_tests_when_losses_are_rescaled_then_the_same():
    losses = _losses(6, seed=6, skill=0.02)
    assert _set(losses * 2.0**-40).p_values.tolist() == _set(losses).p_values.tolist()
    assert _ability(losses * 2.0**-40) == _ability(losses)


def test_set_tests_when_seeds_differ_then_the_draws_do():
    losses = _losses(6, seed=6)
    assert _set(losses, seed=1).p_values.tolist() != _set(losses, seed=2).p_values.tolist()


def test_set_tests_when_arguments_are_out_of_range_then_refused():
    losses = _losses(3, seed=0)
    for wrong in ({"block": 0}, {"n_resamples": 0}, {"size": 1.0}):
        for tests in (_set, _ability):
            with pytest.raises(SettingsError, match=f"{next(iter(wrong))} was"):
                tests(losses, **wrong)
    with pytest.raises(SettingsError, match="baseline was 3"):
        _ability(losses, baseline=3)
    for bad in (losses[:, 0], losses[:, :0], np.where(losses > 1, np.inf, losses)):
        with pytest.raises(DataError, match="losses"):
            _set(bad)
