"""The first forecast of every spec of the demo in a fresh process; prints its processor seconds.

    python -m benchmarks.fits.first_forecast

Counted apart: importing the package, reading the prices, and the forecasts of one fold, spec by
spec. The last hold what is compiled and what is imported only once a fit needs it.
"""

import json
import sys
import time

STARTED = time.process_time()


def main() -> int:
    """Forecast, and print where the seconds went."""
    import numpy as np  # noqa: PLC0415 - imports are what is counted

    from benchmarks.fits.windows import ROOT, demo_folds  # noqa: PLC0415
    from pmx_ray.backtest.settings import SweepSettings  # noqa: PLC0415
    from pmx_ray.config import parse, read_yaml  # noqa: PLC0415
    from pmx_ray.forecasters.batch import forecast_folds  # noqa: PLC0415

    path = ROOT / "configs" / "sweep" / "demo.yaml"
    specs = parse(SweepSettings, read_yaml(path), where=str(path)).specs()
    forecasters = {spec.label: spec.build() for spec in specs}
    imported = time.process_time()
    panel, plan = demo_folds(1)
    read = time.process_time()
    one = panel.select(panel.tickers[:1])
    spent: dict[str, float] = {}
    for label, forecaster in forecasters.items():
        began = time.process_time()
        tickers = one if forecaster.scope == "ticker" else panel
        forecast_folds(forecaster, tickers, plan, lambda _: np.random.default_rng(0))
        spent[label] = time.process_time() - began
    document = {
        "start_s": STARTED,
        "imports_s": imported - STARTED,
        "prices_s": read - imported,
        "forecasts_s": sum(spent.values()),
        "total_s": time.process_time(),
        "specs": spent,
    }
    print(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
