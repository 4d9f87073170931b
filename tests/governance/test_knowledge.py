"""What a language model may remember is no evidence of skill."""

from datetime import date, timedelta

import pytest
from governance_cases import FIRST, passing

from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.decision import Outcome
from pmx_ray.governance.facts import KnowledgeFacts
from pmx_ray.governance.knowledge import PUBLISHED, knowledge_of

(RELEASED,) = PUBLISHED.values()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"name": "garch"}, None),
        ({"name": "llm"}, None),
        ({"name": "llm", "view": "named"}, KnowledgeFacts(RELEASED)),
        ({"name": "llm", "view": "masked"}, KnowledgeFacts(RELEASED)),
        ({"name": "llm", "view": "named", "digest": "ab" * 32}, KnowledgeFacts(None)),
        (
            {"name": "ensemble", "members": [{"name": "drift"}, {"name": "llm", "view": "named"}]},
            KnowledgeFacts(RELEASED),
        ),
        ({"name": "ensemble", "members": [{"name": "drift"}, {"name": "llm"}]}, None),
        (
            {
                "name": "nested",
                "family": "llm",
                "fixed": {"view": "named"},
                "search": {"window": {"low": 5, "high": 30}},
            },
            KnowledgeFacts(None),
        ),
    ],
)
def test_knowledge_when_a_model_is_shown_prices_then_since_its_release(
    written: dict[str, object], expected: KnowledgeFacts | None
) -> None:
    assert knowledge_of(ForecasterSpec.parse(written)) == expected


@pytest.mark.parametrize(
    ("published", "passed", "said"),
    [
        (FIRST, True, "Met."),
        (FIRST + timedelta(days=1), False, "of 100: 1; allowed: 0. Not met."),
        (date(2030, 1, 1), False, "of 100: 100; allowed: 0. Not met."),
        (None, False, "is not known"),
    ],
)
def test_certify_when_cutoffs_lie_before_publication_then_hold_for_that_alone(
    published: date | None, passed: bool, said: str
) -> None:
    decision = passing().with_facts(knowledge=KnowledgeFacts(published)).decide()
    (check,) = [check for check in decision.checks if check.name == "knowledge_cutoff"]
    assert check.passed is passed
    assert said in check.sentence
    assert decision.outcome is (Outcome.PROMOTE if passed else Outcome.HOLD)
    assert [failed.name for failed in decision.failed] == ([] if passed else ["knowledge_cutoff"])
    assert len(decision.checks) == len(passing().decide().checks) + 1
