"""Networks made by hand with ``onnx.helper``: small, and their numbers known."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DECAY = 0.94


def ewma_weights(input_size: int) -> np.ndarray:
    """Return weights of squared returns, oldest first, that sum to 1."""
    weights = DECAY ** np.arange(input_size - 1, -1, -1.0)
    return (weights / weights.sum()).astype(np.float32)


def ewma(input_size: int = 64, n_steps: int = 20) -> onnx.ModelProto:
    """Return the network that comes with the package: an EWMA variance and a mean of 0."""
    steps = np.arange(1, n_steps + 1, dtype=np.float32)[None]
    return model(
        [
            helper.make_node("Mul", ["returns", "returns"], ["squares"]),
            helper.make_node("MatMul", ["squares", "weights"], ["one_step"]),
            helper.make_node("MatMul", ["one_step", "steps"], ["variance"]),
            helper.make_node("Mul", ["variance", "zero"], ["mean"]),
        ],
        {
            "weights": ewma_weights(input_size)[:, None],
            "steps": steps,
            "zero": np.zeros(1, np.float32),
        },
        outputs={"mean": ["batch", n_steps], "variance": ["batch", n_steps]},
        input_size=input_size,
    )


def model(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    *,
    outputs: dict[str, list[object]],
    input_size: int,
    batch: object = "batch",
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "network",
        [helper.make_tensor_value_info("returns", TensorProto.FLOAT, [batch, input_size])],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    made.producer_name, made.producer_version = "", ""
    onnx.checker.check_model(made)
    return made


def linear(
    *,
    n_steps: int = 5,
    outputs: tuple[str, ...] = ("mean",),
    size: int = 8,
    batch: object = "batch",
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Return a network whose outputs are products of the window: random weights, known here."""
    shapes = {
        "mean": [batch, n_steps],
        "variance": [batch, n_steps],
        "quantiles": [batch, 5, n_steps],
    }
    rng = np.random.default_rng(1)
    weights = {"w_mean": rng.normal(0, 0.1, (size, n_steps)).astype(np.float32)}
    nodes = [helper.make_node("MatMul", ["returns", "w_mean"], ["mean"])]
    if "variance" in outputs:
        weights["square"] = np.full((size, n_steps), 0.25, np.float32)
        nodes.append(helper.make_node("Mul", ["returns", "returns"], ["squares"]))
        nodes.append(helper.make_node("MatMul", ["squares", "square"], ["variance"]))
    if "quantiles" in outputs:
        levels = np.array([-2, -0.5, 0.1, 1.0, 1.5], np.float32)
        weights["levels"] = np.tile(levels[:, None], (1, n_steps))[None]
        weights["middle"] = np.array([1], np.int64)
        nodes.append(helper.make_node("Unsqueeze", ["mean", "middle"], ["wide"]))
        nodes.append(helper.make_node("Add", ["wide", "levels"], ["quantiles"]))
    shown = {name: shapes[name] for name in outputs}
    return model(nodes, weights, outputs=shown, input_size=size, batch=batch), weights


def saved(made: onnx.ModelProto, path: Path) -> dict[str, object]:
    """Write the network and return the settings that name it."""
    content = made.SerializeToString(deterministic=True)
    path.write_bytes(content)
    return {"name": "onnx", "path": str(path), "sha256": hashlib.sha256(content).hexdigest()}
