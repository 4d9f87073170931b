"""`pmx submit` before it reaches a cluster."""

import pytest
from pmx_command import SETTINGS, Pmx, long_form

from pmx_ray.backtest.settings import ExecutionSettings
from pmx_ray.cli import submitting

NOBODY = ("--dashboard", "http://127.0.0.1:9", "--no-preflight")


@pytest.mark.parametrize(
    ("lake", "out", "message"),
    [("my/lake", (), "lake was 'my/lake'"), (None, ("--out", "runs"), "--out was 'runs'")],
)
def test_submit_when_a_place_is_relative_then_refused_before_anybody_is_asked(
    pmx: Pmx, lake: str | None, out: tuple[str, ...], message: str
) -> None:
    pmx.write({**SETTINGS, "lake": lake}, long_form())
    pmx("submit", "sweep.yaml", *NOBODY, *out, code=2)
    assert message in pmx.err


def test_look_when_an_autoscaler_is_to_start_nodes_then_their_labels_are_not_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_for = []
    monkeypatch.setattr("cluster.facts.machine_facts", lambda: None)
    monkeypatch.setattr("cluster.outside.outside_facts", lambda *_, **__: None)
    monkeypatch.setattr("cluster.preflight.preflight", lambda *_, labels: looked_for.append(labels))
    monkeypatch.setattr("cluster.preflight.refuse", lambda _: None)
    for seconds in (0, 900):
        execution = ExecutionSettings(labels={"rack": "far"}, nodes_within_s=seconds)
        submitting._look("http://127.0.0.1:9", execution)
    assert looked_for == [[{"rack": "far"}], []]
