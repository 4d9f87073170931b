"""`pmx submit` before it reaches a cluster."""

import pytest
from pmx_command import SETTINGS, Pmx, long_form

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
