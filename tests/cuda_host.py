"""CUDA sources compiled as C++ for the host, where a launch is a loop over the threads."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np

from pmx_ray.kernels.cuda import garch as cuda
from pmx_ray.kernels.garch import Form

COMPILER = shutil.which("g++") or shutil.which("clang++")
ENTRY = """
extern "C" double differentiated(const double *y, long long n, double back, const double *x,
                                 double *gradient, double *hessian) {
    return derivatives(y, n, 1, back, x, gradient, hessian);
}
"""


class Host:
    """The kernels of one model, compiled for the host; launches them on NumPy arrays."""

    def __init__(self, form: Form, folder: Path) -> None:
        text, library = folder / "garch.cpp", folder / "garch.so"
        text.write_text(cuda.source(form) + ENTRY)
        flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        assert COMPILER is not None
        subprocess.run([COMPILER, *flags, "-o", library, text], check=True, timeout=120)
        self._library = ctypes.CDLL(str(library))
        self._library.differentiated.restype = ctypes.c_double

    def launch(self, name: str, n_threads: int, *arguments: object) -> None:
        getattr(self._library, name)(*map(_argument, arguments))

    def differentiated(self, *arguments: object) -> float:
        return float(self._library.differentiated(*map(_argument, arguments)))


def _argument(value: object) -> object:
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return ctypes.c_void_p(value.ctypes.data)
    return ctypes.c_longlong(value) if isinstance(value, int) else ctypes.c_double(value)
