import hashlib
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from forecasters.onnx_networks import ewma, ewma_weights, linear, model, saved
from onnx import helper, numpy_helper

from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.errors import EngineError, SettingsError
from pmx_ray.folds import FoldSettings, build_folds
from pmx_ray.forecasters import onnx_network
from pmx_ray.forecasters.batch import forecast_folds
from pmx_ray.forecasters.onnx_file import NETWORKS
from pmx_ray.forecasters.protocol import Failure, Forecast, Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.leaks.conformance import check

RNG = np.random.default_rng(0)
RETURNS = RNG.normal(0.0, 0.02, (3, 300))
CLOSE = 30.0 * np.exp(RETURNS.cumsum(axis=1))


def rng_at(fold: int) -> np.random.Generator:
    return np.random.default_rng(fold)


def spec_of(written: dict[str, object], **settings: object) -> ForecasterSpec:
    return ForecasterSpec.parse({**written, **settings})


def forecast(spec: ForecasterSpec, history: Panel, steps=(1, 5)):
    return spec.build().fit(history, rng=rng_at(0)).forecast(steps)


def test_shipped_when_built_anew_then_the_same_network() -> None:
    shipped = onnx.load(NETWORKS / "ewma.onnx")
    assert shipped.graph == ewma().graph


def test_shipped_when_run_then_the_weighted_variance_by_hand(history_of) -> None:
    (outcome,) = forecast(ForecasterSpec.parse({"name": "onnx"}), history_of(CLOSE[0]), (1, 20))
    daily = float(ewma_weights(64).astype(float) @ RETURNS[0, -64:] ** 2)
    assert outcome.mean.tolist() == [0.0, 0.0]
    assert outcome.variance == pytest.approx([daily, 20 * daily], rel=1e-5)  # single precision


def test_forecast_when_outputs_are_in_units_of_scale_then_as_log_returns(history_of, tmp_path):
    """proves C6"""  # proves C6
    made, weights = linear(outputs=("mean", "variance", "quantiles"))
    spec = spec_of(saved(made, tmp_path / "net.onnx"), input_size=8)
    (outcome,) = forecast(spec, history_of(CLOSE[0]), (1, 5))
    last = RETURNS[0, -8:]
    scale = np.sqrt(np.mean(last**2))
    mean = scale * (last / scale) @ weights["w_mean"][:, [0, 4]]
    assert outcome.mean == pytest.approx(mean, rel=1e-5)
    # The squares of a window over its scale sum to 8; a quarter of that is 2 scales squared.
    assert outcome.variance == pytest.approx([2 * scale**2] * 2, rel=1e-5)
    levels = np.array([-2, -0.5, 0.1, 1.0, 1.5])
    assert outcome.bands == pytest.approx(mean + scale * levels[:, None], rel=1e-4)


def test_forecast_when_only_a_mean_is_given_then_the_spread_of_a_walk(history_of, tmp_path):
    spec = spec_of(saved(linear()[0], tmp_path / "net.onnx"), input_size=8)
    (outcome,) = forecast(spec, history_of(CLOSE[0]), (1, 4))
    square = np.mean(RETURNS[0, -8:] ** 2)
    assert outcome.variance == pytest.approx([square, 4 * square])


def test_forecast_when_quantiles_are_given_then_the_variance_of_their_inner_half(
    history_of, tmp_path
):
    made, _ = linear(outputs=("mean", "quantiles"))
    spec = spec_of(saved(made, tmp_path / "net.onnx"), input_size=8)
    (outcome,) = forecast(spec, history_of(CLOSE[0]), (1,))
    square = np.mean(RETURNS[0, -8:] ** 2)
    assert outcome.variance == pytest.approx([square * (1.5 / 1.34898) ** 2], rel=1e-4)


def test_forecast_when_a_step_is_beyond_the_network_then_a_failure_says_so(history_of, tmp_path):
    spec = spec_of(saved(linear()[0], tmp_path / "net.onnx"), input_size=8)
    (outcome,) = forecast(spec, history_of(CLOSE[0]), (1, 20))
    assert outcome == Failure(Status.ERROR, "the network gives steps 1 to 5; 20 was asked")


def gaps() -> np.ndarray:
    close = CLOSE.copy()
    close[0, -1] = np.nan
    close[1, -4] = np.nan
    close[2, -30:] = close[2, -30]
    return close


def test_forecast_when_a_window_is_not_whole_then_statuses(history_of, tmp_path) -> None:
    spec = spec_of(saved(linear()[0], tmp_path / "net.onnx"), input_size=8)
    outcomes = forecast(spec, history_of(gaps()))
    assert [o.status for o in outcomes] == [Status.NO_PRICE, Status.TOO_SHORT, Status.CONSTANT]
    assert outcomes[1].reason == "6 of the last 8 log returns are known; all are needed"


@pytest.mark.parametrize(
    ("value", "status"),
    [(np.nan, Status.EXPLOSIVE), (1e6, Status.EXPLOSIVE), (-1.0, Status.ERROR)],
)
def test_forecast_when_the_network_gives_nonsense_then_a_failure(
    history_of, tmp_path, value, status
) -> None:
    made, weights = linear(outputs=("mean", "variance"))
    weights["square"][:] = value
    graph = made.graph
    del graph.initializer[:]
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in weights.items())
    spec = spec_of(saved(made, tmp_path / "net.onnx"), input_size=8)
    (outcome,) = forecast(spec, history_of(CLOSE[0]))
    assert outcome.status is status


class Walked:
    def __init__(self, inner) -> None:
        self.scope, self.fit = inner.scope, inner.fit


@pytest.mark.parametrize("batch", ["batch", 1, 4])  # of any size, and of a fixed one
def test_folds_when_all_tickers_go_at_once_then_the_bits_of_each_alone(tmp_path, batch) -> None:
    made, _ = linear(outputs=("mean", "variance"), batch=batch)
    spec = spec_of(saved(made, tmp_path / "net.onnx"), input_size=8, batch_rows=16)
    close = np.vstack([CLOSE, gaps()])
    sessions = calendar_sessions("XNYS")[9000:9300]
    panel = Panel("XNYS", tuple("ABCDEF"), sessions, close, gap=np.isnan(close))
    plan = build_folds(
        sessions, FoldSettings(input_size=60, step_size=9, steps=(1, 5), refit_every=2)
    )
    together = forecast_folds(spec.build(), panel, plan, rng_at)
    for row, ticker in enumerate(panel.tickers):
        walked = forecast_folds(Walked(spec.build()), panel.select([ticker]), plan, rng_at)
        assert together.quantiles[:, row].tobytes() == walked.quantiles[:, 0].tobytes()
        assert np.array_equal(together.status[:, row], walked.status[:, 0])


def test_check_when_a_network_has_layers_then_every_check_passes(tmp_path) -> None:
    rng = np.random.default_rng(2)
    weights = {
        "w1": rng.normal(0, 0.3, (32, 48)).astype(np.float32),
        "b1": rng.normal(0, 0.1, 48).astype(np.float32),
        "w2": rng.normal(0, 0.02, (48, 20)).astype(np.float32),
        "steps": np.arange(1, 21, dtype=np.float32)[None],
    }
    nodes = [
        helper.make_node("Gemm", ["returns", "w1", "b1"], ["hidden"]),
        helper.make_node("Tanh", ["hidden"], ["bent"]),
        helper.make_node("MatMul", ["bent", "w2"], ["mean"]),
        helper.make_node("Exp", ["mean"], ["level"]),
        helper.make_node("Mul", ["level", "steps"], ["variance"]),
    ]
    shapes = {"mean": ["batch", 20], "variance": ["batch", 20]}
    made = model(nodes, weights, outputs=shapes, input_size=32)
    checked = check(spec_of(saved(made, tmp_path / "net.onnx"), input_size=32), input_size=260)
    assert [c for c in checked if not c.passed] == []


def test_build_when_the_file_changed_then_both_hashes_are_named(tmp_path) -> None:
    written = saved(linear()[0], tmp_path / "net.onnx")
    saved(linear(n_steps=6)[0], tmp_path / "net.onnx")
    with pytest.raises(SettingsError, match=f"the settings pin {written['sha256']}"):
        spec_of(written, input_size=8).build()


def test_settings_when_another_file_then_another_spec(tmp_path) -> None:
    one, other = (saved(linear(n_steps=n)[0], tmp_path / "net.onnx") for n in (5, 6))
    assert spec_of(one).id != spec_of(other).id


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"path": "my.onnx"}, "sha256 is missing; pin the hash of 'my.onnx'"),
        ({"path": "my.onnx", "sha256": "abc"}, "sha256"),
        ({"device": "tpu"}, "device"),
        ({"input_size": 1}, "input_size"),
    ],
)
def test_settings_when_wrong_then_one_line_says_why(written, message) -> None:
    with pytest.raises(SettingsError) as caught:
        ForecasterSpec.parse({"name": "onnx", **written})
    assert message in str(caught.value)


def test_build_when_the_file_is_missing_then_named() -> None:
    spec = ForecasterSpec.parse({"name": "onnx", "path": "no_such.onnx", "sha256": "0" * 64})
    with pytest.raises(SettingsError, match=r"'no_such.onnx' cannot be read \(No such file"):
        spec.build()


def test_build_when_the_window_differs_then_both_sizes_are_named(tmp_path) -> None:
    written = saved(linear()[0], tmp_path / "net.onnx")
    with pytest.raises(SettingsError, match="input_size was 64; the network takes windows of 8"):
        spec_of(written).build()


def test_build_when_there_is_no_mean_then_what_there_is_is_named(tmp_path) -> None:
    made, _ = linear()
    made.graph.output[0].name = made.graph.node[0].output[0] = "forecast"
    written = saved(made, tmp_path / "net.onnx")
    with pytest.raises(SettingsError, match="gives forecast; it must give 'mean'"):
        spec_of(written, input_size=8).build()


def test_build_when_the_file_is_no_network_then_refused(tmp_path) -> None:
    for content in (b"pickle", b"\x3a\xff\xff\xff\xff\x7f", b"\x80" * 40):
        (tmp_path / "net.onnx").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        with pytest.raises(SettingsError, match=r"no ONNX file|cannot open the network"):
            spec_of({"name": "onnx", "path": str(tmp_path / "net.onnx"), "sha256": digest}).build()


def test_spec_when_device_is_gpu_then_blocks_need_one_and_a_missing_card_is_said(
    tmp_path, history_of
) -> None:
    spec = ForecasterSpec.parse({"name": "onnx", "device": "gpu", "batch_rows": 4096})
    assert spec.device == "gpu"
    assert set(spec.libraries) == {"numpy", "onnxruntime-gpu"}
    forecaster = spec.build()  # planning needs no card
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has a card")
    with pytest.raises(EngineError, match="CUDAExecutionProvider, which this ONNX Runtime lacks"):
        forecaster.fit(history_of(CLOSE), rng=rng_at(0))


def test_build_when_the_runtime_is_missing_then_the_extra_is_named(monkeypatch) -> None:
    onnx_network._opened.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match=r"pip install pmx-ray\[deep\]"):
        ForecasterSpec.parse({"name": "onnx"}).build()


def test_spec_when_device_is_cpu_then_its_runtime_is_a_library() -> None:
    assert set(ForecasterSpec.parse({"name": "onnx"}).libraries) == {"numpy", "onnxruntime"}


def test_forecast_when_called_then_of_the_protocol(history_of) -> None:
    outcomes = forecast(ForecasterSpec.parse({"name": "onnx"}), history_of(CLOSE))
    assert all(isinstance(outcome, Forecast) for outcome in outcomes)
