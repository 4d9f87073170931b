from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pmx_ray.report import figures, gallery
from pmx_ray.report.view import ReportView


@pytest.fixture(scope="module")
def view(report):
    return ReportView.of(report)


def _line(figure, spec):
    return next(np.asarray(t.y, float) for t in figure.data if t.legendgroup == spec)


def test_styles_when_forecasters_then_walk_is_grey_and_others_differ(view):
    styles = figures.styles(view)
    assert styles[view.baseline].colour == "--rw"
    looks = [(style.colour, style.dash) for style in styles.values()]
    assert len(set(looks)) == len(view.specs)


def test_styles_when_more_than_colours_then_still_distinct(make):
    view = ReportView.of(make(("random_walk", *(f"m{n}" for n in range(12)))))
    looks = {(style.colour, style.dash) for style in figures.styles(view).values()}
    assert len(looks) == 13
    marks = {(style.colour, style.symbol) for style in figures.styles(view).values()}
    assert len(marks) == 13


def test_styles_when_any_figure_then_one_colour_a_spec(view):
    plots = [
        *gallery.skill_plots(view),
        *gallery.loss_plots(view),
        *gallery.rolling_plots(view),
        *gallery.strategy_plots(view),
    ]
    seen: dict[str, set[str]] = {}
    for plot in plots:
        for figure in plot.by_step.values():
            for trace in figure.data:
                seen.setdefault(trace.legendgroup, set()).add(trace.line.color)
    expected = {spec: {f"var({style.colour})"} for spec, style in figures.styles(view).items()}
    assert seen == expected


def test_drawn_when_too_many_then_best_ones_and_said(make):
    view = ReportView.of(make(("random_walk", *(f"m{n:02d}" for n in range(15))), n_cutoffs=3))
    drawn = [view.labels[spec] for spec in figures.drawn(view)]
    assert drawn == ["random_walk", *(f"m{n:02d}" for n in range(12))]
    assert "3 others are in the tables" in gallery.undrawn(view)


def test_rolling_loss_when_cutoffs_weigh_differently_then_as_the_loop_over_cells(make):
    report = make(("random_walk", "theta"), steps=(1,), n_cutoffs=16)
    rng = np.random.default_rng(0)
    table = report.cutoffs.to_pandas()
    table["n_common"] = rng.integers(1, 9, len(table))
    table["mse"] = rng.uniform(0.5, 2.0, len(table))
    table.loc[(table["label"] == "theta") & (table.index % 5 == 0), "mse"] = np.nan
    view = _with(report, cutoffs=table)
    size = figures.window(16)
    assert size == 2
    rows = table[table["label"] == "theta"].sort_values("cutoff").reset_index()
    expected = []
    for end in range(size - 1, 16):
        cells = [
            loss
            for n in range(end - size + 1, end + 1)
            for loss in [rows["mse"][n]] * rows["n_common"][n]
            if not np.isnan(loss)
        ]
        expected.append(np.sqrt(np.mean(cells)) if cells else np.nan)
    drawn = _line(figures.rolling_loss(view, 1, "mse"), "id-theta")
    np.testing.assert_allclose(drawn[size - 1 :], expected, rtol=1e-6)  # single precision
    assert np.isnan(drawn[: size - 1]).all()


def test_rolling_skill_when_loss_is_a_tenth_more_then_minus_a_tenth_of_variance(make):
    report = make(("random_walk", "theta"), steps=(1,), n_cutoffs=8)
    table = report.cutoffs.to_pandas()
    table["mse"] = np.where(table["label"] == "theta", 1.21, 1.0)
    table["qlike"] = np.where(table["label"] == "theta", 0.9, 1.0)
    view = _with(report, cutoffs=table)
    rmse = _line(figures.rolling_skill(view, 1, "mse"), "id-theta")
    qlike = _line(figures.rolling_skill(view, 1, "qlike"), "id-theta")
    np.testing.assert_allclose(rmse, -0.1, atol=1e-6)  # single precision
    np.testing.assert_allclose(qlike, 0.1, atol=1e-6)


PARTIAL = {"theta": {"incomplete": True, "n_common": 30, "rmse": 0.001}}


@pytest.mark.parametrize(
    "draw",
    [
        lambda view: figures.rolling_loss(view, 1, "mse"),
        lambda view: figures.rolling_skill(view, 1, "mse"),
        lambda view: figures.loss_by_step(view, "rmse"),
        lambda view: figures.skill_by_step(view, "skill_rmse"),
        lambda view: figures.path_of(view, 1, "equity"),
    ],
)
def test_figure_when_incomplete_then_not_drawn_beside_the_others(make, draw):
    view = ReportView.of(make(changes=PARTIAL))
    specs = {trace.legendgroup for trace in draw(view).data}
    assert specs - {"id-random_walk"} == {"id-garch(dist=t)", "id-drift"}


def test_heat_map_when_incomplete_then_no_column(make):
    wide, _ = figures.heat_rows(ReportView.of(make(changes=PARTIAL)), 1, "skill_qlike")
    assert list(wide.columns) == ["id-garch(dist=t)", "id-drift"]


def test_captions_when_incomplete_then_say_who_is_not_drawn(make):
    view = ReportView.of(make(changes=PARTIAL))
    plots = [
        *gallery.skill_plots(view),
        *gallery.loss_plots(view),
        *gallery.rolling_plots(view),
        *gallery.ticker_plots(view),
        *gallery.strategy_plots(view),
    ]
    said = "Not drawn: theta, which is incomplete and scored on other cells."
    assert all(said in plot.caption for plot in plots)
    assert gallery.undrawn(view) == ""


def test_captions_when_all_are_complete_then_silent(view):
    assert not any("Not drawn" in plot.caption for plot in gallery.loss_plots(view))


def test_heat_map_when_forecast_is_the_walks_own_then_left_out_and_said(make):
    report = make()
    table = report.tickers.to_pandas()
    table.loc[table["label"] == "garch(dist=t)", "skill_rmse"] = 0.0
    schema = report.tickers.schema
    tickers = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    tickers = tickers.replace_schema_metadata(schema.metadata)
    view = ReportView.of(replace(report, tickers=tickers))
    wide, _ = figures.heat_rows(view, 1, "skill_rmse")
    assert list(wide.columns) == ["id-drift", "id-theta"]
    level, variance = gallery.ticker_plots(view)
    assert "Not shown: garch(dist=t), which forecasts as the random walk does" in level.caption
    assert "Not shown" not in variance.caption
    assert "id-garch(dist=t)" in figures.heat_rows(view, 1, "skill_qlike")[0].columns


def test_skill_by_step_when_drawn_then_no_line_at_the_first_step(view):
    assert figures.skill_by_step(view, "skill_rmse").layout.xaxis.zeroline is False


@pytest.mark.parametrize(
    ("deepest", "expected"), [(0.5, ".1~%"), (0.02, ".1~%"), (0.004, ".2~%"), (0.0, ".1~%")]
)
def test_drawdown_when_small_then_ticks_have_the_decimals(make, deepest, expected):
    view = ReportView.of(make(cutoff_changes={"drawdown_frac": deepest}, n_cutoffs=2))
    figure = figures.path_of(view, 1, "drawdown_frac")
    assert figure.layout.yaxis.tickformat == expected


def _with(report, *, cutoffs: pd.DataFrame) -> ReportView:
    schema = report.cutoffs.schema
    table = pa.Table.from_pandas(cutoffs, schema=schema, preserve_index=False)
    table = table.replace_schema_metadata(schema.metadata)
    return ReportView.of(replace(report, cutoffs=table))


def test_cutoffs_when_many_then_every_one_is_drawn(make):
    view = ReportView.of(make(("random_walk", "theta"), steps=(1,), n_cutoffs=700))
    figure = figures.path_of(view, 1, "equity")
    assert {len(trace.x) for trace in figure.data} == {700}


def test_drawdown_when_drawn_then_below_zero(view):
    assert (
        _line(figures.path_of(view, 1, "drawdown_frac"), "id-drift") == np.float32(-0.002)
    ).all()


def test_strategy_when_splits_are_no_path_then_no_figure(make):
    view = ReportView.of(make(cutoff_changes={"equity": None, "drawdown_frac": None}))
    assert gallery.strategy_plots(view) == ()


def test_heat_map_when_few_tickers_then_best_first_and_without_the_walk(view):
    wide, left_out = figures.heat_rows(view, 1, "skill_rmse")
    assert list(wide.index) == ["CCC", "BBB", "AAA"]
    assert view.baseline not in wide.columns
    assert left_out == 0


def test_heat_map_when_thousands_of_tickers_then_capped_and_said(make):
    tickers = tuple(f"T{n:04d}" for n in range(3000))
    view = ReportView.of(make(("random_walk", "theta"), steps=(1,), tickers=tickers, n_cutoffs=2))
    wide, left_out = figures.heat_rows(view, 1, "skill_rmse")
    assert list(wide.index[:2]) == ["T2999", "T2998"]
    assert list(wide.index[-2:]) == ["T0001", "T0000"]
    assert (len(wide), left_out) == (60, 2940)
    caption = gallery.ticker_plots(view)[0].caption
    assert "2,940 tickers between them left out here, all are in tickers.parquet" in caption


def test_heat_map_when_ticker_is_a_number_then_axis_is_of_categories(make):
    view = ReportView.of(make(("random_walk", "theta"), tickers=("7203", "6758"), n_cutoffs=2))
    figure = figures.heat_map(view, 1, "skill_rmse")
    assert figure.layout.yaxis.type == "category"
    assert set(figure.data[0].y) == {"7203", "6758"}


def test_heat_map_when_all_skill_is_missing_then_still_drawn(make):
    report = make(("random_walk",), n_cutoffs=2)
    assert figures.heat_map(ReportView.of(report), 1, "skill_rmse").layout.height > 0


@pytest.mark.parametrize(("n", "expected"), [(0, 1), (1, 1), (16, 2), (88, 11), (5000, 26)])
def test_window_when_any_number_of_cutoffs_then_an_eighth_at_most_26(n, expected):
    assert figures.window(n) == expected
