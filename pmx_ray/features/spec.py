"""The language of features: what a settings file may write, checked when it is read."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Discriminator, Tag

from pmx_ray.config import Settings, suggestion
from pmx_ray.errors import SettingsError
from pmx_ray.features.calendar_effects import CalendarEffects
from pmx_ray.features.column import FeatureKind
from pmx_ray.features.cross_section import CrossSection
from pmx_ray.features.exogenous import feature
from pmx_ray.features.moments import RollingMoment, RollingQuantile
from pmx_ray.features.returns import AbsoluteReturn, Difference, FractionalDifference, ReturnLag
from pmx_ray.features.seasonal import Seasonal
from pmx_ray.features.volatility import Volatility

KINDS: tuple[type[FeatureKind], ...] = (
    ReturnLag,
    AbsoluteReturn,
    Difference,
    FractionalDifference,
    RollingMoment,
    RollingQuantile,
    Volatility,
    Seasonal,
    CalendarEffects,
    CrossSection,
)
"""Every kind of feature."""

_NAMES = [str(kind.model_fields["kind"].default) for kind in KINDS]


def _tag(value: object) -> str | None:
    if isinstance(value, str):
        return "name"
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) else None


def _known(value: Any) -> Any:
    """Return what was written if its name or kind is one, or say which is near."""
    if isinstance(value, str):
        feature(value)
        return value
    kind = _tag(value)
    if kind is None:
        raise SettingsError(
            "a feature is a name such as monday, or a mapping with a kind such as "
            "{kind: return_lag, lags: [0, 1]}"
        )
    if kind not in _NAMES:
        raise SettingsError(f"unknown feature kind '{kind}'{suggestion(kind, _NAMES)}")
    return value


FeatureSpec: TypeAlias = Annotated[
    Annotated[str, Tag("name")]
    | Annotated[ReturnLag, Tag("return_lag")]
    | Annotated[AbsoluteReturn, Tag("absolute_return")]
    | Annotated[Difference, Tag("difference")]
    | Annotated[FractionalDifference, Tag("fractional_difference")]
    | Annotated[RollingMoment, Tag("rolling_moment")]
    | Annotated[RollingQuantile, Tag("rolling_quantile")]
    | Annotated[Volatility, Tag("volatility")]
    | Annotated[Seasonal, Tag("seasonal")]
    | Annotated[CalendarEffects, Tag("calendar")]
    | Annotated[CrossSection, Tag("cross_section")],
    Discriminator(_tag),
    BeforeValidator(_known),
]
"""One entry of a list of features: a name of ``exogenous.FEATURES``, or a mapping with a kind."""


class FeatureSettings(Settings):
    """A list of features.

    Attributes
    ----------
    features : tuple of FeatureSpec
        Names and kinds.
    """

    features: tuple[FeatureSpec, ...]
