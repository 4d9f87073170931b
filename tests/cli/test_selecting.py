"""`pmx select` on a run of one's own."""

import json

from pmx_command import Pmx

SWEEP = ("sweep", "sweep.yaml", "--address", "in-process")


# proves G2
def test_select_when_nothing_has_skill_then_the_walk_with_reasons_and_leaders(pmx: Pmx) -> None:
    pmx(*SWEEP)
    out = pmx("select", str(pmx.sweep), "--step", "5")
    assert "primary model at step 5: random_walk" in out
    assert "-0.00%" not in out
    lines = [json.loads(line) for line in pmx("select", str(pmx.sweep), "--json").splitlines()]
    (selection,) = [line for line in lines if line["event"] == "selection"]
    assert (selection["label"], selection["step"]) == ("random_walk", 1)
    assert len(selection["candidates"]) == 4
    led = {line["name"] for line in lines if line["event"] == "leader"}
    assert {"A", "B", "C"} <= led


def test_select_when_the_step_or_champion_is_not_there_then_said(pmx: Pmx) -> None:
    pmx(*SWEEP)
    pmx("select", str(pmx.sweep), "--step", "9", code=2)
    assert "--step was 9; the run scored 1, 5" in pmx.err
    pmx("select", str(pmx.sweep), "--champion", "nobody", code=2)
    assert "'nobody' is not a forecaster" in pmx.err
