"""What the engines of the SARIMAX family share: settings, and which engine covers which."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pmx_ray.config import Settings
from pmx_ray.features.exogenous import features_of
from pmx_ray.features.spec import FeatureSpec
from pmx_ray.forecasters.order_search import MAX_D, MAX_SEASONAL, UnitRootTest
from pmx_ray.kernels.arma_likelihood import N_LAGS
from pmx_ray.kernels.arma_search import Search


class SarimaxSettings(Settings):
    """Settings of SARIMAX.

    Attributes
    ----------
    engine : str
        ``fast``, the project's own kernel: p and q at most 3, no season and no exogenous column.
        ``cuda``, the same kernel on a card; needs one.
        ``reference``, pmdarima and statsmodels: everything here but ``search: grid``.
    order : (p, d, q) or "auto"
        Ordinary order; ``auto`` searches it on every fit.
    max_p, max_q : int
        Highest orders searched.
    search : str
        ``stepwise``, or ``grid``: every order up to the highest.
    d : int or "auto"
        Ordinary differences of a searched order; ``auto`` asks ``unit_root_test``.
    unit_root_test : str
        ``kpss`` or ``adf``.
    seasonal_period : int, optional
        Sessions of a season; none by default.
    seasonal_order : (P, D, Q), optional
        Seasonal order; goes with an ``order`` that is given, and is searched otherwise.
    trend : str
        Constant in the differenced series: ``n`` none, ``c`` one (a drift at d = 1), ``auto`` one
        only where nothing is differenced.
    exog : tuple of FeatureSpec
        Features that explain the differenced series: names, or mappings with a kind.
    exog_lag : int
        Sessions by which features that are not known in advance are shifted; at least the longest
        step forecast.
    """

    engine: Literal["fast", "cuda", "reference"] = "fast"
    order: Literal["auto"] | tuple[int, int, int] = "auto"
    max_p: int = Field(default=3, ge=0, le=5)
    max_q: int = Field(default=3, ge=0, le=5)
    search: Search = "stepwise"
    d: Literal["auto"] | int = "auto"
    unit_root_test: UnitRootTest = "kpss"
    seasonal_period: int | None = Field(default=None, ge=2, le=63)
    seasonal_order: tuple[int, int, int] | None = None
    trend: Literal["auto", "n", "c"] = "auto"
    exog: tuple[FeatureSpec, ...] = ()
    exog_lag: int = Field(default=20, ge=1)

    @field_validator("exog")
    @classmethod
    def _of_one_ticker(cls, exog: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
        features_of(exog)
        for spec in exog:
            if not isinstance(spec, str) and spec.needs_other_tickers:
                raise ValueError(
                    f"a feature of kind {spec.kind} needs the other tickers, and sarimax sees one "
                    "at a time; leave it out"
                )
        return exog

    @model_validator(mode="after")
    def _orders_fit(self) -> Self:
        if self.d != "auto" and not 0 <= self.d <= MAX_D:
            raise ValueError(f"d was {self.d}; it must be 0 to {MAX_D} or auto")
        if self.order == "auto":
            if self.seasonal_order is not None:
                raise ValueError("seasonal_order needs an order; set order too, or leave both out")
            return self
        p, d, q = self.order
        if not (0 <= p <= 5 and 0 <= d <= MAX_D and 0 <= q <= 5):
            raise ValueError(f"order was {self.order}; p and q must be 0 to 5, d 0 to {MAX_D}")
        if self.d != "auto":
            raise ValueError(f"d was {self.d} beside order {self.order}; leave d out")
        if (self.seasonal_order is None) != (self.seasonal_period is None):
            raise ValueError("with an order, set both or none of seasonal_order, seasonal_period")
        if any(not 0 <= n <= MAX_SEASONAL for n in self.seasonal_order or ()):
            raise ValueError(
                f"seasonal_order was {self.seasonal_order}; each must be 0 to {MAX_SEASONAL}"
            )
        if self.seasonal_period is not None and max(p, q) >= self.seasonal_period:
            raise ValueError(
                f"order was {self.order}; p and q must be < seasonal_period {self.seasonal_period}"
            )
        return self

    @model_validator(mode="after")
    def _engine_covers(self) -> Self:
        if self.engine == "reference":
            if self.search == "grid":
                raise ValueError("search was grid; the reference engine searches stepwise")
            return self
        orders = (self.max_p, self.max_q) if self.order == "auto" else self.order[::2]
        if max(orders) > N_LAGS:
            beyond = f"p or q up to {max(orders)}"
        elif self.seasonal_period is not None:
            beyond = "seasonal_period"
        elif self.exog:
            beyond = "exog"
        else:
            return self
        raise ValueError(f"engine {self.engine} does not cover {beyond}; use engine: reference")
