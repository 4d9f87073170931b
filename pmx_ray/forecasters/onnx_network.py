"""A network in ONNX Runtime: opened once a process, run on one thread in blocks of one size.

A block of another size may be computed by other code of the runtime, in another order; so rows
always go in blocks of ``batch_rows``, the last one filled up, and a forecast does not depend on
which others were asked for beside it.
"""

import hashlib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from pmx_ray._typing import FloatArray
from pmx_ray.errors import EngineError, PmxError, SettingsError
from pmx_ray.forecasters.batch import MACHINE_ERRORS
from pmx_ray.forecasters.onnx_probe import check_rows
from pmx_ray.forecasters.protocol import QUANTILE_LEVELS
from pmx_ray.forecasters.registry import Device

OUTPUTS = ("mean", "variance", "quantiles")

PROVIDERS: Mapping[Device, tuple[str, Mapping[str, str]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    "gpu": ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "DEFAULT", "use_tf32": "0"}),
}
"""Where each device computes, with what keeps its bits from depending on a search or on TF32."""

OUTSIDE = "session.model_external_initializers_file_folder_path"
"""ONNX Runtime's option for the folder of weights outside the file."""

NO_MEMORY = re.compile(
    r"bad.?alloc|fail\w* to allocate|alloc\w* fail|out of memory|smaller than requested bytes",
    re.IGNORECASE,
)
"""In the messages of the runtime's arenas, of C++ and of CUDA's libraries."""

NO_DEVICE = re.compile(r"\bcu(da|blas|blaslt|dnn|fft|rand|solver|sparse)\s(failure|error)", re.I)
"""In the runtime's messages of a call of CUDA or its libraries that failed."""

DEVICE_ERRORS = ("DeviceReset", "EngineError", "EPFail")
"""Classes of the runtime's errors, by name, that only a device raises."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a network says of W windows, in units of each window's scale.

    Attributes
    ----------
    mean : ndarray of shape (W, H)
        Of the cumulative return over 1 to H sessions.
    variance : ndarray of shape (W, H), optional
    quantiles : ndarray of shape (W, Q, H), optional
        At ``QUANTILE_LEVELS``.
    """

    mean: FloatArray
    variance: FloatArray | None
    quantiles: FloatArray | None


class Network:
    """An open network.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
    input_size : int
        Returns of a window.
    batch_rows : int
        Windows of a block; a network of a fixed batch size overrides it.

    Raises
    ------
    SettingsError
        If inputs or outputs are not those of the contract.
    """

    def __init__(self, session: Any, *, input_size: int, batch_rows: int) -> None:
        inputs = session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 2:
            raise SettingsError(
                f"onnx: the network takes {[(i.name, i.type, i.shape) for i in inputs]}; it must "
                "take one float32 tensor of shape (batch, input_size)"
            )
        rows, size = inputs[0].shape
        if isinstance(size, int) and size != input_size:
            raise SettingsError(
                f"onnx: input_size was {input_size}; the network takes windows of {size} returns"
            )
        names = [output.name for output in session.get_outputs()]
        if "mean" not in names:
            raise SettingsError(
                f"onnx: the network gives {', '.join(names)}; it must give 'mean', and may give "
                "'variance' and 'quantiles'"
            )
        self._session, self._input = session, inputs[0].name
        self._names = [name for name in OUTPUTS if name in names]
        self.batch_rows = rows if isinstance(rows, int) else batch_rows

    def run(self, windows: npt.NDArray[np.float32]) -> Answers:
        """Return what the network says of windows (W, input_size), W >= 1.

        Raises
        ------
        SettingsError
            If an output has another shape than the contract's.
        MemoryError
            If the machine or its card has too little memory.
        EngineError
            If the card fails.
        """
        n, rows = len(windows), self.batch_rows
        filled = np.zeros((-(-n // rows) * rows, windows.shape[1]), np.float32)
        filled[:n] = windows
        first = {name: values[:n] for name, values in self.outputs(filled).items()}
        return Answers(first["mean"], first.get("variance"), first.get("quantiles"))

    def outputs(self, filled: npt.NDArray[np.float32]) -> dict[str, FloatArray]:
        """Return each output, W rows of it, for the windows (W, input_size) of whole blocks.

        Raises
        ------
        SettingsError
            If an output has another shape than the contract's.
        """
        rows = self.batch_rows
        blocks = [
            self._computed(filled[start : start + rows]) for start in range(0, len(filled), rows)
        ]
        parts = (np.concatenate(part).astype(np.float64) for part in zip(*blocks, strict=True))
        found = dict(zip(self._names, parts, strict=True))
        _check_shapes(found, len(filled))
        return found

    def _computed(self, block: npt.NDArray[np.float32]) -> list[npt.NDArray[Any]]:
        try:
            answers: list[npt.NDArray[Any]] = self._session.run(self._names, {self._input: block})
        except Exception as error:
            _raise_if_of_machine(error)
            raise
        return answers


def _raise_if_of_machine(error: Exception) -> None:
    """Raise what the runtime says of the machine as an error that is never kept as a row.

    Raises
    ------
    MemoryError
        If it could not allocate.
    EngineError
        If the card or its libraries failed.
    """
    why = " ".join(str(error).split())[-300:]  # a message ends with its cause
    if NO_MEMORY.search(str(error)):
        raise MemoryError(f"onnx: too little memory; lower batch_rows: {why}") from error
    if type(error).__name__ in DEVICE_ERRORS or NO_DEVICE.search(str(error)):
        raise EngineError(
            f"onnx: the device failed; check it and its driver, or use device cpu: {why}"
        ) from error


def _check_shapes(found: Mapping[str, FloatArray], n_windows: int) -> None:
    n_steps = found["mean"].shape[-1]
    shapes = {
        "mean": (n_windows, n_steps),
        "variance": (n_windows, n_steps),
        "quantiles": (n_windows, len(QUANTILE_LEVELS), n_steps),
    }
    for name, values in found.items():
        if values.shape != shapes[name]:
            raise SettingsError(
                f"onnx: output '{name}' has shape {values.shape}; it must be {shapes[name]}"
            )


def network(content: bytes, *, device: Device, input_size: int, batch_rows: int) -> Network:
    """Return the network of an ONNX file's bytes, opened at the first call of a process.

    Raises
    ------
    SettingsError
        If ONNX Runtime cannot open it, or it breaks the contract; see also ``check_rows``.
    EngineError
        If ONNX Runtime is not installed, the device is ``gpu`` and it sees no card, or there is
        too little memory for one block.
    """
    key = hashlib.sha256(content).hexdigest()
    try:
        return _opened(key, _Held(content), device, input_size, batch_rows)
    except MemoryError as error:  # no block would fit: end the run rather than try each of them
        raise EngineError(str(error) or "onnx: too little memory to open the network") from None


class _Held:
    """Bytes that a cache does not compare: their hash stands beside them."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=4)
def _opened(
    sha256: str,  # noqa: ARG001 - the key of the cache
    held: _Held,
    device: Device,
    input_size: int,
    batch_rows: int,
) -> Network:
    runtime = _runtime()
    provider, options = PROVIDERS[device]
    if provider not in runtime.get_available_providers():
        raise EngineError(
            f"onnx: device {device} needs {provider}, which this ONNX Runtime lacks; "
            "pip install onnxruntime-gpu, or use device cpu"
        )
    session = _session(runtime, held.content, (provider, dict(options)))
    if provider not in session.get_providers():  # it falls back without a word
        raise EngineError(f"onnx: {provider} did not start; check its driver, or use device cpu")
    opened = Network(session, input_size=input_size, batch_rows=batch_rows)
    _probe(opened, input_size)
    return opened


def _probe(opened: Network, input_size: int) -> None:
    try:
        check_rows(opened.outputs, rows=opened.batch_rows, input_size=input_size)
    except (*MACHINE_ERRORS, PmxError):
        raise
    except Exception as error:  # noqa: BLE001 - the runtime's errors have no common class
        why = " ".join(str(error).split())[:200]
        raise SettingsError(
            f"onnx: the network cannot compute a block of {opened.batch_rows} windows: {why}"
        ) from None


def _runtime() -> ModuleType:
    try:
        import onnxruntime  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        raise EngineError("onnx: ONNX Runtime is missing; pip install pmx-ray[deep]") from None
    found: ModuleType = onnxruntime
    return found


def _session(runtime: ModuleType, content: bytes, provider: tuple[str, dict[str, str]]) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    # More would rewrite the network for the processor it happens to run on.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # ``read_network`` refuses weights in other files; here the runtime would find none.
    with tempfile.TemporaryDirectory() as empty:
        options.add_session_config_entry(OUTSIDE, empty)
        try:
            return runtime.InferenceSession(content, options, providers=[provider])
        except Exception as error:  # noqa: BLE001 - the runtime's errors have no common class
            _raise_if_of_machine(error)
            why = " ".join(str(error).split())[:200]
            raise SettingsError(f"onnx: ONNX Runtime cannot open the network: {why}") from None
