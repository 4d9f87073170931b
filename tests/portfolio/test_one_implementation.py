"""Kelly's rule is written down once; whoever sizes a position imports it (A9)."""

import ast
import re
from pathlib import Path

import pytest

from pmx_ray.portfolio import kelly
from pmx_ray.signals import making, settings

ROOT = Path(__file__).parents[2]
HOME = ROOT / "pmx_ray" / "portfolio" / "kelly.py"
PACKAGES = ("pmx_ray", "serve_apps", "tune_jobs")

SHAPES = re.compile(
    r"(?P<p>[\w.]+) - \(1(\.0)? - (?P=p)\) / .+"  # p - (1 - p) / b
    r"|p - q / .+"
    r"|\((?P<l>[\w.]+) \* (?P<r>[\w.]+) - [^()]+\) / ((?P=l)|(?P=r))"  # (b * p - q) / b
)
WIN = re.compile(r"\b(win_rate\w*|win_prob\w*|p_win|prob_win)\b")
PAYOFF = re.compile(r"\b(payoff\w*|odds|reward_risk\w*)\b")
NAMES = re.compile(r"kelly|stake_frac", re.IGNORECASE)


def offences(source):
    """Return the lines of a module that compute what ``portfolio.kelly`` is there for."""
    return sorted({node.lineno for node in ast.walk(ast.parse(source)) if _offends(node)})


def _offends(node):
    if isinstance(node, ast.FunctionDef):
        return bool(NAMES.search(node.name)) and any(map(_arithmetic, ast.walk(node)))
    text = ast.unparse(node) if _arithmetic(node) else ""
    return bool(SHAPES.fullmatch(text) or (WIN.search(text) and PAYOFF.search(text)))


def _arithmetic(node):
    return isinstance(node, ast.BinOp) and not isinstance(node.op, ast.BitOr)


def modules():
    return [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def test_kelly_is_computed_in_one_module_only():  # proves A9
    written = {path: offences(path.read_text(encoding="utf-8")) for path in modules()}
    assert written.pop(HOME)  # the scan sees the one there is
    assert {str(path.relative_to(ROOT)): lines for path, lines in written.items() if lines} == {}


def test_who_sizes_a_position_imports_that_module():  # proves A9
    assert making.stake_frac is kelly.stake_frac
    assert making.shrunk is kelly.shrunk
    assert making.kelly_fraction is kelly.kelly_fraction
    assert settings.MAX_POSITION_FRAC is kelly.MAX_POSITION_FRAC


def test_nobody_but_the_making_of_signals_stakes():  # proves A9
    users = {
        str(path.relative_to(ROOT))
        for path in modules()
        if path != HOME and "pmx_ray.portfolio.kelly" in path.read_text(encoding="utf-8")
    }
    assert users == {
        "pmx_ray/signals/making.py",
        "pmx_ray/signals/settings.py",
    }


@pytest.mark.parametrize(
    "planted",
    [
        "size = p - q / b",
        "size = rate - (1 - rate) / gain",
        "size = (b * p - q) / b",
        "size = win_rate - loss_rate / payoff_ratio",
        "size = row.win_rate_frac * row.payoff_ratio - x",
        "def half_kelly(f):\n    return f / 2",
    ],
)
def test_scan_when_a_second_implementation_is_planted_then_found(planted):
    assert offences(planted)


def test_scan_when_code_is_innocent_then_silent():
    assert offences("a = b - c / d\nx = (lo + hi) / 2\nz = (p * q - r) / s") == []
