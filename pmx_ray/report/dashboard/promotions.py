"""The page of the promotions: what is in service, the audit log, and each certificate in it."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from pmx_ray.errors import DataError
from pmx_ray.governance.decision import GovernanceDecision
from pmx_ray.governance.standing import told
from pmx_ray.ledger.chain import AuditEntry
from pmx_ray.ledger.flags import KIND as FLAGS
from pmx_ray.ledger.verdict import AuditVerdict
from pmx_ray.report import certificate, typeset
from pmx_ray.report.dashboard.in_service import InService
from pmx_ray.report.dashboard.layout import (
    NAMED,
    WORDS,
    age,
    altered,
    document,
    missing,
    moment,
    table,
    verdict,
)
from pmx_ray.report.markup import Markup, markup, tag
from pmx_ray.report.shell import Chapter

NAME = "promotions.html"

MAX_ENTRIES, MAX_CERTIFICATES = 200, 10
"""Entries and certificates shown, newest first."""

PROMOTE = "pmx promote runs/SWEEP/decision.json --approved-by NAME"
"""The command that puts a model in service."""


def promotions_page(
    serving: Sequence[InService],
    entries: Sequence[AuditEntry],
    audit: AuditVerdict,
    *,
    at: datetime,
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    serving : sequence of InService
        What is in service.
    entries : sequence of AuditEntry
        The audit log that could be read, oldest first.
    audit : AuditVerdict
        Whether it is whole.
    at : datetime
        When the facts were read, UTC.
    """
    decided = list(_decisions(entries))
    chapters = [
        Chapter("service", "In service", "", service_table(serving, at)),
        Chapter(
            "certificates",
            "Certificates",
            "What was found, check by check, those that failed first.",
            *(_certificates(decided)),
        ),
        Chapter("audit", "Audit log", "", _log(entries)),
    ]
    return document(NAME, at=at, opening=_opening(serving, entries, audit), chapters=chapters)


def audit_sentence(audit: AuditVerdict) -> str:
    """Return in a sentence whether the audit log is whole."""
    if not audit.n and audit.ok:
        return "It is empty."
    if audit.ok:
        return f"{typeset.things(audit.n, 'entry', 'entries')}, each with the hash of the last."
    n = typeset.things(len(audit.problems), "problem")
    return f"{n}: {' '.join(problem.sentence for problem in audit.problems[:3])}"


def service_table(serving: Sequence[InService], at: datetime) -> Markup:
    """Return a row an alias: which model, since when, by whom and by what right."""
    if not serving:
        return missing("No model is in service.", PROMOTE)
    rows = (
        [
            one.alias.value.replace("_", " "),
            markup(one.label, " ", tag("code", one.model[:12])),
            _standing(one),
            markup(moment(one.since), " ", tag("span", age(at - one.since), class_="range")),
            one.by,
            one.right,
        ]
        for one in serving
    )
    columns = [
        ("Alias", NAMED), ("Model", NAMED), ("Standing", NAMED), ("Since (UTC)", NAMED),
        ("By", NAMED), ("By what right", WORDS),
    ]  # fmt: skip
    return table("What each alias points to", columns, rows, pinned=True)


def _standing(one: InService) -> Markup:
    if not one.verified:
        return tag("strong", "refused", class_="worse")
    if one.certified:
        return tag("strong", "certified", class_="better")
    return tag("span", "not certified")


def _opening(
    serving: Sequence[InService], entries: Sequence[AuditEntry], audit: AuditVerdict
) -> Markup:
    kinds = [entry.kind for entry in entries]
    n, m = kinds.count("promote"), kinds.count("revert")
    terms = [
        ("Moves", f"{typeset.things(n, 'promotion')}, {typeset.things(m, 'reversion')}."),
        ("Audit log", audit_sentence(audit)),
    ]
    return verdict(service_headline(serving), terms, warnings=altered(audit))


def service_headline(serving: Sequence[InService]) -> str:
    """Return in a sentence which model is the champion, and whether it was certified."""
    champion = next((one for one in serving if one.alias.value == "champion"), None)
    if champion is None:
        return "No model is in service."
    if not champion.verified:
        return f"The champion, model {champion.model[:12]}, does not verify and cannot serve."
    right = "certified" if champion.certified else "not certified"
    return f"{champion.label} is in service, {right}."


def _decisions(entries: Sequence[AuditEntry]) -> Iterator[tuple[AuditEntry, GovernanceDecision]]:
    """Yield each decision once, with the last entry that holds it, newest first."""
    seen: set[str] = set()
    for entry in reversed(entries):
        decision = decision_of(entry)
        if decision is not None and decision.id not in seen:
            seen.add(decision.id)
            yield entry, decision


def decision_of(entry: AuditEntry) -> GovernanceDecision | None:
    """Return the decision that an entry holds, as its payload or in it; None where it has none."""
    inner = entry.payload.get("decision")
    for document_ in (inner, entry.payload):
        if isinstance(document_, dict) and "checks" in document_:
            try:
                return GovernanceDecision.from_document(document_)
            except DataError:  # of another release
                return None
    return None


def _certificates(decided: Sequence[tuple[AuditEntry, GovernanceDecision]]) -> list[Markup]:
    if not decided:
        return [missing("Nothing was ever certified.", "pmx certify runs/SWEEP")]
    parts = [
        tag(
            "details",
            tag("summary", f"Entry {entry.seq}. {certificate.headline(decision)}"),
            _override(entry),
            certificate.table(decision),
            open=place == 0,
        )
        for place, (entry, decision) in enumerate(decided[:MAX_CERTIFICATES])
    ]
    rest = len(decided) - MAX_CERTIFICATES
    if rest > 0:
        parts.append(tag("p", f"{typeset.things(rest, 'certificate')} left out.", class_="note"))
    return parts


def _override(entry: AuditEntry) -> Markup:
    override = entry.payload.get("override")
    if not override:
        return Markup()
    why = override.get("reason", "") if isinstance(override, dict) else str(override)
    by = ", ".join(entry.payload.get("approved_by", ())) or entry.actor
    return tag("p", f"Put in service all the same, by {by}: {why}", class_="note warning")


def _log(entries: Sequence[AuditEntry]) -> Markup:
    if not entries:
        return missing("The audit log is empty.", "pmx certify runs/SWEEP")
    shown = entries[::-1][:MAX_ENTRIES]
    rows = (
        [
            str(entry.seq),
            moment(entry.at),
            entry.kind,
            entry.actor,
            typeset.shortened(said(entry), 160),
            tag("code", entry.hash[:12]),
        ]
        for entry in shown
    )
    columns = [
        ("Entry", NAMED), ("At (UTC)", NAMED), ("Kind", NAMED), ("By", NAMED), ("What", WORDS),
        ("Hash", NAMED),
    ]  # fmt: skip
    caption = f"The last {len(shown):,} of {typeset.things(len(entries), 'entry', 'entries')}"
    return table(caption, columns, rows)


def said(entry: AuditEntry) -> str:
    """Return in a few words what an entry says, also where its payload is of another release."""
    try:
        if entry.kind == FLAGS:
            return f"version {entry.payload['version']}: {entry.payload['reason']}"
        return told(entry)
    except (KeyError, IndexError, TypeError):
        return ", ".join(sorted(entry.payload))
