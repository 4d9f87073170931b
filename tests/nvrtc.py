"""NVIDIA's run-time compiler, which needs no card."""

import ctypes
import importlib.util
from collections.abc import Sequence
from pathlib import Path


def cubin(text: str, architecture: str, *, options: Sequence[str] = ()) -> bytes:
    """Return CUDA C compiled for an architecture such as ``sm_90``, without a word of warning."""
    (folder,) = importlib.util.find_spec("nvidia.cuda_nvrtc").submodule_search_locations
    (found,) = Path(folder, "lib").glob("libnvrtc.so.*")
    library = ctypes.CDLL(str(found))

    def call(name: str, *arguments: object) -> None:
        assert getattr(library, f"nvrtc{name}")(*arguments) == 0, name

    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    call("CreateProgram", ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None)
    try:
        given = [f"--gpu-architecture={architecture}".encode(), *map(str.encode, options)]
        asked = (ctypes.c_char_p * len(given))(*given)
        code = library.nvrtcCompileProgram(program, len(given), asked)
        call("GetProgramLogSize", program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        call("GetProgramLog", program, log)
        assert (code, log.value) == (0, b"")
        call("GetCUBINSize", program, ctypes.byref(size))
        binary = ctypes.create_string_buffer(size.value)
        call("GetCUBIN", program, binary)
        return binary.raw
    finally:
        call("DestroyProgram", ctypes.byref(program))
