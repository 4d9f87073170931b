"""Kill the driver, submit a job: the command against real processes and a real cluster."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PMX = Path(sys.executable).with_name("pmx")
RAY = Path(sys.executable).with_name("ray")
SETTINGS: dict[str, object] = {
    "name": "drill",
    "panel": {
        "source": "simulated", "kind": "garch", "n_tickers": 4, "n_sessions": 330, "seed": 1,
    },
    "folds": {"input_size": 90, "step_size": 10, "steps": [1, 5], "refit_every": 4},
    "forecasters": [{"name": "busy"}, {"name": "drift"}, {"name": "samossa"}],
    "evaluation": {"n_resamples": 100},
    "execution": {"workers": 2, "folds_per_block": 4, "tickers_per_block": 1},
    "plugins": ["odd_forecasters"],
}  # fmt: skip


def until(condition: "object", what: str, *, deadline_s: float = 180.0) -> None:
    """Wait for a condition; fail if it does not come true in time."""
    pause = Event()
    for _ in range(int(deadline_s / 0.02)):
        if condition():  # type: ignore[operator]
            return
        pause.wait(0.02)
    pytest.fail(f"{what} did not happen within {deadline_s:g} s")


def command(folder: Path, *words: str) -> subprocess.Popen[str]:
    (folder / "sweep.yaml").write_text(yaml.safe_dump(SETTINGS))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    for name in ("RAY_ADDRESS", "PMX_HOME"):
        environment.pop(name, None)
    return subprocess.Popen(
        [PMX, "sweep", "sweep.yaml", "--json", *words],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> list[dict[str, object]]:
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, out + err
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def forecast_hash(lines: list[dict[str, object]]) -> object:
    return next(line["forecast_sha256"] for line in lines if line["event"] == "evaluate")


@pytest.mark.drill
def test_sweep_when_the_driver_is_killed_then_the_same_command_goes_on_to_the_same_bytes(
    tmp_path: Path,
) -> None:
    (tmp_path / "whole").mkdir()
    whole = forecast_hash(finish(command(tmp_path / "whole", "--address", "in-process")))
    folder = tmp_path / "killed"
    folder.mkdir()
    lake = folder / "runs" / "lake"
    points = random.Random(11).sample(range(1, 40), 2)
    for blocks in sorted(points):
        process = command(folder)
        until(
            lambda n=blocks: len(list((lake / "blocks").rglob("*.json"))) >= n, f"{blocks} blocks"
        )
        os.killpg(process.pid, signal.SIGKILL)  # the driver and the whole local cluster
        process.communicate()
    lines = finish(command(folder))
    assert forecast_hash(lines) == whole
    (plan,) = [line for line in lines if line["event"] == "plan"]
    assert plan["cached"] >= max(points)  # nothing finished was computed again
    again = finish(command(folder))
    assert not [line for line in again if line["event"] == "progress"]


@pytest.mark.drill
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sweep_when_interrupted_then_one_line_exit_1_and_it_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = command(tmp_path, "--address", "in-process")
    lake = tmp_path / "runs" / "lake"
    until(lambda: len(list((lake / "blocks").rglob("*.json"))) >= 3, "3 blocks")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == "pmx: stopped; finished blocks are kept, the same command goes on\n"
    (plan,) = [
        line
        for line in finish(command(tmp_path, "--address", "in-process"))
        if line["event"] == "plan"
    ]
    assert plan["cached"] >= 3


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Start a head with dashboard and token as the README says; yield the environment to use it."""
    home = tmp_path_factory.mktemp("home")
    token = home / "token"
    token.write_text("7" * 64)
    token.chmod(0o600)
    gcs, dashboard, agent = (
        free_port(),
        free_port(),
        free_port(),
    )  # the agent's is fixed unless named
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("RAY_")},
        "HOME": str(home),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_raylet_start_wait_time_s": "120",
        "RAY_TMPDIR": f"/tmp/pmx-{gcs}",  # a socket path is at most 107 characters
    }
    subprocess.run(
        [RAY, "start", "--head", "--num-cpus=2", f"--port={gcs}", f"--dashboard-port={dashboard}",
         f"--dashboard-agent-listen-port={agent}",
         "--node-ip-address=127.0.0.1", f"--temp-dir=/tmp/pmx-{gcs}", "--disable-usage-stats"],
        env=environment, check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    environment["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
    yield environment
    kill_under(f"/tmp/pmx-{gcs}", str(gcs))


def free_port() -> int:
    """Return a free port outside the range that Ray's workers take."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kill_under(*marks: str) -> None:
    """End every process whose command line holds one of ``marks``: this head and no other."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if any(mark in line for mark in marks):
            os.kill(int(entry.name), signal.SIGKILL)


@pytest.mark.drill
def test_job_when_submitted_then_the_log_shows_progress_and_the_leaderboard(
    head: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({**SETTINGS, "plugins": [], "forecasters": [
        {"name": "drift"}, {"name": "samossa"},
    ]}))  # fmt: skip
    jobs: list[subprocess.CompletedProcess[str]] = []

    def taken() -> bool:  # the head answers before its job agent does
        jobs.append(subprocess.run(
            [RAY, "job", "submit", "--working-dir", str(tmp_path), "--",
             str(PMX), "sweep", "sweep.yaml", "--out", str(tmp_path / "results")],
            env=head, capture_output=True, text=True, timeout=280, check=False,
        ))  # fmt: skip
        return "No available agent" not in jobs[-1].stdout + jobs[-1].stderr

    until(taken, "a job agent")
    log = jobs[-1].stdout + jobs[-1].stderr
    assert jobs[-1].returncode == 0, log
    for text in ("run: block 0 of", "rows", "Step 1", "random_walk", "samossa", "succeeded"):
        assert text in log, log
    assert list((tmp_path / "results").glob("drill-*/report.html"))


@pytest.mark.drill
def test_cluster_when_the_token_is_missing_or_wrong_then_refused(
    head: dict[str, str], tmp_path: Path
) -> None:
    wrong = {**head, "RAY_AUTH_TOKEN": "8" * 64}
    wrong.pop("RAY_AUTH_TOKEN_PATH")
    answer = subprocess.run(
        [RAY, "job", "list"], env=wrong, capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.returncode != 0
    assert "403" in answer.stdout + answer.stderr or "token" in (answer.stdout + answer.stderr)
