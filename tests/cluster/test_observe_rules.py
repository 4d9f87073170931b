"""Every alert rule, by the real promtool: a case in which it fires, and a case in which not."""

import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from cluster.observe.rules import RULES, as_yaml

DOCS = Path(__file__).parents[2] / "docs" / "observe.md"
DRIVER = 'instance="10.0.0.1:8080",SessionName="s1",driver="01000000"'
OTHER = 'instance="10.0.0.1:8080",SessionName="s1",driver="02000000"'
ELSEWHERE = 'instance="10.0.0.9:8080",SessionName="s2",driver="01000000"'
CPU = f'device="cpu",{DRIVER}'
DRIFT = f'forecaster="drift",device="cpu",{DRIVER}'


@dataclass(frozen=True)
class Case:
    """Series, a sample a step; when they are looked at; and how often the alert fires then."""

    rule: str
    fires: int
    series: dict[str, str]
    at: str = "10m"
    step: str = "1m"
    id: str = ""


def up(*jobs, value="1x30"):
    return {f'up{{job="{job}",instance="{n}"}}': value for n, job in enumerate(jobs)}


def signals(fallback, served):
    return {
        'pmx_signals_served_total{replica="a",fallback="true"}': f"0+{fallback}x30",
        'pmx_signals_served_total{replica="a",fallback="false"}': f"0+{served}x30",
    }


def answers(good, bad):
    return {
        'pmx_http_requests_total{replica="a",method="GET",status="200"}': f"0+{good}x30",
        'pmx_http_requests_total{replica="a",method="GET",status="500"}': f"0+{bad}x30",
    }


def seconds(fast, slow, *, kind="signal"):
    """Return answers of which so many a minute take 0.1 s, and so many 1 s."""
    name, labels = "pmx_http_request_seconds", f'replica="a",kind="{kind}"'
    both = f"0+{fast + slow}x30"
    return {
        f'{name}_bucket{{{labels},le="0.1"}}': f"0+{fast}x30",
        f'{name}_bucket{{{labels},le="1"}}': both,
        f'{name}_bucket{{{labels},le="+Inf"}}': both,
        f"{name}_count{{{labels}}}": both,
    }


CASES = [
    Case("SweepHasNoWorkers", 1, {
        f"ray_pmx_blocks_waiting{{{CPU}}}": "7x30", f"ray_pmx_workers{{{CPU}}}": "0x30",
    }),
    Case("SweepHasNoWorkers", 1, id="another cluster has some", series={
        f"ray_pmx_blocks_waiting{{{CPU}}}": "7x30", f"ray_pmx_workers{{{CPU}}}": "0x30",
        f'ray_pmx_workers{{device="cpu",{ELSEWHERE}}}': "2x30",
    }),
    Case("SweepHasNoWorkers", 0, id="another sweep goes first", series={
        f"ray_pmx_blocks_waiting{{{CPU}}}": "7x30", f"ray_pmx_workers{{{CPU}}}": "0x30",
        f'ray_pmx_workers{{device="cpu",{OTHER}}}': "2x30",
    }),
    Case("SweepHasNoWorkers", 0, {
        f"ray_pmx_blocks_waiting{{{CPU}}}": "7x30", f"ray_pmx_workers{{{CPU}}}": "1x30",
    }),
    Case("SweepHasNoWorkers", 0, id="for less than two minutes", series={
        f"ray_pmx_blocks_waiting{{{CPU}}}": "7x30", f"ray_pmx_workers{{{CPU}}}": "1x8 0x20",
    }),
    Case("SweepStalled", 1, at="40m", series={
        f"ray_pmx_blocks_in_flight{{{CPU}}}": "2x60", f"ray_pmx_blocks_total{{{DRIFT}}}": "9x60",
    }),
    Case("SweepStalled", 0, at="40m", series={
        f"ray_pmx_blocks_in_flight{{{CPU}}}": "2x60", f"ray_pmx_blocks_total{{{DRIFT}}}": "0+1x60",
    }),
    Case("SweepStalled", 1, at="28m", id="since ten minutes after its start", series={
        f"ray_pmx_blocks_in_flight{{{CPU}}}": "2x60",
        f"ray_pmx_blocks_total{{{DRIFT}}}": "0+1x10 10x50",
    }),
    Case("SweepStalled", 1, at="20m", id="no block has finished", series={
        f"ray_pmx_blocks_in_flight{{{CPU}}}": "2x60",
    }),
    Case("SweepStalled", 0, at="24m", id="for less than 15 minutes", series={
        f"ray_pmx_blocks_in_flight{{{CPU}}}": "2x60",
        f"ray_pmx_blocks_total{{{DRIFT}}}": "0+1x10 10x50",
    }),
    Case("SweepStalled", 0, at="20m", id="the first block took 14 minutes", series={
        f"ray_pmx_blocks_in_flight{{{CPU}}}": "2x60",
        f"ray_pmx_blocks_total{{{DRIFT}}}": "_x14 1x60",
    }),
    Case("SweepStalled", 0, at="40m", id="a block every 14 minutes", series={
        f"ray_pmx_blocks_in_flight{{{CPU}}}": "2x60",
        f"ray_pmx_blocks_total{{{DRIFT}}}": "1x13 2x13 3x13 4x13",
    }),
    Case("CellsQuarantined", 1, {f"ray_pmx_quarantined_cells_total{{{DRIFT}}}": "6x30"}),
    Case("CellsQuarantined", 0, {f"ray_pmx_cells_total{{{DRIFT}}}": "600x30"}),
    Case("CellsFailing", 1, {
        f"ray_pmx_cells_total{{{DRIFT}}}": "5000x30",
        f"ray_pmx_failed_cells_total{{{DRIFT}}}": "1001x30",
    }),
    Case("CellsFailing", 1, id="another sweep's are fine", series={
        f"ray_pmx_cells_total{{{DRIFT}}}": "5000x30",
        f"ray_pmx_failed_cells_total{{{DRIFT}}}": "1001x30",
        f'ray_pmx_cells_total{{forecaster="drift",device="cpu",{OTHER}}}': "5000x30",
    }),
    Case("CellsFailing", 0, id="a fifth", series={
        f"ray_pmx_cells_total{{{DRIFT}}}": "5000x30",
        f"ray_pmx_failed_cells_total{{{DRIFT}}}": "1000x30",
    }),
    Case("CellsFailing", 0, id="few cells", series={
        f"ray_pmx_cells_total{{{DRIFT}}}": "900x30",
        f"ray_pmx_failed_cells_total{{{DRIFT}}}": "900x30",
    }),
    Case("RetriesCostly", 1, {
        f'ray_pmx_lost_seconds_total{{cause="died",{DRIFT}}}': "80x30",
        f'ray_pmx_lost_seconds_total{{cause="raised",{DRIFT}}}': "40x30",
        f"ray_pmx_block_seconds_sum{{{DRIFT}}}": "1000x30",
    }),
    Case("RetriesCostly", 0, id="a tenth", series={
        f'ray_pmx_lost_seconds_total{{cause="died",{DRIFT}}}': "100x30",
        f"ray_pmx_block_seconds_sum{{{DRIFT}}}": "900x30",
    }),
    Case("RetriesCostly", 0, id="a minute", series={
        f'ray_pmx_lost_seconds_total{{cause="died",{DRIFT}}}': "60x30",
        f"ray_pmx_block_seconds_sum{{{DRIFT}}}": "60x30",
    }),
    Case("RetriesCostly", 1, id="no block has finished", series={
        f'ray_pmx_lost_seconds_total{{cause="raised",{DRIFT}}}': "61x30",
    }),
    Case("RetriesCostly", 1, id="another sweep's have", series={
        f'ray_pmx_lost_seconds_total{{cause="raised",{DRIFT}}}': "61x30",
        f'ray_pmx_block_seconds_sum{{forecaster="drift",device="cpu",{OTHER}}}': "9000x30",
    }),
    Case("RetriesCostly", 0, id="no block has finished for a minute", series={
        f'ray_pmx_lost_seconds_total{{cause="raised",{DRIFT}}}': "60x30",
    }),
    Case("WorkersDying", 1, {f"ray_pmx_lost_workers_total{{{CPU}}}": "0+1x30"}),
    Case("WorkersDying", 0, {f"ray_pmx_lost_workers_total{{{CPU}}}": "0 0 0 3x30"}),
    Case("WorkersDying", 1, {f"ray_pmx_lost_workers_total{{{CPU}}}": "_x7 16x30"}, id="at once"),
    Case("WorkersDying", 1, id="some at once, then more", series={
        f"ray_pmx_lost_workers_total{{{CPU}}}": "_x5 3 3 6x30",
    }),
    Case("WorkersDying", 1, id="of one device after the other", series={
        f"ray_pmx_lost_workers_total{{{CPU}}}": "3x30",
        f'ray_pmx_lost_workers_total{{device="gpu",{DRIVER}}}': "_x7 6x30",
    }),
    Case("WorkersDying", 0, {f"ray_pmx_lost_workers_total{{{CPU}}}": "_x7 5x30"}, id="five"),
    Case("WorkersDying", 0, at="30m", id="half an hour ago", series={
        f"ray_pmx_lost_workers_total{{{CPU}}}": "16x60",
    }),
    Case("ClusterGone", 1, up("other")),
    Case("ClusterGone", 1, id="its addresses are left", series={
        **up("ray", "ray", value="1x5 0x25"), **up("other"),
    }),
    Case("ClusterGone", 0, up("ray")),
    Case("ClusterGone", 0, id="one node answers", series={
        **up("ray", "ray", value="1x5 0x25"), 'up{job="ray",instance="9"}': "1x30",
    }),
    Case("ClusterGone", 0, id="for less than two minutes", series=up("ray", value="1x8 0x20")),
    Case("TargetDown", 1, {**up("ray"), 'up{job="ray",instance="9"}': "1x6 0x20"}),
    Case("TargetDown", 0, up("ray", "ray")),
    Case("NodeGone", 1, {**up("ray", "ray"), 'up{job="ray",instance="9"}': "1x6 stale"}),
    Case("NodeGone", 0, {**up("ray", "ray"), 'up{job="ray",instance="9"}': "_x6 1x20"}),
    Case("DiskAlmostFull", 1, {
        'ray_node_disk_free{instance="a"}': "9x30", 'ray_node_disk_usage{instance="a"}': "91x30",
    }),
    Case("DiskAlmostFull", 0, {
        'ray_node_disk_free{instance="a"}': "10x30", 'ray_node_disk_usage{instance="a"}': "90x30",
    }),
    Case("ObjectStoreAlmostFull", 1, {
        'ray_object_store_used_memory{instance="a"}': "91x30",
        'ray_object_store_available_memory{instance="a"}': "9x30",
    }),
    Case("ObjectStoreAlmostFull", 0, {
        'ray_object_store_used_memory{instance="a"}': "90x30",
        'ray_object_store_available_memory{instance="a"}': "10x30",
    }),
    Case("MemoryAlmostFull", 1, {
        'ray_node_mem_used{instance="a"}': "91x30", 'ray_node_mem_total{instance="a"}': "100x30",
    }),
    Case("MemoryAlmostFull", 0, {
        'ray_node_mem_used{instance="a"}': "90x30", 'ray_node_mem_total{instance="a"}': "100x30",
    }),
    Case("ServiceDown", 1, up("pmx-service", value="0x30")),
    Case("ServiceDown", 0, {**up("pmx-service"), **up("x", "ray", value="0x30")}),
    Case("ServiceFailing", 1, answers(980, 20)),
    Case("ServiceFailing", 1, answers(0, 2), id="few ask and none is answered"),
    Case("ServiceFailing", 0, answers(990, 10)),
    Case("ServiceFailing", 0, id="few ask and one is not answered", series={
        **answers(10, 0),
        'pmx_http_requests_total{replica="a",method="GET",status="503"}': "0x5 1x30",
    }),
    Case("ServiceSlow", 1, at="20m", series=seconds(900, 100)),
    Case("ServiceSlow", 0, at="20m", series=seconds(999, 1)),
    Case("ServiceSlow", 0, at="20m", id="hardly asked", series={
        **seconds(1, 1), **seconds(600, 0, kind="other"), **answers(602, 0),
    }),
    Case("ServiceSlow", 0, at="20m", id="pages are slow", series={
        **seconds(999, 1), **seconds(0, 60, kind="other"), **answers(1060, 0),
    }),
    Case("FallbackServing", 1, at="20m", series=signals(60, 940)),
    Case("FallbackServing", 0, at="20m", series=signals(50, 950)),
    Case("FallbackServing", 0, at="20m", id="hardly asked", series=signals(2, 2)),
    Case("FlagsDiffer", 1, step="15s", series={
        'pmx_flags_version{replica="a"}': "4x40", 'pmx_flags_version{replica="b"}': "3x40",
    }),
    Case("FlagsDiffer", 1, step="15s", id="a scrape reaches one of them", series={
        'pmx_flags_version{replica="a"}': " ".join(["4", "stale"] * 21),
        'pmx_flags_version{replica="b"}': " ".join(["stale", "3"] * 21),
    }),
    Case("FlagsDiffer", 0, step="15s", id="one after the other", at="9m", series={
        'pmx_flags_version{replica="a"}': "3x28 4x20",
        'pmx_flags_version{replica="b"}': "3x30 4x20",
    }),
    Case("FlagsNotLive", 1, {'pmx_flags_live{replica="a"}': "0x30"}),
    Case("FlagsNotLive", 0, {'pmx_flags_live{replica="a"}': "1x30"}),
    Case("PricesStale", 1, {'pmx_prices_stale{replica="a"}': "1x30"}),
    Case("PricesStale", 0, {'pmx_prices_stale{replica="a"}': "0x30"}),
    Case("TrailLost", 1, {'pmx_trail_lost{replica="a"}': "0x5 3x30"}),
    Case("TrailLost", 1, step="15s", id="a scrape reaches one of two", series={
        'pmx_trail_lost{replica="a"}': " ".join(["0", "stale"] * 21),
        'pmx_trail_lost{replica="b"}': " ".join(["stale", "0"] * 15 + ["stale", "3"] * 6),
    }),
    Case("TrailLost", 0, {'pmx_trail_lost{replica="a"}': "0x30"}),
    Case("TrailLost", 0, at="20m", id="once, a while ago", series={
        'pmx_trail_lost{replica="a"}': "0x5 3x30", 'pmx_trail_lost{replica="b"}': "7x35",
    }),
]  # fmt: skip


def as_test(case):
    """Return a case as promtool takes it."""
    firing = f'ALERTS{{alertname="{case.rule}",alertstate="firing"}}'
    return {
        "name": f"{case.rule} {case.id}".strip(),
        "interval": case.step,
        "input_series": [{"series": k, "values": v} for k, v in case.series.items()],
        "promql_expr_test": [
            {
                "expr": f"count({firing}) or vector(0)",
                "eval_time": case.at,
                "exp_samples": [{"labels": "{}", "value": case.fires}],
            }
        ],
    }


@pytest.fixture(scope="module")
def promtool():
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool is installed (Debian: prometheus)")
    return found


def judged_by(promtool, folder, cases, rules=RULES):
    """Return promtool's exit code and what it says of rules in these cases."""
    (folder / "alerts.yml").write_text(as_yaml(rules))
    document = {
        "rule_files": ["alerts.yml"],
        "evaluation_interval": "15s",
        "tests": [as_test(case) for case in cases],
    }
    (folder / "tests.yml").write_text(yaml.safe_dump(document))
    done = subprocess.run(
        [promtool, "test", "rules", "tests.yml"], cwd=folder, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_rules_when_checked_then_every_one_has_a_firing_and_a_silent_case():
    for rule in RULES:
        assert {0, 1} <= {case.fires for case in CASES if case.rule == rule.name}, rule.name
    assert {case.rule for case in CASES} == {rule.name for rule in RULES}


def test_rules_when_promtool_tests_them_then_each_fires_where_it_should(promtool, tmp_path):
    code, said = judged_by(promtool, tmp_path, CASES)
    assert code == 0, said


@pytest.mark.parametrize("expr", ["vector(1) < 0", "vector(1)"], ids=["never", "always"])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rules_when_one_is_broken_then_its_cases_tell(promtool, tmp_path, rule, expr):
    cases = [case for case in CASES if case.rule == rule.name]
    broken = [replace(rule, expr=expr)]
    code, said = judged_by(promtool, tmp_path, cases, broken)
    assert code == 1
    assert "got:" in said


def test_rules_when_promtool_checks_them_then_expressions_and_texts_are_well_formed(
    promtool, tmp_path
):
    path = tmp_path / "alerts.yml"
    path.write_text(as_yaml())
    subprocess.run([promtool, "check", "rules", "--lint=all", "--lint-fatal", path], check=True)


def test_rules_when_read_then_each_says_what_is_the_matter_and_what_to_do():
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert all(rule.summary[-1] == "." and rule.remedy[-1] in ".?" for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_docs_when_a_rule_is_there_then_their_table_has_it(rule):
    row = f"| {rule.name} | {rule.severity} | {rule.lasts} | {rule.remedy} |"
    assert row in DOCS.read_text(encoding="utf-8")
