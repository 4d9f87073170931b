"""Which figures the page holds, and the words that stand with each."""

from collections.abc import Sequence

from pmx_ray.report import figures, typeset
from pmx_ray.report.figures import Plot
from pmx_ray.report.view import ReportView


def skill_plots(view: ReportView) -> tuple[Plot, ...]:
    """Return skill with its interval at every step, on price level and on variance."""
    return tuple(
        Plot(
            id=f"skill-{short}",
            title=f"Skill on {subject}",
            unit=f"1 - {loss} / {loss} of {view.walk}",
            caption=f"Bars are intervals; grey is {view.walk}. Higher is better.{_partial(view)}",
            alt=f"Skill of {_count(view)} on {subject} at steps {_steps(view)}, with intervals.",
            by_step={"": figures.skill_by_step(view, name)},
        )
        for short, subject, loss, name in (
            ("level", "price level", "RMSE", "skill_rmse"),
            ("variance", "variance", "QLIKE", "skill_qlike"),
        )
    )


def loss_plots(view: ReportView) -> tuple[Plot, ...]:
    """Return RMSE, QLIKE and CRPS at every step."""
    return tuple(
        Plot(
            id=f"loss-{name}",
            title=title,
            unit=unit,
            caption=f"Lower is better.{_partial(view)}",
            alt=f"{title} of {_count(view)} and {view.walk} at steps {_steps(view)}.",
            by_step={"": figures.loss_by_step(view, name)},
        )
        for name, title, unit in (
            ("rmse", "RMSE by horizon", "log return"),
            ("qlike", "QLIKE by horizon", "pure number"),
            ("crps", "CRPS by horizon", "log return"),
        )
    )


def ticker_plots(view: ReportView) -> tuple[Plot, ...]:
    """Return skill per ticker as heat maps."""
    return tuple(
        Plot(
            id=f"heat-{short}",
            title=f"Skill on {subject} per ticker",
            unit=f"blue: better than {view.walk}; orange: worse",
            caption=_left_out(view, name),
            alt=f"Heat map of the skill on {subject}: a row a ticker, a column a forecaster.",
            by_step=figures.variants(view, figures.heat_map, name),
        )
        for short, subject, name in (
            ("level", "price level", "skill_rmse"),
            ("variance", "variance", "skill_qlike"),
        )
    )


def rolling_plots(view: ReportView) -> tuple[Plot, ...]:
    """Return losses over time, absolute and against the random walk."""
    n = view.cutoffs["cutoff"].nunique()
    span = (
        f"Each point is over the cells of the last {typeset.things(figures.window(n), 'cutoff')}."
    )
    plots = []
    for column, loss, unit in (("mse", "RMSE", "log return"), ("qlike", "QLIKE", "pure number")):
        plots += [
            Plot(
                id=f"rolling-{column}",
                title=f"Rolling {loss}",
                unit=unit,
                caption=f"{span} Lower is better.{_partial(view)}",
                alt=f"Rolling {loss} of {_count(view)} and {view.walk}, {_span(view)}.",
                by_step=figures.variants(view, figures.rolling_loss, column),
            ),
            Plot(
                id=f"rolling-skill-{column}",
                title=f"Rolling {loss} skill",
                unit=f"1 - {loss} / {loss} of {view.walk}",
                caption=f"{span} Above the grey line: better than {view.walk}.{_partial(view)}",
                alt=f"Rolling {loss} skill of {_count(view)}, {_span(view)}.",
                by_step=figures.variants(view, figures.rolling_skill, column),
            ),
        ]
    return tuple(plots)


def strategy_plots(view: ReportView) -> tuple[Plot, ...]:
    """Return equity and drawdown; none where the cutoffs are no path in time."""
    if view.cutoffs["equity"].isna().all():
        return ()
    return tuple(
        Plot(
            id=name.removesuffix("_frac"),
            title=title,
            unit=unit,
            caption=f"{caption}{_partial(view)}",
            alt=f"{title} of {_count(view)} and {view.walk}, {_span(view)}.",
            by_step=figures.variants(view, figures.path_of, name),
        )
        for name, title, unit, caption in (
            (
                "equity",
                "Equity",
                "multiple of the start",
                "Net of costs, from 1 on; who never trades stays there.",
            ),
            (
                "drawdown_frac",
                "Drawdown",
                "below the highest equity so far",
                "Net of costs; nearer to zero is better.",
            ),
        )
    )


def undrawn(view: ReportView) -> str:
    """Return how many forecasters the figures leave out; empty where none."""
    n = len(view.specs) - len(figures.drawn(view)) - len(_partial_labels(view))
    if not n:
        return ""
    return (
        f"The figures draw {view.walk} and the {figures.MAX_DRAWN} best ranked forecasters at "
        f"step {view.steps[0]}; {typeset.things(n, 'other')} {'is' if n == 1 else 'are'} in the "
        "tables and the Parquet files only."
    )


def _partial_labels(view: ReportView) -> list[str]:
    return [view.labels[spec] for spec in view.incomplete if spec != view.baseline]


def _partial(view: ReportView) -> str:
    """Return which forecasters a figure leaves out as incomplete; empty where none."""
    labels = _partial_labels(view)
    if not labels:
        return ""
    names = typeset.listing(labels, most=len(labels))
    verb = "is" if len(labels) == 1 else "are"
    return f" Not drawn: {names}, which {verb} incomplete and scored on other cells."


def _idle(view: ReportView, name: str) -> str:
    """Return which forecasters a heat map leaves out as they have no skill of their own."""
    labels = [view.labels[spec] for spec in figures.own_of_walk(view, name)]
    if not labels:
        return ""
    names, one = typeset.listing(labels, most=len(labels)), len(labels) == 1
    return (
        f" Not shown: {names}, which {'forecasts' if one else 'forecast'} as {view.walk} does; "
        f"{'its' if one else 'their'} skill is 0 on every ticker."
    )


def _left_out(view: ReportView, name: str) -> str:
    n = max((figures.heat_rows(view, step, name)[1] for step in view.steps), default=0)
    notes = f"{_idle(view, name)}{_partial(view)}"
    text = f"Sorted by the median over the forecasters shown, best first.{notes}"
    if not n:
        return text
    half = figures.MAX_ROWS // 2
    return (
        f"{text} The {half} best and the {half} worst tickers; {typeset.things(n, 'ticker')} "
        "between them left out here, all are in tickers.parquet."
    )


def _count(view: ReportView) -> str:
    return typeset.things(len(figures.drawn(view)) - 1, "forecaster")


def _steps(view: ReportView) -> str:
    return typeset.listing([str(step) for step in view.steps], most=20)


def _span(view: ReportView) -> str:
    cutoffs: Sequence[object] = sorted(view.cutoffs["cutoff"].unique())
    return f"{str(cutoffs[0])[:10]} to {str(cutoffs[-1])[:10]}" if cutoffs else "no cutoffs"
