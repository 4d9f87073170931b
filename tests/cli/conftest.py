"""A folder with prices, and the command in it."""

from pathlib import Path

import pytest
from pmx_command import SETTINGS, Pmx, long_form


@pytest.fixture
def pmx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Pmx:
    command = Pmx(tmp_path, capsys)
    command.write(SETTINGS, long_form())
    return command
