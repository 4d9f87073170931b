"""ARIMA in the benchmark of a card: what it counts, and its card's side, run by the host."""

import numpy as np
import pytest
from cuda_arma_host import ArmaHost
from cuda_host import COMPILER

from benchmarks.gpu import arima
from benchmarks.gpu.limits import Card
from pmx_ray.kernels.cuda import arma as cuda


def test_counted_when_every_window_is_the_same_then_all_lanes_work():
    row = np.random.default_rng(0).standard_normal(300)
    work = arima.counted(np.tile(row, (32, 1)), arima.Order(1, 0), 64)
    assert work.lanes == 1.0
    # 64 windows of 300, each read twice by every evaluation.
    assert work.instructions == 64 * 300 * 57 * work.passes
    assert work.bytes == 64 * 300 * 8 * 2 * work.passes


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler (g++, clang++)")
def test_card_side_when_the_host_stands_for_one_then_measured_and_judged(monkeypatch, tmp_path):
    kernels = ArmaHost(tmp_path)
    monkeypatch.setattr(cuda, "_device", lambda: (np, kernels.launch))
    measured = arima.measure(arima.Order(1, 1), 50, n_sample=40, found=Card("host", 2e9, 1e9))
    row = measured.row
    assert row["card, s"] > 0.0
    assert row["times two cores"] == pytest.approx(row["two cores, s"] / row["card, s"])
    (promise,) = measured.promises
    assert promise.kept
