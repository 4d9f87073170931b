"""The page of the models, from reports with numbers made by hand."""

# ruff: noqa: RUF001 - the page sets a true minus

import json
import re
from datetime import UTC, datetime

import numpy as np
import pytest

from pmx_ray.backtest.comparison import REGIMES_SCHEMA, Comparison
from pmx_ray.report.dashboard.distribution import LEVELS, boxes
from pmx_ray.report.dashboard.models import llm_headline, llm_sentences, models_page
from pmx_ray.report.dashboard.sweeps import EvaluatedSweep, find_evaluated, load_evaluated
from pmx_ray.report.view import ReportView

AT = datetime(2026, 11, 23, 9, 30, 5, tzinfo=UTC)
LLM = "llm(model=small)"
LABELS = ("random_walk", "theta", LLM)


def _llm(**changes):
    row = {"name": "llm", "skill_rmse": -0.02}
    return {LLM: row | {"skill_rmse_low": -0.03, "skill_rmse_high": -0.01} | changes}


def _regimes(rows):
    plain = dict.fromkeys(REGIMES_SCHEMA.names, 0)
    table = [plain | {"label": row["spec"][3:], "leads": False} | row for row in rows]
    return REGIMES_SCHEMA.empty_table().from_pylist(table, schema=REGIMES_SCHEMA)


def _comparison(report, rows=()):
    return Comparison(
        baseline=report.baseline, baseline_label="random_walk", step_size=5, level=0.95,
        n_resamples=100, seed=0, tail=0.05, differences=(), sets=(), regimes=_regimes(rows),
    )  # fmt: skip


def test_headline_when_interval_lies_above_then_beats_and_else_not(make):
    below = ReportView.of(make(LABELS, changes=_llm()))
    assert llm_headline(below).startswith("The language model does not beat the random walk")
    better = _llm(skill_rmse=0.02, skill_rmse_low=0.01, skill_rmse_high=0.03)
    above = ReportView.of(make(LABELS, changes=better))
    assert llm_headline(above) == (
        "The language model beats the random walk on price level at step 1 and 5."
    )


def test_sentences_when_llm_is_there_then_its_figures_and_the_first(make):
    view = ReportView.of(make(LABELS, changes=_llm()))
    (step, (own, best)), _ = llm_sentences(view)
    assert step == 1
    assert own == (
        f"{LLM} has a skill of −2.00% on price level [−3.00, −1.00] and of +1.00% on "
        "variance [−1.00, +3.00]; rank 3 of 3; right direction 51.3% [48.1, 54.4]."
    )
    assert best == "First is random_walk, with a skill of 0.00% on price level."


def test_page_when_sweep_lacks_the_llm_then_says_how_it_enters(report):
    text = models_page(EvaluatedSweep("demo-1", report, None, {}), at=AT)
    assert "The language model is not in this sweep." in text
    assert "pmx sweep configs/sweep/llm.yaml" in text
    assert "pmx compare demo-1" in text


def test_page_when_no_sweep_then_small_and_says_what_to_run():
    text = models_page(None, at=AT)
    assert "No sweep has been evaluated." in text
    assert "read 2026-11-23 09:30:05 UTC" in text
    assert len(text) < 50_000  # no figure, so no Plotly


def test_leaders_when_compared_then_by_ticker_and_by_regime_at_each_step(make):
    report = make(LABELS, changes=_llm())
    rows = [
        {"spec": f"id-{label}", "step": step, "regime": "bear", "skill_rmse": skill,
         "n_cutoffs": 7, "label": label}
        for step in (1, 5)
        for label, skill in (("random_walk", 0.0), ("theta", 0.01), (LLM, 0.04 / step))
    ]  # fmt: skip
    sweep = EvaluatedSweep("demo-1", report, _comparison(report, rows), {})
    text = models_page(sweep, at=AT)
    assert f"Leader by regime, step 1: {LLM} 1" in text
    assert "Leader by regime, step 5: theta 1" in text
    # By hand: skills of -1.1 %, -0.1 % and +0.9 % for every forecaster but the walk; ties by label.
    assert f"Leader by ticker, step 1: random_walk 2 and {LLM} 1" in text


def test_boxes_when_drawn_then_quantiles_and_mean_of_the_cutoffs(make):
    report = make(LABELS, n_cutoffs=23)
    view = ReportView.of(report)
    figure = boxes(view, 5, "mse")
    rows = [r for r in report.cutoffs.to_pylist() if r["spec"] == "id-theta" and r["step"] == 5]
    losses = np.sqrt([row["mse"] for row in rows])
    box, point = (t for t in figure.data if t.legendgroup == "id-theta")
    found = [box.lowerfence[0], box.q1[0], box.median[0], box.q3[0], box.upperfence[0]]
    np.testing.assert_allclose(found, np.quantile(losses, LEVELS), rtol=1e-12)
    assert point.x[0] == pytest.approx(losses.mean(), rel=1e-12)


def test_page_when_labels_hold_markup_then_escaped(make):
    evil = "<img src=x>"
    text = models_page(EvaluatedSweep(evil, make(("random_walk", evil)), None, {}), at=AT)
    assert evil not in re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.DOTALL)


def test_find_when_a_sweep_has_the_llm_then_that_one_else_the_newest(make, tmp_path):
    assert find_evaluated(tmp_path) is None
    for n, (name, labels) in enumerate((("a", LABELS), ("b", LABELS[:2]), ("c", LABELS[:2]))):
        folder = tmp_path / name
        folder.mkdir()
        make(labels, changes=_llm() if name == "a" else None).save(folder)
        (folder / "provenance.json").write_text(json.dumps({"key": str(n)}))
    assert find_evaluated(tmp_path).name == "a"
    (tmp_path / "a" / "leaderboard.parquet").write_bytes(b"torn")
    assert find_evaluated(tmp_path).name in {"b", "c"}


def test_load_when_comparison_is_of_another_evaluation_then_left_out(report, folder):
    (folder / "provenance.json").write_text('{"key": "new"}')
    _comparison(report).save(folder)
    assert load_evaluated(folder).comparison is None
    (folder / "provenance.json").write_text('{"key": ""}')
    assert load_evaluated(folder).comparison is not None
