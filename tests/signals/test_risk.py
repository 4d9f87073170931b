import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmx_ray.config import parse
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.signals.risk import (
    WINDOW,
    percentile,
    risk_level_of,
    volatility_annual,
    volatility_history,
)
from pmx_ray.signals.settings import RiskSettings, SignalSettings, SizingSettings
from pmx_ray.taxonomy import RiskLevel

RISK = RiskSettings()


@pytest.mark.parametrize(
    ("volatility", "level"),
    [
        (0.05, "low"), (0.149, "low"), (0.15, "medium"), (0.299, "medium"), (0.3, "high"),
        (0.599, "high"), (0.6, "extreme"), (9.0, "extreme"),
    ],
)  # fmt: skip
def test_risk_level_by_volatility(volatility, level):  # proves A1
    assert risk_level_of(volatility, RISK) is RiskLevel(level)


@given(st.floats(0.001, 5.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_risk_level_never_falls_as_volatility_or_its_percentile_rises(volatility, share, more):
    level = risk_level_of(volatility, RISK, percentile=share)
    assert risk_level_of(volatility * (1 + more), RISK, percentile=share).score >= level.score
    assert risk_level_of(volatility, RISK, percentile=max(share, more)).score >= level.score


def test_volatility_annual_by_hand():
    assert volatility_annual(0.0004, step=1) == pytest.approx(0.3174902, abs=1e-7)
    assert volatility_annual(0.002, step=5) == pytest.approx(0.3174902, abs=1e-7)
    for variance, step in ((0.0, 1), (np.nan, 1), (np.inf, 1), (1.0, 0)):
        with pytest.raises(DataError, match="must be"):
            volatility_annual(variance, step=step)


def test_volatility_history_is_that_of_a_loop_and_leaves_gaps_out():
    returns = np.random.default_rng(0).normal(size=60) / 100
    gappy = np.insert(returns, [5, 30], np.nan)
    slow = [
        np.std(returns[t - WINDOW : t], ddof=1) * np.sqrt(252)
        for t in range(WINDOW, len(returns) + 1)
    ]
    np.testing.assert_allclose(volatility_history(gappy), slow, rtol=1e-12)
    assert volatility_history(returns[: WINDOW - 1]).shape == (0,)


def test_percentile_when_no_history_then_none():
    assert percentile(0.2, np.empty(0)) is None
    assert percentile(0.3, np.array([0.1, 0.2, 0.3, 0.4])) == 0.5


@pytest.mark.parametrize(
    ("model", "values", "words"),
    [
        (RiskSettings, {"medium_from": 0.4}, "must rise"),
        (SizingSettings, {"max_position_frac": 0.03}, "max_position_frac"),
        (SignalSettings, {"validator": {"min_history_sessions": 600}}, "more than history"),
        (SignalSettings, {"validator": {"correlation_sessions": 30}}, "more than correlation"),
        (SignalSettings, {"sizing": {"kely_frac": 1}}, "did you mean 'kelly_frac'"),
    ],
)
def test_settings_when_wrong_then_named(model, values, words):
    with pytest.raises(SettingsError, match=words):
        parse(model, values, where="signals")
