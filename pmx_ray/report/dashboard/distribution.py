"""How the losses of each forecaster are spread over the cutoffs: boxes, one a forecaster."""

import numpy as np
import plotly.graph_objects as go

from pmx_ray.report import figures, typeset
from pmx_ray.report.figures import Plot
from pmx_ray.report.view import ReportView

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles that a box shows: its whiskers, its sides and its line."""

_LOSSES = (("mse", "RMSE", "log return"), ("qlike", "QLIKE", "pure number"),
           ("crps", "CRPS", "log return"))  # fmt: skip


def distribution_plots(view: ReportView) -> tuple[Plot, ...]:
    """Return RMSE, QLIKE and CRPS by cutoff as boxes."""
    n = typeset.things(view.cutoffs["cutoff"].nunique(), "cutoff")
    return tuple(
        Plot(
            id=f"spread-{name}",
            title=f"{title} by cutoff",
            unit=unit,
            caption=f"Of {n}: the line is the median, the box the middle half, the whiskers the "
            "5 % and 95 % quantiles, the point the mean. Lower is better.",
            alt=f"Boxes of {title} by cutoff, one a forecaster, at the chosen step.",
            by_step=figures.variants(view, boxes, name),
        )
        for name, title, unit in _LOSSES
    )


def boxes(view: ReportView, step: int, name: str) -> go.Figure:
    """Return the quantiles of a loss over the cutoffs, a box a forecaster, the best ranked on top.

    A cutoff's loss is the mean over its common cells; the root of it for ``mse``.
    """
    losses = figures.by_cutoff(view, step, name)
    figure, styles = figures.blank_figure(), figures.styles(view)
    specs = figures.drawn(view)
    for spec in specs[::-1]:
        values = losses[spec].to_numpy(float)
        values = values[np.isfinite(values)]
        if not values.size:
            continue
        root = np.sqrt(values) if name == "mse" else values
        low, first, median, third, high = ([float(q)] for q in np.quantile(root, LEVELS))
        colour = f"var({styles[spec].colour})"
        label = figures.text_of(view.labels[spec])
        figure.add_trace(
            go.Box(
                y=[figures.text_of(typeset.shortened(view.labels[spec], 26))],
                orientation="h",
                lowerfence=low,
                q1=first,
                median=median,
                q3=third,
                upperfence=high,
                mean=[float(root.mean())],
                boxmean=False,
                name=label,
                legendgroup=spec,
                line={"color": colour, "width": 1.6},
                fillcolor="rgba(0,0,0,0)",
                width=0.55,
                hoverinfo="x",
            )
        )
        figure.add_trace(
            go.Scatter(
                x=[float(root.mean())],
                y=[figures.text_of(typeset.shortened(view.labels[spec], 26))],
                mode="markers",
                marker={"color": colour, "size": 6, "symbol": styles[spec].symbol},
                name=label,
                legendgroup=spec,
                hovertemplate="mean %{x:.4~g}",
            )
        )
    figure.update_xaxes(rangemode="tozero", nticks=6)
    figure.update_yaxes(type="category", showgrid=False, dtick=1, nticks=0)
    figure.update_layout(hovermode="closest", height=70 + 26 * len(specs))
    return figure
