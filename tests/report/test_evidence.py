"""The tests of a comparison and the certificate, as they stand on the page."""

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hand_frames import DRIFT, FIRST_CUTOFF, RANDOM_WALK, hand_frame
from rich.console import Console

from pmx_ray.backtest.compare import compare
from pmx_ray.backtest.costs import CostSettings
from pmx_ray.backtest.evaluate import EvaluationSettings, evaluate
from pmx_ray.backtest.report_types import write_json
from pmx_ray.cli.certifying import show
from pmx_ray.cli.steps import Voice
from pmx_ray.errors import DataError
from pmx_ray.governance.decision import Check, GovernanceDecision, Outcome
from pmx_ray.governance.judgement import judged
from pmx_ray.report import certificate, typeset
from pmx_ray.report.page import render_page, write_page

FREE = EvaluationSettings(costs=CostSettings(slippage_bps=0, fee_bps=0), n_resamples=100)
EVIL = "<script>window.owned=1</script>"


@pytest.fixture(scope="module")
def evaluated():
    rng = np.random.default_rng(2)
    actual = rng.normal(0.0, 0.02, (40, 2, 2))
    frames = [
        (RANDOM_WALK, hand_frame(RANDOM_WALK, 0.0, actual, steps=(1, 5))),
        (DRIFT, hand_frame(DRIFT, 0.3 * actual, actual, steps=(1, 5))),
    ]
    weeks = FIRST_CUTOFF + 7 * np.arange(40)
    report = evaluate(frames, 5, FREE, baseline=RANDOM_WALK.id, seed=0)
    comparison = compare(
        frames, 5, FREE, baseline=RANDOM_WALK.id, seed=0, regimes={"bull": weeks, "bear": weeks[:0]}
    )
    return report, comparison


def text_of(page):
    """Return what a reader sees of the chapter of tests and the one after it."""
    body = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def decision(*checks, outcome=Outcome.HOLD):
    return GovernanceDecision(
        outcome=outcome, challenger=DRIFT.id, challenger_label="drift", baseline=RANDOM_WALK.id,
        baseline_label="random_walk", fallback=RANDOM_WALK.id, fallback_label="random_walk", step=5,
        checks=checks, report_key="k", policy_sha256="p",
    )  # fmt: skip


FINE = Check("n_trades", 57.0, ">=", 30.0, "count", passed=True, sentence="It made 57 trades.")
POOR = Check(
    "drawdown_absolute", 0.2031, "<", 0.15, "fraction", passed=False, sentence="It fell by 20.3 %."
)


def test_tests_when_a_forecaster_has_skill_then_its_figures_are_those_of_the_comparison(evaluated):
    report, comparison = evaluated
    seen = text_of(render_page(report, comparison, {}))
    (p,) = [
        row["dm_p_less"]
        for row in comparison.pairwise.to_pylist()
        if (row["step"], row["loss"], row["ticker"]) == (1, "squared_error", "")
    ]
    assert p < 0.001
    assert "&lt; 0.001" in seen
    (found,) = [s for s in comparison.sets if (s.step, s.loss) == (1, "squared_error")]
    assert f"gives p {found.spa_p:.3f}" in seen or "gives p &lt; 0.001" in seen
    assert "StepM finds 1 forecaster better" in seen
    (row,) = [
        r for r in comparison.strategies.to_pylist() if (r["spec"], r["step"]) == (DRIFT.id, 1)
    ]
    assert f"+{row['sharpe_annual']:.1f}" in seen
    for words in ("Step 1:", "Step 5:", "Bull (40)", "Bear (0)", "Autocorrelation (Ljung-Box)"):
        assert words in seen


def test_tests_when_no_comparison_then_no_chapter(evaluated):
    assert 'id="tests"' not in render_page(evaluated[0], None, {})


def test_certificate_when_held_then_failed_checks_come_first_with_figures_in_their_unit(evaluated):
    page = render_page(*evaluated, {}, decision=decision(FINE, POOR))
    seen = text_of(page[page.index('id="certificate"') :])
    assert (
        "Hold: at step 5, drift may not take the place of random_walk; 1 of 2 checks failed."
        in (seen)
    )
    assert seen.index("Drawdown absolute") < seen.index("N trades")
    assert "20.3% &lt; 15.0%" in seen
    assert "57 ≥ 30" in seen


CLOSE = [
    (0.0501, "<", 0.05, "probability", "0.0501", "0.0500"),
    (0.0004, "<", 0.05, "probability", "below 0.001", "0.050"),
    (0.15004, "<=", 0.15, "fraction", "15.004%", "15.000%"),
    (0.05, "<", 0.05, "probability", "0.050", "0.050"),  # equal, and so not below
    (-0.0123, ">=", 0.0, "fraction", "-1.2%", "0.0%"),
    (1234567.0, ">=", 1234568.0, "count", "1,234,567", "1,234,568"),
    (1.2995, ">", 1.3, "ratio", "1.2995", "1.3000"),
]
"""Value, comparator, limit and unit, and the texts of value and limit."""


def said(value, limit):
    return f"Found {value}, asked for {limit}."


def close_to(value, comparator, limit, unit):
    return judged("p_value", value, comparator, limit, unit=unit, say=said, missing="None.")


@pytest.mark.parametrize(("value", "comparator", "limit", "unit", "found", "asked"), CLOSE)
def test_certificate_when_shown_then_sentence_page_and_terminal_give_the_same_texts(
    evaluated, value, comparator, limit, unit, found, asked
):
    check = close_to(value, comparator, limit, unit)
    made = decision(check)
    assert check.sentence.startswith(f"Found {found}, asked for {asked}.")
    cells = re.findall(r"<td>(.*?)</td>", str(certificate.table(made)))
    sign = {"<": "&lt;", ">": "&gt;", ">=": "≥", "<=": "≤"}[comparator]
    assert cells == [found.replace("-", typeset.MINUS), f"{sign} {asked}"]
    written = StringIO()
    show(Voice(Console(file=written, width=300)), made, Path("decision.json"))
    (row,) = [line for line in written.getvalue().splitlines() if "p value" in line]
    assert [cell.strip() for cell in row.split("│")[2:4]] == [found, f"{comparator} {asked}"]


def test_certificate_when_a_figure_is_not_known_then_a_dash_beside_its_limit():
    check = close_to(None, "<", 0.05, "probability")
    assert certificate.figures(check) == ("", "0.050")
    cells = re.findall(r"<td>(.*?)</td>", str(certificate.table(decision(check))))
    assert cells == [typeset.DASH, "&lt; 0.050"]


def test_certificate_when_promoted_then_said(evaluated):
    said = certificate.headline(decision(FINE, outcome=Outcome.PROMOTE))
    assert said == (
        "Promote: at step 5, drift may take the place of random_walk; every check passed."
    )


def test_certificate_when_a_sentence_holds_markup_then_it_is_inert(evaluated):
    page = render_page(*evaluated, {}, decision=decision(replace(POOR, sentence=EVIL)))
    assert EVIL not in page
    assert "&lt;script&gt;window.owned" in page


def test_write_when_the_decision_is_on_another_evaluation_then_it_is_not_shown(evaluated, tmp_path):
    report, comparison = evaluated
    report.save(tmp_path)
    replace(comparison, key="k").save(tmp_path)
    write_json(tmp_path / "provenance.json", {"key": "k"})
    write_json(tmp_path / "decision.json", decision(POOR).as_document())
    assert "1 of 1 check failed" in text_of(write_page(tmp_path).read_text())
    other = replace(decision(POOR), report_key="another")
    write_json(tmp_path / "decision.json", other.as_document())
    assert 'id="certificate"' not in write_page(tmp_path).read_text()


def test_write_when_the_decision_was_altered_then_refused(evaluated, tmp_path):
    report, _ = evaluated
    report.save(tmp_path)
    write_json(tmp_path / "provenance.json", {"key": "k"})
    document = decision(POOR).as_document() | {"challenger_label": "another"}
    write_json(tmp_path / "decision.json", document)
    with pytest.raises(DataError, match="it was altered"):
        write_page(tmp_path)
