# ruff: noqa: RUF001 - the page sets a true minus and an en dash

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from pmx_ray.report.terminal import leaderboard_tables, print_leaderboard


def _printed(report, width):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    print_leaderboard(report, console)
    return console.file.getvalue()


def _tables(text):
    return [
        line for line in text.splitlines() if line.startswith(("random_walk", "garch", "drift"))
    ]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 132, 200])
def test_print_when_any_width_then_no_line_is_wider_or_wraps(report, width):
    text = _printed(report, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert len(_tables(text)) == 6  # three specs at two steps, a line each


def test_print_when_80_columns_then_level_and_variance_and_failed_are_there(report):
    text = _printed(report, 80)
    header = text.splitlines()[1].split()
    assert header[:3] == ["forecaster", "RMSE", "RMSE"]
    assert "QLIKE skill" in text.splitlines()[1]
    assert "+17.60% [+12.10, +23.00]" in text
    assert "failed" in header
    assert "too narrow for:" in text


def test_print_when_72_columns_then_skill_outranks_the_raw_losses(report):
    header, *_ = (line for line in _printed(report, 72).splitlines() if "forecaster" in line)
    assert " ".join(header.split()) == "forecaster RMSE skill QLIKE skill failed"


def test_print_when_cells_are_dropped_then_common_of_asked(report):
    assert "Step 5: 110 of 120 cells in common" in _printed(report, 80)


def test_print_when_incomplete_then_its_figures_are_in_parentheses(make):
    report = make(changes={"theta": {"incomplete": True, "rmse": 0.001}})
    row = next(line for line in _printed(report, 200).splitlines() if line.startswith("theta"))
    assert "(0.00100" in row
    assert "(-0.90%)" in row


def test_print_when_wide_then_every_column_and_value(report):
    text = _printed(report, 200)
    row = next(line for line in text.splitlines() if line.startswith("garch(dist=t)"))
    assert " ".join(row.split()) == (
        "garch(dist=t) 0.02356 0.00% 2.182 +17.60% [+12.10, +23.00] 0.01230 91.2% "
        "51.3% [48.1, 54.4] 1.08 (57) 12.3% 2"
    )
    assert "too narrow" not in text


def test_print_when_baseline_then_marked(report):
    text = _printed(report, 80)
    assert "random_walk =" in text
    assert "= baseline" in text


def test_print_when_incomplete_then_flagged(make):
    text = _printed(make(changes={"theta": {"incomplete": True}}), 80)
    assert "theta !" in text
    assert "! incomplete" in text


def test_print_when_not_a_number_then_en_dash(make):
    text = _printed(make(changes={"theta": {"qlike": None, "rmse": None}}), 80)
    row = next(line for line in text.splitlines() if line.startswith("theta"))
    assert row.split()[1] == "–"


def test_print_when_label_is_rich_markup_then_it_is_text(make):
    text = _printed(make(("random_walk", "[red]x[/red]")), 80)
    assert "[red]x[/red]" in text


def test_print_when_label_is_long_then_its_middle_goes(make):
    label = "sarimax(" + ", ".join(f"p{n}={n}" for n in range(20)) + ")"
    row = next(
        line for line in _printed(make(("random_walk", label)), 80).splitlines() if "…" in line
    )
    assert row.startswith("sarimax(")
    assert "p19=19)" in row


def test_tables_when_ranked_then_one_a_step_in_the_boards_order(report):
    tables = leaderboard_tables(report)
    assert [str(table.title).partition(":")[0] for table in tables] == ["Step 1", "Step 5"]
    names = [cell.plain.split()[0] for cell in tables[0].columns[0].cells]
    assert names == ["random_walk", "garch(dist=t)", "drift", "theta"]
