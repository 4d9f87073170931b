import hashlib
from pathlib import Path

import onnx
import pytest
from forecasters.onnx_networks import linear
from onnx import helper, numpy_helper

from pmx_ray.errors import SettingsError
from pmx_ray.forecasters import onnx_file, onnx_network
from pmx_ray.forecasters.onnx_file import read_network


def outside(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """Return the tensor with its values said to lie in another file."""
    onnx.external_data_helper.set_external_data(tensor, location="/etc/hostname")
    tensor.ClearField("raw_data")
    return tensor


def hidden_in_an_initializer() -> onnx.ModelProto:
    made, _ = linear()
    outside(made.graph.initializer[0])
    return made


def hidden_in_a_constant() -> onnx.ModelProto:
    made, weights = linear()
    tensor = outside(numpy_helper.from_array(weights["w_mean"], "w"))
    made.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    return made


def hidden_in_a_branch() -> onnx.ModelProto:
    made, inner = linear()[0], hidden_in_an_initializer().graph
    branch = helper.make_node("If", ["flag"], ["x"], then_branch=inner, else_branch=inner)
    made.graph.node.append(branch)
    return made


@pytest.mark.parametrize(
    "hide", [hidden_in_an_initializer, hidden_in_a_constant, hidden_in_a_branch]
)
def test_read_when_weights_lie_in_other_files_then_refused(hide, tmp_path: Path) -> None:
    content = hide().SerializeToString()
    (tmp_path / "net.onnx").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(SettingsError, match="keeps weights in other files"):
        read_network(str(tmp_path / "net.onnx"), sha256=digest)


def varint(value: int) -> bytes:
    rest = value >> 7
    return bytes([value & 0x7F | (0x80 if rest else 0)]) + (varint(rest) if rest else b"")


def field(number: int, value: int | bytes, *, above: int = 0) -> bytes:
    """Return a protobuf field; ``above`` is added to its key, where it has no bits."""
    if isinstance(value, int):
        return varint((number << 3) + above) + varint(value)
    return varint((number << 3 | 2) + above) + varint(len(value)) + value


def with_tensor_fields(fields: bytes) -> bytes:
    """Return a network whose weights have further fields."""
    made, _ = linear()
    tensor = made.graph.initializer[0].SerializeToString() + fields
    del made.graph.initializer[:]
    graph = made.graph.SerializeToString() + field(5, tensor)
    made.ClearField("graph")
    return made.SerializeToString() + field(7, graph)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        # A reader of 32 bits takes these for external data and its location.
        (field(13, b"", above=2**32) + field(14, 1, above=2**32), "no ONNX file, or a broken one"),
        (field(14, 2**32 + 1), "keeps weights in other files"),
        (field(14, 2), "keeps weights in other files"),
        (field(0, 1), "no ONNX file, or a broken one"),
        (b"\xf0\x80\x80\x80\x80\x00\x01", "no ONNX file, or a broken one"),  # a key of 6 bytes
    ],
)
def test_read_when_fields_are_written_to_be_missed_then_refused(fields, message, tmp_path) -> None:
    content = with_tensor_fields(fields)
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(SettingsError, match=message):
        read_network(str(tmp_path / "net.onnx"), sha256=hashlib.sha256(content).hexdigest())


def test_open_when_weights_lie_beside_then_the_runtime_finds_none(tmp_path, monkeypatch) -> None:
    made, weights = linear()
    (tmp_path / "weights.bin").write_bytes(weights["w_mean"].tobytes())
    tensor = made.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location="weights.bin")
    tensor.ClearField("raw_data")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="cannot open the network"):
        onnx_network.network(made.SerializeToString(), device="cpu", input_size=8, batch_rows=4)


def test_read_when_no_regular_file_then_refused_unread() -> None:
    with pytest.raises(SettingsError, match="'/dev/null' is no regular file"):
        read_network("/dev/null", sha256="0" * 64)


def test_read_when_the_file_is_too_large_then_refused_unread(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 9)
    (tmp_path / "net.onnx").write_bytes(b"0123456789")
    with pytest.raises(SettingsError, match="has 10 bytes; the limit is 9"):
        read_network(str(tmp_path / "net.onnx"), sha256="0" * 64)
