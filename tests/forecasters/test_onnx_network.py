"""What a network may not do, seen when it is opened: with networks that do it."""

import numpy as np
import pytest
from forecasters.onnx_networks import model
from onnx import helper

from pmx_ray.errors import SettingsError
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
