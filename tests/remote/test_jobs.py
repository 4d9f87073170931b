"""Jobs as Ray's client tells of them: a log that is read again, connections that end."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientError
from ray.job_submission import JobDetails

from pmx_ray.errors import ClusterError
from pmx_ray.remote import jobs
from pmx_ray.remote.jobs import BEGINS, Jobs, Log

NAME = "pmx-mine-0123456789ab"
LINE = "pmx submit 00aa"
EARLIER = f"Running entrypoint: echo pmx submit 77; exec pmx\npmx submit 77\nold\nRunning: {LINE}\n"


class Client:
    """Ray's client of a cluster with one job: connections to its log, and how it stands after each.

    A connection is what it gives, part by part, and the error it ends with, if it does.
    """

    def __init__(self, *connections: tuple[object, ...], ends: str = "SUCCEEDED") -> None:
        self.connections, self.ends = list(connections), ends
        self.metadata: dict[str, str] | None = {"pmx": "sweep", BEGINS: LINE}
        self.unanswered = 0
        self.submitted: dict[str, object] = {}

    def get_job_info(self, name: str) -> JobDetails:
        if self.unanswered:
            self.unanswered -= 1
            raise ConnectionError("refused")
        if self.metadata is None:
            raise RuntimeError(f"Request failed with status code 404: Job {name} does not exist.")
        return JobDetails(
            type="SUBMISSION", submission_id=name, metadata=self.metadata, message="why it failed",
            status="RUNNING" if self.connections else self.ends, entrypoint="pmx",
        )  # fmt: skip

    async def tail_job_logs(self, name: str) -> AsyncIterator[str]:
        assert name == NAME
        for part in self.connections.pop(0) if self.connections else ():
            if isinstance(part, Exception):
                raise part
            yield str(part)

    def submit_job(self, **what: object) -> None:
        self.submitted = what


def at(client: Client, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.setattr(jobs, "JobSubmissionClient", lambda _: client)
    return Jobs("http://127.0.0.1:8265")


def followed(client: Client, monkeypatch: pytest.MonkeyPatch) -> tuple[str, jobs.Job]:
    said: list[str] = []
    job = at(client, monkeypatch).follow(NAME, say=said.append, pause=lambda _: None)
    return "".join(said), job


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_log_when_an_earlier_run_is_in_it_then_only_this_one_is_said(size: int) -> None:
    said: list[str] = []
    log = Log(LINE, said.append)
    whole = f"{EARLIER}{LINE}\nnew\n{LINE}\n"
    for end in (len(EARLIER) + 3, len(whole) - 6, len(whole)):  # read again after it was cut
        log.read_again()
        for first in range(0, end, size):
            log.take(whole[first : min(first + size, end)])
    assert "".join(said) == f"new\n{LINE}\n"


def test_log_when_the_line_is_its_first_or_unknown_then_what_follows_or_all() -> None:
    said: list[str] = []
    Log(LINE, said.append).take(f"{LINE}\nnew\n")
    Log(None, said.append).take("all\n")
    assert said == ["new\n", "all\n"]


def test_follow_when_the_connection_is_lost_then_made_again_and_nothing_is_said_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = f"{EARLIER}{LINE}\none\n"
    client = Client(
        (begun, RuntimeError("closed unexpectedly with close code 1006")),
        (begun,),  # closed in good order, by whoever stands between
        (begun, "two\n", ClientError("no")),
        (ConnectionError("refused"),),
        (f"{begun}two\n", "three\n"),
    )
    text, job = followed(client, monkeypatch)
    assert text == "one\ntwo\nthree\n"
    assert job.status == "SUCCEEDED"


def test_follow_when_it_is_lost_again_and_again_then_the_error_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client(*[(f"{LINE}\n", RuntimeError("code 1006"))] * 9)
    with pytest.raises(ClusterError, match=r"lost \(code 1006\).*same command follows it again"):
        followed(client, monkeypatch)
    assert len(client.connections) == 9 - 3


def test_follow_when_nobody_answers_for_a_while_then_the_job_is_not_taken_for_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client((f"{LINE}\none\n",), (f"{LINE}\none\ntwo\n",))
    pauses: list[float] = []
    said: list[str] = []

    def silent_once(text: str) -> None:
        client.unanswered = 0 if said else 1
        said.append(text)

    at(client, monkeypatch).follow(NAME, say=silent_once, pause=pauses.append)
    assert (said, len(pauses)) == (["one\n", "two\n"], 1)


def test_follow_when_the_job_is_gone_then_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    client.metadata = None
    with pytest.raises(ClusterError, match=f"{NAME} is gone"):
        followed(client, monkeypatch)


def test_follow_when_it_never_came_to_its_command_then_what_ray_says_and_nothing_of_earlier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text, job = followed(Client((EARLIER,), ends="FAILED"), monkeypatch)
    assert (text, job.status) == ("why it failed\n", "FAILED")


def test_find_when_nobody_answers_then_an_error_and_not_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client()
    client.unanswered = 1
    with pytest.raises(ClusterError, match=f"does not tell of {NAME}: refused"):
        at(client, monkeypatch).find(NAME)


def test_submit_when_taken_then_its_output_begins_with_the_line_in_its_metadata(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client = Client()
    client.metadata = None
    there = at(client, monkeypatch)
    lines = set()
    for _ in range(2):
        assert there.submit(NAME, "pmx sweep sweep.yaml", folder=tmp_path)
        metadata = client.submitted["metadata"]
        assert isinstance(metadata, dict)
        lines.add(metadata[BEGINS])
        begins = f"echo {metadata[BEGINS]}; exec pmx sweep sweep.yaml"
        assert client.submitted["entrypoint"] == begins
    assert len(lines) == 2
