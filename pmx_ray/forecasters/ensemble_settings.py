"""Settings of the ensemble: its members, and what weighs them."""

from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from pmx_ray.config import Settings
from pmx_ray.forecasters.inner_folds import Loss, Steps
from pmx_ray.forecasters.members import MemberSpec
from pmx_ray.forecasters.registry import ForecasterSpec

DEFAULT_MEMBERS: tuple[dict[str, Any], ...] = (
    {"name": "random_walk"},
    {"name": "drift"},
    {"name": "garch"},
    {"name": "samossa"},
    {"name": "sarimax", "order": (1, 1, 1)},
)

Weighting: TypeAlias = Literal["equal", "inverse_loss", "adaptive"]


class EnsembleSettings(Settings):
    """Settings of the ensemble.

    Attributes
    ----------
    members : tuple of {name: ..., parameter: ...}
        Forecasters as in a sweep, each different.
    weighting : str
        ``equal``; ``inverse_loss`` of the inner folds; ``adaptive``: those losses, forgotten across
        change points and distrusted where prices look like a random walk.
    loss : str
        ``crps`` and ``squared_error`` of the cumulative return, or ``qlike`` of its variance.
    steps : tuple of int
        Sessions ahead at which the inner folds are scored.
    n_validation : int
        Inner folds; fewer where they would take more than a third of a history.
    spacing : int
        Sessions between them.
    refit_every : int
        Inner folds that share one fit.
    min_losses : int
        Inner folds below which weights are equal; what is forgotten counts in part.
    variance_ratio_lags : int
        Sessions of the variance ratio test's long variance.
    variance_ratio_level : float
        Level at which it rejects the random walk.
    density_window : int
        Trailing sessions in which change points are counted.
    """

    members: tuple[MemberSpec, ...] = Field(
        default=DEFAULT_MEMBERS, min_length=1, max_length=32, validate_default=True
    )
    weighting: Weighting = "adaptive"
    loss: Loss = "crps"
    steps: Steps = (1, 5)
    n_validation: int = Field(default=40, ge=1, le=1000)
    spacing: int = Field(default=5, ge=1, le=1000)
    refit_every: int = Field(default=20, ge=1, le=1000)
    min_losses: int = Field(default=8, ge=1)
    variance_ratio_lags: int = Field(default=5, ge=2, le=250)
    variance_ratio_level: float = Field(default=0.05, gt=0.0, lt=1.0)
    density_window: int = Field(default=250, ge=20, le=10_000)

    @field_validator("members")
    @classmethod
    def _members_differ(cls, members: tuple[ForecasterSpec, ...]) -> tuple[ForecasterSpec, ...]:
        ids = [spec.id for spec in members]
        twice = next((spec for spec in members if ids.count(spec.id) > 1), None)
        if twice is not None:
            raise ValueError(f"member {twice.label} is given twice; members must differ")
        return members

    @model_validator(mode="after")
    def _enough_folds(self) -> Self:
        if self.min_losses > self.n_validation:
            raise ValueError(
                f"min_losses was {self.min_losses}; it must be at most n_validation "
                f"({self.n_validation})"
            )
        return self
