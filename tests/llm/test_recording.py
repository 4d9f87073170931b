"""Recordings: what was kept is found again, and nothing else is taken for it."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pmx_ray.errors import LlmError
from pmx_ray.llm.recording import Exchange, Recorder, Recording

SAID = '{"action":"sell","bp":85,"confidence":60,"risk":"high"}'


def exchange(number: int, **change: object) -> Exchange:
    values = {
        "key": f"{number:064x}",
        "model": "m",
        "digest": "d",
        "style": "compact-1",
        "ticker": "KO",
        "cutoff": date(2022, 3, 4),
        "step": 5,
        "text": SAID,
        "done_reason": "stop",
        "prompt_tokens": 121,
        "output_tokens": 21,
        "seconds": 1.5,
        "recorded_at": datetime(2026, 3, 1, tzinfo=UTC),
    }
    return Exchange.model_validate({**values, **change})


def test_append_when_loaded_then_same_exchanges_in_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.jsonl"
    with Recorder(path) as recorder:
        assert recorder.append(exchange(2))
        assert recorder.append(exchange(1, text="line\nbreak \u2028 é", cutoff=None))
        assert recorder.replay(exchange(2).key) == exchange(2)
    recording = Recording.load(path)
    assert list(recording) == [exchange(2), exchange(1, text="line\nbreak \u2028 é", cutoff=None)]
    assert recording.replay(f"{7:064x}") is None
    assert exchange(2).assessment().expected_return_pct == -0.85


def test_append_when_key_is_there_then_first_answer_stays(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path) as recorder:
        recorder.append(exchange(1))
    with Recorder(path) as recorder:
        assert not recorder.append(exchange(1, text="another"))
        assert len(recorder) == 1
    assert [kept.text for kept in Recording.load(path)] == [SAID]


def test_load_when_hash_is_named_then_only_that_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path) as recorder:
        recorder.append(exchange(1))
    sha256 = Recording.load(path).sha256
    assert len(Recording.load(path, sha256=sha256)) == 1
    with Recorder(path) as recorder:
        recorder.append(exchange(2))
    with pytest.raises(LlmError, match="hashes to"):
        Recording.load(path, sha256=sha256)


def test_recorder_when_last_line_is_torn_then_cut_off_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path) as recorder:
        recorder.append(exchange(1))
    with path.open("ab") as file:
        file.write(b'{"key":"00')
    with pytest.raises(LlmError, match="last line is not whole"):
        Recording.load(path)
    with Recorder(path) as recorder:
        recorder.append(exchange(2))
    assert [kept.key for kept in Recording.load(path)] == [exchange(1).key, exchange(2).key]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"nonsense\n", "line 2: not an exchange"),
        (b"\n", "line 2"),
        (b"{}\n", "key: Field required"),
        (exchange(1).model_dump_json().encode() + b"\n", "is there already"),
        (exchange(3).model_dump_json().replace("1.5", "NaN").encode() + b"\n", "line 2"),
    ],
)
def test_load_when_a_line_is_wrong_then_it_is_named(tmp_path: Path, line: bytes, says: str) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path) as recorder:
        recorder.append(exchange(1))
    with path.open("ab") as file:
        file.write(line)
    for opening in (Recording.load, Recorder):
        with pytest.raises(LlmError, match=says):
            opening(path)


def test_load_when_there_is_no_file_then_error_names_it(tmp_path: Path) -> None:
    with pytest.raises(LlmError, match=r"none\.jsonl: recording cannot be read"):
        Recording.load(tmp_path / "none.jsonl")


def test_append_when_threads_share_it_then_every_line_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path) as recorder, ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(lambda n: recorder.append(exchange(n % 40)), range(120)))
    assert sum(kept) == 40
    assert len(Recording.load(path)) == 40


def _refusal(path: Path) -> str:
    try:
        Recorder(path).close()
    except LlmError as error:
        return str(error)
    return ""


def test_recorder_when_another_process_writes_then_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path), multiprocessing.get_context("spawn").Pool(1) as pool:
        assert "another process" in pool.apply(_refusal, (path,))
    assert _refusal(path) == ""


def test_append_when_closed_then_error_and_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    recorder = Recorder(path)
    recorder.append(exchange(1))
    recorder.close()
    with pytest.raises(LlmError, match="cannot be written"):
        recorder.append(exchange(2))
    assert len(Recording.load(path)) == 1
