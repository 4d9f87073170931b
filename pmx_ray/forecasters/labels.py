"""Parameters as a label has them: lists, settings within settings, specs within specs."""

from collections.abc import Mapping
from enum import Enum
from typing import Protocol, runtime_checkable

from pmx_ray.config import Settings


@runtime_checkable
class Labelled(Protocol):
    """What has a label of its own, as a spec has."""

    @property
    def label(self) -> str:
        """Its label."""
        ...


def short(value: object) -> str:
    """Return a parameter as a label has it: readable, and another for another value.

    Examples
    --------
    >>> short((1, 1, 1)), short({"choices": ((0, 1), (1, 1))})
    ('1-1-1', '(choices=0-1+1-1)')
    """
    match value:
        case Settings():
            return _settings(value)
        case Labelled():
            return value.label
        case Mapping():
            return f"({', '.join(f'{key}={short(item)}' for key, item in value.items())})"
        case list() | tuple():
            flat = all(isinstance(item, str | int | float | None) for item in value)
            return ("-" if flat else "+").join(short(item) for item in value)
        case Enum():
            return str(value.value)
        case _:
            return str(value)


def _settings(value: Settings) -> str:
    """Return settings inside settings as ``kind(parameter=value)``, less what is the default."""
    fields = type(value).model_fields
    changed = [
        f"{key}={short(getattr(value, key))}"
        for key, field in fields.items()
        if key != "kind" and getattr(value, key) != field.get_default(call_default_factory=True)
    ]
    kind = str(getattr(value, "kind", ""))
    return f"{kind}({', '.join(changed)})" if changed or not kind else kind
