"""The language model beside the models in service: asked once a bar, in a thread of its own.

A slow or dead language model holds up nothing: the book is out before it is asked, and comes out
again with its answers.
"""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
import structlog

from pmx_ray.clock import Clock
from pmx_ray.data.panel import Panel, observed_returns
from pmx_ray.errors import PmxError
from pmx_ray.forecasters.llm_view import View, shown
from pmx_ray.ledger.assessments import AssessmentRecord, Assessments, CallStatus
from pmx_ray.llm.adviser import Advice, Adviser, LlmFailure
from pmx_ray.llm.question import Question
from pmx_ray.llm.settings import LlmSettings
from pmx_ray.provenance import canonical_json, sha256_hex
from pmx_ray.signals.making import Statement
from pmx_ray.signals.types import ModelRef, Source
from pmx_ray.taxonomy import Action
from serve_apps.bookmaking import Moments, Speaker

AGAIN_S = 30.0
"""Seconds until a language model that failed on some tickers is asked about them again."""

MIN_RETURNS, WIDTH_RETURNS = 20, 250
"""Fewest and most log returns from which the width of an answer is taken."""

Bar: TypeAlias = tuple[str, int]
"""Hash of the prices, and the horizon."""

_log = structlog.get_logger()


@dataclass
class _Round:
    """Questions about one bar."""

    bar: Bar
    answers: dict[str, Advice]
    failures: dict[str, str]
    asked_at_s: float
    told: int = -1
    settled: set[str] = field(default_factory=set)  # whose unusable answer would come again


class Counsel:
    """Asks a language model about every ticker of a bar.

    Parameters
    ----------
    adviser : Adviser
        Who is asked.
    settings : LlmSettings
        How many sessions it is shown.
    assessments : Assessments
        Gets a record of every question.
    clock : callable
        The time.
    """

    def __init__(
        self,
        adviser: Adviser,
        settings: LlmSettings,
        *,
        assessments: Assessments,
        clock: Clock,
    ) -> None:
        self._adviser, self._settings = adviser, settings
        self._assessments, self._clock = assessments, clock
        self._round: _Round | None = None
        self._thread: threading.Thread | None = None

    def status(self) -> dict[str, Any]:
        """Return how the language model is, as JSON values."""
        current = self._round
        if current is None:
            return {"asked": 0, "answered": 0, "failures": {}}
        return {
            "asked": len(current.answers) + len(current.failures),
            "answered": len(current.answers),
            "failures": dict(list(current.failures.items())[:5]),
        }

    def heard(self, panel: Panel, *, step: int) -> Speaker | str | None:
        """Return what the model said about a bar if it is news, why it says nothing, or None.

        The first call about a bar begins to ask and returns None. What was said is said again
        until ``passed_on`` is called.

        Parameters
        ----------
        panel : Panel
            Prices up to now.
        step : int
            Sessions ahead.
        """
        if self._thread is not None and self._thread.is_alive():
            return None
        bar = (panel.sha256, step)
        current = self._round
        if current is None or current.bar != bar:
            self._round = _Round(bar, {}, {}, -1e18)
            self._ask(panel, step, panel.tickers)
            return None
        if current.told != len(current.answers):
            return self.said(panel, step=step)
        again = tuple(ticker for ticker in current.failures if ticker not in current.settled)
        if again and time.monotonic() - current.asked_at_s >= AGAIN_S:
            self._ask(panel, step, again)
        return None

    def passed_on(self) -> None:
        """Take note that what was heard last is on the shelf."""
        if self._round is not None:
            self._round.told = len(self._round.answers)

    def _ask(self, panel: Panel, step: int, tickers: Sequence[str]) -> None:
        current = self._round
        assert current is not None  # noqa: S101 - set by the caller
        current.asked_at_s = time.monotonic()
        questions, silent = _questions(panel, tickers, step, self._settings.n_sessions)
        current.failures.update(silent)
        self._thread = threading.Thread(
            target=self._run, args=(current, questions), name="counsel", daemon=True
        )
        self._thread.start()

    def _run(self, current: _Round, questions: Mapping[str, Question]) -> None:
        try:
            answers = self._adviser.ask_many(list(questions.values()))
        except PmxError as error:
            current.failures.update(dict.fromkeys(questions, str(error)))
            return
        except Exception as error:  # noqa: BLE001 - a defect is a failure of the model, not ours
            _log.error("language model failed", error=repr(error), exc_info=True)
            current.failures.update(dict.fromkeys(questions, f"asking failed: {error!r}"))
            return
        self._record(answers)
        digests = {a.exchange.digest for a in answers if isinstance(a, Advice)}
        digests |= {a.exchange.digest for a in current.answers.values()}
        if len(digests) > 1:
            why = "the model behind its name changed while it was asked; it is asked again"
            current.failures.update(dict.fromkeys((*current.answers, *questions), why))
            current.answers = {}
            current.settled.clear()
            return
        for ticker, answer in zip(questions, answers, strict=True):
            match answer:
                case Advice():
                    current.answers[ticker] = answer
                    current.failures.pop(ticker, None)
                case LlmFailure():
                    current.failures[ticker] = answer.reason
                    if answer.cached:
                        current.settled.add(ticker)

    def _record(self, answers: Sequence[Advice | LlmFailure]) -> None:
        at = self._clock()
        try:
            self._assessments.record([_assessed(answer, at) for answer in answers])
        except PmxError as error:  # the answers are worth more than their record
            _log.warning("assessments not recorded", error=str(error))

    def said(self, panel: Panel, *, step: int) -> Speaker | str:
        """Return what the model said about a bar so far, or why it says nothing."""
        current = self._round
        if current is None or current.bar != (panel.sha256, step):
            return "the language model was not asked about this bar yet"
        if not current.answers:
            first = next(iter(current.failures.values()), "it is being asked")
            return f"the language model answered on no ticker: {first}"
        exchange = next(iter(current.answers.values())).exchange
        model = ModelRef(
            source=Source.LLM,
            label=f"llm {exchange.model}",
            spec_id=exchange.model,
            model_id=exchange.digest,
            alias_version=0,
            certified=False,
            standing="A language model; it was not judged, and stakes nothing of its own.",
        )
        expects = {
            ticker: _moments(answer, panel, ticker, step)
            for ticker, answer in current.answers.items()
        }
        return Speaker(model, step, None, expects, dict(current.failures))


def _assessed(answer: Advice | LlmFailure, at: datetime) -> AssessmentRecord:
    """Return a question and what came of it as the ledger keeps it.

    Tokens and seconds are those that it took now: none where the answer was there already.
    """
    question, exchange = answer.question, answer.exchange
    made = None if answer.cached else exchange
    said = answer.assessment if isinstance(answer, Advice) else None
    asked = canonical_json(question.model_dump(mode="json"))
    return AssessmentRecord(
        key=sha256_hex(asked) if exchange is None else exchange.key,
        model="" if exchange is None else exchange.model,
        digest="" if exchange is None else exchange.digest,
        ticker=question.ticker,
        cutoff=question.cutoff or at.date(),
        action=Action.HOLD if said is None else said.action,
        risk_level=None if said is None else said.risk_level,
        confidence=None if said is None else said.confidence,
        expected_return=None if said is None else math.log1p(said.expected_return_pct / 100.0),
        prompt_tokens=0 if made is None else made.prompt_tokens,
        output_tokens=0 if made is None else made.output_tokens,
        seconds=0.0 if made is None else made.seconds,
        cached=answer.cached,
        status=CallStatus.FAILED if said is None else CallStatus.ANSWERED,
        reason="" if isinstance(answer, Advice) else answer.reason,
        at=at,
    )


def _questions(
    panel: Panel, tickers: Sequence[str], step: int, n_sessions: int
) -> tuple[dict[str, Question], dict[str, str]]:
    """Return a question a ticker, the one that a sweep's recording asks, and why there is none."""
    questions, silent = {}, {}
    for ticker in tickers:
        history = panel.select((ticker,))
        closes = history.close[0]
        if np.isnan(closes[-1]) or (~np.isnan(closes[-n_sessions:])).sum() < 2:
            silent[ticker] = "it has no price at the cutoff"
            continue
        asked = shown(history, view=View.NAMED, window=n_sessions, step=step)
        questions[ticker] = asked.question
    return questions, silent


def _moments(advice: Advice, panel: Panel, ticker: str, step: int) -> Moments:
    """Return an answer as moments: its own mean, and the width of the ticker's own moves."""
    said = advice.assessment
    moves = observed_returns(panel.select((ticker,)))[-WIDTH_RETURNS:]
    own = float(moves.var(ddof=1)) if len(moves) >= MIN_RETURNS else 0.0
    return Moments(
        math.log1p(said.expected_return_pct / 100.0),
        max(own, 1e-8) * step,
        Statement(said.action, said.confidence, said.risk_level),
    )
