"""What a choice is worth: figures by hand, intervals that cover, and what is said of them."""

import numpy as np
import pytest

from tune_jobs.worth import Figure, Gain, Losses, gain

KNOBS = {"steps": (1,), "step_size": 1, "n_resamples": 400, "level": 0.95, "seed": 1}


def losses(own, base=1.0) -> Losses:
    own = np.asarray(own, float).reshape(-1, 1)
    return Losses(own, np.full_like(own, base))


def test_gain_when_constant_then_differences_by_hand():
    found = gain(
        (losses([0.5] * 40), losses([0.8] * 40)), (losses([0.7] * 30), losses([0.9] * 30)), **KNOBS
    )
    assert found.tuning.value == pytest.approx(0.5)
    assert found.tuned.value == pytest.approx(0.7)
    assert found.improvement.value == pytest.approx(0.2)
    assert found.improved_on_tuning == pytest.approx(0.3)
    assert found.gap.value == pytest.approx(0.2)
    assert found.excess_gap.value == pytest.approx(0.1)  # 0.2 less the default's 0.1
    assert (found.improvement.low, found.improvement.high) == pytest.approx((0.2, 0.2))
    assert (found.n_tuning, found.n_evaluation) == (40, 30)


def test_gain_when_steps_differ_then_each_counts_alike():
    own, base = np.array([[1.0, 30.0]] * 20), np.array([[2.0, 40.0]] * 20)
    pair = Losses(own, base), Losses(base, base)
    found = gain(pair, pair, **{**KNOBS, "steps": (1, 5)})
    assert found.tuned.value == pytest.approx((0.5 + 0.75) / 2)


def test_improvement_when_paired_then_shared_noise_leaves_the_interval_narrow():
    rng = np.random.default_rng(3)
    shared = rng.exponential(1.0, 300)
    default, tuned = losses(shared + 0.05), losses(shared)
    found = gain((tuned, default), (tuned, default), **KNOBS)
    assert found.improvement.high - found.improvement.low < 1e-9
    assert found.tuned.high - found.tuned.low > 0.1


def test_improvement_when_there_is_none_then_its_interval_holds_zero_as_often_as_it_says():
    rng = np.random.default_rng(5)
    held = 0
    for seed in range(200):
        tuned, default = (losses(rng.exponential(1.0, 120)) for _ in range(2))
        found = gain((tuned, default), (tuned, default), **{**KNOBS, "seed": seed})
        held += found.improvement.low <= 0.0 <= found.improvement.high
    # 95 % of 200; a stationary bootstrap of 120 cutoffs covers a little less than it says.
    assert held >= 176


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ((0.1, 0.3), "tuning helped out of sample"),
        ((-0.3, -0.1), "tuning hurt out of sample"),
        ((-0.1, 0.3), "no sign that tuning helped"),
        ((np.nan, np.nan), "too few cutoffs"),
    ],
)
def test_verdict_when_interval_lies_there_then_said(interval, words):
    any_figure = Figure(0.0, 0.0, 0.0)
    found = Gain(*([any_figure] * 7), 10, 10)
    found = type(found)(
        **{
            **{name: getattr(found, name) for name in found.__slots__},
            "improvement": Figure(0.2, *interval),
        }
    )
    assert words in found.verdict


def test_gain_when_few_cutoffs_then_no_interval():
    few = losses([0.5] * 5), losses([0.8] * 5)
    assert np.isnan(gain(few, few, **KNOBS).improvement.low)
    assert gain(few, few, **KNOBS).as_json()["improvement"]["low"] is None
