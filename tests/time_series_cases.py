"""From prices to answers in one process: a sweep, its models in service, keeper, watch, answers."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from peer_llm import PeerLlm
from serve_cases import MovingClock, set_flags
from served import decided, evaluated_sweep, three_shares
from waiting import until

from pmx_ray.backtest.sweep import Sweep
from pmx_ray.data.panel import Panel
from pmx_ray.governance.challenge import challenge
from pmx_ray.governance.opening import open_registry
from pmx_ray.governance.promotion import promote
from pmx_ray.governance.registration import register
from pmx_ray.governance.registry import LoadedModel
from pmx_ray.governance.serving import NowForecasts, forecast_now
from pmx_ray.governance.terms import terms_of
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.assessments import Assessments
from pmx_ray.llm.adviser import Adviser
from pmx_ray.llm.settings import LlmSettings
from pmx_ray.signals.settings import SignalSettings
from pmx_ray.signals.types import ModelRef, SignalBook, SignalBundle, Source
from pmx_ray.taxonomy import Action
from serve_apps.bookmaking import make_book, speaker_of
from serve_apps.counsel import Counsel
from serve_apps.keeper import Keeper
from serve_apps.settings import ServiceSettings
from serve_apps.speakers import Said, forecast_one
from serve_apps.watch import Watch

FORECASTERS = (
    {"name": "samossa"},
    {"name": "sarimax", "order": (1, 0, 0)},
    {"name": "garch", "dist": "t"},
    {"name": "llm"},
)
"""The last replays what SmolLM2 answered, by the recording that comes with the package."""

SAMOSSA, SARIMAX, GARCH, LLM = "samossa", "sarimax(order=1-0-0)", "garch(dist=t)", "llm"
LABELS = (SAMOSSA, SARIMAX, GARCH, LLM)

SERVED_AS = {
    Source.CHAMPION: SARIMAX,
    Source.FALLBACK: SAMOSSA,
    Source.CHALLENGER: GARCH,
    Source.LLM: "llm smollm2:135m",
}
"""Label of the model that serves in each place of a chain."""

SELLS, HELD, BUYS = TICKERS = ("A", "B", "C")
"""The champion sells the first; its signal on the second may not be acted on; it buys the third.

The fallback says the opposite each time, and the language model always buys.
"""

STEP, N_SESSIONS, SAFE_AFTER_S = 5, 300, 30.0
PROMOTED_AT = datetime(1999, 2, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Stage:
    """What the tests share and leave as it is.

    Attributes
    ----------
    home : Path
        Folder of sweep, lake and registry.
    panel : Panel
        Real prices of three shares over 300 sessions of 1997 to 1999.
    sweep : Sweep
        The four models beside the random walk, run and evaluated.
    models : mapping of str to LoadedModel
        Each of the four, registered as it was judged at ``STEP``.
    """

    home: Path
    panel: Panel
    sweep: Sweep
    models: Mapping[str, LoadedModel]


def set_up(home: Path) -> Stage:
    """Run and evaluate the sweep, and register its models."""
    sweep = evaluated_sweep(home, forecasters=FORECASTERS)
    registry = open_registry(home)
    models = {
        label: register(registry, sweep, decided(sweep, label, step=STEP)).challenger
        for label in LABELS
    }
    return Stage(home, three_shares(), sweep, models)


class Chain:
    """Keeper and watch over one ledger, each looking when told; a peer is the language model.

    Parameters
    ----------
    stage : Stage
        Prices and models; the registry is copied, so that it can be damaged.
    home : Path
        Folder of prices, registry and ledger.
    peer : PeerLlm
        Asked over loopback.
    """

    def __init__(self, stage: Stage, home: Path, peer: PeerLlm) -> None:
        self.stage, self.home, self.peer, self.clock = stage, home, peer, MovingClock()
        shutil.copytree(stage.home / "models", home / "models")
        shutil.copy(stage.home / "signing.key", home)
        self.settings = ServiceSettings.model_validate(
            {
                "root": str(home),
                "prices": {"source": "file", "path": str(home / "prices.parquet")},
                "data_quality_threshold": 0.9,
                "bars_every_s": 1e-9,  # every look reads the prices
                "pulse_every_s": 10.0,
                "safe_after_s": SAFE_AFTER_S,
                # eight folds make no thirty trades, and are not worth ten
                "signals": {"sizing": {"min_trades": 20, "min_effective_trades": 5}},
            }
        )
        url = f"sqlite:///{home / 'ledger.db'}"
        own, self.ledger = (open_ledger(url, busy_s=0.05) for _ in range(2))
        llm = LlmSettings(host=peer.url, timeout_s=5.0, attempts=1)
        self._adviser = Adviser.of(llm)
        self.counsel = Counsel(self._adviser, llm, assessments=Assessments(own), clock=self.clock)
        self.keeper = Keeper(
            self.settings, own, clock=self.clock, forecast=self._forecast, counsel=self.counsel
        )
        self.watch = Watch(
            self.ledger,
            clock=self.clock,
            every_s=self.settings.pulse_every_s,
            safe_after_s=SAFE_AFTER_S,
            max_price_age=timedelta(hours=self.settings.max_price_age_hours),
        )
        self.trade()

    def _forecast(self, panel: Panel, ids: tuple[str, ...]) -> dict[str, Said]:
        """Ask the models here, as the service does in processes of their own."""
        registry = open_registry(self.home, make_key=False)
        return {model: forecast_one(panel, registry, model) for model in ids}

    def trade(self, n_sessions: int = N_SESSIONS - 1, *, without: str = "") -> None:
        """Let prices up to a session be known, and the time be an hour after its close.

        ``without`` names a ticker that did not trade that day.
        """
        known = self.stage.panel.window(0, n_sessions)
        close = known.close.copy()
        if without:
            close[known.tickers.index(without), -1] = np.nan
        rows = {
            "date": np.tile(known.sessions.astype("datetime64[ns]"), known.n_tickers),
            "ticker": np.repeat(known.tickers, known.n_sessions),
            "close": close.ravel(),
        }
        pd.DataFrame(rows).dropna().to_parquet(self.home / "next.parquet", index=False)
        (self.home / "next.parquet").replace(self.home / "prices.parquet")
        day = known.sessions[-1].astype(object)
        self.clock.now = datetime(day.year, day.month, day.day, 22, tzinfo=UTC)

    def serve(self) -> None:
        """Put the models in service, and let keeper and language model do their work."""
        self.promote()
        self.settle()

    def promote(self) -> None:
        """Put the models in service; nobody looks."""
        registry, sweep = open_registry(self.home, make_key=False), self.stage.sweep
        decision = decided(sweep, SARIMAX, step=STEP, fallback=SAMOSSA)
        made = register(registry, sweep, decision)
        promote(
            registry, self.ledger, decision, made.challenger.id, actor="test",
            approved_by=["test"], key="promote", clock=lambda: PROMOTED_AT,
            fallback=made.fallback.id,
        )  # fmt: skip
        challenge(
            registry, self.ledger, decided(sweep, GARCH, step=STEP), self.stage.models[GARCH].id,
            actor="test", key="challenge", clock=lambda: PROMOTED_AT,
        )  # fmt: skip

    def settle(self) -> None:
        """Let the keeper look until it has heard the language model out, and the watch once."""
        self.keeper.look()
        until(lambda: not self._asking, deadline_s=30.0)
        self.keeper.look()
        self.watch.look()

    @property
    def _asking(self) -> bool:
        thread = self.counsel._thread
        return thread is not None and thread.is_alive()

    @property
    def trouble(self) -> str:
        """Why the keeper's last look failed."""
        return str(self.keeper.status()["trouble"])

    @property
    def book(self) -> SignalBook:
        """The book that is served."""
        assert self.watch.board is not None
        return self.watch.board.book

    def answer(self, ticker: str) -> SignalBundle:
        """Return what is served after one more look of the watch."""
        self.watch.look()
        assert self.watch.board is not None
        return self.watch.board.bundle(ticker)

    def flags(self, **changes: bool | int) -> int:
        """Set flags and return their version; nobody looks."""
        return set_flags(self.ledger, **changes)

    def close(self) -> None:
        self.peer.released.set()
        until(lambda: not self._asking, deadline_s=30.0)
        self.watch.stop()
        self.keeper.stop()
        self.ledger.close()
        self._adviser.close()


@contextmanager
def chained(stage: Stage, home: Path, peer: PeerLlm) -> Iterator[Chain]:
    """Hold a chain in a folder of its own, its language model in good order."""
    peer.mode = "good"
    peer.released.clear()
    made = Chain(stage, home, peer)
    try:
        yield made
    finally:
        made.close()


def trades(bundle: SignalBundle) -> bool:
    """Return whether anyone would act on an answer."""
    return bundle.signal.action is not Action.HOLD or bundle.signal.position_frac != 0.0


def names_its_maker(bundle: SignalBundle, book: SignalBook) -> bool:
    """Return whether the numbers of an answer are those of the model that it names."""
    source = bundle.model.source
    own = book.entries[bundle.ticker].candidates[source].signal
    return (
        own is not None
        and bundle.model == book.models[source]
        and bundle.signal.expected_return == own.expected_return
        and bundle.signal.volatility == own.volatility
    )


def lacking(book: SignalBook, *sources: Source) -> SignalBook:
    """Return a book in which these models never spoke."""
    entries = {
        ticker: entry.model_copy(
            update={"candidates": {s: c for s, c in entry.candidates.items() if s not in sources}}
        )
        for ticker, entry in book.entries.items()
    }
    models = {source: model for source, model in book.models.items() if source not in sources}
    return book.model_copy(update={"entries": entries, "models": models})


def book_of(
    panel: Panel, models: Mapping[Source, LoadedModel]
) -> tuple[SignalBook, Mapping[Source, NowForecasts]]:
    """Return what models expect at the last session as a book, and as they said it."""
    said = {source: forecast_now(panel, model) for source, model in models.items()}
    speakers = []
    for source, model in models.items():
        reference = ModelRef(
            source=source,
            label=model.version.label,
            spec_id=model.version.spec_id,
            model_id=model.id,
            alias_version=1,
            certified=False,
            standing="By hand.",
        )
        speakers.append(speaker_of(said[source], reference, terms_of(model).record))
    made = make_book(
        panel,
        speakers,
        failures={},
        quality={},
        settings=SignalSettings(),
        computed_at=datetime(1999, 2, 5, 22, tzinfo=UTC),
        closed_at=None,
        note="",
    )
    return made, said


def moved(sweep: Sweep, home: Path) -> Sweep:
    """Return the same sweep in an empty folder, with a lake of its own."""
    settings = sweep.settings.model_copy(update={"lake": str(home / "lake")})
    return replace(sweep, folder=home / sweep.folder.name, settings=settings)
