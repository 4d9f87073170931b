"""Settings of a sweep: what is evaluated, and, kept apart, how the work is carried out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, StringConstraints, field_validator, model_validator

from pmx_ray.backtest.evaluate import EvaluationSettings
from pmx_ray.backtest.tuned import TunedSpecs, read_tuned
from pmx_ray.config import Settings, override, parse, read_yaml
from pmx_ray.data.sources import PanelSettings
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldSettings
from pmx_ray.forecasters.protocol import Status
from pmx_ray.forecasters.registry import ForecasterSpec, load_families
from pmx_ray.provenance import ENGINE_VERSION, canonical_json, sha256_hex

BASELINE = "random_walk"
"""Every sweep holds it: skill is measured against it."""


class ExecutionSettings(Settings):
    """How the work is carried out; no field can change a forecast.

    Attributes
    ----------
    workers : int, optional
        Ray actors with one CPU each; as many as the cluster's CPUs unless given.
    gpu_workers : int
        Ray actors with ``gpus_per_worker`` GPUs each, for the forecasters whose engine uses one.
    gpus_per_worker : float
        GPUs, or a share of one, that each GPU worker holds.
    labels, gpu_labels : mapping of str to str
        Ray node labels that the node of a worker, or of a GPU worker, must carry.
    in_flight : int
        Blocks queued at a worker.
    max_attempts : int
        Times a block may fail before its cells become rows with the status ``quarantined``.
    priority : int
        Where sweeps share a cluster: 1 goes before 2. Every one of them keeps a worker.
    nodes_within_s : float
        Seconds to wait for an autoscaler to start nodes, where none is there that could hold a
        worker; 0 refuses the sweep at once.
    folds_per_block, tickers_per_block : int, optional
        Bounds of a work block; sized by predicted cost unless given.
    """

    workers: int | None = Field(default=None, ge=1)
    gpu_workers: int = Field(default=0, ge=0)
    gpus_per_worker: float = Field(default=1.0, gt=0)
    labels: dict[str, str] = Field(default_factory=dict)
    gpu_labels: dict[str, str] = Field(default_factory=dict)
    in_flight: int = Field(default=2, ge=1)
    max_attempts: int = Field(default=3, ge=1)
    priority: int = Field(default=5, ge=1, le=9)
    nodes_within_s: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    folds_per_block: int | None = Field(default=None, ge=1)
    tickers_per_block: int | None = Field(default=None, ge=1)


class SweepSettings(Settings):
    """One sweep.

    Attributes
    ----------
    name : str
        Starts the sweep folder's name.
    panel : PanelSettings
        Where prices come from.
    folds : FoldSettings
        Where they are cut.
    forecasters : tuple of mapping
        ``{name: ..., parameter: value}`` each; the random walk is added if it is not named.
    evaluation : EvaluationSettings
        Losses, strategy and intervals.
    tuned : TunedSpecs, optional
        What a search chose, evaluated beside the forecasters; a settings file names the file that
        the search froze. Every cutoff must lie after the sessions that the search has seen.
    execution : ExecutionSettings
        How the work is carried out.
    plugins : tuple of str
        Modules that register forecasters of your own.
    data_quality_threshold : float
        Least quality score of the panel, 0 to 1; below it the data is refused.
    seed : int
        Root of every random draw.
    accepted_failures : tuple of Status
        Statuses of failed cells that are a finding rather than an accident, e.g. ``explosive`` for
        a GARCH fit at a unit root. They are counted and shown like any other, but the command
        then ends with 0 and not with 3.
    lake : str, optional
        Where blocks are kept: a folder or ``s3://bucket/prefix``; by default beside the sweep
        folders. The ledger's URL may hold a password and comes from ``PMX_LEDGER_URL`` alone.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    panel: PanelSettings
    folds: FoldSettings = FoldSettings()
    forecasters: tuple[dict[str, Any], ...] = Field(min_length=1)
    evaluation: EvaluationSettings = EvaluationSettings()
    tuned: TunedSpecs | None = None
    execution: ExecutionSettings = ExecutionSettings()
    plugins: tuple[str, ...] = ()
    data_quality_threshold: float = Field(default=0.95, ge=0, le=1)
    seed: int = Field(default=0, ge=0)
    accepted_failures: tuple[Status, ...] = ()
    lake: str | None = None

    @field_validator("forecasters")
    @classmethod
    def _named(cls, written: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        if not any(entry.get("name") == BASELINE for entry in written):
            return ({"name": BASELINE}, *written)
        return written

    @model_validator(mode="after")
    def _partitionable(self) -> Self:
        if self.folds.tuning_end is not None and self.folds.kind == "combinatorial":
            raise ValueError("folds.tuning_end: a combinatorial plan cannot be partitioned by date")
        return self

    @model_validator(mode="after")
    def _after_the_search(self) -> Self:
        if self.tuned is None:
            return self
        until = self.tuned.tuned_until
        starts = [day for day in (self.folds.start, self.folds.tuning_end) if day is not None]
        if not starts or max(starts) < until:
            raise ValueError(
                f"tuned: the search has seen sessions up to {until}; set folds.start or "
                "folds.tuning_end to that day or a later one, so that no cutoff lies before it"
            )
        return self

    def specs(self) -> tuple[ForecasterSpec, ...]:
        """Return the specs to compare, the baseline among them, in the order written.

        What a search chose comes last, less what is written already.

        Raises
        ------
        SettingsError
            If a plugin cannot be imported, a forecaster is unknown, a parameter is wrong, or one
            spec is given twice.
        """
        load_families(self.plugins)
        specs = tuple(
            ForecasterSpec.parse(entry, where=f"forecasters.{n}")
            for n, entry in enumerate(self.forecasters)
        )
        seen: dict[str, int] = {}
        for n, spec in enumerate(specs):
            if spec.id in seen:
                raise SettingsError(f"forecasters.{n}: {spec.label} is given twice; drop one")
            seen[spec.id] = n
        chosen = (
            {}
            if self.tuned is None
            else {
                spec.id: spec
                for spec in (ForecasterSpec.parse(f, where="tuned") for f in self.tuned.forecasters)
            }
        )
        return (*specs, *(spec for spec in chosen.values() if spec.id not in seen))

    def sweep_id(self, panel_sha256: str) -> str:
        """Return the hash of everything that can change what the sweep finds.

        The execution and the lake are not part of it.
        """
        document = {
            "engine": ENGINE_VERSION,
            "panel": panel_sha256,
            "folds": self.folds.model_dump(mode="json"),
            "specs": [[spec.id, spec.libraries] for spec in self.specs()],
            "evaluation": self.evaluation.model_dump(mode="json"),
            "seed": self.seed,
        }
        return sha256_hex(canonical_json(document))

    def as_yaml(self) -> str:
        """Return the settings as YAML, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_settings(path: Path, assignments: Sequence[str] = ()) -> SweepSettings:
    """Return the sweep settings of a YAML file, with ``key=value`` overrides applied.

    Raises
    ------
    SettingsError
        One line that says which key of which file is wrong, and what was perhaps meant.
    """
    written = override(read_yaml(path), assignments)
    if isinstance(written.get("tuned"), str):
        frozen = read_tuned(path.parent / written["tuned"])
        written = {**written, "tuned": frozen.model_dump(mode="json")}
    settings = parse(SweepSettings, written, where=str(path))
    try:
        settings.specs()
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
    return settings
