"""The figures of a search's page, in the colours of the sweep's."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from pmx_ray.report import typeset
from pmx_ray.report.figures import Style, blank_figure, look_of, text_of
from tune_jobs.history import State
from tune_jobs.outcome import LossPair, Outcome, Tried, finite
from tune_jobs.worth import Figure

MOST_LINES = 300
"""Trials drawn as lines: the best; the page says how many more there are."""

CHOSEN, DEFAULT, BEST = "chosen", "default", "best so far"

STYLES = {
    State.COMPLETE.value: Style("--s1", "solid", "circle"),
    State.PRUNED.value: Style("--rw", "dot", "triangle-down"),
    State.FAIL.value: Style("--s7", "dot", "x"),
    CHOSEN: Style("--s2", "solid", "star"),
    DEFAULT: Style("--s4", "dash", "square"),
    BEST: Style("--s3", "solid", "circle"),
}
"""How each kind of trial is drawn, in every figure and in the key."""

_NO_NAME = "<extra></extra>"
_TRIAL = f"%{{text}}<br>loss %{{y:.5f}}{_NO_NAME}"


def kind_of(outcome: Outcome, trial: Tried) -> str:
    """Return how a trial is drawn: a key of ``STYLES``."""
    if outcome.is_chosen(trial):
        return CHOSEN
    if trial.state is State.COMPLETE and trial.label == outcome.default:
        return DEFAULT
    return trial.state.value


def top(losses: Sequence[float]) -> float:
    """Return where a loss axis ends: far beyond the upper quartile, a few poor trials lie outside.

    A configuration that explodes would press all others into one line.
    """
    known = finite(losses)
    if not known:
        return 1.0
    low, upper = min(known), float(np.quantile(known, 0.75))
    return min(max(known), upper + 3.0 * (upper - low)) if upper > low else max(known)


def n_outside(losses: Sequence[float]) -> int:
    """Return how many losses lie above the axis."""
    return sum(loss > top(losses) for loss in finite(losses))


def history(outcome: Outcome) -> go.Figure:
    """Return every trial in the order they were proposed, and the best complete one so far."""
    figure = blank()
    for kind, trials in _by_kind(outcome, (State.COMPLETE, State.PRUNED)).items():
        figure.add_trace(
            _markers(
                kind,
                x=[one.number for one in trials],
                y=[one.loss for one in trials],
                text=[said(one) for one in trials],
                size=13 if kind == CHOSEN else 8,
            )
        )
    complete = sorted(outcome.those(State.COMPLETE), key=lambda one: one.number)
    if complete:
        last = max(one.number for one in outcome.trials)
        best = np.minimum.accumulate([one.loss for one in complete])
        figure.add_trace(
            go.Scatter(
                x=[*(one.number for one in complete), last],
                y=[*best.tolist(), float(best[-1])],
                hoverinfo="skip",
                **drawn(BEST, mode="lines", shape="hv"),
            )
        )
    _add_failed(figure, outcome.those(State.FAIL))
    figure.update_xaxes(title={"text": "trial", "standoff": 4}, showgrid=False, zeroline=False)
    figure.update_layout(yaxis={"range": _span([one.loss for one in outcome.trials])})
    return figure


def _add_failed(figure: go.Figure, failed: Sequence[Tried]) -> None:
    """Draw failed trials at the bottom: they have no loss to stand at."""
    if failed:
        trace = _markers(
            State.FAIL.value,
            x=[one.number for one in failed],
            y=[0.03] * len(failed),
            text=[said(one) for one in failed],
        )
        figure.add_trace(trace.update(yaxis="y2", hovertemplate=f"%{{text}}{_NO_NAME}"))
        figure.update_layout(
            yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
        )


def rungs(outcome: Outcome, n_folds: Sequence[int]) -> go.Figure:
    """Return each trial's loss over all folds up to each rung.

    Parameters
    ----------
    outcome : Outcome
        What was found.
    n_folds : sequence of int
        Folds up to each rung.
    """
    figure = blank()
    for kind, trials in _by_kind(outcome, (State.COMPLETE, State.PRUNED), most=MOST_LINES).items():
        steps = [[k for k, _ in enumerate(one.rungs)] for one in trials]
        figure.add_trace(
            go.Scatter(
                x=broken(steps),
                y=broken([one.rungs for one in trials]),
                text=broken([[said(one)] * len(one.rungs) for one in trials]),
                hovertemplate=_TRIAL,
                opacity=1.0 if kind == CHOSEN else 0.6,
                **drawn(kind, mode="lines+markers", size=9 if kind == CHOSEN else 5),
            )
        )
    figure.update_xaxes(
        tickvals=list(range(len(n_folds))),
        ticktext=[typeset.things(n, "fold") for n in n_folds],
        range=[-0.25, len(n_folds) - 0.75],
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(range=_span([loss for one in outcome.trials for loss in one.rungs]))
    return figure


def importance(shares: Mapping[str, float]) -> go.Figure:
    """Return each parameter's share as a bar, the largest on top."""
    figure = blank()
    names = list(shares)
    figure.add_trace(
        go.Bar(
            x=[shares[name] for name in names],
            y=[text_of(name) for name in names],
            orientation="h",
            text=[typeset.percent(shares[name]) for name in names],
            textposition="outside",
            cliponaxis=False,
            marker={"color": "var(--s1)"},
            hovertemplate=f"%{{y}}: %{{x:.1%}}{_NO_NAME}",
        )
    )
    figure.update_xaxes(tickformat=".0%", range=[0, 1.15 * max(shares.values(), default=1.0)])
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category", dtick=1)
    figure.update_layout(height=max(160, 60 + 34 * len(names)), bargap=0.45)
    return figure


def against(outcome: Outcome) -> go.Figure:
    """Return evaluation loss against tuning loss, with the line where both are the same."""
    gain, figure = outcome.gain, blank()
    low, high = _square(outcome)
    figure.add_trace(_reference([low, high], [low, high]))
    for kind, pairs in _pairs(outcome).items():
        trace = _pair_markers(kind, pairs, [pair.evaluation for pair in pairs])
        interval = {CHOSEN: (gain.tuning, gain.tuned), DEFAULT: (gain.tuning_default, gain.default)}
        if kind in interval:
            x, y = interval[kind]
            trace.update(error_x=_bars(x, kind), error_y=_bars(y, kind))
        figure.add_trace(trace)
    figure.update_xaxes(range=[low, high], title={"text": "tuning folds", "standoff": 4})
    figure.update_yaxes(range=[low, high])
    figure.update_layout(height=360)
    return figure


def _square(outcome: Outcome) -> tuple[float, float]:
    """Return the ends of both axes: they hold the pairs and the intervals of two of them."""
    gain, pairs = outcome.gain, outcome.pairs
    spans = [_span([pair.tuning for pair in pairs]), _span([pair.evaluation for pair in pairs])]
    bars = [gain.tuning, gain.tuned, gain.tuning_default, gain.default]
    known = finite([end for bar in bars for end in (bar.low, bar.high)])
    return (
        min(*known, *(span[0] for span in spans)),
        max(*known, *(span[1] for span in spans)),
    )


def _reference(x: Sequence[float], y: Sequence[float]) -> go.Scatter:
    """Return the grey line on which both losses are the same."""
    line = {"color": "var(--rw)", "width": 2.2}
    return go.Scatter(x=list(x), y=list(y), mode="lines", line=line, hoverinfo="skip")


def gaps(outcome: Outcome) -> go.Figure:
    """Return evaluation less tuning loss against tuning loss; the choice with its interval."""
    figure = blank()
    ends = _span([pair.tuning for pair in outcome.pairs])
    figure.add_trace(_reference(ends, [0.0, 0.0]))
    for kind, pairs in _pairs(outcome).items():
        trace = _pair_markers(kind, pairs, [pair.gap for pair in pairs])
        if kind == CHOSEN:
            trace.update(error_y=_bars(outcome.gain.gap, kind))
        figure.add_trace(trace)
    figure.update_xaxes(range=ends, title={"text": "tuning folds", "standoff": 4})
    figure.update_yaxes(zeroline=False)
    figure.update_layout(height=360)
    return figure


def _pairs(outcome: Outcome) -> dict[str, list[LossPair]]:
    kinds: dict[str, list[LossPair]] = {State.COMPLETE.value: [], DEFAULT: [], CHOSEN: []}
    for pair in outcome.pairs:
        other = DEFAULT if pair.label == outcome.default else State.COMPLETE.value
        kinds[CHOSEN if pair.label == outcome.chosen[0] else other].append(pair)
    return {kind: pairs for kind, pairs in kinds.items() if pairs}


def _pair_markers(kind: str, pairs: Sequence[LossPair], y: Sequence[float]) -> go.Scatter:
    trace = _markers(
        kind,
        x=[pair.tuning for pair in pairs],
        y=y,
        text=[text_of(pair.label) for pair in pairs],
        size=13 if kind == CHOSEN else 9,
    )
    shown = "%{text}<br>tuning folds %{x:.5f}<br>later folds %{customdata:.5f}"
    return trace.update(
        customdata=[pair.evaluation for pair in pairs], hovertemplate=f"{shown}{_NO_NAME}"
    )


def _bars(figure: Figure, kind: str) -> dict[str, Any]:
    if np.isnan(figure.low) or np.isnan(figure.high):
        return {"visible": False}
    return {
        "type": "data",
        "array": [figure.high - figure.value],
        "arrayminus": [figure.value - figure.low],
        "color": f"var({STYLES[kind].colour})",
        "thickness": 1.6,
        "width": 4,
    }


def front(outcome: Outcome) -> go.Figure:
    """Return the loss against the seconds of complete trials, and the front that was frozen."""
    figure = blank()
    for kind, trials in _by_kind(outcome, (State.COMPLETE,)).items():
        ordered = sorted(trials, key=lambda one: one.fit_s)
        trace = _markers(
            kind,
            x=[one.fit_s for one in ordered],
            y=[one.loss for one in ordered],
            text=[said(one) for one in ordered],
            size=12 if kind == CHOSEN else 8,
        )
        if kind == CHOSEN:
            trace.update(mode="lines+markers", line={"shape": "hv", "width": 1.6})
        figure.add_trace(trace)
    figure.update_xaxes(title={"text": "seconds of one core", "standoff": 4}, rangemode="tozero")
    figure.update_yaxes(range=_span([one.loss for one in outcome.those(State.COMPLETE)]))
    figure.update_layout(height=360)
    return figure


def _by_kind(
    outcome: Outcome, states: Sequence[State], *, most: int | None = None
) -> dict[str, list[Tried]]:
    """Return trials by how they are drawn, the chosen last and so on top."""
    order = (State.PRUNED.value, State.COMPLETE.value, DEFAULT, CHOSEN)
    kinds: dict[str, list[Tried]] = {kind: [] for kind in order}
    for trial in [one for one in outcome.ranked if one.state in states][:most]:
        kinds[kind_of(outcome, trial)].append(trial)
    return {kind: trials for kind, trials in kinds.items() if trials}


def _span(losses: Sequence[float]) -> list[float]:
    """Return the ends of a loss axis, with some room."""
    known = finite(losses)
    if not known:
        return [0.0, 1.0]
    low, high = min(known), top(known)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return [low - room, high + room]


def said(trial: Tried) -> str:
    """Return what is shown of a trial under the pointer."""
    seen = typeset.things(len(trial.rungs), "rung")
    how = {State.PRUNED: f", stopped after {seen}", State.FAIL: f", failed: {trial.why}"}
    return text_of(f"trial {trial.number}: {trial.label}{how.get(trial.state, '')}")


def _markers(
    kind: str, *, x: Sequence[Any], y: Sequence[Any], text: Sequence[str], size: int = 8
) -> go.Scatter:
    return go.Scatter(
        x=list(x),
        y=list(y),
        text=list(text),
        hovertemplate=_TRIAL,
        **drawn(kind, mode="markers", size=size),
    )


def drawn(kind: str, *, mode: str, size: int = 7, shape: str = "linear") -> dict[str, Any]:
    """Return how traces of a kind of trial look, and what hides them."""
    look: dict[str, Any] = look_of(STYLES[kind], mode=mode, shape=shape)
    look["marker"] = {**look["marker"], "size": size}
    return {**look, "name": kind, "legendgroup": kind}


def broken(lines: Iterable[Iterable[Any]]) -> list[Any]:
    """Return lines one after the other with a gap between any two, as one trace draws them."""
    return [value for line in lines for value in (*line, None)]


def blank() -> go.Figure:
    """Return an empty figure in the look of the sweep's page."""
    figure = blank_figure()
    figure.update_layout(hovermode="closest")
    return figure
