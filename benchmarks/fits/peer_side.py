"""The side of statsforecast: runs in an environment that has it, and nothing of this project.

The argument is a file of log prices, (W, T). Each line of standard input is a request::

    {"order": [1, 1, 1] or null, "stepwise": true, "windows": [0, 5], "steps": [1, 5, 20]}

where no order means AutoARIMA with p and q at most 3 and d = 1, and each line of standard output
an answer: processor seconds of fits and forecasts alone, orders, coefficients and means. What a
request of a kind compiles is compiled before its clock starts.
"""

import json
import sys
import time
import warnings
from typing import Any

import numpy as np
from statsforecast.models import ARIMA, AutoARIMA  # type: ignore[import-not-found]


def fitted(levels: Any, request: dict[str, Any]) -> tuple[dict[str, Any], list[float]]:
    """Return a fitted model and its means at the steps asked for."""
    if request["order"] is None:
        model = AutoARIMA(
            d=1, max_p=3, max_q=3, max_order=6, seasonal=False, stepwise=request["stepwise"]
        )
    else:
        model = ARIMA(order=tuple(request["order"]), season_length=1)
    model.fit(levels)
    steps = request["steps"]
    mean = model.predict(steps[-1])["mean"]
    return model.model_, [float(mean[step - 1]) for step in steps]


def described(model: dict[str, Any], mean: list[float], last: float) -> dict[str, Any]:
    """Return order, coefficients and changes from the last level of one fit."""
    p, q = model["arma"][:2]
    coefficients = {name: float(value) for name, value in model["coef"].items()}
    return {
        "order": [int(p), int(q)],
        "ar": [coefficients.get(f"ar{i + 1}", 0.0) for i in range(p)],
        "ma": [coefficients.get(f"ma{i + 1}", 0.0) for i in range(q)],
        "drift": coefficients.get("drift"),
        "change": [value - last for value in mean],
    }


def main() -> None:
    """Answer requests until the input ends."""
    warnings.simplefilter("ignore")
    windows = np.load(sys.argv[1])
    warm: set[str] = set()
    for line in sys.stdin:
        request = json.loads(line)
        kind = json.dumps([request["order"], request["stepwise"]])
        if kind not in warm:
            fitted(windows[request["windows"][0]], request)
            warm.add(kind)
        started = time.process_time()
        found = [fitted(windows[n], request) for n in request["windows"]]
        spent = time.process_time() - started
        fits = [
            described(model, mean, float(windows[n, -1]))
            for n, (model, mean) in zip(request["windows"], found, strict=True)
        ]
        print(json.dumps({"cpu_s": spent, "fits": fits}), flush=True)


if __name__ == "__main__":
    main()
