"""Boosted trees: what they learn, what they may learn from, and that nothing else matters."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.features.returns import ReturnLag
from pmx_ray.forecasters import boosted_steps
from pmx_ray.forecasters.boosted_steps import LARGEST, Rows, volatility_scale
from pmx_ray.forecasters.boosting import Boosting, BoostingSettings
from pmx_ray.forecasters.protocol import QUANTILE_LEVELS, Failure, Forecast, Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.leaks.conformance import CHECKS, check

T = 400
LIGHT = {"n_trees": 10, "depth": 2, "learning_rate": 0.2}


def panel_of(returns: np.ndarray, **fields: object) -> Panel:
    close = 40.0 * np.exp(np.hstack([np.zeros((len(returns), 1)), np.cumsum(returns, axis=1)]))
    sessions = calendar_sessions("XNYS")[8000 : 8000 + close.shape[1]]
    return Panel("XNYS", tuple("ABCDEFGH"[: len(returns)]), sessions, close, **fields)


def noise(n_tickers: int, n_sessions: int = T, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.01, (n_tickers, n_sessions - 1))


def fitted(panel: Panel, seed: int = 1, **given: object):
    forecaster = Boosting(BoostingSettings.model_validate({**LIGHT, **given}))
    return forecaster.fit(panel, rng=np.random.default_rng(seed))


def same(ones, others) -> bool:
    return all(
        a.mean.tobytes() == b.mean.tobytes()
        and a.variance.tobytes() == b.variance.tobytes()
        and a.bands.tobytes() == b.bands.tobytes()
        for a, b in zip(ones, others, strict=True)
    )


RANDOM = panel_of(noise(3))


def test_conformance_when_the_scope_is_a_ticker_then_every_check_passes():
    spec = ForecasterSpec.parse(
        {"name": "boosting", "scope": "ticker", "n_trees": 1, "features": [{"kind": "return_lag"}]}
    )
    checked = check(spec, input_size=260)
    assert [c for c in checked if not c.passed] == []
    assert len(checked) == len(CHECKS)


def test_forecast_when_returns_alternate_then_the_sign_is_learned():
    # r(t + 1) = -0.6 r(t) + noise of 0.8 standard deviations.
    shocks = noise(4, seed=3) * 0.8
    returns = shocks.copy()
    for t in range(1, returns.shape[1]):
        returns[:, t] = -0.6 * returns[:, t - 1] + shocks[:, t]
    panel = panel_of(returns)
    model = fitted(panel, n_trees=60, features=[{"kind": "return_lag"}])
    means, truth = [], []
    for stop in range(300, T):
        means += [o.mean[0] for o in model.extend(panel.window(0, stop)).forecast((1,))]
        truth += (-0.6 * returns[:, stop - 2]).tolist()
    assert np.corrcoef(means, truth)[0, 1] > 0.9


def test_forecast_when_returns_are_noise_then_close_to_zero_with_their_variance():
    outcomes = fitted(RANDOM, learning_rate=0.05).forecast((1, 5, 20))
    for outcome in outcomes:
        # 400 sessions of 3 tickers: the pooled mean has a standard error of .03 volatilities.
        assert np.abs(outcome.mean / (0.01 * np.sqrt([1, 5, 20]))).max() < 0.5
        # One window of 20 sessions makes the scale: its variance has a spread of 1/3.
        np.testing.assert_allclose(outcome.variance / (1e-4 * np.array([1, 5, 20])), 1.0, atol=0.9)


def test_quantiles_when_volatility_differs_then_scaled_ticker_by_ticker():
    returns = noise(2, seed=5)
    returns[1] = 5.0 * returns[0]  # the same ticker in another unit
    calm, wild = fitted(
        panel_of(returns), features=[{"kind": "calendar"}], volatility_window=20
    ).forecast((1, 5))
    np.testing.assert_allclose(wild.bands, 5.0 * calm.bands, rtol=1e-9)
    np.testing.assert_allclose(wild.mean, 5.0 * calm.mean, rtol=1e-9)
    np.testing.assert_allclose(wild.variance, 25.0 * calm.variance, rtol=1e-9)


def test_quantiles_when_fitted_then_the_stated_share_lies_below():
    panel = panel_of(noise(8, 600, seed=2))
    model = fitted(panel.window(0, 450), learning_rate=0.05)
    below = np.zeros(len(QUANTILE_LEVELS))
    returns, n = panel.log_returns(), 0
    for stop in range(450, 600, 2):
        for ticker, outcome in enumerate(model.extend(panel.window(0, stop)).forecast((1,))):
            below += returns[ticker, stop - 1] < outcome.bands[:, 0]
            n += 1
    # 600 outcomes: a standard error of at most .02.
    np.testing.assert_allclose(below / n, QUANTILE_LEVELS, atol=0.06)


def test_quantiles_when_forecast_then_never_cross():
    for outcome in fitted(RANDOM, learning_rate=1.0, n_trees=30).forecast((1, 5, 20)):
        assert (np.diff(outcome.bands, axis=0) >= 0).all()


@settings(max_examples=5, deadline=None)
@given(st.permutations([1, 2, 5]))
def test_forecast_when_steps_are_asked_in_any_order_then_same_bits(order):
    light = {"n_trees": 1, "features": [{"kind": "return_lag"}]}
    model = fitted(RANDOM, **light)
    for step in order:
        model.forecast((step,))
    assert same(model.forecast((1, 2, 5)), fitted(RANDOM, **light).forecast((1, 2, 5)))


def test_extend_when_new_sessions_come_then_models_are_those_of_the_fit():
    early = RANDOM.window(0, 350)
    asked_before, asked_after = fitted(early), fitted(early)
    asked_before.forecast((5,))
    # The steps of the second are fitted when it stands on the longer history already.
    assert same(
        asked_before.extend(RANDOM).forecast((5,)), asked_after.extend(RANDOM).forecast((5,))
    )


def test_extend_when_the_history_starts_later_then_same_bits():
    # A row depends on the sessions in its windows, not on where the history begins.
    model = fitted(RANDOM)
    assert same(
        model.extend(RANDOM).forecast((1,)), model.extend(RANDOM.window(200, T)).forecast((1,))
    )


def rows_of(panel: Panel, window: int = 20) -> Rows:
    known = np.zeros((*panel.close.shape, 1))
    returns = np.hstack([np.full((panel.n_tickers, 1), np.nan), panel.log_returns()])
    return Rows(known, returns, volatility_scale(panel, window))


@pytest.mark.parametrize("step", [1, 5, 20])
def test_targets_when_made_then_the_scaled_return_to_come(step):
    rows, log_close = rows_of(RANDOM), np.log(RANDOM.close)
    targets = rows.targets(step)
    at = 150
    scale = np.sqrt((RANDOM.log_returns()[:, at - 20 : at] ** 2).mean(axis=1))
    by_hand = (log_close[:, at + step] - log_close[:, at]) / (scale * np.sqrt(step))
    np.testing.assert_allclose(targets[:, at], by_hand, rtol=1e-9)
    # Purged: a target that is not over within the history is no row.
    assert np.isnan(targets[:, T - step :]).all()
    assert not np.isnan(targets[:, 20 : T - step]).any()


def test_targets_when_a_stretch_is_blanked_then_none_reaches_over_it():
    blanked = RANDOM.without(200, 203)
    targets = rows_of(blanked).targets(5)
    # The return into session 203 lacks its first price, so targets of 195 to 202 need a hole.
    assert np.isnan(targets[:, 195:203]).all()
    assert not np.isnan(targets[:, 203:300]).any()


def test_targets_when_a_price_jumps_then_cut():
    returns = noise(1)
    returns[0, 200] = 7.0
    targets = rows_of(panel_of(returns)).targets(1)
    assert targets[0, 200] == LARGEST


def test_rows_when_targets_overlap_and_rows_are_many_then_thinned_from_the_last():
    panel = panel_of(noise(8, 1500))
    _, _, every = rows_of(panel).of_step(1)
    _, _, thinned = rows_of(panel).of_step(20)
    assert np.unique(np.diff(np.unique(every))).tolist() == [1]
    assert np.unique(np.diff(np.unique(thinned))).tolist() == [5]  # 11,680 rows / 2,000
    assert thinned.max() == 1500 - 1 - 20


def test_scale_when_most_prices_are_missing_or_still_then_nan():
    close = RANDOM.close.copy()
    close[0, 101:112] = np.nan  # 12 of 20 returns from 100 to 119 are gone
    close[1, 100:130] = close[1, 100]
    scale = volatility_scale(replace(RANDOM, close=close, gap=np.isnan(close)), 20)
    assert np.isnan(scale[0, 119])
    assert not np.isnan(scale[0, 125])
    assert np.isnan(scale[1, 125])
    assert not np.isnan(scale[2]).sum() > 20


def test_variance_when_fitted_then_of_errors_made_later(monkeypatch):
    # The rows of the early model end a step before those whose errors are counted.
    seen = []
    plain = boosted_steps._boost

    def noted(features, targets, *args, **kwargs):
        seen.append(len(targets))
        return plain(features, targets, *args, **kwargs)

    monkeypatch.setattr(boosted_steps, "_boost", noted)
    fitted(RANDOM, n_trees=1, volatility_window=20).forecast((20,))
    early, final, *quantiles = seen
    # Rows from session 19, whose scale has its 20 sessions, to 379: 361 of 3 tickers. The last
    # quarter begins on session 289, so the early ones end on 269: 251 of 3 tickers.
    assert [final, *quantiles] == [1083] * 6
    assert early == 753


def test_forecast_when_one_ticker_cannot_be_served_then_the_others_are():
    close = RANDOM.close.copy()
    close[0, -1] = np.nan
    close[1, : T - 5] = np.nan
    outcomes = fitted(replace(RANDOM, close=close, gap=np.isnan(close))).forecast((1,))
    assert [getattr(o, "status", Status.OK) for o in outcomes] == [
        Status.NO_PRICE,
        Status.TOO_SHORT,
        Status.OK,
    ]


def test_forecast_when_the_step_is_longer_than_the_history_then_too_short():
    (near, *_), (far, *_) = (fitted(RANDOM).forecast((step,)) for step in (1, 390))
    assert isinstance(near, Forecast)
    assert isinstance(far, Failure)
    assert far.status is Status.TOO_SHORT


def test_fit_when_the_panel_lacks_what_a_feature_needs_then_status_names_it():
    outcomes = fitted(RANDOM, features=[{"kind": "volatility", "estimators": ["parkinson"]}])
    assert [o.status for o in outcomes.forecast((1,))] == [Status.ERROR] * 3


def test_fit_when_no_feature_has_a_value_then_too_short():
    alone = fitted(panel_of(noise(1)), features=[{"kind": "cross_section"}])
    (outcome,) = alone.forecast((1,))
    assert outcome.status is Status.TOO_SHORT
    assert "feature that varies" in outcome.reason


def test_forecast_when_a_feature_is_published_late_then_its_earlier_value_is_seen():
    # r(t + 1) = 0.9 r(t - 2): a lag of 3 sessions leaves just the value that tells.
    returns = noise(3, seed=9)
    for t in range(3, returns.shape[1]):
        returns[:, t] = 0.9 * returns[:, t - 3] + 0.4 * returns[:, t]
    panel = panel_of(returns)
    late = fitted(panel, n_trees=60, features=[ReturnLag(publication_lag=3)])
    means = [
        o.mean[0] for s in range(300, T) for o in late.extend(panel.window(0, s)).forecast((1,))
    ]
    truth = [r for s in range(300, T) for r in returns[:, s - 4]]
    assert np.corrcoef(means, truth)[0, 1] > 0.9


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"features": []}, "at least 1 item"),
        ({"features": ["mondey"]}, "did you mean 'monday'"),
        ({"features": ["monday", "monday"]}, "there twice"),
        ({"min_leaf_frac": 0.5}, "less than 0.5"),
        ({"depht": 2}, "did you mean 'depth'"),
    ],
)
def test_settings_when_wrong_then_refused(written, message):
    with pytest.raises(SettingsError, match=message):
        ForecasterSpec.parse({"name": "boosting", **written})


def test_spec_when_parsed_then_its_features_come_back_from_the_parameters():
    spec = ForecasterSpec.parse({"name": "boosting", "features": [{"kind": "return_lag"}]})
    assert spec.settings.features == (ReturnLag(),)
    assert ForecasterSpec.parse({"name": "boosting"}).settings == BoostingSettings()
