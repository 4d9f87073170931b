"""What every page of the dashboard is put together from: its place in the site, and tables."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from pmx_ray.ledger.verdict import AuditVerdict
from pmx_ray.report import shell, typeset
from pmx_ray.report.markup import Markup, Node, markup, tag
from pmx_ray.report.shell import Chapter
from pmx_ray.report.tables import scroll

SITE: dict[str, str] = {
    "index.html": "Overview",
    "models.html": "Models",
    "signals.html": "Signals",
    "flags.html": "Flags",
    "promotions.html": "Promotions",
    "requests.html": "Requests",
}
"""Every page: the name of its file, and its title."""

NUMBER, NAMED, WORDS = "", "name", "words"
"""Kinds of column: figures stand to the right; names, unbroken, and words to the left."""


def document(
    name: str,
    *,
    at: datetime,
    opening: Markup,
    chapters: Sequence[Chapter],
    controls: Markup | None = None,
    choice: str = "",
) -> str:
    """Return a page of the site.

    Parameters
    ----------
    name : str
        One of ``SITE``.
    at : datetime
        When the facts were read, UTC.
    opening : Markup
        Of ``verdict``: what the page says before any table.
    chapters : sequence of Chapter
        In their order.
    controls : Markup, optional
        What stays in sight above the chapters.
    choice : str
        Variant of the figures that is shown first.
    """
    header = tag(
        "header",
        tag("h1", "Signal service"),
        tag("p", f"{SITE[name]} · read {moment(at)} UTC"),
        class_="top",
    )
    return shell.document(
        f"{SITE[name]}: signal service",
        (header, _site(name), opening),
        controls or Markup(),
        chapters,
        data_step=choice,
    )


def _site(name: str) -> Markup:
    links = (
        tag("li", tag("a", title, href=file, aria_current="page" if file == name else ""))
        for file, title in SITE.items()
    )
    return tag("nav", tag("ul", *links), class_="site", aria_label="Pages")


def verdict(
    headline: str,
    terms: Iterable[tuple[str, Node]] = (),
    *,
    notes: Iterable[Node] = (),
    warnings: Iterable[Node] = (),
) -> Markup:
    """Return what a page says first: a sentence, terms with what is so, and what to beware of."""
    listed = [markup(tag("dt", term), tag("dd", said)) for term, said in terms]
    return tag(
        "section",
        tag("h2", headline),
        tag("dl", *listed) if listed else Markup(),
        *(tag("p", note, class_="note") for note in notes),
        *(tag("p", warning, class_="note warning") for warning in warnings),
        class_="verdict",
        id="verdict",
        aria_label="In short",
    )


def missing(what: str, command: str = "") -> Markup:
    """Return that something is not there, and the command that makes it."""
    how = markup(" To change that: ", tag("code", command)) if command else Markup()
    return tag("p", what, how, class_="missing")


def altered(audit: AuditVerdict) -> list[Markup]:
    """Return a warning where the audit log is not whole."""
    if audit.ok:
        return []
    text = "The audit log was altered, and what is in service and the flags rest on it. See: "
    return [markup(text, tag("code", "pmx audit verify"))]


def table(
    caption: str,
    columns: Sequence[tuple[str, str]],
    rows: Iterable[Sequence[Node]],
    *,
    pinned: bool = False,
) -> Markup:
    """Return a table whose first column names its rows.

    Parameters
    ----------
    caption : str
        What it shows.
    columns : sequence of (str, str)
        Title and kind: ``NUMBER``, ``NAMED`` or ``WORDS``.
    rows : iterable of sequences
        A cell a column; plain text is escaped.
    pinned : bool
        Whether the first column stays in sight on a narrow screen.
    """
    head = tag("tr", *(tag("th", title, scope="col", class_=kind) for title, kind in columns))
    body = (
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(
                tag("td", cell, class_=kind)
                for cell, (_, kind) in zip(row[1:], columns[1:], strict=True)
            ),
        )
        for row in rows
    )
    inner = tag(
        "table", tag("caption", caption), tag("thead", head), tag("tbody", *body), class_="facts"
    )
    return scroll(inner, caption, pinned=pinned)


def choices(legend: str, values: Sequence[str], *, chosen: str) -> Markup:
    """Return the radio buttons that choose the variant of every figure."""
    buttons = (
        tag(
            "label",
            tag("input", type="radio", name="step", value=value, checked=value == chosen),
            tag("span", value),
        )
        for value in values
    )
    return tag("fieldset", tag("legend", legend), *buttons, class_="steps")


def moment(at: datetime) -> str:
    """Return a time to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


def age(span: timedelta) -> str:
    """Return how long ago something was, in the largest unit of which there are two.

    Examples
    --------
    >>> age(timedelta(seconds=7)), age(timedelta(minutes=200)), age(timedelta(days=-1))
    ('7 seconds ago', '3 hours ago', 'in the future')
    """
    seconds = span.total_seconds()
    if seconds < 0:
        return "in the future"
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{typeset.things(int(seconds // size), unit)} ago"
    return f"{typeset.things(int(seconds), 'second')} ago"


def seconds(value: float) -> str:
    """Return a duration in the unit that suits it.

    Examples
    --------
    >>> seconds(0.00321), seconds(0.4567), seconds(12.3)
    ('3.2 ms', '457 ms', '12.30 s')
    """
    if value >= 1.0:
        return f"{typeset.fixed(value, 2)} s"
    return f"{typeset.fixed(1e3 * value, 1 if value < 0.1 else 0)} ms"
