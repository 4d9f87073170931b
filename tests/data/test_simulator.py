"""The simulator's truth is checked against the formulas of its processes, not against itself."""

from datetime import date

import numpy as np
import pytest
from pydantic import ValidationError

from pmx_ray.data.simulator import LOG_SCALE, REGIMES, SimulatedSettings, simulate
from pmx_ray.errors import SettingsError

KINDS = ("garch", "regimes", "seasonal")


@pytest.mark.parametrize("kind", KINDS)
def test_simulate_when_the_same_seed_then_the_same_bytes_and_another_differs(kind: str) -> None:
    def digest(seed: int) -> str:
        settings = SimulatedSettings(kind=kind, n_tickers=3, n_sessions=50, seed=seed)
        return simulate(settings)[0].sha256

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


@pytest.mark.parametrize("kind", KINDS)
def test_simulate_when_built_then_a_panel_on_the_calendar(kind: str) -> None:
    settings = SimulatedSettings(
        kind=kind, n_tickers=2, n_sessions=5, calendar="TARGET", start=date(2024, 3, 28)
    )
    panel, truth = simulate(settings)
    assert panel.sessions.astype(str).tolist() == [
        "2024-03-28",
        "2024-04-02",  # Easter in between
        "2024-04-03",
        "2024-04-04",
        "2024-04-05",
    ]
    assert truth.mean.shape == truth.variance.shape == panel.close.shape == (2, 5)
    assert not truth.variance.flags.writeable


def test_garch_when_drawn_then_the_variance_obeys_its_recursion() -> None:
    settings = SimulatedSettings(n_tickers=3, n_sessions=300, omega=1e-5, alpha=0.1, beta=0.8)
    panel, truth = simulate(settings)
    r = panel.log_returns()
    h = truth.variance
    np.testing.assert_allclose(h[:, 2:], 1e-5 + 0.1 * r[:, :-1] ** 2 + 0.8 * h[:, 1:-1], rtol=1e-9)
    np.testing.assert_allclose(h[:, 0], 1e-5 / 0.1, rtol=1e-12)  # the unconditional variance


def test_garch_when_standardised_by_the_truth_then_normal() -> None:
    panel, truth = simulate(SimulatedSettings(n_tickers=40, n_sessions=1000))
    z = panel.log_returns() / np.sqrt(truth.variance[:, 1:])
    # 39,960 draws: the standard errors are 0.005, 0.007 and 0.025; four of them.
    assert abs(z.mean()) < 0.02
    assert abs(z.var() - 1.0) < 0.03
    assert abs((z**4).mean() - 3.0) < 0.2


def test_regimes_when_drawn_then_each_has_its_moments() -> None:
    settings = SimulatedSettings(kind="regimes", n_tickers=30, n_sessions=3000, seed=4)
    panel, truth = simulate(settings)
    assert truth.regime is not None
    assert set(truth.regime.tolist()) == {0, 1, 2}
    returns = panel.log_returns()
    for k in range(len(REGIMES)):
        seen = returns[:, truth.regime[1:] == k]
        assert seen.std() == pytest.approx(settings.volatility[k], rel=0.02)
        assert abs(seen.mean() - settings.mean[k]) < 4 * settings.volatility[k] / seen.size**0.5


def test_regimes_when_stay_is_given_then_they_last_that_long() -> None:
    settings = SimulatedSettings(kind="regimes", n_tickers=1, n_sessions=6000, stay=0.9)
    regime = simulate(settings)[1].regime
    assert regime is not None
    assert (np.diff(regime) != 0).mean() == pytest.approx(0.1, abs=0.016)  # four standard errors


def test_seasonal_when_drawn_then_the_signal_has_low_rank_and_the_noise_is_ar() -> None:
    settings = SimulatedSettings(kind="seasonal", n_tickers=8, n_sessions=2000, n_waves=3, ar=-0.5)
    panel, truth = simulate(settings)
    assert truth.signal is not None
    assert np.linalg.matrix_rank(truth.signal, tol=1e-8) == 3
    noise = (np.log(panel.close / 100.0) - truth.signal) / LOG_SCALE
    shocks = noise[:, 1:] + 0.5 * noise[:, :-1]
    assert shocks.var() == pytest.approx(1.0, abs=0.045)  # four standard errors of 15,992 draws
    assert abs(np.corrcoef(shocks[:, 1:].ravel(), shocks[:, :-1].ravel())[0, 1]) < 0.032
    assert noise.var() == pytest.approx(1.0 / (1.0 - 0.25), rel=0.06)


def test_seasonal_when_a_page_matrix_is_cut_then_its_rank_is_at_most_two_a_wave_and_trend() -> None:
    settings = SimulatedSettings(kind="seasonal", n_tickers=5, n_sessions=1000, n_waves=2)
    signal = simulate(settings)[1].signal
    assert signal is not None
    page = np.hstack([row.reshape(-1, 25).T for row in signal])  # (25, 200)
    # A sine has rank 2 in a Page matrix and a line through the origin 2: 2 x 2 + 2.
    assert np.linalg.matrix_rank(page, tol=1e-8) == 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alpha": 0.2, "beta": 0.8}, "alpha \\+ beta was 1; it must be < 1"),
        ({"volatility": (0.1, 0.0, 0.1)}, "volatility was 0.0; each must be > 0"),
        ({"n_tickers": 0}, "greater than or equal to 1"),
        ({"kind": "garh"}, "Input should be 'garch'"),
    ],
)
def test_settings_when_no_such_process_then_refused(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        SimulatedSettings.model_validate(values)


def test_simulate_when_the_calendar_is_too_short_then_settings_error() -> None:
    with pytest.raises(
        SettingsError, match=r"n_sessions was 100000; calendar XNYS has only \d+ fr"
    ):
        simulate(SimulatedSettings(n_sessions=100_000, n_tickers=1))


def test_simulate_when_prices_overflow_then_settings_error() -> None:
    wild = SimulatedSettings(kind="regimes", mean=(9.0, 9.0, 9.0), n_tickers=1, n_sessions=200)
    with pytest.raises(SettingsError, match="a price left the range of a float"):
        simulate(wild)
