"""Which language model is asked, where it runs, and how long one waits for it."""

import os
from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from pmx_ray.config import Settings
from pmx_ray.llm.asking import Asking
from pmx_ray.llm.breaker import BreakerSettings
from pmx_ray.llm.prompts import Style
from pmx_ray.llm.question import MAX_SESSIONS

HOST_VARIABLE = "OLLAMA_HOST"
"""Environment variable with the address, as for Ollama's own client."""

ModelName = Annotated[str, Field(min_length=1, max_length=200)]


class UseCase(StrEnum):
    """What an answer is for; each has a model of its own."""

    SIGNAL = "signal"
    """One answer a ticker and bar: a fast model."""
    RESEARCH = "research"
    """Recordings for a sweep, where nobody waits."""


def _host() -> str:
    return os.environ.get(HOST_VARIABLE) or "http://127.0.0.1:11434"


class LlmSettings(Settings):
    """A language model behind Ollama's protocol.

    Attributes
    ----------
    host : str
        Address of the server; ``OLLAMA_HOST`` unless given, else port 11434 of this machine.
    models : mapping of UseCase to str
        Model of each use case, as the server lists it.
    style : Style
        Wording of the questions.
    n_sessions : int
        Closing prices that a question shows.
    max_tokens : int
        Most tokens of an answer; a whole one has about 20.
    temperature : float
        0 for the likeliest answer.
    seed : int
        Of the sampler.
    connect_timeout_s : float
        Limit on reaching the server.
    timeout_s : float
        Limit on one call, from request to the last byte, waiting for a turn included.
    attempts : int
        Times that a call is tried where the server cannot be reached or is busy. A call that ran
        out of time is not tried again.
    breaker : BreakerSettings
        When to stop asking for a while.
    cache_entries : int
        Answers remembered; 0 for none.
    cache_ttl_s : float
        Seconds that one is remembered.
    n_parallel : int
        Questions asked at the same time.
    """

    host: str = Field(default_factory=_host, min_length=1)
    models: dict[UseCase, ModelName] = Field(
        default={UseCase.SIGNAL: "smollm2:135m", UseCase.RESEARCH: "smollm2:135m"}
    )
    style: Style = Style.COMPACT
    n_sessions: int = Field(default=20, ge=2, le=MAX_SESSIONS)
    max_tokens: int = Field(default=64, ge=16, le=4096)
    temperature: float = Field(default=0.0, ge=0, le=2)
    seed: int = Field(default=0, ge=0, lt=2**31)
    connect_timeout_s: float = Field(default=2.0, gt=0, le=60)
    timeout_s: float = Field(default=20.0, gt=0, le=600)
    attempts: int = Field(default=2, ge=1, le=10)
    breaker: BreakerSettings = BreakerSettings()
    cache_entries: int = Field(default=4096, ge=0, le=1_000_000)
    cache_ttl_s: float = Field(default=86_400.0, gt=0)
    n_parallel: int = Field(default=2, ge=1, le=64)

    @field_validator("host")
    @classmethod
    def _speaks_http(cls, host: str) -> str:
        if "://" in host and not host.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return host

    def model_of(self, use: UseCase) -> str:
        """Return the model of a use case; the signal's where none is named for it."""
        return self.models.get(use) or self.models.get(UseCase.SIGNAL) or "smollm2:135m"

    def asking(self, *, model: str, digest: str) -> Asking:
        """Return how a model, pinned by its digest, is asked under these settings."""
        return Asking(
            model=model,
            digest=digest,
            style=self.style,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
        )
