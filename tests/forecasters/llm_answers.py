"""Recordings whose answers follow a rule made by hand, so that forecasts are known."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from pmx_ray.forecasters.llm import LlmReplaySettings
from pmx_ray.llm.question import Question
from pmx_ray.llm.recording import Exchange, Recorder

DIGEST = sha256(b"a rule made by hand").hexdigest()

BUY = '{"action":"buy","bp":100,"confidence":60,"risk":"low"}'


def follow(question: Question) -> str:
    """Answer with the last move once more."""
    move = question.moves_bp[-1]
    action = "buy" if move > 0 else "sell" if move < 0 else "hold"
    return f'{{"action":"{action}","bp":{min(abs(move), 2000)},"confidence":50,"risk":"medium"}}'


def write(
    path: Path,
    asked: Iterable[Question],
    *,
    settings: LlmReplaySettings,
    rule: Callable[[Question], str] = follow,
    done_reason: str = "stop",
) -> LlmReplaySettings:
    """Record answers by rule; return the settings with the recording pinned."""
    with Recorder(path) as recorder:
        for question in asked:
            recorder.append(
                Exchange(
                    key=settings.asking.key(question),
                    model="rule",
                    digest=settings.digest,
                    style=settings.style,
                    ticker=question.ticker,
                    cutoff=question.cutoff,
                    step=question.step,
                    text=rule(question),
                    done_reason=done_reason,
                    prompt_tokens=0,
                    output_tokens=0,
                    seconds=0.0,
                    recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
                )
            )
    pinned = sha256(path.read_bytes()).hexdigest()
    return settings.model_copy(update={"recording": str(path), "sha256": pinned})
