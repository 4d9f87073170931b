"""The command as a person runs it, in a folder with a settings file and prices of its own."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import walk

from pmx_ray.cli import main

SETTINGS: dict[str, object] = {
    "name": "mine",
    "panel": {"source": "file", "path": "prices.csv"},
    "folds": {"input_size": 90, "step_size": 10, "steps": [1, 5], "refit_every": 4},
    "forecasters": [{"name": "drift"}, {"name": "ewma_variance"}, {"name": "samossa"}],
    "evaluation": {"n_resamples": 100},
}


class Pmx:
    """Runs `pmx` in this process, in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr("sys.argv", ["pmx", *words])
            patch.delenv("RAY_ADDRESS", raising=False)
            with pytest.raises(SystemExit) as end:
                main()
        out, self.err = self._capsys.readouterr()
        assert (end.value.code or 0) == code, out + self.err
        return out

    def write(self, settings: dict[str, object], prices: pd.DataFrame) -> None:
        (self.folder / "sweep.yaml").write_text(yaml.safe_dump(settings))
        prices.to_csv(self.folder / "prices.csv", index=False)

    @property
    def sweep(self) -> Path:
        (folder,) = (self.folder / "runs").glob("mine-*")
        return folder

    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


def long_form(tickers: str = "ABC", n_sessions: int = 200) -> pd.DataFrame:
    panel = walk(tickers, n_sessions)
    return pd.DataFrame(
        {
            "date": np.tile(panel.sessions.astype(str), panel.n_tickers),
            "ticker": np.repeat(panel.tickers, panel.n_sessions),
            "close": panel.close.ravel(),
        }
    )
