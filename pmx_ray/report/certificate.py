"""The governance decision on the page: what was decided, and every check that led to it."""

from typing import cast

from pmx_ray.governance.decision import Check, GovernanceDecision, Outcome
from pmx_ray.governance.judgement import Unit, shown, texts
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


def figures(check: Check) -> tuple[str, str]:
    """Return what was found and its limit, in the words and digits of the check's sentence.

    Both have the digits it takes to tell them apart, so that they never seem to contradict the
    verdict; what was found is empty where it is not known.
    """
    unit = cast("Unit", check.unit)
    if check.value is None:
        return "", shown(check.limit, unit)
    return texts(check.value, check.limit, unit=unit)


def _row(check: Check) -> Markup:
    word, place = ("passed", "better") if check.passed else ("failed", "worse")
    found, limit = (text.replace("-", typeset.MINUS) for text in figures(check))
    return tag(
        "tr",
        tag("th", check.name.replace("_", " ").capitalize(), scope="row"),
        tag("td", tag("strong", word, class_=place), class_="words"),
        tag("td", found or typeset.DASH),
        tag("td", f"{_SIGNS[check.comparator]} {limit}"),
        tag("td", check.sentence, class_="words"),
    )
