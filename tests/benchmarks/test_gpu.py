"""The benchmark of a card: what it counts, what it says without one, and its card's side.

No card is at hand here: the host runs what a card would, so that nothing of it is left to the
first run on one but its speed.
"""

import functools
import json

import numpy as np
import pytest
from cuda_host import COMPILER, Host

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import arima, garch, samossa
from benchmarks.gpu.limits import Card, Work, by_warp
from benchmarks.gpu.sides import apart, many_windows
from pmx_ray.forecasters import samossa as forecaster
from pmx_ray.kernels.cuda import garch as cuda

LIMITS = Card("host", 2e9, 1e9)


@pytest.fixture
def host_as_card(monkeypatch, tmp_path_factory):
    if COMPILER is None:
        pytest.skip("no C++ compiler (g++, clang++)")
    compiled = functools.cache(lambda form: Host(form, tmp_path_factory.mktemp("cuda")))
    monkeypatch.setattr(cuda, "_device", lambda form: (np, compiled(form).launch))
    monkeypatch.setattr(forecaster, "array_namespace", lambda engine: np)


def test_least_s_when_bytes_or_instructions_bind_then_the_longer():
    assert Work(6e9, 1e9, 9.0, 0.5).least_s(LIMITS) == 3.0
    assert Work(6e9, 4e9, 9.0, 0.5).least_s(LIMITS) == 4.0


def test_counted_when_every_search_takes_as_long_then_all_lanes_work():
    row = 0.9 * np.random.default_rng(0).standard_t(6, 300)
    work = garch.counted(np.tile(row, (32, 1)), garch.CASES[0], 64)
    assert work.lanes == 1.0
    # 64 windows of 300: 20 points at 13 instructions and each pass at 73.
    assert work.instructions == pytest.approx(64 * 300 * (20 * 13 + 73 * work.passes))
    # Read for each four points of the grid, each pass, to be scaled (read twice) and filtered.
    assert work.bytes == pytest.approx(64 * 300 * 8 * (5 + work.passes + 3))


def test_by_warp_when_the_last_is_not_full_then_idle_lanes():
    assert by_warp(np.arange(40)).max(axis=1).tolist() == [31, 39]


def test_many_windows_when_asked_then_real_windows_in_order_of_their_share():
    windows = many_windows(50)
    assert windows.shape == (50, 1000)
    assert np.isfinite(windows).all()
    assert 0.3 < windows.std(axis=1).min() < windows.std(axis=1).max() < 10.0  # percent


def test_card_side_when_the_host_stands_for_one_then_measured_and_judged(host_as_card):
    for measured in (
        garch.measure(garch.CASES[0], 50, n_sample=40, found=LIMITS),
        samossa.measure(6, n_sample=4, found=LIMITS),
    ):
        row = measured.row
        assert row["card, s"] > 0.0
        assert row["times two cores"] == pytest.approx(row["two cores, s"] / row["card, s"])
        assert [promise.kept for promise in measured.promises] == [True]


@pytest.mark.parametrize(("off", "kept"), [(1e-10, True), (1e-8, False), (np.nan, False)])
def test_apart_when_one_value_is_off_then_judged_by_it(off, kept):
    values = np.array([-3.0, 2.0, 5.0])
    promise = apart("them", values * np.array([1.0, 1.0 + off, 1.0]), values, limit=1e-9)
    assert promise.kept is kept


def test_main_when_no_card_then_says_so_and_promises_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "find_card", lambda: None)
    for part in (garch, arima, samossa):
        monkeypatch.setattr(part, "measure", functools.partial(_small, part.measure))
    path = tmp_path / "figures.json"
    monkeypatch.setattr("sys.argv", ["gpu", "--quick", "--check", "--json", str(path)])
    assert command.main() == 0
    figures = json.loads(path.read_text())
    assert figures["promises"] == []
    rows = figures["garch"] + figures["arima"] + figures["samossa"]
    assert len(rows) == 5
    assert {row["card, s"] for row in rows} == {"not measured"}
    said = capsys.readouterr().out
    assert "no card was at hand" in said
    assert "promises: not measured" in said


def _small(measure, *case_and_size, n_sample, found):
    *case, _ = case_and_size
    return measure(*case, 9, n_sample=8, found=found)
