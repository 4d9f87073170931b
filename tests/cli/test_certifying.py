"""`pmx certify` on runs of one's own."""

import html
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pmx_command import SETTINGS, Pmx, long_form

from pmx_ray.governance.decision import GovernanceDecision
from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.audit import AuditLog
from pmx_ray.ledger.trials import Trials

SWEEP = ("sweep", "sweep.yaml", "--address", "in-process")


@pytest.fixture
def run(pmx: Pmx) -> Pmx:
    """Return the command where a sweep has been evaluated."""
    pmx(*SWEEP)
    return pmx


def ledger_of(pmx: Pmx):
    return open_ledger(f"sqlite:///{pmx.folder}/runs/ledger.db")


# proves G1 G3
def test_certify_when_prices_are_noise_then_hold_with_every_check_in_words(run):
    out = run("certify", str(run.sweep), "--challenger", "drift", code=1)
    assert "Hold: at step 1, drift may not take the place of random_walk" in out
    for words in ("diebold mariano", "deflated sharpe", "crisis 2008", "leak audit", "fallback"):
        assert words in out
    document = json.loads((run.sweep / "decision.json").read_text())
    decision = GovernanceDecision.from_document(document)
    assert (decision.challenger_label, decision.step) == ("drift", 1)
    assert len(decision.checks) == 26
    with ledger_of(run) as ledger:
        (entry,) = [e for e in AuditLog(ledger).entries() if e.kind == "certify"]
    assert dict(entry.payload) == document


def test_certify_when_shown_anywhere_then_the_same_figures(run):
    words = ("certify", str(run.sweep), "--challenger", "samossa", "--step", "5", "--json")
    (said,) = [json.loads(line) for line in run(*words, code=1).splitlines()]
    run("report", str(run.sweep))
    page = html.unescape((run.sweep / "report.html").read_text())
    kept = json.loads((run.sweep / "decision.json").read_text())
    with ledger_of(run) as ledger:
        logged = dict(AuditLog(ledger).entries()[-1].payload)
        metrics = {(m.spec_id, m.step, m.measure): m.value for m in ledger.metrics(
            ledger.runs()[0].sweep_id)}  # fmt: skip
    assert said["checks"] == kept["checks"] == logged["checks"]
    for check in kept["checks"]:
        assert check["sentence"] in page
    by_name = {check["name"]: check["value"] for check in kept["checks"]}
    for check, measure in (("drawdown_absolute", "max_drawdown_frac"), ("hit_rate", "hit_rate"),
                           ("n_trades", "n_trades")):  # fmt: skip
        assert by_name[check] == metrics[kept["challenger"], 5, measure]


def test_certify_when_report_and_comparison_were_edited_then_the_true_figures(run):
    words = ("certify", str(run.sweep), "--challenger", "drift", "--json")
    found = json.loads(run(*words, code=1))["checks"]
    edited = ("leaderboard.parquet", "strategies.parquet", "comparison.json", "evaluation.json")
    true = {name: (run.sweep / name).read_bytes() for name in edited}
    for name, column in (("leaderboard", "hit_rate"), ("strategies", "sharpe")):
        path = run.sweep / f"{name}.parquet"
        table = pq.read_table(path)
        i = table.schema.get_field_index(column)
        better = pa.array([0.99] * len(table), pa.float64())
        pq.write_table(table.set_column(i, table.schema.field(i), better), path)
    for name, change in (
        ("comparison.json", lambda d: [s.update(spa_p=0.0) for s in d["sets"]]),
        ("evaluation.json", lambda d: d["settings"].update(n_resamples=9999)),
    ):
        document = json.loads(true[name])
        change(document)
        (run.sweep / name).write_text(json.dumps(document))
    (run.sweep / "report.html").write_text("made of the edited files")
    assert json.loads(run(*words, code=1))["checks"] == found
    assert {name: (run.sweep / name).read_bytes() for name in edited} == true
    assert not (run.sweep / "report.html").exists()


def test_certify_when_a_baseline_is_named_then_it_must_be_the_run_s_own(run):
    words = ("certify", str(run.sweep), "--challenger", "drift", "--baseline")
    run(*words, "random_walk", code=1)
    run(*words, "samossa", code=2)
    assert "the run is compared with random_walk" in run.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--challenger", "nobody"), "'nobody' is not a forecaster of"),
        (("--challenger", "drift", "--step", "3"), "--step was 3; the run scored 1, 5"),
        (("--challenger", "random_walk"), "'random_walk', which is the baseline"),
        (("--policy", "absent.yaml"), "absent.yaml"),
    ],
)
def test_certify_when_asked_for_what_is_not_there_then_said_and_nothing_written(run, words, said):
    run("certify", str(run.sweep), *words, code=2)
    assert said in run.err
    assert not (run.sweep / "decision.json").exists()


def test_certify_when_not_evaluated_then_says_what_to_run(pmx):
    pmx("plan", "sweep.yaml")
    pmx("certify", str(pmx.sweep), "--challenger", "drift", code=2)
    assert "pmx evaluate" in pmx.err


def test_certify_when_nobody_is_named_then_everyone_is_judged_and_logged(run):
    lines = run("certify", str(run.sweep), "--json", code=1).splitlines()
    decisions = [json.loads(line) for line in lines]
    assert {(d["challenger_label"], d["step"]) for d in decisions} == {
        (label, step) for label in ("drift", "ewma_variance", "samossa") for step in (1, 5)
    }
    assert {d["outcome"] for d in decisions} == {"hold"}
    with ledger_of(run) as ledger:
        entries = AuditLog(ledger).entries()
    assert {e.payload["id"] for e in entries if e.kind == "certify"} == {d["id"] for d in decisions}
    out = run("certify", str(run.sweep), code=1)
    assert "none may replace random_walk" in out


def test_certify_when_made_again_then_each_decision_names_the_one_before(run):
    words = ("certify", str(run.sweep), "--challenger", "drift", "--json")
    first, second = (json.loads(run(*words, code=1).splitlines()[0]) for _ in range(2))
    assert (first["previous"], second["previous"]) == ("", first["id"])


def test_trials_when_another_sweep_saw_the_prices_then_they_count(run):
    def tried() -> int:
        out = run("certify", str(next((run.folder / "runs").glob("mine-*"))), "--challenger",
                  "drift", "--json", code=1)  # fmt: skip
        checks = {c["name"]: c for c in json.loads(out.splitlines()[0])["checks"]}
        sentence = checks["superior_predictive_ability"]["sentence"]
        return int(sentence.split("The ledger counts ")[1].split()[0])

    assert tried() == 8  # four forecasters at two steps
    other = SETTINGS | {"name": "other", "forecasters": [{"name": "historical_mean", "window": 20}]}
    run.write(other, long_form(n_sessions=190))  # another window of the same tickers
    run(*SWEEP)
    assert tried() == 10  # the random walk is no new configuration
    with ledger_of(run) as ledger:
        span = {"first": np.datetime64("2015-01-01"), "last": np.datetime64("2016-01-01")}
        assert Trials(ledger).n_trials(("A",), **span) == 10
        assert Trials(ledger).n_trials(("Z",), **span) == 0


def test_certify_when_it_has_skill_and_the_policy_asks_for_little_then_promoted(pmx):
    (pmx.folder / "policy.yaml").write_text(
        "{max_pbo: 1.0, min_deflated_sharpe: 0.0, crises: [], regimes: [], max_drawdown_frac: 1.0, "
        "stage: scale, max_value_at_risk_frac: 1.0, max_expected_shortfall_frac: 1.0, "
        "max_coverage_gap_90_frac: 0.5, min_trades: 5, min_resamples: 100}\n"
    )
    layout = {"input_size": 60, "step_size": 5, "steps": [1, 20]}
    pmx.write(SETTINGS | {"folds": layout, "forecasters": [{"name": "drift"}]}, rising())
    pmx(*SWEEP)
    words = ("certify", str(pmx.sweep), "--challenger", "drift", "--step", "20")
    out = pmx(*words, "--policy", "policy.yaml")
    assert "Promote: at step 20, drift may take the place of random_walk; every check passed" in out
    assert "Promote" in (pmx.sweep / "report.html").read_text() or pmx("report", str(pmx.sweep))
    assert "Certificate" in (pmx.sweep / "report.html").read_text()


def rising() -> pd.DataFrame:
    """Return prices that drift upwards by more than a round trip costs in 20 sessions."""
    prices = long_form(n_sessions=400)
    n = prices.groupby("ticker").cumcount()
    return prices.assign(close=prices["close"] ** 0.3 * np.exp(0.002 * n))
