"""Settings of nested tuning: which family, over which space, judged on which inner folds."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, model_validator

from pmx_ray.config import Settings
from pmx_ray.errors import SettingsError
from pmx_ray.forecasters.inner_folds import Loss, Steps
from pmx_ray.forecasters.members import member_version
from pmx_ray.forecasters.registry import ForecasterSpec
from pmx_ray.forecasters.search_space import SearchSpace


class NestedSettings(Settings):
    """Settings of nested tuning.

    Attributes
    ----------
    family : str
        The forecaster that is tuned.
    fixed : mapping
        Parameters that every configuration has; the others keep their defaults.
    search : mapping of parameter to {low, high} or {choices}
        What is searched, as in a tuning; the family's own space unless given. It may not change
        what the family fits jointly, nor its device.
    n_trials : int
        Configurations tried at each fit; the defaults are the first, if the space holds them.
    loss : str
        ``squared_error``, ``crps`` or ``qlike``.
    steps : tuple of int
        Sessions ahead at which inner folds are scored.
    n_inner_folds : int
        Inner folds; fewer where they would take more than a third of a history.
    inner_step : int
        Sessions between them.
    refit_every : int
        Inner folds that share one fit.
    family_version : str
        Version of the family's numbers; filled in.
    """

    family: str = "samossa"
    fixed: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Any] = Field(default_factory=dict)
    n_trials: int = Field(default=8, ge=1, le=10_000)
    loss: Loss = "crps"
    steps: Steps = (1, 5)
    n_inner_folds: int = Field(default=24, ge=1, le=1000)
    inner_step: int = Field(default=5, ge=1, le=1000)
    refit_every: int = Field(default=12, ge=1, le=1000)
    family_version: str = ""

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, given: Any) -> Any:
        """Write the space and the family's version out, so that they are part of the spec."""
        if not isinstance(given, Mapping):
            return given
        name = given.get("family", "samossa")
        fixed, search = given.get("fixed") or {}, given.get("search") or None
        if not isinstance(name, str) or not isinstance(fixed, Mapping):
            return given
        space = SearchSpace.parse(name, search, fixed=fixed)
        _check_frame(space)
        version, written = member_version(name), given.get("family_version")
        if written and written != version:
            raise SettingsError(
                f"{name} was written for version {written} of its family; this is {version}; "
                "leave family_version out to use it"
            )
        found = space.as_json()
        return {
            **given,
            "fixed": found["fixed"],
            "search": found["search"],
            "family_version": version,
        }

    @property
    def space(self) -> SearchSpace:
        """What is searched."""
        return SearchSpace.parse(self.family, self.search, fixed=self.fixed)


def _check_frame(space: SearchSpace) -> None:
    """Refuse a search that changes the scope or the device, which are of the spec as a whole."""
    default = space.default
    scope = default.build().scope
    for spec in corners(space):
        if spec.build().scope != scope or spec.device != default.device:
            raise SettingsError(
                f"search: {spec.label} has another scope or device than {default.label}; fix what "
                "decides it, under fixed"
            )


def corners(space: SearchSpace) -> Iterator[ForecasterSpec]:
    """Yield the default with each end or choice of each dimension in turn."""
    for key, dimension in space.dimensions:
        for value in dimension.examples:
            written = {"name": space.family, **dict(space.fixed), key: value}
            yield ForecasterSpec.parse(written, where="search")
