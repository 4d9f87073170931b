"""Environment of Ray's processes; read by those who start some, so it must not import Ray."""

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
"""Of a worker: one thread a library, so that workers do not fight over cores."""

STEADY = {"RAY_enable_open_telemetry": "0", "RAY_raylet_start_wait_time_s": "120"}
"""Of every process. Ray 2.60 exports its metrics through OpenTelemetry, which can end a process as
it starts (a race between registering a metric and collecting it: raylets and drivers were seen to
die of it); the exporter before it shows the same metrics. And a raylet may take its time where the
machine is busy."""
