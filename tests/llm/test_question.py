"""Questions and their wording: what the model gets to see, by hand."""

from datetime import date

import pytest
from pydantic import ValidationError

from pmx_ray.llm.answer import ANSWER_SCHEMA
from pmx_ray.llm.asking import Asking
from pmx_ray.llm.prompts import Style, worded
from pmx_ray.llm.question import Question

DAYS = (date(2022, 3, 1), date(2022, 3, 2), date(2022, 3, 4))
KO = Question(ticker="KO", sessions=DAYS, closes=(50.0, 51.0, 50.49), step=5)
ASKING = Asking(model="m", digest="d1")


def test_moves_when_hand_made_then_whole_basis_points() -> None:
    assert KO.moves_bp == (200, -100)
    assert KO.cutoff == date(2022, 3, 4)


@pytest.mark.parametrize(
    "change",
    [
        {"closes": (50.0,)},
        {"closes": (50.0, 0.0, 1.0)},
        {"closes": (50.0, float("nan"), 1.0)},
        {"closes": (50.0, 51.0)},
        {"sessions": (DAYS[1], DAYS[0], DAYS[2])},
        {"sessions": (DAYS[0], DAYS[0], DAYS[2])},
        {"step": 0},
        {"closes": (1.0,) * 251, "sessions": None},
    ],
)
def test_question_when_it_cannot_be_asked_then_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Question.model_validate({**KO.model_dump(), **change})


def test_compact_prompt_when_worded_then_one_line_of_moves() -> None:
    assert worded(KO).user == "KO 2022-03-04 at 50.49. Daily moves in bp: 200 -100. Next 5 days?"


def test_plain_prompt_when_worded_then_a_row_a_session() -> None:
    text = worded(KO, style=Style.PLAIN).user
    assert "prices of KO" in text
    assert "\n2022-03-01: 50.00\n2022-03-02: 51.00\n2022-03-04: 50.49\n" in text


@pytest.mark.parametrize("style", list(Style))
def test_prompt_when_hidden_then_neither_ticker_nor_date(style: Style) -> None:
    hidden = KO.model_copy(update={"ticker": "", "sessions": None})
    prompt = worded(hidden, style=style)
    assert "KO" not in prompt.user + prompt.system
    assert "2022" not in prompt.user + prompt.system


def test_prompt_when_prices_are_tiny_then_their_digits_stay() -> None:
    tiny = KO.model_copy(update={"closes": (0.00123, 0.00124, 0.001237)})
    assert "at 0.001237." in worded(tiny).user


@pytest.mark.parametrize(
    "other",
    [
        ASKING.model_copy(update={"digest": "d2"}),
        ASKING.model_copy(update={"style": Style.PLAIN}),
        ASKING.model_copy(update={"max_tokens": 65}),
        ASKING.model_copy(update={"temperature": 0.5}),
        ASKING.model_copy(update={"seed": 1}),
    ],
)
def test_key_when_anything_that_matters_differs_then_another(other: Asking) -> None:
    assert other.key(KO) != ASKING.key(KO)


def test_key_when_question_differs_then_another_and_same_otherwise() -> None:
    keys = {
        ASKING.key(KO),
        ASKING.key(KO.model_copy(update={"step": 1})),
        ASKING.key(KO.model_copy(update={"ticker": "PEP"})),
        ASKING.key(KO.model_copy(update={"closes": (50.0, 51.0, 50.5)})),
    }
    assert len(keys) == 4
    assert ASKING.key(KO) == Asking(model="renamed", digest="d1").key(KO)


def test_schema_when_hashed_then_the_one_recordings_were_made_with() -> None:
    # A change here makes every recording unfindable: record anew, and say so.
    assert list(ANSWER_SCHEMA["properties"]) == ["action", "bp", "confidence", "risk"]  # type: ignore[call-overload]
    assert ASKING.key(KO).startswith("5b99488fa734")
