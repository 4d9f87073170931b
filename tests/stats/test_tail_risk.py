import empyrical
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skfolio.measures import cvar
from skfolio.measures import value_at_risk as skfolio_value_at_risk

from pmx_ray.errors import SettingsError
from pmx_ray.stats.tail_risk import expected_shortfall, value_at_risk

RETURNS = arrays(
    np.float64, st.integers(1, 40), elements=st.floats(-0.9, 0.9).map(lambda x: round(x, 3))
)
PROBABILITY = st.sampled_from([0.01, 0.025, 0.05, 0.1, 0.29, 0.5, 0.99])
ROUNDING = {"rel": 1e-12, "abs": 1e-15}


@pytest.mark.parametrize("probability", [0.01, 0.05, 0.1, 0.29, 1 / 3])
@pytest.mark.parametrize("n", [7, 100, 101, 1000])
def test_tail_risk_when_checked_against_skfolio_then_equal(n, probability):
    returns = np.random.default_rng(n).standard_t(4, n) / 100
    beta = 1 - probability
    var = value_at_risk(returns, probability=probability)
    assert var == pytest.approx(skfolio_value_at_risk(returns, beta=beta), **ROUNDING)
    shortfall = expected_shortfall(returns, probability=probability)
    assert shortfall == pytest.approx(cvar(returns, beta=beta), **ROUNDING)


def test_value_at_risk_when_the_quantile_is_an_observation_then_equal_to_empyrical():
    # empyrical interpolates at (n - 1) p, which is the whole 5 here
    returns = np.random.default_rng(5).normal(0, 0.01, 101)
    expected = -empyrical.value_at_risk(returns, cutoff=0.05)
    assert value_at_risk(returns, probability=0.05) == pytest.approx(expected, **ROUNDING)


def test_expected_shortfall_when_the_tail_is_whole_then_equal_to_empyrical():
    # both take the mean of the 5 worst; elsewhere empyrical rounds their number
    returns = np.random.default_rng(6).normal(0, 0.01, 100)
    expected = -empyrical.conditional_value_at_risk(returns, cutoff=0.05)
    assert expected_shortfall(returns, probability=0.05) == pytest.approx(expected, **ROUNDING)


@pytest.mark.parametrize(
    ("series", "var", "shortfall"),
    [
        pytest.param([-0.03, -0.02, -0.01, 0.01], 0.02, 0.03, id="one of four is the tail"),
        pytest.param([-0.04, -0.02, 0.0, 0.01, 0.01, 0.01], 0.02, 0.1 / 3, id="one and a half"),
        pytest.param([0.01, 0.02, 0.03], -0.01, -0.01, id="a gain is a negative loss"),
        pytest.param([-0.01] * 9, 0.01, 0.01, id="constant"),
        pytest.param([-0.03, np.nan, -0.02, -0.01, 0.01], 0.02, 0.03, id="missing left out"),
        pytest.param([], np.nan, np.nan, id="nothing"),
        pytest.param([np.nan], np.nan, np.nan, id="nothing known"),
    ],
)
def test_tail_risk_when_by_hand_then_known_values(series, var, shortfall):
    returns = np.array(series, float)
    assert value_at_risk(returns, probability=0.25) == pytest.approx(var, nan_ok=True)
    assert expected_shortfall(returns, probability=0.25) == pytest.approx(shortfall, nan_ok=True)


@given(returns=RETURNS, probability=PROBABILITY)
@example(returns=np.array([-0.1, -0.1, -0.1]), probability=0.5)
@settings(max_examples=30, deadline=None)
def test_tail_risk_when_any_returns_then_shortfall_between_var_and_the_worst(returns, probability):
    var = value_at_risk(returns, probability=probability)
    shortfall = expected_shortfall(returns, probability=probability)
    assert var <= shortfall <= -returns.min() + 1e-15
    assert var in -returns
    assert np.mean(-returns > var) <= probability + 1e-15


@given(returns=RETURNS, probability=PROBABILITY)
@settings(max_examples=30, deadline=None)
def test_tail_risk_when_shuffled_or_levered_then_the_same_and_in_proportion(returns, probability):
    for measure in (value_at_risk, expected_shortfall):
        expected = measure(returns, probability=probability)
        assert measure(returns[::-1], probability=probability) == pytest.approx(expected, abs=1e-15)
        doubled = measure(2 * returns, probability=probability)
        assert doubled == pytest.approx(2 * expected, abs=1e-15)


def test_value_at_risk_when_all_but_nothing_is_tail_then_the_smallest_loss():
    probability = np.nextafter(1.0, 0.0)  # rounds up to every observation
    assert value_at_risk(np.array([-0.02, 0.01]), probability=probability) == -0.01


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.1, np.nan])
def test_tail_risk_when_the_probability_is_none_then_refused(probability):
    with pytest.raises(SettingsError, match="probability was"):
        value_at_risk(np.zeros(3), probability=probability)
    with pytest.raises(SettingsError, match="probability was"):
        expected_shortfall(np.zeros(3), probability=probability)
