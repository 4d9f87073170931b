"""Specs that a search chose, frozen: what was tuned, on what, until when, out of how many."""

from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from pmx_ray.config import Settings, parse, read_yaml

TUNED = "specs.yaml"
"""Name of the file that a search freezes its choice in."""


class TunedSpecs(Settings):
    """The outcome of a search, as a sweep takes it.

    Attributes
    ----------
    study : str
        Name of the study in the ledger's database.
    tuned_until : date
        Last session that the search has seen; no cutoff that is evaluated may lie before it.
    n_trials : int
        Configurations tried.
    forecasters : tuple of mapping
        What was chosen, every parameter written out: one spec, or the front of several objectives.
    default : mapping
        The configuration that would have been used without a search.
    tuning_loss, default_tuning_loss : float
        Relative loss of the first choice and of the default on the tuning folds; lower is better.
        None where the default fails there.
    loss : str
        Which loss.
    tune_id, panel_sha256, engine : str
        Hash of the search's settings, of the sessions it saw, and the version of the program.
    seed : int
        Of the search.
    """

    study: str
    tuned_until: date
    n_trials: int = Field(ge=1)
    forecasters: tuple[dict[str, Any], ...] = Field(min_length=1)
    default: dict[str, Any]
    tuning_loss: float
    default_tuning_loss: float | None
    loss: str
    tune_id: str
    panel_sha256: str
    engine: str
    seed: int

    def as_yaml(self) -> str:
        """Return the file's text."""
        head = (
            f"# Chosen by {self.n_trials} trials on sessions up to {self.tuned_until}. "
            "Name this file in a sweep:\n#   tuned: specs.yaml\n"
        )
        document = self.model_dump(mode="json")
        return head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def read_tuned(path: Path) -> TunedSpecs:
    """Return what a search froze.

    Raises
    ------
    SettingsError
        If the file is missing or is none of its kind.
    """
    return parse(TunedSpecs, read_yaml(path), where=str(path))
