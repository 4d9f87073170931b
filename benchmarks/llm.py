"""Language model: seconds of a signal with the real model, and tokens of the two prompts.

Starts the server of this project with SmolLM2 and asks it about bundled prices, one question at a
time and two at a time, without a cache. The seconds are a caller's, from question to parsed answer;
on a busy machine they say how busy it is, so ``uptime`` stands beside them.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date

import numpy as np

from benchmarks.measuring import Promise, conclude, options, print_table
from pmx_ray.clock import utc_now
from pmx_ray.data.bundled import BundledSettings
from pmx_ray.data.sources import load_panel
from pmx_ray.llm.adviser import Advice, Adviser
from pmx_ray.llm.prompts import Style
from pmx_ray.llm.question import Question
from pmx_ray.llm.settings import LlmSettings

PROMISED_P99_S = 5.0
"""Most seconds of a signal at the 99th percentile, on two cores that do nothing else."""

PROMISED_TOKENS = 0.5
"""Most tokens of the compact prompt, as a share of the plain one's."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Answers under one setting."""

    style: str
    at_once: int
    asked: int
    usable: int
    prompt_tokens: float
    output_tokens: float
    p50_s: float
    p99_s: float
    longest_s: float


@contextmanager
def server() -> Iterator[str]:
    """Yield the address of a server of this project on a free port."""
    command = [sys.executable, "-m", "pmx_ray.llm.local", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = process.stdout.readline() if process.stdout else ""
            address = re.search(r"http://\S+", said)
            if address is None:
                raise SystemExit("the model server did not start; see what it says above")
            yield address[0]
        finally:
            process.terminate()


def questions(n: int) -> list[Question]:
    """Return ``n`` questions on the bundled prices: 20 tickers by turns, cutoffs a month apart."""
    panel, _ = load_panel(BundledSettings(start=date(2020, 1, 1)), clock=utc_now, threshold=0.9)
    days: list[date] = panel.sessions.astype(object).tolist()
    asked = []
    for number in range(n):
        ticker, end = number % len(panel.tickers), len(days) - 21 * (number // 20)
        close = panel.close[ticker, end - 20 : end]
        asked.append(
            Question(
                ticker=panel.tickers[ticker],
                sessions=tuple(days[end - 20 : end]),
                closes=tuple(float(price) for price in close),
                step=5,
            )
        )
    return asked


def read(host: str, style: Style, *, at_once: int, n: int) -> Reading:
    """Ask ``n`` questions and return how it went; the first, unmeasured one warms the server up."""
    settings = LlmSettings(
        host=host, style=style, n_parallel=at_once, cache_entries=0, timeout_s=120.0
    )
    adviser = Adviser.of(settings)
    adviser.ask_many(questions(1))
    started = time.perf_counter()
    answers = adviser.ask_many(questions(n))
    whole_s = time.perf_counter() - started
    adviser.close()
    exchanges = [answer.exchange for answer in answers if answer.exchange is not None]
    seconds = [exchange.seconds for exchange in exchanges] or [whole_s]
    return Reading(
        style=style.value,
        at_once=at_once,
        asked=n,
        usable=sum(isinstance(answer, Advice) for answer in answers),
        prompt_tokens=float(np.mean([exchange.prompt_tokens for exchange in exchanges])),
        output_tokens=float(np.mean([exchange.output_tokens for exchange in exchanges])),
        p50_s=float(np.quantile(seconds, 0.5)),
        p99_s=float(np.quantile(seconds, 0.99)),
        longest_s=max(seconds),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Read each setting, print it, and return 1 if ``--check`` finds a promise missed."""
    asked = options(__doc__, arguments)
    n = 10 if asked.quick else 100
    before = os.getloadavg()[0]
    with server() as host:
        alone = read(host, Style.COMPACT, at_once=1, n=n)
        pair = read(host, Style.COMPACT, at_once=2, n=n)
        plain = read(host, Style.PLAIN, at_once=1, n=5 if asked.quick else 20)
    readings = [asdict(reading) for reading in (alone, pair, plain)]
    print_table(f"answers of the real model; load before it {before:.1f}", readings)
    promises = [
        Promise("p99 of a signal, s, one at a time", alone.p99_s, PROMISED_P99_S, "<="),
        Promise("p99 of a signal, s, two at a time", pair.p99_s, PROMISED_P99_S, "<="),
        Promise(
            "compact prompt, tokens over the plain one's",
            alone.prompt_tokens / plain.prompt_tokens,
            PROMISED_TOKENS,
            "<=",
        ),
        Promise("usable answers, share", alone.usable / alone.asked, 0.99, ">="),
    ]
    return conclude(asked, {"load_before": before, "readings": readings}, promises)


if __name__ == "__main__":
    sys.exit(main())
