"""The ARIMA forecaster with its kernels on a card; the card is the host, which runs their C++."""

import sys

import numpy as np
import pytest
from cuda_arma_host import ArmaHost
from cuda_host import COMPILER
from forecasters.card_rows import assert_same_rows, rng_at, rows

from pmx_ray.errors import EngineError, SettingsError
from pmx_ray.folds import FoldSettings
from pmx_ray.forecasters.protocol import Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.kernels.cuda import arma as cuda

FOLDS = FoldSettings(input_size=300, step_size=35, steps=(1, 5, 20), refit_every=3)


@pytest.fixture
def host_as_card(monkeypatch, tmp_path):
    if COMPILER is None:
        pytest.skip("no C++ compiler (g++, clang++)")
    kernels = ArmaHost(tmp_path)
    monkeypatch.setattr(cuda, "_device", lambda: (np, kernels.launch))


def spec(**settings: object) -> ForecasterSpec:
    return ForecasterSpec.parse({"name": "sarimax", **settings})


@pytest.mark.parametrize(
    ("engine", "device"), [("fast", "cpu"), ("reference", "cpu"), ("cuda", "gpu")]
)
def test_spec_when_engine_chosen_then_device_and_libraries_follow(engine, device):
    assert spec(engine=engine).device == device
    assert ("cupy-cuda12x" in spec(engine=engine).libraries) == (device == "gpu")
    assert ("numba" in spec(engine=engine).libraries) == (engine == "fast")


@pytest.mark.parametrize(
    "settings", [{"order": [4, 1, 0]}, {"max_q": 5}, {"seasonal_period": 5}], ids=str
)
def test_settings_when_beyond_the_kernel_then_refused_by_the_name_of_the_engine(settings):
    with pytest.raises(SettingsError, match=r"engine cuda does not cover .*use engine: reference"):
        spec(engine="cuda", **settings)


@pytest.fixture
def odd_panel(history_of):
    """Return a random walk, moving averages with a gap, a price that stands still, a late one."""
    rng = np.random.default_rng(5)
    shocks = rng.standard_normal((4, 500))
    percent = shocks.copy()
    percent[1, 1:] += 0.8 * shocks[1, :-1]
    percent[2] = 0.0
    close = 50.0 * np.exp(np.cumsum(np.c_[np.zeros(4), percent], axis=1) / 100.0)
    close[1, 200:210] = np.nan
    close[3, :300] = np.nan
    return history_of(close)


@pytest.mark.parametrize(
    "settings",
    [{"order": [1, 1, 1]}, {"order": [2, 0, 1], "trend": "c"}, {"d": 1}, {"search": "grid"}],
    ids=str,
)
def test_forecast_folds_when_on_a_card_then_rows_of_the_processor(
    settings, host_as_card, odd_panel
):
    assert_same_rows(
        {"name": "sarimax", **settings},
        odd_panel,
        FOLDS,
        holding={Status.OK, Status.CONSTANT, Status.TOO_SHORT},
        atol=1e-9,  # the likelihood is flat in places
    )


def test_fit_and_extend_when_on_a_card_then_forecasts_of_the_processor(host_as_card, odd_panel):
    ahead = []
    for engine in ("cuda", "fast"):
        history = odd_panel.select([odd_panel.tickers[0]])
        fitted = spec(engine=engine, order=[1, 1, 1]).build().fit(history, rng=rng_at(0))
        (outcome,) = fitted.extend(history).forecast((1, 5, 20))
        ahead.append(np.r_[outcome.mean, outcome.variance])
    np.testing.assert_allclose(*ahead, rtol=1e-6)


def test_forecast_folds_when_no_card_then_an_error_of_the_machine_and_not_a_row(
    monkeypatch, odd_panel
):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(EngineError, match="sarimax: engine cuda is not installed"):
        rows({"name": "sarimax", "engine": "cuda"}, odd_panel, FOLDS)
