# ruff: noqa: RUF001 - the page sets a true minus and an en dash

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.report import wording
from pmx_ray.report.view import ReportView


def _skill(value, low, high, name="skill_rmse"):
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def test_verdict_when_intervals_differ_then_each_has_its_place(report):
    view = ReportView.of(report)
    level = wording.verdict(view, 1, "price level")
    variance = wording.verdict(view, 1, "variance")
    assert [e.label for e in level.below] == ["drift"]
    assert [e.label for e in level.around] == ["theta"]
    assert [e.label for e in level.same] == ["garch(dist=t)"]
    assert not level.above
    assert [e.label for e in variance.above] == ["garch(dist=t)"]
    assert [e.label for e in variance.around] == ["theta", "drift"]


def test_sentences_when_none_is_above_then_said_first_with_the_best(report):
    view = ReportView.of(report)
    assert wording.verdict(view, 1, "price level").sentences == (
        "At step 1 no forecaster's interval lies above the random walk on price level; "
        "no skill is above 0, the nearest is drift (−0.30%, interval [−0.60, −0.10]).",
        "drift lies wholly below it; theta has an interval that holds zero.",
        "garch(dist=t) forecasts the random walk's own price level.",
    )


def test_sentences_when_best_skill_is_positive_then_called_best(make):
    report = make(("random_walk", "theta"), changes={"theta": _skill(0.01, -0.02, 0.04)})
    answer = wording.verdict(ReportView.of(report), 1, "price level").sentences[0]
    assert answer.endswith("the best skill is theta (+1.00%, interval [−2.00, +4.00]).")


def test_quarantine_when_listed_then_ticker_move_and_reason():
    item = {"ticker": "AAA", "session": "2019-05-03", "row": 7, "ratio": 0.1, "reason": "no split"}
    assert wording.quarantine({"quality": {"quarantined": [item]}}) == (
        "Quarantined: 1 ticker is left out of every figure: AAA (close moved by a factor of 0.1 "
        "on 2019-05-03: no split).",
    )


def test_quarantine_when_many_then_all_counted():
    items = [{"ticker": f"T{n}", "ratio": 9.0} for n in range(30)]
    (text,) = wording.quarantine({"quality": {"quarantined": items}})
    assert text.startswith("Quarantined: 30 tickers are left out")
    assert text.endswith("and 10 more.")


@pytest.mark.parametrize("provenance", [{}, {"quality": {}}, {"quality": {"quarantined": []}}])
def test_quarantine_when_none_then_silent(provenance):
    assert wording.quarantine(provenance) == ()


def test_sentences_when_one_is_above_then_named_with_its_interval(report):
    view = ReportView.of(report)
    assert wording.verdict(view, 5, "variance").sentences == (
        "At step 5, on variance, garch(dist=t) (+17.60%, interval [+12.10, +23.00]) lies above "
        "the random walk.",
        "theta and drift have intervals that hold zero.",
    )


def test_verdict_when_interval_is_missing_then_nothing_is_claimed(make):
    report = make(("random_walk", "theta"), changes={"theta": _skill(0.5, None, None)})
    found = wording.verdict(ReportView.of(report), 1, "price level")
    assert found.n_judged == 0
    assert found.sentences[0].endswith("so nothing is claimed.")
    assert wording.headline([found]).endswith("so nothing is claimed.")


def test_verdict_when_incomplete_then_not_judged_and_warned_of(make):
    changes = {"theta": {"incomplete": True, **_skill(0.5, 0.4, 0.6)}}
    view = ReportView.of(make(changes=changes))
    found = wording.verdict(view, 1, "price level")
    assert not found.above
    assert found.sentences[-1] == "theta is incomplete and not judged."
    assert any("theta is scored only on" in text for text in wording.warnings(view))


def test_warnings_when_cells_failed_then_share_is_stated(report):
    assert wording.warnings(ReportView.of(report)) == (
        "8 forecasts of 480 (1.7%) failed; the section Failed cells gives the reasons.",
    )


def test_verdict_when_end_is_exactly_zero_then_not_above(make):
    report = make(("random_walk", "theta"), changes={"theta": _skill(0.01, 0.0, 0.02)})
    assert not wording.verdict(ReportView.of(report), 1, "price level").above


def _headline(make, steps, changed):
    report = make(("random_walk", "theta"), steps=steps)
    rows = [
        row | changed.get(row["step"], {}) if row["label"] == "theta" else row
        for row in report.leaderboard.to_pylist()
    ]
    board = report.leaderboard.from_pylist(rows, schema=report.leaderboard.schema)
    view = ReportView.of(replace(report, leaderboard=board))
    return wording.headline([wording.verdict(view, step, "price level") for step in view.steps])


@pytest.mark.parametrize(
    ("steps", "above", "expected"),
    [
        (
            (1, 5),
            (),
            "On price level, no forecaster's interval lies above the random walk at any step.",
        ),
        (
            (5,),
            (),
            "On price level, no forecaster's interval lies above the random walk at step 5.",
        ),
        ((1, 5), (1, 5), "On price level, theta lies above the random walk at every step."),
        ((5,), (5,), "On price level, theta lies above the random walk at step 5."),
        (
            (1, 5),
            (5,),
            "On price level, theta lies above the random walk at some steps, not at all of them.",
        ),
    ],
)
def test_headline_when_above_at_some_steps_then_says_at_which(make, steps, above, expected):
    changed = {step: _skill(0.02, 0.01, 0.03) for step in above}
    assert _headline(make, steps, changed) == expected


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-0.5, 0.5), st.floats(0, 0.5), st.booleans()), min_size=1, max_size=6
    )
)
def test_verdict_when_any_intervals_then_above_only_where_zero_is_excluded(make, drawn):
    labels = tuple(f"m{n}" for n in range(len(drawn)))
    changes = {
        label: _skill(value, None if gone else value - half, None if gone else value + half)
        for label, (value, half, gone) in zip(labels, drawn, strict=True)
    }
    report = make(("random_walk", *labels), steps=(1,), n_cutoffs=2, changes=changes)
    found = wording.verdict(ReportView.of(report), 1, "price level")
    expected = {
        label
        for label, row in changes.items()
        if row["skill_rmse_low"] is not None and row["skill_rmse_low"] > 0
    }
    assert {entry.label for entry in found.above} == expected
    said = found.sentences[0]
    assert ("no forecaster's interval lies above" in said or "nothing is claimed" in said) == (
        not expected
    )
    judged = (*found.above, *found.below, *found.around, *found.same, *found.without)
    assert {entry.label for entry in judged} == set(labels)


def test_caveat_when_read_then_number_of_intervals_and_level(report):
    view = ReportView.of(report)
    text = wording.caveat([wording.verdict(view, 1, "variance")], 0.95)
    assert "95% interval of its skill excludes zero" in text
    assert "3 intervals are read here" in text
    assert "significant" not in text
    assert not math.isnan(view.level)
