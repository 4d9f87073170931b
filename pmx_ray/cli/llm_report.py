"""What the contamination meter says of a sweep's recorded answers."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import date

from rich.table import Table

from pmx_ray.backtest.sweep import Sweep
from pmx_ray.cli.llm_recording import replayed
from pmx_ray.cli.steps import Voice
from pmx_ray.errors import LlmError, SettingsError
from pmx_ray.forecasters.llm import LlmReplaySettings, asked_at, read_recording
from pmx_ray.forecasters.llm_view import View
from pmx_ray.leaks.choosing import outcomes
from pmx_ray.llm.answer import LLMRiskAssessment
from pmx_ray.llm.contamination import (
    Answers,
    Cell,
    Periods,
    Shift,
    Variant,
    periods,
    shift,
)
from pmx_ray.llm.estimate import Estimate
from pmx_ray.llm.question import Question

HEADINGS = (
    "pairs",
    "advice as due",
    "same answer",
    "shift, %",
    "right before",
    "right after",
    "advantage",
)
"""Of the figures of a ``Shift``, in its order."""


def report_contamination(voice: Voice, sweep: Sweep, *, published: date | None) -> None:
    """Print what each change of the questions does, and how the model fares once published.

    Raises
    ------
    SettingsError
        If no ``llm`` forecaster of the sweep shows names, or its recording cannot be used.
    """
    named = [replay for replay in replayed(sweep) if replay.view is View.NAMED]
    if not named:
        raise SettingsError("forecasters: no llm has view: named, so there is nothing to mask")
    for replay in named:
        answers, cells = answers_of(replay), list(cells_of(replay, sweep))
        shifts = [shift(cells, variant, answers) for variant in Variant]
        known = [found for found in shifts if found.n > 0]
        if known:
            _print_shifts(voice, replay, known)
        else:
            text = f"{replay.recording}: no changed question on record; record it with --changed"
            voice.say("unchanged", text, recording=replay.recording)
        if published is not None:
            _print_periods(voice, periods(cells, published, answers))


def cells_of(replay: LlmReplaySettings, sweep: Sweep) -> Iterator[Cell]:
    """Yield a sweep's questions with what came of them; those not out before the panel ends not."""
    plan, panel = sweep.plan, sweep.panel
    actual = outcomes(panel, plan.cutoff, replay.step)
    for row, fold, question in asked_at(replay, panel, plan):
        due = int(plan.cutoff[fold]) + replay.step
        if due < panel.n_sessions:
            yield Cell(question, float(actual[fold, row]), panel.sessions[due].item())


def answers_of(replay: LlmReplaySettings) -> Answers:
    """Return what a forecaster's recording holds, by question."""
    recording, asking = read_recording(replay), replay.asking

    def answer(question: Question) -> LLMRiskAssessment | None:
        exchange = recording.replay(asking.key(question))
        try:
            return None if exchange is None else exchange.assessment()
        except LlmError:
            return None

    return answer


def _print_shifts(voice: Voice, replay: LlmReplaySettings, shifts: list[Shift]) -> None:
    if voice.as_json:
        for found in shifts:
            voice.say("shift", "", recording=replay.recording, **asdict(found))
        return
    title = f"{replay.recording}: answers to changed questions, 95 % intervals"
    table = Table("change", title=title, title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for found in shifts:
        table.add_row(
            found.variant.value,
            str(found.n),
            _share(found.agreement),
            _share(found.identical),
            _number(found.shift_pct, "+.2f"),
            _share(found.hits_before),
            _share(found.hits_after),
            _share(found.advantage),
        )
    voice.console.print(table)


def _print_periods(voice: Voice, found: Periods) -> None:
    text = (
        f"outcomes before {found.day}: {_share(found.before)} of {found.before.n} right, "
        f"{_share(found.rises_before)} rose; cutoffs from then on: {_share(found.after)} of "
        f"{found.after.n} right, {_share(found.rises_after)} rose; hits less habit, before less "
        f"after: {_share(found.difference)}"
    )
    voice.say("periods", text, **asdict(found))


def _share(found: Estimate) -> str:
    if found.n == 0:
        return "-"
    return f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]"


def _number(found: Estimate, form: str) -> str:
    return f"{found.value:{form}} [{found.low:{form}}, {found.high:{form}}]"
