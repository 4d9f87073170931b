"""The leak audit of a replayed language model: questions, not only answers, are of history alone.

A model that says the same to everything hides any leak in what it is asked. So the questions
themselves are audited here, and answers that follow a rule which makes them differ.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from forecasters.llm_answers import DIGEST, write

from pmx_ray.data.panel import Panel
from pmx_ray.folds import FoldPlan
from pmx_ray.forecasters.llm import LlmReplaySettings
from pmx_ray.forecasters.llm_view import View, every_sketch, shown
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.leaks.audit import LeakAudit, audit
from pmx_ray.leaks.bench import Bench
from pmx_ray.leaks.stages import ForecasterStage, Outputs, Stage

History = Callable[[Panel, FoldPlan, int], Panel]


class QuestionStage:
    """The hash of each cell's question as four numbers."""

    kind = "forecaster"

    def __init__(self, view: View, history: History) -> None:
        self.name = f"question({view})"
        self._settings = LlmReplaySettings(digest=DIGEST, view=view)
        self._history = history

    def outputs(self, panel: Panel, plan: FoldPlan) -> Outputs:
        rows = [
            [self._numbers(panel.select((ticker,)), plan, fold) for ticker in panel.tickers]
            for fold in range(len(plan))
        ]
        return Outputs(np.array(rows, np.float64), plan.cutoff, panel.tickers)

    def _numbers(self, panel: Panel, plan: FoldPlan, fold: int) -> list[int]:
        question = shown(
            self._history(panel, plan, fold), view=self._settings.view, window=20, step=5
        ).question
        key = self._settings.asking.key(question)
        return [int(key[start : start + 12], 16) for start in range(0, 48, 12)]


def honest(panel: Panel, plan: FoldPlan, fold: int) -> Panel:
    return plan.context(panel, fold)


def a_session_late(panel: Panel, plan: FoldPlan, fold: int) -> Panel:
    stop = min(int(plan.cutoff[fold]) + 2, panel.n_sessions)
    return panel.window(int(plan.context_start[fold]), stop)


def audited(stage: Stage) -> LeakAudit:
    bench = Bench(ForecasterSpec.parse({"name": "random_walk"}), input_size=260)
    return audit([stage], bench.panel, bench.plan, rng=np.random.default_rng(0))


@pytest.mark.parametrize("view", View)
def test_audit_when_questions_are_made_of_history_then_not_accused(view: View) -> None:
    found = audited(QuestionStage(view, honest))
    assert found.findings == ()
    assert found.n_probes > 0


@pytest.mark.parametrize("view", View)
def test_audit_when_a_question_shows_the_next_session_then_caught(view: View) -> None:
    found = audited(QuestionStage(view, a_session_late))
    assert {finding.probe for finding in found.findings} >= {"overwrite"}


def test_audit_when_answers_follow_what_is_shown_then_not_accused(tmp_path: Path) -> None:
    settings = LlmReplaySettings(digest=DIGEST)
    pinned = write(tmp_path / "r.jsonl", every_sketch(step=5), settings=settings)
    spec = ForecasterSpec.parse({"name": "llm", **pinned.model_dump(mode="json")})
    found = audited(ForecasterStage(spec))
    assert found.findings == ()
    assert all(probed.n > 0 for probed in found.probed)  # every world is answered
