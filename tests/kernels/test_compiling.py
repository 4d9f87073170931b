"""A kernel's bits where it was just compiled and where it came from the cache."""

import os
import subprocess
import sys

import pytest

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

    compiled = run()
    assert len(compiled) == 64
    assert list(tmp_path.rglob("*.nbc"))  # and that there is a cache to come from
    assert run() == compiled
