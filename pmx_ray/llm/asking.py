"""Who is asked and how: everything beside the question that can change an answer."""

from pydantic import Field

from pmx_ray.config import Settings
from pmx_ray.llm.answer import ANSWER_SCHEMA
from pmx_ray.llm.prompts import Style, worded
from pmx_ray.llm.question import Question
from pmx_ray.provenance import canonical_json, sha256_hex


class Asking(Settings):
    """A model, pinned by its digest, and how it is asked.

    Attributes
    ----------
    model : str
        Name as the server lists it.
    digest : str
        SHA-256 of the model as the server reports it: names may be moved to other weights.
    style : Style
        Wording of the question.
    max_tokens : int
        Most tokens of an answer; a longer one is cut off and refused.
    temperature : float
        0 for the likeliest answer. Even so a model need not repeat itself: hence recordings.
    seed : int
        Of the sampler.
    """

    model: str = Field(min_length=1)
    digest: str = Field(min_length=1)
    style: Style = Style.COMPACT
    max_tokens: int = Field(default=64, ge=16, le=4096)
    temperature: float = Field(default=0.0, ge=0, le=2)
    seed: int = 0

    def options(self) -> dict[str, float | int]:
        """Return what the server is told beside prompt and schema."""
        return {
            "temperature": self.temperature,
            "seed": self.seed,
            "num_predict": self.max_tokens,
        }

    def key(self, question: Question) -> str:
        """Return the hash of digest, prompt, options and schema: same key, same request."""
        request = {
            "digest": self.digest,
            "messages": worded(question, style=self.style).messages(),
            "options": self.options(),
            "schema": dict(ANSWER_SCHEMA),
        }
        return sha256_hex(canonical_json(request))
