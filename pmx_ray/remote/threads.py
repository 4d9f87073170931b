"""Threads of the libraries in a worker; read by those who start one, so it must not import Ray."""

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
"""Environment of a worker: one thread a library, so that workers do not fight over cores."""
