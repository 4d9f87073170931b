"""What the newest book serves under the flags: a bundle a ticker, and what each model said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pmx_ray.errors import NothingToServeError
from pmx_ray.ledger.flags import FlagRecord
from pmx_ray.report import typeset
from pmx_ray.report.dashboard.history import NAMES
from pmx_ray.report.dashboard.layout import NAMED, NUMBER, WORDS, missing, table
from pmx_ray.report.markup import Markup, markup, tag
from pmx_ray.signals.flags import FlagValues
from pmx_ray.signals.router import route
from pmx_ray.signals.types import Candidate, FlagStatus, SignalBook, SignalBundle, Source
from pmx_ray.taxonomy import Action, RiskLevel

MAX_TICKERS = 100
"""Tickers listed; the page says how many more there are."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a ticker gets.

    Attributes
    ----------
    bundles : mapping of str to SignalBundle
        By ticker.
    refused : mapping of str to str
        Why a ticker gets none.
    """

    bundles: Mapping[str, SignalBundle]
    refused: Mapping[str, str]


def served(book: SignalBook, flags: FlagRecord | None) -> Served:
    """Return what each ticker of a book gets under flags that are known for certain."""
    values = known_flags(flags)
    version, book_id = (0 if flags is None else flags.version), book.id
    bundles, refused = {}, {}
    for ticker in sorted(book.entries):
        try:
            bundles[ticker] = route(
                book,
                ticker,
                values,
                flags_version=version,
                flags_status=FlagStatus.LIVE,
                book_id=book_id,
            )
        except NothingToServeError as error:
            refused[ticker] = str(error)
    return Served(bundles, refused)


def known_flags(record: FlagRecord | None) -> FlagValues:
    """Return a record's flags; one that this release does not know is left out."""
    if record is None:
        return FlagValues()
    names = FlagValues.model_fields.keys() & record.values.keys()
    return FlagValues.model_validate({name: record.values[name] for name in names})


def served_sentence(found: Served) -> str:
    """Return in a sentence how many tickers buy, sell and hold, and how many get nothing."""
    actions = [bundle.signal.action for bundle in found.bundles.values()]
    parts = [f"{actions.count(action)} {action.value}" for action in Action]
    nothing = f"; {len(found.refused)} get nothing" if found.refused else ""
    used = sum(bundle.fallback_used for bundle in found.bundles.values())
    fallback = f"; the fallback stands in for {used}" if used else ""
    return f"{typeset.things(len(actions), 'ticker')}: {', '.join(parts)}{fallback}{nothing}."


def stake_sentence(found: Served) -> str:
    """Return in a sentence how much capital the signals put at stake, and at which risk."""
    signals = [bundle.signal for bundle in found.bundles.values()]
    long = sum(max(signal.position_frac, 0.0) for signal in signals)
    short = sum(max(-signal.position_frac, 0.0) for signal in signals)
    traded = [signal.risk_level for signal in signals if signal.position_frac]
    risks = [f"{traded.count(level)} at {level} risk" for level in RiskLevel if level in traded]
    told = f"; {', '.join(risks)}" if risks else ""
    return f"Long {typeset.percent(long)}, short {typeset.percent(short)} of capital{told}."


def served_table(found: Served) -> Markup:
    """Return a row a ticker: what is served, from where, and why."""
    bundles = list(found.bundles.values())
    rows = [
        [
            bundle.ticker,
            action(bundle.signal.action),
            tag("span", bundle.route.replace("_", " ")),
            bundle.model.label,
            typeset.skill(bundle.signal.position_frac),
            typeset.skill(bundle.signal.expected_return),
            typeset.percent(bundle.signal.volatility),
            typeset.percent(bundle.signal.confidence, 0),
            bundle.signal.risk_level.value,
            bundle.reason,
        ]
        for bundle in bundles[:MAX_TICKERS]
    ]
    columns = [
        ("Ticker", NAMED), ("Action", NAMED), ("Route", NAMED), ("Model", NAMED),
        ("Position", NUMBER), ("Expected", NUMBER), ("Volatility", NUMBER),
        ("Confidence", NUMBER), ("Risk", NAMED), ("Reason", WORDS),
    ]  # fmt: skip
    refused = [
        tag("p", f"{ticker} gets no signal: {why}", class_="note warning")
        for ticker, why in list(found.refused.items())[:MAX_TICKERS]
    ]
    if len(found.refused) > MAX_TICKERS:
        more = typeset.things(len(found.refused) - MAX_TICKERS, "more ticker")
        refused.append(tag("p", f"{more} without a signal.", class_="note warning"))
    listed = table(
        "What each ticker gets; expected return and volatility are over the horizon", columns,
        rows, pinned=True,
    )  # fmt: skip
    return markup(listed if rows else Markup(), _rest(len(bundles)), refused)


def said_table(book: SignalBook) -> Markup:
    """Return a row a ticker: what each model said and which layers of the validator refused it."""
    sources = [source for source in Source if source in book.models or source in book.failures]
    if not sources:
        return missing("No model spoke.")
    rows = (
        [
            entry.ticker,
            typeset.fixed(entry.close, 2) if entry.close is not None else typeset.DASH,
            *(_said(entry.candidates.get(source)) for source in sources),
        ]
        for entry in sorted(book.entries.values(), key=lambda one: one.ticker)[:MAX_TICKERS]
    )
    columns = [
        ("Ticker", NAMED), ("Close", NUMBER),
        *((NAMES[source].capitalize(), WORDS) for source in sources),
    ]  # fmt: skip
    listed = table(
        "What each model said: expected return, confidence, and the layers that refused it",
        columns, rows, pinned=True,
    )  # fmt: skip
    return markup(listed, _rest(len(book.entries)))


def layers_table(book: SignalBook) -> Markup:
    """Return how many signals each layer of the validator refused, by source."""
    counts: dict[str, dict[Source, list[bool]]] = {}
    for entry in book.entries.values():
        for source, candidate in entry.candidates.items():
            for check in candidate.checks:
                of_layer = counts.setdefault(check.layer, {})
                of_layer.setdefault(source, []).append(check.passed)
    if not counts:
        return missing("The validator has judged none of these signals.")
    sources = [source for source in Source if any(source in found for found in counts.values())]
    rows = (
        [layer.capitalize(), *(_refused(found.get(source, [])) for source in sources)]
        for layer, found in counts.items()
    )
    columns = [("Layer", NAMED), *((NAMES[source].capitalize(), NUMBER) for source in sources)]
    return table("Signals of this book that each layer refused, of those it judged", columns, rows)


def action(word: Action) -> Markup:
    """Return an action, set apart where it trades."""
    if word is Action.HOLD:
        return tag("span", word.value)
    return tag("strong", word.value, class_="better" if word is Action.BUY else "worse")


def _said(candidate: Candidate | None) -> Markup:
    if candidate is None:
        return markup(typeset.DASH)
    if candidate.signal is None:
        return tag("span", candidate.failure, class_="range")
    signal = candidate.signal
    refused = [check.layer for check in candidate.checks if not check.passed]
    why = tag("span", f"refused by {typeset.listing(refused, most=5)}", class_="flag")
    return markup(
        action(signal.action),
        f" {typeset.skill(signal.expected_return)}, {typeset.percent(signal.confidence, 0)} ",
        why if refused else Markup(),
    )


def _refused(passed: Sequence[bool]) -> str:
    return f"{passed.count(False)} of {len(passed)}" if passed else typeset.DASH


def _rest(n: int) -> Markup:
    if n <= MAX_TICKERS:
        return Markup()
    left_out = typeset.things(n - MAX_TICKERS, "ticker")
    return tag("p", f"{left_out} left out here; the endpoint has them.", class_="note")
