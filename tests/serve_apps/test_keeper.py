"""The keeper over a real registry and ledger: whose past it reads, how often, and what it keeps."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from peer_llm import PeerLlm
from serve_cases import MovingClock
from served import decided, evaluated_sweep, three_shares
from sqlalchemy import event
from waiting import until

import serve_apps.counsel
from pmx_ray.governance.opening import open_registry
from pmx_ray.governance.promotion import promote
from pmx_ray.governance.registration import register
from pmx_ray.governance.serving import forecast_now
from pmx_ray.ledger import Ledger, open_ledger
from pmx_ray.ledger.aliases import Alias, Aliases
from pmx_ray.ledger.assessments import Assessments
from pmx_ray.ledger.signal_log import SignalLog, SignalRecord
from pmx_ray.llm.recording import Recorder, Recording
from pmx_ray.signals.settings import SignalSettings
from pmx_ray.signals.types import Source
from pmx_ray.taxonomy import Action, RiskLevel
from serve_apps.bookmaking import past_quality
from serve_apps.keeper import EXCHANGES, Keeper
from serve_apps.settings import ServiceSettings

STEP, TOOK_OFFICE = 40, 100
PANEL = three_shares()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    home = tmp_path_factory.mktemp("kept")
    return evaluated_sweep(home, forecasters=({"name": "drift"},), steps=(1, STEP))


@pytest.fixture(scope="module")
def peer() -> Iterator[PeerLlm]:
    answering = PeerLlm()
    yield answering
    answering.stop()


@dataclass
class Office:
    """A champion at a step of 40 sessions, in office for two hundred, and its keeper's ledger."""

    settings: ServiceSettings
    ledger: Ledger
    clock: MovingClock

    @contextmanager
    def keeper(self) -> Iterator[Keeper]:
        home = self.settings.home()

        def forecast(panel, ids):
            registry = open_registry(home, make_key=False)
            return {model: forecast_now(panel, registry.load(model)) for model in ids}

        own = open_ledger(f"sqlite:///{home}/ledger.db")
        kept = Keeper(self.settings, own, clock=self.clock, forecast=forecast)
        try:
            yield kept
        finally:
            self.wait(kept)
            kept.stop()

    def wait(self, kept: Keeper) -> None:
        """Wait until the language model is not being asked."""
        counsel = kept._counsel
        until(lambda: counsel is None or not (counsel._thread and counsel._thread.is_alive()))

    def look(self, kept: Keeper, n: int = 1) -> None:
        for _ in range(n):
            kept.look()
            self.wait(kept)
        assert kept.status()["trouble"] == ""

    @property
    def champion(self) -> str:
        return Aliases(self.ledger).current()[Alias.CHAMPION].model

    def signals(self, *, wrong: bool) -> list[SignalRecord]:
        """Return what the champion said since it took office, always wrong or always right."""
        close = np.log(PANEL.close)
        sign = -0.1 if wrong else 0.1
        return [
            signal(t, ticker, sign * float(close[n, t + STEP] - close[n, t]), self.champion)
            for t in range(TOOK_OFFICE, PANEL.n_sessions - STEP)
            for n, ticker in enumerate(PANEL.tickers)
        ]


def signal(t: int, ticker: str, expected: float, model: str) -> SignalRecord:
    return SignalRecord(
        book_id=f"book {t} of {model}", ticker=ticker, source="champion",
        action=Action.BUY if expected > 0 else Action.SELL, risk_level=RiskLevel.LOW, step=STEP,
        expected_return=expected, volatility=0.05, confidence=0.6, position_frac=0.0,
        cutoff=PANEL.sessions[t].item(), model_id=model, label="drift", close=None, valid=None,
        why="By hand.",
    )  # fmt: skip


@pytest.fixture
def office(sweep, peer, tmp_path) -> Iterator[Office]:
    registry = open_registry(sweep.folder.parent)
    decision = decided(sweep, "drift", step=STEP)
    made = register(registry, sweep, decision)
    shutil.copytree(sweep.folder.parent / "models", tmp_path / "models")
    shutil.copy(sweep.folder.parent / "signing.key", tmp_path)
    rows = {
        "date": np.tile(PANEL.sessions.astype("datetime64[ns]"), PANEL.n_tickers),
        "ticker": np.repeat(PANEL.tickers, PANEL.n_sessions),
        "close": PANEL.close.ravel(),
    }
    pd.DataFrame(rows).to_parquet(tmp_path / "prices.parquet", index=False)
    settings = ServiceSettings.model_validate(
        {
            "root": str(tmp_path),
            "prices": {"source": "file", "path": str(tmp_path / "prices.parquet")},
            "data_quality_threshold": 0.9,
            "llm": {"host": peer.url, "timeout_s": 5.0, "attempts": 1},
        }
    )
    peer.mode = "good"
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        promote(
            registry, ledger, decision, made.challenger.id, actor="ann", approved_by=["ben"],
            key="first", clock=lambda: evening(TOOK_OFFICE), fallback=made.fallback.id,
        )  # fmt: skip
        yield Office(settings, ledger, MovingClock(evening(-1)))


def evening(session: int) -> datetime:
    return datetime.fromisoformat(f"{PANEL.sessions[session]}T22:00+00:00").astimezone(UTC)


def test_keeper_when_the_step_is_long_then_the_champion_is_judged_all_the_same(office):
    # Ninety days hold 22 sessions whose outcome is known, and a verdict takes 30.
    bad = office.signals(wrong=True)
    SignalLog(office.ledger).record(bad)
    with office.keeper() as kept:
        office.look(kept)
        assert "right direction in 0.0% of 90" in kept.status()["reverted"][0]
    assert office.champion != bad[0].model_id


def test_keeper_when_the_champion_is_sound_then_it_stays_and_its_whole_past_was_read(office):
    SignalLog(office.ledger).record(office.signals(wrong=False))
    with office.keeper() as kept:
        office.look(kept)
        assert kept.status()["reverted"] == []
        quality = kept._quality(PANEL, [])
        assert quality == {}
        first = min(record.cutoff for record in kept._known.past.records)
    assert first == PANEL.sessions[-30 - STEP].item()  # 30 sessions of outcomes, at this step


def test_keeper_when_a_book_is_made_and_heard_then_the_past_is_read_once(office):
    SignalLog(office.ledger).record(office.signals(wrong=False))
    with office.keeper() as kept:
        reads = []
        event.listen(
            kept._ledger.engine,
            "before_cursor_execute",
            lambda *told: reads.append(told[2]) if "signals.cutoff >= " in told[2] else None,
        )
        office.look(kept, n=3)
        assert kept.status()["n_books"] == 2
    judged, for_quality = sorted(reads, key=lambda text: "model_id = " not in text)
    assert "signals.source = " in judged
    assert "model_id = " not in for_quality


def test_quality_when_another_model_had_the_place_before_then_not_its_signals(office):
    bad = [replace(r, model_id="old") for r in office.signals(wrong=True)]
    good = office.signals(wrong=False)[-6:]
    found = past_quality(
        [*bad, *good], PANEL, SignalSettings(), models={Source.CHAMPION: office.champion}
    )
    assert (found[Source.CHAMPION].n_traded, found[Source.CHAMPION].hit_rate_frac) == (6, 1.0)
    assert past_quality(bad, PANEL, SignalSettings(), models={Source.CHAMPION: "new"}) == {}


def test_keeper_when_the_language_model_answered_then_a_restart_replays_it(office, peer):
    asked = peer.n_asked
    with office.keeper() as kept:
        office.look(kept, n=2)
        assert kept.status()["llm"]["answered"] == 3
    recording = Recording.load(office.settings.home() / EXCHANGES)
    calls = Assessments(office.ledger)
    since = PANEL.sessions[-1].item()
    first = calls.since(since)
    assert {call.key for call in first} == {exchange.key for exchange in recording}
    assert peer.n_asked == asked + 3
    office.clock.forward(1)
    with office.keeper() as again:
        office.look(again, n=2)
        assert again.status()["llm"]["answered"] == 3
    assert peer.n_asked == asked + 3
    replayed = [call for call in calls.since(since) if call not in first]
    assert {(c.cached, c.prompt_tokens, c.output_tokens, c.seconds) for c in replayed} == {
        (True, 0, 0, 0.0)
    }
    assert {(c.cached, c.prompt_tokens) for c in first} == {(False, 9)}


def test_keeper_when_an_answer_is_unusable_then_kept_and_not_asked_for_ever(
    office, peer, monkeypatch
):
    monkeypatch.setattr(serve_apps.counsel, "AGAIN_S", 0.0)
    peer.mode, asked = "garbage", peer.n_asked
    with office.keeper() as kept:
        for _ in range(6):
            office.clock.forward(1)
            office.look(kept)
        assert len(kept.status()["llm"]["failures"]) == 3
    assert peer.n_asked == asked + 3
    calls = Assessments(office.ledger).since(PANEL.sessions[-1].item())
    assert sorted((c.cached, c.prompt_tokens) for c in calls) == [(False, 9)] * 3 + [(True, 0)] * 3


def test_keeper_when_the_recording_is_held_then_it_speaks_and_says_so(office):
    with Recorder(office.settings.home() / EXCHANGES), office.keeper() as kept:
        office.look(kept, n=2)
        told = kept.status()["llm"]
        assert told["answered"] == 3
        assert "another process is recording" in told["unrecorded"]
