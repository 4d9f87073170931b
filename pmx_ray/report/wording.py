"""The verdict in words, from the numbers, claiming no more than the intervals do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pmx_ray.report import typeset
from pmx_ray.report.view import ReportView, records

Subject: TypeAlias = Literal["price level", "variance"]

SKILL: dict[Subject, str] = {"price level": "skill_rmse", "variance": "skill_qlike"}
"""Column of the leaderboard that judges each subject."""

MAX_QUARANTINED = 20
"""Quarantined tickers named in the notice; the provenance lists them all."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A forecaster's skill against the baseline, a fraction, with the ends of its interval."""

    label: str
    skill: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """The forecaster with its figures."""
        return (
            f"{self.label} ({typeset.skill(self.skill)}, interval "
            f"{typeset.interval(self.low, self.high)})"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where each forecaster's skill interval lies at one step; 0 is the baseline.

    Attributes
    ----------
    step : int
        Sessions ahead.
    subject : str
        ``price level`` (RMSE) or ``variance`` (QLIKE).
    walk : str
        The baseline, as a sentence names it.
    above, below, around : tuple of Entry
        Interval wholly above 0, wholly below 0, or holding 0; best skill first.
    same : tuple of Entry
        Those whose forecast is the baseline's own: the interval is 0 and nothing else.
    without : tuple of Entry
        Those without an interval, which support no claim.
    incomplete : tuple of Entry
        Those that failed too often to be judged.
    """

    step: int
    subject: Subject
    walk: str
    above: tuple[Entry, ...] = ()
    below: tuple[Entry, ...] = ()
    around: tuple[Entry, ...] = ()
    same: tuple[Entry, ...] = ()
    without: tuple[Entry, ...] = ()
    incomplete: tuple[Entry, ...] = ()

    @property
    def n_judged(self) -> int:
        """Number of forecasters whose interval can lie on either side."""
        return len(self.above) + len(self.below) + len(self.around)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What may be said, one sentence each, the answer first."""
        below = _say(self.below, "lies wholly below it", "lie wholly below it")
        around = _say(
            self.around, "has an interval that holds zero", "have intervals that hold zero"
        )
        texts = (
            self._answer(),
            _sentence("; ".join(text for text in (below, around) if text)),
            _sentence(
                _say(self.same, *(f"{v} {self.walk}'s own {self.subject}" for v in _FORECAST))
            ),
            _sentence(_say(self.without, "has no interval", "have no interval")),
            _sentence(_say(self.incomplete, *(f"{v} incomplete and not judged" for v in _BE))),
        )
        return tuple(text for text in texts if text)

    def _answer(self) -> str:
        if not self.n_judged:
            return (
                f"At step {self.step} there is no interval to judge {self.subject} by, so nothing "
                "is claimed."
            )
        if self.above:
            names = typeset.listing([entry.text for entry in self.above])
            verb = "lies" if len(self.above) == 1 else "lie"
            return f"At step {self.step}, on {self.subject}, {names} {verb} above {self.walk}."
        best = max(self.below + self.around, key=lambda entry: entry.skill)
        nearest = "the best skill is" if best.skill > 0.0 else "no skill is above 0, the nearest is"
        return (
            f"At step {self.step} no forecaster's interval lies above {self.walk} on "
            f"{self.subject}; {nearest} {best.text}."
        )


_FORECAST = ("forecasts", "forecast")
_BE = ("is", "are")


def _say(entries: Sequence[Entry], one: str, many: str) -> str:
    if not entries:
        return ""
    names = typeset.listing([entry.label for entry in entries])
    return f"{names} {one if len(entries) == 1 else many}"


def _sentence(text: str) -> str:
    return f"{text}." if text else ""


def verdict(view: ReportView, step: int, subject: Subject) -> Verdict:
    """Return where each forecaster's interval lies at ``step`` on ``subject``."""
    name = SKILL[subject]
    rows = view.at(step)
    rows = rows[rows["spec"] != view.baseline]
    rows = rows.sort_values([name, "label"], ascending=[False, True], kind="stable")
    places: dict[str, list[Entry]] = {}
    for row in records(rows):
        entry = Entry(str(row["label"]), row[name], row[f"{name}_low"], row[f"{name}_high"])
        place = "incomplete" if row["incomplete"] else _place(entry)
        places.setdefault(place, []).append(entry)
    return Verdict(
        step, subject, view.walk, **{place: tuple(found) for place, found in places.items()}
    )


def _place(entry: Entry) -> Literal["above", "below", "around", "same", "without"]:
    if not entry.low <= entry.high:  # either is NaN
        return "without"
    if entry.low == entry.high == 0.0:
        return "same"
    if entry.low > 0:
        return "above"
    return "below" if entry.high < 0 else "around"


def headline(verdicts: Sequence[Verdict]) -> str:
    """Return one sentence over all steps.

    Parameters
    ----------
    verdicts : sequence of Verdict
        Of one subject, one a step.
    """
    subject, walk = verdicts[0].subject, verdicts[0].walk
    judged = [one for one in verdicts if one.n_judged]
    if not judged:
        return f"On {subject} there is no interval to judge by, so nothing is claimed."
    n_above: dict[str, int] = {}
    for entry in (entry for one in judged for entry in one.above):
        n_above[entry.label] = n_above.get(entry.label, 0) + 1
    if not n_above:
        where = f"step {judged[0].step}" if len(judged) == 1 else "any step"
        return f"On {subject}, no forecaster's interval lies above {walk} at {where}."
    always = [label for label, n in n_above.items() if n == len(verdicts)]
    where = "some steps, not at all of them"
    if always:
        where = f"step {judged[0].step}" if len(verdicts) == 1 else "every step"
    names = always or list(n_above)
    verb = "lies" if len(names) == 1 else "lie"
    return f"On {subject}, {typeset.listing(names)} {verb} above {walk} at {where}."


def caveat(verdicts: Sequence[Verdict], level: float) -> str:
    """Return what the intervals do not say, with their number.

    Parameters
    ----------
    verdicts : sequence of Verdict
        All that the page states.
    level : float
        Coverage of the intervals.
    """
    n = sum(one.n_judged for one in verdicts)
    return (
        f"A forecaster lies above or below {verdicts[0].walk} only where the "
        f"{typeset.percent(level, 0)} interval of its skill excludes zero. "
        f"{typeset.things(n, 'interval')} {'is' if n == 1 else 'are'} read here, each on its own "
        "and not adjusted for their number, so some may exclude zero by chance; an interval is "
        "not a formal test."
    )


def quarantine(provenance: Mapping[str, object]) -> tuple[str, ...]:
    """Return which tickers the data gate left out, and why; nothing where it left none.

    Parameters
    ----------
    provenance : mapping
        The document ``provenance.json``; its ``quality`` lists them as ``quarantined``.
    """
    quality = provenance.get("quality")
    listed = quality.get("quarantined") if isinstance(quality, Mapping) else None
    if not isinstance(listed, Sequence) or not listed:
        return ()
    verb = "is" if len(listed) == 1 else "are"
    names = typeset.listing([_left_out(item) for item in listed], most=MAX_QUARANTINED)
    return (
        f"Quarantined: {typeset.things(len(listed), 'ticker')} {verb} left out of every figure: "
        f"{names}.",
    )


def _left_out(item: Mapping[str, object]) -> str:
    ratio = item.get("ratio")
    factor = f"{ratio:.4g}" if isinstance(ratio, int | float) else "unknown size"
    return (
        f"{item.get('ticker')} (close moved by a factor of {factor} on {item.get('session')}: "
        f"{item.get('reason')})"
    )


def warnings(view: ReportView) -> tuple[str, ...]:
    """Return what else a reader must know before the figures: incomplete specs and failed cells."""
    board = view.leaderboard
    incomplete = sorted(board.loc[board["incomplete"], "label"].unique())
    texts = []
    if incomplete:
        verb = "is" if len(incomplete) == 1 else "are"
        texts.append(
            f"Incomplete: {typeset.listing(incomplete)} {verb} scored only on the common cells "
            "served, ranked last, and not judged above."
        )
    first = view.at(view.steps[0])
    failed, asked = int(first["n_failed"].sum()), int(first["n_cells"].sum())
    if failed:
        share = typeset.percent(failed / asked)
        texts.append(
            f"{typeset.things(failed, 'forecast')} of {asked:,} ({share}) failed; the section "
            "Failed cells gives the reasons."
        )
    return tuple(texts)
