"""Forecasters that misbehave on purpose; a plugin that the tests name in their settings."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.batch import ForecastBatch, RngAt
from pmx_ray.forecasters.protocol import QUANTILE_LEVELS, Forecast, Outcome, Scope
from pmx_ray.forecasters.registry import register


class NoSettings(Settings):
    """Nothing to set."""


@dataclass(frozen=True)
class Fixed:
    """The same mean and variance whatever follows."""

    mean: float
    n_tickers: int = 1

    def extend(self, history: Panel) -> "Fixed":
        return Fixed(self.mean, history.n_tickers)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        h = np.array(steps, float)
        return (Forecast(self.mean * h, 1e-4 * h),) * self.n_tickers


class Odd:
    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: NoSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> Fixed:
        return Fixed(0.0)


@register("dice", settings=NoSettings, version="1", summary="a random mean")
class Dice(Odd):
    def fit(self, history: Panel, *, rng: np.random.Generator) -> Fixed:
        return Fixed(float(rng.normal(0.0, 0.01)))


@register("raising", settings=NoSettings, version="1", summary="raises on ticker B")
class Raising(Odd):
    def fit(self, history: Panel, *, rng: np.random.Generator) -> Fixed:
        if history.tickers == ("B",):
            raise ZeroDivisionError("planted in B")
        return Fixed(0.0)


@register("deadly", settings=NoSettings, version="1", summary="kills its process on ticker B")
class Deadly(Odd):
    def fit(self, history: Panel, *, rng: np.random.Generator) -> Fixed:
        if history.tickers == ("B",):
            os.kill(os.getpid(), signal.SIGKILL)
        return Fixed(0.0)


class DeadlyOnceSettings(Settings):
    """Where it notes that it has killed a process, and a mean."""

    folder: str = "."
    level: float = 0.0


@register(
    "deadly_once", settings=DeadlyOnceSettings, version="1", summary="kills one process, once"
)
class DeadlyOnce:
    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: DeadlyOnceSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> Fixed:
        try:
            (Path(self.settings.folder) / "died").touch(exist_ok=False)
        except FileExistsError:
            return Fixed(0.001 * self.settings.level)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class FickleSettings(Settings):
    """Whether it fails: never, always, or on every ticker but the first once it is late."""

    fails: Literal["always", "never", "late"] = "always"


@register("fickle", settings=FickleSettings, version="1", summary="fails as it is told to")
class Fickle:
    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: FickleSettings) -> None:
        self.settings = settings

    def fit(self, history: Panel, *, rng: np.random.Generator) -> Fixed:
        late = history.sessions[-1] > np.datetime64("2001-06-04")
        fails = self.settings.fails
        if fails == "always" or (fails == "late" and late and not history.tickers[0].endswith("0")):
            raise ZeroDivisionError("planted")
        return Fixed(1e-4)


@register("starved", settings=NoSettings, version="1", summary="needs memory the machine lacks")
class Starved(Odd):
    def fit(self, history: Panel, *, rng: np.random.Generator) -> Fixed:
        if Path("no_memory").exists():
            raise MemoryError("planted")
        return Fixed(0.0)


@register("busy", settings=NoSettings, version="1", summary="takes its time", fit_s=0.05)
class Busy(Odd):
    def fit(self, history: Panel, *, rng: np.random.Generator) -> Fixed:
        weights = rng.normal(size=(120, 120))
        for _ in range(60):
            weights = np.linalg.qr(weights)[0] @ weights
            weights /= np.abs(weights).max()
        return Fixed(float(weights[0, 0]) * 1e-3)


@register("slow", settings=NoSettings, version="1", summary="waits, and burns no core", fit_s=0.2)
class Slow(Odd):
    def fit(self, history: Panel, *, rng: np.random.Generator) -> Fixed:
        time.sleep(0.2)
        return Fixed(0.0)


@register(
    "on_gpu", settings=NoSettings, version="1", summary="asks for a GPU", device=lambda _: "gpu"
)
class OnGpu(Odd):
    pass


@register("peeking", settings=NoSettings, version="1", summary="a kernel that reads ahead")
class Peeking(Odd):
    """Standardises with statistics of the whole panel: the classic leak."""

    def forecast_folds(self, panel: Panel, plan: FoldPlan, rng_at: RngAt) -> ForecastBatch:
        shape = (len(plan), panel.n_tickers, len(plan.steps))
        level = np.nanmean(panel.log_returns())
        return ForecastBatch(
            mean=np.full(shape, level),
            variance=np.full(shape, 1e-4),
            quantiles=np.zeros((*shape[:2], len(QUANTILE_LEVELS), shape[2])),
            status=np.full(shape[:2], "ok"),
        )


@register("batched", settings=NoSettings, version="1", summary="a kernel over many tickers at once")
class Batched(Odd):
    """Mean of each ticker's own returns plus a draw; cannot take ticker B."""

    def forecast_folds(self, panel: Panel, plan: FoldPlan, rng_at: RngAt) -> ForecastBatch:
        if "B" in panel.tickers:
            raise ZeroDivisionError("planted in B")
        shape = (len(plan), panel.n_tickers, len(plan.steps))
        mean = np.empty(shape)
        for fold in range(len(plan)):
            returns = np.diff(np.log(plan.training(panel, fold).close), axis=1)
            mean[fold] = (returns[:, -50:].mean(axis=1) + rng_at(fold).normal(0.0, 0.01))[:, None]
        return ForecastBatch(
            mean=mean,
            variance=np.full(shape, 1e-4),
            quantiles=np.zeros((*shape[:2], len(QUANTILE_LEVELS), shape[2])),
            status=np.full(shape[:2], "ok"),
        )
