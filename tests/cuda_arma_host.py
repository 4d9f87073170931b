"""The CUDA source of ARMA compiled as C++ for the host, with its derivatives laid open."""

import ctypes
import subprocess
from pathlib import Path

import cuda_host

from pmx_ray.kernels.cuda import arma as cuda

ENTRY = """
extern "C" void differentiated(const double *values, long long n, long long constant,
                               const double *x, double *out) {
    const long long which = 0, orders[3] = {N_LAGS, N_LAGS, constant};
    const double mean = 0.0;
    const Job job = job_at(0, 1, values, &which, &n, orders, &mean);
    Likelihood at;
    Derivatives by;
    evaluate(job, x, at);
    differentiate(job, x, at, by);
    out[0] = at.value, out[1] = at.sum, out[2] = at.mean;
    for (int i = 0; i < K; ++i) {
        out[3 + i] = by.slope[i];
        for (int j = 0; j <= i; ++j) {
            out[9 + 6 * i + j] = by.newton[i][j];
            out[45 + 6 * i + j] = by.gauss[i][j];
        }
    }
}
"""

LOGARITHM_OFF = """
#include <math.h>
static double off(double x) {
    unsigned long long bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    const int side = (int)(bits * 0x9E3779B97F4A7C15ULL >> 62);
    return side > 1 ? log(x) : nextafter(log(x), side ? HUGE_VAL : -HUGE_VAL);
}
#define log off
"""
"""A logarithm that every other time is the neighbour of what it should be, as a card's may be."""


class ArmaHost(cuda_host.Host):
    """The kernels of ``arma.cu``; launches them on NumPy arrays."""

    def __init__(self, folder: Path, *, before: str = "") -> None:
        text, library = folder / "arma.cpp", folder / "arma.so"
        text.write_text(before + cuda.source() + ENTRY)
        # Where the machine can fuse, the compiler may not: the text says what is fused.
        flags = ["-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        assert cuda_host.COMPILER is not None
        subprocess.run([cuda_host.COMPILER, *flags, "-o", library, text], check=True, timeout=120)
        self._library = ctypes.CDLL(str(library))
