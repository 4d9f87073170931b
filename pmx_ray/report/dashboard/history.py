"""Figures of past signals: how often right, what they earned, how many traded and passed."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pmx_ray._typing import DateArray
from pmx_ray.data.panel import Panel
from pmx_ray.report import figures
from pmx_ray.report.figures import Plot, Style
from pmx_ray.signals.types import Source

WINDOWS: Mapping[str, int] = {"30 sessions": 30, "90 sessions": 90, "1 year": 252}
"""What the figures look back over, in sessions."""

MARKET = "market"
"""Stands for holding every ticker, in equal parts, through the window."""

STYLES: Mapping[str, Style] = {
    Source.CHAMPION: Style("--s1", "solid", "circle"),
    Source.LLM: Style("--s2", "solid", "square"),
    Source.FALLBACK: Style("--rw", "solid", "diamond"),
    Source.CHALLENGER: Style("--s4", "dash", "triangle-up"),
    MARKET: Style("--s3", "dot", "cross"),
}
"""How each source, and the market, is drawn."""

NAMES: Mapping[str, str] = {
    Source.CHAMPION: "champion",
    Source.LLM: "language model",
    Source.FALLBACK: "fallback",
    Source.CHALLENGER: "challenger",
    MARKET: "market",
}
"""What people call each of them."""


def history_plots(found: pd.DataFrame, panel: Panel) -> tuple[Plot, ...]:
    """Return four figures, each over the windows.

    Parameters
    ----------
    found : DataFrame
        Of ``outcomes``.
    panel : Panel
        What the signals were held against.
    """
    drawn: tuple[tuple[str, str, str, str, Callable[[pd.DataFrame], pd.Series]], ...] = (
        (
            "accuracy",
            "Right direction to date",
            "share of forecasts",
            "Of every forecast in the window whose outcome is known, traded or not; half is luck.",
            right_to_date,
        ),
        (
            "earned",
            "Net return to date",
            "of capital",
            "Capital spread over the tickers, one unit a signal, held to its horizon; net of "
            "costs, whatever its position. The market is every ticker held in equal parts.",
            earned_to_date,
        ),
        (
            "trades",
            "Signals that trade",
            "share of signals",
            "Buy or sell, before the validator; the rest hold.",
            lambda rows: rows.groupby("cutoff")["trades"].mean(),
        ),
        (
            "passed",
            "Signals that pass the validator",
            "share of those it judged",
            "A signal passes if each of the five layers passes it.",
            lambda rows: rows.groupby("cutoff")["passed"].mean(),
        ),
    )
    return tuple(
        Plot(
            id=f"history-{name}",
            title=title,
            unit=unit,
            caption=caption,
            alt=f"{title} of each source over the chosen window, by cutoff.",
            by_step={
                window: lines(
                    since(found, panel.sessions, n),
                    measure,
                    half=name == "accuracy",
                    beside=market(panel, n) if name == "earned" else None,
                )
                for window, n in WINDOWS.items()
            },
        )
        for name, title, unit, caption, measure in drawn
    )


def since(found: pd.DataFrame, sessions: DateArray, n: int) -> pd.DataFrame:
    """Return the rows with their cutoff among the last ``n`` sessions."""
    first = sessions[max(0, len(sessions) - n)] if len(sessions) else np.datetime64("NaT", "D")
    return found[found["cutoff"] >= first]


def right_to_date(rows: pd.DataFrame) -> pd.Series:
    """Return the share of right directions among all so far, by cutoff."""
    sided = rows.dropna(subset=["hit"]).groupby("cutoff")["hit"]
    share: pd.Series = sided.sum().cumsum() / sided.count().cumsum()
    return share


def earned_to_date(rows: pd.DataFrame) -> pd.Series:
    """Return the sum of the net returns so far, by cutoff; each trades its step's share."""
    known = rows.dropna(subset=["net"])
    share = known.assign(net=known["net"] / known["step"]).groupby("cutoff")["net"].mean()
    total: pd.Series = share.cumsum()
    return total


def market(panel: Panel, n: int) -> pd.Series:
    """Return what every ticker, held in equal parts, gained over the last ``n`` sessions."""
    close = panel.close[:, -n:]
    begun = close[~np.isnan(close[:, 0])] if close.size else close
    gained = np.nanmean(begun / begun[:, :1], axis=0) - 1.0 if len(begun) else np.empty(0)
    return pd.Series(gained, index=pd.Index(panel.sessions[-n:][: len(gained)]))


def lines(
    rows: pd.DataFrame,
    measure: Callable[[pd.DataFrame], pd.Series],
    *,
    half: bool = False,
    beside: pd.Series | None = None,
) -> go.Figure:
    """Return a line a source of what ``measure`` makes of its rows.

    Parameters
    ----------
    rows : DataFrame
        Of ``outcomes``.
    measure : callable
        From a source's rows to its values by cutoff.
    half : bool
        Whether one half is marked.
    beside : Series, optional
        The market's values by session.
    """
    figure = figures.blank_figure()
    drawn: dict[str, pd.Series] = {
        source.value: measure(rows[rows["source"] == source.value]) for source in Source
    }
    if beside is not None:
        drawn[MARKET] = beside
    for source, values in drawn.items():
        if values.empty:
            continue
        mode = "lines+markers" if len(values) < 3 else "lines"
        figure.add_trace(
            go.Scatter(
                x=[str(day)[:10] for day in values.index],
                y=values.to_numpy(float),
                name=NAMES[source],
                legendgroup=source,
                hovertemplate="%{y:.1%}",
                **figures.look_of(STYLES[source], mode=mode),
            )
        )
    figure.update_xaxes(type="date", hoverformat="%Y-%m-%d")
    figure.update_yaxes(tickformat=".1~%")
    if half:
        figure.add_hline(y=0.5, line={"color": "var(--line)", "width": 1.5}, layer="below")
    return figure
