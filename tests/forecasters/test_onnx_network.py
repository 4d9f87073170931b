"""What a network may not do, seen when it is opened: with networks that do it."""

import numpy as np
import pytest
from forecasters.onnx_networks import model
from onnx import helper

from pmx_ray.errors import EngineError, SettingsError
from pmx_ray.forecasters import onnx_network
from pmx_ray.forecasters.batch import MACHINE_ERRORS
from pmx_ray.forecasters.onnx_network import Network, network

LAST = np.eye(1, 8, 7, dtype=np.float32).T
"""Picks the last return of a window of 8."""


def opened(*nodes, batch: object = "batch", rows: int = 16, **weights: np.ndarray) -> Network:
    """Open a network whose nodes make ``mean`` (batch, 1) of ``last``, each last return."""
    last = helper.make_node("MatMul", ["returns", "w"], ["last"])
    made = model(
        [last, *nodes],
        {"w": LAST, **weights},
        outputs={"mean": [batch, 1]},
        input_size=8,
        batch=batch,
    )
    content = made.SerializeToString()
    return network(content, device="cpu", input_size=8, batch_rows=rows)


def mixing() -> list:
    """Return nodes that subtract the mean over the batch, as batch statistics do."""
    return [
        helper.make_node("ReduceMean", ["last"], ["middle"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["last", "middle"], ["mean"]),
    ]


def summing() -> list:
    """Return nodes that add up the windows before each one; the first has none."""
    return [helper.make_node("CumSum", ["last", "axis"], ["mean"])]


def drawing() -> list:
    return [
        helper.make_node("RandomNormalLike", ["last"], ["noise"], scale=1e-3, seed=1.0),
        helper.make_node("Add", ["last", "noise"], ["mean"]),
    ]


# proves C3
def test_open_when_the_network_mixes_the_windows_of_a_block_then_refused() -> None:
    with pytest.raises(SettingsError, match=r"as the other 15 windows .* own window alone"):
        opened(*mixing())


# proves C3
def test_open_when_windows_read_those_before_them_then_refused() -> None:
    with pytest.raises(SettingsError, match="must depend on its own window alone"):
        opened(*summing(), axis=np.array(0, np.int64))


def test_open_when_a_block_is_one_window_then_there_is_nothing_to_mix() -> None:
    answers = opened(*mixing(), rows=1).run(np.ones((3, 8), np.float32))
    assert answers.mean.tolist() == [[0.0]] * 3


@pytest.mark.parametrize("rows", [1, 16])
def test_open_when_the_network_draws_random_numbers_then_refused(rows: int) -> None:
    with pytest.raises(SettingsError, match=r"asked twice .* must not draw random numbers"):
        opened(*drawing(), rows=rows)


def test_open_when_the_network_takes_no_block_of_that_size_then_said() -> None:
    nodes = [helper.make_node("Reshape", ["last", "one"], ["mean"])]  # exported for one window
    with pytest.raises(SettingsError, match="cannot compute a block of 16 windows"):
        opened(*nodes, one=np.array([1, 1], np.int64))


def allocating() -> tuple[list, dict[str, np.ndarray]]:
    """Return nodes that need the fourth power of what a last return has above 100, in numbers."""
    nodes = [
        helper.make_node("Sub", ["last", "limit"], ["above"]),
        helper.make_node("Relu", ["above"], ["excess"]),
        helper.make_node("ReduceMax", ["excess"], ["most"], keepdims=0),
        helper.make_node("Pow", ["most", "four"], ["wanted"]),
        helper.make_node("Cast", ["wanted"], ["whole"], to=7),
        helper.make_node("Max", ["whole", "least"], ["size"]),
        helper.make_node("Expand", ["one", "size"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["unit"], keepdims=0),
        helper.make_node("Mul", ["last", "unit"], ["mean"]),
    ]
    return nodes, {
        "limit": np.full(1, 100, np.float32),
        "four": np.array(4, np.float32),
        "least": np.ones(1, np.int64),
        "one": np.ones(1, np.float32),
    }


def test_run_when_memory_is_short_then_no_row_is_made_of_it() -> None:
    nodes, weights = allocating()
    net = opened(*nodes, **weights)
    assert net.run(np.ones((1, 8), np.float32)).mean.tolist() == [[1.0]]
    with pytest.raises(MACHINE_ERRORS, match=r"lower batch_rows: .*Failed to allocate"):
        net.run(np.full((1, 8), 4000, np.float32))  # 600 TiB


def test_open_when_one_block_has_no_memory_then_one_error_says_so() -> None:
    nodes, weights = allocating()
    with pytest.raises(EngineError, match=r"lower batch_rows: .*Failed to allocate"):
        opened(*nodes, **{**weights, "limit": np.full(1, -4000, np.float32)})


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("std::bad_alloc", MemoryError),
        ("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc", MemoryError),
        ("CUBLAS failure 3: the resource allocation failed ; GPU=0", MemoryError),
        ("CUDA failure 700: an illegal memory access was encountered ; GPU=0", EngineError),
        ("CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0", EngineError),
    ],
)
def test_machine_when_the_runtime_says_so_then_of_the_machine(message: str, kind: type) -> None:
    with pytest.raises(kind):
        onnx_network._raise_if_of_machine(RuntimeError(message))


def test_machine_when_the_network_is_wrong_then_not_of_the_machine() -> None:
    wrong = "core/providers/cuda/tensor/reshape.cc: the input tensor cannot be reshaped"
    onnx_network._raise_if_of_machine(RuntimeError(wrong))  # raises nothing
