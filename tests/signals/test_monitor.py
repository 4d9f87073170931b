"""The monitor: outcomes by hand, and a champion that leaves without a person."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from conftest import walk
from served import decided, evaluated_sweep, registered, registry_of
from sqlalchemy import delete

from pmx_ray._typing import FloatArray
from pmx_ray.backtest.costs import CostSettings
from pmx_ray.backtest.strategy import TradingRule
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.data.panel import Panel
from pmx_ray.errors import RegistryError
from pmx_ray.governance.decision import GovernanceDecision, Outcome
from pmx_ray.governance.policy import GovernancePolicy
from pmx_ray.governance.promotion import promote, revert
from pmx_ray.ledger import Ledger, open_ledger
from pmx_ray.ledger.aliases import Alias, Aliases
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.books import Bookshelf
from pmx_ray.ledger.chain import AuditEntry
from pmx_ray.ledger.signal_log import SignalLog, SignalRecord
from pmx_ray.ledger.tables import SignalRow
from pmx_ray.signals.monitor import _first_cutoff, health_of, watch
from pmx_ray.taxonomy import Action, RiskLevel

COSTS = CostSettings(slippage_bps=5.0, fee_bps=5.0).build()  # a round trip is 0.2 %
DAYS = walk("A", 12).sessions
NOW = datetime(2015, 1, 21, 21, 0, tzinfo=UTC)  # a day after DAYS[-1] closed


def panel_of(*closes: list[float]) -> Panel:
    prices = np.array(closes)
    return Panel("XNYS", tuple("ABC"[: len(closes)]), DAYS[: prices.shape[1]], prices)


def said(
    panel: Panel, ticker: str, cutoff: int, expected: float, action: Action, **changes: object
) -> SignalRecord:
    """Return what the champion said at the close of one session."""
    record = SignalRecord(
        book_id=f"book {cutoff}", ticker=ticker, source="champion", action=action,
        risk_level=RiskLevel.LOW, step=1, expected_return=expected, volatility=0.01,
        confidence=0.6, position_frac=0.0, cutoff=panel.sessions[cutoff].item(),
        model_id="m", label="drift", close=None, valid=True, why="It was told to.",
    )  # fmt: skip
    return replace(record, **changes)


BUY, SELL, HOLD = Action.BUY, Action.SELL, Action.HOLD


def test_health_when_counted_by_hand_then_each_session_has_its_values() -> None:
    panel = panel_of([100, 110, 99, 99, 99], [50, 50, 60, 60, 60])
    records = [
        said(panel, "A", 0, 0.02, BUY),  # +10 % at session 1: hit
        said(panel, "B", 0, 0.01, HOLD),  # flat: takes no side
        said(panel, "A", 1, 0.02, BUY),  # -10 % at session 2: miss
        said(panel, "B", 1, 0.10, BUY, valid=False),  # +20 %: hit, and not traded
        said(panel, "A", 4, 0.02, BUY),  # no outcome yet
    ]
    health = health_of(records, panel, step=1, costs=COSTS, now=NOW)
    assert health.hits.tolist() == [1.0, 1.0]
    assert health.n_sided.tolist() == [1.0, 2.0]
    assert health.net_return == pytest.approx([(0.10 - 0.002) / 2, (-0.10 - 0.002) / 2])
    up, down, much = np.log(1.1), np.log(0.9), np.log(1.2)
    assert health.loss == pytest.approx(
        [((up - 0.02) ** 2 + 0.01**2) / 2, ((down - 0.02) ** 2 + (much - 0.1) ** 2) / 2]
    )
    assert health.baseline_loss == pytest.approx([up**2 / 2, (down**2 + much**2) / 2])


def test_health_when_nothing_came_or_traded_between_then_no_return_and_no_loss_there() -> None:
    panel = panel_of([100.0, 101.0, 102.0, 103.0, 104.0])
    records = [said(panel, "A", 0, 0.02, SELL), said(panel, "A", 3, 0.02, HOLD)]
    health = health_of(records, panel, step=1, costs=COSTS, now=NOW)
    assert np.isnan(health.net_return).tolist() == [False, True, True, True]
    assert np.isnan(health.loss).tolist() == [False, True, True, False]
    assert health.n_sided.tolist() == [1.0, 0.0, 0.0, 1.0]


def test_health_when_a_signal_comes_twice_or_cannot_be_placed_then_the_last_one_alone() -> None:
    panel = panel_of([100.0, 110.0, 110.0])
    records = [
        said(panel, "A", 0, -0.02, SELL),
        said(panel, "A", 0, 0.02, BUY, book_id="later"),
        said(panel, "A", 0, -0.02, SELL, step=2),
        said(panel, "Z", 0, -0.02, SELL),
        replace(said(panel, "A", 0, -0.02, SELL), cutoff=NOW.date()),
    ]
    health = health_of(records, panel, step=1, costs=COSTS, now=NOW)
    assert (health.hits.tolist(), health.n_sided.tolist()) == ([1.0], [1.0])
    assert health.net_return == pytest.approx([0.098])


def test_health_when_a_price_is_missing_then_no_outcome() -> None:
    panel = panel_of([100.0, np.nan], [100.0, 90.0])
    records = [said(panel, "A", 0, 0.02, BUY), said(panel, "B", 0, 0.02, BUY)]
    health = health_of(records, panel, step=1, costs=COSTS, now=NOW)
    assert (health.hits.tolist(), health.n_sided.tolist()) == ([0.0], [1.0])


def test_health_when_there_is_no_signal_then_empty_and_the_age_is_known() -> None:
    health = health_of([], panel_of([100.0] * 12), step=1, costs=COSTS, now=NOW)
    assert len(health.hits) == 0
    assert health.data_age_hours == 24.0
    early = panel_of([100.0] * 11 + [np.nan])  # the newest price is of the session before
    assert health_of([], early, step=1, costs=COSTS, now=NOW).data_age_hours == 24.0 * 5


@pytest.mark.parametrize("step", [1, 3])
def test_health_when_every_ticker_trades_then_the_returns_of_the_evaluations_rule(
    step: int,
) -> None:
    panel, rule = walk("ABC", 60), TradingRule(COSTS, 0.004)
    mean = np.random.default_rng(3).normal(0.0, 0.01, (60 - step, 3))
    log_close = np.log(panel.close.T)
    trades = rule.trade(mean, log_close[step:] - log_close[:-step])
    action = {0.0: HOLD, 1.0: BUY, -1.0: SELL}
    records = [
        said(panel, ticker, t, mean[t, n], action[trades.side[t, n]], step=step)
        for t in range(60 - step)
        for n, ticker in enumerate(panel.tickers)
    ]
    health = health_of(records, panel, step=step, costs=COSTS, now=NOW)
    traded = trades.taken.any(axis=1)
    assert traded.sum() > 40
    assert health.net_return[traded] == pytest.approx(trades.by_cutoff[traded] / step, rel=1e-12)
    assert np.isnan(health.net_return[~traded]).all()


POLICY = GovernancePolicy()
TOOK_OFFICE = 300
"""Session of the panel on which the champion takes office."""


@dataclass
class Office:
    """A ledger with a champion in it, and prices that go on."""

    sweep: Sweep
    ledger: Ledger
    panel: Panel
    now: datetime

    def clock(self) -> datetime:
        return self.now

    def promote(self, label: str, *, key: str | None = None) -> AuditEntry:
        decision = decided(self.sweep, label, step=1)
        models = registered(self.sweep, label, step=1)
        return promote(
            self.registry, self.ledger, decision, models.challenger.id, actor="ann",
            approved_by=["ben"], key=key or label, clock=self.clock, fallback=models.fallback.id,
        )  # fmt: skip

    @property
    def registry(self):
        return registry_of(self.sweep.folder.parent)

    @property
    def champion(self) -> str:
        model = Aliases(self.ledger).current()[Alias.CHAMPION].model
        return self.registry.load(model).version.label

    def signals(
        self, mean: FloatArray, action: Action = HOLD, *, first: int = TOOK_OFFICE
    ) -> list[SignalRecord]:
        """Return what the champion said from session ``first`` on, (T, N)."""
        model = Aliases(self.ledger).current()[Alias.CHAMPION].model
        return [
            said(self.panel, ticker, first + t, row[n], action, model_id=model)
            for t, row in enumerate(mean)
            for n, ticker in enumerate(self.panel.tickers)
        ]

    def wrong(self, n: int = 35, *, first: int = TOOK_OFFICE) -> FloatArray:
        """Return forecasts that always name the wrong direction, (n, N)."""
        moves = self.panel.log_returns().T[first : first + n]
        return -0.1 * moves

    def watch(self, records: list[SignalRecord], **changes: object) -> AuditEntry | None:
        """Let the log hold these signals alone, and watch."""
        with self.ledger.engine.begin() as connection:
            connection.execute(delete(SignalRow))
        SignalLog(self.ledger).record(records)
        arguments = {
            "registry": self.registry, "ledger": self.ledger, "policy": POLICY,
            "clock": self.clock, **changes,
        }  # fmt: skip
        return watch(self.panel, **arguments)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    forecasters = ({"name": "drift"}, {"name": "samossa"})
    return evaluated_sweep(tmp_path_factory.mktemp("monitored"), forecasters=forecasters)


@pytest.fixture
def office(sweep: Sweep, tmp_path: Path) -> Iterator[Office]:
    panel = walk("ABC", TOOK_OFFICE + 40)
    evening = timedelta(hours=22)

    def at(session: int) -> datetime:
        return datetime.fromisoformat(f"{panel.sessions[session]}T00:00+00:00") + evening

    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        found = Office(sweep, ledger, panel, at(TOOK_OFFICE - 50))
        found.promote("drift")
        found.now = at(TOOK_OFFICE)
        found.promote("samossa")
        found.now = at(-1)
        yield found
        assert AuditLog(ledger).verify().ok
        assert Aliases(ledger).disagreements() == ()


# proves G2, K2
def test_watch_when_the_hit_rate_falls_then_the_last_good_one_serves_without_a_person(
    office: Office,
) -> None:
    entry = office.watch(office.signals(office.wrong()))
    assert entry is not None
    assert office.champion == "drift"
    assert (entry.kind, entry.actor) == ("revert", "monitor")
    decision = GovernanceDecision.from_document(entry.payload["decision"])
    assert decision.outcome is Outcome.REVERT
    assert (decision.challenger_label, decision.fallback_label) == ("samossa", "drift")
    assert [check.name for check in decision.failed] == ["rolling_hit_rate", "loss_ratio"]
    assert decision.previous == decided(office.sweep, "samossa", step=1).id
    assert "right direction in 0.0% of 90" in entry.payload["reason"]


def test_watch_when_the_drawdown_is_deep_then_reverted(office: Office) -> None:
    losing = [
        replace(record, action=SELL if move > 0 else BUY)
        for record, move in zip(
            office.signals(-office.wrong(28)),  # too few for a hit rate, and of the right sign
            -office.wrong(28).ravel(),
            strict=True,
        )
    ]
    entry = office.watch(losing)
    assert entry is not None
    decision = GovernanceDecision.from_document(entry.payload["decision"])
    assert [check.name for check in decision.failed] == ["live_drawdown"]


def test_watch_when_sound_or_too_young_then_nothing_moves(office: Office) -> None:
    assert office.watch(office.signals(-office.wrong())) is None
    assert office.watch(office.signals(office.wrong(29))) is None
    assert office.watch([]) is None
    assert office.champion == "samossa"
    assert AuditLog(office.ledger).head().n == 2


def test_watch_when_the_prices_are_stale_then_no_model_is_blamed(office: Office) -> None:
    office.now += timedelta(days=30)
    assert office.watch(office.signals(-office.wrong())) is None
    assert office.champion == "samossa"


def test_watch_when_signals_are_anothers_or_from_before_its_office_then_they_do_not_count(
    office: Office,
) -> None:
    bad = office.signals(office.wrong())
    assert office.watch([replace(record, model_id="another") for record in bad]) is None
    assert office.watch([replace(record, source="llm") for record in bad]) is None
    early = office.signals(office.wrong(first=200), first=200)
    assert office.watch(early) is None
    assert office.champion == "samossa"


def test_watch_when_prices_are_replayed_then_every_signal_counts_and_no_age_does(
    office: Office,
) -> None:
    office.now += timedelta(days=3000)
    early = office.signals(office.wrong(first=200), first=200)
    entry = office.watch(early, replayed=True)
    assert entry is not None
    decision = GovernanceDecision.from_document(entry.payload["decision"])
    assert "data_age" not in [check.name for check in decision.failed]


def test_watch_when_watched_again_then_one_reversion_and_the_heir_is_judged_on_its_own(
    office: Office,
) -> None:
    bad = office.signals(office.wrong())
    assert office.watch(bad) is not None
    assert office.watch(bad) is None
    assert office.champion == "drift"
    assert AuditLog(office.ledger).head().n == 3


def test_watch_when_a_model_comes_back_then_its_old_signals_do_not_throw_it_out(
    office: Office,
) -> None:
    bad = office.signals(office.wrong())
    assert office.watch(bad) is not None
    office.promote("samossa", key="again")
    assert office.watch(bad) is None
    assert office.champion == "samossa"


def test_watch_when_one_comes_back_and_fails_alike_then_reverted_again(office: Office) -> None:
    bad = office.signals(office.wrong())
    first = office.watch(bad, replayed=True)
    office.promote("samossa", key="again")
    second = office.watch(bad, replayed=True)  # the same verdict at the same time
    assert first is not None
    assert second is not None
    assert second.seq == first.seq + 2
    assert office.champion == "drift"


def test_watch_when_promoted_during_a_session_then_its_first_book_counts(office: Office) -> None:
    office.now -= timedelta(hours=4)  # the last session has not closed
    office.promote("drift", key="midday")
    first, second = office.panel.sessions[-2].item(), office.panel.sessions[-1].item()
    placement = Aliases(office.ledger).current()[Alias.CHAMPION]
    assert _first_cutoff(office.panel, placement) == first
    late = replace(placement, entry=replace(placement.entry, at=office.now + timedelta(hours=4)))
    assert _first_cutoff(office.panel, late) == second


def test_watch_when_a_bar_has_several_books_then_the_last_shelved_counts(office: Office) -> None:
    good, bad = office.signals(-office.wrong())[-3:], office.signals(office.wrong())
    first, last = "b" * 64, "a" * 64  # by their ids the other way round
    for book_id in (first, last):
        Bookshelf(office.ledger).put(
            book_id, cutoff=good[0].cutoff, computed_at=office.now, document="{}"
        )
    said_first = [replace(record, book_id=first) for record in good]
    said_last = [replace(record, book_id=last) for record in bad[-3:]]
    entry = office.watch([*said_last, *said_first, *bad[:-3]])
    assert entry is not None
    assert "right direction in 0.0% of 90" in entry.payload["reason"]


def test_watch_when_the_last_good_one_is_the_same_forecaster_then_the_fallback(
    office: Office,
) -> None:
    office.promote("drift", key="back")
    other = registered(office.sweep, "drift", step=5)  # the same forecaster, another version
    decision = decided(office.sweep, "drift", step=5)
    promote(
        office.registry, office.ledger, decision, other.challenger.id, actor="ann",
        approved_by=["ben"], key="other", clock=office.clock,
    )  # fmt: skip
    office.promote("drift", key="once more")
    assert office.watch(office.signals(office.wrong()), replayed=True) is not None
    assert office.champion == "random_walk"


def test_watch_when_nothing_can_take_over_then_said_and_the_champion_stays(
    office: Office,
) -> None:
    revert(office.registry, office.ledger, reason="x", actor="ann", clock=office.clock)
    revert(office.registry, office.ledger, reason="x", actor="ann", clock=office.clock)
    assert office.champion == "random_walk"
    office.promote("drift", key="new")
    bad = office.signals(office.wrong())
    models = office.sweep.folder.parent / "models"
    taken = Aliases(office.ledger).current()[Alias.LAST_GOOD].model
    kept = (models / taken / "manifest.json").read_bytes()
    try:
        (models / taken / "manifest.json").unlink()
        with pytest.raises(RegistryError, match="nothing to revert to"):
            office.watch(bad, replayed=True)
    finally:
        (models / taken / "manifest.json").write_bytes(kept)
    assert office.champion == "drift"


def test_watch_when_nothing_is_in_service_then_nothing_is_done(
    office: Office, tmp_path: Path
) -> None:
    with open_ledger(f"sqlite:///{tmp_path}/empty.db") as empty:
        assert office.watch([], ledger=empty) is None


def test_watch_when_another_watcher_was_faster_then_one_reversion(office: Office) -> None:
    bad = office.signals(office.wrong())
    faster: list[AuditEntry | None] = []

    def slow_clock() -> datetime:
        if not faster:
            faster.append(office.watch(bad))
        return office.now + timedelta(minutes=1)  # so that its verdict is another

    assert office.watch(bad, clock=slow_clock) is None
    assert faster[0] is not None
    assert office.champion == "drift"
    assert AuditLog(office.ledger).head().n == 3
