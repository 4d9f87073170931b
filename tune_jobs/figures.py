"""The figures of a search's page, in the colours of the sweep's."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from pmx_ray.forecasters.search_space import Choices, Dimension, SearchSpace
from pmx_ray.report import typeset
from pmx_ray.report.figures import Style, _figure, _look, text_of
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
    return CHOSEN if outcome.is_chosen(trial) else trial.state.value


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
    figure = _blank()
    for kind, trials in _by_kind(outcome, (State.COMPLETE, State.PRUNED)).items():
        figure.add_trace(
            _markers(
                kind,
                x=[one.number for one in trials],
                y=[one.loss for one in trials],
                text=[_said(one) for one in trials],
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
                **_drawn(BEST, mode="lines", shape="hv"),
            )
        )
    _add_failed(figure, outcome.those(State.FAIL))
    figure.update_xaxes(title={"text": "trial", "standoff": 4}, showgrid=False, zeroline=False)
    figure.update_yaxes(range=_span([one.loss for one in outcome.trials]))
    return figure


def _add_failed(figure: go.Figure, failed: Sequence[Tried]) -> None:
    """Draw failed trials at the bottom: they have no loss to stand at."""
    if failed:
        trace = _markers(
            State.FAIL.value,
            x=[one.number for one in failed],
            y=[0.03] * len(failed),
            text=[_said(one) for one in failed],
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
    figure = _blank()
    for kind, trials in _by_kind(outcome, (State.COMPLETE, State.PRUNED), most=MOST_LINES).items():
        steps = [[k for k, _ in enumerate(one.rungs)] for one in trials]
        figure.add_trace(
            go.Scatter(
                x=_broken(steps),
                y=_broken([one.rungs for one in trials]),
                text=_broken([[_said(one)] * len(one.rungs) for one in trials]),
                hovertemplate=_TRIAL,
                opacity=1.0 if kind == CHOSEN else 0.6,
                **_drawn(kind, mode="lines+markers", size=9 if kind == CHOSEN else 5),
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
    figure = _blank()
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


def parallel(outcome: Outcome, space: SearchSpace) -> go.Figure:
    """Return each trial as a line across one axis a parameter and one of its loss."""
    figure = _blank()
    complete = outcome.those(State.COMPLETE)
    n_best = math.ceil(len(complete) / 5)
    shown = [one for one in complete if not outcome.is_chosen(one)][:MOST_LINES]
    stopped = list(outcome.those(State.PRUNED))[: MOST_LINES - len(shown)]
    best = {one.number for one in complete[:n_best]}
    limits = (min(finite([one.loss for one in complete]), default=0.0), _loss_top(outcome))
    for kind, trials, look in (
        (State.PRUNED.value, stopped, {"opacity": 0.35, "width": 1.0}),
        (State.COMPLETE.value, [one for one in shown if one.number not in best],
         {"opacity": 0.6, "width": 1.0, "colour": "--s6"}),
        (State.COMPLETE.value, [one for one in shown if one.number in best], {"width": 2.2}),
        (CHOSEN, [one for one in complete if outcome.is_chosen(one)], {"width": 3.2}),
    ):  # fmt: skip
        if trials:
            figure.add_trace(_across(trials, space, kind, look=look, limits=limits))
    for at, (_, dimension) in enumerate(space.dimensions):
        _annotate(figure, at, _ticks(dimension))
    n = len(space.dimensions)
    _annotate(figure, n, [(0.0, f"{limits[0]:.4g}"), (1.0, f"{limits[1]:.4g}")])
    figure.update_xaxes(
        tickvals=list(range(n + 1)),
        ticktext=[*(text_of(typeset.shortened(key, 16)) for key, _ in space.dimensions), "loss"],
        range=[-0.15, n + 0.45],
        gridcolor="var(--line)",
        zeroline=False,
        tickangle=-30 if n > 5 else 0,
    )
    figure.update_yaxes(visible=False, range=[-0.08, 1.08])
    figure.update_layout(height=360, margin={"l": 16, "r": 16, "t": 10, "b": 40})
    return figure


def _across(
    trials: Sequence[Tried],
    space: SearchSpace,
    kind: str,
    *,
    look: Mapping[str, Any],
    limits: tuple[float, float],
) -> go.Scatter:
    low, high = limits
    lines = [
        [
            *(place(dim, one.params[key]) + _apart(one, dim) for key, dim in space.dimensions),
            min((one.loss - low) / (high - low), 1.04) if high > low else 0.5,
        ]
        for one in trials
    ]
    trace = go.Scatter(
        x=_broken([range(len(line)) for line in lines]),
        y=_broken(lines),
        text=_broken([[_said(one)] * len(line) for one, line in zip(trials, lines, strict=True)]),
        hovertemplate=f"%{{text}}{_NO_NAME}",
        opacity=look.get("opacity", 1.0),
        **_drawn(kind, mode="lines"),
    )
    trace.line.width = look["width"]
    if "colour" in look:
        trace.line.color = f"var({look['colour']})"
    return trace


def place(dimension: Dimension, stored: Any) -> float:
    """Return where a value lies on its axis, from 0 to 1; on a log axis where it is drawn so."""
    if isinstance(dimension, Choices):
        values = dimension.stored_values()
        return values.index(stored) / (len(values) - 1)
    low, high, value = float(dimension.low), float(dimension.high), float(stored)
    if dimension.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def _apart(trial: Tried, dimension: Dimension) -> float:
    """Return how far a line is moved where many meet in one value; the same each time."""
    if dimension.n_values > 40:
        return 0.0
    return 0.25 / dimension.n_values * (trial.number * 0.6180339887 % 1.0 - 0.5)


def _ticks(dimension: Dimension) -> list[tuple[float, str]]:
    if isinstance(dimension, Choices):
        return [(place(dimension, v), str(v).lower()) for v in dimension.stored_values()]
    if dimension.n_values <= 8:
        return [(place(dimension, v), f"{v:g}") for v in dimension.stored_values()]
    return [(0.0, f"{dimension.low:g}"), (1.0, f"{dimension.high:g}")]


def _annotate(figure: go.Figure, at: int, ticks: Iterable[tuple[float, str]]) -> None:
    for height, name in ticks:
        figure.add_annotation(
            x=at,
            y=height,
            text=text_of(typeset.shortened(name, 10)),
            showarrow=False,
            xanchor="left",
            xshift=3,
            bgcolor="var(--paper)",
            borderpad=1,
            font={"size": 11, "color": "var(--ink)"},
        )


def against(outcome: Outcome) -> go.Figure:
    """Return evaluation loss against tuning loss, with the line where both are the same."""
    gain, figure = outcome.gain, _blank()
    ends = [loss for pair in outcome.pairs for loss in (pair.tuning, pair.evaluation)]
    low, high = _span(ends)
    figure.add_trace(
        go.Scatter(
            x=[low, high],
            y=[low, high],
            mode="lines",
            line={"color": "var(--rw)", "width": 2.2},
            hoverinfo="skip",
        )
    )
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


def gaps(outcome: Outcome) -> go.Figure:
    """Return evaluation less tuning loss against tuning loss; the choice with its interval."""
    figure = _blank()
    figure.add_hline(y=0, line={"color": "var(--rw)", "width": 2.2}, layer="below")
    for kind, pairs in _pairs(outcome).items():
        trace = _pair_markers(kind, pairs, [pair.gap for pair in pairs])
        if kind == CHOSEN:
            trace.update(error_y=_bars(outcome.gain.gap, kind))
        figure.add_trace(trace)
    figure.update_xaxes(
        range=_span([pair.tuning for pair in outcome.pairs]),
        title={"text": "tuning folds", "standoff": 4},
    )
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
    figure = _blank()
    for kind, trials in _by_kind(outcome, (State.COMPLETE,)).items():
        ordered = sorted(trials, key=lambda one: one.fit_s)
        trace = _markers(
            kind,
            x=[one.fit_s for one in ordered],
            y=[one.loss for one in ordered],
            text=[_said(one) for one in ordered],
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
    order = (State.PRUNED.value, State.COMPLETE.value, CHOSEN)
    kinds: dict[str, list[Tried]] = {kind: [] for kind in order}
    for trial in [one for one in outcome.ranked if one.state in states][:most]:
        kinds[kind_of(outcome, trial)].append(trial)
    return {kind: trials for kind, trials in kinds.items() if trials}


def _loss_top(outcome: Outcome) -> float:
    return top([one.loss for one in outcome.those(State.COMPLETE)])


def _span(losses: Sequence[float]) -> list[float]:
    """Return the ends of a loss axis, with some room."""
    known = finite(losses)
    if not known:
        return [0.0, 1.0]
    low, high = min(known), top(known)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return [low - room, high + room]


def _said(trial: Tried) -> str:
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
        **_drawn(kind, mode="markers", size=size),
    )


def _drawn(kind: str, *, mode: str, size: int = 7, shape: str = "linear") -> dict[str, Any]:
    look: dict[str, Any] = _look(STYLES[kind], mode=mode, shape=shape)
    look["marker"] = {**look["marker"], "size": size}
    return {**look, "name": kind, "legendgroup": kind}


def _broken(lines: Iterable[Iterable[Any]]) -> list[Any]:
    """Return lines one after the other with a gap between any two, as one trace draws them."""
    return [value for line in lines for value in (*line, None)]


def _blank() -> go.Figure:
    figure = _figure()
    figure.update_layout(hovermode="closest")
    return figure
