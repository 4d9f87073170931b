"""The SARIMAX family: one model, three engines.

Two are the project's own kernel for ARIMA(p, d, q), on the processor (fast) or on a card (cuda):
``forecasters.arima``. The reference engine, ``forecasters.sarimax_reference``, has pmdarima search
the order and statsmodels estimate and filter, and covers seasons and exogenous columns.
"""

from pmx_ray.forecasters.arima import Arima, ArimaChoice
from pmx_ray.forecasters.protocol import Forecaster
from pmx_ray.forecasters.registry import Device, register
from pmx_ray.forecasters.sarimax_reference import Sarimax
from pmx_ray.forecasters.sarimax_settings import SarimaxSettings
from pmx_ray.provenance import FEATURES


def _libraries(settings: SarimaxSettings) -> tuple[str, ...]:
    if settings.engine == "reference":
        engine = ("exchange-calendars", "numpy", "pandas", "pmdarima", "scipy", "statsmodels")
        return (*engine, FEATURES) if settings.exog else engine
    asked = settings.order == "auto" and settings.d == "auto" and settings.unit_root_test == "adf"
    kernel = "cupy-cuda12x" if settings.engine == "cuda" else "numba"
    return (kernel, "numpy", "scipy", *(("pmdarima", "statsmodels") if asked else ()))


def _device(settings: SarimaxSettings) -> Device:
    return "gpu" if settings.engine == "cuda" else "cpu"


def _fit_s(settings: SarimaxSettings) -> float:
    if settings.engine == "reference":
        return 1.3 if settings.order == "auto" else 0.035
    return 2e-3 if settings.order == "auto" else 2e-4


@register(
    "sarimax",
    settings=SarimaxSettings,
    version="2",
    summary="ARIMA of log prices, order by AICc; seasons and features by the reference engine",
    libraries=_libraries,
    fit_s=_fit_s,
    extend_s=1e-4,
    device=_device,
    search={
        "order": {"choices": [[p, 1, q] for p in range(3) for q in range(3)]},
        "trend": {"choices": ["n", "c"]},
    },
)
def build_sarimax(settings: SarimaxSettings) -> Forecaster:
    """Return the forecaster of the engine that ``settings`` name."""
    if settings.engine == "reference":
        return Sarimax(settings)
    choice = ArimaChoice(
        order=None if settings.order == "auto" else settings.order,
        max_p=settings.max_p,
        max_q=settings.max_q,
        d=None if settings.d == "auto" else settings.d,
        test=settings.unit_root_test,
        trend=settings.trend,
        search=settings.search,
        engine=settings.engine,
    )
    return Arima(choice)
