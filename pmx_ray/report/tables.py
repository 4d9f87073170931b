"""The tables of the page other than the leaderboard: failures, glossary and documents."""

from collections.abc import Iterable, Mapping, Sequence

from pmx_ray.report import typeset
from pmx_ray.report.markup import Markup, markup, tag
from pmx_ray.report.view import ReportView, records
from pmx_ray.stats.catalogue import MEASURES, Measure

MAX_LISTED = 100
"""Rows of a table that could be of any length; the page says how many more there are."""


def failures(view: ReportView) -> Markup:
    """Return the failed cells by reason and one by one, then the cells no figure is over."""
    return markup(_failed(view), _dropped(view))


def _dropped(view: ReportView) -> Markup:
    """Return why cells lie outside the common set, counted by cause and step."""
    if view.dropped.empty:
        return Markup()
    counted = view.dropped.groupby(["step", "cause"], sort=True).size().reset_index(name="n")
    rows = (
        (f"step {row['step']}", typeset.count(row["n"]), row["cause"])
        for row in records(counted.head(MAX_LISTED))
    )
    titles = ("Step", "Cells", "No outcome, or no forecast by")
    return markup(
        _plain("Cells outside the common set, which no figure is over", titles, rows),
        _rest(len(counted), "cause", "causes", "dropped.parquet"),
    )


def _failed(view: ReportView) -> Markup:
    failed = view.failures.assign(reason=view.failures["reason"].fillna(""))
    if failed.empty:
        return tag("p", "Every forecast that was asked for was made.")
    counted = failed.groupby(["label", "status", "reason"], sort=True).agg(
        n=("ticker", "size"), tickers=("ticker", "nunique")
    )
    counted = counted.reset_index().sort_values("n", ascending=False, kind="stable")
    by_reason = _plain(
        "Failed forecasts by reason",
        ("Forecaster", "Forecasts", "Tickers", "Status", "Reason"),
        (
            (
                row["label"],
                typeset.count(row["n"]),
                typeset.count(row["tickers"]),
                row["status"],
                row["reason"],
            )
            for row in records(counted.head(MAX_LISTED))
        ),
    )
    listed = failed.sort_values(["label", "ticker", "cutoff"], kind="stable").head(MAX_LISTED)
    one_by_one = _plain(
        f"The first {len(listed):,} of {typeset.things(len(failed), 'failed forecast')}",
        ("Forecaster", "Ticker", "Cutoff", "Status", "Reason"),
        (
            (row["label"], row["ticker"], str(row["cutoff"])[:10], row["status"], row["reason"])
            for row in records(listed)
        ),
    )
    return markup(
        by_reason,
        _rest(len(counted), "reason", "reasons"),
        tag("details", tag("summary", "One by one"), one_by_one),
        _rest(len(failed), "failed forecast", "failed forecasts"),
    )


def _rest(n: int, one: str, many: str, where: str = "failures.parquet") -> Markup:
    if n <= MAX_LISTED:
        return Markup()
    left_out = typeset.things(n - MAX_LISTED, one, many)
    return tag("p", f"{left_out} left out here; all are in {where}.", class_="note")


def glossary() -> Markup:
    """Return one entry a measure, with its direction and unit."""
    return tag(
        "dl",
        *(
            markup(
                tag("dt", measure.title),
                tag("dd", measure.explanation, " ", tag("span", way(measure), class_="way")),
            )
            for measure in MEASURES.values()
        ),
        class_="terms",
    )


def way(measure: Measure) -> str:
    """Return the direction and the unit of a measure in words."""
    units = {"1": "", "fraction": " Unit: %.", "1, annual": " Annual."}
    unit = units.get(measure.unit, f" Unit: {measure.unit}.")
    match measure.direction:
        case "lower":
            return f"Lower is better.{unit}"
        case "higher":
            return f"Higher is better.{unit}"
        case "target":
            return f"Best at {typeset.percent(measure.target or 0.0, 0)}.{unit}"


def document(facts: Mapping[str, object]) -> Markup:
    """Return a JSON document as it is: a list of terms, tables of its lists, long text folded."""
    flat = _flat(facts)
    terms = [(key, _text(value)) for key, value in flat if not _is_table(value)]
    listed = (
        markup(tag("dt", key.removeprefix("n_").replace("_", " ")), tag("dd", tag("code", text)))
        for key, text in terms
        if "\n" not in text
    )
    folded = (
        tag("details", tag("summary", key), tag("pre", text)) for key, text in terms if "\n" in text
    )
    inner = (_records(key, value) for key, value in flat if _is_table(value))
    return markup(tag("dl", *listed, class_="terms"), *inner, *folded)


def _flat(facts: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for key, value in facts.items():
        if isinstance(value, Mapping):
            flat += _flat(value, f"{prefix}{key} ")
        else:
            flat.append((f"{prefix}{key}", value))
    return flat


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _records(key: str, value: object) -> Markup:
    records: Sequence[Mapping[str, object]] = value if isinstance(value, list) else []
    titles = list(dict.fromkeys(name for record in records for name in record))
    rows = [[_text(record.get(name)) for name in titles] for record in records[:MAX_LISTED]]
    caption = f"{key.replace('_', ' ')}: {typeset.things(len(records), 'entry', 'entries')}"
    return markup(
        _plain(caption, [name.replace("_", " ") for name in titles], rows),
        _rest(len(records), "entry", "entries", "its JSON file"),
    )


def _text(value: object) -> str:
    if value is None:
        return typeset.DASH
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(str(item) for item in value) or "none"
    return str(value)


def _plain(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    numeric = {"Forecasts", "Tickers", "Cells"}
    head = tag(
        "tr",
        *(tag("th", t, scope="col", class_="" if t in numeric else "words") for t in titles),
    )
    body = (
        tag(
            "tr",
            *(
                tag("td", text, class_="" if title in numeric else "words")
                for title, text in zip(titles, row, strict=True)
            ),
        )
        for row in rows
    )
    table = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return scroll(table, caption)


def scroll(table: Markup, caption: str, *, pinned: bool = False) -> Markup:
    """Return a table that scrolls on its own where the page is narrower than it."""
    return tag(
        "div",
        table,
        class_="scroll pinned" if pinned else "scroll",
        role="region",
        tabindex="0",
        aria_label=caption,
    )
