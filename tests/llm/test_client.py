"""The client and the adviser: a real model, and servers that are dead, slow or talk garbage."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from model_server import MODEL, needs_model, odd_server, read_request, reply, running_model
from pydantic import ValidationError

from pmx_ray.errors import LlmError, SettingsError
from pmx_ray.llm.adviser import Advice, Adviser, LlmFailure
from pmx_ray.llm.breaker import BreakerSettings, Phase
from pmx_ray.llm.client import LlmClient
from pmx_ray.llm.question import Question
from pmx_ray.llm.recording import Recorder, Recording
from pmx_ray.llm.settings import LlmSettings, UseCase

GOOD = '{"action":"sell","bp":85,"confidence":60,"risk":"high"}'
DIGEST = "ab" * 32


def adviser(host: str, **change: object) -> Adviser:
    return Adviser.of(LlmSettings.model_validate({"host": host, **change}))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Settings that wait briefly and try once."""
    return {"timeout_s": 1.0, "connect_timeout_s": 1.0, "attempts": 1}


def chat(content: str = GOOD, **change: object) -> bytes:
    body = {"message": {"role": "assistant", "content": content}, "done": True}
    return json.dumps({**body, "done_reason": "stop", **change}).encode()


def listing() -> bytes:
    row = {"name": MODEL, "model": MODEL, "digest": DIGEST, "size": 1}
    return json.dumps({"models": [row]}).encode()


def answering(answer: Callable[[socket.socket, bytes], None]) -> Callable[[socket.socket], None]:
    """Return a server that lists the model and answers questions by ``answer``."""

    def behave(connection: socket.socket) -> None:
        request = read_request(connection)
        if b"/api/tags" in request:
            reply(connection, listing())
        elif request:
            answer(connection, request)

    return behave


@needs_model
def test_ask_many_when_real_model_then_advice_in_order_and_cached_next_time(
    model_host: str, questions: tuple[Question, ...]
) -> None:
    asked = adviser(model_host, timeout_s=120.0)
    answers = asked.ask_many(questions)
    assert [answer.question for answer in answers] == list(questions)
    for answer in answers:
        assert isinstance(answer, Advice)
        assert not answer.cached
        assert answer.exchange.ticker == answer.question.ticker
        assert len(answer.exchange.digest) == 64
        assert answer.exchange.output_tokens <= 25
    again = asked.ask_many(questions)
    assert [(a.assessment, a.cached) for a in again if isinstance(a, Advice)] == [
        (a.assessment, True) for a in answers if isinstance(a, Advice)
    ]
    asked.close()


@needs_model
def test_ask_when_recorded_then_replayed_without_a_call(
    model_host: str, questions: tuple[Question, ...], tmp_path: Path
) -> None:
    settings = LlmSettings(host=model_host, timeout_s=120.0)
    path = tmp_path / "r.jsonl"
    with Recorder(path) as recorder:
        first = Adviser.of(settings, use=UseCase.RESEARCH, recorder=recorder)
        said, asking = first.ask(questions[0]), first.asking()
        first.close()
    with Recorder(path) as recorder:
        second = Adviser.of(settings, use=UseCase.RESEARCH, recorder=recorder)
        again = second.ask(questions[0])
        second.close()
    assert again.cached
    assert again.exchange == said.exchange
    assert Recording.load(path).replay(asking.key(questions[0])) == said.exchange


@needs_model
def test_ask_when_server_is_killed_then_failure_and_breaker_opens_and_closes(
    questions: tuple[Question, ...],
) -> None:
    now_s = [0.0]
    with running_model() as server:
        port = server.host.rpartition(":")[2]
        settings = LlmSettings(
            host=server.host,
            attempts=1,
            timeout_s=120.0,
            breaker=BreakerSettings(n_failures=2, cool_down_s=10.0),
        )
        client = LlmClient(settings, now_s=lambda: now_s[0])
        asked = Adviser(client, settings)
        asked.ask(questions[0])
        server.process.kill()
        server.process.wait()
    for says in ("cannot be reached|broke off|protocol", "cannot be reached", "2 times in a row"):
        with pytest.raises(LlmError, match=says):
            asked.ask(questions[1])
    assert client.breaker.phase is Phase.OPEN
    now_s[0] = 10.0
    with running_model("--port", port):
        assert isinstance(asked.ask(questions[1]), Advice)
    assert client.breaker.phase is Phase.CLOSED
    client.close()


def test_ask_when_model_is_not_there_then_error_names_those_that_are(
    questions: tuple[Question, ...],
) -> None:
    with odd_server(answering(lambda connection, _: reply(connection, chat()))) as host:
        asked = adviser(host, models={"signal": "llama9"})
        with pytest.raises(LlmError, match=f"no model 'llama9'; it has {MODEL}"):
            asked.ask(questions[0])
        asked.close()


def test_ask_when_scripted_then_answer_with_the_listed_digest(
    questions: tuple[Question, ...],
) -> None:
    with odd_server(answering(lambda connection, _: reply(connection, chat()))) as host:
        asked = adviser(host)
        advice = asked.ask(questions[0])
        asked.close()
    assert advice.assessment.expected_return_pct == -0.85
    assert advice.exchange.digest == DIGEST


def test_ask_many_when_one_fails_then_the_others_do_not(
    questions: tuple[Question, ...],
) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        reply(connection, chat("buy it!" if b"AMD" in request else GOOD))

    with odd_server(answering(answer)) as host:
        asked = adviser(host)
        answers = asked.ask_many(questions)
        asked.close()
    assert [isinstance(answer, Advice) for answer in answers] == [True, False, True, True]
    failure = answers[1]
    assert isinstance(failure, LlmFailure)
    assert "not one JSON object" in failure.reason
    assert failure.exchange is not None


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (chat(done_reason="length"), "200 OK", "cut off"),
        (chat(done=False), "200 OK", "unfinished"),
        (chat("\x00garbage"), "200 OK", "not one JSON object"),
        (chat("{}"), "200 OK", "not an object of"),
        (b"lorem ipsum", "200 OK", "does not speak the protocol"),
        (b"[1,2]", "200 OK", "does not speak the protocol"),
        (b"null", "200 OK", "does not speak the protocol"),
        (b"{}", "200 OK", "does not speak the protocol"),
        (b'{"message":7}', "200 OK", "does not speak the protocol"),
        (b"\xff" * 50, "200 OK", "does not speak the protocol"),
        (b"[" * 200_000, "200 OK", "does not speak the protocol"),
        (b" " * 1_100_000, "200 OK", "larger than"),
        (b"no", "418 Teapot", "status 418: no"),
        (b'{"error":"out of memory"}', "500 Error", "status 500: out of memory"),
        (b"", "302 Found\r\nlocation: http://example.com/", "status 302"),
    ],
)
def test_ask_when_server_talks_garbage_then_refused_by_name(
    questions: tuple[Question, ...],
    hasty: dict[str, object],
    body: bytes,
    status: str,
    says: str,
) -> None:
    answer = answering(lambda connection, _: reply(connection, body, status=status))
    with odd_server(answer) as host:
        asked = adviser(host, **{**hasty, "timeout_s": 20.0})
        with pytest.raises(LlmError, match=says):
            asked.ask(questions[0])
        asked.close()


def test_ask_when_not_even_http_then_refused(
    questions: tuple[Question, ...], hasty: dict[str, object]
) -> None:
    def babble(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"SSH-2.0-babble\r\n\r\n")

    with odd_server(babble) as host:
        asked = adviser(host, **hasty)
        with pytest.raises(LlmError, match="does not speak the protocol"):
            asked.ask(questions[0])
        asked.close()


def silent(connection: socket.socket, _: bytes) -> None:
    connection.recv(1)  # until the client gives up


def dripping(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:  # until the client gives up
        connection.sendall(b" ")
        connection.settimeout(0.05)
        try:
            if not connection.recv(1):
                return
        except TimeoutError:
            continue


@pytest.mark.parametrize("slow", [silent, dripping])
def test_ask_when_server_is_slow_then_one_limit_on_the_whole_call(
    questions: tuple[Question, ...],
    hasty: dict[str, object],
    slow: Callable[[socket.socket, bytes], None],
) -> None:
    with odd_server(answering(slow)) as host:
        asked = adviser(host, **hasty)
        with pytest.raises(LlmError, match="did not answer within 1 s"):
            asked.ask(questions[0])
        asked.close()


def test_ask_when_models_are_listed_and_no_chat_answers_then_the_circuit_opens_and_reopens(
    questions: tuple[Question, ...],
) -> None:
    now_s, chats, mute = [0.0], [0], [True]

    def answer(connection: socket.socket, request: bytes) -> None:
        chats[0] += 1
        if mute[0]:
            silent(connection, request)
        else:
            reply(connection, chat())

    with odd_server(answering(answer)) as host:
        settings = LlmSettings(
            host=host,
            attempts=1,
            timeout_s=1.0,
            breaker=BreakerSettings(n_failures=3, cool_down_s=10.0),
        )
        client = LlmClient(settings, now_s=lambda: now_s[0])
        asked = Adviser(client, settings)
        reasons = [getattr(asked.ask_many(questions[:1])[0], "reason", "") for _ in range(10)]
        assert ["3 times in a row" in said for said in reasons] == [n >= 3 for n in range(10)]
        assert chats == [3]
        now_s[0] = 10.0
        assert [asked.ask_many(questions[:1]) and chats[0] for _ in range(3)] == [4, 4, 4]
        assert (client.breaker.phase, client.breaker.n_failures) == (Phase.OPEN, 4)
        now_s[0], mute[0] = 20.0, False
        asked.asking()
        assert client.breaker.phase is Phase.OPEN  # a listing alone closes nothing
        assert isinstance(asked.ask(questions[0]), Advice)
        assert client.breaker.phase is Phase.CLOSED
        client.close()


def test_ask_many_when_out_of_time_then_what_is_missing_failed(
    questions: tuple[Question, ...], hasty: dict[str, object]
) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        if b"AMD" in request:
            silent(connection, request)
        reply(connection, chat())

    with odd_server(answering(answer)) as host:
        asked = adviser(host, **{**hasty, "timeout_s": 5.0})
        answers = asked.ask_many(questions, within_s=2.0)
        asked.close()
    reasons = [getattr(answer, "reason", "") for answer in answers]
    assert reasons == ["", "no answer within 2 s", "", ""]


def test_ask_when_busy_then_tried_again_and_answered(questions: tuple[Question, ...]) -> None:
    asked_before: list[bytes] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        asked_before.append(request)
        if len(asked_before) == 1:
            reply(connection, b'{"error":"busy"}', status="503 Busy")
        else:
            reply(connection, chat())

    with odd_server(answering(answer)) as host:
        asked = adviser(host, attempts=2)
        assert isinstance(asked.ask(questions[0]), Advice)
        asked.close()
    assert len(asked_before) == 2


def test_ask_when_refused_for_its_own_fault_then_not_tried_again_and_circuit_stays(
    questions: tuple[Question, ...],
) -> None:
    asked_before: list[bytes] = []

    def answer(connection: socket.socket, request: bytes) -> None:
        asked_before.append(request)
        reply(connection, b'{"error":"bad"}', status="400 Bad")

    with odd_server(answering(answer)) as host:
        asked = adviser(host, attempts=3, breaker={"n_failures": 1})
        for _ in range(2):
            with pytest.raises(LlmError, match="status 400: bad"):
                asked.ask(questions[0])
        assert asked.client.breaker.phase is Phase.CLOSED
        asked.close()
    assert len(asked_before) == 2


def test_unusable_answer_when_asked_again_then_not_from_the_cache(
    questions: tuple[Question, ...],
) -> None:
    answers: Iterator[str] = iter(["garbage", GOOD])
    with odd_server(
        answering(lambda connection, _: reply(connection, chat(next(answers))))
    ) as host:
        asked = adviser(host)
        with pytest.raises(LlmError, match="not one JSON object"):
            asked.ask(questions[0])
        assert not asked.ask(questions[0]).cached
        asked.close()


def test_ask_when_weights_behind_a_name_change_then_not_from_the_cache(
    questions: tuple[Question, ...],
) -> None:
    digests = iter(["ab" * 32, "cd" * 32])

    def tags_only(connection: socket.socket) -> None:
        request = read_request(connection)
        if b"/api/tags" in request:
            reply(connection, listing().replace(DIGEST.encode(), next(digests).encode()))
        elif request:
            reply(connection, chat())

    with odd_server(tags_only) as host:
        asked = adviser(host)
        first, second = asked.ask(questions[0]), asked.ask(questions[0])
        asked.close()
    assert (first.exchange.digest, second.exchange.digest) == ("ab" * 32, "cd" * 32)
    assert not second.cached


def test_ask_many_when_nothing_is_asked_then_nobody_is_called() -> None:
    asked = adviser("http://127.0.0.1:9")
    assert asked.ask_many([]) == ()
    asked.close()


def test_settings_when_environment_names_a_host_then_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    assert LlmSettings().host == "http://127.0.0.1:11434"
    monkeypatch.setenv("OLLAMA_HOST", "http://models:1")
    assert LlmSettings().host == "http://models:1"


def test_settings_when_use_case_has_no_model_then_the_signals() -> None:
    settings = LlmSettings(models={UseCase.SIGNAL: "fast", UseCase.RESEARCH: "slow"})
    assert [settings.model_of(use) for use in UseCase] == ["fast", "slow"]
    assert LlmSettings(models={UseCase.SIGNAL: "fast"}).model_of(UseCase.RESEARCH) == "fast"


@pytest.mark.parametrize(
    "wrong", [{"host": ""}, {"host": "ftp://x"}, {"timeout_s": 0}, {"models": {"x": "y"}}]
)
def test_settings_when_wrong_then_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LlmSettings.model_validate(wrong)


@pytest.mark.parametrize("host", ["::", "http://["])
def test_client_when_host_is_no_address_then_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="host was"):
        LlmClient(LlmSettings(host=host))
