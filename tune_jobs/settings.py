"""Settings of a search: what is tuned, on which folds, and what its winner is compared on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import yaml
from pydantic import Field, StringConstraints, model_validator

from pmx_ray.backtest.evaluate import EvaluationSettings
from pmx_ray.backtest.settings import BASELINE, ExecutionSettings, SweepSettings
from pmx_ray.backtest.tuned import TunedSpecs
from pmx_ray.config import Settings, override, parse, read_yaml
from pmx_ray.data.sources import PanelSettings
from pmx_ray.errors import SettingsError
from pmx_ray.folds import FoldSettings
from pmx_ray.forecasters.protocol import Status
from pmx_ray.forecasters.registry import ForecasterSpec, load_families
from pmx_ray.forecasters.search_space import SearchSpace
from pmx_ray.provenance import ENGINE_VERSION, canonical_json, sha256_hex

Loss: TypeAlias = Literal["squared_error", "qlike", "crps"]
"""What a search lowers; each is stated by cutoff in every report."""

Objective: TypeAlias = Literal["loss", "fit_s"]
"""``fit_s``: seconds of one core that a configuration takes over the tuning folds."""

_RESULTS = ("panel", "folds", "forecaster", "search", "loss", "objectives", "sampler", "n_startup",
            "lag", "n_rungs", "reduction", "n_chunks", "max_failed_frac", "seed")  # fmt: skip


class TuneSettings(Settings):
    """One search over the configurations of one family.

    Attributes
    ----------
    name : str
        Starts the folder's and the study's name.
    panel, folds
        As of a sweep. ``folds.tuning_end`` is required: folds scored up to it are the tuning
        partition, which is all that the search sees; the later ones evaluate what it chose.
    forecaster : mapping
        ``{name: ..., parameter: value}``: the family, and the parameters that stay fixed.
    search : mapping, optional
        ``{parameter: {low: ..., high: ...} or {choices: [...]}}``; the family's own space unless
        given.
    loss : str
        Mean loss over the loss of the random walk on the same cells, averaged over the steps;
        below 1 is better than the random walk.
    objectives : tuple of str
        ``loss``, or ``loss`` and ``fit_s``: then the whole front is frozen. Seconds are measured,
        so that a search with ``fit_s`` does not repeat to the bit.
    n_trials : int
        Configurations tried, each once.
    sampler : str
        ``tpe`` or ``random``, seeded.
    n_startup : int
        Configurations that ``tpe`` draws at random before it learns.
    lag : int
        Trial n knows the outcomes of the trials up to ``n - lag``, however many others have ended
        by then, so that a search gives the same study on any number of workers. At most ``lag``
        trials run at once.
    n_rungs, reduction : int
        Successive halving: a trial goes on from one rung to the next, ``reduction`` times as many
        folds, if its loss is among the best ``1 / reduction`` of those known there.
    n_chunks : int
        Runs of folds that the tuning partition is cut into; a rung holds some, spread over time.
    max_failed_frac : float
        A configuration that fails on more of its cells than this is told as failed.
    compared : int
        Finished trials, evenly by rank, that are evaluated beside the winner and the default. They
        show how tuning loss and evaluation loss go together; each is one more trial in the ledger.
    evaluation, execution, plugins, data_quality_threshold, seed, accepted_failures, lake
        As of a sweep.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    panel: PanelSettings
    folds: FoldSettings
    forecaster: dict[str, Any]
    search: dict[str, Any] | None = None
    loss: Loss = "squared_error"
    objectives: tuple[Objective, ...] = ("loss",)
    n_trials: int = Field(default=50, ge=1, le=100_000)
    sampler: Literal["tpe", "random"] = "tpe"
    n_startup: int = Field(default=10, ge=1)
    lag: int = Field(default=8, ge=1, le=1000)
    n_rungs: int = Field(default=3, ge=1, le=10)
    reduction: int = Field(default=3, ge=2, le=10)
    n_chunks: int = Field(default=18, ge=1, le=10_000)
    max_failed_frac: float = Field(default=0.05, ge=0, lt=1)
    compared: int = Field(default=0, ge=0, le=100)
    evaluation: EvaluationSettings = EvaluationSettings()
    execution: ExecutionSettings = ExecutionSettings()
    plugins: tuple[str, ...] = ()
    data_quality_threshold: float = Field(default=0.95, ge=0, le=1)
    seed: int = Field(default=0, ge=0)
    accepted_failures: tuple[Status, ...] = ()
    lake: str | None = None

    @model_validator(mode="after")
    def _tunable(self) -> Self:
        if self.folds.kind == "combinatorial":
            raise ValueError("folds.kind: a combinatorial plan has no tuning partition")
        if self.folds.tuning_end is None:
            raise ValueError(
                "folds.tuning_end is missing; the search sees the folds scored up to that day, "
                "and the later ones evaluate what it chose"
            )
        if self.objectives not in {("loss",), ("loss", "fit_s")}:
            raise ValueError(
                f"objectives was {list(self.objectives)}; it must be [loss] or [loss, fit_s]"
            )
        if self.evaluation.baseline != BASELINE:
            raise ValueError(
                f"evaluation.baseline was '{self.evaluation.baseline}'; a search measures against "
                f"the {BASELINE}"
            )
        return self

    def space(self) -> SearchSpace:
        """Return what is searched.

        Raises
        ------
        SettingsError
            If a plugin cannot be imported, or the family, a parameter or a range is wrong.
        """
        load_families(self.plugins)
        fixed = dict(self.forecaster)
        name = fixed.pop("name", None)
        if not isinstance(name, str):
            raise SettingsError("forecaster: needs a name, e.g. {name: samossa}")
        ForecasterSpec.parse(self.forecaster, where="forecaster")
        return SearchSpace.parse(name, self.search, fixed=fixed)

    def tune_id(self, tuning_sha256: str) -> str:
        """Return the hash of everything that can change the study, given its panel's hash.

        The number of trials is not part of it: asked for more, a study goes on.
        """
        space = self.space()
        document = {
            "engine": ENGINE_VERSION,
            "panel": tuning_sha256,
            "space": space.as_json(),
            "default": [space.default.id, space.default.libraries],
            **self.model_dump(mode="json", include=set(_RESULTS) - {"panel", "search"}),
        }
        return sha256_hex(canonical_json(document))

    def sweep(self, specs: Sequence[dict[str, Any]], tuned: TunedSpecs) -> SweepSettings:
        """Return the sweep that evaluates ``specs`` and the tuned ones on the later folds."""
        shared = ("name", "panel", "folds", "evaluation", "execution", "plugins",
                  "data_quality_threshold", "seed", "accepted_failures", "lake")  # fmt: skip
        return SweepSettings(
            forecasters=tuple(specs), tuned=tuned, **{key: getattr(self, key) for key in shared}
        )

    def as_yaml(self) -> str:
        """Return the settings as YAML, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_settings(path: Path, assignments: Sequence[str] = ()) -> TuneSettings:
    """Return the settings of a YAML file, with ``key=value`` overrides applied.

    Raises
    ------
    SettingsError
        One line that says which key of which file is wrong, and what was perhaps meant.
    """
    settings = parse(TuneSettings, override(read_yaml(path), assignments), where=str(path))
    try:
        settings.space()
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
    return settings
