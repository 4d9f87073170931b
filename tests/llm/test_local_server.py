"""The local model server, as a process, under the unmodified client and under bad ones."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

import httpx
import ollama
import psutil
import pytest
from model_server import MODEL, ModelServer, needs_model, running_model

from pmx_ray.llm.answer import ANSWER_SCHEMA, parse_answer
from pmx_ray.llm.prompts import Style, worded
from pmx_ray.llm.question import Question

pytestmark = needs_model

QUICK = {"temperature": 0, "num_predict": 64}


@pytest.fixture
def client(model_host: str) -> Iterator[ollama.Client]:
    with ollama.Client(host=model_host, timeout=60) as client:
        yield client


def test_list_show_ps_when_asked_then_the_client_understands(client: ollama.Client) -> None:
    (row,) = client.list().models
    assert row.model == MODEL
    assert row.digest is not None
    assert len(row.digest) == 64
    assert row.size == 98_362_432
    assert client.show(MODEL).capabilities == ["completion"]
    assert client.ps().models[0].digest == row.digest


def test_chat_when_held_to_schema_then_answer_parses_without_white_space(
    client: ollama.Client, questions: tuple[Question, ...]
) -> None:
    reply = client.chat(
        MODEL, messages=worded(questions[0]).messages(), format=dict(ANSWER_SCHEMA), options=QUICK
    )
    assert reply.done_reason == "stop"
    assert reply.message.content is not None
    assert " " not in reply.message.content
    parse_answer(reply.message.content)
    assert reply.eval_count is not None
    assert reply.eval_count <= 25


def test_prompt_when_compact_then_at_most_half_the_tokens_of_plain(
    client: ollama.Client, questions: tuple[Question, ...]
) -> None:
    counted = {
        style: client.chat(
            MODEL, messages=worded(questions[0], style=style).messages(), options={"num_predict": 1}
        ).prompt_eval_count
        for style in Style
    }
    compact, plain = counted[Style.COMPACT], counted[Style.PLAIN]
    assert compact is not None
    assert plain is not None
    assert 0 < 2 * compact <= plain


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "boolean"},
        {"const": "only this"},
        {"type": "integer", "minimum": 40, "maximum": 42},
        {"type": "string", "minLength": 2, "maxLength": 3},
        {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2, "maxItems": 2},
        {"anyOf": [{"const": 1}, {"const": 2}]},
        {"type": "object", "properties": {"n": {"type": "null"}}, "required": ["n"]},
    ],
)
def test_generate_when_schema_is_taken_then_it_holds(
    client: ollama.Client, schema: dict[str, object]
) -> None:
    # Every word that the server takes must bind: llama.cpp drops a grammar that it cannot read.
    written = json.loads(client.generate(MODEL, "Write.", format=schema, options=QUICK).response)
    holds = {
        "boolean": lambda: isinstance(written, bool),
        "integer": lambda: 40 <= written <= 42,
        "string": lambda: 2 <= len(written) <= 3,
        "array": lambda: len(written) == 2 and set(written) <= {"x", "y"},
        "object": lambda: written == {"n": None},
        None: lambda: written in ("only this", 1, 2),
    }
    assert holds[schema.get("type")]()  # type: ignore[index]


def test_generate_when_streamed_then_pieces_add_up_and_length_is_told(
    client: ollama.Client,
) -> None:
    whole = client.generate(MODEL, "Count.", options={"temperature": 0, "num_predict": 6})
    parts = list(
        client.generate(MODEL, "Count.", stream=True, options={"temperature": 0, "num_predict": 6})
    )
    assert "".join(part.response for part in parts) == whole.response
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].done_reason == whole.done_reason == "length"
    assert parts[-1].eval_count == 6


def test_chat_when_no_messages_then_loaded(client: ollama.Client) -> None:
    assert client.chat(MODEL).done_reason == "load"


@pytest.mark.parametrize(
    ("call", "status", "says"),
    [
        (lambda c: c.chat("nope", messages=[]), 404, "model 'nope' not found"),
        (lambda c: c.show("nope"), 404, "model 'nope' not found"),
        (lambda c: c.generate(MODEL, "x", format={"type": "nope"}), 400, "type must be one of"),
        (lambda c: c.generate(MODEL, "x " * 4000), 400, "exceeds the available context"),
        (lambda c: list(c.generate(MODEL, "x " * 4000, stream=True)), 400, "exceeds the available"),
        (lambda c: c.generate(MODEL, "x", options={"temperature": -1}), 400, "options.temperature"),
        (lambda c: c.generate(MODEL, "x", suffix="y"), 400, "suffix"),
        (lambda c: c.pull("x"), 404, "Not Found"),
    ],
)
def test_client_when_it_asks_for_what_is_not_then_status_and_reason(
    client: ollama.Client, call: object, status: int, says: str
) -> None:
    with pytest.raises(ollama.ResponseError, match=says) as caught:
        call(client)  # type: ignore[operator]
    assert caught.value.status_code == status


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/show"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, 400),
        (b"\xff\xfe\x00", 400),
        (b'{"model":5}', 400),
        (b'{"model":null}', 400),
        (b'{"model":"\\ud800"}', 400),
        (b'{"model":"../../x"}', 404),
        (b"x" * 1_100_000, 413),
    ],
)
def test_body_when_bad_then_refused_with_one_line(
    model_host: str, path: str, body: bytes, status: int
) -> None:
    reply = httpx.post(model_host + path, content=body)
    assert reply.status_code == status
    assert list(reply.json()) == ["error"]


@pytest.mark.parametrize(
    "change",
    [
        {"messages": "x"},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": 7}]},
        {"messages": [{"role": "user", "content": "\x00"}] * 101},
        {"stream": "yes"},
        {"format": 7},
        {"options": []},
        {"options": {"num_predict": "many"}},
        {"options": {"seed": 1e9}},
        {"options": {"top_p": 2}},
        {"options": {"stop": 5}},
        {"tools": [{}]},
    ],
)
def test_chat_when_a_field_is_wrong_then_400(model_host: str, change: dict[str, object]) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "stream": False}
    reply = httpx.post(model_host + "/api/chat", json={**body, **change})
    assert (reply.status_code, list(reply.json())) == (400, ["error"])


def test_number_when_not_finite_then_400(model_host: str) -> None:
    body = f'{{"model":"{MODEL}","prompt":"x","options":{{"temperature":NaN}}}}'
    assert httpx.post(model_host + "/api/generate", content=body).status_code == 400


def test_host_when_a_page_uses_a_name_of_its_own_then_refused(model_host: str) -> None:
    assert httpx.get(model_host, headers={"host": "localhost"}).status_code == 200
    assert httpx.get(model_host, headers={"host": "rebound.example"}).status_code == 400


def test_prompt_when_it_holds_odd_text_then_answered(client: ollama.Client) -> None:
    for text in ("\x00", "\u202e" * 50, "🜚" * 50, "<|im_start|>system<|im_end|>"):
        assert client.generate(MODEL, text, options={"num_predict": 1}).done


ENDLESS = {
    "type": "array",
    "items": {"type": "integer", "minimum": 100_000, "maximum": 999_999},
    "minItems": 400,
    "maxItems": 400,
}
LONG = {"model": MODEL, "prompt": "Go.", "format": ENDLESS, "options": {"num_predict": 1000}}
SHORT = {"model": MODEL, "prompt": "Hi", "options": {"num_predict": 1}, "stream": False}


@pytest.fixture(scope="module")
def narrow() -> Iterator[ModelServer]:
    """A server that writes one answer at a time and lets one wait."""
    with running_model("--n-parallel", "1", "--max-waiting", "1") as server:
        yield server


def test_queue_when_full_then_503_at_once_and_who_waits_is_answered(narrow: ModelServer) -> None:
    url = narrow.host + "/api/generate"
    with ThreadPoolExecutor(4) as pool:
        with httpx.stream("POST", url, json=LONG, timeout=60) as writing:
            lines = writing.iter_lines()  # kept: dropping it would close the connection
            next(lines)
            rest = [pool.submit(httpx.post, url, json=SHORT, timeout=60) for _ in range(4)]
            done = as_completed(rest, timeout=60)
            refused = [next(done).result() for _ in range(3)]
            assert [reply.status_code for reply in refused] == [503] * 3
            assert "too many requests wait" in refused[0].json()["error"]
        assert next(done).result().status_code == 200


def test_client_when_it_goes_away_then_nobody_writes_on(narrow: ModelServer) -> None:
    url, process = narrow.host + "/api/generate", psutil.Process(narrow.process.pid)
    with ollama.Client(host=narrow.host, timeout=60) as client:
        client.generate(MODEL, "Hi", options={"num_predict": 1})
        before = process.cpu_times()
        for _ in range(3):
            with httpx.stream("POST", url, json=LONG, timeout=60) as writing:
                next(writing.iter_lines())
            with (
                contextlib.suppress(httpx.ReadTimeout),
                httpx.Client(timeout=httpx.Timeout(60, read=0.5)) as impatient,
            ):
                impatient.post(url, json={**LONG, "stream": False})
            client.generate(MODEL, "Hi", options={"num_predict": 1})
    used = process.cpu_times()
    # Six whole answers of 1000 tokens would take 200 s of computing.
    assert used.user - before.user < 40


def test_server_when_told_to_stop_while_it_writes_then_ends() -> None:
    with running_model("--n-parallel", "1") as server:
        with httpx.stream("POST", server.host + "/api/generate", json=LONG, timeout=60) as writing:
            lines = writing.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(httpx.TransportError):
                assert not json.loads(list(lines)[-1]).get("response")
        assert server.process.wait(timeout=60) in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--port", "70000"), "port was 70000"),
        (("--n-parallel", "0"), "n_parallel was 0"),
        (("--max-waiting", "-1"), "max_waiting was -1"),
    ],
)
def test_main_when_a_number_is_out_of_bounds_then_exit_2(
    options: tuple[str, ...], says: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pmx_ray.llm.local", *options],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, says in ended.stderr) == (2, True)


def test_main_when_port_is_taken_then_exit_2(narrow: ModelServer) -> None:
    port = narrow.host.rpartition(":")[2]
    ended = subprocess.run(
        [sys.executable, "-m", "pmx_ray.llm.local", "--port", port],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, "cannot be served" in ended.stderr) == (2, True)
