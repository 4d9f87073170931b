"""A kernel's bits where it was just compiled and where it came from the cache."""

import gc
import os
import subprocess
import sys

import numba
import pytest
from numba.core import event

from pmx_ray.kernels import compiling
from pmx_ray.kernels.compiling import OF_LANES, OF_LOOPS, compiled, compiled_lanes

FOLDER = compiling._folder.__wrapped__
"""As it is: the tests below put another in its place."""

PROGRAM = """
import hashlib
import numpy as np
from pmx_ray.kernels import arma, garch

windows = 0.9 * np.random.default_rng(3).standard_t(6, (11, 300)) + 0.05
digest = hashlib.sha256()
for form in (garch.Form(1, 1, 1, 1, 1), garch.Form(0, 1, 0, 1, 0)):
    fits = garch.fit(windows, form)
    ahead = garch.filter_variances(windows, fits.parameters, form, n_steps=3)
    for found in (fits.parameters, garch.loglikelihood(windows, fits.parameters, form), ahead):
        digest.update(found.tobytes())
ones = np.ones(11, np.int64)
fits = arma.fit_arma(list(windows), arma.Jobs(np.arange(11), ones, ones, ones == 1))
digest.update(fits.as_rows().tobytes())
digest.update(arma.last_residuals(list(windows), fits.ar, fits.ma, fits.mean).tobytes())
print(digest.hexdigest())
"""


@pytest.mark.drill
def test_bits_when_kernels_come_from_the_cache_then_those_of_the_compiler(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def run() -> str:
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    first = run()
    assert len(first) == 64
    assert list(tmp_path.rglob("*.nbc"))  # and that there is a cache to come from
    assert run() == first


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    """Let kernels of these tests go into a cache that nobody has used yet."""
    monkeypatch.setattr(compiling, "_folder", lambda: tmp_path)


def _seen_during(compile_it, monkeypatch):
    """Return the collector's state and the level of optimisation while something compiles."""
    seen = []

    class Watcher(event.Listener):
        def on_start(self, _started):
            seen.append((gc.isenabled(), int(numba.config.OPT)))

        def on_end(self, _ended):
            pass

    monkeypatch.setattr(numba.config, "OPT", type(numba.config.OPT)(3))
    with event.install_listener("numba:compile", Watcher()):
        compile_it()
    return seen


def test_compiling_a_kernel_then_collector_is_held_and_level_is_ours(monkeypatch):
    twice = compiled(lambda x: 2.0 * x)
    assert _seen_during(lambda: twice(1.5), monkeypatch) == [(False, OF_LOOPS)]
    assert gc.isenabled()
    assert int(numba.config.OPT) == 3


def test_compiling_of_a_kernel_fails_then_collector_and_level_are_given_back(monkeypatch):
    broken = compiled(lambda x: x.there_is_no_such_thing)

    def attempt():
        with pytest.raises(numba.TypingError):
            broken(1.5)

    assert _seen_during(attempt, monkeypatch) == [(False, OF_LOOPS)]
    assert gc.isenabled()
    assert int(numba.config.OPT) == 3


def test_compiling_a_kernel_in_lanes_then_level_is_that_of_lanes(monkeypatch):
    twice = compiled_lanes(lambda x: 2.0 * x)
    assert _seen_during(lambda: twice(1.5), monkeypatch) == [(False, OF_LANES)]
    assert int(numba.config.OPT) == 3


def test_collector_was_off_then_it_stays_off(monkeypatch):
    twice = compiled(lambda x: 2.0 * x)
    gc.disable()
    try:
        assert _seen_during(lambda: twice(1.5), monkeypatch) == [(False, OF_LOOPS)]
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_code_of_others_then_it_is_compiled_as_ever(monkeypatch):
    theirs = numba.njit(lambda x: 3.0 * x)
    assert _seen_during(lambda: theirs(1.5), monkeypatch) == [(True, 3)]


def test_cache_when_an_image_holds_compiled_kernels_then_it_starts_with_them(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    name = FOLDER().name
    (tmp_path / "cache" / name).rmdir()
    (tmp_path / "image" / name).mkdir(parents=True)
    (tmp_path / "image" / name / "fit.nbc").write_bytes(b"compiled")
    monkeypatch.setenv("PMX_KERNELS", str(tmp_path / "image"))
    assert (FOLDER() / "fit.nbc").read_bytes() == b"compiled"
    (tmp_path / "image" / name / "fit.nbc").write_bytes(b"another")
    assert (FOLDER() / "fit.nbc").read_bytes() == b"compiled"  # once there, it is its own
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [name]


def test_cache_when_the_image_holds_those_of_other_sources_then_none_of_them(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PMX_KERNELS", str(tmp_path / "image"))
    (tmp_path / "image" / "kernels-0123456789abcdef").mkdir(parents=True)
    assert list(FOLDER().iterdir()) == []
