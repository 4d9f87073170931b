"""What a search may choose: ranges and choices of a family's parameters, by their own names."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import inf, prod
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from pydantic import Field, FiniteFloat, model_validator

from pmx_ray.config import Settings, parse, suggestion
from pmx_ray.errors import SettingsError
from pmx_ray.forecasters.registry import ForecasterSpec, family

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class Range(Settings):
    """Numbers from ``low`` to ``high``, both inside; whole ones where both bounds are.

    Attributes
    ----------
    low, high : int or float
        ``low`` below ``high``.
    step : int or float, optional
        Distance of the values from ``low`` on; 1 for whole numbers unless given.
    log : bool
        Whether equal ratios are equally likely; ``low`` must then be > 0, and no step given.
    """

    low: int | FiniteFloat
    high: int | FiniteFloat
    step: int | FiniteFloat | None = None
    log: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low was {self.low}; it must be below high ({self.high})")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs low > 0 and takes no step")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"step was {self.step}; it must be > 0 and at most high - low")
        if self.whole and self.step is not None and not isinstance(self.step, int):
            raise ValueError(f"step was {self.step}; it must be whole where both bounds are")
        return self

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def n_values(self) -> float:
        """How many values there are; infinite for a range of floats without a step."""
        step = self.step or (1 if self.whole else None)
        return inf if step is None else int((self.high - self.low) / step + 1e-9) + 1

    def stored_values(self) -> tuple[Any, ...]:
        """Return every value, ascending; of a finite range alone."""
        step = self.step or 1
        return tuple(self.low + k * step for k in range(int(self.n_values)))  # as Optuna has them

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values that a settings class must accept for the range to make sense."""
        return self.low, self.high

    def distribution(self) -> "BaseDistribution":
        """Return the range in Optuna's terms."""
        from optuna.distributions import FloatDistribution, IntDistribution  # noqa: PLC0415

        if self.whole:
            step = int(self.step) if self.step else 1
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=step)
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def decoded(self, stored: Any) -> Any:
        """Return the value as settings take it, from the one that a study stores."""
        return int(stored) if self.whole else float(stored)

    def holds(self, value: Any) -> bool:
        """Return whether ``value`` is one of the range's."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and bool(self.distribution()._contains(value))

    def stored(self, value: Any) -> Any:
        """Return a value of the range as a study keeps it: of a finite one, the very number."""
        if self.n_values == inf:
            return float(value)
        step = self.step or 1
        return self.low + round((value - self.low) / step) * step


class Choices(Settings):
    """One of several values, in no order.

    Attributes
    ----------
    choices : tuple
        At least two; text, numbers, true, false, null or lists of them.
    """

    choices: tuple[Any, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _differ(self) -> Self:
        # 1, 1.0 and true are one to Optuna.
        twice = next((c for c in self.choices if self.choices.count(c) > 1), None)
        if twice is not None:
            raise ValueError(f"choice {json.dumps(twice)} is given twice")
        return self

    @property
    def n_values(self) -> float:
        """How many values there are."""
        return len(self.choices)

    def stored_values(self) -> tuple[Any, ...]:
        """Return every choice as a study keeps it."""
        return tuple(_stored(choice) for choice in self.choices)

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values that a settings class must accept: all of them."""
        return self.choices

    def distribution(self) -> "BaseDistribution":
        """Return the choices in Optuna's terms."""
        from optuna.distributions import CategoricalDistribution  # noqa: PLC0415

        return CategoricalDistribution(self.stored_values())

    def decoded(self, stored: Any) -> Any:
        """Return the value as settings take it, from the one that a study stores."""
        return next(c for c in self.choices if _same(_stored(c), stored))

    def holds(self, value: Any) -> bool:
        """Return whether ``value`` is one of the choices."""
        return any(_same(_stored(choice), _stored(value)) for choice in self.choices)

    def stored(self, value: Any) -> Any:
        """Return a choice as a study keeps it."""
        return _stored(value)


Dimension: TypeAlias = Range | Choices


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The parameters of one family that a search may choose, and those that it must leave.

    Attributes
    ----------
    family : str
        A registered family.
    fixed : tuple of (str, value)
        Parameters that every configuration has, as written; the rest keep their defaults.
    dimensions : tuple of (str, Range or Choices)
        What is searched, sorted by name: the order changes what a sampler draws.

    Examples
    --------
    >>> written = {"ar_order": {"low": 0, "high": 3}, "shape_ratio": {"choices": [1, 3, 5]}}
    >>> space = SearchSpace.parse("samossa", written)
    >>> space.n_configurations
    12
    >>> space.spec({"ar_order": 2, "shape_ratio": 3}).label
    'samossa(ar_order=2, shape_ratio=3)'
    """

    family: str
    fixed: tuple[tuple[str, Any], ...]
    dimensions: tuple[tuple[str, Dimension], ...]

    @classmethod
    def parse(
        cls,
        name: str,
        written: Mapping[str, Any] | None = None,
        *,
        fixed: Mapping[str, Any] | None = None,
        where: str = "search",
    ) -> "SearchSpace":
        """Return the space of ``{parameter: {low: ..., high: ...} or {choices: [...]}}``.

        Parameters
        ----------
        name : str
            A registered family.
        written : mapping, optional
            What is searched; the family's own space, less the fixed parameters, unless given.
        fixed : mapping, optional
            Parameters that every configuration has.
        where : str
            Starts the error's message.

        Raises
        ------
        SettingsError
            If the family is unknown or has no space of its own, a parameter is unknown or both
            fixed and searched, a range is wrong, or its ends or choices are not accepted.
        """
        try:
            known = family(name)
        except SettingsError as error:
            raise SettingsError(f"{where}: {error}") from None
        held = dict(fixed or {})
        if written is None:
            written = {key: value for key, value in known.search.items() if key not in held}
        if not written:
            raise SettingsError(
                f"{where}: nothing to search; '{name}' has no search space of its own, so name "
                "at least one parameter, e.g. {window: {low: 60, high: 500}}"
            )
        dimensions = []
        for key, value in sorted(written.items()):
            if key in held:
                raise SettingsError(f"{where}.{key}: the parameter is fixed; search or fix it")
            if key not in known.settings.model_fields:
                near = suggestion(key, list(known.settings.model_fields))
                raise SettingsError(f"{where}: '{name}' has no parameter '{key}'{near}")
            dimensions.append((key, _dimension(value, f"{where}.{key}")))
        space = cls(name, tuple(sorted(held.items())), tuple(dimensions))
        space._check_examples(where)
        return space

    def _check_examples(self, where: str) -> None:
        """Refuse a value that the family's settings do not accept beside the fixed ones."""
        device = self.default.device
        for key, dimension in self.dimensions:
            for value in dimension.examples:
                written = {"name": self.family, **dict(self.fixed), key: value}
                spec = ForecasterSpec.parse(written, where=f"{where}.{key}")
                if spec.device != device:
                    raise SettingsError(
                        f"{where}.{key}: {value!r} needs a {spec.device} and the default a "
                        f"{device}; a search runs on one kind of device, so fix {key}"
                    )

    @property
    def n_configurations(self) -> float:
        """How many configurations there are; infinite where a float has no step."""
        return prod(dimension.n_values for _, dimension in self.dimensions)

    def configurations(self) -> Iterator[dict[str, Any]]:
        """Yield every configuration as a study stores it; of a finite space alone."""
        keys = [key for key, _ in self.dimensions]
        for values in product(*(dimension.stored_values() for _, dimension in self.dimensions)):
            yield dict(zip(keys, values, strict=True))

    @property
    def default(self) -> ForecasterSpec:
        """The configuration that is used without a search: the defaults beside what is fixed."""
        return ForecasterSpec.parse({"name": self.family, **dict(self.fixed)})

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """Return the space in Optuna's terms, by parameter."""
        return {key: dimension.distribution() for key, dimension in self.dimensions}

    def spec(self, stored: Mapping[str, Any]) -> ForecasterSpec:
        """Return the spec of a trial's parameters, as its study stores them.

        Raises
        ------
        SettingsError
            If the family's settings do not accept them together.
        """
        chosen = {key: dimension.decoded(stored[key]) for key, dimension in self.dimensions}
        return ForecasterSpec.parse({"name": self.family, **dict(self.fixed), **chosen})

    def stored(self, spec: ForecasterSpec) -> dict[str, Any] | None:
        """Return the parameters of ``spec`` as a study stores them; None outside the space."""
        params = dict(spec.params)
        found = {
            key: dimension.stored(params[key])
            for key, dimension in self.dimensions
            if dimension.holds(params[key])
        }
        return found if len(found) == len(self.dimensions) else None

    def as_json(self) -> dict[str, Any]:
        """Return the space as it would be written."""
        searched = {
            key: dimension.model_dump(mode="json", exclude_none=True)
            for key, dimension in self.dimensions
        }
        return {"family": self.family, "fixed": dict(self.fixed), "search": searched}


def _dimension(value: Any, where: str) -> Dimension:
    if not isinstance(value, Mapping):
        raise SettingsError(
            f"{where}: was {value!r}; write {{low: ..., high: ...}} or {{choices: [...]}}"
        )
    if "choices" in value:
        return parse(Choices, value, where=where)
    return parse(Range, value, where=where)


def _stored(choice: Any) -> Any:
    """Return a choice as a study keeps it: lists and mappings as JSON."""
    return json.dumps(choice) if isinstance(choice, list | tuple | dict) else choice


def _same(left: Any, right: Any) -> bool:
    """Return whether two stored values are one; 1 and true are not."""
    return type(left) is type(right) and left == right
