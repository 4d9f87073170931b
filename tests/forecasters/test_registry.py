import numpy as np
import pytest

from pmx_ray.errors import DataError, SettingsError
from pmx_ray.forecasters.protocol import Failure, Forecast, Status
from pmx_ray.forecasters.registry import ForecasterSpec, load_families


def test_spec_when_defaults_are_written_out_then_the_same_id() -> None:
    short = ForecasterSpec.parse({"name": "historical_mean"})
    long = ForecasterSpec.parse({"window": 250, "name": "historical_mean"})
    assert short == long
    assert short.id == long.id
    assert short.label == "historical_mean"


def test_spec_when_a_parameter_differs_then_another_id_and_a_label_that_says_it() -> None:
    spec = ForecasterSpec.parse({"name": "historical_mean", "window": 60})
    assert spec.label == "historical_mean(window=60)"
    assert spec.id != ForecasterSpec.parse({"name": "historical_mean"}).id
    assert spec.build().settings.window == 60


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"name": "gatch"}, "forecasters.1: unknown forecaster 'gatch'; did you mean 'garch'?"),
        ({"name": "garch", "dst": "t"}, "garch: unknown key 'dst'; did you mean 'dist'?"),
        ({"name": "historical_mean", "window": 3}, "window: .* (was 3)"),
        ({"window": 3}, "each forecaster needs a name"),
    ],
)
def test_spec_when_wrong_then_one_line_says_where(written: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        ForecasterSpec.parse(written, where="forecasters.1")
    for part in message.split(".*"):
        assert part in str(caught.value)


def test_plugin_when_it_cannot_be_imported_then_named() -> None:
    with pytest.raises(SettingsError, match="module 'no_such_plugin' cannot be imported"):
        load_families(["no_such_plugin"])


def test_plugin_when_imported_then_its_forecasters_are_known() -> None:
    assert "dice" in load_families(["odd_forecasters"])
    assert ForecasterSpec.parse({"name": "on_gpu"}).device == "gpu"


@pytest.mark.parametrize(
    ("mean", "variance", "quantiles", "message"),
    [
        ([0.0], [0.0], None, "variance must be > 0; it was 0.0"),
        ([np.nan], [1.0], None, "finite"),
        ([0.0, 0.0], [1.0], None, "shape"),
        ([0.0], [1.0], np.array([[3.0], [2], [1], [0], [0]]), "cross"),
        ([0.0], [1.0], np.zeros((2, 1)), "quantiles have shape"),
    ],
)
def test_forecast_when_not_a_distribution_then_refused(
    mean: list[float], variance: list[float], quantiles: np.ndarray | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Forecast(np.array(mean), np.array(variance), quantiles)


def test_forecast_when_built_then_its_arrays_are_read_only() -> None:
    forecast = Forecast(np.array([0.0]), np.array([1.0]))
    assert forecast.bands[:, 0] == pytest.approx([-1.644854, -0.674490, 0, 0.674490, 1.644854])
    with pytest.raises(ValueError, match="read-only"):
        forecast.mean[0] = 1.0


def test_failure_when_ok_then_refused() -> None:
    with pytest.raises(DataError, match="cannot have the status ok"):
        Failure(Status.OK, "")
