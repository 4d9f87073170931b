"""The figures of the page: plotly data in the page's own colours, one variant a step."""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pmx_ray._typing import FloatArray
from pmx_ray.report import typeset
from pmx_ray.report.view import ReportView

MAX_DRAWN = 12
"""Forecasters drawn beside the random walk; the page says how many more there are."""

MAX_ROWS = 60
"""Tickers drawn in a heat map: half of them the best, half of them the worst."""

N_COLOURS = 8
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")


@dataclass(frozen=True, slots=True)
class Style:
    """How a forecaster is drawn, in every figure and in the key.

    Attributes
    ----------
    colour : str
        Name of a CSS variable of the page.
    dash : str
        Of ``DASHES``; tells forecasters apart once colours repeat.
    symbol : str
        Of ``SYMBOLS``.
    """

    colour: str
    dash: str
    symbol: str


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """One figure of the page.

    Attributes
    ----------
    id : str
        Id of its element.
    title, unit, caption, alt : str
        Heading; what the vertical axis shows; how it is read; what it is, for those who cannot see
        it.
    by_step : mapping of str to Figure
        A variant a step, or one under the empty string.
    """

    id: str
    title: str
    unit: str
    caption: str
    alt: str
    by_step: Mapping[str, go.Figure]


def drawn(view: ReportView) -> tuple[str, ...]:
    """Return the specs that figures draw: the random walk and the best ranked complete others.

    A line over fewer cells lies wherever those cells put it, so an incomplete spec is not drawn.
    """
    left_out = {*view.incomplete} - {view.baseline}
    return tuple(spec for spec in view.specs if spec not in left_out)[: MAX_DRAWN + 1]


def styles(view: ReportView) -> dict[str, Style]:
    """Return a style for each spec drawn; the random walk is grey."""
    chosen = {view.baseline: Style("--rw", "solid", "circle")}
    for n, spec in enumerate(spec for spec in drawn(view) if spec != view.baseline):
        turn, place = divmod(n, N_COLOURS)
        symbol = SYMBOLS[(place + turn) % len(SYMBOLS)]  # another one each time a colour returns
        chosen[spec] = Style(f"--s{place + 1}", DASHES[turn % len(DASHES)], symbol)
    return chosen


def text_of(name: str) -> str:
    """Return a name as plotly shows it unchanged: its pseudo-HTML must not be read as tags."""
    return html.escape(name, quote=False)


def window(n_cutoffs: int) -> int:
    """Return how many cutoffs a rolling mean takes: an eighth of them, at most 26."""
    return max(1, min(26, round(n_cutoffs / 8)))


def skill_by_step(view: ReportView, name: str) -> go.Figure:
    """Return each forecaster's skill with its interval at every step."""
    specs = [spec for spec in drawn(view) if spec != view.baseline]
    figure = blank_figure()
    width = 0.62 / max(1, len(specs))
    for n, spec in enumerate(specs):
        rows = _rows(view.leaderboard, spec).set_index("step").reindex(list(view.steps))
        value = rows[name].to_numpy(float)
        low, high = (rows[f"{name}_{end}"].to_numpy(float) for end in ("low", "high"))
        style = styles(view)[spec]
        figure.add_trace(
            go.Scatter(
                x=np.arange(len(view.steps)) + (n - (len(specs) - 1) / 2) * width,
                y=value,
                error_y={
                    "type": "data",
                    "array": high - value,
                    "arrayminus": value - low,
                    "color": f"var({style.colour})",
                    "thickness": 1.6,
                    "width": 3,
                },
                customdata=np.column_stack([low, high]),
                hovertemplate="%{y:+.2%}, interval %{customdata[0]:+.2%} to %{customdata[1]:+.2%}",
                **_identity(view, spec),
                **look_of(style, mode="markers"),
            )
        )
    figure.update_xaxes(
        tickvals=list(range(len(view.steps))),
        ticktext=[f"step {step}" for step in view.steps],
        range=[-0.55, len(view.steps) - 0.45],
        showgrid=False,
        zeroline=False,  # it would stand at the first step
    )
    figure.update_layout(hovermode="closest")
    figure.update_yaxes(tickformat=_percent_format(view.leaderboard[name].to_numpy(float)))
    return _with_zero(figure)


def loss_by_step(view: ReportView, name: str) -> go.Figure:
    """Return each forecaster's loss at every step."""
    figure = blank_figure()
    for spec in drawn(view):
        rows = _rows(view.leaderboard, spec).sort_values("step")
        figure.add_trace(
            go.Scatter(
                x=[f"step {step}" for step in rows["step"]],
                y=rows[name].to_numpy(float),
                hovertemplate="%{y:.4~g}",
                **_identity(view, spec),
                **look_of(styles(view)[spec], mode="lines+markers"),
            )
        )
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(rangemode="tozero")
    return figure


def rolling_loss(view: ReportView, step: int, name: str) -> go.Figure:
    """Return a loss over the last cutoffs, every cell alike; the root of it for ``mse``."""
    losses, n = by_cutoff(view, step, name), by_cutoff(view, step, "n_common")
    means = _rolling_mean(losses, n)
    return _lines(view, means.pow(0.5) if name == "mse" else means, hover="%{y:.4~g}")


def rolling_skill(view: ReportView, step: int, name: str) -> go.Figure:
    """Return the rolling skill against the baseline, over the cutoffs that both scored."""
    losses, n = by_cutoff(view, step, name), by_cutoff(view, step, "n_common")
    both = losses.notna().mul(losses[view.baseline].notna(), axis=0)
    base = pd.DataFrame(dict.fromkeys(losses.columns, losses[view.baseline]))
    ratio = _rolling_mean(losses.where(both), n) / _rolling_mean(base.where(both), n)
    skills = 1.0 - (ratio.pow(0.5) if name == "mse" else ratio)
    figure = _lines(view, skills, hover="%{y:+.2%}")
    figure.update_yaxes(tickformat=_percent_format(skills.to_numpy(float)))
    return figure


def _rolling_mean(losses: pd.DataFrame, n: pd.DataFrame) -> pd.DataFrame:
    """Return the mean loss over the last cutoffs, weighted by their cells; empty ones count 0."""
    weights = n.where(losses.notna(), 0.0)
    size = window(len(losses))
    total: pd.DataFrame = (losses.fillna(0.0) * weights).rolling(size).sum()
    return total / weights.rolling(size).sum()


def path_of(view: ReportView, step: int, name: str) -> go.Figure:
    """Return equity or drawdown after each cutoff."""
    negative = name == "drawdown_frac"
    values = by_cutoff(view, step, name)
    hover = "%{y:.1%}" if negative else "%{y:.3f}"
    figure = _lines(view, -values if negative else values, hover=hover, shape="hv")
    if negative:
        figure.update_yaxes(tickformat=_percent_format(values.to_numpy(float)), rangemode="tozero")
    return figure


def by_cutoff(view: ReportView, step: int, name: str) -> pd.DataFrame:
    """Return a column of the cutoffs, a row a cutoff and a column a spec drawn.

    Where several splits share a cutoff, as in a combinatorial plan, the row is their mean.
    """
    rows = view.cutoffs[view.cutoffs["step"] == step]
    wide: pd.DataFrame = rows.pivot_table(
        index="cutoff", columns="spec", values=name, aggfunc="mean", dropna=False
    )
    return wide.reindex(columns=list(drawn(view))).sort_index()


def heat_rows(view: ReportView, step: int, name: str) -> tuple[pd.DataFrame, int]:
    """Return a skill, a row a ticker and a column a spec, and how many tickers are left out.

    Tickers are ordered by their median over the specs shown, best first. Of more than ``MAX_ROWS``
    the best half and the worst half are kept. Specs without a skill of their own (``own_of_walk``)
    would pull every median to zero and are left out.
    """
    rows = view.tickers[view.tickers["step"] == step]
    wide: pd.DataFrame = rows.pivot_table(
        index="ticker", columns="spec", values=name, aggfunc="first", dropna=False
    )
    idle = {view.baseline, *own_of_walk(view, name)}
    challengers = [spec for spec in drawn(view) if spec not in idle]
    wide = wide.reindex(columns=challengers).dropna(how="all")
    order = wide.median(axis=1).to_frame("skill").reset_index()
    order = order.sort_values(["skill", "ticker"], ascending=[False, True], kind="stable")
    wide = wide.loc[order["ticker"]]
    if len(wide) <= MAX_ROWS:
        return wide, 0
    half = MAX_ROWS // 2
    return pd.concat([wide.iloc[:half], wide.iloc[-half:]]), len(wide) - MAX_ROWS


def own_of_walk(view: ReportView, name: str) -> tuple[str, ...]:
    """Return the specs drawn whose skill is exactly 0 on every ticker at every step.

    They state the baseline's own forecast, as a model of variance alone does on price level.
    """
    moved = set(view.tickers.loc[view.tickers[name] != 0.0, "spec"])  # NaN counts as moved
    return tuple(spec for spec in drawn(view) if spec != view.baseline and spec not in moved)


def heat_map(view: ReportView, step: int, name: str) -> go.Figure:
    """Return the skill of each forecaster on each ticker, as colours about zero."""
    wide, _ = heat_rows(view, step, name)
    values = wide.to_numpy(float)
    reach = _reach(values)
    figure = blank_figure()
    figure.add_trace(
        go.Heatmap(
            z=_small(values),
            x=[text_of(view.labels[spec]) for spec in wide.columns],
            y=[text_of(str(ticker)) for ticker in wide.index],
            zmin=-reach,
            zmax=reach,
            colorscale=[[0, "var(--worse)"], [0.5, "var(--same)"], [1, "var(--better)"]],
            xgap=1,
            ygap=1,
            text=[["" if v == 0.0 else typeset.skill(v, 1) for v in row] for row in values],
            texttemplate="%{text}",
            textfont={"size": 10},
            hovertemplate="%{y}, %{x}: %{z:+.2%}<extra></extra>",
            colorbar={
                "orientation": "h",
                "thickness": 8,
                "len": 0.6,
                "x": 1,
                "xanchor": "right",
                "y": 1,
                "yanchor": "bottom",
                "ypad": 4,
                "tickformat": ".1~%",
                "nticks": 5,
                "outlinewidth": 0,
                "tickfont": {"size": 11},
            },
        )
    )
    names = [view.labels[spec] for spec in wide.columns]
    figure.update_xaxes(
        type="category",
        showgrid=False,
        tickvals=list(range(len(names))),
        ticktext=[text_of(typeset.shortened(name, 24)) for name in names],
        tickangle=-35 if len(names) > 4 else 0,
    )
    figure.update_yaxes(
        type="category", autorange="reversed", showgrid=False, dtick=1, ticklabelstandoff=4
    )
    figure.update_layout(
        height=130 + 17 * len(wide), hovermode="closest", margin={"t": 44, "b": 60, "l": 60, "r": 6}
    )
    return figure


def variants(
    view: ReportView, draw: Callable[[ReportView, int, str], go.Figure], name: str
) -> dict[str, go.Figure]:
    """Return what ``draw`` makes of the column ``name``, one figure a step."""
    return {str(step): draw(view, step, name) for step in view.steps}


def _reach(values: FloatArray) -> float:
    """Return where the colours end: the 98th percentile of the sizes, so that one cannot rule."""
    sizes = np.abs(values[np.isfinite(values)])
    return float(np.quantile(sizes, 0.98)) if sizes.size and sizes.max() > 0 else 0.01


def _lines(
    view: ReportView, values: pd.DataFrame, *, hover: str, shape: str = "linear"
) -> go.Figure:
    figure = blank_figure()
    dates = [str(cutoff)[:10] for cutoff in values.index]
    for spec in _back_to_front(view):
        line = values[spec].to_numpy(float)
        sparse = np.isfinite(line).sum() < 3
        mode = "lines+markers" if sparse else "lines"
        look = look_of(styles(view)[spec], mode=mode, shape=shape)
        figure.add_trace(
            go.Scatter(
                x=dates, y=_small(line), hovertemplate=hover, **_identity(view, spec), **look
            )
        )
    figure.update_xaxes(type="date", hoverformat="%Y-%m-%d")
    return figure


def _back_to_front(view: ReportView) -> Sequence[str]:
    return drawn(view)[::-1]


def _rows(table: pd.DataFrame, spec: str) -> pd.DataFrame:
    return table[table["spec"] == spec]


def _small(values: FloatArray) -> np.ndarray:
    return values.astype(np.float32)  # seven digits are more than a screen shows


def _identity(view: ReportView, spec: str) -> dict[str, str]:
    return {"name": text_of(view.labels[spec]), "legendgroup": spec}


def look_of(style: Style, *, mode: str, shape: str = "linear") -> dict[str, object]:
    """Return how a trace of a style is drawn, in Plotly's terms."""
    colour = f"var({style.colour})"
    thin = style.colour == "--rw"
    return {
        "mode": mode,
        "line": {
            "color": colour,
            "dash": style.dash,
            "width": 2.2 if thin else 1.6,
            "shape": shape,
        },
        "marker": {"color": colour, "symbol": style.symbol, "size": 7},
    }


def _with_zero(figure: go.Figure) -> go.Figure:
    return figure.add_hline(y=0, line={"color": "var(--rw)", "width": 2.2}, layer="below")


def blank_figure() -> go.Figure:
    """Return a figure without traces, in the look of the pages."""
    axis = {
        "gridcolor": "var(--grid)",
        "zerolinecolor": "var(--grid)",
        "linecolor": "var(--line)",
        "tickcolor": "var(--line)",
        "automargin": True,
        "fixedrange": True,
    }
    return go.Figure(
        layout={
            "template": "none",
            "font": {"family": "inherit", "size": 12, "color": "var(--soft)"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 50, "r": 12, "t": 10, "b": 32},
            "showlegend": False,
            "hovermode": "x unified",
            "hoverlabel": {
                "bgcolor": "var(--paper)",
                "bordercolor": "var(--line)",
                "font": {"color": "var(--ink)", "size": 12},
            },
            "xaxis": axis,
            "yaxis": {**axis, "nticks": 6},
        }
    )


def _percent_format(values: FloatArray) -> str:
    """Return a tick format that tells neighbours apart: some ten ticks up to the largest size."""
    sizes = np.abs(values[np.isfinite(values)])
    reach = float(sizes.max(initial=0.0))
    decimals = -math.floor(math.log10(100.0 * reach / 12.0)) if reach > 0.0 else 1
    return f".{max(1, decimals)}~%"
