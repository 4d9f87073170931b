"""Parallel coordinates: every trial as a line across one axis a parameter, and one of its loss.

Drawn as lines of a plain chart: plotly's own kind compiles its shaders as it runs, which the
page's policy forbids, and prints as a picture.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from pmx_ray.forecasters.search_space import Choices, Dimension, SearchSpace
from pmx_ray.report import typeset
from pmx_ray.report.figures import text_of
from tune_jobs.figures import (
    CHOSEN,
    DEFAULT,
    MOST_LINES,
    blank,
    broken,
    drawn,
    kind_of,
    said,
    top,
)
from tune_jobs.history import State
from tune_jobs.outcome import Outcome, Tried, finite

FAINT = "--s6"
"""Colour of complete trials that are not among the best."""


@dataclass(frozen=True, slots=True)
class _Look:
    width: float
    opacity: float = 1.0
    colour: str = ""


def parallel(outcome: Outcome, space: SearchSpace) -> go.Figure:
    """Return each trial as a line across one axis a parameter and one of its loss."""
    figure = blank()
    complete = outcome.those(State.COMPLETE)
    n_best = math.ceil(len(complete) / 5)
    shown = complete[:MOST_LINES]
    stopped = list(outcome.those(State.PRUNED))[: MOST_LINES - len(shown)]
    best = {one.number for one in complete[:n_best]}
    limits = (
        min(finite([one.loss for one in complete]), default=0.0),
        top([one.loss for one in complete]),
    )
    others = [one for one in shown if kind_of(outcome, one) == State.COMPLETE.value]
    for kind, trials, look in (
        (State.PRUNED.value, stopped, _Look(1.0, 0.35)),
        (State.COMPLETE.value, [t for t in others if t.number not in best], _Look(1.0, 0.6, FAINT)),
        (State.COMPLETE.value, [t for t in others if t.number in best], _Look(2.2)),
        (DEFAULT, [t for t in shown if kind_of(outcome, t) == DEFAULT], _Look(2.2)),
        (CHOSEN, [t for t in shown if outcome.is_chosen(t)], _Look(3.2)),
    ):
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
    look: _Look,
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
        x=broken([range(len(line)) for line in lines]),
        y=broken(lines),
        text=broken([[said(one)] * len(line) for one, line in zip(trials, lines, strict=True)]),
        hovertemplate="%{text}<extra></extra>",
        opacity=look.opacity,
        **drawn(kind, mode="lines"),
    )
    trace.line.width = look.width
    if look.colour:
        trace.line.color = f"var({look.colour})"
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
