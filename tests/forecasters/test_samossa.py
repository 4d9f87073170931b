"""The SAMoSSA forecaster: forecasts, bad members, extension, look-ahead, engines."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.errors import EngineError, SettingsError
from pmx_ray.folds import FoldSettings, build_folds
from pmx_ray.forecasters.batch import forecast_folds
from pmx_ray.forecasters.protocol import Failure, Forecast, Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.forecasters.samossa import Samossa, SamossaSettings, array_namespace
from pmx_ray.kernels.samossa import Choice, fit_models, grid

STEPS = (1, 5, 20)
RNG = np.random.default_rng(0)  # the forecaster draws nothing


def panel_of(log_close: np.ndarray, *, gap: np.ndarray | None = None) -> Panel:
    days = calendar_sessions("XNYS")
    start = int(np.searchsorted(days, np.datetime64("2010-01-04")))
    tickers = tuple(f"T{n:02d}" for n in range(len(log_close)))
    sessions = days[start : start + log_close.shape[1]]
    return Panel("XNYS", tickers, sessions, np.exp(log_close), gap=gap)


def log_walks(n_tickers: int = 4, n_sessions: int = 300, *, seed: int = 0) -> np.ndarray:
    """Return walks with some momentum: returns are AR(1) with coefficient 0.3."""
    returns = np.random.default_rng(seed).normal(0.0, 0.01, (n_tickers, n_sessions))
    for t in range(1, n_sessions):
        returns[:, t] += 0.3 * returns[:, t - 1]
    return 4.0 + np.cumsum(returns, axis=1)


def fit(history: Panel, **chosen: object):
    return Samossa(SamossaSettings(**chosen)).fit(history, rng=RNG)


def same(a: Forecast, b: Forecast) -> bool:
    return np.array_equal(a.mean, b.mean) and np.array_equal(a.variance, b.variance)


@pytest.mark.parametrize("difference", [True, False])
def test_forecast_when_noiseless_sinusoids_then_exact(difference):
    t = np.arange(520)
    parts = np.stack([np.sin(0.31 * t + 0.4), np.cos(0.9 * t)])
    log_close = 4.0 + 0.05 * np.random.default_rng(3).normal(size=(3, 2)) @ parts
    history = panel_of(log_close[:, :500])
    outcomes = fit(history, rank=5, ar_order=0, difference=difference).forecast(STEPS)
    for n, outcome in enumerate(outcomes):
        expected = log_close[n, [500, 504, 519]] - log_close[n, 499]
        np.testing.assert_allclose(outcome.mean, expected, atol=1e-8)
        assert (outcome.variance > 0).all()


def test_forecast_when_one_ticker_then_scope_does_not_matter():
    history = panel_of(log_walks(1))
    (alone,) = fit(history, scope="ticker").forecast(STEPS)
    (joint,) = fit(history, scope="panel").forecast(STEPS)
    assert same(alone, joint)


def test_forecast_when_univariate_then_as_the_papers_steps_written_out():
    log_close = log_walks(1, 401)
    (outcome,) = fit(panel_of(log_close), rank=3, ar_order=1, calibrate=False).forecast((1, 2))
    returns = np.diff(log_close[0])
    z = (returns - returns.mean()) / returns.std()
    page = z.reshape(20, 20).T  # sqrt(400) rows
    u, s, vt = np.linalg.svd(page)
    low = (u[:, :3] * s[:3]) @ vt[:3]
    beta = np.linalg.lstsq(low[:-1].T, low[-1], rcond=1e-9)[0]
    left = z - low.T.ravel()
    alpha = (left[1:] @ left[:-1]) / (left[:-1] @ left[:-1])
    noise = z[-1] - beta @ z[-20:-1]
    first = beta @ z[-19:] + alpha * noise
    second = beta @ np.append(z[-18:], first) + alpha**2 * noise
    path = np.array([first, second]) * returns.std() + returns.mean()
    np.testing.assert_allclose(outcome.mean, path.cumsum(), rtol=1e-8)
    signal = np.array([z[t] - beta @ z[t - 19 : t] for t in range(19, 400)])
    innovation = (signal[1:] - alpha * signal[:-1]) * returns.std()
    psi = beta[-1] + alpha
    variance = np.mean(innovation**2) * np.array([1.0, 1.0 + (1.0 + psi) ** 2])
    np.testing.assert_allclose(outcome.variance, variance, rtol=1e-8)


def bad_members(log_close: np.ndarray) -> Panel:
    """Put a constant, a late listing, a delisting and a gapped ticker between four good ones."""
    n_sessions = log_close.shape[1]
    rng = np.random.default_rng(9)
    bad = 4.0 + np.cumsum(rng.normal(0.0, 0.02, (4, n_sessions)), axis=1)
    bad[0] = 4.0
    bad[1, : n_sessions - 40] = np.nan
    bad[2, -3:] = np.nan
    bad[3, ::2] = np.nan
    bad[3, -1] = 4.0
    rows = np.stack([bad[0], *log_close[:2], bad[1], bad[2], *log_close[2:], bad[3]])
    gap = np.zeros(rows.shape, bool)
    gap[7] = np.isnan(rows[7])
    return panel_of(rows, gap=gap)


def test_fit_when_members_are_bad_then_they_fail_and_the_rest_keep_their_bits():
    log_close = log_walks()
    panel = bad_members(log_close)
    outcomes = fit(panel).forecast(STEPS)
    good = [panel.tickers[n] for n in (1, 2, 5, 6)]
    without = fit(panel.select(good)).forecast(STEPS)
    statuses = [o.status for o in outcomes if isinstance(o, Failure)]
    assert statuses == [Status.CONSTANT, Status.TOO_SHORT, Status.NO_PRICE, Status.TOO_SHORT]
    kept = [o for o in outcomes if isinstance(o, Forecast)]
    assert all(same(a, b) for a, b in zip(kept, without, strict=True))


def test_fit_when_every_member_is_bad_then_each_fails_for_its_reason():
    outcomes = fit(panel_of(np.full((2, 100), 4.0))).forecast(STEPS)
    assert [o.status for o in outcomes] == [Status.CONSTANT, Status.CONSTANT]


def test_fit_when_sixty_returns_then_fitted_and_with_fewer_too_short():
    log_close = log_walks(2, 61)
    assert all(isinstance(o, Forecast) for o in fit(panel_of(log_close)).forecast(STEPS))
    (short, _) = fit(panel_of(log_close[:, 1:])).forecast(STEPS)
    assert short == Failure(Status.TOO_SHORT, "59 log returns in 60 sessions; 60 are needed")


def test_fit_when_listed_for_less_than_half_the_window_then_too_short():
    log_close = log_walks(2, 301)
    log_close[0, :151] = np.nan  # 149 of 300 returns
    log_close[1, :150] = np.nan  # 150 of 300
    short, enough = fit(panel_of(log_close)).forecast(STEPS)
    assert short.status is Status.TOO_SHORT
    assert isinstance(enough, Forecast)


def test_fit_when_every_page_has_a_hole_then_too_short():
    log_close = log_walks(1, 200)
    log_close[0, 5:-1:7] = np.nan
    gap = np.isnan(log_close)
    (outcome,) = fit(panel_of(log_close, gap=gap)).forecast(STEPS)
    assert outcome.status is Status.TOO_SHORT
    assert "no stretch of 14 values" in outcome.reason


def test_forecast_when_gap_lies_before_the_window_then_forecast():
    log_close = log_walks(2, 500)
    log_close[1, 200] = np.nan
    panel = panel_of(log_close, gap=np.isnan(log_close))
    assert all(isinstance(o, Forecast) for o in fit(panel).forecast(STEPS))


def test_forecast_when_gap_lies_in_the_window_then_that_ticker_is_too_short():
    log_close = log_walks(2, 500)
    fitted = fit(panel_of(log_close))
    log_close[1, -5] = np.nan
    good, bad = fitted.extend(panel_of(log_close, gap=np.isnan(log_close))).forecast(STEPS)
    assert isinstance(good, Forecast)
    assert bad == Failure(Status.TOO_SHORT, "a price is missing in the window before the cutoff")


def test_forecast_when_history_shorter_than_the_window_then_too_short():
    fitted = fit(panel_of(log_walks(2, 500)))
    n_sessions = fitted.model.n_lags
    outcomes = fitted.extend(panel_of(log_walks(2, n_sessions))).forecast(STEPS)
    assert {o.status for o in outcomes} == {Status.TOO_SHORT}
    longer = fitted.extend(panel_of(log_walks(2, n_sessions + 1))).forecast(STEPS)
    assert all(isinstance(o, Forecast) for o in longer)


def test_forecast_when_cutoff_has_no_price_then_no_price():
    log_close = log_walks(2, 300)
    fitted = fit(panel_of(log_close[:, :280]))
    log_close[0, -2:] = np.nan
    gone, there = fitted.extend(panel_of(log_close)).forecast(STEPS)
    assert gone.status is Status.NO_PRICE
    assert isinstance(there, Forecast)


def test_fit_when_window_ends_in_a_blanked_stretch_then_fitted_before_it():
    panel = panel_of(log_walks(3, 300))
    blanked = fit(panel.without(280, 300)).extend(panel).forecast(STEPS)
    plain = fit(panel.window(0, 280)).extend(panel).forecast(STEPS)
    assert all(same(a, b) for a, b in zip(blanked, plain, strict=True))


def test_forecast_when_window_has_a_hole_in_the_middle_then_forecast():
    panel = panel_of(log_walks(3, 600))
    fitted = fit(panel.without(250, 330)).extend(panel)
    assert all(isinstance(o, Forecast) for o in fitted.forecast(STEPS))


def test_forecast_when_recursion_explodes_then_explosive():
    t = np.arange(200)
    log_close = 0.01 * np.exp(0.035 * t)[None] + log_walks(1, 200) * 0.01
    outcomes = fit(panel_of(log_close), difference=False, rank=1, ar_order=0).forecast((200,))
    assert outcomes[0].status is Status.EXPLOSIVE


def test_extend_when_called_twice_then_only_the_last_history_counts():
    panel = panel_of(log_walks(3, 400))
    fitted = fit(panel.window(0, 300))
    direct = fitted.extend(panel.window(90, 390)).forecast(STEPS)
    around = fitted.extend(panel).extend(panel.window(90, 390)).forecast(STEPS)
    longer = fitted.extend(panel.window(0, 390)).forecast(STEPS)
    assert all(same(a, b) for a, b in zip(direct, around, strict=True))
    assert all(same(a, b) for a, b in zip(direct, longer, strict=True))


def test_extend_when_history_grows_then_as_innovations_fold_in():
    """With one more session the one-step forecast moves by psi_1 times its error."""
    panel = panel_of(log_walks(2, 400))
    fitted = fit(panel.window(0, 300))
    before = fitted.extend(panel.window(0, 390)).forecast((1, 2))
    after = fitted.extend(panel.window(0, 391)).forecast((1,))
    moved = np.log(panel.close[:, 390] / panel.close[:, 389])
    psi = fitted.model.coefficients[:, 0]
    for n in range(2):
        old = before[n].mean[1] - before[n].mean[0]
        surprise = moved[n] - before[n].mean[0]
        assert after[n].mean[0] == pytest.approx(old + psi[n] * surprise, abs=1e-12)


@pytest.mark.parametrize("chosen", [{}, {"tune": True}, {"difference": False, "rank": "donoho"}])
def test_forecast_when_the_future_is_noise_then_the_same_bits(chosen):
    panel = panel_of(log_walks(3, 300))
    rewritten = panel.close.copy()
    rewritten[:, 250:] = np.exp(np.random.default_rng(8).normal(4.0, 1.0, (3, 50)))
    plan = build_folds(panel.sessions, FoldSettings(input_size=200, step_size=10, steps=(1, 5)))
    past = plan[: int(np.sum(plan.cutoff < 250))]

    def batch(panel: Panel):
        return forecast_folds(Samossa(SamossaSettings(**chosen)), panel, past, lambda _: RNG)

    a, b = batch(panel), batch(replace(panel, close=rewritten))
    assert np.array_equal(a.mean, b.mean)
    assert np.array_equal(a.variance, b.variance)


@settings(max_examples=15, deadline=None)
@given(factor=st.floats(0.01, 100.0), seed=st.integers(0, 50))
def test_forecast_when_prices_rescaled_then_unchanged(factor, seed):
    panel = panel_of(log_walks(2, 150, seed=seed))
    scaled = replace(panel, close=panel.close * np.array([[factor], [1.0]]))
    for a, b in zip(fit(panel).forecast((1, 5)), fit(scaled).forecast((1, 5)), strict=True):
        np.testing.assert_allclose(a.mean, b.mean, atol=1e-10)
        np.testing.assert_allclose(a.variance, b.variance, rtol=1e-8)


@settings(max_examples=15, deadline=None)
@given(factor=st.floats(0.1, 3.0), seed=st.integers(0, 50))
def test_forecast_when_returns_rescaled_then_mean_and_variance_scale(factor, seed):
    log_close = log_walks(2, 150, seed=seed)
    plain = fit(panel_of(log_close)).forecast((1, 5))
    scaled = fit(panel_of(factor * log_close)).forecast((1, 5))
    for a, b in zip(plain, scaled, strict=True):
        np.testing.assert_allclose(b.mean, factor * a.mean, atol=1e-10)
        np.testing.assert_allclose(b.variance, factor**2 * a.variance, rtol=1e-8)


def test_calibrate_when_off_then_variance_is_the_models():
    panel = panel_of(log_walks(3, 300))
    scaled, plain = fit(panel, rank=8), fit(panel, rank=8, calibrate=False)
    scale = scaled.calibration.scale(np.array(STEPS))
    assert (scale > 1.0).any()
    for a, b in zip(scaled.forecast(STEPS), plain.forecast(STEPS), strict=True):
        np.testing.assert_allclose(a.variance, b.variance * scale, rtol=1e-12)
        assert np.array_equal(a.mean, b.mean)


def test_intervals_when_returns_are_simulated_then_cover_ninety_percent():
    panel = panel_of(log_walks(8, 1900, seed=2))
    plan = build_folds(panel.sessions, FoldSettings(input_size=400, step_size=20, refit_every=5))
    batch = forecast_folds(Samossa(SamossaSettings()), panel, plan, lambda _: RNG)
    log_close = np.log(panel.close)
    ahead = plan.cutoff[:, None] + np.array(STEPS)
    actual = (log_close[:, ahead] - log_close[:, plan.cutoff, None]).transpose(1, 0, 2)
    inside = (batch.quantiles[:, :, 0] <= actual) & (actual <= batch.quantiles[:, :, -1])
    share = inside.mean(axis=(0, 1))
    # 592 cells, so a standard error of 0.0123; four of them below. Above, the scale is at least 1
    # and so errs on the wide side.
    assert (share > 0.85).all(), share
    assert (share < 0.96).all(), share


def test_tune_when_returns_follow_a_cycle_then_the_choice_finds_it():
    t = np.arange(400)
    rng = np.random.default_rng(4)
    returns = 0.01 * np.sin(0.5 * t) * rng.normal(size=(3, 1)) + rng.normal(0, 0.004, (3, 400))
    history = panel_of(4.0 + returns.cumsum(axis=1))
    tuned = fit(history, tune=True, rank=1, ar_order=0)
    assert tuned.model.choice != Choice(1, 1, 0)
    assert tuned.difference
    # What the settings say is not used.
    other = fit(history, tune=True, rank=7, ar_order=3, difference=False)
    assert all(
        same(a, b) for a, b in zip(tuned.forecast(STEPS), other.forecast(STEPS), strict=True)
    )


def test_tune_when_done_then_least_error_of_the_whole_grid_held_out():
    history = panel_of(log_walks(2, 301))
    losses = {}
    for difference in (True, False):
        series = history.log_returns() if difference else np.log(history.close)
        for choice in grid():
            (early,) = fit_models(series[:, :-100], [choice])
            squares = np.mean(early.errors(series)[:, -100:] ** 2, axis=1)
            loss = np.mean(squares / history.log_returns().var(axis=1))
            losses[choice, difference] = loss
    tuned = fit(history, tune=True)
    assert (tuned.model.choice, tuned.difference) == min(losses, key=losses.__getitem__)


def test_engine_when_no_card_then_an_error_of_the_machine_and_not_a_row(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(EngineError, match="engine cupy is not installed"):
        array_namespace("cupy")
    with pytest.raises(EngineError, match="engine cupy is not installed"):
        fit(panel_of(log_walks(2)), engine="cupy")


@pytest.mark.parametrize(("engine", "device"), [("numpy", "cpu"), ("cupy", "gpu")])
def test_spec_when_engine_chosen_then_device_follows(engine, device):
    spec = ForecasterSpec.parse({"name": "samossa", "engine": engine, "scope": "group"})
    assert spec.device == device
    assert spec.build().scope == "group"


@pytest.mark.parametrize(
    "wrong", [{"rank": "largest"}, {"rank": 0}, {"shape_ratio": 2}, {"ar_order": 4}]
)
def test_settings_when_out_of_range_then_refused(wrong):
    with pytest.raises(SettingsError):
        ForecasterSpec.parse({"name": "samossa", **wrong})
