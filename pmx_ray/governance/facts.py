"""What a certificate rests on beside report and comparison: plain values, read elsewhere."""

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class TrialFacts:
    """What the trial ledger knows of the data slice: every configuration that ever saw it.

    Attributes
    ----------
    n_trials : int
        Distinct configurations (spec, trading rule, step), over all runs, tunings and CI.
    n_in_run : int
        Those of them that the run under judgement holds.
    sharpe_variance : float
        Variance over the trials of their Sharpe ratio per period, >= 0.
    pbo : float or None
        Probability of backtest overfitting over the trials that share the run's cutoffs; None
        where fewer than two do, or the cutoffs are too few.
    n_splits : int
        Combinatorial splits behind ``pbo``.
    """

    n_trials: int
    n_in_run: int
    sharpe_variance: float
    pbo: float | None
    n_splits: int


@dataclass(frozen=True, slots=True)
class LeakFacts:
    """What the leak audit of the challenger found.

    Attributes
    ----------
    n_probes : int
        Forecasts, features and scores that were recomputed; 0 where no audit was made.
    findings : tuple of str
        One sentence a leak.
    """

    n_probes: int
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReplayFacts:
    """The challenger's strategy over one historical crisis.

    Attributes
    ----------
    name : str
        ``crisis_2008`` or ``crisis_2020``.
    n_cutoffs : int
        Cutoffs inside the window with a forecast; 0 where the data does not reach it.
    max_drawdown_frac, net_return : float
        Of compounded capital over the window; NaN without a cutoff.
    n_served, n_asked : int
        Cells (a ticker at a cutoff) with an outcome that got a forecast, of those with an outcome.
        Capital knows only what was served: a forecaster that gives up in a crisis shows here.
    """

    name: str
    n_cutoffs: int
    max_drawdown_frac: float
    net_return: float
    n_served: int
    n_asked: int


@dataclass(frozen=True, slots=True)
class QualityFacts:
    """What the quality gate said of the prices.

    Attributes
    ----------
    score : float
        Share of sound values, 0 to 1.
    n_quarantined : int
        Tickers that were left out.
    """

    score: float
    n_quarantined: int


@dataclass(frozen=True, slots=True)
class FallbackFacts:
    """The forecaster that takes over, and the drill in which it did.

    Attributes
    ----------
    spec, label : str
        The fallback.
    exercised_at : datetime
        When it last served in a drill, UTC.
    n_served, n_asked : int
        Forecasts it gave in the drill, of those it was asked for.
    """

    spec: str
    label: str
    exercised_at: datetime
    n_served: int
    n_asked: int


@dataclass(frozen=True, slots=True)
class KnowledgeFacts:
    """Since when a challenger that has read cannot have read of what it is asked about.

    Attributes
    ----------
    published : date or None
        Day by which its language model was published; None where that is not known.
    """

    published: date | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything ``certify`` reads beside the report and the comparison.

    Attributes
    ----------
    trials : TrialFacts
    leaks : LeakFacts
    replays : tuple of ReplayFacts
        One for each crisis that the policy names.
    quality : QualityFacts
    fallback : FallbackFacts or None
        None where there is none.
    report_key : str
        Key of the evaluation that the report came from, of its provenance.
    knowledge : KnowledgeFacts, optional
        None for a forecaster that has read nothing it could recognise; see ``knowledge_of``.
    """

    trials: TrialFacts
    leaks: LeakFacts
    replays: tuple[ReplayFacts, ...]
    quality: QualityFacts
    fallback: FallbackFacts | None
    report_key: str
    knowledge: KnowledgeFacts | None = None
