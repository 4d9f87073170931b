"""Kernels in CUDA C, compiled on first use by the compiler that comes with CuPy."""
