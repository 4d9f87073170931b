"""How long a change of flags takes to reach every replica, under load and without a failed request.

    python -m benchmarks.flag_toggles [--quick] [--json PATH] [--check]

``llm_only`` is switched on and off at least a hundred times (``--quick``: 20) over HTTP, while
others ask for signals at a steady rate. A change has arrived everywhere once no request that is
sent later is answered under the flags before it; its time runs from when the change was asked for.
Half-way the head's dashboard process is killed: flags travel through the ledger, not through Serve.
"""

import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from benchmarks.measuring import Promise, conclude, options, print_table
from benchmarks.service.load import Answer, Connection
from benchmarks.service.stage import Staged, free_port, serving, stage

ALLOWED_S = 2.0
"""99 of 100 changes are everywhere within it."""

RATE = 40.0
"""Requests a second beside the changes."""

SETTLE_S = 0.7
"""Seconds between two changes, longer than one takes."""

_VERSION = re.compile(rb'"flags_version":(\d+)')


@dataclass(frozen=True, slots=True)
class Change:
    """One change: its version, and when it was asked for and confirmed (monotonic)."""

    version: int
    asked_s: float
    confirmed_s: float
    dashboard: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and judge; return the exit code."""
    asked = options(__doc__, arguments)
    n = 20 if asked.quick else 120
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        staged = stage(Path(folder))
        with serving(staged, port=port, dashboard=True):
            changes, answers = asyncio.run(_measure(port, staged, n))
    rows = [_row(name, changes, answers, dashboard) for name, dashboard in PARTS]
    print_table(f"{len(changes)} changes at {RATE:.0f} requests a second", rows)
    spans = [arrival_s(change, answers) for change in changes]
    figures = {
        "n_changes": len(changes),
        "n_requests": len(answers),
        "n_failed": sum(answer.status != 200 or answer.repeated for answer in answers),
        "replicas": len({answer.replica for answer in answers if answer.replica}),
        "p50_s": float(np.quantile(spans, 0.5)),
        "p99_s": float(np.quantile(spans, 0.99)),
        "max_s": max(spans),
        "without_dashboard": sum(not change.dashboard for change in changes),
    }
    promises = [
        Promise("p99 until a change is everywhere, s", figures["p99_s"], ALLOWED_S, "<="),
        Promise("requests that failed meanwhile", figures["n_failed"], 0, "<="),
        Promise("replicas that answered", figures["replicas"], 2, ">="),
        Promise("changes", figures["n_changes"], 20 if asked.quick else 100, ">="),
    ]
    return conclude(asked, figures, promises)


PARTS = (("dashboard up", True), ("dashboard killed", False))


def arrival_s(change: Change, answers: Sequence[Answer]) -> float:
    """Return the seconds from asking for a change until requests were answered under it alone.

    It has arrived no earlier than it was confirmed.
    """
    old = [
        answer.sent_s
        for answer in answers
        if answer.sent_s >= change.asked_s and 0 <= version_of(answer) < change.version
    ]
    return max([change.confirmed_s, *old]) - change.asked_s


def version_of(answer: Answer) -> int:
    """Return the version of the flags in an answer; -1 where there is none."""
    found = _VERSION.search(answer.body)
    return -1 if found is None else int(found[1])


async def _measure(port: int, staged: Staged, n: int) -> tuple[list[Change], list[Answer]]:
    answers: list[Answer] = []
    done = asyncio.Event()
    headers = {"Authorization": f"Bearer {staged.readers[0]}"}

    async def ask(start: float) -> None:
        connection = Connection("127.0.0.1", port, headers)
        due_s = time.perf_counter() + start
        while not done.is_set():
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            path = "/v1/signals/AAPL"
            answers.append(await connection.get(path, due_s=due_s, keep=True))
            due_s += 8 / RATE
        connection.close()

    asking = [asyncio.create_task(ask(k / RATE)) for k in range(8)]
    changes: list[Change] = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30.0) as client:
        client.headers["Authorization"] = f"Bearer {staged.admin}"
        await asyncio.sleep(1.0)
        for k in range(n):
            if k == n // 2:
                _kill_dashboard()
            changes.append(await _change(client, k, dashboard=k < n // 2))
            await asyncio.sleep(SETTLE_S)
    done.set()
    await asyncio.gather(*asking)
    return changes, answers


async def _change(client: httpx.AsyncClient, k: int, *, dashboard: bool) -> Change:
    body = {"changes": {"llm_only": k % 2 == 0}, "reason": f"toggle {k}"}
    asked_s = time.perf_counter()
    answer = await client.put("/v1/flags", json=body)
    confirmed_s = time.perf_counter()
    answer.raise_for_status()
    return Change(int(answer.json()["version"]), asked_s, confirmed_s, dashboard)


def _kill_dashboard() -> None:
    """Kill the dashboard of the cluster that this process started."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if (
            any(word.endswith(b"dashboard/dashboard.py") for word in words)
            and int(parent) == os.getpid()
        ):
            os.kill(int(process.name), signal.SIGKILL)
            return
    raise RuntimeError("found no dashboard to kill")


def _row(
    name: str, changes: Sequence[Change], answers: Sequence[Answer], dashboard: bool
) -> dict[str, object]:
    part = [change for change in changes if change.dashboard == dashboard]
    spans = [arrival_s(change, answers) for change in part]
    return {
        "part": name,
        "changes": len(part),
        "p50, s": float(np.quantile(spans, 0.5)),
        "p99, s": float(np.quantile(spans, 0.99)),
        "longest, s": max(spans),
    }


if __name__ == "__main__":
    sys.exit(main())
