"""What a challenger may remember: a language model has read about the years before its release."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from pydantic import ValidationError

from pmx_ray.forecasters.llm import SMOLLM2, LlmReplaySettings
from pmx_ray.forecasters.llm_view import View
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.decision import Check
from pmx_ray.governance.evidence import Evidence
from pmx_ray.governance.facts import KnowledgeFacts
from pmx_ray.governance.judgement import judged

PUBLISHED: Mapping[str, date] = {SMOLLM2: date(2024, 11, 30)}
"""Day by which a model was published, by its digest; the last of the month where that is known."""


def knowledge_of(spec: ForecasterSpec) -> KnowledgeFacts | None:
    """Return since when a forecaster cannot have read of what it is asked about.

    None where nothing in it is a language model that is shown prices: a sketch has nothing that
    could be recognised. A member of a combination counts as the combination does.
    """
    found = [
        _published(written)
        for written in _written({"name": spec.name, **dict(spec.params)})
        if written.get("view", View.SKETCH.value) != View.SKETCH.value
    ]
    if not found:
        return None
    known = [day for day in found if day is not None]
    return KnowledgeFacts(max(known) if len(known) == len(found) else None)


def knowledge_cutoff(evidence: Evidence, known: KnowledgeFacts) -> Check:
    """Ask that no scored cutoff lies before the model was published."""
    published, cutoffs = known.published, evidence.cutoffs
    early = None
    if published is not None and cutoffs:
        early = float(sum(cutoff < published for cutoff in cutoffs))
    return judged(
        "knowledge_cutoff",
        early,
        "<=",
        0.0,
        unit="count",
        say=lambda value, limit: (
            f"It asks a language model that was published by {published} about prices it may have "
            f"read of. Scored cutoffs before that, of {len(cutoffs):,}: {value}; allowed: {limit}."
        ),
        missing=(
            "It asks a language model about prices it may have read of, and the day on which that "
            "model was published is not known, or no cutoff was scored; set view: sketch, which "
            "shows nothing that could be recognised."
        ),
    )


def _written(value: object) -> Iterator[Mapping[str, object]]:
    """Yield every language model in a forecaster as written, however deep it lies."""
    if isinstance(value, Mapping):
        if value.get("name") == "llm":
            yield value
        if value.get("family") == "llm":  # searched inside every fit: see ``NestedSettings``
            yield {**_mapping(value.get("fixed")), **_mapping(value.get("search"))}
        for part in value.values():
            yield from _written(part)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for part in value:
            yield from _written(part)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _published(written: Mapping[str, object]) -> date | None:
    params = {key: v for key, v in written.items() if key not in {"name", "family_version"}}
    try:
        return PUBLISHED.get(LlmReplaySettings.model_validate(params).digest)
    except ValidationError:  # a search over its settings: which model it is stays open
        return None
