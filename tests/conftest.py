"""What several packages' tests need: panels with known properties, and a token for Ray.

Ray reads its token when it is first imported, in whichever package's tests that happens.
"""

import os
import secrets

os.environ.pop("COLUMNS", None)  # workers are given 80; tables are tested at their own width
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")

import numpy as np
import pytest

from pmx_ray.data.calendar import calendar_sessions
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan, FoldSettings, build_folds


def walk(tickers: str, n_sessions: int, *, seed: int = 0, **fields: object) -> Panel:
    """Return a panel of seeded random walks, a ticker a letter, on the NYSE calendar."""
    rng = np.random.default_rng(seed)
    days = calendar_sessions("XNYS")
    start = int(np.searchsorted(days, np.datetime64("2015-01-02")))
    steps = rng.normal(0.0, 0.01, (n_sessions, len(tickers))).T  # a longer walk only goes on
    close = 100.0 * np.exp(np.cumsum(steps, axis=1))
    return Panel("XNYS", tuple(tickers), days[start : start + n_sessions], close, **fields)


@pytest.fixture(scope="session")
def panel() -> Panel:
    """Return three random walks of 240 sessions."""
    return walk("ABC", 240)


@pytest.fixture(scope="session")
def plan(panel: Panel) -> FoldPlan:
    """Return 23 rolling folds, refitted every fourth."""
    settings = FoldSettings(input_size=100, step_size=6, steps=(1, 5), refit_every=4)
    return build_folds(panel.sessions, settings)
