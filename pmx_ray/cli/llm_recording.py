"""Asking a language model what a sweep's forecasters will look up."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from pmx_ray.backtest.sweep import Sweep
from pmx_ray.cli.progress import LINE_EVERY_S
from pmx_ray.cli.steps import Voice
from pmx_ray.errors import LlmError, SettingsError
from pmx_ray.forecasters.llm import SHIPPED, LlmReplaySettings, questions
from pmx_ray.forecasters.llm_view import View
from pmx_ray.llm.asking import Asking
from pmx_ray.llm.client import LlmClient
from pmx_ray.llm.contamination import Variant, varied
from pmx_ray.llm.question import Question
from pmx_ray.llm.recording import Exchange, Recorder
from pmx_ray.llm.settings import LlmSettings


def record_sweep(
    voice: Voice,
    sweep: Sweep,
    settings: LlmSettings,
    *,
    model: str,
    out: Path | None,
    changed: bool,
) -> None:
    """Record what every ``llm`` forecaster of a sweep looks up; print the hash to pin.

    Parameters
    ----------
    voice : Voice
    sweep : Sweep
    settings : LlmSettings
        Server and patience.
    model : str
        As the server lists it; its digest must be the one that the forecaster names.
    out : Path, optional
        File to record into instead of the one that each forecaster names.
    changed : bool
        Whether the variants of the contamination meter are asked too.

    Raises
    ------
    SettingsError
        If the sweep has no such forecaster, its recording comes with the package, or the server
        has other weights under the model's name.
    LlmError
        If the server stops answering; what was recorded stays.
    """
    with closing(LlmClient(settings)) as client:
        digest = client.digest(model)
        for replay in replayed(sweep):
            path = out or _own_file(replay)
            if digest != replay.digest:
                raise SettingsError(
                    f"{settings.host}: '{model}' has the digest {digest[:12]}; the forecaster "
                    f"names {replay.digest[:12]}: write digest: {digest}"
                )
            asking = replay.asking.model_copy(update={"model": model})
            asked = list(asked_of(replay, sweep, changed=changed))
            voice.say("file", f"{path}:", recording=str(path))
            with Recorder(path) as recorder:
                _record(voice, client, asking, asked, recorder)
            found = sha256(path.read_bytes()).hexdigest()
            voice.say("recorded", f"pin it: sha256: {found}", recording=str(path), sha256=found)


def replayed(sweep: Sweep) -> tuple[LlmReplaySettings, ...]:
    """Return the settings of a sweep's ``llm`` forecasters.

    Raises
    ------
    SettingsError
        If there is none.
    """
    found = [spec.settings for spec in sweep.specs if spec.name == "llm"]
    known = tuple(item for item in found if isinstance(item, LlmReplaySettings))
    if not known:
        raise SettingsError(
            "forecasters: none is an llm; add e.g. "
            "{name: llm, recording: answers.jsonl, view: named}"
        )
    return known


def asked_of(replay: LlmReplaySettings, sweep: Sweep, *, changed: bool) -> Iterator[Question]:
    """Yield what a forecaster looks up; with ``changed``, what the meter compares it with too."""
    asked = list(questions(replay, sweep.panel, sweep.plan))
    yield from asked
    if changed and replay.view is View.NAMED:
        for variant in Variant:
            yield from (varied(question, variant) for question in asked)


def _own_file(replay: LlmReplaySettings) -> Path:
    if replay.recording.startswith(SHIPPED):
        raise SettingsError(
            f"recording: {replay.recording} comes with the package; name a file of your own, or "
            "give --out FILE"
        )
    return replay.path


def _record(
    voice: Voice,
    client: LlmClient,
    asking: Asking,
    asked: Sequence[Question],
    recorder: Recorder,
) -> None:
    missing = [q for q in asked if recorder.replay(asking.key(q)) is None]
    kept = len(asked) - len(missing)
    voice.say(
        "recording",
        f"{len(asked)} questions, {kept} answered already",
        questions=len(asked),
        recorded=kept,
    )
    started = last_line = time.monotonic()
    useless = 0
    for number, question in enumerate(missing, start=1):
        exchange = client.ask(asking, question)
        recorder.append(exchange)
        useless += not _usable(exchange)
        now = time.monotonic()
        if now - last_line >= LINE_EVERY_S or number == len(missing):
            last_line, pace = now, (now - started) / number
            voice.say(
                "progress",
                f"recorded {kept + number} of {len(asked)}, {useless} useless answers, "
                f"{pace:.1f} s a question, about {pace * (len(missing) - number):.0f} s left",
                recorded=kept + number,
                of=len(asked),
                useless=useless,
                seconds_a_question=round(pace, 2),
            )


def _usable(exchange: Exchange) -> bool:
    try:
        exchange.assessment()
    except LlmError:
        return False
    return True
