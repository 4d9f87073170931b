"""The replayed language model: what it asks, what an answer becomes, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
from forecasters.llm_answers import BUY, DIGEST, follow, write
from hypothesis import given
from hypothesis import strategies as st

from pmx_ray.data.panel import Panel
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldSettings, build_folds
from pmx_ray.forecasters.batch import forecast_folds
from pmx_ray.forecasters.llm import (
    SHIPPED_SHA256,
    SMOLLM2,
    Llm,
    LlmReplaySettings,
    questions,
    read_recording,
)
from pmx_ray.forecasters.llm_view import View, every_sketch, shown, sketch, sketch_question
from pmx_ray.forecasters.naive import RandomWalk, RandomWalkSettings
from pmx_ray.forecasters.protocol import Failure, Forecast, Status
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.llm.prompts import worded

STEPS = (1, 5, 20)


def settings_of(**given: object) -> LlmReplaySettings:
    return LlmReplaySettings.model_validate({"digest": DIGEST, **given})


def walk(n: int = 120, *, seed: int = 3) -> np.ndarray:
    return 50.0 * np.exp(np.cumsum(0.02 * np.random.default_rng(seed).standard_normal(n)))


def outcome_of(forecaster: Llm, history: Panel) -> Forecast | Failure:
    (outcome,) = forecaster.fit(history, rng=np.random.default_rng(0)).forecast(STEPS)
    return outcome


# what is asked


@given(st.lists(st.integers(-2, 2), min_size=3, max_size=3))
def test_sketch_question_when_made_then_its_moves_are_the_sketch_and_it_ends_at_100(
    moves: list[int],
) -> None:
    question = sketch_question(moves, step=5)
    assert question.moves_bp == tuple(100 * move for move in moves)
    assert question.closes[-1] == 100.0
    assert (question.ticker, question.sessions) == ("", None)


def test_every_sketch_when_listed_then_125_prompts() -> None:
    assert len({worded(question).user for question in every_sketch(step=5)}) == 125


@given(st.lists(st.floats(-0.5, 0.5), min_size=3, max_size=40), st.floats(1e-6, 1.0))
def test_sketch_when_returns_are_anything_then_one_of_the_125(
    returns: list[float], volatility: float
) -> None:
    question = sketch_question(sketch(np.array(returns), volatility), step=5)
    assert question in every_sketch(step=5)


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_shown_when_prices_are_rescaled_then_the_same_sketch(factor: float, history_of) -> None:
    close = walk()
    one, other = (
        shown(history_of(prices), view=View.SKETCH, window=20, step=5)
        for prices in (close, factor * close)
    )
    assert one.question == other.question
    assert one.scale == pytest.approx(other.scale)


def test_shown_when_named_then_the_last_closes_with_ticker_and_sessions(history_of) -> None:
    close = walk()
    close[-3] = np.nan
    history = history_of(close)
    question = shown(history, view=View.NAMED, window=4, step=5).question
    assert question.closes == tuple(close[[-5, -4, -2, -1]])
    assert question.ticker == "A"
    assert question.cutoff == history.sessions[-1].item()


def test_shown_when_masked_then_the_same_closes_and_no_name(history_of) -> None:
    history = history_of(walk())
    named, masked = (
        shown(history, view=view, window=9, step=5).question for view in (View.NAMED, View.MASKED)
    )
    assert masked.closes == named.closes
    assert (masked.ticker, masked.sessions) == ("", None)


# what an answer becomes


@pytest.mark.parametrize("view", [View.NAMED, View.MASKED])
def test_forecast_when_the_answer_is_one_percent_in_five_sessions_then_spread_over_the_steps(
    view: View, tmp_path: Path, history_of
) -> None:
    history, settings = history_of(walk()), settings_of(view=view)
    question = shown(history, view=view, window=20, step=5).question
    pinned = write(tmp_path / "r.jsonl", [question], settings=settings, rule=lambda _: BUY)
    outcome = outcome_of(Llm(pinned), history)
    assert outcome.mean == pytest.approx(np.log(1.01) / 5 * np.array(STEPS))


def test_forecast_when_shown_a_sketch_then_the_answer_is_in_units_of_the_volatility(
    tmp_path: Path, history_of
) -> None:
    history = history_of(walk())
    settings = settings_of()
    pinned = write(
        tmp_path / "r.jsonl", every_sketch(step=5), settings=settings, rule=lambda _: BUY
    )
    volatility = float(np.std(np.diff(np.log(walk()))))
    outcome = outcome_of(Llm(pinned), history)
    assert outcome.mean[1] == pytest.approx(np.log(1.01) * volatility / 0.01)


def test_forecast_when_answered_then_the_variance_is_the_random_walk_s(
    tmp_path: Path, history_of
) -> None:
    history = history_of(walk())
    pinned = write(tmp_path / "r.jsonl", every_sketch(step=5), settings=settings_of())
    walked = RandomWalk(RandomWalkSettings()).fit(history, rng=np.random.default_rng(0))
    (other,) = walked.forecast(STEPS)
    assert outcome_of(Llm(pinned), history).variance.tobytes() == other.variance.tobytes()


@pytest.mark.parametrize(
    ("rule", "done_reason", "said"),
    [
        (lambda _: "I would buy.", "stop", "not one JSON object"),
        (follow, "length", "cut off"),
        (lambda _: '{"action":"buy","bp":9999,"confidence":1,"risk":"low"}', "stop", "bp"),
    ],
)
def test_forecast_when_the_answer_is_useless_then_unanswered_and_why(
    rule, done_reason: str, said: str, tmp_path: Path, history_of
) -> None:
    settings = settings_of()
    pinned = write(
        tmp_path / "r.jsonl",
        every_sketch(step=5),
        settings=settings,
        rule=rule,
        done_reason=done_reason,
    )
    outcome = outcome_of(Llm(pinned), history_of(walk()))
    assert isinstance(outcome, Failure)
    assert outcome.status is Status.UNANSWERED
    assert said in outcome.reason


def test_forecast_when_nobody_asked_then_unanswered_and_what_to_do(
    tmp_path: Path, history_of
) -> None:
    history = history_of(walk())
    pinned = write(tmp_path / "r.jsonl", every_sketch(step=5), settings=settings_of(view="masked"))
    outcome = outcome_of(Llm(pinned), history)
    assert isinstance(outcome, Failure)
    assert outcome.status is Status.UNANSWERED
    assert f"A at {history.sessions[-1]}" in outcome.reason
    assert "pmx llm record" in outcome.reason


# what a sweep looks up


@pytest.mark.parametrize("view", View)
def test_questions_when_recorded_then_every_cell_of_the_sweep_is_answered(
    view: View, tmp_path: Path, history_of
) -> None:
    panel = history_of(np.vstack([walk(200, seed=1), walk(200, seed=2)]))
    plan = build_folds(panel.sessions, FoldSettings(input_size=90, step_size=20, steps=STEPS))
    settings = settings_of(view=view, window=6)
    pinned = write(tmp_path / "r.jsonl", questions(settings, panel, plan), settings=settings)
    for ticker in panel.tickers:
        batch = forecast_folds(
            Llm(pinned), panel.select((ticker,)), plan, lambda _: np.random.default_rng(0)
        )
        assert (batch.status == Status.OK).all()


def test_questions_when_a_ticker_is_not_listed_yet_then_it_is_not_asked_about(history_of) -> None:
    late = walk(200, seed=2)
    late[:150] = np.nan
    panel = history_of(np.vstack([walk(200, seed=1), late]))
    plan = build_folds(panel.sessions, FoldSettings(input_size=90, step_size=20, steps=(1, 5)))
    asked = list(questions(settings_of(view="named"), panel, plan))
    assert sum(question.ticker == "A" for question in asked) == len(plan)
    late_ones = [question for question in asked if question.ticker == "B"]
    assert late_ones
    assert all(len(question.closes) > 20 - 1 for question in late_ones)
    assert min(question.cutoff for question in late_ones) >= panel.sessions[170].item()


# which recording


def test_read_recording_when_the_file_has_changed_then_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    pinned = write(path, every_sketch(step=5), settings=settings_of())
    path.write_bytes(path.read_bytes()[: path.read_bytes().rfind(b"\n", 0, -1) + 1])
    with pytest.raises(SettingsError, match="hashes to"):
        Llm(pinned)


def test_read_recording_when_changed_after_a_first_use_then_still_what_the_hash_says(
    tmp_path: Path,
) -> None:
    path = tmp_path / "r.jsonl"
    pinned = write(path, every_sketch(step=5), settings=settings_of())
    first = read_recording(pinned)
    other = write(path, every_sketch(step=1), settings=settings_of(step=1))
    assert read_recording(pinned).sha256 == first.sha256 == pinned.sha256
    assert read_recording(other).sha256 == other.sha256 != first.sha256


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"recording": "absent.jsonl", "sha256": "0" * 64}, "cannot be read"),
        ({"recording": "absent.jsonl"}, "pmx llm record"),
    ],
)
def test_build_when_there_is_no_recording_then_says_what_to_do(
    given: dict[str, str], said: str
) -> None:
    spec = ForecasterSpec.parse({"name": "llm", **given})  # so that `pmx llm record` can read it
    with pytest.raises(SettingsError, match=said):
        spec.build()


def test_spec_when_another_recording_is_pinned_then_another_forecaster() -> None:
    one, other = (
        ForecasterSpec.parse({"name": "llm", "recording": "r.jsonl", "sha256": digit * 64})
        for digit in "12"
    )
    assert one.id != other.id
    assert dict(one.params)["sha256"] == "1" * 64


def test_spec_when_the_recording_is_shipped_then_pinned_without_a_word_in_the_label() -> None:
    spec = ForecasterSpec.parse(
        {"name": "llm", "recording": "pmx:us_equities.jsonl", "view": "named"}
    )
    assert dict(spec.params)["sha256"] == SHIPPED_SHA256["pmx:us_equities.jsonl"]
    assert spec.label == "llm(recording=pmx:us_equities.jsonl, view=named)"


@pytest.mark.parametrize("name", SHIPPED_SHA256)
def test_shipped_recording_when_read_then_all_of_one_model_and_each_answer_usable(
    name: str,
) -> None:
    recording = read_recording(LlmReplaySettings(recording=name))
    assert len(recording) >= 125
    assert {exchange.digest for exchange in recording} == {SMOLLM2}
    for exchange in recording:
        exchange.assessment()


def test_default_when_any_sketch_is_asked_then_it_is_on_record() -> None:
    settings = LlmReplaySettings()
    recording = read_recording(settings)
    keys = [settings.asking.key(question) for question in every_sketch(step=settings.step)]
    assert all(recording.replay(key) is not None for key in keys)
