"""The GARCH forecaster with its kernels on a card; the card is the host, which runs their C++."""

import functools
import sys

import numpy as np
import pytest
from cuda_host import COMPILER, Host
from forecasters.card_rows import assert_same_rows, rng_at, rows

from pmx_ray.errors import EngineError, SettingsError
from pmx_ray.folds import FoldSettings
from pmx_ray.forecasters.protocol import Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.kernels.cuda import garch as cuda


@pytest.fixture
def host_as_card(monkeypatch, tmp_path):
    if COMPILER is None:
        pytest.skip("no C++ compiler (g++, clang++)")
    compiled = functools.cache(lambda form: Host(form, tmp_path))
    monkeypatch.setattr(cuda, "_device", lambda form: (np, compiled(form).launch))


def spec(**settings: object) -> ForecasterSpec:
    return ForecasterSpec.parse({"name": "garch", **settings})


@pytest.mark.parametrize(
    ("engine", "device"), [("fast", "cpu"), ("reference", "cpu"), ("cuda", "gpu")]
)
def test_spec_when_engine_chosen_then_device_and_libraries_follow(engine, device):
    assert spec(engine=engine).device == device
    assert ("cupy-cuda12x" in spec(engine=engine).libraries) == (device == "gpu")


def test_settings_when_more_lags_than_the_kernel_has_then_refused():
    with pytest.raises(SettingsError, match="engine cuda covers up to 2: use engine reference"):
        spec(engine="cuda", p=3)


@pytest.fixture
def odd_panel(history_of, garch_returns):
    """Return GARCH, GJR with a gap, white noise, a price that stands still, and one that is late.

    Of white noise and of the late one some estimates stand on a bound.
    """
    rng = np.random.default_rng(5)
    percent = np.array(
        [
            garch_returns(rng, 700),
            garch_returns(rng, 700, gamma=0.1, nu=5.0, beta=0.8),
            rng.standard_normal(700),
            np.zeros(700),
            garch_returns(rng, 700),
        ]
    )
    close = 50.0 * np.exp(np.cumsum(np.c_[np.zeros(5), percent], axis=1) / 100.0)
    close[1, 300:310] = np.nan
    close[4, :350] = np.nan
    return history_of(close)


FOLDS = FoldSettings(input_size=400, step_size=35, steps=(1, 5, 20), refit_every=3)


@pytest.mark.parametrize(
    "settings", [{}, {"dist": "t", "o": 1}, {"mean": "constant", "p": 2}], ids=str
)
def test_forecast_folds_when_on_a_card_then_rows_of_the_processor(
    settings, host_as_card, odd_panel
):
    assert_same_rows(
        {"name": "garch", **settings},
        odd_panel,
        FOLDS,
        holding={Status.OK, Status.NOT_CONVERGED, Status.CONSTANT, Status.TOO_SHORT},
    )


def test_fit_and_extend_when_on_a_card_then_forecasts_of_the_processor(
    host_as_card, history_of, garch_returns
):
    close = 50.0 * np.exp(np.cumsum(garch_returns(np.random.default_rng(6), 800)) / 100.0)
    ahead = []
    for engine in ("cuda", "fast"):
        fitted = spec(engine=engine).build().fit(history_of(close[:600]), rng=rng_at(0))
        (outcome,) = fitted.extend(history_of(close)).forecast((1, 5, 20))
        ahead.append(outcome.variance)
    np.testing.assert_allclose(*ahead, rtol=1e-6)


def test_forecast_folds_when_no_card_then_an_error_of_the_machine_and_not_a_row(
    monkeypatch, odd_panel
):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(EngineError, match="garch: engine cuda is not installed"):
        rows({"name": "garch", "engine": "cuda"}, odd_panel, FOLDS)
