import pytest
from hypothesis import given
from hypothesis import strategies as st
from signal_cases import signal

from pmx_ray.signals.merging import merge, priority, share_of
from pmx_ray.signals.types import Signal, Source
from pmx_ray.taxonomy import Action, RiskLevel

BUY, SELL, HOLD = Action.BUY, Action.SELL, Action.HOLD
# Champion: 0.6 * (1 - 1/3) = 0.4. Language model: 0.3, a share of 3/7.
WEAKER = {"confidence": 0.3}
# 0.6, a share of 0.6
STRONGER = {"confidence": 0.6}


def llm(action, **changed):
    return signal(Source.LLM, action, size=0.0, **changed)


def test_priority_and_share_by_hand():  # proves M6
    assert priority(signal(), llm(HOLD)) == pytest.approx(0.4)
    assert priority(signal(), llm(HOLD, risk_level=RiskLevel.HIGH)) == pytest.approx(0.2)
    assert priority(signal(), llm(HOLD, risk_level=RiskLevel.LOW)) == pytest.approx(0.4)
    assert priority(signal(), llm(HOLD, risk_level=RiskLevel.EXTREME)) == 0.0
    assert share_of(llm(BUY, **WEAKER), beside=signal()) == pytest.approx(3 / 7)
    assert share_of(llm(BUY, confidence=0.0), beside=signal(confidence=0.0)) == 0.5


@pytest.mark.parametrize(
    ("champion", "said", "action", "kept"),
    [
        (BUY, llm(BUY, **STRONGER), BUY, 1.0),
        (BUY, llm(HOLD, **WEAKER), BUY, 4 / 7),
        (BUY, llm(SELL, **WEAKER), BUY, 1 / 7),
        (BUY, llm(HOLD, **STRONGER), HOLD, 0.0),
        (SELL, llm(BUY, **STRONGER), HOLD, 0.0),
        (SELL, llm(HOLD, **WEAKER), SELL, 4 / 7),
        (HOLD, llm(BUY, **STRONGER), HOLD, 1.0),
    ],
)
def test_merge_by_hand(champion, said, action, kept):  # proves M6
    alone = signal(action=champion)
    merged = merge(alone, said).signal
    assert merged.action is action
    assert merged.position_frac == pytest.approx(alone.position_frac * kept)
    assert merged.confidence == (0.6 if kept else 0.0)  # the forecast's own, or a rule's
    assert merged.source is Source.CHAMPION


def test_merge_when_risks_differ_then_the_higher():
    merger = merge(signal(), llm(BUY, risk_level=RiskLevel.HIGH))
    assert merger.signal.risk_level is RiskLevel.HIGH
    assert merger.sentence.endswith("It raises the risk level from medium to high.")
    assert merge(signal(), llm(BUY, risk_level=RiskLevel.LOW)).signal.risk_level == "medium"


def test_merge_says_what_changed():
    assert merge(signal(), llm(HOLD, **WEAKER)).sentence == (
        "The language model says hold and has 43% of the weight: 57% of the size is left."
    )
    assert merge(signal(), llm(SELL, **STRONGER)).sentence == (
        "The language model says sell and has 60% of the weight: the champion's buy becomes hold."
    )


@st.composite
def signals(draw, source):
    action = draw(st.sampled_from(Action))
    return signal(
        source,
        action,
        size=draw(st.floats(0.0, 0.02)),
        confidence=draw(st.floats(0.0, 1.0)),
        risk_level=draw(st.sampled_from(RiskLevel)),
    )


@given(signals(Source.CHAMPION), signals(Source.LLM))
def test_merge_only_ever_makes_the_champion_more_careful(champion, llm):  # proves M6
    merged = merge(champion, llm).signal
    assert Signal.model_validate(merged.model_dump()) == merged  # also after a copy
    assert abs(merged.position_frac) <= abs(champion.position_frac)
    assert merged.confidence == (
        0.0 if merged.action is not champion.action else champion.confidence
    )
    assert merged.risk_level.score >= max(champion.risk_level.score, llm.risk_level.score)
    assert merged.action in {champion.action, HOLD}
    assert merged.expected_return == champion.expected_return
    if llm.action is champion.action:
        assert merged.position_frac == champion.position_frac


@given(signals(Source.CHAMPION), signals(Source.LLM), st.floats(0.0, 1.0))
def test_merge_when_an_objection_grows_graver_or_surer_then_no_more_is_left(champion, llm, surer):
    # proves M6
    left = abs(merge(champion, llm).signal.position_frac)
    for level in RiskLevel:
        graver = llm.model_copy(update={"risk_level": level})
        if level.severity >= llm.risk_level.severity:
            assert abs(merge(champion, graver).signal.position_frac) <= left
    if llm.action is not champion.action and surer >= llm.confidence:
        sure = llm.model_copy(update={"confidence": surer})
        assert abs(merge(champion, sure).signal.position_frac) <= left + 1e-15  # rounding
