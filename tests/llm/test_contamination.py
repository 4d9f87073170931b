"""The contamination meter on answers whose memory is known, because they were made by hand."""

import math
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pmx_ray.llm.answer import LLMRiskAssessment
from pmx_ray.llm.contamination import (
    SCALE,
    Cell,
    Variant,
    periods,
    shift,
    varied,
)
from pmx_ray.llm.estimate import mean, share
from pmx_ray.llm.prompts import Style, worded
from pmx_ray.llm.question import Question
from pmx_ray.taxonomy import Action, RiskLevel

START = date(2019, 1, 2)
PUBLISHED = date(2019, 3, 1)


def says(move_pct: float) -> LLMRiskAssessment:
    action = Action.BUY if move_pct > 0 else Action.SELL if move_pct < 0 else Action.HOLD
    return LLMRiskAssessment(
        action=action, expected_return_pct=move_pct, confidence=0.5, risk_level=RiskLevel.LOW
    )


def cells(n_days: int = 100) -> list[Cell]:
    """Return two tickers whose last move and whose outcome have nothing to do with each other."""
    made = []
    for n in range(n_days):
        cutoff = START + timedelta(days=n)
        for k, ticker in enumerate(("A", "B")):
            up = (n * (k + 3) // 2) % 2 == 0
            question = Question(
                ticker=ticker,
                sessions=(cutoff - timedelta(days=1), cutoff),
                closes=(100.0, 101.0 if up else 99.0),
                step=5,
            )
            actual = 0.01 if (3 * n + k) % 5 < 3 else -0.01
            made.append(Cell(question, actual, cutoff + timedelta(days=5)))
    return made


CELLS = cells()
OUTCOMES = {(cell.question.ticker, cell.cutoff): cell.actual for cell in CELLS}


def remembers(question: Question) -> LLMRiskAssessment:
    """Know every outcome by ticker and date, up to publication; otherwise, buy."""
    known = OUTCOMES.get((question.ticker, question.cutoff)) if question.cutoff else None
    if known is None or question.cutoff >= PUBLISHED:
        return says(1.0)
    return says(100 * known)


def follows(question: Question) -> LLMRiskAssessment:
    """Expect the last move once more; no memory."""
    return says(float(question.moves_bp[-1]) / 100)


def test_shift_when_the_model_remembers_then_the_name_is_an_advantage() -> None:
    early = [cell for cell in CELLS if cell.due < PUBLISHED]
    found = shift(early, Variant.MASKED, remembers)
    assert found.hits_before.value == 1.0
    assert found.advantage.low > 0.2
    assert found.agreement.high < 0.85


@pytest.mark.parametrize("variant", Variant)
def test_shift_when_the_model_follows_prices_then_no_change_of_the_question_matters(
    variant: Variant,
) -> None:
    found = shift(CELLS, variant, follows)
    assert (found.n, found.n_unanswered) == (200, 0)
    assert found.agreement.value == 1.0
    assert found.agreement.low == pytest.approx(200 / (200 + 1.959964**2))  # Wilson's
    assert found.advantage.value == 0.0


def test_shift_when_flipped_then_neither_an_action_nor_a_return_is_identical() -> None:
    rose = [cell for cell in CELLS if cell.question.moves_bp == (100,)]
    found = shift(rose, Variant.FLIPPED, follows)
    assert found.identical.value == 0.0
    assert found.shift_pct.value == pytest.approx(-1.99)  # from +1 % to -0.99 %


def test_shift_when_an_answer_is_missing_then_counted_and_left_out() -> None:
    found = shift(CELLS, Variant.MASKED, lambda q: follows(q) if q.ticker != "B" else None)
    assert (found.n, found.n_unanswered) == (100, 100)


def test_shift_when_every_answer_is_hold_then_no_hit_rate() -> None:
    found = shift(CELLS, Variant.FLIPPED, lambda _: says(0.0))
    assert found.agreement.value == 1.0  # the opposite of hold is hold
    assert found.hits_before.n == 0
    assert found.advantage.value == 0.0


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("move_pct", [1.0, -1.0])
def test_shift_when_the_model_says_one_thing_only_then_no_advantage(
    variant: Variant, move_pct: float
) -> None:
    found = shift(CELLS, variant, lambda _: says(move_pct))
    assert found.advantage.value == 0.0


def test_periods_when_the_model_always_sells_then_no_difference() -> None:
    found = periods(CELLS, PUBLISHED, lambda _: says(-1.0))
    assert found.difference.value == 0.0
    assert found.before.value == pytest.approx(1.0 - found.rises_before.value)


def test_periods_when_the_model_remembers_then_better_before_publication() -> None:
    found = periods(CELLS, PUBLISHED, remembers)
    assert found.before.value == 1.0
    assert found.after.value == found.rises_after.value  # it buys what it cannot know
    assert found.difference.low > 0.2
    assert found.before.n + found.after.n == 200 - 2 * 5  # five cutoffs are scored on both sides


def test_periods_when_the_model_follows_prices_then_no_difference_to_speak_of() -> None:
    found = periods(CELLS, PUBLISHED, follows)
    assert found.difference.low < 0.0 < found.difference.high


@given(st.lists(st.floats(1.0, 1000.0), min_size=2, max_size=30))
def test_varied_when_flipped_then_log_returns_are_negated(closes: list[float]) -> None:
    asked = Question(closes=tuple(closes), step=5)
    flipped = varied(asked, Variant.FLIPPED)
    assert flipped.closes[-1] == pytest.approx(closes[-1])
    for (a, b), (c, d) in zip(pairwise(closes), pairwise(flipped.closes), strict=True):
        assert math.log(b / a) == pytest.approx(-math.log(d / c), abs=1e-9)


@pytest.mark.parametrize("style", Style)
def test_varied_when_masked_then_no_word_of_ticker_or_date_is_left(style: Style) -> None:
    text = str(worded(varied(CELLS[0].question, Variant.MASKED), style=style)).replace("A at", "")
    assert "2019" not in text
    assert " A " not in text


def test_varied_when_rescaled_then_the_same_moves_at_another_level() -> None:
    asked = CELLS[0].question
    rescaled = varied(asked, Variant.RESCALED)
    assert rescaled.moves_bp == asked.moves_bp
    assert rescaled.closes[-1] == SCALE * asked.closes[-1]
    assert (rescaled.ticker, rescaled.sessions) == (asked.ticker, asked.sessions)


def test_mean_when_groups_move_together_then_as_wide_as_one_observation_a_group() -> None:
    """Compare with Student's interval of the ten group means, which are all that is known."""
    values = [0.1, 0.4, -0.2, 0.3, 0.0, 0.2, -0.1, 0.5, 0.1, -0.3]
    alone = mean(values, range(10), level=0.95)
    repeated = [v for v in values for _ in range(8)]
    eightfold = mean(repeated, [n // 8 for n in range(80)], level=0.95)
    assert (eightfold.low, eightfold.high) == pytest.approx((alone.low, alone.high))
    assert (alone.low, alone.high) == pytest.approx(
        tuple(stats.ttest_1samp(values, 0.0).confidence_interval(0.95))
    )


def test_share_when_all_agree_then_the_interval_is_not_a_point() -> None:
    found = share([1.0] * 20, range(20), level=0.95)
    assert (found.low, found.high) == (pytest.approx(20 / (20 + 1.959964**2)), 1.0)


def test_mean_when_nothing_is_known_then_no_number() -> None:
    assert mean([math.nan], ["a"], level=0.95).n == 0
    assert math.isnan(mean([1.0], ["a"], level=0.95).low)  # one group says nothing of spread
