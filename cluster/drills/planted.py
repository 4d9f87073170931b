"""Forecasters of the drills: one that takes its time, one that kills, one that eats memory.

A plugin: the sweeps of the drills name this module. The environment, and not a parameter, says how
slow and how bad they are, so that a run without harm gives the bytes that the others must give.
"""

import os
import signal
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cluster.drills.journal import noted
from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.forecasters.protocol import Forecast, Outcome, Scope
from pmx_ray.forecasters.registry import register

PACE = "PMX_DRILL_PACE_S"
"""Environment variable: seconds that a fit takes beside its arithmetic."""

HARM = "PMX_DRILL_HARM"
"""Environment variable: ``1`` lets the poison kill and the hungry eat."""

VICTIM = "SIM00001"
"""The ticker that the harm is for."""

BITE, MOST = 64 * 2**20, 6 * 2**30
"""Bytes that the hungry takes at once, and at most."""


class NoSettings(Settings):
    """Nothing to set."""


@dataclass(frozen=True)
class Drifting:
    """Mean and variance a step, the same whatever follows."""

    mean: float
    variance: float

    def extend(self, history: Panel) -> "Drifting":  # noqa: ARG002 - the protocol's
        """Return the same."""
        return self

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return the forecast of its one ticker."""
        h = np.array(steps, float)
        return (Forecast(self.mean * h, self.variance * h),)


@register(
    "drill_paced", settings=NoSettings, version="1", summary="drift with a draw, slowly", fit_s=0.2
)
class Paced:
    """Mean and variance of the latest returns plus a draw; waits where the drill asks for it."""

    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: NoSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> Drifting:
        """Return the fitted drift of one ticker, noted in the journal."""
        with noted(f"{type(self).__name__} {history.tickers[0]} {history.sessions[-1]}"):
            self.harm(history)
            time.sleep(float(os.environ.get(PACE, "0")))
            returns = np.diff(np.log(history.close[0, -60:]))
            mean = float(returns.mean() + 1e-4 * rng.normal())
            return Drifting(mean, float(returns.var() + 1e-6))

    def harm(self, history: Panel) -> None:
        """Do none."""


@register("drill_poison", settings=NoSettings, version="1", summary="kills its process", fit_s=0.2)
class Poison(Paced):
    """Kills its process on one ticker."""

    def harm(self, history: Panel) -> None:
        """Kill this process where the ticker is the one that the harm is for."""
        if _meant(history):
            os.kill(os.getpid(), signal.SIGKILL)


@register("drill_hungry", settings=NoSettings, version="1", summary="takes all memory", fit_s=0.2)
class Hungry(Paced):
    """Takes memory without end on one ticker."""

    def harm(self, history: Panel) -> None:
        """Take memory until this process is ended, or the most that it may take is reached."""
        if not _meant(history):
            return
        eaten = []
        for _ in range(MOST // BITE):
            eaten.append(np.ones(BITE // 8))  # written to, or the kernel gives none
            time.sleep(0.02)
        raise MemoryError(f"{MOST:,} bytes were taken and nothing ended this process")


def _meant(history: Panel) -> bool:
    return os.environ.get(HARM) == "1" and history.tickers[0] == VICTIM
