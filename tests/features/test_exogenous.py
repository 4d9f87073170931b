"""The matrix of exogenous columns: what each row may know."""

import numpy as np
import pytest

from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.features import exogenous as module
from pmx_ray.features.exogenous import FEATURES, Feature, exogenous, feature

SESSIONS = calendar_sessions("XNYS")[5000:5100]
RETURNS = np.random.default_rng(0).normal(0, 0.01, 99)
CLOSE = 10.0 * np.exp(np.r_[0.0, np.cumsum(RETURNS)])[None]
HISTORY = Panel("XNYS", ("A",), SESSIONS[:80], CLOSE[:, :80])
LONGER = Panel("XNYS", ("A",), SESSIONS, CLOSE)


def test_columns_when_no_name_then_rows_without_columns():
    assert exogenous((), HISTORY, n_ahead=7, shift=20).shape == (87, 0)


@pytest.mark.parametrize("name", FEATURES)
def test_columns_when_the_future_arrives_then_its_rows_were_right(name):
    # What was said 20 sessions ahead is what the longer history says of the same sessions.
    early = exogenous((name,), HISTORY, n_ahead=20, shift=20)
    late = exogenous((name,), LONGER, n_ahead=0, shift=20)
    np.testing.assert_array_equal(early, late)


def test_abs_return_when_shifted_then_the_return_of_that_many_sessions_before():
    columns = exogenous(("abs_return_lagged",), HISTORY, n_ahead=5, shift=5)[:, 0]
    assert np.isnan(columns[:6]).all()  # five by the shift, and the first session has no return
    np.testing.assert_allclose(columns[6:], 100 * np.abs(RETURNS[:79]), rtol=1e-10)


def test_abs_return_when_asked_beyond_the_shift_then_not_known():
    columns = exogenous(("abs_return_lagged",), HISTORY, n_ahead=8, shift=5)[:, 0]
    assert not np.isnan(columns[80:85]).any()
    assert np.isnan(columns[85:]).all()


def test_columns_when_publication_takes_two_sessions_then_the_last_value_is_not_used(monkeypatch):
    late = Feature("late", 2, "known a session after its own", FEATURES["abs_return_lagged"].values)
    monkeypatch.setattr(module, "FEATURES", {"late": late})
    columns = exogenous(("late",), HISTORY, n_ahead=5, shift=5)[:, 0]
    assert not np.isnan(columns[80:84]).any()
    assert np.isnan(columns[84])  # five ahead needs the value of the cutoff, which is not out yet


def test_columns_when_several_names_then_in_the_order_asked():
    names = ("month_end", "monday")
    both = exogenous(names, HISTORY, n_ahead=3, shift=1)
    for k, name in enumerate(names):
        np.testing.assert_array_equal(both[:, [k]], exogenous((name,), HISTORY, n_ahead=3, shift=1))


def test_feature_when_misspelt_then_the_nearest_is_named():
    with pytest.raises(SettingsError, match="did you mean 'turn_of_month'"):
        feature("turn_of_months")
