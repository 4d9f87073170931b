"""The plugin that docs/own_model.md shows works as it stands there."""

import re
import sys
from pathlib import Path

import pytest

from pmx_ray.forecasters.registry import ForecasterSpec, load_families
from pmx_ray.leaks.conformance import check

PAGE = Path(__file__).parents[2] / "docs" / "own_model.md"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        if block.startswith("# my_models.py")
    ]
    (tmp_path / "page_models.py").write_text(code.replace('"momentum"', '"page_momentum"'))
    monkeypatch.syspath_prepend(str(tmp_path))
    load_families(["page_models"])
    yield
    sys.modules.pop("page_models")


def test_page_when_its_plugin_is_checked_then_every_promise_is_kept(plugin) -> None:
    momentum = {"name": "page_momentum", "window": 60}
    for written in (momentum, {"name": "ensemble", "members": [momentum, {"name": "garch"}]}):
        checked = check(ForecasterSpec.parse(written), input_size=260)
        assert [c for c in checked if not c.passed] == []
