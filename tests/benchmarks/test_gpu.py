"""The benchmark of a card: what it counts, what it says without one, and its card's side.

No card is at hand here: the host runs what a card would, so that nothing of it is left to the
first run on one but its speed.
"""

import functools
import json

import numpy as np
import pytest
from cuda_host import COMPILER, Host

from benchmarks import gpu
from pmx_ray.forecasters import samossa
from pmx_ray.kernels.cuda import garch as cuda

LIMITS = gpu.Card("host", 2e9, 1e9)


@pytest.fixture
def host_as_card(monkeypatch, tmp_path_factory):
    if COMPILER is None:
        pytest.skip("no C++ compiler (g++, clang++)")
    compiled = functools.cache(lambda form: Host(form, tmp_path_factory.mktemp("cuda")))
    monkeypatch.setattr(cuda, "_device", lambda form: (np, compiled(form).launch))
    monkeypatch.setattr(samossa, "array_namespace", lambda engine: np)


def test_least_s_when_bytes_or_instructions_bind_then_the_longer():
    assert gpu.Work(6e9, 1e9, 9.0, 0.5).least_s(LIMITS) == 3.0
    assert gpu.Work(6e9, 4e9, 9.0, 0.5).least_s(LIMITS) == 4.0


def test_counted_when_every_search_takes_as_long_then_all_lanes_work():
    row = 0.9 * np.random.default_rng(0).standard_t(6, 300)
    work = gpu.counted(np.tile(row, (32, 1)), gpu.CASES[0], 64)
    assert work.lanes == 1.0
    # 64 windows of 300: 20 points at 13 instructions and each pass at 73.
    assert work.instructions == pytest.approx(64 * 300 * (20 * 13 + 73 * work.passes))
    # Read for each four points of the grid, each pass, to be scaled (read twice) and filtered.
    assert work.bytes == pytest.approx(64 * 300 * 8 * (5 + work.passes + 3))


def test_by_warp_when_the_last_is_not_full_then_idle_lanes():
    assert gpu._by_warp(np.arange(40)).max(axis=1).tolist() == [31, 39]


def test_many_windows_when_asked_then_real_windows_in_order_of_their_share():
    windows = gpu.many_windows(50)
    assert windows.shape == (50, 1000)
    assert np.isfinite(windows).all()
    assert 0.3 < windows.std(axis=1).min() < windows.std(axis=1).max() < 10.0  # percent


def test_card_side_when_the_host_stands_for_one_then_measured_and_judged(host_as_card):
    promises: list[gpu.Promise] = []
    rows = [gpu._garch(gpu.CASES[0], 50, 40, LIMITS, promises)]
    rows.append(gpu._samossa(6, 4, LIMITS, promises))
    for row in rows:
        assert row["card, s"] > 0.0
        assert row["times two cores"] == pytest.approx(row["two cores, s"] / row["card, s"])
    assert [promise.kept for promise in promises] == [True, True]


def test_main_when_no_card_then_says_so_and_promises_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu, "find_card", lambda: None)
    monkeypatch.setattr(gpu, "_garch", functools.partial(_small, gpu._garch, 9, 8))
    monkeypatch.setattr(gpu, "_samossa", functools.partial(_few, gpu._samossa))
    path = tmp_path / "figures.json"
    monkeypatch.setattr("sys.argv", ["gpu", "--quick", "--check", "--json", str(path)])
    assert gpu.main() == 0
    figures = json.loads(path.read_text())
    assert figures["promises"] == []
    assert {row["card, s"] for row in figures["garch"] + figures["samossa"]} == {"not measured"}
    said = capsys.readouterr().out
    assert "no card was at hand" in said
    assert "promises: not measured" in said


def _small(measure, n_windows, n_sample, case, _windows, _sample, *rest):
    return measure(case, n_windows, n_sample, *rest)


def _few(measure, _folds, _sample, *rest):
    return measure(4, 2, *rest)
