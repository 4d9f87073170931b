"""Whether the model in service has degraded, and the decision that takes it out of service."""

from dataclasses import dataclass

import numpy as np

from pmx_ray._typing import FloatArray, frozen
from pmx_ray.errors import DataError
from pmx_ray.governance.decision import Check, GovernanceDecision, Outcome
from pmx_ray.governance.judgement import judged
from pmx_ray.governance.policy import DegradationPolicy, GovernancePolicy
from pmx_ray.stats.intervals import ratio
from pmx_ray.stats.measures import max_drawdown_frac

SERIES = ("hits", "n_sided", "net_return", "loss", "baseline_loss")


@dataclass(frozen=True, slots=True, eq=False)
class Health:
    """What is known of a model in service, a value a session, oldest first.

    Attributes
    ----------
    hits, n_sided : ndarray of shape (T,)
        Forecasts whose outcome came that session: those of the right direction, and all that took
        a side. No NaN.
    net_return : ndarray of shape (T,)
        Of the capital it traded, net of costs, decimal; NaN without a trade.
    loss, baseline_loss : ndarray of shape (T,)
        Mean loss of its forecasts, and of the baseline's on the same; NaN without an outcome.
    data_age_hours : float
        Age of the newest price, >= 0; NaN where there is none.

    Raises
    ------
    DataError
        If the series differ in length, or there are more hits than sided forecasts.
    """

    hits: FloatArray
    n_sided: FloatArray
    net_return: FloatArray
    loss: FloatArray
    baseline_loss: FloatArray
    data_age_hours: float

    def __post_init__(self) -> None:
        for name in SERIES:
            object.__setattr__(self, name, frozen(getattr(self, name), np.float64))
        lengths = {name: len(getattr(self, name)) for name in SERIES}
        if len(set(lengths.values())) > 1:
            raise DataError(f"series of a model's health differ in length: {lengths}")
        if not (self.hits <= self.n_sided).all() or not (self.hits >= 0.0).all():
            raise DataError("hits must lie between 0 and n_sided in every session, and not be NaN")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the model has degraded.

    Attributes
    ----------
    checks : tuple of Check
        What could be judged.
    unjudged : tuple of str
        What could not yet, a sentence each.
    """

    checks: tuple[Check, ...]
    unjudged: tuple[str, ...]

    @property
    def degraded(self) -> bool:
        """Whether a check failed."""
        return bool(self.reasons)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The sentence of each failed check."""
        return tuple(check.sentence for check in self.checks if not check.passed)


def degradation(history: Health, policy: DegradationPolicy) -> Verdict:
    """Return whether a model has degraded; a pure function of its history.

    A figure too young to be judged does not take a model out of service; prices of unknown age do.

    Parameters
    ----------
    history : Health
        Sessions known so far.
    policy : DegradationPolicy
        Limits and window.
    """
    found = (
        _hit_rate(history, policy),
        _drawdown(history, policy),
        _loss_ratio(history, policy),
        _data_age(history, policy),
    )
    return Verdict(
        tuple(check for check in found if isinstance(check, Check)),
        tuple(sentence for sentence in found if isinstance(sentence, str)),
    )


def _hit_rate(history: Health, policy: DegradationPolicy) -> Check | str:
    latest = slice(-policy.n_sessions, None)
    n, hits = float(history.n_sided[latest].sum()), float(history.hits[latest].sum())
    if len(history.hits) < policy.n_sessions or n < policy.min_sided_forecasts:
        return (
            f"Its hit rate is judged over {policy.n_sessions} sessions and from "
            f"{policy.min_sided_forecasts} forecasts that took a side on; so far there are "
            f"{len(history.hits[latest])} and {n:.0f}."
        )
    return judged(
        "rolling_hit_rate",
        hits / n,
        ">=",
        policy.min_hit_rate_frac,
        unit="fraction",
        say=lambda value, limit: (
            f"Over the last {policy.n_sessions} sessions it named the right direction in {value} "
            f"of {n:.0f} forecasts; below {limit} it is taken out of service."
        ),
        missing="Its hit rate is not known.",
    )


def _drawdown(history: Health, policy: DegradationPolicy) -> Check | str:
    fall = max_drawdown_frac(history.net_return)
    if np.isnan(fall):
        return "It has not traded yet; its fall from a peak is judged from the first trade on."
    return judged(
        "live_drawdown",
        fall,
        "<",
        policy.max_drawdown_frac,
        unit="fraction",
        say=lambda value, limit: (
            f"Its capital has fallen by up to {value} from a peak; it must stay below {limit}."
        ),
        missing="Its fall from a peak is not known.",
    )


def _loss_ratio(history: Health, policy: DegradationPolicy) -> Check | str:
    both = ~np.isnan(history.loss) & ~np.isnan(history.baseline_loss)
    own, base = (
        series[both][-policy.n_sessions :] for series in (history.loss, history.baseline_loss)
    )
    if len(own) < policy.n_sessions:
        return (
            f"{len(own)} sessions have a loss of its own and of the baseline; their ratio is "
            f"judged from {policy.n_sessions} on."
        )
    quotient = float(ratio(np.asarray(own.sum()), np.asarray(base.sum())))
    return judged(
        "loss_ratio",
        quotient,
        "<=",
        policy.max_loss_ratio,
        unit="ratio",
        say=lambda value, limit: (
            f"Over the last {policy.n_sessions} sessions with an outcome its loss is {value} times "
            f"the baseline's; above {limit} it is taken out of service."
        ),
        missing="Its loss is infinite, or the baseline has none: there is no ratio to judge by.",
    )


def _data_age(history: Health, policy: DegradationPolicy) -> Check:
    age = history.data_age_hours
    return judged(
        "data_age",
        age if age >= 0.0 else None,  # a price of tomorrow has no age: a clock is wrong
        "<=",
        policy.max_data_age_hours,
        unit="hours",
        say=lambda value, limit: (
            f"The newest price is {value} hours old; at most {limit} hours are allowed."
        ),
        missing="The newest price has no age, or one below 0; fetch prices, and check the clock.",
    )


def reversion(
    verdict: Verdict,
    policy: GovernancePolicy,
    *,
    champion: str,
    champion_label: str,
    baseline: str,
    baseline_label: str,
    fallback: str,
    fallback_label: str,
    step: int,
    report_key: str,
    previous: str = "",
) -> GovernanceDecision:
    """Return the decision that takes a degraded champion out of service.

    Parameters
    ----------
    verdict : Verdict
        Of ``degradation``.
    policy : GovernancePolicy
        That it was reached under.
    champion, champion_label : str
        What leaves; the ``challenger`` of the decision.
    baseline, baseline_label : str
        What its losses were held against.
    fallback, fallback_label : str
        What takes over: the last good version, or the fallback.
    step : int
        Sessions after the cutoff that it served.
    report_key : str
        Key of the evaluation it was promoted on.
    previous : str
        Id of the decision before this one about the same alias.

    Raises
    ------
    DataError
        If the verdict finds no degradation, or nothing else can take over.
    """
    if not verdict.degraded:
        raise DataError(f"{champion_label} has not degraded; there is nothing to revert")
    if not fallback or fallback == champion:
        raise DataError(
            f"{champion_label} has degraded and nothing else can take over (fallback: "
            f"{fallback or 'none'}); name the last good version or a fallback"
        )
    return GovernanceDecision(
        outcome=Outcome.REVERT,
        challenger=champion,
        challenger_label=champion_label,
        baseline=baseline,
        baseline_label=baseline_label,
        fallback=fallback,
        fallback_label=fallback_label,
        step=step,
        checks=verdict.checks,
        report_key=report_key,
        policy_sha256=policy.sha256,
        previous=previous,
    )
