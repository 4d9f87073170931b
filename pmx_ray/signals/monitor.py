"""The monitor: what became of the champion's signals, and its removal where they went bad.

Stale prices take no model out of service, although the verdict counts them: every other model
would stand on the same prices. The router answers hold as long as they are stale.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np

from pmx_ray._typing import FloatArray, IntArray
from pmx_ray.backtest.costs import Costs
from pmx_ray.clock import Clock
from pmx_ray.data.calendar import close_time
from pmx_ray.data.panel import Panel
from pmx_ray.errors import StaleVersionError
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.governance.decision import GovernanceDecision
from pmx_ray.governance.health import Health, Verdict, degradation, reversion
from pmx_ray.governance.policy import GovernancePolicy
from pmx_ray.governance.promotion import revert, successor
from pmx_ray.governance.registry import LoadedModel, Registry
from pmx_ray.governance.standing import decision_in
from pmx_ray.governance.terms import terms_of
from pmx_ray.ledger import Ledger
from pmx_ray.ledger.aliases import Alias, Aliases, Placement
from pmx_ray.ledger.chain import AuditEntry
from pmx_ray.ledger.signal_log import SignalLog, SignalRecord, latest_of_each
from pmx_ray.signals.quality import SIDE
from pmx_ray.signals.types import Source
from pmx_ray.stats.intervals import ratio
from pmx_ray.stats.measures import hits

ACTOR = "monitor"
"""Who takes a model out of service where no person does."""

OF_PRICES = "data_age"
"""The check that says something of the prices and nothing of the model."""


@dataclass(frozen=True, slots=True, eq=False)
class _Outcomes:
    """Signals whose outcome is known, K of them, on the panel's axes.

    ``due`` is the session of the outcome; ``mean`` and ``actual`` are log returns, ``side`` what
    was traded.
    """

    due: IntArray
    mean: FloatArray
    actual: FloatArray
    side: FloatArray


def health_of(
    records: Iterable[SignalRecord],
    panel: Panel,
    *,
    step: int,
    costs: Costs,
    now: datetime,
) -> Health:
    """Return what became of one model's signals, a value a session.

    Each session from the first with an outcome to the last has a value. Of several signals about a
    ticker at one cutoff the last counts. A forecast takes a side by its sign, traded or not. What
    was traded is what the signal advised and the validator did not refuse; capital is spread
    evenly over the tickers and over the ``step`` positions that overlap, as in the evaluation
    that the limit of the drawdown was set for. Losses are squared errors, and the baseline's
    forecast is no move.

    Parameters
    ----------
    records : iterable of SignalRecord
        Of one model, as ``SignalLog.since`` orders them; those of another step do not count.
    panel : Panel
        Prices up to now.
    step : int
        Sessions from cutoff to outcome.
    costs : Costs
        Of a trade.
    now : datetime
        With its time zone; the age of the newest price is counted to it.
    """
    found = _outcomes(records, panel, step)
    age = _age_hours(panel, now)
    if len(found.due) == 0:
        none = np.empty(0)
        return Health(none, none, none, none, none, age)
    first = int(found.due.min())
    at, n = found.due - first, int(found.due.max()) - first + 1

    def summed(values: FloatArray) -> FloatArray:
        return np.bincount(at, weights=np.nan_to_num(values), minlength=n).astype(np.float64)

    n_known = summed(np.ones(len(at)))
    hit = hits(found.actual, found.mean)
    net = costs.net_return(found.side, np.expm1(found.actual))
    traded = summed(np.abs(found.side)) > 0.0
    return Health(
        hits=summed(hit),
        n_sided=summed(~np.isnan(hit)),
        net_return=np.where(traded, ratio(summed(net), n_known) / step, np.nan),
        loss=ratio(summed((found.actual - found.mean) ** 2), n_known),
        baseline_loss=ratio(summed(found.actual**2), n_known),
        data_age_hours=age,
    )


def watch(
    panel: Panel,
    *,
    registry: Registry,
    ledger: Ledger,
    policy: GovernancePolicy,
    clock: Clock,
    replayed: bool = False,
) -> AuditEntry | None:
    """Take the champion out of service if it has degraded, without a person.

    The champion answers for all its signals since it took office and for none before, so that an
    old failure does not throw it out a second time. Whoever watches twice reverts once: the
    champion that was judged must still be the champion.

    Parameters
    ----------
    panel : Panel
        Prices up to now.
    registry, ledger
        Where models, aliases and signals are kept.
    policy : GovernancePolicy
        In force; its ``degradation`` holds the limits.
    clock : callable
        Says when.
    replayed : bool
        Whether the last session is taken for today; then all of the champion's signals count, as
        the log's times say nothing about sessions.

    Returns
    -------
    AuditEntry, optional
        The reversion; None where the champion is sound, is not set, or moved meanwhile.

    Raises
    ------
    RegistryError
        If the champion does not verify or carries no terms, or nothing can take over.
    LedgerError
        If the database cannot be read or written.
    """
    standing = Aliases(ledger).current()
    if Alias.CHAMPION not in standing:
        return None
    placement = standing[Alias.CHAMPION]
    model = registry.load(placement.model)
    terms = terms_of(model)
    said = SignalLog(ledger).since(
        date.min if replayed else _first_cutoff(panel, placement),
        Source.CHAMPION,
        model_id=placement.model,
    )
    health = health_of(
        said,
        panel,
        step=terms.step,
        costs=terms.costs.build(),
        now=close_time(panel.calendar, panel.sessions[-1].item()) if replayed else clock(),
    )
    verdict = degradation(health, policy.degradation)
    if all(check.passed or check.name == OF_PRICES for check in verdict.checks):
        return None
    heir = successor(registry, standing, unlike=model.version.spec_id)
    decision = _decided(verdict, policy, model, heir, step=terms.step)
    try:
        return revert(
            registry,
            ledger,
            reason=" ".join(verdict.reasons),
            actor=ACTOR,
            key=f"degraded {decision.id} of champion {placement.version}",
            clock=clock,
            expected_version=placement.version,
            decision=decision,
        )
    except StaleVersionError:
        return None


def _decided(
    verdict: Verdict,
    policy: GovernancePolicy,
    model: LoadedModel,
    heir: LoadedModel,
    *,
    step: int,
) -> GovernanceDecision:
    walk, before = ForecasterSpec.parse({"name": "random_walk"}), decision_in(model)
    return reversion(
        verdict,
        policy,
        champion=model.version.spec_id,
        champion_label=model.version.label,
        baseline=walk.id,
        baseline_label=walk.label,
        fallback=heir.version.spec_id,
        fallback_label=heir.version.label,
        step=step,
        report_key="" if before is None else before.report_key,
        previous="" if before is None else before.id,
    )


def _first_cutoff(panel: Panel, placement: Placement) -> date:
    """Return the last session that had closed when the champion took office: its first book's."""
    took = placement.entry.at
    t = int(np.searchsorted(panel.sessions, np.datetime64(took.date()), side="right")) - 1
    while t > 0 and close_time(panel.calendar, panel.sessions[t].item()) > took:
        t -= 1
    found: date = panel.sessions[max(t, 0)].item()
    return found


def _outcomes(records: Iterable[SignalRecord], panel: Panel, step: int) -> _Outcomes:
    row = {ticker: n for n, ticker in enumerate(panel.tickers)}
    column = {day: t for t, day in enumerate(panel.sessions.tolist())}
    latest = latest_of_each(r for r in records if r.step == step)
    log_close = np.log(panel.close)
    known = [
        (due, record.expected_return, log_close[n, due] - log_close[n, due - step], _side(record))
        for record in latest
        if record.ticker in row and record.cutoff in column
        for n, due in [(row[record.ticker], column[record.cutoff] + step)]
        if due < panel.n_sessions
    ]
    columns = np.array(known, dtype=np.float64).reshape(-1, 4)
    columns = columns[~np.isnan(columns[:, 2])]
    due, mean, actual, side = columns.T
    return _Outcomes(due.astype(np.int64), mean, actual, side)


def _side(record: SignalRecord) -> float:
    return 0.0 if record.valid is False else SIDE[record.action]


def _age_hours(panel: Panel, now: datetime) -> float:
    """Return the hours since the newest price's session closed; NaN without any price."""
    (priced,) = np.nonzero(~np.isnan(panel.close).all(axis=0))
    if len(priced) == 0:
        return np.nan
    closed = close_time(panel.calendar, panel.sessions[priced[-1]].item())
    return (now - closed).total_seconds() / 3600.0
