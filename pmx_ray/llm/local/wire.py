"""Bodies of Ollama's protocol: what is read of a request, and what is said of a model."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints

from pmx_ray.llm.local.engine import N_CONTEXT, Ended
from pmx_ray.llm.local.schema import grammar_of
from pmx_ray.llm.local.weights import Weights

MAX_TOKENS = 1024
"""Most tokens of one answer, whatever is asked for."""

Text = Annotated[str, StringConstraints(max_length=64_000)]


class _Body(BaseModel):
    """Fields that this server knows nothing of are ignored, as Ollama ignores them."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class Options(_Body):
    """How to write; what is left out is the server's choice."""

    temperature: FiniteFloat | None = Field(default=None, ge=0, le=5)
    seed: int | None = Field(default=None, ge=-1, le=2**31 - 1)
    num_predict: int | None = Field(default=None, ge=-2, le=2**31 - 1)
    top_k: int | None = Field(default=None, ge=0, le=100_000)
    top_p: FiniteFloat | None = Field(default=None, ge=0, le=1)
    min_p: FiniteFloat | None = Field(default=None, ge=0, le=1)
    stop: str | list[str] | None = None


class Message(_Body):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Text


class Asked(_Body):
    """What chat and generate have in common."""

    model: str = Field(min_length=1, max_length=200)
    format: object = None
    stream: bool = True
    options: Options | None = None
    images: list[object] | None = Field(default=None, max_length=0)
    tools: list[object] | None = Field(default=None, max_length=0)

    def completion(self, messages: list[dict[str, str]]) -> dict[str, object]:
        """Return the body of llama.cpp's chat completion.

        Raises
        ------
        FormatError
            If the answer cannot be held to ``format``.
        """
        options = self.options or Options()
        asked = options.num_predict
        limit = MAX_TOKENS if asked is None or asked < 0 else min(asked, MAX_TOKENS)
        given = options.model_dump(exclude_none=True, exclude={"num_predict"})
        grammar = grammar_of(self.format)
        return {
            **given,
            **({"grammar": grammar} if grammar else {}),
            "messages": messages,
            "max_tokens": limit,
            "cache_prompt": False,  # with it, temperature 0 does not repeat itself
            "stream": True,
            "stream_options": {"include_usage": True},
        }


class ChatBody(Asked):
    """Body of ``/api/chat``."""

    messages: list[Message] = Field(default=[], max_length=100)

    def messages_sent(self) -> list[dict[str, str]]:
        """Return the chat; empty asks only for the model to be loaded."""
        return [message.model_dump() for message in self.messages]


class GenerateBody(Asked):
    """Body of ``/api/generate``."""

    prompt: Text = ""
    system: Text = ""
    suffix: Literal[""] | None = None
    template: Literal[""] | None = None
    raw: Literal[False] | None = None

    def messages_sent(self) -> list[dict[str, str]]:
        """Return the prompt as a chat; empty asks only for the model to be loaded."""
        if not self.prompt:
            return []
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.prompt}]


class ShowBody(_Body):
    """Body of ``/api/show``."""

    model: str = Field(default="", max_length=200)
    name: str = Field(default="", max_length=200)


def read_object(data: bytes) -> dict[str, object]:
    """Return the JSON object of a body.

    Raises
    ------
    ValueError
        If it is none, or holds text that is no Unicode.
    """
    try:
        values = json.loads(data)
        json.dumps(values, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("body is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("body is not a JSON object")
    return values


def timings(ended: Ended, *, total_s: float) -> dict[str, object]:
    """Return how an answer ended, in Ollama's words; durations in nanoseconds."""
    return {
        "done_reason": ended.done_reason,
        "total_duration": round(total_s * 1e9),
        "load_duration": 0,
        "prompt_eval_count": ended.prompt_tokens,
        "prompt_eval_duration": round(ended.prompt_s * 1e9),
        "eval_count": ended.output_tokens,
        "eval_duration": round(ended.output_s * 1e9),
    }


def details(weights: Weights) -> dict[str, object]:
    """Return what kind of model it is."""
    return {
        "parent_model": "",
        "format": "gguf",
        "family": weights.family,
        "families": [weights.family],
        "parameter_size": weights.parameter_size,
        "quantization_level": weights.quantization,
    }


def listed(weights: Weights) -> dict[str, object]:
    """Return the model's row of ``/api/tags``."""
    return {
        "name": weights.name,
        "model": weights.name,
        "modified_at": stamp(weights.modified_at),
        "size": weights.n_bytes,
        "digest": weights.digest,
        "details": details(weights),
    }


def running(weights: Weights, *, now: datetime) -> dict[str, object]:
    """Return the model's row of ``/api/ps``: it stays loaded as long as the server runs."""
    row = {key: value for key, value in listed(weights).items() if key != "modified_at"}
    later = stamp(now + timedelta(days=365))
    return {**row, "expires_at": later, "size_vram": 0, "context_length": N_CONTEXT}


def shown(weights: Weights) -> dict[str, object]:
    """Return the answer of ``/api/show``."""
    return {
        "modelfile": f"FROM {weights.path.name}\n",
        "parameters": "",
        "template": "",
        "modified_at": stamp(weights.modified_at),
        "details": details(weights),
        "model_info": {
            "general.architecture": weights.family,
            f"{weights.family}.context_length": weights.n_context,
        },
        "capabilities": ["completion"],
    }


def stamp(time: datetime) -> str:
    """Return a time as Ollama writes it."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def line(part: Mapping[str, object], **more: object) -> bytes:
    """Return a line of a streamed answer."""
    return json.dumps({**part, **more}, ensure_ascii=False).encode() + b"\n"
