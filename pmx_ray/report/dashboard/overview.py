"""The first page: what serves, by what right and since when, under which flags, how fresh."""

from pmx_ray.report.dashboard.facts import DashboardFacts
from pmx_ray.report.dashboard.flags import arrival_sentence, flag_headline
from pmx_ray.report.dashboard.layout import SITE, age, altered, document, missing, moment, verdict
from pmx_ray.report.dashboard.models import llm_headline
from pmx_ray.report.dashboard.promotions import (
    audit_sentence,
    service_headline,
    service_table,
)
from pmx_ray.report.dashboard.requests import requests_sentence
from pmx_ray.report.dashboard.served import served, served_sentence, served_table
from pmx_ray.report.dashboard.signals import SERVE, counts_sentence
from pmx_ray.report.markup import Markup, markup, tag
from pmx_ray.report.shell import Chapter
from pmx_ray.report.view import ReportView

NAME = "index.html"


def overview_page(facts: DashboardFacts) -> str:
    """Return the page as HTML."""
    chapters = [
        Chapter("service", "In service", "", service_table(facts.serving, facts.at)),
        Chapter("served", "Served now", "", _served(facts)),
    ]
    return document(NAME, at=facts.at, opening=_opening(facts), chapters=chapters)


def _opening(facts: DashboardFacts) -> Markup:
    terms = [
        ("Flags", _linked("flags.html", _flags(facts))),
        ("Signals", _linked("signals.html", _signals(facts))),
        ("Prices", _freshness(facts)),
        ("Models", _linked("models.html", _models(facts))),
        ("Requests", _linked("requests.html", _requests(facts))),
        ("Audit log", _linked("promotions.html", audit_sentence(facts.audit))),
    ]
    warnings = [*altered(facts.audit), *map(markup, facts.problems)]
    warnings += [
        markup(f"{one.alias.value.replace('_', ' ')} {one.model[:12]} does not verify: {one.right}")
        for one in facts.serving
        if not one.verified
    ]
    return verdict(service_headline(facts.serving), terms, warnings=warnings)


def _linked(file: str, sentence: str) -> Markup:
    return markup(sentence, " ", tag("a", f"{SITE[file]}", href=file))


def _flags(facts: DashboardFacts) -> str:
    now = facts.flags_now
    version = (
        "Version 0, the defaults."
        if now is None
        else f"Version {now.version}, set {age(facts.at - now.at)} by {now.actor}: {now.reason}."
    )
    arrived = f" {arrival_sentence(facts.propagation)}" if facts.propagation else ""
    return f"{flag_headline(facts.flags)} {version}{arrived}"


def _signals(facts: DashboardFacts) -> str:
    return (
        "None was ever made."
        if not facts.counts["n"]
        else f"Ever made: {counts_sentence(facts.counts)}"
    )


def _freshness(facts: DashboardFacts) -> str:
    book = facts.book
    if book is None:
        return "No book of signals was ever computed."
    closed = "" if book.closed_at is None else f", which closed {age(facts.at - book.closed_at)}"
    return (
        f"Up to {book.cutoff}{closed}; signals were computed {moment(book.computed_at)} UTC, "
        f"{age(facts.at - book.computed_at)}."
    )


def _models(facts: DashboardFacts) -> str:
    if facts.sweep is None:
        return "No sweep has been evaluated."
    view = ReportView.of(facts.sweep.report)
    return f"{llm_headline(view)} Sweep {facts.sweep.folder}."


def _requests(facts: DashboardFacts) -> str:
    return requests_sentence(facts.requests) if facts.requests else "Nobody has asked yet."


def _served(facts: DashboardFacts) -> Markup:
    if facts.book is None:
        return missing("No book of signals was ever computed.", SERVE)
    found = served(facts.book, facts.flags_now)
    return markup(tag("p", served_sentence(found)), served_table(found))
