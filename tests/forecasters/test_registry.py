import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.errors import DataError, SettingsError
from pmx_ray.features.column import FeatureKind
from pmx_ray.features.spec import KINDS
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


VOLATILITY = {"kind": "volatility"}
LABELS: list[tuple[dict[str, object], str]] = [
    ({"name": "garch", "o": 1, "dist": "t"}, "garch(dist=t, o=1)"),
    ({"name": "sarimax", "order": [1, 1, 1]}, "sarimax(order=1-1-1)"),
    (
        {"name": "sarimax", "engine": "reference", "exog": ["monday", "turn_of_month"]},
        "sarimax(engine=reference, exog=monday-turn_of_month)",
    ),
    (
        {"name": "sarimax", "engine": "reference", "exog": ["monday", VOLATILITY]},
        "sarimax(engine=reference, exog=monday+volatility)",
    ),
    (
        {"name": "boosting", "features": [{"kind": "return_lag", "lags": [0, 2]}, VOLATILITY]},
        "boosting(features=return_lag(lags=0-2)+volatility)",
    ),
    (
        {"name": "ensemble", "members": [{"name": "drift"}, {"name": "garch", "dist": "t"}]},
        "ensemble(members=drift+garch(dist=t))",
    ),
    (
        {"name": "ensemble", "members": [{"name": "ensemble", "members": [{"name": "drift"}]}]},
        "ensemble(members=ensemble(members=drift))",
    ),
    # What a search fills in itself is not said: the family's own space, and its version.
    ({"name": "nested", "family": "garch"}, "nested(family=garch)"),
    (
        {
            "name": "nested",
            "family": "sarimax",
            "fixed": {"trend": "c"},
            "search": {"order": {"choices": [[0, 1, 1], [1, 1, 0]]}},
        },
        "nested(family=sarimax, fixed=(trend=c), search=(order=(choices=0-1-1+1-1-0)))",
    ),
]


@pytest.mark.parametrize(("written", "label"), LABELS)
def test_label_when_parameters_are_lists_or_mappings_then_short(
    written: dict[str, object], label: str
) -> None:
    assert ForecasterSpec.parse(written).label == label


@pytest.mark.parametrize("kind", KINDS)
def test_label_when_a_feature_has_its_defaults_then_its_kind_alone(kind: type[FeatureKind]) -> None:
    spec = ForecasterSpec.parse({"name": "boosting", "features": [kind()]})
    assert spec.label == f"boosting(features={kind.model_fields['kind'].default})"


@given(
    st.lists(
        st.sampled_from(
            [
                {"family": "garch"},
                {"family": "garch", "fixed": {"o": 1}},
                {"family": "garch", "search": {"o": {"choices": [0, 1]}}},
                {"family": "garch", "search": {"o": {"low": 0, "high": 1}}},
                {"family": "garch", "search": {"p": {"low": 1, "high": 2}}},
                {"family": "samossa", "fixed": {"rank": 1}},
                {"n_trials": 3},
            ]
        ),
        min_size=1,
        max_size=3,
        unique_by=str,
    ),
    st.lists(st.sampled_from([{"name": "drift"}, {"name": "garch", "o": 1}]), unique_by=str),
)
@settings(max_examples=30, deadline=None)
def test_labels_when_parameters_differ_then_differ(
    searches: list[dict[str, object]], others: list[dict[str, object]]
) -> None:
    members = [*others, *({"name": "nested", **search} for search in searches)]
    entries = [
        *members,
        {"name": "ensemble", "members": members},
        {"name": "ensemble", "members": members[::-1]},
        {"name": "ensemble", "members": members[:1]},
    ]
    specs = {(spec := ForecasterSpec.parse(entry)).id: spec for entry in entries}
    assert len({spec.label for spec in specs.values()}) == len(specs)


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
