"""A language model as a forecaster like any other, by replay of what it once answered.

A model's answers are not reproducible, so a forecaster that asked would give other numbers each
time. This one looks up: the history makes a question, the question's key finds the recorded answer,
and a question that was never asked is a cell without a forecast. ``pmx llm record`` asks.

Only the mean is the model's. The variance is that of the random walk, so that whatever
distinguishes the two in a comparison is the answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from pmx_ray.config import Settings
from pmx_ray.data.panel import Panel
from pmx_ray.errors import LlmError, SettingsError
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.linear import Rule, estimate_history
from pmx_ray.forecasters.llm_view import Shown, View, every_sketch, shown
from pmx_ray.forecasters.naive import MIN_RETURNS
from pmx_ray.forecasters.protocol import (
    FailedFit,
    Failure,
    FittedForecaster,
    Forecast,
    Outcome,
    Scope,
    Status,
    missing_price,
    unusable,
)
from pmx_ray.forecasters.registry import register
from pmx_ray.llm.asking import Asking
from pmx_ray.llm.prompts import Style
from pmx_ray.llm.question import MAX_SESSIONS, Question
from pmx_ray.llm.recording import Recording

SHIPPED = "pmx:"
"""Start of the path of a recording that comes with the package."""

RECORDINGS = Path(__file__).parent / "recordings"

SHIPPED_SHA256 = {
    "pmx:fx.jsonl": "c1f9962afcc69861739279dd4cce3924a6e7e290c7e0d1caa3601c2cd0a2540f",
    "pmx:sketch.jsonl": "53b362bc2418dc34e3f8edbd5fa1aee58340526b196e17698c9dd44269bf17a7",
    "pmx:us_equities.jsonl": "1faf3aa587aa4be9a8f4b2efef69498f9aaeaaad2cc142d9230cfd332d9554c0",
}
"""Hash of each of them: who names one need not pin it."""

SMOLLM2 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Digest of the model that the shipped recordings were made with."""


class LlmReplaySettings(Settings):
    """Settings of a replayed language model.

    Attributes
    ----------
    recording : str
        A recording, the same on every machine of the run; relative to the working directory unless
        absolute. ``pmx:NAME`` is one that comes with the package; the default holds SmolLM2's
        answer to every sketch.
    sha256 : str
        Hash of its bytes, so that another recording is another forecaster; ``pmx llm record``
        prints it. Empty while nothing is recorded: there is then nothing to forecast with.
    digest : str
        SHA-256 of the model whose answers are replayed; SmolLM2-135M-Instruct unless given.
    style : Style
        Wording of the question.
    view : View
        What is shown of a history.
    window : int
        Closes of a question; a sketch has its own four.
    step : int
        Sessions ahead that were asked about. The answer is spread evenly over them: the mean of
        another step is ``h / step`` of it. One question a cell then serves every step.
    max_tokens, temperature, seed : int, float, int
        With which it was asked; see ``Asking``.
    """

    recording: str = "pmx:sketch.jsonl"
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    digest: str = Field(default=SMOLLM2, min_length=1)
    style: Style = Style.COMPACT
    view: View = View.SKETCH
    window: int = Field(default=20, ge=2, le=MAX_SESSIONS)
    step: int = Field(default=5, ge=1)
    max_tokens: int = Field(default=64, ge=16, le=4096)
    temperature: float = Field(default=0.0, ge=0, le=2)
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _pinned(cls, values: object) -> object:
        if not isinstance(values, dict) or values.get("sha256"):
            return values
        known = SHIPPED_SHA256.get(values.get("recording", "pmx:sketch.jsonl"), "")
        return {**values, "sha256": known}

    @property
    def asking(self) -> Asking:
        """How the model was asked."""
        return Asking(
            model="recorded",  # the digest says which; a name is no part of a key
            digest=self.digest,
            style=self.style,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
        )

    @property
    def path(self) -> Path:
        """File of the recording."""
        if self.recording.startswith(SHIPPED):
            return RECORDINGS / self.recording.removeprefix(SHIPPED)
        return Path(self.recording)


@lru_cache(maxsize=8)
def _loaded(path: Path, sha256: str) -> Recording:
    return Recording.load(path, sha256=sha256)


def read_recording(settings: LlmReplaySettings) -> Recording:
    """Return the recording that settings pin.

    Raises
    ------
    SettingsError
        If none is pinned, or the file is missing, was changed, or is no recording.
    """
    if not settings.sha256:
        raise SettingsError(
            f"llm: sha256 of {settings.recording!r} is missing; `pmx llm record` makes a recording "
            "and prints its hash"
        )
    try:
        return _loaded(settings.path, settings.sha256)
    except LlmError as error:
        raise SettingsError(f"llm: {error}") from None


def questions(settings: LlmReplaySettings, panel: Panel, plan: FoldPlan) -> Iterator[Question]:
    """Yield what a sweep's forecasts will look up, ticker by ticker; each question once.

    Of a sketch these are all there are, whatever the panel.
    """
    if settings.view is View.SKETCH:
        yield from every_sketch(step=settings.step)
        return
    asked = set()
    for _, _, question in asked_at(settings, panel, plan):
        key = settings.asking.key(question)
        if key not in asked:
            asked.add(key)
            yield question


def asked_at(
    settings: LlmReplaySettings, panel: Panel, plan: FoldPlan
) -> Iterator[tuple[int, int, Question]]:
    """Yield row of the ticker, fold and question of each cell, ticker by ticker.

    Cells without a usable history are left out.
    """
    for row, ticker in enumerate(panel.tickers):
        alone = panel.select((ticker,))
        for fold in range(len(plan)):
            history = plan.context(alone, fold)
            if _silent(history) is None:
                yield row, fold, _shown(settings, history).question


def _silent(history: Panel) -> Failure | None:
    return missing_price(history) or unusable(history, n_returns=MIN_RETURNS)


@dataclass(frozen=True, slots=True)
class FittedLlm:
    """A recording, the variance of one log return, and the history that asks.

    Attributes
    ----------
    forecaster : Llm
    variance : float
        Mean squared log return of the train window, decimal squared.
    history : Panel
        One ticker.
    """

    forecaster: "Llm"
    variance: float
    history: Panel

    def extend(self, history: Panel) -> "FittedLlm":
        """Return the same variance conditioned on ``history``."""
        return replace(self, history=history)

    def forecast(self, steps: tuple[int, ...]) -> tuple[Outcome, ...]:
        """Return the recorded answer, spread over ``steps``; see ``Forecaster``."""
        found = self.forecaster.log_return(self.history)
        if isinstance(found, Failure):
            return (found,)
        h = np.array(steps, np.float64)
        return (Forecast(found * h, self.variance * h),)


@register(
    "llm",
    settings=LlmReplaySettings,
    version="1",
    summary="what a language model answered, replayed from a recording",
    fit_s=1e-3,
    extend_s=5e-4,
)
class Llm:
    """Mean from a language model's recorded answers, variance of the random walk."""

    scope: ClassVar[Scope] = "ticker"

    def __init__(self, settings: LlmReplaySettings) -> None:
        self.settings = settings
        self._asking = settings.asking
        self._recording = read_recording(settings)

    def fit(self, history: Panel, *, rng: np.random.Generator) -> FittedForecaster:  # noqa: ARG002
        """Estimate the variance of one log return about 0."""
        found = estimate_history(history, Rule(MIN_RETURNS, centred=False))
        if isinstance(found, Failure):
            return FailedFit(found)
        return FittedLlm(self, found[1], history)

    def log_return(self, history: Panel) -> float | Failure:
        """Return the mean log return a session that the model expects after a one-ticker history.

        A failure where the history cannot be asked about, nobody asked, or the answer is useless.
        """
        silent = _silent(history)
        if silent is not None:
            return silent
        view = _shown(self.settings, history)
        exchange = self._recording.replay(self._asking.key(view.question))
        if exchange is None:
            return Failure(
                Status.UNANSWERED,
                f"no answer is on record for {history.tickers[0]} at {history.sessions[-1]}; "
                "record it with `pmx llm record`",
            )
        try:
            expected = exchange.assessment().expected_return_pct
        except LlmError as error:
            return Failure(Status.UNANSWERED, str(error))
        return view.scale * float(np.log1p(expected / 100.0)) / self.settings.step


def _shown(settings: LlmReplaySettings, history: Panel) -> Shown:
    return shown(history, view=settings.view, window=settings.window, step=settings.step)
