"""An ONNX file as it may be opened: its hash is the pinned one, and it holds all of its weights.

ONNX is a protobuf, so reading one runs no code. It may point at other files for its weights,
though, which the hash does not cover; such a file is refused.
"""

import hashlib
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pmx_ray.errors import SettingsError

SHIPPED = "pmx:"
"""Start of the path of a network that comes with the package."""

NETWORKS = Path(__file__).parent / "networks"

MAX_BYTES = 2**31 - 1
"""Largest file; no protobuf message may be larger."""


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
        If there is no such file, it is no regular one or above 2 GiB, its hash is another, it is
        no ONNX file, or it keeps weights in other files.
    """
    shipped = path.startswith(SHIPPED)
    place = NETWORKS / path.removeprefix(SHIPPED) if shipped else Path(path)
    try:
        about = place.stat()
        _check_plain(about.st_mode, about.st_size, path)  # first: to open a pipe would wait
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


def _check_plain(mode: int, size: int, path: str) -> None:
    if not stat.S_ISREG(mode):
        raise SettingsError(f"onnx: path {path!r} is no regular file; give an .onnx file")
    if size > MAX_BYTES:
        raise SettingsError(
            f"onnx: {path} has {size} bytes; the limit is {MAX_BYTES}; give a smaller network"
        )


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

IN_THE_FILE = 0
"""The only data location that is not refused."""

MAX_KEY = 2**32 - 1
"""Largest key, a field's number with its type. Some readers drop the bits above it, and so see
another field than is read here: a larger one makes the file a broken one."""

NUMBER_BYTES, KEY_BYTES, SIZE_BYTES = 10, 5, 5
"""Most bytes of a number, a key and a length."""

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
            if number == EXTERNAL_DATA or (number == DATA_LOCATION and value != IN_THE_FILE):
                return True
        elif number in children:
            if not isinstance(value, memoryview):
                raise ValueError("a number where a message must be")
            if _external(value, children[number], depth + 1):
                return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field: a number, or the bytes of what has a length."""
    at = 0
    while at < len(message):
        (number, wire), at = _key(message, at)
        if wire == 0:
            value, at = _varint(message, at, NUMBER_BYTES)
            yield number, value
            continue
        size, at = _varint(message, at, SIZE_BYTES) if wire == 2 else ({1: 8, 5: 4}[wire], at)
        if at + size > len(message):
            raise ValueError("cut short")
        yield number, message[at : at + size]
        at += size


def _key(message: memoryview, at: int) -> tuple[tuple[int, int], int]:
    """Return number and type of the field that starts here, and where its value does."""
    key, at = _varint(message, at, KEY_BYTES)
    number, wire = key >> 3, key & 7
    if number == 0 or key > MAX_KEY:
        raise ValueError("no field has this number")
    return (number, wire), at


def _varint(message: memoryview, at: int, most: int) -> tuple[int, int]:
    """Return a number of protobuf's variable length, at most ``most`` bytes, and where it ends."""
    value = 0
    for n in range(most):
        byte = message[at + n]
        value |= (byte & 0x7F) << 7 * n
        if not byte & 0x80:
            return value, at + n + 1
    raise ValueError("a number is too long")
