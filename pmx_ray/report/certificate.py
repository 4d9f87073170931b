"""The governance decision on the page: what was decided, and every check that led to it."""

from pmx_ray.governance.decision import Check, GovernanceDecision, Outcome
from pmx_ray.report import typeset
from pmx_ray.report.markup import Markup, tag
from pmx_ray.report.tables import scroll

_SAID = {
    Outcome.PROMOTE: "may take the place of",
    Outcome.HOLD: "may not take the place of",
    Outcome.REVERT: "gives way to",
}


_SIGNS = {">=": "≥", "<=": "≤", "<": "<", ">": ">"}


def headline(decision: GovernanceDecision) -> str:
    """Return the decision in one sentence."""
    fallback = decision.fallback_label or "nothing"
    over = fallback if decision.outcome is Outcome.REVERT else decision.baseline_label
    n_failed = len(decision.failed)
    why = (
        "every check passed"
        if not n_failed
        else f"{n_failed} of {typeset.things(len(decision.checks), 'check')} failed"
    )
    return (
        f"{decision.outcome.value.capitalize()}: at step {decision.step}, "
        f"{decision.challenger_label} {_SAID[decision.outcome]} {over}; {why}."
    )


def table(decision: GovernanceDecision) -> Markup:
    """Return a row a check, those that failed first."""
    caption = f"Decision {decision.id[:16]}; falls back to {decision.fallback_label or 'nothing'}"
    titles = {"Check": "words", "": "words", "Found": "", "Limit": "", "In words": "words"}
    head = tag("tr", *(tag("th", t, scope="col", class_=place) for t, place in titles.items()))
    ordered = sorted(decision.checks, key=lambda check: check.passed)
    body = (_row(check) for check in ordered)
    inner = tag(
        "table", tag("caption", caption), tag("thead", head), tag("tbody", *body), class_="checks"
    )
    return scroll(inner, caption)


def _row(check: Check) -> Markup:
    word, place = ("passed", "better") if check.passed else ("failed", "worse")
    return tag(
        "tr",
        tag("th", check.name.replace("_", " ").capitalize(), scope="row"),
        tag("td", tag("strong", word, class_=place), class_="words"),
        tag("td", typeset.DASH if check.value is None else _figure(check.value, check.unit)),
        tag("td", f"{_SIGNS[check.comparator]} {_figure(check.limit, check.unit)}"),
        tag("td", check.sentence, class_="words"),
    )


def _figure(value: float, unit: str) -> str:
    if unit == "fraction":
        return typeset.percent(value)
    return typeset.fixed(value, 3) if unit == "probability" else f"{value:,.4g}"
