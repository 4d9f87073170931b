"""The signal service under load, beside a Serve application that does nothing.

    python -m benchmarks.serve_load [--quick] [--json PATH] [--check] [--haproxy]

Both stand on one Serve instance, two replicas each. First they take turns: as fast as answers come
on 16 connections (throughput). Then both are asked at once, each at half of a steady rate, which is
``RATED`` of what the no-op manages (latency from when a request was due): on a small machine every
p99 is made by moments in which the machine stood still, and these must fall on both. Quantiles are
of all answers of a side, and intervals of drawing the turns again; the quick mode, whose turns are
few, is judged by the better end of the interval.

Then one caller asks for several times its allowance, and must be refused at once. At last so many
callers come at once that Serve's own proxy is the bottleneck; what they get is shown and not
judged. ``--haproxy`` runs the same behind Ray's HAProxy profile, which opens
ports of its own on every interface.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import Promise, conclude, options, print_table
from benchmarks.service.load import Load, closed_loop, steady
from benchmarks.service.stage import Staged, free_port, serving, stage

RATED = 0.5
"""Rated load, as a share of the no-op's throughput on 16 connections."""

CONNECTIONS = 16
ALLOWED = {
    False: {"requests_per_s": 30.0, "burst": 60},
    True: {"requests_per_s": 120.0, "burst": 240},
}
"""Of one caller at one replica, by whether HAProxy stands in front; eight together may more."""

GREED = 0.5
"""Rate of the greedy caller, as a share of the no-op's throughput."""

CROWD = 600
"""Callers at once."""

WITHIN = 1.15
"""The service's p99 over the no-op's; the inverse for throughput."""

REFUSED_MS = 100.0
"""Time in which an overloaded service must say so."""


N_DRAWS = 1000
"""Draws of the pairs of turns, for an interval."""


@dataclass(frozen=True, slots=True)
class Size:
    """How long everything is measured: turns, seconds of each, and of what comes after them."""

    turns: int
    seconds: float
    overload_s: float


FULL, QUICK = Size(20, 3.0, 10.0), Size(3, 2.0, 3.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and judge; return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    haproxy = "--haproxy" in words
    asked = options(__doc__, [word for word in words if word != "--haproxy"])
    if haproxy:
        os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "1"
    size = QUICK if asked.quick else FULL
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        staged = stage(Path(folder))
        with serving(staged, port=port, admission=ALLOWED[haproxy]):
            _add_noop()
            figures = asyncio.run(_measure(port, staged, size))
    figures["proxy"] = "HAProxy" if haproxy else "default"
    throughput, p99 = figures["judged"]
    promises = [
        Promise(
            "throughput, 16 connections, over the no-op's", throughput, 1 / WITHIN, ">="
        ),
        Promise("p99 at the rated load over the no-op's", p99, WITHIN, "<="),
        Promise("answers other than 2xx so far", figures["n_bad"], 0, "<="),
        Promise("requests sent twice", figures["n_repeated"], 0, "<="),
        Promise(
            "p99 of refusing a caller beyond its allowance, ms",
            figures["refused_ms"],
            REFUSED_MS,
            "<=",
        ),
    ]  # fmt: skip
    return conclude(asked, figures, promises)


async def _measure(port: int, staged: Staged, size: Size) -> dict[str, Any]:
    headers = [{"Authorization": f"Bearer {token}"} for token in staged.readers]
    paths = [f"/v1/signals/{ticker}" for ticker in await _tickers(port, headers)]
    sides = {"no-op": ["/noop/"], "signals": paths}

    async def fast(side: str) -> Load:
        return await closed_loop(
            "127.0.0.1", port, sides[side],
            connections=CONNECTIONS, seconds=size.seconds, headers=headers,
        )  # fmt: skip

    async def both(rate: float) -> dict[str, Load]:
        asked = (
            steady("127.0.0.1", port, paths, rate=rate / 2, seconds=size.seconds, headers=headers)
            for paths in sides.values()
        )
        return dict(zip(sides, await asyncio.gather(*asked), strict=True))

    for warm in sides.values():
        await closed_loop("127.0.0.1", port, warm, connections=4, seconds=1.0, headers=headers)
    quick = [{side: await fast(side) for side in _turn(sides, n)} for n in range(size.turns)]
    rate = RATED * statistics.median(loads["no-op"].rate for loads in quick)
    rated = [await both(rate) for _ in range(size.turns)]
    greedy = await steady(
        "127.0.0.1", port, paths, rate=rate / RATED * GREED, seconds=size.overload_s,
        headers=headers[:1],
    )  # fmt: skip
    crowd = await closed_loop(
        "127.0.0.1", port, paths, connections=CROWD, seconds=size.overload_s, headers=headers
    )
    print_table(
        f"as fast as answers come, {CONNECTIONS} connections",
        [_row(side, [loads[side] for loads in quick]) for side in sides],
    )
    print_table(
        f"at {rate:.0f} requests a second, half of them to each",
        [_row(side, [loads[side] for loads in rated]) for side in sides],
    )
    print_table(
        "more than is allowed, and more than Serve's proxy can take",
        [_refused("a greedy caller", greedy), _refused(f"{CROWD} callers at once", crowd)],
    )
    throughput, p99 = _compared(quick, _rate), _compared(rated, _p99_ms)
    print_table(
        "the service over the no-op",
        [
            {"of": what, "ratio": ratio.value, "low": ratio.low, "high": ratio.high}
            for what, ratio in (("throughput", throughput), ("p99 at the rated load", p99))
        ],
    )
    return {
        "rate": rate,
        "throughput_ratio": throughput.value,
        "throughput_interval": [throughput.low, throughput.high],
        "p99_ratio": p99.value,
        "p99_interval": [p99.low, p99.high],
        "judged": [throughput.high, p99.low] if size is QUICK else [throughput.value, p99.value],
        "n_bad": sum(loads["signals"].n_bad for loads in (*quick, *rated)),
        "n_repeated": sum(loads["signals"].n_repeated for loads in (*quick, *rated)),
        "refused_ms": _refusal_ms(greedy, 0.99),
        "greedy": {str(status): n for status, n in greedy.statuses.items()},
        "crowd": {str(status): n for status, n in crowd.statuses.items()},
        "throughput": {s: [loads[s].rate for loads in quick] for s in sides},
        "p99_ms": {s: [loads[s].latency_ms(0.99) for loads in rated] for s in sides},
        "p50_ms": {s: [loads[s].latency_ms(0.5) for loads in rated] for s in sides},
    }


async def _tickers(port: int, headers: list[dict[str, str]]) -> list[str]:
    load = await closed_loop(
        "127.0.0.1", port, ["/v1/tickers"],
        connections=1, seconds=0.05, headers=headers, keep=True,
    )  # fmt: skip
    found: list[str] = json.loads(load.answers[0].body)["tickers"]
    return found


@dataclass(frozen=True, slots=True)
class _Ratio:
    """The service over the no-op, and the 95 % interval over pairs of turns."""

    value: float
    low: float
    high: float


def _compared(pairs: Sequence[Mapping[str, Load]], of: Callable[[list[Load]], float]) -> _Ratio:
    def ratio(chosen: Sequence[Mapping[str, Load]]) -> float:
        return of([pair["signals"] for pair in chosen]) / of([pair["no-op"] for pair in chosen])

    rng = np.random.default_rng(0)
    draws = rng.integers(len(pairs), size=(N_DRAWS, len(pairs)))
    drawn = [ratio([pairs[n] for n in draw]) for draw in draws]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return _Ratio(ratio(pairs), float(low), float(high))


def _rate(loads: list[Load]) -> float:
    return sum(len(load.answers) - load.n_bad for load in loads) / sum(
        load.wall_s for load in loads
    )


def _quantile_ms(loads: list[Load], q: float) -> float:
    waits = np.concatenate([load.waits_ms for load in loads])
    return float(np.quantile(waits, q)) if len(waits) else float("nan")


def _p99_ms(loads: list[Load]) -> float:
    return _quantile_ms(loads, 0.99)


def _turn(sides: dict[str, list[str]], n: int) -> list[str]:
    """Return the sides in an order that changes, so that neither always comes first."""
    names = list(sides)
    return names if n % 2 == 0 else names[::-1]


def _row(side: str, loads: list[Load]) -> dict[str, object]:
    return {
        "side": side,
        "answers": sum(len(load.answers) for load in loads),
        "answers/s": _rate(loads),
        "p50, ms": _quantile_ms(loads, 0.5),
        "p90, ms": _quantile_ms(loads, 0.9),
        "p99, ms": _p99_ms(loads),
        "not 2xx": sum(load.n_bad for load in loads),
    }


def _refused(who: str, load: Load) -> dict[str, object]:
    return {
        "who": who,
        "answers": len(load.answers),
        "by status": str(load.statuses),
        "p99 of 2xx, ms": load.latency_ms(0.99),
        "p99 of refusals, ms": _refusal_ms(load, 0.99),
    }


def _refusal_ms(load: Load, q: float) -> float:
    """Return a quantile of the latency of answers 429 and 503, milliseconds; NaN without any."""
    waits = [(a.done_s - a.due_s) * 1e3 for a in load.answers if a.status in {429, 503}]
    return float(np.quantile(waits, q)) if waits else float("nan")


def _add_noop() -> None:
    from ray import serve  # noqa: PLC0415 - after the token

    from serve_apps.noop import build  # noqa: PLC0415

    serve.run(build({}), name="noop", route_prefix="/noop", blocking=False)


if __name__ == "__main__":
    sys.exit(main())
