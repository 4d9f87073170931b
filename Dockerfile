# One image for every node of a cluster, the signal service and `pmx` itself.
#   docker build -t pmx-ray:0.1.0 .
#   docker build -t pmx-ray:0.1.0-gpu --build-arg LOCKS="requirements-image.lock requirements-gpu.lock" .
# The image's lock is the package's own and what nodes need beside it: a lake in a bucket, a ledger in
# PostgreSQL, traces to a collector.
# The same wheels on CPU and GPU nodes; the second set brings CuPy and the CUDA libraries it loads,
# and asks of its host a driver and the NVIDIA container runtime only.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG LOCKS=requirements-image.lock
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
WORKDIR /opt/pmx
COPY requirements*.lock ./
RUN python -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --require-hashes -r requirements-build.lock
RUN for lock in ${LOCKS}; do \
        VIRTUAL_ENV=.venv .venv/bin/uv pip install --no-cache --require-hashes -r "${lock}" || exit 1; \
    done
COPY pyproject.toml README.md ./
COPY pmx_ray pmx_ray
COPY serve_apps serve_apps
COPY tune_jobs tune_jobs
COPY cluster cluster
RUN VIRTUAL_ENV=.venv .venv/bin/uv pip install --no-cache --no-deps --no-build-isolation .
COPY configs configs
# Compiled kernels are kept for one instruction set, AVX2 with FMA, so that nodes of any make load the
# same ones; every node must have it. Without the empty features numba takes this host's own, compiles
# for them, and no other make of node finds what it compiled.
ENV NUMBA_CPU_NAME=x86-64-v3 NUMBA_CPU_FEATURES="" NUMBA_CACHE_DIR=/opt/pmx/kernels
RUN mkdir kernels \
    && .venv/bin/pmx sweep configs/sweep/demo.yaml --address in-process --out /tmp/warm \
    && rm -r /tmp/warm \
    && chmod -R a+rX kernels

FROM ${BASE}
RUN useradd --uid 1000 --create-home ray
COPY --from=build /opt/pmx /opt/pmx
ENV PATH=/opt/pmx/.venv/bin:$PATH \
    NUMBA_CPU_NAME=x86-64-v3 NUMBA_CPU_FEATURES="" PMX_KERNELS=/opt/pmx/kernels \
    PYTHONDONTWRITEBYTECODE=1 RAY_AUTH_MODE=token RAY_enable_open_telemetry=0
WORKDIR /opt/pmx
USER 1000
CMD ["pmx", "--help"]
