"""The matrix of every kind: causal to the bit, warm after its warm-up, local to its window."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.errors import DataError, SettingsError
from pmx_ray.features import exogenous
from pmx_ray.features.calendar_effects import CalendarEffects
from pmx_ray.features.column import Column, Feature, FeatureKind
from pmx_ray.features.cross_section import CrossSection
from pmx_ray.features.matrix import (
    FeatureMatrix,
    feature_matrix,
    known_at_close,
    sessions_needed,
)
from pmx_ray.features.moments import RollingMoment, RollingQuantile
from pmx_ray.features.returns import AbsoluteReturn, Difference, FractionalDifference, ReturnLag
from pmx_ray.features.seasonal import Seasonal
from pmx_ray.features.spec import KINDS
from pmx_ray.features.volatility import Volatility
from pmx_ray.folds import FoldSettings, build_folds
from pmx_ray.leaks.audit import audit
from pmx_ray.leaks.stages import FeatureStage

T = 180


def make_panel() -> Panel:
    """Return four tickers with open, high and low, a late listing and a gap."""
    rng = np.random.default_rng(3)
    close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (4, T)), axis=1))
    opening = close * np.exp(rng.normal(0.0, 0.004, close.shape))
    high = np.fmax(opening, close) * np.exp(rng.uniform(0.0, 0.01, close.shape))
    low = np.fmin(opening, close) * np.exp(-rng.uniform(0.0, 0.01, close.shape))
    fields = {"open": opening, "high": high, "low": low}
    for values in (close, *fields.values()):
        values[2, :30] = np.nan
        values[3, 90:93] = np.nan
    sessions = calendar_sessions("XNYS")[9000 : 9000 + T]
    return Panel("XNYS", ("A", "B", "C", "D"), sessions, close, gap=np.isnan(close), **fields)


PANEL = make_panel()
SPECS = (
    ReturnLag(lags=(0, 3)),
    AbsoluteReturn(),
    Difference(order=2),
    FractionalDifference(order=0.4, threshold=0.01),
    RollingMoment(window=10, moments=("mean", "std", "skew", "kurtosis")),
    RollingQuantile(window=12, levels=(0.1, 0.5)),
    Volatility(window=7, estimators=("realized", "parkinson", "garman_klass", "rogers_satchell")),
    Seasonal(season="weekday", window=25, parts=("trend", "season", "remainder")),
    CalendarEffects(),
    CrossSection(window=15, factors=("market_return", "abnormal_return", "first_component")),
)
WHOLE = feature_matrix(SPECS, PANEL)
every_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)


def bits(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values).tobytes()


def with_noise_after(panel: Panel, session: int) -> Panel:
    rng = np.random.default_rng(session)
    changed = {}
    for name in ("close", "open", "high", "low"):
        values = getattr(panel, name).copy()
        values[:, session + 1 :] = np.exp(rng.normal(0, 3, values[:, session + 1 :].shape))
        changed[name] = values
    return replace(panel, **changed)


def test_specs_when_listed_here_then_every_kind_is_among_them():
    assert {type(spec) for spec in SPECS} == set(KINDS)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, T - 2))
def test_matrix_when_the_future_is_noise_then_same_bits(session):  # proves M1
    noisy = feature_matrix(SPECS, with_noise_after(PANEL, session))
    seen = slice(0, session + 1)
    assert bits(noisy.values[:, seen]) == bits(WHOLE.values[:, seen])
    known = known_at_close(SPECS, with_noise_after(PANEL, session))
    assert bits(known[:, seen]) == bits(known_at_close(SPECS, PANEL)[:, seen])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, T))
def test_matrix_when_the_panel_is_cut_off_then_same_bits(stop):
    cut = PANEL.window(0, stop)
    assert bits(feature_matrix(SPECS, cut).values) == bits(WHOLE.values[:, :stop])
    assert bits(known_at_close(SPECS, cut)) == bits(known_at_close(SPECS, PANEL)[:, :stop])


@every_spec
@settings(max_examples=5, deadline=None)
@given(st.integers(100, T))
def test_last_row_when_only_the_sessions_needed_are_given_then_same_bits(spec, stop):
    late = spec if spec.kind == "calendar" else spec.model_copy(update={"publication_lag": 3})
    whole = known_at_close((late,), PANEL.window(0, stop))
    tail = known_at_close((late,), PANEL.window(stop - sessions_needed((late,)), stop))
    assert bits(whole[:, -1]) == bits(tail[:, -1])


@every_spec
def test_columns_when_no_price_is_missing_then_values_from_the_warm_up_on(spec):
    full = feature_matrix((spec,), PANEL.select(["A", "B"]))
    for column in full.columns:
        present = ~np.isnan(full[column.name])
        assert not present[:, : column.warm_up].any()
        assert present[:, column.warm_up :].all()


def test_matrix_when_built_then_float64_read_only_with_its_axes():
    assert WHOLE.values.dtype == np.float64
    assert WHOLE.values.shape == (4, T, len(WHOLE.columns))
    assert (WHOLE.tickers, WHOLE.sessions.tolist()) == (PANEL.tickers, PANEL.sessions.tolist())
    with pytest.raises(ValueError, match="read-only"):
        WHOLE.values[0, 0, 0] = 1.0


def test_matrix_when_a_price_is_missing_then_nan_while_it_is_in_the_window():
    column = WHOLE["realized_volatility_7"][3]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(column[20:])) + 20, range(90, 100))


def test_known_when_columns_have_lags_then_each_row_holds_the_newest_that_is_out():
    specs = ("monday", ReturnLag(), RollingMoment(window=5, moments=("mean",), publication_lag=3))
    matrix, known = feature_matrix(specs, PANEL), known_at_close(specs, PANEL)
    np.testing.assert_array_equal(known[:, :-1, 0], matrix["monday"][:, 1:])  # of tomorrow
    np.testing.assert_array_equal(known[:, :, 1], matrix["return_lag_0"])
    np.testing.assert_array_equal(known[:, 2:, 2], matrix["return_mean_5"][:, :-2])
    assert np.isnan(known[:, :2, 2]).all()


def test_known_when_the_panel_ends_on_a_friday_then_the_last_row_knows_of_monday():
    fridays = np.flatnonzero(feature_matrix(("monday",), PANEL)["monday"][0]) - 1
    cut = PANEL.window(0, int(fridays[5]) + 1)
    assert known_at_close(("monday",), cut)[0, -1, 0] == 1.0


def test_matrix_when_a_feature_looks_ahead_then_the_noise_shows_it(monkeypatch):
    # The comparison above can fail: a feature of the next session's price is seen by it.
    peek = Feature("peek", 1, "tomorrow", lambda p, s: np.hstack([p.close[:, 1:], p.close[:, :1]]))
    monkeypatch.setattr(exogenous, "FEATURES", {"peek": peek})
    clean = feature_matrix(("peek",), PANEL).values[:, :100]
    assert bits(clean) != bits(
        feature_matrix(("peek",), with_noise_after(PANEL, 99)).values[:, :100]
    )


def test_matrix_when_one_ticker_then_cross_section_is_empty():
    alone = feature_matrix((SPECS[-1],), PANEL.select(["A"]))
    assert np.isnan(alone.values).all()


def test_matrix_when_shorter_than_any_window_then_nan():
    short = feature_matrix(SPECS, PANEL.window(0, 1))
    known_in_advance = [column.publication_lag == 0 for column in short.columns]
    assert (np.isnan(short.values[0, 0]) != known_in_advance).all()


@pytest.mark.parametrize("estimator", ["parkinson", "garman_klass", "rogers_satchell"])
def test_matrix_when_the_panel_has_no_range_then_the_error_says_what_to_do(estimator):
    close_only = replace(PANEL, open=None, high=None, low=None)
    with pytest.raises(DataError, match=f"no high, which the {estimator} volatility needs"):
        feature_matrix((Volatility(estimators=(estimator,)),), close_only)


def test_getitem_when_unknown_then_the_columns_are_named():
    with pytest.raises(SettingsError, match="no column 'x'; the matrix has return_lag_0"):
        WHOLE["x"]


def test_matrix_when_shapes_or_names_differ_then_refused():
    one = Column("a", 1, 0)
    with pytest.raises(DataError, match="values have shape"):
        FeatureMatrix(("A",), PANEL.sessions, (one,), np.zeros((1, 2, 1)))
    with pytest.raises(DataError, match="share a name"):
        FeatureMatrix(("A",), PANEL.sessions, (one, one), np.zeros((1, T, 2)))


@every_spec
def test_audit_when_every_kind_is_probed_then_not_accused(spec):
    plan = build_folds(PANEL.sessions, FoldSettings(input_size=60, step_size=5, steps=(1, 5)))
    stage = FeatureStage(spec.kind, lambda panel: known_at_close((spec,), panel))
    assert audit([stage], PANEL, plan, rng=np.random.default_rng(0)).findings == ()


class ThreadCount(FeatureKind):
    """The most threads that a numerical library has while columns are computed."""

    def features(self):
        def values(history, sessions):
            most = max(pool["num_threads"] for pool in threadpool_info())
            return np.full((history.n_tickers, len(sessions)), float(most))

        return (Feature("threads", 1, "threads", values),)


def test_matrix_when_computed_then_by_one_thread():
    # proves M1: sums are taken in one order on any machine
    with threadpool_limits(2):
        assert (feature_matrix((ThreadCount(),), PANEL).values == 1.0).all()
