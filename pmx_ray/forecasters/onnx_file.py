"""An ONNX file as it may be opened: its hash is the pinned one, and it holds all of its weights.

ONNX is a protobuf, so reading one runs no code. It may point at other files for its weights,
though, which the hash does not cover; such a file is refused.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pmx_ray.errors import SettingsError

SHIPPED = "pmx:"
"""Start of the path of a network that comes with the package."""

NETWORKS = Path(__file__).parent / "networks"


def read_network(path: str, *, sha256: str) -> bytes:
    """Return the bytes of an ONNX file.

    Parameters
    ----------
    path : str
        A file, relative to the working directory unless absolute; ``pmx:NAME`` is one that comes
        with the package.
    sha256 : str
        What its bytes must hash to, 64 hexadecimal digits.

    Raises
    ------
    SettingsError
        If there is no such file, its hash is another, it is no ONNX file, or it keeps weights in
        other files.
    """
    shipped = path.startswith(SHIPPED)
    place = NETWORKS / path.removeprefix(SHIPPED) if shipped else Path(path)
    try:
        content = place.read_bytes()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise SettingsError(
            f"onnx: path {path!r} cannot be read ({why}); give an .onnx file that every machine of "
            "the run can read"
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise SettingsError(
            f"onnx: {path} has the sha256 {found}; the settings pin {sha256}; if the file is the "
            "one you mean, pin its hash"
        )
    if _points_outside(content, path):
        raise SettingsError(
            f"onnx: {path} keeps weights in other files, which its hash does not cover; save it "
            "as one file, e.g. torch.onnx.export(..., external_data=False)"
        )
    return content


@dataclass(frozen=True, slots=True)
class _Message:
    """A kind of protobuf message: the fields that lead to tensors, by number."""

    children: Mapping[int, str] = field(default_factory=dict)


MESSAGES = {
    "model": _Message({7: "graph", 20: "training", 25: "function"}),
    "training": _Message({1: "graph", 2: "graph"}),
    "graph": _Message({1: "node", 5: "tensor", 15: "sparse"}),
    "node": _Message({5: "attribute"}),
    "attribute": _Message(
        {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"}
    ),
    "function": _Message({7: "node", 11: "attribute"}),
    "sparse": _Message({1: "tensor", 2: "tensor"}),
    "tensor": _Message(),
}
"""Every way from a model to a tensor, with the field numbers of onnx.proto3."""

EXTERNAL_DATA, DATA_LOCATION = 13, 14
"""Fields of a tensor that say where its values lie if not in the file."""

MAX_DEPTH = 64
"""Messages within messages beyond which a file is called broken."""


def _points_outside(content: bytes, path: str) -> bool:
    try:
        return _external(memoryview(content), "model", 0)
    except (IndexError, KeyError, ValueError):
        raise SettingsError(f"onnx: {path} is no ONNX file, or a broken one") from None


def _external(message: memoryview, kind: str, depth: int) -> bool:
    """Return whether a message holds a tensor whose values lie elsewhere."""
    if depth > MAX_DEPTH:
        raise ValueError("too deep")
    children = MESSAGES[kind].children
    for number, value in _fields(message):
        if kind == "tensor":
            if number == EXTERNAL_DATA or (number == DATA_LOCATION and value == 1):
                return True
        elif (
            number in children
            and isinstance(value, memoryview)
            and _external(value, children[number], depth + 1)
        ):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field: a number, or the bytes of what has a length."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        size, at = _varint(message, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
        if at + size > len(message):
            raise ValueError("cut short")
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return a number of protobuf's variable length, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number is too long")
